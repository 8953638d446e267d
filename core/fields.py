"""Every field of a configuration as a form shows it: drawn from `core.config`, which defines them. No terminal here.

A form holds text; `read` makes values of it, and `problems` says in a sentence for each field what is wrong with them.
"""

import re
import tomllib
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ValidationError

from core import config as configs
from core.config import RunConfig

GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+")
"""A number with commas between its thousands, as this program prints them."""
SIGNS = {Gt: ("gt", ">"), Ge: ("ge", "≥"), Lt: ("lt", "<"), Le: ("le", "≤")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field."""

    name: str
    """Dotted: `sae.k`."""
    kind: Literal["text", "int", "float", "bool", "choice"]
    choices: tuple[str, ...]
    """Of a choice, and of a bool: yes, no."""
    optional: bool
    """Whether it may be left empty, which means not set."""
    description: str
    bounds: str
    """For a person: `> 0, < 0.5`; empty where there are none."""
    default: str
    """As a form shows it."""
    only: tuple[str, ...]
    """The architectures that have a use for it; empty: all."""

    @property
    def part(self) -> str:
        """The part of the configuration it is in; empty at the top."""
        return self.name.rpartition(".")[0]


@lru_cache(1)
def fields() -> tuple[Field, ...]:
    """All of them, in the configuration's order."""
    return tuple(_fields(RunConfig, ""))


def parts() -> dict[str, str]:
    """Each part's name and what it is about; the top has none."""
    nested = {name: field.get_default(call_default_factory=True) for name, field in RunConfig.model_fields.items()}
    return {k: " ".join((type(v).__doc__ or "").split()) for k, v in nested.items() if isinstance(v, BaseModel)}


def shown(values: Mapping[str, Any]) -> dict[str, str]:
    """Nested values, with every default, as a form shows them, by dotted name. Unknown keys are passed over."""
    found = {field.name: field.default for field in fields()}
    for name in found:
        place: Any = values
        for step in name.split("."):
            place = place.get(step) if isinstance(place, Mapping) else None
        if place is not None:
            found[name] = _text(place)
    return found


def read(texts: Mapping[str, str]) -> dict[str, Any]:
    """Nested values of what a form shows; what is empty and may be is left out."""
    values: dict[str, Any] = {}
    for field in fields():
        text = texts.get(field.name, field.default)
        if field.optional and not text.strip():
            continue
        place = values
        *path, last = field.name.split(".")
        for step in path:
            place = place.setdefault(step, {})
        place[last] = _value(field, text)
    return values


def problems(values: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with values, in a sentence for each field, by dotted name; empty where `config.parse` takes them.

    An unknown key is a field too.
    """
    try:
        RunConfig.model_validate(values)
    except ValidationError as error:
        found: dict[str, str] = {}
        for one in error.errors():
            found.setdefault(_blamed(one), configs.sentence(one))
        return found
    return {}


def _fields(part: type[BaseModel], prefix: str) -> Iterator[Field]:
    for name, info in part.model_fields.items():
        default = info.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            yield from _fields(type(default), f"{prefix}{name}.")
            continue
        kinds, bounds, optional = _described(info.annotation)
        choices = tuple(str(c) for c in get_args(kinds)) if get_origin(kinds) is Literal else ()
        kind: Any = "choice" if choices else {bool: "bool", int: "int", float: "float"}.get(kinds, "text")
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        only: Any = extra.get("only", ())
        yield Field(
            name=f"{prefix}{name}", kind=kind, choices=("yes", "no") if kind == "bool" else choices,
            optional=optional, description=info.description or "", default=_text(default),
            bounds=", ".join(_bounds([*info.metadata, *bounds])), only=tuple(only),
        )  # fmt: skip


def _described(annotation: Any) -> tuple[Any, list[Any], bool]:
    """The type beneath `Annotated` and `| None`, its metadata, and whether None is allowed."""
    optional = False
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (a for a in get_args(annotation) if a is not type(None))
        optional = True
    if get_origin(annotation) is Annotated:
        annotation, *metadata = get_args(annotation)
        return annotation, [m for info in metadata for m in getattr(info, "metadata", [info])], optional
    return annotation, [], optional


def _bounds(metadata: list[Any]) -> Iterator[str]:
    for kind, (attribute, sign) in SIGNS.items():
        for one in metadata:
            if isinstance(one, kind) and getattr(one, attribute) != 2**63:
                yield f"{sign} {getattr(one, attribute)}"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _value(field: Field, text: str) -> Any:
    """A field's value from what was typed; text that is no number stays text, for `problems` to speak of."""
    if field.kind == "bool":
        return text == "yes"
    if field.kind in ("text", "choice"):
        return text.strip()
    text = text.strip()
    if GROUPED.fullmatch(text):
        text = text.replace(",", "")
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, int | float) and not isinstance(value, bool) else text


def _blamed(error: Any) -> str:
    """The dotted name of the field an error is about; of a part that is wrong as a whole, the first that it names."""
    where = ".".join(str(step) for step in error["loc"])
    if error["type"] != "value_error":
        return where
    words = str(error["ctx"]["error"])
    prefix = f"{where}." if where else ""
    names = [field.name for field in fields() if field.name.startswith(prefix)]
    found = [(re.search(rf"\b{re.escape(name.removeprefix(prefix))}\b", words), name) for name in names]
    return min(((match.start(), name) for match, name in found if match), default=(0, where))[1]

"""Recipes: all that steers a model, interventions, prompt and sampling, as a small TOML file that people share.

    prompt = "Once upon a time"
    tokens = 60

    [sampling]
    temperature = 0.7

    [made_for]
    model = "smollm2"
    hook = "blocks.15.hook_resid_post"

    [[interventions]]
    kind = "add"
    feature = 9
    value = 2.0
    unit = "p99"
    where = "generated,firing"

What is left out is as `core.steering.request` and `core.steering.interventions` have it. Owns the file and where a
session's are kept; what its values may be is theirs to say.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from core.errors import UsageError, nearest
from core.session import NAME, Session, checked_name
from core.steering.commands import checked_setting
from core.steering.interventions import Intervention
from core.steering.request import SAMPLING, GenerationRequest, Sampling
from core.storage import replace_file

LARGEST = 2**20
"""Bytes of a file that is read."""
SIMPLE = ("prompt", "chat", "system", "mode", "tokens")
MADE_FOR = ("model", "hook")
EDIT = tuple(field.name for field in fields(Intervention))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a generation is asked for, and of which model and hook point the features are."""

    request: GenerationRequest
    model: str | None = None
    """The model of the SAE that it was made with, of a folder its name; None where it does not say."""
    hook: str | None = None

    @classmethod
    def of(cls, request: GenerationRequest, session: Session) -> "Recipe":
        """A recipe made with a session's SAE."""
        model, hook = _site(session)
        return cls(request=request, model=model, hook=hook)

    @property
    def interventions(self) -> tuple[Intervention, ...]:
        """Those of the request, for `core.steering.applied`."""
        return self.request.interventions

    def check(self, session: Session) -> None:
        """Raises UsageError where it was made for another model or hook point: its features are others there."""
        model, hook = _site(session)
        for what, made_for, here in (("model", self.model, model), ("hook point", self.hook, hook)):
            if made_for is not None and made_for != here:
                raise UsageError(
                    f"the recipe was made for the {what} {made_for!r}, and this SAE is of {here!r}",
                    hint="its features are others here; take `made_for` out of the recipe to use it all the same",
                )

    def to_toml(self) -> str:
        """What `from_toml` reads."""
        import tomlkit  # here: a screen that only reads recipes need not wait for it

        document = tomlkit.document()
        for name in SIMPLE:
            value = getattr(self.request, name)
            if value != _DEFAULTS[name]:
                document.add(name, value)
        document.add("sampling", tomlkit.item(asdict(self.request.sampling)))
        made_for = {name: getattr(self, name) for name in MADE_FOR if getattr(self, name) is not None}
        if made_for:
            document.add("made_for", tomlkit.item(made_for))
        edits = tomlkit.aot()
        for edit in self.interventions:
            values = edit.to_json()
            plain = Intervention(edit.kind, edit.feature).to_json()
            edits.append(tomlkit.item({k: v for k, v in values.items() if k in ("kind", "feature") or v != plain[k]}))
        if edits:
            document.add("interventions", edits)
        return tomlkit.dumps(document)

    @classmethod
    def from_toml(cls, text: str) -> "Recipe":
        """A recipe from its text. Raises UsageError with a sentence for what is torn, unknown or makes no sense."""
        try:
            values = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise UsageError("it is not TOML", hint=str(error)) from None
        _known(values, (*SIMPLE, "sampling", "made_for", "interventions"), "a recipe")
        sampling, made_for = _part(values, "sampling", SAMPLING), _part(values, "made_for", MADE_FOR)
        for name, value in {**values, **sampling}.items():
            if name in (*SIMPLE[1:], *SAMPLING):
                checked_setting(name, value)
        for name, value in made_for.items():
            if not isinstance(value, str):
                raise UsageError(f"made_for.{name} is {value!r}", hint=f"it is the name of a {name}")
        edits = values.get("interventions", [])
        if not isinstance(edits, list):
            raise UsageError("interventions are no list", hint="begin each with [[interventions]]")
        request = GenerationRequest(
            **{"prompt": "", **{name: values[name] for name in SIMPLE if name in values}},
            interventions=tuple(_edit(edit, n) for n, edit in enumerate(edits, 1)),
            sampling=Sampling(**sampling),
        )
        return cls(request=request, **made_for)

    def save(self, path: Path) -> None:
        """Write it, atomically. Raises UsageError where the file cannot be written."""
        try:
            replace_file(path, self.to_toml())
        except OSError as error:
            raise UsageError(f"recipe {path.name!r} cannot be written", hint=str(error)) from None

    @classmethod
    def load(cls, path: Path) -> "Recipe":
        """A saved recipe. Raises UsageError where the file is missing, torn or no recipe."""
        try:
            with path.open("rb") as file:
                text = file.read(LARGEST + 1)
            if len(text) > LARGEST:
                raise UsageError(f"it has more than {LARGEST} bytes", hint="a recipe is a small file")
            return cls.from_toml(text.decode("utf-8"))
        except FileNotFoundError:
            raise UsageError(f"there is no recipe {str(path)!r}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"recipe {path.name!r} cannot be read", hint=str(error)) from None
        except UsageError as error:
            raise UsageError(f"recipe {path.name!r}: {error.message}", hint=error.hint) from None


def recipe_path(session: Session, name: str) -> Path:
    """Where a session's recipe of this name is. Raises UsageError where nothing may be called that."""
    return session.recipes_dir / f"{checked_name(name, 'a recipe')}.toml"


def recipe_names(session: Session) -> list[str]:
    """The session's recipes."""
    return sorted(path.stem for path in session.recipes_dir.glob("*.toml") if NAME.fullmatch(path.stem))


def found_recipe(session: Session, named: str) -> Path:
    """The file that a name of the session's recipes, or else a path, stands for. Raises UsageError."""
    if NAME.fullmatch(named) and (path := recipe_path(session, named)).is_file():
        return path
    path = Path(named).expanduser()
    if not path.is_file():
        known = recipe_names(session)
        hint = nearest(named, known) if known else "--save-recipe NAME and /save NAME make one"
        raise UsageError(f"there is no recipe {named!r}", hint=hint)
    return path


def _site(session: Session) -> tuple[str, str]:
    """The model and the hook point of its SAE; where the model is in a folder is of one machine alone."""
    config = session.config().model
    path = Path(config.name)
    return path.name if path.is_absolute() else config.name, config.hook


_DEFAULTS = asdict(GenerationRequest(prompt=""))


def _part(values: Mapping[str, Any], name: str, known: tuple[str, ...]) -> dict[str, Any]:
    """One table of a recipe, checked; empty where it is not there."""
    part = values.get(name, {})
    if not isinstance(part, dict):
        raise UsageError(f"{name} is {part!r}", hint=f"begin a table with [{name}]")
    _known(part, known, f"[{name}]")
    return part


def _edit(values: object, n: int) -> Intervention:
    """The nth intervention."""
    if not isinstance(values, dict):
        raise UsageError(f"intervention {n} is {values!r}", hint="begin each with [[interventions]]")
    _known(values, EDIT, f"intervention {n}")
    missing = [name for name in ("kind", "feature") if name not in values]
    if missing:
        raise UsageError(f"intervention {n} has no {missing[0]}", hint='for example kind = "ablate" and feature = 12')
    return Intervention.from_json(values)


def _known(values: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Raises UsageError for a key that there is not."""
    for name in values:
        if name not in known:
            raise UsageError(f"{where} has no {name!r}", hint=nearest(name, known))

"""Interventions: edits of single features as plain values, and the words people write them in.

Owns what an edit means (its formula, its unit, where it applies), how it is read from the command line and
from a `/command`, and what a generation under such edits is asked for. Knows no tensors, models or databases.

With z the feature's activation at one position and z' what takes its place:

    ablate     z' = 0
    scale m    z' = m z
    set v      z' = v
    add v      z' = z + v

Several interventions on one feature apply in the order of the list: each takes the z' of the one before as z.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from core.errors import QueryError, UsageError, nearest

Kind = Literal["ablate", "scale", "set", "add"]
Unit = Literal["raw", "p99", "max"]
Mode = Literal["error-kept", "replace"]
Scales = Mapping[int, Mapping[str, float | None]]
"""Features' `p99` and `max` from the database, in raw units; None, or no entry, where one never fired."""

NAMES: dict[str, Kind] = {
    "ablate": "ablate",
    "scale": "scale",
    "amplify": "scale",
    "set": "set",
    "add": "add",
}
UNITS: dict[str, Unit] = {"": "raw", "x": "p99", "max": "max"}
MODES = ("error-kept", "replace")
MAX_TEMPERATURE = 100.0

_STRENGTH = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(x|max)?", re.ASCII)
_FEATURE = re.compile(r"\d{1,18}", re.ASCII)
_FROM = re.compile(r"from:(\d{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Intervention:
    """One edit of one feature. Raises UsageError where its values make no sense."""

    kind: Kind
    feature: int
    value: float = 0.0
    """The m or v of the formula, in `unit`; ablate has none."""
    unit: Unit = "raw"
    """`raw`: units of the code; `p99`, `max`: multiples of the feature's own p99 or max in the database."""
    where: str = "everywhere"
    """`everywhere`, `prompt`, `generated` or `from:N`: see `span`."""
    enabled: bool = True

    def __post_init__(self) -> None:
        if self.kind not in NAMES.values():
            raise UsageError(
                f"there is no intervention {self.kind!r}", hint=nearest(str(self.kind), set(NAMES.values()))
            )
        if not _is_int(self.feature) or self.feature < 0:
            raise UsageError(f"{self.feature!r} is no feature", hint="features are whole numbers from 0")
        if not _is_number(self.value):
            raise UsageError(f"{self.value!r} is no strength", hint="give a finite number such as 4 or -0.5")
        if self.unit not in UNITS.values():
            raise UsageError(f"there is no unit {self.unit!r}", hint=nearest(str(self.unit), UNITS.values()))
        if self.kind in ("ablate", "scale") and self.unit != "raw":
            raise UsageError(f"{self.kind} takes no unit", hint="units are for set and add; scale takes a multiple")
        checked_where(self.where)

    def describe(self) -> str:
        """In words, with the formula: `add 2 × its p99 to feature 9 in the prompt: z' = z + 2 p99`."""
        number = f"{self.value:.6g}"
        if self.unit == "raw":
            strength, term, size = number, number, f"{abs(self.value):.6g}"
        else:
            strength, term = f"{number} × its {self.unit}", f"{number} {self.unit}"
            size = f"{abs(self.value):.6g} {self.unit}"
        words, formula = {
            "ablate": (f"ablate feature {self.feature}", "0"),
            "scale": (f"scale feature {self.feature} by {number}", f"{number} z"),
            "set": (f"set feature {self.feature} to {strength}", term),
            "add": (
                f"add {strength} to feature {self.feature}",
                f"z {'-' if self.value < 0 else '+'} {size}",
            ),
        }[self.kind]
        return f"{words}{_place_in_words(self.where)}: z' = {formula}{'' if self.enabled else ' (off)'}"

    def to_json(self) -> dict[str, Any]:
        """Every field by its name."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Intervention":
        """The inverse of `to_json`. Raises UsageError."""
        try:
            return cls(**values)
        except TypeError as error:
            raise UsageError("not an intervention", hint=str(error)) from None


class Resolved(NamedTuple):
    """An enabled intervention in raw units, for a feature that exists."""

    kind: Kind
    feature: int
    value: float
    where: str


def from_option(kind: str, text: str, *, where: str = "everywhere") -> Intervention:
    """An intervention of the command line: `("ablate", "88")`, `("scale", "12=4")`, `("add", "9=2x")`.

    `kind` is the option's name without dashes. A strength is `4` (raw units), `4x` (multiples of the
    feature's p99) or `4max` (of its max); for scale and amplify it is a plain multiple, and `4x` is 4 too.
    Raises UsageError.
    """
    example = f"--{kind} 12" if kind == "ablate" else f"--{kind} 12=4"
    feature, equals, strength = text.partition("=")
    return _read(kind, [feature, strength] if equals else [feature], where, written=text, example=example)


def from_command(line: str, *, where: str = "everywhere") -> Intervention:
    """An intervention of a `/command`: `/amplify 12 4`, `/scale 12 4`, `/ablate 7`, `/set 3 8`, `/add 9 2x`.

    Strengths are those of `from_option`. Raises UsageError.
    """
    command, *words = line.split() or [""]
    if not command.startswith("/"):
        raise UsageError(f"{line!r} is no command", hint="commands begin with /, as in /amplify 12 4")
    kind = command[1:]
    example = f"{command} 12" if kind == "ablate" else f"{command} 12 4"
    return _read(kind, words, where, written=line, example=example)


def checked_where(where: str) -> str:
    """`where`, if it names a place. Raises UsageError."""
    if where not in ("everywhere", "prompt", "generated") and not _FROM.fullmatch(where):
        known = ("everywhere", "prompt", "generated", "from:N")
        raise UsageError(f"{where!r} is no place for an intervention", hint=nearest(where, known))
    return where


def span(where: str, prompt_length: int) -> tuple[int, int | None]:
    """The positions of `where` as [begin, end); end None: no end.

    Positions count from 0 at the first token the model reads (BOS where there is one), so the prompt has
    those below `prompt_length`. `from:N` begins at position N. The first generated token is chosen at the
    prompt's last position: what `generated` does shows from the second on.
    """
    if found := _FROM.fullmatch(where):
        return int(found[1]), None
    return {"everywhere": (0, None), "prompt": (0, prompt_length), "generated": (prompt_length, None)}[where]


def resolve(interventions: Iterable[Intervention], scales: Scales | None, d_sae: int) -> list[Resolved]:
    """The enabled interventions in raw units, in their order.

    `scales` is None where there is no feature database. Raises QueryError for a feature outside 0..d_sae − 1,
    and for a unit that the feature has no value for.
    """
    resolved = []
    for item in interventions:
        if not item.enabled:
            continue
        if item.feature >= d_sae:
            raise QueryError(f"there is no feature {item.feature}", hint=f"this SAE has features 0 to {d_sae - 1}")
        value = item.value if item.unit == "raw" else item.value * _unit_in_raw(item, scales)
        resolved.append(Resolved(item.kind, item.feature, value, item.where))
    return resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """What to generate: a baseline text and a steered one. Raises UsageError where a value makes no sense."""

    prompt: str
    interventions: tuple[Intervention, ...] = ()
    mode: Mode = "error-kept"
    """`error-kept`: x' = x + (z' − z) W_dec; `replace`: x' = decode(z'), without the SAE's error."""
    tokens: int = 80
    """At most so many are generated, in each text."""
    temperature: float = 0.7
    """0: the most likely token, always."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str):
            raise UsageError(f"{self.prompt!r} is no prompt", hint="a prompt is text")
        if self.mode not in MODES:
            raise UsageError(f"there is no mode {self.mode!r}", hint=nearest(str(self.mode), MODES))
        if not _is_int(self.tokens) or self.tokens < 1:
            raise UsageError(f"cannot generate {self.tokens!r} tokens", hint="give a whole number from 1")
        if not _is_number(self.temperature) or not 0 <= self.temperature <= MAX_TEMPERATURE:
            raise UsageError(
                f"{self.temperature!r} is no temperature", hint=f"give a number from 0 to {MAX_TEMPERATURE:g}"
            )
        if not _is_int(self.seed) or not 0 <= self.seed < 2**63:
            raise UsageError(f"{self.seed!r} is no seed", hint="give a whole number from 0 to 2^63 - 1")

    def to_json(self) -> dict[str, Any]:
        """Every field by its name."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "GenerationRequest":
        """The inverse of `to_json`. Raises UsageError."""
        try:
            edits = tuple(Intervention.from_json(v) for v in values.get("interventions", ()))
            return cls(**{**values, "interventions": edits})
        except (AttributeError, TypeError) as error:
            raise UsageError("not a request to generate", hint=str(error)) from None


def _read(name: str, words: Sequence[str], where: str, *, written: str, example: str) -> Intervention:
    """The intervention `name` with its words: a feature and, but for ablate, a strength."""
    if name not in NAMES:
        raise UsageError(f"there is no intervention {name!r}", hint=nearest(name, NAMES))
    kind = NAMES[name]
    parts = ("a feature",) if kind == "ablate" else ("a feature", "a strength")
    if len(words) != len(parts):
        raise UsageError(f"{name} takes {' and '.join(parts)}, not {written!r}", hint=f"for example {example}")
    if not _FEATURE.fullmatch(words[0].strip()):
        raise UsageError(f"{words[0]!r} is no feature", hint=f"features are whole numbers: {example}")
    feature = int(words[0])
    if kind == "ablate":
        return Intervention(kind, feature, where=where)
    found = _STRENGTH.fullmatch(words[1].strip())
    if not found:
        raise UsageError(
            f"{words[1]!r} is no strength",
            hint="give 4 (raw units), 4x (times its p99) or 4max (times its max)",
        )
    unit = UNITS[found[2] or ""]
    if kind == "scale" and unit == "p99":
        unit = "raw"
    return Intervention(kind, feature, float(found[1]), unit, where)


def _unit_in_raw(item: Intervention, scales: Scales | None) -> float:
    """What one `item.unit` of the feature is in raw units."""
    if scales is None:
        raise QueryError(
            f"the {item.unit} of feature {item.feature} is not known",
            hint="`sae-tui analyze` finds it; or give the strength in raw units",
        )
    value = scales.get(item.feature, {}).get(item.unit)
    if value is None:
        raise QueryError(
            f"feature {item.feature} has no {item.unit}: it never fired in the analysis",
            hint="give the strength in raw units",
        )
    return value


def _place_in_words(where: str) -> str:
    if found := _FROM.fullmatch(where):
        return f" from token {found[1]} on"
    return {"everywhere": "", "prompt": " in the prompt", "generated": " in the generated text"}[where]


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

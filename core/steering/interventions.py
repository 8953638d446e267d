"""Interventions: edits of single features as plain values, and the words people write them in.

Owns what an edit means (its formula and its unit), how it is read from the command line and from a `/command`, and
what it needs of the feature database. Where it holds is `core.steering.places`'. Knows no tensors, models or databases.

With z the feature's activation at one position and z' what takes its place:

    ablate         z' = 0
    mean-ablate    z' = the mean of z over all counted tokens of the analysis, those where it is silent included
    scale m        z' = m z
    set v          z' = v
    add v          z' = z + v
    cap v          z' = min(z, v)

Interventions on different features are of no consequence to one another. Several on one feature apply in the order of
the list: each takes the z' of the one before as z; where they hold is decided by z before any of them.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

from core.errors import QueryError, RunError, UsageError, nearest
from core.steering.places import EVERYWHERE, checked_where, condition, place, words

Kind = Literal["ablate", "mean-ablate", "scale", "set", "add", "cap"]
Unit = Literal["raw", "p99", "max"]
Mode = Literal["error-kept", "replace"]
Scales = Mapping[int, Mapping[str, float | None]]
"""Features' `p99`, `max` and `mean` from the database, in raw units; None, or no entry, where there is none.

`mean` is over all counted tokens, 0 where the feature is silent: density × mean of its active values.
"""

NAMES: dict[str, Kind] = {
    "ablate": "ablate",
    "mean-ablate": "mean-ablate",
    "scale": "scale",
    "amplify": "scale",
    "set": "set",
    "add": "add",
    "cap": "cap",
}
WITHOUT_STRENGTH = ("ablate", "mean-ablate")
WITH_UNITS = ("set", "add", "cap")
UNITS: dict[str, Unit] = {"": "raw", "x": "p99", "max": "max"}
AT = "@"
"""Stands before an intervention's own place: `9=2x@generated,firing`."""
MODES = ("error-kept", "replace")

_STRENGTH = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(x|max)?", re.ASCII)
_FEATURE = re.compile(r"\d{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Intervention:
    """One edit of one feature. Raises UsageError where its values make no sense."""

    kind: Kind
    feature: int
    value: float = 0.0
    """The m or v of the formula, in `unit`; ablate and mean-ablate have none."""
    unit: Unit = "raw"
    """`raw`: units of the code; `p99`, `max`: multiples of the feature's own p99 or max in the database."""
    where: str = EVERYWHERE
    """`generated,firing` and the like: see `core.steering.places`."""
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
        if self.kind not in WITH_UNITS and self.unit != "raw":
            raise UsageError(
                f"{self.kind} takes no unit", hint=f"units are for {', '.join(WITH_UNITS)}; scale takes a multiple"
            )
        if not isinstance(self.where, str):
            raise UsageError(f"{self.where!r} is no place for an intervention", hint="for example generated,firing")
        place(self.where)
        if not isinstance(self.enabled, bool):
            raise UsageError(f"{self.enabled!r} is neither on nor off", hint="enabled is true or false")

    @property
    def needs(self) -> str | None:
        """What it needs to know of its feature: `p99`, `max` or `mean`; None where nothing."""
        if self.kind == "mean-ablate":
            return "mean"
        return None if self.unit == "raw" else self.unit

    def describe(self) -> str:
        """In words, with the formula: `add 2 × its p99 to feature 9 in the prompt: z' = z + 2 p99`."""
        number, size = f"{self.value:.6g}", f"{abs(self.value):.6g}"
        strength = term = number
        if self.unit != "raw":
            strength, term, size = f"{number} × its {self.unit}", f"{number} {self.unit}", f"{size} {self.unit}"
        done, formula = {
            "ablate": (f"ablate feature {self.feature}", "0"),
            "mean-ablate": (f"mean-ablate feature {self.feature}", "its mean"),
            "scale": (f"scale feature {self.feature} by {number}", f"{number} z"),
            "set": (f"set feature {self.feature} to {strength}", term),
            "add": (f"add {strength} to feature {self.feature}", f"z {'-' if self.value < 0 else '+'} {size}"),
            "cap": (f"cap feature {self.feature} at {strength}", f"min(z, {term})"),
        }[self.kind]
        off = "" if self.enabled else " (off)"
        return f"{done}{words(self.where)}: z' = {formula}{condition(self.where)}{off}"

    def to_option(self) -> list[str]:
        """The options of the command line that ask for it, switched off or not: `["--add", "9=2x@prompt"]`."""
        return [f"--{self.kind}", "=".join(self._words()) + self._place()]

    def to_command(self) -> str:
        """The `/command` that asks for it, switched off or not: `/add 9 2x@prompt`."""
        return " ".join([f"/{self.kind}", *self._words()]) + self._place()

    def _words(self) -> list[str]:
        """Its feature and, where it has one, its strength, exactly."""
        if self.kind in WITHOUT_STRENGTH:
            return [str(self.feature)]
        suffix = next(suffix for suffix, unit in UNITS.items() if unit == self.unit)
        return [str(self.feature), written(self.value) + suffix]

    def _place(self) -> str:
        return "" if self.where == EVERYWHERE else AT + self.where

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
    """The m or v of the formula; of mean-ablate the mean."""
    where: str


def from_option(kind: str, text: str, *, where: str = EVERYWHERE) -> Intervention:
    """An intervention of the command line: `("ablate", "88")`, `("scale", "12=4")`, `("add", "9=2x@generated")`.

    `kind` is the option's name without dashes. A strength is `4` (raw units), `4x` (multiples of the
    feature's p99) or `4max` (of its max); for scale and amplify it is a plain multiple, and `4x` is 4 too. What
    stands behind `@` is its place, in the stead of `where`. Raises UsageError.
    """
    example = f"--{kind} 12" if kind in WITHOUT_STRENGTH else f"--{kind} 12=4"
    written, at, own = text.partition(AT)
    feature, equals, strength = written.partition("=")
    place = checked_where(own if at else where)
    return _read(kind, [feature, strength] if equals else [feature], place, written=text, example=example)


def from_command(line: str, *, where: str = EVERYWHERE) -> Intervention:
    """An intervention of a `/command`: `/amplify 12 4`, `/ablate 7`, `/set 3 8`, `/add 9 2x@generated,firing`.

    Strengths and places are those of `from_option`. Raises UsageError.
    """
    written, at, own = line.partition(AT)
    command, *said = written.split() or [""]
    if not command.startswith("/"):
        raise UsageError(f"{line!r} is no command", hint="commands begin with /, as in /amplify 12 4")
    kind = command[1:]
    example = f"{command} 12" if kind in WITHOUT_STRENGTH else f"{command} 12 4"
    return _read(kind, said, checked_where(own if at else where), written=line, example=example)


def resolve(
    interventions: Iterable[Intervention], scales: Scales | None, d_sae: int, *, chat: bool = False
) -> list[Resolved]:
    """The enabled interventions in raw units, in their order.

    `scales` is None where there is no feature database; `chat`: the prompt is a chat, so that its tokens have roles.
    Raises QueryError for a feature outside 0..d_sae − 1 and for a p99, a max or a mean that is not known, UsageError
    for a role where there is none.
    """
    resolved = []
    for item in interventions:
        if not item.enabled:
            continue
        at = place(item.where)
        for feature in (item.feature, *(feature for feature, _ in at.above)):
            if feature >= d_sae:
                raise QueryError(f"there is no feature {feature}", hint=f"this SAE has features 0 to {d_sae - 1}")
        if at.role and not chat:
            raise UsageError(
                f"feature {item.feature} is steered in the turns of the {at.role}, and a raw prompt has no turns",
                hint="make the prompt a chat, or choose another place",
            )
        resolved.append(Resolved(item.kind, item.feature, _raw(item, scales), item.where))
    return resolved


def in_raw(interventions: Iterable[Intervention], scales: Scales | None) -> tuple[Intervention, ...]:
    """The same edits without any need of the database: strengths in raw units, a mean-ablation set to its mean.

    Raises QueryError as `resolve` does. What is off stays as it is.
    """
    return tuple(
        item
        if item.needs is None or not item.enabled
        else replace(
            item, kind="set" if item.kind == "mean-ablate" else item.kind, value=_raw(item, scales), unit="raw"
        )
        for item in interventions
    )


def too_strong(edits: Iterable[Intervention], at: str = "") -> RunError:
    """What to say where the model's output is no number under these; `at` is the place, where one is known."""
    under = "; ".join(edit.describe() for edit in edits if edit.enabled)
    return RunError(
        f"{at}the model's output is no longer a number{f', under: {under}' if under else ''}",
        hint="an intervention is too strong: lower its strength",
    )


def written(number: float) -> str:
    """A number as it is typed: as short as it can be and exact."""
    short = f"{number:g}"
    return short if float(short) == number else repr(float(number))


def _read(name: str, said: Sequence[str], where: str, *, written: str, example: str) -> Intervention:
    """The intervention `name` with its words: a feature and, but for the ablations, a strength."""
    if name not in NAMES:
        raise UsageError(f"there is no intervention {name!r}", hint=nearest(name, NAMES))
    kind = NAMES[name]
    parts = ("a feature",) if kind in WITHOUT_STRENGTH else ("a feature", "a strength")
    if len(said) != len(parts):
        raise UsageError(f"{name} takes {' and '.join(parts)}, not {written!r}", hint=f"for example {example}")
    if not _FEATURE.fullmatch(said[0].strip()):
        raise UsageError(f"{said[0]!r} is no feature", hint=f"features are whole numbers: {example}")
    feature = int(said[0])
    if kind in WITHOUT_STRENGTH:
        return Intervention(kind, feature, where=where)
    found = _STRENGTH.fullmatch(said[1].strip())
    if not found:
        raise UsageError(
            f"{said[1]!r} is no strength",
            hint="give 4 (raw units), 4x (times its p99) or 4max (times its max)",
        )
    unit = UNITS[found[2] or ""]
    if kind == "scale" and unit == "p99":
        unit = "raw"
    return Intervention(kind, feature, float(found[1]), unit, where)


def _raw(item: Intervention, scales: Scales | None) -> float:
    """The m or v of its formula in raw units; of mean-ablate the mean."""
    if item.needs is None:
        return item.value
    instead = "ablate it" if item.kind == "mean-ablate" else "give the strength in raw units"
    if scales is None:
        raise QueryError(
            f"the {item.needs} of feature {item.feature} is not known", hint=f"`sae-tui analyze` finds it; or {instead}"
        )
    one = scales.get(item.feature, {}).get(item.needs)
    if one is None:
        raise QueryError(f"feature {item.feature} has no {item.needs}: it never fired in the analysis", hint=instead)
    return one if item.kind == "mean-ablate" else item.value * one


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

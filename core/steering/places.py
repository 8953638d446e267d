"""Where an intervention holds: conditions joined by commas that must all hold, such as `generated,while:88>0.5`.

    everywhere    at every position
    prompt        in what was given to the model; `generated`: in what it wrote itself
    from:N        from position N on; `until:N`: before position N
    role:R        in the turns of a chat's `user`, `assistant` or `system`; what is generated is the assistant's
    firing        where the feature itself fires: z > 0
    while:F>V     where feature F's activation exceeds V, in raw units

Positions count from 0 at the first token the model reads (BOS where there is one). Activations are those before any
edit. The first generated token is chosen at the prompt's last position: what `generated` does shows from the second on.

Owns this grammar and its words. Knows no tensors.
"""

import math
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from core.errors import UsageError, nearest

EVERYWHERE = "everywhere"
SIDES = ("prompt", "generated")
ROLES = ("user", "assistant", "system")
IN_IMAGES = (EVERYWHERE, "firing", "while")
"""Conditions that ask for activations alone, as far as they are the same in all of a kind."""
KNOWN = (EVERYWHERE, *SIDES, "from:N", "until:N", *(f"role:{role}" for role in ROLES), "firing", "while:F>V")

_BOUND = re.compile(r"(from|until):(\d{1,18})", re.ASCII)
_WHILE = re.compile(r"while:(\d{1,18})>([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The positions at which all conditions of a `where` hold."""

    begin: int = 0
    """The first position."""
    end: int | None = None
    """The position after the last; None: no end."""
    side: Literal["prompt", "generated"] | None = None
    """Only in what was given, or in what was generated; None: in both."""
    role: str | None = None
    """Only in the turns of this role."""
    firing: bool = False
    """Only where the feature itself fires."""
    above: tuple[tuple[int, float], ...] = field(default=())
    """Only where each of these features' activations exceeds its threshold."""

    @property
    def knows_text(self) -> bool:
        """Whether it asks for more of the text than activations: a position, a side or a role."""
        return self != Place(firing=self.firing, above=self.above)


@lru_cache(maxsize=256)
def place(where: str) -> Place:
    """What a `where` means. Raises UsageError where it means nothing, or holds nowhere."""
    begin, end = 0, None
    sides, roles, firing, above = set(), set(), False, []
    for word in where.split(","):
        if bound := _BOUND.fullmatch(word):
            position = int(bound[2])
            if bound[1] == "from":
                begin = max(begin, position)
            else:
                end = position if end is None else min(end, position)
        elif word in SIDES:
            sides.add(word)
        elif word.removeprefix("role:") in ROLES and word.startswith("role:"):
            roles.add(word.removeprefix("role:"))
        elif word == "firing":
            firing = True
        elif found := _threshold(word):
            above.append(found)
        elif word != EVERYWHERE:
            raise UsageError(f"{word!r} is no place for an intervention", hint=nearest(word, KNOWN))
    never = (
        (end is not None and begin >= end, f"no position is from {begin} on and before {end}"),
        (len(sides) > 1, "no token is both of the prompt and generated"),
        (len(roles) > 1, "no token is of two roles"),
        ("generated" in sides and roles - {"assistant"}, "what is generated is the assistant's"),
    )
    for fault, why in never:
        if fault:
            raise UsageError(f"{where!r} holds nowhere", hint=why)
    side, role = next(iter(sides), None), next(iter(roles), None)
    return Place(begin=begin, end=end, side=side, role=role, firing=firing, above=tuple(above))


def checked_where(where: str) -> str:
    """`where` without blanks, if it is a place. Raises UsageError."""
    where = "".join(where.split())
    place(where)
    return where


def require_no_text(where: str) -> None:
    """Raise UsageError for a place in a text, where there is none: of an image activations alone are known."""
    if place(where).knows_text:
        raise UsageError(
            f"{where!r} is a place in a text, not in an image", hint="in images: everywhere, firing, while:F>V"
        )


def words(where: str) -> str:
    """The place behind what is done there: ` in the prompt from token 4 on where it fires`; nothing for everywhere."""
    at = place(where)
    return "".join(
        f" {part}"
        for part, holds in (
            (f"in the {at.side}" + (" text" if at.side == "generated" else ""), at.side),
            (f"in the turns of the {at.role}", at.role),
            (f"from token {at.begin} on", at.begin and at.end is None),
            (f"before token {at.end}", at.end is not None and not at.begin),
            (f"from token {at.begin} until before {at.end}", at.begin and at.end is not None),
            ("where it fires", at.firing),
            ("while " + " and ".join(f"feature {f} is above {v:.6g}" for f, v in at.above), at.above),
        )
        if holds
    )


def condition(where: str) -> str:
    """What a formula's z' asks of activations: ` if z > 0 and z_88 > 0.5`; else z' is z. Nothing where it asks none."""
    at = place(where)
    asked = [*(["z > 0"] if at.firing else []), *(f"z_{f} > {v:.6g}" for f, v in at.above)]
    return f" if {' and '.join(asked)}" if asked else ""


def _threshold(word: str) -> tuple[int, float] | None:
    """The feature and the threshold of a `while:F>V`; None for another word. Raises UsageError."""
    if not word.startswith("while"):
        return None
    found = _WHILE.fullmatch(word)
    if not found or not math.isfinite(float(found[2])):
        raise UsageError(f"{word!r} is no place for an intervention", hint="for example while:88>0.5")
    return int(found[1]), float(found[2])

"""The result of a query: as columns of a table, as text."""

import json
import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from textual.content import Content

from sae_tui.text import safe
from sae_tui.widgets.columns import Column

if TYPE_CHECKING:
    from core.analysis.store import Result

WIDEST = 40
"""Cells that a column takes at most, as long as others need room."""
MEASURED = 500
"""Rows that decide how wide columns are."""
LONGEST = 1_000
"""Characters of a cell that are looked at; all of it is shown by itself."""
NUMBERS = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\(.*\)|BIGNUM")
FEATURE = re.compile(r"(.*_)?(feature|other)", re.IGNORECASE)
"""Columns whose whole numbers are features."""
DIGITS, LEAST = 6, 3
"""Significant digits of the largest double of a column, and of the smallest."""
LONGEST_DOUBLE = 14
"""Digits of a double without an exponent, at most."""
NULL = Content.styled("NULL", "italic $text-disabled")


def columns(result: "Result") -> list[Column]:
    """The columns of a result, as wide as what stands in their first rows needs."""
    found = []
    for i, (name, kind) in enumerate(zip(result.columns, result.types, strict=True)):
        number = bool(NUMBERS.fullmatch(kind))
        spelled = _aligned([row[i] for row in result.rows[:MEASURED]])
        lengths = sorted(cell_len(safe(spelled(row[i])[:WIDEST])) for row in result.rows[:MEASURED]) or [0]
        # one long text among short ones may not push other columns out of view: it gets room only where some is left
        usual = lengths[-1] if number else lengths[int(0.95 * (len(lengths) - 1))]
        width = max(4, usual, min(cell_len(safe(name)), WIDEST))
        found.append(
            Column(
                str(i),
                name,
                width,
                lambda row, i=i, spelled=spelled: NULL if row[i] is None else spelled(row[i]),
                right=number,
                weight=int(width < lengths[-1] or lengths[-1] >= WIDEST),
            )
        )
    return found


def _aligned(values: Sequence[Any]) -> Callable[[Any], str]:
    """How values of a column are written in one line: doubles with their points below each other.

    All have as many decimals as the largest needs for `DIGITS` significant digits and the smallest for `LEAST`, none
    that would be 0 in all of them. Where that is more than fits a column, all have an exponent.
    """
    doubles = [v for v in values if isinstance(v, float) and v and math.isfinite(v)]
    if not doubles:
        return in_line
    first, last = (math.floor(math.log10(most(map(abs, doubles)))) for most in (max, min))
    needed = max(-int(Decimal(in_line(v)).as_tuple().exponent) for v in doubles)
    decimals = max(0, min(needed, max(DIGITS - 1 - first, LEAST - 1 - last)))
    if max(first, 0) + decimals > LONGEST_DOUBLE:
        return lambda value: f"{value:.{DIGITS - 1}e}" if isinstance(value, float) else in_line(value)

    def spelled(value: Any) -> str:
        if not isinstance(value, float) or not math.isfinite(value):
            return in_line(value)
        text = f"{value:.{decimals}f}"
        return text if not value or float(text) else f"{value:.0e}"  # smaller than any that was looked at

    return spelled


def in_line(value: Any) -> str:
    """A value in one line."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.{DIGITS}g}"
    if isinstance(value, str):
        return value[:LONGEST]
    return str(value) if isinstance(value, int) else json.dumps(value, ensure_ascii=False)[:LONGEST]


def whole(value: Any) -> str:
    """A value as text, nothing left out."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def spelled_out(value: Any) -> str:
    """A value as a person reads it: JSON over several lines, also where it is text."""
    if isinstance(value, str):
        if value.lstrip()[:1] not in ("{", "["):
            return value
        try:
            value = json.loads(value)
        except ValueError:
            return value
    return json.dumps(value, ensure_ascii=False, indent=2)

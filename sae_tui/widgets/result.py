"""The result of a query: as columns of a table, as text."""

import json
import re
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
NULL = Content.styled("NULL", "italic $text-disabled")


def columns(result: "Result") -> list[Column]:
    """The columns of a result, as wide as what stands in their first rows needs."""
    found = []
    for i, (name, kind) in enumerate(zip(result.columns, result.types, strict=True)):
        number = bool(NUMBERS.fullmatch(kind))
        lengths = sorted(cell_len(safe(in_line(row[i])[:WIDEST])) for row in result.rows[:MEASURED]) or [0]
        # one long text among short ones may not push other columns out of view: it gets room only where some is left
        usual = lengths[-1] if number else lengths[int(0.95 * (len(lengths) - 1))]
        width = max(4, usual, min(cell_len(safe(name)), WIDEST))
        found.append(
            Column(
                str(i),
                name,
                width,
                lambda row, i=i: NULL if row[i] is None else in_line(row[i]),
                right=number,
                weight=int(width < lengths[-1] or lengths[-1] >= WIDEST),
            )
        )
    return found


def in_line(value: Any) -> str:
    """A value in one line."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
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

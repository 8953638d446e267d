"""The columns of a table: which of them are in view, how wide each is, and cells as runs of text in few styles."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style as RichStyle
from textual.content import Content
from textual.style import Style

from sae_tui.text import safe, shortened

PREFIX = 3
"""Cells before the first column: the cursor's glyph, the mark's, a space."""
GAP = 2
"""Cells between two columns."""
END = 1
"""Cells after the last column, where `›` says that there are more."""


@dataclass(frozen=True, slots=True)
class Column:
    """What is shown of each row, and how wide."""

    name: str
    header: str
    width: int
    """In cells; at least that, where it has a weight."""
    cell: Callable[[Any], str | Content]
    """A `str` is made safe; the text of `Content` is safe already."""
    right: bool = False
    weight: int = 0
    """Its share of the width that is left over."""
    style: str = ""
    """Of a plain cell, in Textual's words: `$text-muted`."""


class Columns:
    """Columns side by side, the cursor on one of them. The first `pinned` stay when the others move sideways."""

    def __init__(self, columns: Sequence[Column], pinned: int) -> None:
        self.all = tuple(columns)
        self.at = 0
        """The number of the column at the cursor."""
        self.aside = 0
        """How many are out of view at the left."""
        self._pinned = pinned

    @property
    def current(self) -> Column:
        """The column at the cursor."""
        return self.all[self.at]

    def number(self, name: str) -> int | None:
        """The number of the column of this name."""
        return next((i for i, column in enumerate(self.all) if column.name == name), None)

    def go(self, at: int, width: int) -> None:
        """Put the cursor on a column, and move the columns until it is in view, if the table is `width` cells wide."""
        self.at = max(0, min(at, len(self.all) - 1))
        if self.at >= self._pinned:
            self.aside = min(self.aside, self.at - self._pinned)
            while width and self.at not in (i for i, _ in self.fitted(width)) and self.aside < self.at:
                self.aside += 1

    def fitted(self, width: int) -> list[tuple[int, int]]:
        """Number and width of each column in view, left to right."""
        room = width - PREFIX - END
        found: list[tuple[int, int]] = []
        for i in [*range(min(self._pinned, len(self.all))), *range(self._pinned + self.aside, len(self.all))]:
            needed = self.all[i].width + (GAP if found else 0)
            if needed > room and found:
                break
            found.append((i, min(self.all[i].width, max(0, room))))
            room -= needed
        weights = sum(self.all[i].weight for i, _ in found)
        fitted = []
        for i, cells in found:
            weight = self.all[i].weight
            more = max(0, room) * weight // weights if weight else 0
            fitted.append((i, cells + more))
            room, weights = room - more, weights - weight
        return fitted

    def more(self, width: int) -> bool:
        """There are columns out of view at the right."""
        fitted = self.fitted(width)
        return bool(fitted) and fitted[-1][0] < len(self.all) - 1

    def left_over(self, width: int) -> int:
        """Cells between the last column in view and the end of the line."""
        widths = [cells for _, cells in self.fitted(width)]
        return max(0, width - PREFIX - END - sum(widths) - GAP * (len(widths) - 1))

    def number_at(self, x: int, width: int) -> int | None:
        """The number of the column at a cell."""
        place = PREFIX
        for i, cells in self.fitted(width):
            if place <= x < place + cells + GAP:
                return i
            place += cells + GAP
        return None


def sized(cell: str | Content, width: int, *, right: bool = False, style: str = "") -> list[tuple[str | Content, str]]:
    """A cell in exactly `width` cells, as parts with their styles: cut with an ellipsis or filled with blanks."""
    if isinstance(cell, str):
        cell = shortened(safe(cell), width)
        blank = " " * (width - cell_len(cell))
    else:
        cell = cell.truncate(width, ellipsis=True)
        blank = " " * (width - cell.cell_length)
    return [(blank, ""), (cell, style)] if right else [(cell, style), (blank, "")]


def runs(parts: Iterable[tuple[str | Content, str]], styled: Callable[[str], Style]) -> list[Segment]:
    """The parts in as few runs of one style as they have: at a terminal each costs 40 bytes besides its text."""
    blank = styled("").rich_style
    found: list[tuple[str, RichStyle]] = []
    for part, name in parts:
        style = styled(name)
        pieces = part.render(style, end="", parse_style=_parsed) if isinstance(part, Content) else ((part, style),)
        for text, drawn in pieces:
            rich = blank if text.isspace() and not drawn.underline else drawn.rich_style
            if found and found[-1][1] == rich:
                found[-1] = (found[-1][0] + text, rich)
            elif text:
                found.append((text, rich))
    return [Segment(text, rich) for text, rich in found]


def _parsed(style: str | Style) -> Style:
    return Style.parse(style) if isinstance(style, str) else style

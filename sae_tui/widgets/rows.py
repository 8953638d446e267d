"""Rows of text, of which only those that changed are sent to the terminal."""

from collections.abc import Sequence

from rich.cells import cell_len
from textual.content import Content
from textual.geometry import Region
from textual.strip import Strip
from textual.visual import Visual
from textual.widget import Widget

Row = tuple[tuple[str, int], ...]
"""A line: runs of characters of one cell each, every run with its ink, a number of which a widget makes a style."""


def with_cell(row: Row, place: int, character: str, ink: int) -> Row:
    """A row with another ink in one cell, and with another character in it where one is given."""
    found: list[tuple[str, int]] = []
    at = 0
    for text, before in row:
        here = place - at
        if 0 <= here < len(text):
            found += [(text[:here], before), (character or text[here], ink), (text[here + 1 :], before)]
        else:
            found.append((text, before))
        at += len(text)
    return tuple((text, before) for text, before in found if text)


def wrapped(pieces: Sequence[Row], width: int, rows: int, gap: int) -> list[Row]:
    """The pieces side by side, over as many rows as they take, at most `rows`; `gap` is the ink of what is between."""
    lines: list[list[tuple[str, int]]] = [[]]
    room = width
    for piece in pieces:
        size = sum(cell_len(text) for text, _ in piece) + 1
        if size > room and lines[-1]:
            if len(lines) == rows:
                break
            lines.append([])
            room = width
        lines[-1] += [*piece, (" ", gap)]
        room -= size
    return [tuple(line) for line in lines]


def differs_to(old: Row, new: Row) -> int:
    """How many cells from the left must be sent for `new` to stand where `old`, another one, did."""
    a, b = ([(c, ink) for text, ink in row for c in text] for row in (old, new))
    last = max(len(a), len(b)) - 1
    while last >= 0 and last < min(len(a), len(b)) and a[last] == b[last]:
        last -= 1
    longer = a if len(a) > len(b) else b
    return cell_len("".join(c for c, _ in longer[: last + 1]))


def _changed_to(old: Content, new: Content) -> int:
    """The same for lines of content: without what is alike at their ends."""
    a, b = old.plain, new.plain
    longest = max(old.cell_length, new.cell_length)
    if len(a) != len(b) or old.spans != new.spans:
        return longest
    last = next((i for i in reversed(range(len(a))) if a[i] != b[i]), len(a) - 1)
    return cell_len(b[: last + 1]) if cell_len(a) == cell_len(b) else longest


class Rows(Widget):
    """Lines of content, each sent only when it is another one. Those that do not fit are cut."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._lines: list[Content] = []
        self._height: str | int = "100%"

    @property
    def lines(self) -> Sequence[Content]:
        """What it shows."""
        return self._lines

    def show(self, lines: Sequence[Content]) -> None:
        """Show other lines; one that is the same as before costs nothing."""
        before, self._lines = self._lines, list(lines)
        for y in range(max(len(before), len(lines))):
            if y >= len(before) or y >= len(lines):
                self.refresh(Region(0, y, self.size.width, 1))
            elif not before[y].is_same(lines[y]):
                self.refresh(Region(0, y, min(self.size.width, _changed_to(before[y], lines[y])), 1))

    def fill(self, lines: Sequence[Content]) -> None:
        """Show other lines, in a height that leaves its parent something to scroll only where they are too many.

        For a widget whose height is all of its parent's: another height costs a layout, and so a whole screen.
        """
        room = self.parent.size.height if isinstance(self.parent, Widget) else 0
        wanted = "100%" if len(lines) <= room else len(lines)
        if wanted != self._height:
            self._height = self.styles.height = wanted
        self.show(lines)

    def render_line(self, y: int) -> Strip:
        """One of them."""
        width = self.size.width
        if y >= len(self._lines) or not width:
            return Strip.blank(width, self.visual_style.rich_style)
        line = self._lines[y].truncate(width, ellipsis=True)
        return Visual.to_strips(self, line, width, 1, self.visual_style, pad=True)[0]

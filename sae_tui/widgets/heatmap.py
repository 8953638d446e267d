"""Features across texts as a heat map, a line each, with a cursor: a shade says how strong, with and without colour."""

from collections.abc import Sequence

from rich.cells import cell_len
from textual.events import Resize
from textual.message import Message

from sae_tui import keys
from sae_tui.text import figure, shortened
from sae_tui.widgets.line_view import LineView, Part

SHADES, ASCII = " ░▒▓█", " .:*#"
INKS = ("$text-disabled", "$primary 60%", "$primary", "$accent 80%", "$accent")
LABEL = 24
"""Cells of what a feature is called, where there is room."""
WIDE = 4
"""Cells of a text, where there is room."""


class HeatMap(LineView):
    """A header of categories above, and what the shades say. Where not all texts fit, those around the cursor are."""

    BINDINGS = [*keys.bindings("heatmap")]
    DEFAULT_CSS = "HeatMap { height: 1fr; width: 1fr; overflow: hidden; }"

    class Moved(Message):
        """The cursor is on another cell."""

    class Opened(Message):
        """The feature at the cursor is to be opened."""

    def __init__(self, *, ascii_only: bool, id: str, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._shades = ASCII if ascii_only else SHADES
        self._rule = "|" if ascii_only else "│"
        self._values: Sequence[Sequence[float]] = ()
        self._labels: Sequence[str] = ()
        self._groups: Sequence[tuple[str, range]] = ()
        self._most = 1.0
        self._top = self._left = 0
        self.row = self.column = 0
        """The cell at the cursor: a feature and a text, by their places."""

    def show(
        self, values: Sequence[Sequence[float]], labels: Sequence[str], groups: Sequence[tuple[str, range]]
    ) -> None:  # fmt: skip
        """A line of `values` for each of `labels`; `groups` are safe names and the columns that are theirs."""
        if values is not self._values:
            self.row = self.column = self._top = self._left = 0
        self._values, self._labels, self._groups = values, labels, groups
        self._most = max((v for row in values for v in row), default=0.0) or 1.0
        self._see()

    @property
    def _n(self) -> int:
        return len(self._values[0]) if self._values else 0

    @property
    def _label(self) -> int:
        return LABEL if self.line_width >= 100 else 12

    def _cells(self) -> tuple[int, int]:
        """Cells of a text, and texts in view: more than `WIDE` of them where a category's name takes that."""
        room = self.line_width - self._label - 1 - len(self._groups)
        named = max((-(-cell_len(name) // len(places)) for name, places in self._groups if places), default=0)
        wide = max(1, min(max(WIDE, named), room // max(1, self._n)))
        return wide, max(1, room // wide)

    def _spare(self, wide: int) -> list[int]:
        """Of each category the blank cells after its texts, for its name, where all texts are in view."""
        left = self.line_width - self._label - 1 - len(self._groups) - wide * self._n
        spare: list[int] = []
        for i, (name, places) in enumerate(self._groups):
            share = max(0, left) // (len(self._groups) - i)
            spare.append(max(0, min(share, cell_len(name) - wide * len(places))))
            left -= spare[-1]
        return spare

    def _scale(self) -> str:
        """What the shades say, which are quarters of the largest value."""
        most = figure(self._most)
        return f"{self._shades[1:]} quarters of {most}" if self._label == LABEL else f"{self._shades[1:]} {most}"

    def _see(self) -> None:
        """Keep the cursor in view, and draw."""
        _, across = self._cells()
        rows = max(1, self.size.height - 1)
        self._left = max(0, min(self._left, self.column, self._n - 1))
        self._left = max(self._left, self.column - across + 1, 0)
        self._top = max(min(self._top, self.row), self.row - rows + 1, 0)
        self.changed()

    def parts(self, y: int) -> tuple[Sequence[Part], bool]:
        """The names of the categories, or a feature's line."""
        if not self._values:
            return [], False
        wide, across = self._cells()
        seen = range(self._left, min(self._n, self._left + across))
        row = self._top + y - 1
        if y and row >= len(self._values):
            return [], False
        here = row == self.row and y > 0
        label = self._labels[row] if y else self._scale()
        mark = "▸" if here else " "
        found: list[Part] = [(mark + shortened(label, self._label - 2).ljust(self._label - 1), "bold" if here else "")]
        for (name, places), spare in zip(self._groups, self._spare(wide), strict=True):
            shown = range(max(places.start, seen.start), min(places.stop, seen.stop))
            if not shown:
                continue
            found.append((self._rule, "$text-muted"))
            if not y:
                at = self.column in places
                width = wide * len(shown) + spare
                found.append((shortened(name, width).ljust(width), "bold $accent" if at else "$text-muted"))
                continue
            found += [self._cell(row, column, wide) for column in shown]
            found.append((" " * spare, ""))
        return found, False

    def _cell(self, row: int, column: int, wide: int) -> Part:
        value = self._values[row][column]
        level = 0 if value <= 0 else min(4, 1 + int(4 * value / self._most))
        if (row, column) == (self.row, self.column):
            return (self._shades[level] if level else "·") * wide, "bold reverse"
        return self._shades[level] * wide, INKS[level]

    def _go(self, row: int, column: int) -> None:
        if self._values:
            self.row = max(0, min(row, len(self._values) - 1))
            self.column = max(0, min(column, self._n - 1))
            self._see()
            self.post_message(self.Moved())

    def _group(self, by: int) -> None:
        starts = [places.start for _, places in self._groups]
        at = max((i for i, start in enumerate(starts) if start <= self.column), default=0)
        if by > 0:
            self._go(self.row, starts[min(at + 1, len(starts) - 1)])
        else:
            self._go(self.row, starts[at] if self.column > starts[at] else starts[max(0, at - 1)])

    def on_resize(self, event: Resize) -> None:
        """Other cells fit."""
        self.forget()
        self._see()

    def action_open(self) -> None:
        """Open it."""
        if self._values:
            self.post_message(self.Opened())

    def action_left(self) -> None:
        """The text before."""
        self._go(self.row, self.column - 1)

    def action_right(self) -> None:
        """The next text."""
        self._go(self.row, self.column + 1)

    def action_down(self) -> None:
        """The feature below."""
        self._go(self.row + 1, self.column)

    def action_up(self) -> None:
        """The feature above."""
        self._go(self.row - 1, self.column)

    def action_first(self) -> None:
        """The first feature."""
        self._go(0, self.column)

    def action_last(self) -> None:
        """The last feature."""
        self._go(len(self._values) - 1, self.column)

    def action_group(self) -> None:
        """The next category."""
        self._group(1)

    def action_group_before(self) -> None:
        """The category before."""
        self._group(-1)

"""How strong every feature gets, as a heat map: a cell each in the order of their numbers, and a cursor.

Of more features than there are cells some share one, which shows the strongest. Where there are few, cells are larger.
What is drawn is what `sae-tui features --heat` prints.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.segment import Segment
from rich.style import Style
from textual.events import Resize
from textual.message import Message
from textual.strip import Strip

from sae_tui.text import figure
from sae_tui.widgets.line_view import LineView, Part
from sae_tui.widgets.picture import SIGNED, Kind, heat_map, image, kind_of

SIZES = (1, 2, 3, 4, 6, 8, 12)
"""Pixels of a cell across; of its height two stand in a cell of the terminal."""
ROUND = 10
"""Rows are of a multiple of so many cells, where they are longer: numbers are then found by eye."""
FAINT = 0.11
"""The least that is drawn of a feature that fires: what is blank never did, or is not listed."""


@dataclass(frozen=True, slots=True)
class Grid:
    """How cells lie: how many features each stands for, how many are in a row, and pixels of one across and down."""

    each: int = 1
    columns: int = 1
    across: int = 1
    down: int = 1


def fitted(n: int, width: int, height: int, *, plain: bool) -> Grid:
    """The widest cells for `n` features in `width` by `height` cells of the terminal, then the highest.

    Without colours a row takes whole lines.
    """
    found = Grid()
    for across in SIZES:
        columns = width // across
        columns -= columns % ROUND if columns > 2 * ROUND else 0
        least = across + across % 2 if plain else across
        rows = 2 * height // least
        if across > 1 and columns * rows < n:
            break
        columns, rows = max(1, columns), max(1, rows)
        each = max(1, -(-n // (columns * rows)))
        down = min(2 * across, 2 * height // -(-n // (each * columns))) if n else least
        found = Grid(each, columns, across, max(least, down - down % 2 if plain else down))
    return found


class Picture:
    """The cells as lines of a terminal. Making it looks at each, which takes longer than a key may: for a worker."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], n: int, grid: Grid, kind: Kind) -> None:
        """`rows` are what `Store.peaks` says of the `n` features of a session."""
        self.grid, self._n = grid, n
        self._kind: Kind = kind
        self.rows = {row["place"]: row for row in rows}
        self.most = max((row["peak"] or 0.0 for row in rows), default=0.0) or 1.0
        self.order = sorted(self.rows, key=lambda place: (-(self.rows[place]["peak"] or 0.0), place))
        """The cells by their strength."""
        self._lines: dict[int, Strip] = {}
        for y in range(-(-grid.down * -(-n // (grid.each * grid.columns)) // 2)):
            self._lines[y] = self._line(y, None)

    def line(self, y: int, at: int) -> Strip:
        """A line of it, with the cell `at` as the cursor's where it is there."""
        return self._line(y, at) if self.holds(y, at) else self._lines.get(y, Strip([]))

    def holds(self, y: int, at: int) -> bool:
        """Whether a line has a part of the cell."""
        first = at // self.grid.columns * self.grid.down
        return first < 2 * y + 2 and 2 * y < first + self.grid.down

    def _line(self, y: int, at: int | None) -> Strip:
        grid, kind = self.grid, self._kind
        places = [line // grid.down for line in (2 * y, 2 * y + 1)]
        values = [self._values(row) for row in places]
        if not values[1]:  # the last row stands alone on its line, and takes all of it
            values[1], places[1] = [*values[0]], places[0]
        column = None if at is None else at % grid.columns * grid.across
        for line, row in zip(values, places, strict=True):
            line += [0.0] * (max(map(len, values)) - len(line))
            if at is not None and column is not None and at // grid.columns == row and kind != "plain":
                line[column : column + grid.across] = [-1.0] * grid.across  # the side of the scale that is not in use
        if kind != "plain":
            return heat_map(values, kind)[0]
        strip = image(values, kind)[0]
        return strip if column is None else _reversed(strip, column, column + grid.across)

    def _values(self, row: int) -> list[float]:
        """A row of pixels, from 0 to 1."""
        grid = self.grid
        found: list[float] = []
        for place in range(row * grid.columns, min((row + 1) * grid.columns, -(-self._n // grid.each))):
            peak = self.rows[place]["peak"] if place in self.rows else None
            found += [max(FAINT, peak / self.most) if peak else 0.0] * grid.across
        return found


class Peaks(LineView):
    """Numbers at the left, the cells, the scale below."""

    DEFAULT_CSS = "Peaks { height: 1fr; width: 1fr; overflow: hidden; }"

    class Wanted(Message):
        """Other cells fit: the strongest of `grid.each` features are wanted."""

    class Moved(Message):
        """The cursor is on another cell."""

    def __init__(self, *, ascii_only: bool, id: str, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._ascii = ascii_only
        self._n = 0
        self.grid = Grid()
        self._picture: Picture | None = None
        self._kept: dict[int, Strip] = {}
        self._at: int = 0

    @property
    def at(self) -> Mapping[str, Any] | None:
        """What `Store.peaks` says of the cell at the cursor; None where no listed feature is in it."""
        return self._picture.rows.get(self._at) if self._picture else None

    @property
    def place(self) -> int:
        """The cell at the cursor, from 0."""
        return self._at

    def begin(self, n: int) -> None:
        """A session of `n` features."""
        self._n = n
        self._fit()

    def paint(self) -> Callable[[Sequence[Mapping[str, Any]]], Picture]:
        """What makes the picture for these cells of an answer, in a thread."""
        n, grid, kind = self._n, self.grid, self._kind
        return lambda rows: Picture(rows, n, grid, kind)

    def show(self, picture: Picture, feature: int | None = None) -> None:
        """The answer to `Wanted`; the cursor on that feature's cell, or else on the strongest."""
        if picture.grid != self.grid:
            return  # other cells fit meanwhile, and another picture comes
        self._picture = picture
        self.forget()
        place = -1 if feature is None else feature // self.grid.each
        self._at = place if place in picture.rows else next(iter(picture.order), 0)
        self.changed()
        self.post_message(self.Moved())

    def move(self, across: int, down: int) -> None:
        """The cursor so many cells on, as far as there are any."""
        cells, columns = -(-self._n // self.grid.each), self.grid.columns
        row, column = divmod(self._at, columns)
        row = max(0, min(row + down, (cells - 1) // columns))
        self.go(min(cells - 1, row * columns + max(0, min(column + across, columns - 1))))

    def go(self, place: int) -> None:
        """The cursor to a cell; the last where there are no so many."""
        self._at = max(0, min(place, -(-self._n // self.grid.each) - 1))
        self.changed()
        self.post_message(self.Moved())

    def step(self, by: int) -> None:
        """To the cell that is so many weaker."""
        if self._picture and self._picture.order:
            order = self._picture.order
            at = order.index(self._at) if self.at else -1
            self.go(order[(at + by) % len(order)])

    def on_resize(self, event: Resize) -> None:
        """Other cells fit."""
        self._fit()

    def _fit(self) -> None:
        self.forget()
        grid = fitted(self._n, self.line_width - self._gutter, self.size.height - 1, plain=self._kind == "plain")
        if self._n and self.size.height > 1:
            if grid != self.grid:
                self._at, self._picture = self._at * self.grid.each // grid.each, None
            self.grid = grid
            self.post_message(self.Wanted())

    @property
    def _gutter(self) -> int:
        return max(3, len(str(self._n))) + 3

    @property
    def _kind(self) -> Kind:
        return kind_of(self.app, ascii_only=self._ascii)

    def forget(self) -> None:
        """All lines are other ones."""
        super().forget()
        self._kept.clear()

    def _line(self, y: int) -> Strip:
        """A line as it was, where the cursor is not on it."""
        here = self._picture is not None and self._picture.holds(y, self._at)
        if not here and y in self._kept:
            return self._kept[y]
        last = y == self.size.height - 1
        cells = self._scale() if last else self._picture.line(y, self._at) if self._picture else Strip([])
        ground = self._style("", False).rich_style
        cells = cells.apply_style(ground) if self._kind == "plain" else cells
        drawn = Strip([*super()._line(y).crop(0, self._gutter), *cells]).adjust_cell_length(self.line_width, ground)
        if not here:
            self._kept[y] = drawn
        return drawn

    def parts(self, y: int) -> tuple[list[Part], bool]:
        """What stands before the cells: the number of the first feature of a row that begins there, or the scale's."""
        width, row = self._gutter - 3, -(-2 * y // self.grid.down)
        if y == self.size.height - 1:
            return [(f"{'max' if self._picture else '':>{width}}   ", "$text-muted")], False
        begins = row * self.grid.down < 2 * y + 2 and row * self.grid.columns * self.grid.each < self._n
        number = str(row * self.grid.columns * self.grid.each) if begins else ""
        at = self._at // self.grid.columns * self.grid.down // 2 == y
        mark = (">" if self._ascii else "▸") if at and self._picture else " "
        return [(f"{number:>{width}} ", "$text-muted"), (f"{mark} ", "bold $accent")], False

    def _scale(self) -> Strip:
        picture, kind = self._picture, self._kind
        if picture is None:
            return Strip([])
        shades = 10 if kind == "plain" else SIGNED + 1
        ramp = [[i / (shades - 1) for i in range(shades) for _ in range(2)]] * 2
        strip = image(ramp, kind)[0] if kind == "plain" else heat_map(ramp, kind)[0]
        ink = self._style("$text-muted", False).rich_style
        each = self.grid.each
        words = "a feature a cell" if each == 1 else f"a cell: strongest of {each:,}"
        return Strip([
            Segment("0 ", ink), *strip, Segment(f" {figure(picture.most)}   {words}, {self.grid.columns} a row", ink)
        ])  # fmt: skip


def _reversed(strip: Strip, first: int, end: int) -> Strip:
    """A part of it in reverse."""
    left, middle, right = strip.crop(0, first), strip.crop(first, end), strip.crop(end)
    return Strip([*left, *middle.apply_style(Style(reverse=True)), *right])

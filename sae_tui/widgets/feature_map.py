"""The map of decoder directions in cells: features as dots, or shades where there are many, clusters by their names.

A feature's dot says where it lies; what is lit has a glyph of its own, so that all of it reads without colour.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.cells import cell_len
from rich.segment import Segment
from textual.message import Message
from textual.strip import Strip

from core.analysis.map import DOTS_X, DOTS_Y, Cell, Window
from sae_tui.dots import braille, quarters
from sae_tui.text import shortened, token
from sae_tui.widgets.line_view import LineView

SHADES, ASCII = "░▒▓█", ".:*#"
INKS = ("$text-muted", "$primary 70%", "$primary", "bold $primary")
"""By how many features lie in a cell, on a log scale."""
REST, LIT, NAME, HERE = "$text-disabled", "bold $accent", "bold $foreground", "bold reverse"
CROWDED = 2.0
"""Features to a dot that holds any, above which shades tell more than dots."""
CELLS_A_NAME = 220
NAME_WIDTH = 14


@dataclass(frozen=True, slots=True)
class Ground:
    """What lies in the window, as it is drawn below names and cursor."""

    cells: Mapping[tuple[int, int], Cell] = field(default_factory=dict)
    lines: Sequence[Sequence[tuple[int, str, str]]] = ()
    """Of each row its runs of one ink: the column where one begins, its characters, of a cell each, and the ink."""
    in_view: int = 0
    """How many features they are."""


def painted(cells: Iterable[Cell], columns: int, rows: int, *, graph: str, filtered: bool) -> Ground:
    """The cells of a window as characters; `filtered`: some features are lit and the rest are not.

    It looks at every cell of the screen, which takes longer than a key may: for a worker.
    """
    at = {(cell.column, cell.row): cell for cell in cells}
    n, most = sum(cell.n for cell in at.values()), max((cell.n for cell in at.values()), default=1)
    crowded = n > CROWDED * sum(cell.dots.bit_count() for cell in at.values())
    shades = ASCII if graph == "ascii" else SHADES if crowded else None
    dotted = braille if graph == "braille" else quarters

    def drawn(cell: Cell) -> tuple[str, str]:
        if filtered and cell.lit:
            return ("oO" if graph == "ascii" else "○●")[2 * cell.lit >= cell.n], LIT
        level = min(3, int(4 * math.log1p(cell.n) / math.log1p(max(3, most)) - 1e-9))
        return shades[level] if shades else dotted(cell.dots), REST if filtered else INKS[level]

    lines = []
    for y in range(rows):
        line, ink = [], ""
        for x in range(columns):
            glyph, ink = drawn(at[x, y]) if (x, y) in at else (" ", ink)  # a blank needs no ink of its own
            if not line or line[-1][2] != ink:
                line.append((x, "", ink))
            line[-1] = (line[-1][0], line[-1][1] + glyph, ink)
        lines.append(line)
    return Ground(at, lines, n)


class FeatureMap(LineView):
    """What lies in a window of the plane, and a cursor in it."""

    DEFAULT_CSS = "FeatureMap { height: 1fr; width: 1fr; }"

    class Moved(Message):
        """Another cluster is under the cursor, or none."""

    class Wanted(Message):
        """The cells of the window are wanted: it, or the size of the map, is another one."""

    def __init__(self, *, graph: str, id: str) -> None:
        super().__init__(id=id)
        self.graph = graph
        self._whole = self.window = Window(0, 1, 0, 1)
        self.ground = Ground()
        """What lies in the window, or lay in the one before."""
        self._clusters: dict[int, Mapping[str, Any]] = {}
        self._at = (0, 0)
        self.cluster: int | None = None
        """The one under the cursor, or the one that was walked to."""
        self.names = True
        """Whether clusters are named."""
        self._placed: dict[int, dict[int, tuple[str, bool]]] = {}
        self._kept: dict[int, tuple[object, Strip]] = {}
        """Lines that were made of these cells, and of what names and cursor."""

    @property
    def room(self) -> tuple[int, int]:
        """Columns and rows it has."""
        return max(1, self.size.width), max(1, self.size.height)

    @property
    def zoom(self) -> float:
        """How many times as wide as the window the whole map is."""
        return (self._whole.x1 - self._whole.x0) / (self.window.x1 - self.window.x0)

    def begin(self, whole: Window, clusters: Iterable[Mapping[str, Any]], at: int | None) -> None:
        """Another map: all of it in the window, the cursor on the cluster `at`, or the largest."""
        self._whole = self.window = whole
        self._clusters = {row["cluster"]: row for row in clusters}
        self.walk_to(at if at in self._clusters else min(self._clusters, default=None))
        self.post_message(self.Wanted())

    def show(self, ground: Ground) -> None:
        """Show what lies in the window."""
        self.ground = ground
        self._kept.clear()
        self._draw()

    def walk_to(self, cluster: int | None) -> None:
        """Put the cursor on a cluster, moving the window to it where it is beyond its edges."""
        if cluster is None:
            return
        row, (columns, rows) = self._clusters[cluster], self.room
        column, line = self.window.cell(row["x"], row["y"], columns, rows)
        outside = not (0 <= column < columns and 0 <= line < rows)
        if outside and self.zoom > 1.01:
            x, y = self.window.middle(columns // 2, rows // 2, columns, rows)
            width, height = self.window.x1 - self.window.x0, self.window.y1 - self.window.y0
            self.window = self.window.moved((row["x"] - x) / width, (row["y"] - y) / height)
            column, line = columns // 2, rows // 2
            self.post_message(self.Wanted())
        self._at = (column, line)
        self._clamp()
        self._choose(cluster)

    def step(self, by: int) -> None:
        """To the cluster so many after this one, by size."""
        numbers = sorted(self._clusters)
        if numbers:
            at = numbers.index(self.cluster) if self.cluster in self._clusters else -1
            self.walk_to(numbers[(at + by) % len(numbers)])

    def move(self, across: int, down: int) -> None:
        """The cursor so many cells on; beyond the edge the window moves by half of itself."""
        columns, rows = self.room
        column, row = self._at[0] + across, self._at[1] + down
        if 0 <= column < columns and 0 <= row < rows:
            self._at = (column, row)
        elif self.zoom > 1.01:
            left = 0 if 0 <= column < columns else 0.5 if across > 0 else -0.5
            up = 0 if 0 <= row < rows else -0.5 if down > 0 else 0.5
            self.window = self.window.moved(left, up)
            self._at = (self._at[0] - round(left * columns) + across, self._at[1] + round(up * rows) + down)
            self._clamp()
            self.post_message(self.Wanted())
        self._choose(self._under())

    def magnify(self, share: float) -> None:
        """A window `share` as wide around the cursor; never more than the whole map."""
        columns, rows = self.room
        x, y = self.window.middle(*self._at, columns, rows)
        closer = self.window.closer(x, y, share)
        whole = closer.x1 - closer.x0 >= 0.99 * (self._whole.x1 - self._whole.x0)
        self.window = self._whole if whole else closer
        self._at = self.window.cell(x, y, columns, rows)
        self._clamp()
        self._draw()
        self.post_message(self.Wanted())

    def whole(self) -> None:
        """All of the map."""
        self.magnify(math.inf if self.zoom <= 1 else 1.01 * self.zoom)

    def toggle_names(self) -> None:
        """Name the clusters, or do not."""
        self.names = not self.names
        self._draw()

    def on_resize(self) -> None:
        """Other cells."""
        self._clamp()
        self.forget()
        self.post_message(self.Wanted())
        if self.cluster is not None and self.zoom <= 1.01:
            self.walk_to(self.cluster)

    def _clamp(self) -> None:
        columns, rows = self.room
        self._at = (min(columns - 1, max(0, self._at[0])), min(rows - 1, max(0, self._at[1])))

    def _choose(self, cluster: int | None) -> None:
        before, self.cluster = self.cluster, cluster
        self._draw()
        if cluster != before:
            self.post_message(self.Moved())

    def _under(self) -> int | None:
        """The cluster of most features in the cell of the cursor; where it has none, that whose place is nearest."""
        cell = self.ground.cells.get(self._at)
        if cell is not None and cell.cluster is not None:
            return cell.cluster
        columns, rows = self.room

        def away(number: int) -> float:
            row = self._clusters[number]
            column, line = self.window.cell(row["x"], row["y"], columns, rows)
            return math.hypot(column - self._at[0], DOTS_Y / DOTS_X * (line - self._at[1]))

        return min(self._clusters, key=away, default=None)

    def _draw(self) -> None:
        self._place()
        self.changed()

    def _place(self) -> None:
        """Find room for the names: that at the cursor first, then the largest; none covers the cursor or another."""
        columns, rows = self.room
        self._placed = {}
        taken: set[tuple[int, int]] = {self._at}
        chosen = [] if self.cluster not in self._clusters else [self.cluster]
        others = sorted(self._clusters.keys() - set(chosen)) if self.names else []
        left = columns * rows // CELLS_A_NAME + len(chosen)
        for number in (*chosen, *others):
            if not left:
                return
            row = self._clusters[number]
            text = " ".join([f"#{number}", *(token(t) for t in row["tokens"][:1])])
            text = shortened(text, NAME_WIDTH)
            column, line = self.window.cell(row["x"], row["y"], columns, rows)
            if not (0 <= column < columns and 0 <= line < rows):
                continue
            width = cell_len(text)
            first = min(max(0, column - width // 2), columns - width)
            for y in (line, line + 1, line - 1) if number in chosen else (line,):
                room = {(x, y) for x in range(first - 1, first + width + 1)}
                if 0 <= y < rows and first >= 0 and not room & taken:
                    taken |= {(x, y + dy) for x, y in room for dy in ((0,) if number in chosen else (-1, 0, 1))}
                    self._placed.setdefault(y, {})[first] = (text, number in chosen)
                    left -= 1
                    break

    def forget(self) -> None:
        """All lines are other ones."""
        super().forget()
        self._kept.clear()

    def _line(self, y: int) -> Strip:
        """A line as it was, where neither names nor cursor on it are others: all of them take longer than a key may."""
        stands = self._placed.get(y), self._at[0] if self._at[1] == y else None
        if self._kept.get(y, (None,))[0] != stands:
            segments = (Segment(text, self._style(ink, False).rich_style) for text, ink in self.parts(y)[0])
            blank = self._style("", False).rich_style
            self._kept[y] = stands, Strip(segments).adjust_cell_length(self.line_width, blank)
        return self._kept[y][1]

    def parts(self, y: int) -> tuple[list[tuple[str, str]], bool]:
        """A row of the map."""
        over = [(x, text, HERE if here else NAME) for x, (text, here) in self._placed.get(y, {}).items()]
        if self._at[1] == y:
            over.append((self._at[0], "X" if self.graph == "ascii" else "╋", HERE))
        found: list[tuple[str, str]] = []
        at = 0
        for x, text, ink in (*sorted(over), (self.line_width, "", "")):
            for piece, below in self._ground(y, at, x):
                if piece.isspace() and found and found[-1][1] != HERE:
                    found[-1] = found[-1][0] + piece, found[-1][1]
                else:
                    found.append((piece, below))
            found.append((text, ink))
            at = x + cell_len(text)
        return found[:-1], False

    def _ground(self, y: int, first: int, end: int) -> Iterator[tuple[str, str]]:
        """What lies in a row from one column to before another."""
        lines, at = self.ground.lines, first
        for begin, text, ink in lines[y] if y < len(lines) else ():
            if piece := text[max(0, first - begin) : max(0, end - begin)]:
                at += len(piece)
                yield piece, ink
        if at < end:
            yield " " * (end - at), ""

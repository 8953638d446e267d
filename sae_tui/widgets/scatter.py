"""Runs as points: active features across, on a log scale, and a figure up; those that none beats are joined.

    scatter.show(Scatter.picture([Point("A", 32.0, 0.18, best=True), …], "A", *scatter.size, "braille"))

Each point is a glyph, which says without colour what it is, and beside it its letter, where there is room.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.cells import cell_len
from textual.content import Content

from sae_tui.widgets.plots import AXIS, LEAST_HEIGHT, LEAST_WIDTH, MARKERS, built, dot_of, joined, said
from sae_tui.widgets.rows import Row, Rows, with_cell
from sae_tui.widgets.scales import linear, logarithmic

BEST, BEATEN, LATEST, AT = range(4)
STYLES = {AXIS: "$text-muted", BEST: "bold $success", BEATEN: "$primary", LATEST: "$warning", AT: "bold reverse"}
GLYPHS = {BEST: "●", BEATEN: "○", LATEST: "+"}
ASCII = str.maketrans("●○╌┊", "*o-:")
WORDS = {BEST: "none better in both", BEATEN: "beaten", LATEST: "last batch, not evaluated"}
CORNER = ((0, 0),)
"""A curve of one dot, which is taken away again: without any there are no ticks."""
LARGEST = 1e12
"""Figures beyond are of no SAE."""


@dataclass(frozen=True, slots=True)
class Point:
    """A run."""

    letter: str
    x: float | None
    y: float | None
    best: bool = False
    """Whether no other run is better in both."""
    measured: bool = True
    """Whether it is of the test split, and not only of the last batch."""

    @property
    def kind(self) -> int:
        """The ink of its glyph."""
        return LATEST if not self.measured else BEST if self.best else BEATEN

    @property
    def glyph(self) -> str:
        """How it is told from those of another kind without colour."""
        return GLYPHS[self.kind]


def span(points: Sequence[Point]) -> tuple[float, float] | None:
    """The smallest and the largest x of what can be drawn; None without any."""
    xs = [x for _, x, _ in _placeable(points)]
    return (min(xs), max(xs)) if xs else None


def _placeable(points: Sequence[Point]) -> list[tuple[Point, float, float]]:
    return [
        (p, p.x, p.y) for p in points
        if p.x is not None and p.y is not None and 0 < p.x < LARGEST and abs(p.y) < LARGEST
    ]  # fmt: skip


def drawn(
    points: Sequence[Point], at: str, width: int, height: int, graph: str, over: tuple[float, float] | None = None
) -> tuple[Row, ...]:  # fmt: skip
    """The points in `width` by `height` cells, that with the letter `at` lit; `over` is a `span` they lie in.

    Of those that come to lie on one cell the first is seen, and behind its letter how many more there are.
    """
    found = _placeable(points)
    if not found or width < LEAST_WIDTH + 8 or height < LEAST_HEIGHT:
        return said("no run has come so far" if not found else "", width, height).rows
    ys = [y for _, _, y in found]
    y_axis = linear(min(ys), max(ys), "number", max(1, (height - 2) // 3))
    left = max(5, *map(len, y_axis.labels)) + 1
    columns, rows = width - left, height - 2
    low, high = over or span(points) or (1.0, 1.0)
    x_axis = logarithmic(low, high, "number", max(2, columns // 12))
    _, dots_x, dots_y = MARKERS[graph]
    frame = built((CORNER,), x_axis, y_axis, (left, columns, rows), graph)
    cells, inks = [list(row) for row in frame[0]], [list(row) for row in frame[1]]
    cells[rows - 1][left], inks[rows - 1][left] = " ", AXIS
    placed = []
    for point, x, y in found:
        column = left + dot_of(math.log10(x), x_axis, columns * dots_x) // dots_x
        placed.append((point, column, rows - 1 - dot_of(y, y_axis, rows * dots_y) // dots_y))
    placed.sort(key=lambda one: _rank(one[0], at))
    _join(cells, sorted((column, row) for point, column, row in placed if point.kind == BEST))
    for point, column, row in reversed(placed):
        cells[row][column], inks[row][column] = point.glyph, point.kind
    lit: list[tuple[int, int]] = []
    many = Counter((column, row) for _, column, row in placed)
    for point, column, row in placed:
        more = many.pop((column, row), 0) - 1
        if more < 0:  # it is under another one, which says so
            continue
        signed = _sign(cells, inks, column, row, point, f"{point.letter}{f'+{more}' if more else ''}", left)
        if point.letter == at:
            lit = [(column, row), *signed]
    drawing = [joined(line, ink, graph) for line, ink in zip(cells, inks, strict=True)]
    for column, row in lit:
        drawing[row] = with_cell(drawing[row], column, "", AT)
    if graph == "ascii":
        return tuple(tuple((text.translate(ASCII), ink) for text, ink in row) for row in drawing)
    return tuple(drawing)


def _rank(point: Point, at: str) -> int:
    """The one at the cursor before all, then the best: what is first is over the others, and chooses its place."""
    return 0 if point.letter == at else 1 + point.kind


def _join(cells: list[list[str]], places: Sequence[tuple[int, int]]) -> None:
    """Steps from each of the best to the next: what is beyond them is beaten."""
    for (column, row), (to_column, to_row) in pairwise(places):
        for x in range(column, to_column + 1):
            cells[row][x] = "╌" if cells[row][x] == " " else cells[row][x]
        for y in range(min(row, to_row) + 1, max(row, to_row)):
            cells[y][to_column] = "┊" if cells[y][to_column] == " " else cells[y][to_column]


def _sign(
    cells: list[list[str]], inks: list[list[int]], column: int, row: int, point: Point, text: str, left: int
) -> list[tuple[int, int]]:  # fmt: skip
    """Put `text` where it covers nothing: right of the glyph, left, above, below; else nowhere. Returns where."""
    n = len(text)
    for x, y in ((column + 1, row), (column - n, row), (column, row - 1), (column, row + 1)):
        inside = 0 <= y < len(cells) - 2 and left <= x <= len(cells[y]) - n
        if inside and all(cell in " ╌┊" for cell in cells[y][x : x + n]):
            cells[y][x : x + n], inks[y][x : x + n] = text, [point.kind] * n
            return [(x + i, y) for i in range(n)]
    return []


def legend(kinds: set[int], width: int, *, ascii_only: bool) -> Content:
    """What the glyphs say that are seen."""
    parts = [f"{GLYPHS[kind]} {WORDS[kind]}" for kind in sorted(kinds)]
    while parts and cell_len("   ".join(parts)) + 1 > width:
        parts.pop()
    text = " " + "   ".join(parts)
    return Content.styled(text.translate(ASCII) if ascii_only else text, "$text-muted")


class Scatter(Rows):
    """The points in a pane. Drawing takes some milliseconds: `picture` is for a thread, `show` takes what it made."""

    @staticmethod
    def picture(
        points: Sequence[Point], at: str, width: int, height: int, graph: str, over: tuple[float, float] | None = None
    ) -> list[Content]:  # fmt: skip
        """The lines for so many cells: what the glyphs say, then the drawing."""
        kinds = {p.kind for p in points if p.x is not None and p.y is not None}
        lines = [legend(kinds, width, ascii_only=graph == "ascii")]
        rows = drawn(points, at, width, max(0, height - 1), graph, over)
        return lines + [Content.assemble(*((text, STYLES[ink]) for text, ink in row)) for row in rows]

"""Curves as rows of text. The one module that knows plotext, which places the points and draws the axes.

`draw` takes some milliseconds and touches no widget: it may run in a thread. Colours are not drawn here: each run of
characters says whose it is.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from core.curves import bucketed
from sae_tui.widgets.rows import Row
from sae_tui.widgets.scales import Axis, between, linear, logarithmic

MARKERS = {"braille": ("braille", 2, 4), "block": ("hd", 2, 2), "ascii": ("", 1, 1)}
"""How each of the settings' `graph` is called in plotext, and into how many dots it divides a cell."""
LETTERS = "ABCDEFGH"
"""What tells runs apart without colour; no more are drawn at once."""
AXIS = -1
"""The ink of axes and of their labels; a curve's ink is its number."""
PLAIN = str.maketrans("│┤┼├─┬┴└┘┌┐╌", "|++|-++++++-")
LEAST_WIDTH, LEAST_HEIGHT = 12, 4
Dots = tuple[tuple[int, int | None], ...]
"""A curve's points in dots from the axes' corner; None is a gap."""


@dataclass(frozen=True, slots=True)
class Series:
    """One run's curve: x that grows, and as many y; a gap is nan."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """What a chart shows."""

    name: str
    series: tuple[Series, ...]
    """The run at hand first; the others below it."""
    low: float
    high: float
    """The x limits."""
    x_name: str = "step"
    x_kind: str = "count"
    y_kind: str = "number"
    """How numbers are written: see `scales.number`."""
    log: bool = False
    value: str = ""
    """The newest, which the title says after the name."""
    notes: tuple[str, ...] = ()
    """What else the title says, the most important first."""
    line: tuple[str, ...] = ()
    """Said above the curves while there is no crosshair."""
    level: float | None = None
    """Where a horizontal line is."""
    bars: bool = False
    """Whether the only series is a bar for each of as many equal parts of the x axis."""
    empty: str = "nothing yet"
    """Said where there is no point to draw."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A plot as rows of text, and where on it a value stands."""

    rows: tuple[Row, ...]
    left: int
    """Cells of the y axis and its labels, at the left of the curves."""
    columns: int
    """Cells of the curves; 0 where nothing could be drawn."""
    height: int
    """Rows of the curves, from the top; below are the x axis and its labels."""
    y: Axis | None
    log: bool
    dots: int
    """Rows of dots in a cell."""

    def row(self, value: float) -> int | None:
        """The row from the top on which `value` stands; None beyond the axis."""
        return None if self.y is None else _row(value, self.y, self.log, self.height, self.dots)


def draw(plot: Plot, width: int, height: int, graph: str) -> Drawing:
    """The plot in `width` by `height` cells, with `graph` one of MARKERS."""
    _, dots_x, dots_y = MARKERS[graph]
    points = [_points(series, plot, max(1, width)) for series in plot.series[: 1 if plot.bars else len(LETTERS)]]
    values = [y for _, ys in points for y in ys if y == y]
    if values and plot.level is not None and not (plot.log and plot.level <= 0):
        values.append(math.log10(plot.level) if plot.log else plot.level)
    if values and plot.bars:
        values.append(0.0)
    if not values or width < LEAST_WIDTH or height < LEAST_HEIGHT or plot.high <= plot.low:
        return said(plot.empty if not values else "", width, height)
    scale = logarithmic if plot.log else linear
    low, high = (10 ** min(values), 10 ** max(values)) if plot.log else (min(values), max(values))
    y = scale(low, high, plot.y_kind, max(1, (height - 2) // 3))
    left = max(5, *map(len, y.labels)) + 1
    x = between(plot.low, plot.high, plot.x_kind, max(1, (width - left) // 12))
    columns, canvas = width - left, height - 2
    if columns < 2:
        return said("", width, height)
    across, up = columns * dots_x, canvas * dots_y
    dots = tuple(_filled(ys, y, across, up) if plot.bars else _dots(xs, ys, x, y, across, up) for xs, ys in points)
    frame = built(dots, x, y, (left, columns, canvas), graph)
    cells, inks = [list(row) for row in frame[0]], [list(row) for row in frame[1]]
    if len(points) > 1:
        for n in reversed(range(len(points))):
            _sign(cells, inks, n, dots[n], (left, columns, canvas), (dots_x, dots_y))
    at = None if plot.level is None else _row(plot.level, y, plot.log, canvas, dots_y)
    if at is not None:
        cells[at][left:] = ["╌" if cell == " " else cell for cell in cells[at][left:]]
    rows = tuple(joined(line, ink, graph) for line, ink in zip(cells, inks, strict=True))
    return Drawing(rows, left, columns, canvas, y, plot.log, dots_y)


def _points(series: Series, plot: Plot, width: int) -> tuple[list[float], list[float]]:
    """What can be seen of a curve, at most two points a column; logarithms where the axis is one."""
    if plot.high <= plot.low:
        return [], []
    first = max(0, bisect_left(series.xs, plot.low) - 1)
    last = bisect_right(series.xs, plot.high) + 1
    xs, ys = series.xs[first:last], series.ys[first:last]
    if plot.bars:
        xs, ys = series.xs, [y if y > 0 else math.nan for y in series.ys]
    if plot.log:
        ys = [math.log10(y) if y > 0 else math.nan for y in ys]
    return (list(xs), list(ys)) if plot.bars else bucketed(xs, ys, plot.low, plot.high, width)


def _dots(xs: Sequence[float], ys: Sequence[float], x: Axis, y: Axis, columns: int, rows: int) -> Dots:
    """The points in dots from the axes' corner, without those on the dot of the one before; a gap has no row."""
    found: list[tuple[int, int | None]] = []
    for a, b in zip(xs, ys, strict=True):
        dot = (dot_of(a, x, columns), dot_of(b, y, rows) if b == b else None)
        if not found or dot != found[-1]:
            found.append(dot)
    return tuple(found)


def _filled(ys: Sequence[float], y: Axis, columns: int, rows: int) -> Dots:
    """Bars in dots: up and down again in every column, so that a line through all of them fills them."""
    found: list[tuple[int, int | None]] = []
    for column in range(columns):
        value = ys[column * len(ys) // columns]
        if value == value:
            ends = (0, dot_of(value, y, rows))
            found += [(column, end) for end in (ends if column % 2 else reversed(ends))]
        else:
            found.append((column, None))
    return tuple(found)


def _row(value: float, y: Axis, log: bool, height: int, dots: int) -> int | None:
    """The row from the top, of `height` of `dots` each, on which a value stands; None beyond the axis."""
    if (log and value <= 0) or value != value:
        return None
    value = math.log10(value) if log else value
    if not -1e-9 <= (value - y.low) / (y.high - y.low) <= 1 + 1e-9:
        return None
    return height - 1 - dot_of(value, y, height * dots) // dots


def dot_of(value: float, axis: Axis, dots: int) -> int:
    """The dot of a value on an axis that is `dots` long."""
    share = (value - axis.low) / (axis.high - axis.low)
    return min(dots - 1, max(0, math.floor(share * (dots - 1) + 0.5)))


@lru_cache(32)
def built(
    curves: tuple[Dots, ...], x: Axis, y: Axis, canvas: tuple[int, int, int], graph: str
) -> tuple[tuple[tuple[str, ...], ...], tuple[tuple[int, ...], ...]]:
    """The cells from the top, and the ink of each. Kept, for while a run goes on most dots stay where they are.

    Each figure is one of its own: plotext's functions share one. `canvas` is its left side, columns and rows.
    """
    from plotext._figure import _figure_class

    left, columns, rows = canvas
    name, dots_x, dots_y = MARKERS[graph]
    across, up = columns * dots_x - 1, rows * dots_y - 1
    figure = _figure_class()
    figure._limit_size(False, False)
    figure.plot_size(left + columns, rows + 2)
    figure.theme("clear")
    figure.xaxes(True, False)
    figure.yaxes(True, False)
    for n in reversed(range(len(curves))):  # the run at hand last, above the others
        if curves[n]:
            xs = [a for a, _ in curves[n]]
            ys = [math.nan if b is None else b for _, b in curves[n]]
            figure.plot(xs, ys, marker=name or LETTERS[n].lower(), color=n + 1)
    figure.xlim(0, across)
    figure.ylim(0, up)
    # plotext would round ticks to cells, and points to dots: a tick belongs where its value's dot is.
    at_x = [dot_of(tick, x, columns * dots_x) // dots_x * across / (columns - 1) for tick in x.ticks]
    at_y = [dot_of(tick, y, rows * dots_y) // dots_y * up / (rows - 1) for tick in y.ticks]
    figure.xticks(at_x, list(x.labels))
    figure.yticks(at_y, [label.rjust(left - 1) for label in y.labels])
    figure._set_sizes()
    figure._build_matrix()  # what `build` does, without making one text with colours of it
    matrix = figure.monitor.matrix
    cells = tuple(tuple(row) for row in reversed(matrix.marker))
    return cells, tuple(
        tuple(ink - 1 if isinstance(ink, int) else AXIS for ink in row) for row in reversed(matrix.fullground)
    )


def _sign(
    cells: list[list[str]], inks: list[list[int]], n: int, curve: Dots, canvas: tuple[int, int, int],
    dots: tuple[int, int],
) -> None:  # fmt: skip
    """Put the run's letter at the end of its curve, in the nearest row that is not another's end."""
    left, columns, height = canvas
    end = next(((a, b) for a, b in reversed(curve) if b is not None), None)
    if end is None:
        return
    column = left + min(columns - 1, end[0] // dots[0] + 1)
    at = height - 1 - end[1] // dots[1]
    for row in sorted(range(height), key=lambda row: abs(row - at)):
        if cells[row][column] not in LETTERS or inks[row][column] == AXIS:
            cells[row][column], inks[row][column] = LETTERS[n], n
            return


def joined(line: list[str], inks: list[int], graph: str) -> Row:
    """Cells of the same ink together. A blank one has the ink of what is before it: each change of ink is bytes."""
    text = "".join(line)
    if graph == "ascii":
        text = text.translate(PLAIN)
    found: list[tuple[str, int]] = []
    begin, now = 0, AXIS
    for place, (cell, ink) in enumerate(zip(text, inks, strict=True)):
        if cell != " " and ink != now:
            found.append((text[begin:place], now))
            begin, now = place, ink
    return tuple((part, ink) for part, ink in [*found, (text[begin:], now)] if part)


def said(text: str, width: int, height: int) -> Drawing:
    """A drawing of words alone, in its middle, where there is room for them."""
    middle = (text if len(text) <= width else "").center(width)
    rows: tuple[Row, ...] = tuple(((middle if y == height // 2 else " " * width, AXIS),) for y in range(height))
    return Drawing(rows, 0, 0, height, None, False, 1)

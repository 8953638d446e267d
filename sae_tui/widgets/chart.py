"""A chart of curves, of which only the rows that changed are sent to the terminal; and a crosshair that reads them.

    chart.show(Plot(name="loss", series=(Series("demo", steps, losses),), low=0, high=4096, log=True))

The drawing is made in a thread. Where there are several runs, or the crosshair is out, their letters, names and values
stand above the curves. The crosshair is a mark below the x axis, and the points of the curves at it: a whole column
would be a whole screen to send.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.content import Content
from textual.events import Click
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from sae_tui import keys
from sae_tui.text import safe, shortened
from sae_tui.widgets.plots import AXIS, LETTERS, Drawing, Plot, Series, draw, said
from sae_tui.widgets.rows import Row, differs_to, with_cell, wrapped
from sae_tui.widgets.scales import number

BRIGHT, MARKED = -2, -3
"""Inks of what is read: words above the curves, and what the crosshair is on."""
COLOURS = ("primary", "accent", "success", "secondary", "error", "warning")
"""The theme's colours for the runs, the one at hand first."""
FAR = 10
NAMED_WIDTH = 40
"""Narrower charts say only at the crosshair which letter is whose run: beside them stands a wider one."""
NEAR = 2
"""Columns from the crosshair within which a run's point is what it has there."""


class Plane(Widget):
    """What is in a chart's frame: a widget of its own, so that a row is sent without the frame beside it."""

    ALLOW_SELECT = False
    DEFAULT_CSS = "Plane { width: 1fr; height: 1fr; }"

    def render_line(self, y: int) -> Strip:
        """A line of the chart."""
        assert isinstance(self.parent, Chart)
        return self.parent.strip(y)


class Chart(Widget, can_focus=True):
    """One plot in a frame with its title."""

    BINDINGS = [*keys.bindings("chart")]
    DEFAULT_CSS = "Chart { height: 1fr; width: 1fr; }"

    class Window(Message):
        """A part of the x axis is to be shown, from one value to another, or all of it where it is None."""

        def __init__(self, chart: "Chart", window: tuple[float, float] | None) -> None:
            super().__init__()
            self.chart, self.window = chart, window

        @property
        def control(self) -> "Chart":
            """The chart."""
            return self.chart

    def __init__(self, plot: Plot, *, graph: str, id: str | None = None, classes: str | None = None) -> None:
        """`graph` is the setting of that name: braille, block or ascii."""
        super().__init__(id=id, classes=classes)
        self._plot, self._graph = plot, graph
        self._cursor: float | None = None
        self._rows: tuple[Row, ...] = ()
        self._drawing: Drawing | None = None
        self._size_drawn = Size(0, 0)
        self._title = ""
        self._due = self._busy = False

    @property
    def plot(self) -> Plot:
        """What it shows."""
        return self._plot

    @property
    def cursor(self) -> float | None:
        """The crosshair's x; None where it is put away."""
        return self._cursor

    def show(self, plot: Plot) -> None:
        """Show another plot, as soon as it is drawn. Over another x axis the crosshair is at its end."""
        other = plot.x_name != self._plot.x_name
        self._plot = plot
        if other and self._cursor is not None:
            self._cursor = self._end()
        self._entitle()
        self._redraw()

    def look_at(self, x: float | None) -> None:
        """Put the crosshair at `x`, or away."""
        if x is not None:
            low, high = self._plot.low, self._plot.high
            x = min(high, max(low, x)) if high > low else None
        self._cursor = x
        self._compose_rows()

    def readings(self) -> list[tuple[str, str]]:
        """What the crosshair reads, or the newest where it is put away: the x first, then each run's name and value."""
        plot = self._plot
        at = plot.high if self._cursor is None else self._cursor
        near = [_near(series, at) for series in plot.series]
        width = (plot.high - plot.low) / max(1, self._drawing.columns if self._drawing else 1)
        xs = [point[0] for point in near if point]
        found = [(plot.x_name, number(min(xs, key=lambda x: abs(x - at)), _x_kind(plot.x_kind)))] if xs else []
        for series, point in zip(plot.series, near, strict=True):
            there = point and (self._cursor is None or plot.bars or abs(point[0] - at) <= NEAR * width)
            value = "–" if not point or not there else "gap" if point[1] != point[1] else number(point[1], plot.y_kind)
            found.append((safe(series.label), value))
        return found

    def on_mount(self) -> None:
        """Say its name from the first."""
        self._entitle()

    def on_resize(self) -> None:
        """Another size: the title may say more or less, and the curves have other columns."""
        self._entitle()
        self._redraw()

    def on_show(self) -> None:
        """Draw what came while it was hidden."""
        self._redraw()

    def on_focus(self) -> None:
        """Say in the title that keys go here."""
        self._entitle()

    def on_blur(self) -> None:
        """And that they do not any more."""
        self._entitle()

    def on_click(self, event: Click) -> None:
        """The crosshair goes where one clicks."""
        offset = event.get_content_offset(self)
        if offset and self._drawing and self._drawn:
            self._to_column(offset.x - self._drawing.left)

    def action_left(self) -> None:
        """The crosshair a column to the left."""
        self._move(-1)

    def action_right(self) -> None:
        """The crosshair a column to the right."""
        self._move(1)

    def action_far_left(self) -> None:
        """The crosshair ten columns to the left."""
        self._move(-FAR)

    def action_far_right(self) -> None:
        """The crosshair ten columns to the right."""
        self._move(FAR)

    def action_first(self) -> None:
        """The crosshair to the beginning."""
        self.look_at(self._plot.low)

    def action_last(self) -> None:
        """The crosshair to the newest value in sight."""
        self.look_at(self._end())

    def action_closer(self) -> None:
        """Half of the x axis, around the crosshair."""
        self._zoom(0.5)

    def action_wider(self) -> None:
        """Twice as much of the x axis."""
        self._zoom(2.0)

    def action_whole(self) -> None:
        """All of the x axis."""
        self.post_message(self.Window(self, None))

    def compose(self) -> Iterator[Widget]:
        """What is in the frame."""
        yield Plane()

    def strip(self, y: int) -> Strip:
        """A line of what is in the frame: names and readings, or the drawing."""
        plane = self.query_one(Plane)
        ground = plane.visual_style.rich_style
        if y >= len(self._rows) or self._size_drawn != self.size:  # blank is cheap to send, until it is drawn anew
            return Strip.blank(self.size.width, ground)
        inks = _inks(*(self.app.theme_variables[name] for name in ("foreground", "background", *COLOURS)))
        line = Strip([Segment(text, ground + inks[ink]) for text, ink in self._rows[y]])
        return line.adjust_cell_length(self.size.width, ground)

    @property
    def _drawn(self) -> bool:
        """Whether there are curves that a crosshair can be on."""
        return bool(self._drawing and self._drawing.columns and self._plot.high > self._plot.low)

    def _move(self, columns: int) -> None:
        if self._drawn:
            column = self._column(self._end() if self._cursor is None else self._cursor)
            self._to_column(column + (columns if self._cursor is not None else 0))

    def _to_column(self, column: int) -> None:
        assert self._drawing is not None
        share = min(1.0, max(0.0, column / max(1, self._drawing.columns - 1)))
        self.look_at(self._plot.low + share * (self._plot.high - self._plot.low))

    def _column(self, x: float) -> int:
        assert self._drawing is not None
        share = (x - self._plot.low) / (self._plot.high - self._plot.low)
        return round(share * (self._drawing.columns - 1))

    def _end(self) -> float:
        xs = self._plot.series[0].xs if self._plot.series else ()
        return min(self._plot.high, xs[-1]) if xs else self._plot.high

    def _zoom(self, factor: float) -> None:
        plot = self._plot
        if not plot.series or plot.bars or plot.high <= plot.low:
            return
        half = factor * (plot.high - plot.low) / 2
        centre = self._end() if self._cursor is None else self._cursor
        low = max(0.0, centre - half)
        xs = plot.series[0].xs
        if factor > 1 or bisect_left(xs, low + 2 * half) - bisect_left(xs, low) >= 3:
            self.post_message(self.Window(self, (low, low + 2 * half)))

    def _legend(self) -> list[Row]:
        """Who the curves are, and what they have at the crosshair; as many rows as that takes, up to a third of all."""
        if self._cursor is None and self._plot.line:
            told: list[Row] = [((f"{'· ' if i else ' '}{safe(part)}", AXIS),) for i, part in enumerate(self._plot.line)]
            return wrapped(told, self.size.width, 1, AXIS)
        if self._cursor is None and (len(self._plot.series) < 2 or self.size.width < NAMED_WIDTH):
            return []
        read = self.readings()
        pieces: list[Row] = []
        if self._cursor is not None and read:
            pieces.append(((f" {read[0][0]} ", AXIS), (f"{read[0][1]:<7}", BRIGHT)))
        several = len(self._plot.series) > 1
        for n, (label, value) in enumerate(read[1:]):
            if n >= len(LETTERS):
                pieces.append(((f" and {len(read) - 1 - n} more", AXIS),))
                break
            name: Row = ((f" {LETTERS[n]} ", n), (f"{shortened(label, 24)} ", AXIS)) if several else ((" ", AXIS),)
            pieces.append((*name, (f"{value:<7}", BRIGHT)) if self._cursor is not None else name)
        return wrapped(pieces, self.size.width, max(1, self.size.height // 3), AXIS)

    def _redraw(self) -> None:
        """Have it drawn; what comes while it is being drawn is drawn after."""
        self._due = True
        if not self._busy and self.size and self.is_attached and self.is_on_screen:
            self._busy = True
            self.run_worker(self._draw())

    async def _draw(self) -> None:
        try:
            while self._due:
                self._due = False
                size = self.size
                height = max(0, size.height - len(self._legend()))
                try:
                    drawing = await asyncio.to_thread(draw, self._plot, size.width, height, self._graph)
                except Exception as error:  # of one chart; the run and the rest of the screen are well
                    self.log.error(error)
                    drawing = said("this cannot be drawn", size.width, height)
                if size == self.size:
                    self._drawing = drawing
                    self._compose_rows()
        finally:
            self._busy = False

    def _compose_rows(self) -> None:
        """Put the rows together, and send those that are other ones."""
        drawing, legend = self._drawing, self._legend()
        if drawing is None or not self.query(Plane):  # a drawing may come after what it was for has gone
            return
        if len(legend) + len(drawing.rows) != self.size.height:
            self._redraw()
            return
        rows = [*legend, *drawing.rows]
        if self._cursor is not None and self._drawn:
            self._mark(rows, drawing)
        before, self._rows = self._rows, tuple(rows)
        if len(before) != len(rows) or self._size_drawn != self.size:
            self._size_drawn = self.size
            self.query_one(Plane).refresh()
            return
        for y, (old, new) in enumerate(zip(before, rows, strict=True)):
            if old != new:
                self.query_one(Plane).refresh(Region(0, y, differs_to(old, new), 1))

    def _mark(self, rows: list[Row], drawing: Drawing) -> None:
        """Mark the crosshair's place: below the axis, and on the curves."""
        assert self._cursor is not None
        column = self._column(self._cursor)
        place, top = drawing.left + column, len(rows) - len(drawing.rows)
        axis, mark = rows[top + drawing.height], "^" if self._graph == "ascii" else "▲"
        rows[top + drawing.height] = with_cell(axis, place, mark, BRIGHT)
        for series in self._plot.series[: len(LETTERS)]:
            point = _near(series, self._cursor)
            row = drawing.row(point[1]) if point else None
            at = column if self._plot.bars or not point else self._column(point[0])
            if row is not None and abs(at - column) <= NEAR:
                at += drawing.left
                rows[top + row] = with_cell(rows[top + row], at, "", MARKED)

    def _entitle(self) -> None:
        """The title: as much of it as there is room for, with a mark where the keys go."""
        plot = self._plot
        mark = ("> " if self._graph == "ascii" else "▸ ") if self.has_focus else ""
        title = mark + safe(plot.name)
        value = ((" ", plot.value),) if plot.value else ()
        for between, note in (*value, *((" · ", note) for note in (*(("log y",) if plot.log else ()), *plot.notes))):
            longer = f"{title}{between}{safe(note)}"
            if cell_len(longer) <= self.size.width - 4:  # what Textual leaves of a border for its title
                title = longer
        if title != self._title:
            self._title = title
            self._border_title = Content(title)  # `border_title` would send all of the chart
            x, y = self.content_offset
            self.refresh(Region(-x, -y, self.outer_size.width, 1))


def _near(series: Series, x: float) -> tuple[float, float] | None:
    """The point nearest to `x`."""
    xs = series.xs
    if not len(xs):
        return None
    i = bisect_left(xs, x)
    i = min((j for j in (i - 1, i) if 0 <= j < len(xs)), key=lambda j: abs(xs[j] - x))
    return xs[i], series.ys[i]


def _x_kind(kind: str) -> str:
    """How the crosshair writes an x: steps and tokens to the last digit."""
    return "step" if kind == "count" else kind


@lru_cache(8)
def _inks(foreground: str, background: str, *runs: str) -> dict[int, Style]:
    """The style of each ink in a theme's colours."""
    ink = Color.parse(foreground)
    plain = ink.ansi is not None
    faint = Style(color="bright_black") if plain else Style(color=ink.blend(Color.parse(background), 0.45).rich_color)
    found = {AXIS: faint, BRIGHT: Style(color=ink.rich_color, bold=True), MARKED: Style(bold=True, reverse=True)}
    for n in range(len(LETTERS)):
        found[n] = Style(color=Color.parse(runs[n % len(runs)]).rich_color)
    return found

"""How often a feature fires how strongly: bars over labelled axes, and the bin under the cursor in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.content import Content
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from sae_tui import keys
from sae_tui.text import compact, figure
from sae_tui.widgets.heat import heat

BLOCKS = " ▁▂▃▄▅▆▇█"
ASCII = " ...:::##"
"""Both by the eighths of a cell that are filled."""
AXES = {"│": "|", "┤": "+", "└": "+", "─": "-", "┴": "+", "▲": "^"}
FOOT = 3
"""Rows below the bars: the axis, its numbers, the bin in words."""


@dataclass(frozen=True, slots=True)
class Bin:
    """`n` tokens, or images, whose activation is more than `lo` and at most `hi`."""

    lo: float
    hi: float
    n: int


class Histogram(Widget, can_focus=True):
    """Bars of tokens, or images, by activation. `log_scale`: of their logarithm, so that a single one is still seen."""

    DEFAULT_CSS = """
    Histogram { height: 1fr; }
    Histogram > .histogram--axis { color: $text-muted; }
    Histogram > .histogram--cursor { color: $primary; text-style: bold; }
    """
    COMPONENT_CLASSES = {"histogram--axis", "histogram--cursor"}
    BINDINGS = [*keys.bindings("histogram")]

    class Opened(Message):
        """The contexts of the bin under the cursor are wanted."""

        def __init__(self, bin_: Bin) -> None:
            super().__init__()
            self.bin = bin_

    def __init__(self, *, ascii_only: bool = False, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._ascii = ascii_only
        self._bins: list[Bin] = []
        self._cursor: int | None = None
        self._log = True
        self._unit = "tokens"
        self._entitle()

    @property
    def log_scale(self) -> bool:
        """Whether heights are log10 of the counts."""
        return self._log

    @log_scale.setter
    def log_scale(self, log_scale: bool) -> None:
        if log_scale != self._log:
            self._log = log_scale
            self._entitle()
            self.refresh()

    @property
    def bin(self) -> Bin | None:
        """The bin under the cursor."""
        return self._bins[self._cursor] if self._cursor is not None and self._bins else None

    def show(self, bins: Sequence[Bin], unit: str = "tokens") -> None:
        """Show other counts of a `unit`: bins in order, without gaps. None: it never fired. The cursor goes."""
        self._bins, self._cursor = list(bins), None
        if unit != self._unit:
            self._unit = unit
            self._entitle()
        self.refresh()

    def mark(self, value: float) -> None:
        """Put the cursor on the bin that holds an activation."""
        self._move(next((i for i, bin_ in enumerate(self._bins) if value <= bin_.hi), len(self._bins) - 1))

    def action_left(self) -> None:
        """To the bar at the left."""
        self._step(-1)

    def action_right(self) -> None:
        """To the bar at the right."""
        self._step(1)

    def action_first(self) -> None:
        """The weakest."""
        self._move(0)

    def action_last(self) -> None:
        """The strongest."""
        self._move(len(self._bins) - 1)

    def action_open(self) -> None:
        """Ask for its contexts."""
        if self.bin is not None:
            self.post_message(self.Opened(self.bin))

    def on_click(self, event: events.Click) -> None:
        """A click on a bar puts the cursor there."""
        plot = self._plot()
        offset = event.get_content_offset(self)
        if plot and offset is not None and offset.x >= plot.left:
            self._move((offset.x - plot.left) // plot.bar * plot.merged)

    def _step(self, by: int) -> None:
        plot = self._plot()
        merged = plot.merged if plot else 1
        if self._cursor is None:
            self._move(0 if by > 0 else len(self._bins) - 1)
        else:
            self._move((self._cursor // merged + by) * merged)

    def _move(self, index: int) -> None:
        if not self._bins or not 0 <= index < len(self._bins) or index == self._cursor:
            return
        before, self._cursor = self._cursor, index
        plot = self._plot()
        if plot is None:
            return
        for changed in (before, index):
            if changed is not None:
                left = plot.left + changed // plot.merged * plot.bar
                self.refresh(Region(left, 0, plot.bar, plot.rows + 1))
        self.refresh(Region(0, plot.rows + 2, self.size.width, 1))

    def _entitle(self) -> None:
        self.border_title = Content(f"histogram · number of {self._unit}" + ", log scale" * self._log)
        self.border_subtitle = Content("activation")

    def _plot(self) -> "_Plot | None":
        """How the bars lie on the widget as it is now; None where there is nothing to draw, or no room."""
        width, height = self.size
        if not self._bins or height <= FOOT or width < 16:
            return None
        most = max(bin_.n for bin_ in self._bins)
        left = max(len(compact(most)), 2) + 2
        merged = -(-len(self._bins) // (width - left))
        counts = [sum(b.n for b in self._bins[i : i + merged]) for i in range(0, len(self._bins), merged)]
        bar = max(1, (width - left) // len(counts))
        return _Plot(left=left, bar=bar, merged=merged, rows=height - FOOT, counts=counts, log=self._log)

    def render_line(self, y: int) -> Strip:
        """One row."""
        plot = self._plot()
        muted = self.get_component_rich_style("histogram--axis", partial=True)
        if plot is None:
            text = "" if self._bins or y != self.size.height // 2 else "it never fired: there is nothing to count"
            return Strip([Segment(text.center(self.size.width), muted)]).apply_style(self.rich_style)
        if y < plot.rows:
            segments = [Segment(self._drawn(plot.gutter(y)), muted), *self._bars(plot, y)]
        elif y == plot.rows:
            segments = self._axis(plot, muted)
        elif y == plot.rows + 1:
            segments = [Segment(" " * plot.left + _ticks(plot.bar * len(plot.counts), self._bins[-1].hi), muted)]
        else:
            segments = self._words(plot, muted)
        return Strip(segments).adjust_cell_length(self.size.width).apply_style(self.rich_style).simplify()

    def _drawn(self, text: str) -> str:
        return "".join(AXES.get(c, c) for c in text) if self._ascii else text

    def _bars(self, plot: "_Plot", y: int) -> list[Segment]:
        glyphs = ASCII if self._ascii else BLOCKS
        cursor = self.get_component_rich_style("histogram--cursor", partial=True)
        segments = []
        for index, height in enumerate(plot.heights):
            filled = min(8, max(0, height - 8 * (plot.rows - 1 - y)))
            # one cell between bars, where there is room for it
            text = glyphs[filled] * max(1, plot.bar - (plot.bar > 2)) + " " * (plot.bar > 2)
            ink = Style(color=heat(self.app, (index + 1) / len(plot.counts)).bgcolor)
            segments.append(Segment(text, cursor if self._is_cursor(plot, index) else ink))
        return segments

    def _is_cursor(self, plot: "_Plot", index: int) -> bool:
        return self._cursor is not None and self._cursor // plot.merged == index

    def _axis(self, plot: "_Plot", muted: Style) -> list[Segment]:
        width = plot.bar * len(plot.counts)
        line = ["─"] * width
        for quarter in range(1, 5):
            line[min(width - 1, quarter * width // 4)] = "┴"
        segments = [Segment(self._drawn("0".rjust(plot.left - 2) + " └"), muted)]
        for index in range(len(plot.counts)):
            part = "".join(line[index * plot.bar : (index + 1) * plot.bar])
            if self._is_cursor(plot, index):
                middle = (plot.bar - 1) // 2
                part = part[:middle] + "▲" + part[middle + 1 :]
                style = self.get_component_rich_style("histogram--cursor", partial=True)
                segments.append(Segment(self._drawn(part), style))
            else:
                segments.append(Segment(self._drawn(part), muted))
        return segments

    def _words(self, plot: "_Plot", muted: Style) -> list[Segment]:
        total = sum(plot.counts)
        if self._cursor is None:
            return [Segment(" " * plot.left + f"{total:,} {self._unit} in {len(self._bins)} bins", muted)]
        first = self._cursor // plot.merged * plot.merged
        shown = self._bins[first : first + plot.merged]
        n = sum(b.n for b in shown)
        cursor = self.get_component_rich_style("histogram--cursor", partial=True)
        return [
            Segment(" " * plot.left),
            Segment(self._drawn("▲ "), cursor),
            Segment(f"{figure(shown[0].lo)} to {figure(shown[-1].hi)}", cursor),
            Segment(f"   {n:,} {self._unit if n != 1 else self._unit[:-1]}   {figure(100 * n / max(1, total))}%"),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plot:
    """Where bars lie."""

    left: int
    """Cells before the first bar: the numbers of the axis and the axis."""
    bar: int
    """Cells of a bar, the gap after it included."""
    merged: int
    """Bins in one bar, where there are more bins than cells."""
    rows: int
    counts: list[int]
    log: bool

    @property
    def heights(self) -> list[int]:
        """Of each bar, in eighths of a row; at least one where anything is counted."""
        return [-(-self._share(n) * 8 * self.rows // 1).__trunc__() for n in self.counts]

    def gutter(self, y: int) -> str:
        """The axis beside row `y` with its number, if it has one: of a count that is reached at the top of the row."""
        most = max(self.counts)
        marks: dict[int, int] = {}
        steps = (
            [10**k for k in range(int(math.log10(max(1, most))) + 1)] if self.log else [most // 2] if most > 3 else []
        )
        for n in steps:
            row = self.rows - math.ceil(self._share(n) * self.rows)
            if 0 < row < self.rows:
                marks[row] = n
        marks[0] = most
        label = compact(marks[y]) if y in marks else ""
        return label.rjust(self.left - 2) + (" ┤" if label else " │")

    def _share(self, n: int) -> float:
        most = max(self.counts)
        return math.log10(1 + n) / math.log10(1 + most) if self.log else n / most


def _ticks(width: int, most: float) -> str:
    """The numbers under the axis: 0, quarters and the largest activation, none over another."""
    line = [" "] * width
    free = 0
    for quarter in (0, 4, 2, 1, 3):
        label = figure(most * quarter / 4)
        first = min(max(0, quarter * width // 4 - len(label) // 2), width - len(label))
        if first >= 0 and not "".join(line[max(0, first - 1) : first + len(label) + 1]).strip():
            line[first : first + len(label)] = label
            free += 1
    return "".join(line)


def bins(rows: Sequence[dict[str, Any]]) -> list[Bin]:
    """Rows of the table `histogram`, as they are shown here."""
    return [Bin(float(row["lo"]), float(row["hi"]), int(row["n"])) for row in rows]

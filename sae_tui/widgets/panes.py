"""The charts in two rows beside a panel of figures, one of which is at hand. Knows nothing of files and jobs."""

from collections.abc import Iterator, Mapping, Sequence

from textual import on
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import DescendantFocus
from textual.widget import Widget

from sae_tui.widgets.chart import Chart
from sae_tui.widgets.job import arranged
from sae_tui.widgets.plots import Plot
from sae_tui.widgets.rows import Rows
from sae_tui.widgets.traces import CHARTS

BIG = ("loss", "fvu")
SMALL = tuple(name for name in CHARTS if name not in BIG)
FIGURES = "figures"
IN_TURN = 2
"""Charts besides the one at hand that are drawn in a second."""
PANES = (*CHARTS, FIGURES)
"""All of them, in their order."""


class Figures(Rows, can_focus=True):
    """The panel, which can have the focus so that it can be zoomed."""

    def __init__(self) -> None:
        super().__init__(id=FIGURES, classes="pane")
        self._sections: Sequence[Sequence[Content]] = ()

    def tell(self, sections: Sequence[Sequence[Content]]) -> None:
        """Show other sections."""
        self._sections = sections
        self.show(arranged(sections, self.size.width, self.size.height))

    def on_resize(self) -> None:
        """Another size may hold another number of columns."""
        self.tell(self._sections)


class Panes(Horizontal):
    """Six charts and the panel. The stylesheet of the screen says what is seen of them, by the class `current`."""

    def __init__(self, *, graph: str, id: str) -> None:
        super().__init__(id=id)
        self._graph = graph
        self.current = PANES[0]
        """The name of the pane at hand."""
        self._waiting: dict[str, Plot] = {}
        """Plots that were not drawn yet; those that wait longest first."""

    def compose(self) -> Iterator[Widget]:
        """Two rows of charts, and the panel beside both."""
        with Vertical(id="charts"):
            for row, names in (("big", BIG), ("small", SMALL)):
                with Horizontal(id=row, classes="row"):
                    for name in names:
                        empty = Plot(name=CHARTS[name][0], series=(), low=0, high=0, empty="")
                        yield Chart(empty, graph=self._graph, id=name, classes="pane")
        yield Figures()

    @property
    def chart(self) -> Chart | None:
        """The chart at hand; None where it is the panel."""
        found = self.query_one(f"#{self.current}")
        return found if isinstance(found, Chart) else None

    def show(self, plots: Mapping[str, Plot], *, at_once: bool) -> None:
        """Show other plots, by the names of the charts: all of them, or those that are due (see `go_on`)."""
        self._waiting = {**self._waiting, **plots}
        if at_once:
            self._draw(list(self._waiting))
        else:
            self.go_on()

    def go_on(self) -> None:
        """Once a second: draw what waits of the chart at hand, and of a few others in turn.

        Six charts of a young run that are drawn every second are more than a slow line takes.
        """
        others = [name for name in self._waiting if name != self.current]
        self._draw([*([self.current] if self.current in self._waiting else []), *others[:IN_TURN]])

    def _draw(self, names: Sequence[str]) -> None:
        for name in names:
            self.query_one(f"#{name}", Chart).show(self._waiting.pop(name))

    def look_at(self, x: float | None) -> None:
        """Put every chart's crosshair at `x`, or away."""
        for chart in self.query(Chart):
            chart.look_at(x)

    def select(self, name: str, *, focus: bool = True) -> None:
        """Make a pane the one at hand: the only one seen where there is room for one."""
        self.current = name
        for pane in PANES:
            self.query_one(f"#{pane}").set_class(pane == name, "current")
        for row, names in (("#big", BIG), ("#small", SMALL)):
            self.query_one(row).set_class(name in names, "current")
        self.query_one("#charts").set_class(name == FIGURES, "away")
        if focus:
            # After the layout, without which one that was hidden cannot have it.
            self.call_after_refresh(self.query_one(f"#{name}").focus, False)

    def turn(self, by: int) -> None:
        """To the next pane or the one before; the crosshair stays where it is."""
        cursor = self.chart.cursor if self.chart else None
        if self.chart:
            self.chart.look_at(None)
        self.select(PANES[(PANES.index(self.current) + by) % len(PANES)])
        if self.chart and cursor is not None:
            self.chart.look_at(cursor)

    def up(self) -> None:
        """From a small chart to the big one above it."""
        if self.current in SMALL:
            self.select(BIG[SMALL.index(self.current) * len(BIG) // len(SMALL)])

    def down(self) -> None:
        """From a big chart to the small one below it."""
        if self.current in BIG:
            self.select(SMALL[BIG.index(self.current) * len(SMALL) // len(BIG)])

    @on(DescendantFocus)
    def _focused(self, event: DescendantFocus) -> None:
        """A click, or what else gives the focus, selects too."""
        if event.widget.id in PANES and event.widget.id != self.current:
            self.select(event.widget.id, focus=False)

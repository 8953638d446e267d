"""The charts in three rows beside a panel of figures, one of which is at hand. Knows nothing of files and jobs."""

import math
from collections.abc import Iterator, Mapping, Sequence, Set

from textual import on
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import DescendantFocus
from textual.widget import Widget

from sae_tui.widgets import densities
from sae_tui.widgets.chart import Chart
from sae_tui.widgets.job_panel import arranged
from sae_tui.widgets.plots import Plot
from sae_tui.widgets.rows import Rows
from sae_tui.widgets.traces import CHARTS, DENSITY

ROWS = {
    "big": ("loss", "terms", "fvu", "ce"), "small": ("l0", "dead", "cosine", "coefficient"),
    "rest": (DENSITY, "lr", "speed", "memory"),
}  # fmt: skip
"""The charts, row by row."""
FIGURES = "figures"
IN_TURN = 2
"""Charts besides the one at hand that are drawn in a second."""
PANES = (*(name for names in ROWS.values() for name in names), FIGURES)
"""All of them, in their order."""
TITLES = {DENSITY: densities.TITLE, **{name: title for name, (title, _, _) in CHARTS.items()}}


class Figures(Rows, can_focus=True):
    """The panel, which can have the focus so that it can be zoomed. Lines that do not fit are scrolled to."""

    def __init__(self) -> None:
        super().__init__(id=FIGURES, classes="pane")
        self._sections: Sequence[Sequence[Content]] = ()
        self._first = 0

    def tell(self, sections: Sequence[Sequence[Content]]) -> None:
        """Show other sections."""
        self._sections = sections
        height = self.size.height
        lines = arranged(sections, self.size.width, height)
        self._first = min(self._first, max(0, len(lines) - height))
        below = max(0, len(lines) - self._first - height)
        said = f"↓ {below} more" if below else "↑" if self._first else None
        if said != self.border_subtitle:
            self.border_subtitle = said
        self.show(lines[self._first :][:height])

    def scroll(self, by: int) -> None:
        """So many lines down, or up."""
        self._first = max(0, self._first + by)
        self.tell(self._sections)

    def on_resize(self) -> None:
        """Another size may hold another number of columns."""
        self.tell(self._sections)


class Panes(Horizontal):
    """The charts and the panel. The stylesheet of the screen says what is seen of them, by the class `current`."""

    def __init__(self, *, graph: str, id: str) -> None:
        super().__init__(id=id)
        self._graph = graph
        self.current = PANES[0]
        """The name of the pane at hand."""
        self._waiting: dict[str, Plot] = {}
        """Plots that were not drawn yet; those that wait longest first."""
        self._absent = frozenset[str]()

    def compose(self) -> Iterator[Widget]:
        """Rows of charts, and the panel beside them."""
        with Vertical(id="charts"):
            for row, names in ROWS.items():
                with Horizontal(id=row, classes="row"):
                    for name in names:
                        empty = Plot(name=TITLES[name], series=(), low=0, high=0, empty="")
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

        All charts of a young run that are drawn every second are more than a slow line takes.
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
        for row, names in ROWS.items():
            self.query_one(f"#{row}").set_class(name in names, "current")
        self.query_one("#charts").set_class(name == FIGURES, "away")
        if focus:
            # After the layout, without which one that was hidden cannot have it.
            self.call_after_refresh(self.query_one(f"#{name}").focus, False)

    def turn(self, by: int) -> None:
        """To the next pane or the one before; the crosshair stays where it is, or at the end of another x axis."""
        before = self.chart
        cursor = before.cursor if before else None
        if before:
            before.look_at(None)
        there = self.there
        self.select(there[(there.index(self.current) + by) % len(there)])
        if before and self.chart and cursor is not None:
            self.chart.look_at(cursor if self.chart.plot.x_name == before.plot.x_name else math.inf)

    @property
    def there(self) -> list[str]:
        """The panes that this run has something for."""
        return [pane for pane in PANES if pane not in self._absent]

    def without(self, absent: Set[str]) -> None:
        """Take charts away that this run has nothing for."""
        if absent != self._absent:
            self._absent = frozenset(absent)
            for chart in self.query(Chart):
                chart.set_class(chart.id in absent, "absent")
            if self.current in absent:
                self.select(PANES[0])

    def up(self) -> None:
        """To the chart above; in the panel, a line up."""
        self._across(-1)

    def down(self) -> None:
        """To the chart below; in the panel, a line down."""
        self._across(1)

    def _across(self, by: int) -> None:
        if self.current == FIGURES:
            self.query_one(Figures).scroll(by)
            return
        rows = [[name for name in names if name not in self._absent] for names in ROWS.values()]
        at = next((i for i, names in enumerate(rows) if self.current in names), None)
        if at is not None and 0 <= at + by < len(rows):
            here, there = rows[at], rows[at + by]
            self.select(there[(2 * here.index(self.current) + 1) * len(there) // (2 * len(here))])

    @on(DescendantFocus)
    def _focused(self, event: DescendantFocus) -> None:
        """A click, or what else gives the focus, selects too."""
        name = event.widget.id or ""
        if name in PANES and name != self.current:
            self.select(name, focus=False)

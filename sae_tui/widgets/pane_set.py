"""The panes of one feature: the main one, and beside it places for two panes each, of which one is seen at a time.

One of all is at hand. Where there is no room for all places, the style sheet shows the pane at hand alone; a strip
names the panes there are, those that are seen apart from those that wait behind.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget

from core.analysis.card import Card
from core.analysis.gallery import Gallery
from sae_tui.widgets.bars import Line
from sae_tui.widgets.chart import Chart
from sae_tui.widgets.feature_facts import emergence
from sae_tui.widgets.histogram import Histogram, bins
from sae_tui.widgets.paged_table import PagedTable
from sae_tui.widgets.plots import Plot


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is shown of a feature."""

    card: Card
    gallery: Gallery | None
    """Of a model of images."""
    link: str | None
    """Its page elsewhere."""
    why: str
    """Said in the main pane where it never fired."""


class PaneSet(Vertical):
    """The panes, side by side or one at a time. A subclass says which, makes them and fills them."""

    MAIN: ClassVar[str]
    """The main pane's id."""
    SIDE: ClassVar[tuple[tuple[str, ...], ...]]
    """The places beside it: the panes of each, the first one seen at first."""
    ALL: ClassVar[tuple[str, ...]]
    """All of them."""
    TITLES: ClassVar[dict[str, str]] = {}
    NAMES: ClassVar[dict[str, str]] = {"coactivations": "co-activations"}
    SHORT: ClassVar[dict[str, str]] = {
        "histogram": "hist", "categories": "categs", "neighbours": "alike", "coactivations": "together",
    }  # fmt: skip
    """Names in a strip that has no room for all of them in full."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        cls.ALL = (cls.MAIN, *(name for names in cls.SIDE for name in names))
        super().__init_subclass__(**kwargs)

    def __init__(self, *, graph: str) -> None:
        super().__init__()
        self.ascii_only = graph == "ascii"
        self._graph = graph
        self.names: list[str] = list(self.ALL)
        """The panes there are: those that have something to show."""
        self.at_hand = self.MAIN
        """The pane that has the keys."""
        self._visited: list[str] = []
        """The panes that were visited, the last one last."""
        self._life = Plot(name="emergence", series=(), low=0, high=0)

    def compose(self) -> ComposeResult:
        """The main pane at the left, the others at the right."""
        yield Line(id="strip")
        with Horizontal():
            yield self.made(self.MAIN)
            with Vertical(id="side"):
                for name in self.ALL[1:]:
                    pane = self._common(name) or self.made(name)
                    if name in self.TITLES:
                        pane.border_title = Content(self.TITLES[name])
                    pane.set_class(name == self.SIDE[0][0], "-last", "-seen")
                    yield pane

    def made(self, name: str) -> Widget:
        """A pane of this id."""
        raise NotImplementedError

    def show(self, known: Known) -> None:
        """Show a feature."""
        raise NotImplementedError

    def say(self, words: str) -> None:
        """Show nothing but words."""
        raise NotImplementedError

    def find(self, fits: Callable[[Any], bool]) -> bool:
        """Go to the next of the places shown that `fits`; whether there is one."""
        raise NotImplementedError

    def next_band(self) -> None:
        """Other places: of all activations, of the strongest, of each band."""
        raise NotImplementedError

    @property
    def side(self) -> tuple[tuple[str, ...], ...]:
        """The places there is room for now, with all the panes."""
        return self.SIDE

    def keys(self, name: str) -> Widget:
        """What takes the keys of a pane."""
        return self.query_one(f"#{name}", Widget)

    @property
    def histogram(self) -> Histogram:
        """How often it fires how strongly."""
        return self.query_one(Histogram)

    def table(self, name: str) -> PagedTable:
        """One of the tables, by the pane it is in."""
        return self.query_one(f"#{name}", PagedTable)

    def _common(self, name: str) -> Widget | None:
        """Those of features of every kind."""
        if name == "histogram":
            return Histogram(ascii_only=self.ascii_only, id=name, classes="pane")
        return Chart(self._life, graph=self._graph, id=name, classes="pane") if name == "emergence" else None

    def _show_common(self, card: Card) -> None:
        self.histogram.show(bins(card.histogram), card.unit)
        self._life = emergence(card)
        self.query_one(Chart).show(self._life)

    def _has(self, names: list[str]) -> None:
        """There are these panes: go to the one at hand, or to another where it is gone."""
        self.names = names
        focused = self.screen.focused
        if self.at_hand not in names or focused is None or not focused.display:
            self.to(self.at_hand if self.at_hand in names else self.MAIN)
        else:
            self._is_at(self.at_hand)

    def to(self, name: str) -> None:
        """Show a pane and give it the keys."""
        self._is_at(name)
        if self.screen.maximized is not None:
            self.screen.maximize(self.query_one(f"#{name}", Widget), container=False)
        self.screen.set_focus(self.keys(name), scroll_visible=False)

    def step(self, by: int) -> None:
        """To the pane so many after the one at hand."""
        at = self.names.index(self.at_hand) if self.at_hand in self.names else 0
        self.to(self.names[(at + by) % len(self.names)])

    def on_descendant_focus(self) -> None:
        """The focus went to a pane, by a click perhaps; where it has gone on since, that one counts."""
        ids = {widget.id for widget in self.screen.focused.ancestors_with_self} if self.screen.focused else set()
        name = next((name for name in self.ALL if name in ids), None)
        if name is not None and name != self.at_hand:
            self._is_at(name)

    def on_chart_window(self, event: Chart.Window) -> None:
        """A part of the training, or all of it."""
        low, high = event.window or (self._life.low, self._life.high)
        event.chart.show(replace(self._life, low=low, high=high))

    def on_resize(self) -> None:
        """The strip may have room for other names."""
        self._draw_strip()

    def _is_at(self, name: str) -> None:
        self.at_hand = name
        # Where all places are seen these classes change nothing but make Textual draw all of them again.
        alone = self.has_class("-one") or self.screen.has_class("-narrow") or self.screen.has_class("-short")
        self._visited = [*(one for one in self._visited if one != name), name]
        for names in self.side:
            there = [one for one in names if one in self.names]
            seen = max(there, key=lambda one: self._visited.index(one) if one in self._visited else -1, default=None)
            for one in names:
                self.query_one(f"#{one}").set_class(one == seen, "-seen")
        for other in self.ALL:
            pane = self.query_one(f"#{other}")
            pane.set_class(other == name, "-here", update=alone)
            if name != self.MAIN:
                pane.set_class(other == name, "-last", update=alone)
        self.query_one("#side").set_class(name != self.MAIN, "-here", update=alone)
        self._draw_strip()

    def _draw_strip(self) -> None:
        """The strip: each pane's name, that of the one at hand lit, those of panes out of sight faint."""
        words = {name: self.NAMES.get(name, name) for name in self.names}
        if sum(cell_len(word) + 2 for word in words.values()) > self.size.width:
            words = {name: self.SHORT.get(name, word) for name, word in words.items()}
        parts = []
        for name, word in words.items():
            seen = self.query_one(f"#{name}").display
            style = "bold $background on $primary" if name == self.at_hand else "" if seen else "$text-muted"
            parts.append((f" {word} ", style))
        self.query_one("#strip", Line).show(Content.assemble(*parts))

"""The panes of one feature: contexts, and beside them places for two panes each, of which one is seen at a time.

One of all is at hand. Where there is no room for all places, the style sheet shows the pane at hand alone; a strip
names the panes there are, those that are seen apart from those that wait behind.
"""

from collections.abc import Sequence
from dataclasses import replace

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import DescendantFocus
from textual.widget import Widget

from core.analysis.card import Card
from core.records import Example
from sae_tui.widgets.bars import Line
from sae_tui.widgets.chart import Chart
from sae_tui.widgets.contexts import Contexts
from sae_tui.widgets.feature_facts import Effects, Weights, emergence, specialist
from sae_tui.widgets.feature_tables import categories, densest, effects, fires_on, neighbours, shares, together
from sae_tui.widgets.histogram import Histogram, bins
from sae_tui.widgets.paged_table import PagedTable, Source
from sae_tui.widgets.places import Places
from sae_tui.widgets.plots import Plot
from sae_tui.widgets.titles import entitle

SIDE = (
    ("histogram", "emergence"), ("tokens", "categories"), ("logits", "weights"), ("neighbours", "coactivations"),
)  # fmt: skip
"""The places beside the contexts: the panes of each, the first one seen at first."""
PANES = ("contexts", *(name for names in SIDE for name in names))
TITLES = {
    "tokens": "fires on",
    "categories": "categories",
    "logits": "effect on the next token's logits",
    "weights": "weights and halves of the text",
    "neighbours": "neighbours by decoder direction",
    "coactivations": "co-activations: fires together with",
}
NAMES = {"coactivations": "co-activations"}
SHORT = {"histogram": "hist", "categories": "categs", "neighbours": "alike", "coactivations": "together"}
"""Names in a strip that has no room for all of them in full."""


class FeaturePanes(Vertical):
    """The panes, side by side or one at a time."""

    def __init__(self, *, graph: str) -> None:
        super().__init__()
        self._graph = graph
        self.names: list[str] = list(PANES)
        """The panes there are: those that have something to show."""
        self.at_hand = PANES[0]
        """The pane that has the keys."""
        self._seen = {names: names[0] for names in SIDE}
        """Which pane of each place was visited last."""
        self._life = Plot(name="emergence", series=(), low=0, high=0)

    def compose(self) -> ComposeResult:
        """Contexts at the left, the others at the right."""
        plain = self._graph == "ascii"
        tables = {"tokens": fires_on, "categories": categories, "neighbours": neighbours, "coactivations": together}
        yield Line(id="strip")
        with Horizontal():
            yield Places(id="contexts", classes="pane")
            with Vertical(id="side"):
                yield Histogram(ascii_only=plain, id="histogram", classes="pane -last -seen")
                yield Chart(self._life, graph=self._graph, id="emergence", classes="pane")
                for name in PANES[3:]:
                    if name in tables:
                        pane: Widget = PagedTable(tables[name](ascii_only=plain), id=name, classes="pane")
                    elif name == "logits":
                        pane = Effects(ascii_only=plain, id=name, classes="pane")
                    else:
                        pane = Weights(id=name, classes="pane")
                    pane.border_title = Content(TITLES[name])
                    yield pane

    @property
    def places(self) -> Places:
        """Contexts, or a document."""
        return self.query_one(Places)

    @property
    def histogram(self) -> Histogram:
        """How often it fires how strongly."""
        return self.query_one(Histogram)

    def table(self, name: str) -> PagedTable:
        """One of the tables, by the pane it is in."""
        return self.query_one("#effects" if name == "logits" else f"#{name}", PagedTable)

    def show(self, card: Card, words: str, *, link: str | None) -> None:
        """Show a feature: `words` in the place of contexts where it has none, `link` is its page elsewhere."""
        dead = bool(card.row["dead"])
        self.set_class(False, "-alone")
        if dead:
            self.places.say(words)
        else:
            self.places.show(card.examples, most=card.row["max"], bands=card.bands)
        self.histogram.show(bins(card.histogram))
        self._mark(self.places.contexts.example)
        rows = {
            "tokens": shares(card), "categories": densest(card), "neighbours": card.neighbours,
            "coactivations": card.coactivations,
        }  # fmt: skip
        for name, shown in rows.items():
            self.table(name).browse(Source.of(shown))
        self.query_one(Effects).tell(card)
        self.query_one(Weights).tell(card, link)
        self._life = emergence(card)
        self.query_one(Chart).show(self._life)
        entitle(self.query_one("#categories"), Content(f"categories · {specialist(card.row)}"))
        empty = {name for name, shown in (*rows.items(), ("logits", card.logits)) if not shown}
        self.names = [name for name in PANES if name not in empty and not (dead and name == "histogram")]
        focused = self.screen.focused
        if self.at_hand not in self.names or focused is None or not focused.display:
            self.to(self.at_hand if self.at_hand in self.names else PANES[0])
        else:
            self._is_at(self.at_hand)

    def say(self, words: str) -> None:
        """Show nothing but words."""
        self.places.say(words)
        self.set_class(True, "-alone")

    @property
    def ids(self) -> bool:
        """Whether tokens show as their ids."""
        return self.places.ids

    @ids.setter
    def ids(self, ids: bool) -> None:
        self.places.ids = ids
        self.table("tokens").set_columns(fires_on(ascii_only=self._graph == "ascii", ids=ids))
        self.table("logits").set_columns(effects(ascii_only=self._graph == "ascii", ids=ids))

    def to(self, name: str) -> None:
        """Show a pane and give it the keys."""
        self._is_at(name)
        pane = self.query_one(f"#{name}", Widget)
        if self.screen.maximized is not None:
            self.screen.maximize(pane, container=False)
        keys = {"contexts": self.places.displayed, "logits": self.table("logits")}.get(name, pane)
        self.screen.set_focus(keys, scroll_visible=False)

    def step(self, by: int) -> None:
        """To the pane so many after the one at hand."""
        at = self.names.index(self.at_hand) if self.at_hand in self.names else 0
        self.to(self.names[(at + by) % len(self.names)])

    def find(self, wanted: Sequence[Example]) -> bool:
        """Go to the next of these contexts; whether one of them is among those shown."""
        self.places.close()
        found = self.places.contexts.seek(wanted)
        if found:
            self.to("contexts")
        return found

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """The focus went to a pane, by a click perhaps."""
        ids = {widget.id for widget in event.widget.ancestors_with_self}
        name = next((name for name in PANES if name in ids), None)
        if name is not None and name != self.at_hand:
            self._is_at(name)

    def on_contexts_moved(self, event: Contexts.Moved) -> None:
        """Show where in the histogram the context lies."""
        self._mark(event.example)

    def on_chart_window(self, event: Chart.Window) -> None:
        """A part of the training, or all of it."""
        low, high = event.window or (self._life.low, self._life.high)
        event.chart.show(replace(self._life, low=low, high=high))

    def on_resize(self) -> None:
        """The strip may have room for other names."""
        self._draw_strip()

    def _mark(self, example: Example | None) -> None:
        if example is not None:
            self.histogram.mark(example.value)

    def _is_at(self, name: str) -> None:
        self.at_hand = name
        # Where all places are seen these classes change nothing but make Textual draw all of them again.
        alone = self.screen.has_class("-narrow") or self.screen.has_class("-short")
        for names in SIDE:
            there = [one for one in names if one in self.names]
            if name in names:
                self._seen[names] = name
            seen = self._seen[names] if self._seen[names] in there else next(iter(there), None)
            for one in names:
                self.query_one(f"#{one}").set_class(one == seen, "-seen")
        for other in PANES:
            pane = self.query_one(f"#{other}")
            pane.set_class(other == name, "-here", update=alone)
            if name != "contexts":
                pane.set_class(other == name, "-last", update=alone)
        self.query_one("#side").set_class(name != "contexts", "-here", update=alone)
        self._draw_strip()

    def _draw_strip(self) -> None:
        """The strip: each pane's name, that of the one at hand lit, those of panes out of sight faint."""
        words = {name: NAMES.get(name, name) for name in self.names}
        if sum(cell_len(word) + 2 for word in words.values()) > self.size.width:
            words = {name: SHORT.get(name, word) for name, word in words.items()}
        parts = []
        for name, word in words.items():
            seen = self.query_one(f"#{name}").display
            style = "bold $background on $primary" if name == self.at_hand else "" if seen else "$text-muted"
            parts.append((f" {word} ", style))
        self.query_one("#strip", Line).show(Content.assemble(*parts))

"""The panes of one feature: contexts, histogram, tokens, logits, neighbours; one of them is at hand.

Where there is no room for all of them side by side, the style sheet shows the one at hand, and a strip says which.
"""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import DescendantFocus
from textual.widget import Widget

from core.analysis.card import Card
from core.records import Example
from sae_tui.widgets.bars import Line
from sae_tui.widgets.contexts import Contexts
from sae_tui.widgets.feature_tables import effects, fires_on, neighbours, paired, shares
from sae_tui.widgets.histogram import Histogram, bins
from sae_tui.widgets.paged_table import PagedTable, Source
from sae_tui.widgets.places import Places

PANES = ("contexts", "histogram", "tokens", "logits", "neighbours")
TITLES = {
    "tokens": "fires on",
    "logits": "effect on the next token's logits",
    "neighbours": "neighbours by decoder direction",
}


class FeaturePanes(Vertical):
    """The panes, side by side or one at a time."""

    def __init__(self, *, ascii_only: bool) -> None:
        super().__init__()
        self._ascii = ascii_only
        self._dead = False
        self.at_hand = PANES[0]
        """The pane that has the keys."""

    def compose(self) -> ComposeResult:
        """Contexts at the left, the others at the right."""
        yield Line(id="strip")
        with Horizontal():
            yield Places(id="contexts", classes="pane")
            with Vertical(id="side"):
                yield Histogram(ascii_only=self._ascii, id="histogram", classes="pane -last")
                for name, columns in (("tokens", fires_on), ("logits", effects), ("neighbours", neighbours)):
                    table = PagedTable(columns(ascii_only=self._ascii), id=name, classes="pane")
                    table.border_title = Content(TITLES[name])
                    yield table

    @property
    def places(self) -> Places:
        """Contexts, or a document."""
        return self.query_one(Places)

    @property
    def histogram(self) -> Histogram:
        """How often it fires how strongly."""
        return self.query_one(Histogram)

    def table(self, name: str) -> PagedTable:
        """One of the tables: tokens, logits, neighbours."""
        return self.query_one(f"#{name}", PagedTable)

    @property
    def names(self) -> list[str]:
        """The panes there are: where it never fired there is nothing to count."""
        return [name for name in PANES if not (self._dead and name in ("histogram", "tokens"))]

    def show(self, card: Card, words: str) -> None:
        """Show a feature: `words` in the place of contexts where it has none."""
        self._dead = bool(card.row["dead"])
        self.set_class(False, "-alone")
        self.set_class(self._dead, "-dead")
        if self._dead:
            self.places.say(words)
        else:
            self.places.show(card.examples, most=card.row["max"], bands=card.bands)
        self.histogram.show(bins(card.histogram))
        self._mark(self.places.contexts.example)
        rows = {"tokens": shares(card), "logits": paired(card.logits), "neighbours": card.neighbours}
        for name, shown in rows.items():
            self.table(name).browse(Source.of(shown))
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
        self.table("tokens").set_columns(fires_on(ascii_only=self._ascii, ids=ids))
        self.table("logits").set_columns(effects(ascii_only=self._ascii, ids=ids))

    def to(self, name: str) -> None:
        """Show a pane and give it the keys."""
        self._is_at(name)
        pane = self.query_one(f"#{name}", Widget)
        if self.screen.maximized is not None:
            self.screen.maximize(pane, container=False)
        self.screen.set_focus(self.places.displayed if name == "contexts" else pane, scroll_visible=False)

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

    def _mark(self, example: Example | None) -> None:
        if example is not None:
            self.histogram.mark(example.value)

    def _is_at(self, name: str) -> None:
        self.at_hand = name
        # Where all panes are shown the classes change nothing but make Textual draw all of them again.
        alone = self.screen.has_class("-narrow") or self.screen.has_class("-short")
        for other in PANES:
            pane = self.query_one(f"#{other}")
            pane.set_class(other == name, "-here", update=alone)
            if name != "contexts":
                pane.set_class(other == name, "-last", update=alone)
        self.query_one("#side").set_class(name != "contexts", "-here", update=alone)
        here = "bold $background on $primary"
        parts = [(f" {other} ", here if other == name else "$text-muted") for other in self.names]
        self.query_one("#strip", Line).show(Content.assemble(*parts))

"""The panes of a feature of a language model: its contexts, and what it fires on, writes and goes with."""

from collections.abc import Callable, Sequence

from textual.content import Content
from textual.widget import Widget

from core.records import Example
from sae_tui.widgets.contexts import Contexts
from sae_tui.widgets.feature_facts import Effects, Weights, specialist
from sae_tui.widgets.feature_tables import (
    beside,
    categories,
    densest,
    effects,
    fires_on,
    neighbours,
    shares,
    together,
)
from sae_tui.widgets.paged_table import PagedTable, Source
from sae_tui.widgets.pane_set import Known, PaneSet
from sae_tui.widgets.places import Places
from sae_tui.widgets.titles import entitle

TABLES = {"tokens": fires_on, "categories": categories, "neighbours": neighbours, "coactivations": together}


class FeaturePanes(PaneSet):
    """Contexts beside tables, a histogram and a chart."""

    MAIN = "contexts"
    SIDE = (
        ("histogram", "emergence"), ("tokens", "categories"), ("logits", "weights"), ("neighbours", "coactivations"),
    )  # fmt: skip
    TITLES = {
        "tokens": "fires on",
        "categories": "categories",
        "logits": "effect on the next token's logits",
        "weights": "weights and halves of the text",
        "neighbours": "neighbours by decoder direction",
        "coactivations": "co-activations: fires together with",
    }

    def __init__(self, *, graph: str) -> None:
        super().__init__(graph=graph)
        self._examples: Sequence[Example] = ()

    def made(self, name: str) -> Widget:
        """Contexts, a table, or a pane of its own."""
        if name in TABLES:
            return PagedTable(TABLES[name](ascii_only=self.ascii_only), id=name, classes="pane")
        if name == "logits":
            return Effects(ascii_only=self.ascii_only, id=name, classes="pane")
        return Weights(id=name, classes="pane") if name == "weights" else Places(id=name, classes="pane")

    @property
    def places(self) -> Places:
        """Contexts, or a document."""
        return self.query_one(Places)

    def table(self, name: str) -> PagedTable:
        """One of the tables, by the pane it is in."""
        return super().table("effects" if name == "logits" else name)

    def keys(self, name: str) -> Widget:
        """What takes the keys of a pane."""
        if name == "contexts":
            return self.places.displayed
        return self.table(name) if name == "logits" else super().keys(name)

    def show(self, known: Known) -> None:
        """Show a feature: words in the place of contexts where it has none."""
        card = known.card
        self._examples = card.examples
        dead = bool(card.row["dead"])
        self.set_class(False, "-alone")
        if dead:
            self.places.say(known.why)
        else:
            self.places.show(card.examples, most=card.row["max"], bands=card.bands)
        self._show_common(card)
        self._mark(self.places.contexts.example)
        rows = {
            "tokens": shares(card), "categories": densest(card), "neighbours": beside(card.neighbours, "cosine"),
            "coactivations": beside(card.coactivations, "jaccard"),
        }  # fmt: skip
        for name, shown in rows.items():
            self.table(name).browse(Source.of(shown))
        self.query_one(Effects).tell(card)
        self.query_one(Weights).tell(card, known.link)
        entitle(self.query_one("#categories"), Content(f"categories · {specialist(card.row)}"))
        empty = {name for name, shown in (*rows.items(), ("logits", card.logits)) if not shown}
        self._has([name for name in self.ALL if name not in empty and not (dead and name == "histogram")])

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
        self.table("tokens").set_columns(fires_on(ascii_only=self.ascii_only, ids=ids))
        self.table("logits").set_columns(effects(ascii_only=self.ascii_only, ids=ids))

    def find(self, fits: Callable[[Example], bool]) -> bool:
        """Go to the next of the contexts that `fits`; whether one of those shown does."""
        self.places.close()
        found = self.places.contexts.seek([example for example in self._examples if fits(example)])
        if found:
            self.to("contexts")
        return found

    def next_band(self) -> None:
        """Other contexts."""
        self.places.next_band()

    def on_contexts_moved(self, event: Contexts.Moved) -> None:
        """Show where in the histogram the context lies."""
        self._mark(event.example)

    def _mark(self, example: Example | None) -> None:
        if example is not None:
            self.histogram.mark(example.value)

"""Which features fire on one token: how strongly, and what they stand for."""

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from sae_tui.screens.generation import Generation, Side
from sae_tui.screens.names import Names, called
from sae_tui.screens.steer_words import Fires, token_words
from sae_tui.text import figure
from sae_tui.widgets.paged_table import Column, PagedTable
from sae_tui.widgets.scales import bar
from sae_tui.widgets.titles import entitle


class Firing(Vertical):
    """The features of one token, the strongest first, with a line about the token."""

    DEFAULT_CSS = """
    Firing {
        PagedTable { height: 1fr; }
        Static { height: auto; max-height: 3; color: $text-muted; }
        &.-nothing PagedTable { display: none; }
    }
    """

    def __init__(self, *, ascii_only: bool = False, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._ascii = ascii_only
        self._names: Names | None = None
        self._told = Content("")
        self._shown: tuple[Generation | None, Side, int | None] = None, "steered", None

    def compose(self) -> ComposeResult:
        """The words above the table."""
        yield Static(id="token", markup=False)
        yield PagedTable(
            [
                Column("feature", "feature", 7, lambda fires: str(fires[0]), right=True),
                Column("value", "fires", 6, lambda fires: figure(fires[1]), right=True),
                Column("name", "stands for", 8, self._stands_for, weight=1),
                Column("bar", "of max", 6, self._bar),
            ],
            key=lambda fires: fires[0],
            id="firing",
        )

    @property
    def table(self) -> PagedTable:
        """The list."""
        return self.query_one(PagedTable)

    @property
    def feature(self) -> int | None:
        """The feature at the cursor; None where there is none."""
        return self.table.row[0] if self.table.row else None

    def show(self, generation: Generation | None, side: Side, index: int | None, names: Names | None) -> None:
        """Show those of the token at a place of a text."""
        self._names = names
        title, words, fires = token_words(generation, side, index)
        if names is not None:
            names.need(feature for feature, _ in fires)
        entitle(self, title)
        self.set_class(not fires, "-nothing")
        if (generation, side, index) != self._shown:
            self._shown = generation, side, index
            self.table.move_to(0)
        self.table.show(fires)
        self.table.changed()
        if not words.is_same(self._told):
            self._told = words
            about = self.query_one("#token", Static)
            about.display = bool(words)
            about.update(words)

    def _stands_for(self, fires: Fires) -> Content:
        return called(self._names.known.get(fires[0]) if self._names else None)

    def _bar(self, fires: Fires) -> Content:
        most = getattr(self._names.known.get(fires[0]) if self._names else None, "max", None)
        return Content.styled(bar(fires[1] / most, 6, ascii_only=self._ascii), "$accent") if most else Content("")

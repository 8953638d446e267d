"""Which features fire on one token: how strongly, and what they stand for; or what the token after it rests on."""

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from core.records import AttributedFeature, Attribution
from sae_tui.screens.generation import Generation, Side
from sae_tui.screens.names import Names, called
from sae_tui.screens.steer_words import Fires, part, token_words, why_words
from sae_tui.text import figure, token
from sae_tui.widgets.paged_table import Column, PagedTable, Source
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
        self._rank = "fires"
        self._shown: tuple[Generation | None, Side, int | None, str] = None, "steered", None, "fires"

    def compose(self) -> ComposeResult:
        """The words above the table."""
        yield Static(id="token", markup=False)
        yield PagedTable(
            self._columns("fires"),
            key=_place,
            id="firing",
        )

    def _columns(self, rank: str) -> list[Column]:
        if rank == "fires":
            return [
                Column("feature", "feature", 7, lambda fires: str(fires[0]), right=True),
                Column("value", "fires", 6, lambda fires: figure(fires[1]), right=True),
                Column("name", "stands for", 8, self._stands_for, weight=1),
                Column("bar", "of max", 6, self._bar),
            ]
        other = "gradient" if rank == "ablation" else "ablation"
        return [
            Column("feature", "feature", 6, lambda row: str(row.feature), right=True),
            Column(rank, rank, 8, lambda row: _signed(part(row, rank)), right=True),
            Column(other, other, 8, lambda row: _signed(part(row, other)), right=True),
            Column("on", "on", 6, lambda row: token(row.token)),
            Column("name", "stands for", 5, self._stands_for, weight=1),
        ]

    @property
    def table(self) -> PagedTable:
        """The list."""
        return self.query_one(PagedTable)

    @property
    def feature(self) -> int | None:
        """The feature at the cursor; None where there is none."""
        return _feature(self.table.row) if self.table.row else None

    def show(
        self, generation: Generation | None, side: Side, index: int | None, names: Names | None, *, rank: str = "fires",
        why: Attribution | str | None = None,
    ) -> None:  # fmt: skip
        """Show those of the token at a place of a text, or by `rank` what the token after it rests on, where known."""
        self._names = names
        title, words, fires = (
            token_words(generation, side, index) if rank == "fires" else why_words(why, rank, there=index is not None)
        )
        if names is not None:
            names.need(map(_feature, fires))
        entitle(self, title)
        self.set_class(not fires, "-nothing")
        if rank != self._rank:
            self._rank = rank
            self.table.browse(Source.of(()), columns=self._columns(rank))
        if (generation, side, index, rank) != self._shown:
            self._shown = generation, side, index, rank
            self.table.move_to(0)
        self.table.show(fires)
        self.table.changed()
        if not words.is_same(self._told):
            self._told = words
            about = self.query_one("#token", Static)
            about.display = bool(words)
            about.update(words)

    def _stands_for(self, row: Fires | AttributedFeature) -> Content:
        return called(self._names.known.get(_feature(row)) if self._names else None)

    def _bar(self, fires: Fires) -> Content:
        most = getattr(self._names.known.get(fires[0]) if self._names else None, "max", None)
        return Content.styled(bar(fires[1] / most, 6, ascii_only=self._ascii), "$accent") if most else Content("")


def _feature(row: Fires | AttributedFeature) -> int:
    return row.feature if isinstance(row, AttributedFeature) else row[0]


def _place(row: Fires | AttributedFeature) -> object:
    """What tells rows apart: one feature may be on several tokens."""
    return (row.feature, row.position) if isinstance(row, AttributedFeature) else row[0]


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"

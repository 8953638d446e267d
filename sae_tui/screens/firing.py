"""One token: which features fire on it, before and after what is done to it; what may come next, what that rests on;
and how sparse its text is.
"""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from core.records import AttributedFeature, Attribution, FiringToken
from sae_tui.screens.firing_words import (
    Fires,
    Next,
    Over,
    Row,
    Sparse,
    fires_words,
    next_words,
    part,
    sparse_words,
    why_words,
)
from sae_tui.screens.generation import Generation, Side
from sae_tui.screens.names import Names, called
from sae_tui.text import fitting, token
from sae_tui.widgets.paged_table import Column, PagedTable, Source
from sae_tui.widgets.scales import bar
from sae_tui.widgets.titles import entitle

VALUE = 6
"""Cells of an activation."""
WIDE = 8
"""Cells of a bar that stands alone."""
KEYS = "enter amplifies · a adds · o opens"
"""What is done with a feature of a list."""


class Firing(Vertical):
    """A list about one token, the strongest first, with a line about the token."""

    DEFAULT_CSS = """
    Firing {
        PagedTable { height: 1fr; }
        Static { height: auto; max-height: 5; color: $text-muted; }
        &.-nothing PagedTable { display: none; }
    }
    """

    def __init__(self, *, ascii_only: bool = False, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.border_subtitle = KEYS
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
                Column("feature", "feature", 7, lambda row: str(row.feature), right=True),
                Column("before", "fires", VALUE, lambda row: fitting(row.before, VALUE), right=True),
                Column("after", "edited", VALUE, lambda row: fitting(row.after, VALUE), right=True),
                Column("name", "stands for", 8, self._stands_for, weight=1),
                Column("bar", "of max", 6, self._bar),
            ]
        if rank == "next":
            return [
                Column("came", "", 2, lambda row: row.came, style="bold"),
                Column("token", "token", 8, lambda row: token(row.token.text), weight=1),
                Column("baseline", "baseline", 9, lambda row: self._share(row.p[0], "$text-muted")),
                Column("steered", "steered", 9, lambda row: self._share(row.p[1], "$accent")),
            ]
        if rank == "sparse":
            return [
                Column("name", "", 12, self._named, weight=1),
                Column("value", "", 10, lambda row: row.value, right=True),
                Column("bar", "", WIDE, lambda row: self._filled(row.share)),
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
        return None if self.table.row is None else _feature(self.table.row)

    @property
    def next(self) -> str | None:
        """The next token at the cursor; None where there is none."""
        row = self.table.row
        return row.token.text if isinstance(row, Next) else None

    def show(
        self, generation: Generation | None, side: Side, index: int | None, names: Names | None, *, rank: str = "fires",
        why: Attribution | str | None = None, prompt: Sequence[FiringToken] = (),
    ) -> None:  # fmt: skip
        """Show by `rank` what is known of the token at a place of a text; `prompt` is told of where none came yet."""
        self._names = names
        if rank in ("fires", "next"):
            title, words, rows = (fires_words if rank == "fires" else next_words)(generation, side, index)
        elif rank == "sparse":
            read = (generation.firing.get(side) or generation.prompt) if generation else prompt
            title, words, rows = sparse_words(read, f"{side} text" if generation else "prompt", ascii_only=self._ascii)
        else:
            title, words, rows = why_words(why, rank, there=index is not None)
        if names is not None:
            names.need(feature for row in rows if (feature := _feature(row)) is not None)
        entitle(self, title)
        self.set_class(not rows, "-nothing")
        if rank != self._rank:
            self._rank = rank
            self.border_subtitle = "" if rank == "next" else KEYS
            self.table.browse(Source.of(()), columns=self._columns(rank))
        if (generation, side, index, rank) != self._shown:
            self._shown = generation, side, index, rank
            self.table.move_to(0)
        self.table.show(rows)
        self.table.changed()
        if not words.is_same(self._told):
            self._told = words
            about = self.query_one("#token", Static)
            about.display = bool(words)
            about.update(words)

    def _stands_for(self, row: Fires | AttributedFeature | Over) -> Content:
        return called(self._names.known.get(row.feature) if self._names else None)

    def _named(self, row: Sparse | Over) -> Content:
        if isinstance(row, Sparse):
            return Content(row.name)
        return Content.assemble((row.name, "bold"), "  ", self._stands_for(row))

    def _bar(self, row: Fires) -> Content:
        most = getattr(self._names.known.get(row.feature) if self._names else None, "max", None)
        value = (row.after if row.before is None or row.after is not None else row.before) or 0.0
        return Content.styled(bar(value / most, 6, ascii_only=self._ascii), "$accent") if most else Content("")

    def _filled(self, share: float) -> Content:
        return Content.styled(bar(share, WIDE, ascii_only=self._ascii), "$accent")

    def _share(self, p: float, colour: str) -> Content:
        said = f"{100 * p:.0f}%" if p >= 0.0995 else f"{100 * p:.1f}%" if p >= 0.0005 else "<.1%"
        return Content.assemble(f"{said:>4} ", (bar(p, 4, ascii_only=self._ascii), colour))


def _feature(row: Row) -> int | None:
    return None if isinstance(row, Next | Sparse) else row.feature


def _place(row: Row) -> object:
    """What tells rows apart: one feature may be on several tokens."""
    if isinstance(row, Next):
        return row.token.token_id
    if isinstance(row, Sparse):
        return row.name
    return (row.feature, row.position) if isinstance(row, AttributedFeature) else row.feature


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"

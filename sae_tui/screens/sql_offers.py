"""Queries one may begin with, in the place of a result: those a person keeps, and the examples."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.analysis.console import EXAMPLES, JOINED
from sae_tui.history import Saved
from sae_tui.screens.dialogs import Ask, AskText
from sae_tui.screens.page import Page
from sae_tui.text import safe
from sae_tui.widgets.columns import Column
from sae_tui.widgets.paged_table import PagedTable
from sae_tui.widgets.source import Source
from sae_tui.widgets.sql_editor import SqlEditor

if TYPE_CHECKING:
    from core.analysis.store import Result


@dataclass(frozen=True, slots=True)
class Offer:
    """A query that is offered."""

    name: str
    sql: str
    saved: bool = False
    """Whether a person keeps it under that name."""


COLUMNS = [
    Column("0", "for example", 60, lambda offer: ("★ " if offer.saved else "") + safe(offer.name)),
    Column("1", "", 10, lambda offer: " ".join(offer.sql.split()), weight=1, style="$text-muted"),
]


class Offers(Page):
    """The console's offers. A subclass has the editor and the table `rows`, where they stand before a result."""

    _result: "Result | None" = None

    def show_offers(self, *, sessions: int) -> None:
        """Offer the saved queries and the examples; with more sessions than one, those that join two as well."""
        self._result = None
        saved = Saved(self.app.state.folder)

        def came(kept: dict[str, str]) -> None:
            if self._result is None:
                offers = [Offer(name, sql, saved=True) for name, sql in reversed(kept.items())]
                offers += [Offer(name, sql) for name, sql in ((*JOINED, *EXAMPLES) if sessions > 1 else EXAMPLES)]
                rows = self.query_one("#rows", PagedTable)
                rows.browse(Source.of(()))
                rows.set_columns(COLUMNS)
                rows.browse(Source.of(offers))

        self.background(saved.queries, came, group="offers")

    def write(self, sql: str) -> None:
        """Put a query into the editor in the place of what is there, which undo brings back."""
        editor = self.query_one(SqlEditor)
        editor.replace(sql, editor.document.start, editor.document.end)
        editor.focus()

    def action_save(self) -> None:
        """Keep the query in the editor under a name."""
        sql = self.query_one(SqlEditor).text.strip()
        if not sql:
            self.app.say("there is no query to keep: write one first")
            return
        saved = Saved(self.app.state.folder)

        def named(name: str | None) -> None:
            if name and name.strip():
                self.background(lambda: saved.keep(name.strip(), sql), lambda _: kept(name.strip()), group="save")

        def kept(name: str) -> None:
            self.app.say(f"kept as {name}: x lists it, with the examples")
            if self._result is None:
                self.action_examples()

        self.app.push_screen(AskText("keep this query under which name?"), named)

    def action_forget(self) -> None:
        """Delete the saved query at the cursor, after asking."""
        row = self.query_one("#rows", PagedTable).row if self._result is None else None
        if not isinstance(row, Offer) or not row.saved:
            self.app.say("the cursor is on no saved query: x lists them")
            return
        saved, name = Saved(self.app.state.folder), row.name

        def answered(letter: str | None) -> None:
            if letter == "d":
                self.background(lambda: saved.forget(name), lambda _: self.action_examples(), group="save")

        self.app.push_screen(Ask(f"Delete the saved query {name}?", (("d", "delete"), ("c", "cancel"))), answered)

    def action_examples(self) -> None:
        """List them."""
        raise NotImplementedError

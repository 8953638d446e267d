"""The queries that were run, newest first, and a line that narrows them down as one types."""

import time
from collections.abc import Sequence
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen

from sae_tui.history import Entry
from sae_tui.text import safe
from sae_tui.widgets.fields import TextLine
from sae_tui.widgets.paged_table import Column, PagedTable

MOVES = {
    "down": "down", "up": "up", "pagedown": "page_down", "pageup": "page_up", "ctrl+n": "down", "ctrl+p": "up",
}  # fmt: skip
"""Keys that move in the list while one types, and the table's action for each."""


class SqlHistory(ModalScreen[str | None]):
    """A choice among them: enter takes the one at the cursor, esc none."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        super().__init__()
        self._entries = entries

    def compose(self) -> ComposeResult:
        """The line above the list."""
        with Vertical(classes="reader") as frame:
            frame.border_title = Content("queries that were run")
            frame.border_subtitle = Content("enter take · esc back")
            yield TextLine(placeholder="words that stand in the query")
            yield PagedTable(
                [
                    Column("sql", "query", 20, lambda entry: one_line(entry.sql), weight=1),
                    Column("session", "session", 12, lambda entry: str(entry.session), style="$text-muted"),
                    Column("at", "when", 5, lambda entry: ago(entry.at), right=True, style="$text-muted"),
                ],
                key=lambda entry: entry.sql,
                pinned=3,
            )

    def on_mount(self) -> None:
        """All of them, to begin with."""
        self._narrow("")

    def on_input_changed(self, event: TextLine.Changed) -> None:
        """Those that hold every word."""
        self._narrow(event.value)

    def on_input_submitted(self) -> None:
        """Take the one at the cursor."""
        row = self.query_one(PagedTable).row
        if row is not None:
            self.dismiss(row.sql)

    def on_paged_table_opened(self, event: PagedTable.Opened) -> None:
        """Take it."""
        self.dismiss(event.row.sql if event.row else None)

    def on_key(self, event: Any) -> None:
        """Esc leaves; arrows move in the list."""
        if event.key == "escape":
            event.stop()
            self.dismiss(None)
        elif event.key in MOVES:
            event.stop()
            event.prevent_default()
            getattr(self.query_one(PagedTable), f"action_{MOVES[event.key]}")()

    def _narrow(self, words: str) -> None:
        wanted = words.casefold().split()
        self.query_one(PagedTable).show([e for e in self._entries if all(w in safe(e.sql).casefold() for w in wanted)])


def one_line(sql: str) -> str:
    """A query in one line, its runs of white space one space each."""
    return " ".join(sql.split())


def ago(at: float) -> str:
    """How long ago a time was: `now`, `5m`, `3h`, `12d`, `4y`."""
    minutes = (time.time() - at) / 60
    if minutes < 1:
        return "now"
    if minutes < 60:
        return f"{minutes:.0f}m"
    if minutes < 48 * 60:
        return f"{minutes / 60:.0f}h"
    return f"{minutes / 1440:.0f}d" if minutes < 1_000 * 1440 else f"{minutes / 525_960:.0f}y"

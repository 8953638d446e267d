"""The queries that were run, newest first, and a line that narrows them down as one types."""

import time
from collections.abc import Sequence
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from sae_tui.history import Entry
from sae_tui.screens.choose import Narrowed
from sae_tui.text import safe
from sae_tui.widgets.bars import DialogKeys
from sae_tui.widgets.fields import TextLine
from sae_tui.widgets.paged_table import Column, PagedTable


class SqlHistory(Narrowed):
    """A choice among them."""

    MOVES = {**Narrowed.MOVES, "ctrl+n": "down", "ctrl+p": "up"}

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
        yield DialogKeys(("enter", "take"), ("↓ ↑", "move"), ("esc", "back"))

    def on_mount(self) -> None:
        """All of them, to begin with."""
        self.narrow("")

    def narrow(self, words: str) -> None:
        """Those that hold every word."""
        wanted = words.casefold().split()
        self.query_one(PagedTable).show([e for e in self._entries if all(w in safe(e.sql).casefold() for w in wanted)])

    def taken(self, row: Any) -> str:
        """The query."""
        return row.sql


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

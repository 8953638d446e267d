"""A choice from a list, narrowed down as one types."""

from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen

from sae_tui.text import safe
from sae_tui.widgets.bars import DialogKeys
from sae_tui.widgets.fields import TextLine
from sae_tui.widgets.paged_table import Column, PagedTable


class Narrowed(ModalScreen[str | None]):
    """A list that a line narrows down: enter takes the one at the cursor, esc none. A subclass composes both."""

    MOVES: ClassVar = {"down": "down", "up": "up", "pagedown": "page_down", "pageup": "page_up"}
    """Keys that move in the list while one types, and the table's action for each."""

    def narrow(self, words: str) -> None:
        """Show what holds what was typed."""
        raise NotImplementedError

    def taken(self, row: Any) -> str:
        """What a row of the list stands for."""
        raise NotImplementedError

    def on_input_changed(self, event: TextLine.Changed) -> None:
        """Those that hold what was typed."""
        self.narrow(event.value)

    def on_input_submitted(self) -> None:
        """Take the one at the cursor."""
        row = self.query_one(PagedTable).row
        if row is not None:
            self.dismiss(self.taken(row))

    def on_paged_table_opened(self, event: PagedTable.Opened) -> None:
        """Take it."""
        self.dismiss(self.taken(event.row) if event.row else None)

    def on_key(self, event: Any) -> None:
        """Esc leaves; arrows move in the list."""
        if event.key == "escape":
            event.stop()
            self.dismiss(None)
        elif event.key in self.MOVES:
            event.stop()
            event.prevent_default()
            getattr(self.query_one(PagedTable), f"action_{self.MOVES[event.key]}")()


class Choose(Narrowed):
    """One of several things: enter takes the one at the cursor, esc none."""

    CSS = """
    Choose .dialog { width: 60; height: 80%; max-height: 32; padding: 0 1; }
    Choose PagedTable { height: 1fr; margin: 1 0 0 0; }
    Choose .dialog TextLine { width: 1fr; }
    """

    def __init__(self, title: str, choices: Sequence[tuple[str, str]], *, at: str = "") -> None:
        """`choices` are names and a word on each; the cursor begins on the name `at`. The result is a name."""
        super().__init__()
        self._title, self._choices, self._at = title, choices, at

    def compose(self) -> ComposeResult:
        """The line above the list."""
        with Vertical(classes="dialog") as frame:
            frame.border_title = Content(safe(self._title))
            frame.border_subtitle = Content("enter take · esc back")
            yield TextLine(placeholder="type to narrow the list down")
            yield PagedTable(
                [
                    Column("name", "", 24, lambda c: c[0], weight=1),
                    Column("word", "", 16, lambda c: c[1], style="$text-muted"),
                ],
                key=lambda choice: choice[0],
            )
        yield DialogKeys(("enter", "take"), ("↓ ↑", "move"), ("esc", "back"))

    def on_mount(self) -> None:
        """All of them, to begin with."""
        table = self.query_one(PagedTable)
        table.can_focus = False
        table.show(self._choices)
        table.move_to(next((i for i, (name, _) in enumerate(self._choices) if name == self._at), 0))

    def narrow(self, words: str) -> None:
        """Those whose name holds what was typed."""
        wanted = words.strip().casefold()
        self.query_one(PagedTable).show([c for c in self._choices if wanted in safe(c[0]).casefold()])

    def taken(self, row: Any) -> str:
        """The name."""
        return row[0]

"""What a session's jobs printed, as it comes; with a search."""

import shlex
from collections.abc import Iterator

from textual.app import ComposeResult
from textual.content import Content
from textual.widget import Widget

from core.log import Log
from core.session import Session
from sae_tui.screens.page import Page
from sae_tui.text import safe
from sae_tui.widgets.fields import TextLine
from sae_tui.widgets.log_view import LogView


class LogReader(Page):
    """A session's log on the whole screen, over whichever screen asked for it."""

    SECTION = "log"
    CSS_PATH = "log.tcss"
    AUTO_FOCUS = "LogView"

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._log = Log(session.log_path)
        self._reading = False

    def compose(self) -> ComposeResult:
        """As any screen; its mode is the one it was opened in."""
        self.MODE = str(self.app.current_mode)
        yield from super().compose()

    def body(self) -> Iterator[Widget]:
        """The lines, and the search beneath them while one types it."""
        view = LogView(classes="pane")
        view.border_title = Content.assemble("log · ", safe(self._session.name))
        yield view
        yield TextLine(placeholder="look for", id="search")

    @property
    def _view(self) -> LogView:
        return self.query_one(LogView)

    def clock(self) -> None:
        """Read what came."""
        if not self._reading:
            self._reading = True
            self.background(self._log.read, self._came, group="read", failed=self._failed)

    def copied(self) -> tuple[str, str] | None:
        """The line that was found, or else the first in view."""
        return ("a line of the log", self._view.line) if self._view.line else None

    def command_line(self) -> str:
        """The same in a shell."""
        return f"sae-tui --sessions {shlex.quote(str(self.app.root))} logs -f {shlex.quote(self._session.name)}"

    def _came(self, lines: list[str]) -> None:
        self._reading = False
        self._view.add(lines)
        self._tell()

    def _failed(self, error: Exception) -> None:
        self._reading = False
        self.app.complain(error)

    def on_log_view_changed(self) -> None:
        """Say what is to be seen."""
        self._tell()

    def _tell(self) -> None:
        view = self._view
        at, found = view.found
        wanted = self.query_one("#search", TextLine).value
        parts = (
            [f"{'the last ' if self._log.cut else ''}{view.count:,} lines"] if view.count else ["nothing printed yet"]
        )
        if wanted:
            parts.append(f"{at} of {found} with {safe(wanted)}" if found else f"nothing with {safe(wanted)}")
        parts.append("follows the end" if view.following else "G follows the end")
        text = Content(" · ".join(parts))
        if view.border_subtitle != text.markup:
            view.border_subtitle = text

    def action_search(self) -> None:
        """To the search."""
        self.add_class("searching")
        self.query_one("#search").focus()

    def on_input_changed(self, event: TextLine.Changed) -> None:
        """Mark it as it is typed."""
        self._view.search(event.value, jump=bool(event.value))

    def on_input_submitted(self) -> None:
        """Back to the lines."""
        self._view.focus()
        self._close_search()

    def _close_search(self) -> None:
        if not self.query_one("#search", TextLine).value:
            self.remove_class("searching")

    def action_leave(self) -> None:
        """End the search; without one, leave the log."""
        search = self.query_one("#search", TextLine)
        if search.has_focus or search.value:
            search.value = ""
            self.remove_class("searching")
            self._view.focus()
        else:
            self.dismiss()

    def action_next(self) -> None:
        """The next line that was found."""
        self._view.next_found(1)

    def action_previous(self) -> None:
        """The one before."""
        self._view.next_found(-1)

    def action_down(self) -> None:
        """A row down."""
        self._view.move(1)

    def action_up(self) -> None:
        """A row up."""
        self._view.move(-1)

    def action_page_down(self) -> None:
        """A view further."""
        self._view.move(self._view.size.height - 1)

    def action_page_up(self) -> None:
        """A view back."""
        self._view.move(1 - self._view.size.height)

    def action_first(self) -> None:
        """To the beginning."""
        self._view.move(float("-inf"))

    def action_last(self) -> None:
        """To the end, which then stays in view."""
        self._view.move(float("inf"))

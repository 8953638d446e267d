"""Runs: every session, its state and its headline numbers; where runs are made, stopped, compared and deleted."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from core.overview import Seen
from core.session import Session
from core.storage import tail
from sae_tui.screens import opening
from sae_tui.screens.run_actions import RunActions
from sae_tui.text import safe
from sae_tui.widgets.fields import TextLine
from sae_tui.widgets.paged_table import PagedTable
from sae_tui.widgets.rows import Rows
from sae_tui.widgets.run_rows import columns, sort_key, told

REST_S = 0.15
LOG_LINES = 8
"""Of the log's end, told beside the list."""
WELCOME = Content.from_markup("""\
[b]No session here yet.[/b] Training a sparse autoencoder makes one.

[b $accent]n[/]  configure a run, from a preset or from nothing
[b $accent]i[/]  import an SAE that somebody else trained
[b $accent]t[/]  train the demo: the embedded SmolLM2, some minutes on two cores
[b $accent]?[/]  every key    [b $accent]q[/]  quit""")


class RunsPage(RunActions):
    """The list, and beside it the session at the cursor in full."""

    SECTION = MODE = "runs"
    CSS_PATH = "runs.tcss"
    AUTO_FOCUS = "PagedTable"

    def __init__(self) -> None:
        super().__init__()
        self._table = PagedTable(columns(()), key=lambda seen: seen.name, pinned=2, id="list", classes="pane")
        self._rows: list[Seen] = []
        self._rest: Timer | None = None
        self._told: tuple[object, ...] = ()
        self._fit: tuple[object, ...] = ()
        self._filter = self._wanted = ""
        self._sort: tuple[str, bool] | None = None

    def body(self) -> Iterator[Widget]:
        """List and side pane; the filter beneath while one types it; a welcome where there is nothing."""
        with Horizontal(id="panes"):
            yield self._table
            with VerticalScroll(id="side", classes="pane"):
                yield Rows(id="told")
        yield TextLine(placeholder="letters of a name", id="filter")
        yield Static(WELCOME, id="welcome")

    @property
    def at(self) -> Seen | None:
        """The session at the cursor."""
        return self._table.row

    @property
    def listed(self) -> Callable[[Seen], bool]:
        """Whether a session has the letters of the filter in its name."""
        letters = self._filter.lower()
        return lambda seen: letters in seen.name.lower()

    def clock(self) -> None:
        """Show what is different."""
        everything = self.app.seen
        self.set_class(not everything, "empty")
        rows = list(filter(self.listed, everything))
        if self._sort:
            column, descending = self._sort
            keyed = [(sort_key(column, seen), seen) for seen in rows]
            found = sorted((one for one in keyed if one[0] is not None), key=lambda one: one[0], reverse=descending)
            rows = [seen for _, seen in found] + [seen for key, seen in keyed if key is None]
        table = self._table
        at_hand = self.app.session.name if self.app.session else ""
        shown = columns(rows, at_hand)
        fit = (at_hand, *(column.width for column in shown))
        if fit != self._fit:
            self._fit = fit
            table.set_columns(shown)
        if rows != self._rows:
            self._rows = rows
            table.show(rows)
        place = next((i for i, seen in enumerate(rows) if seen.name == self._wanted), None)
        if place is not None:
            self._wanted = ""
            table.move_to(place)
        table.mark(self.app.marked & {seen.name for seen in everything})
        among = f" of {len(everything)} · {safe(self._filter)}" if self._filter else ""
        _titled(table, f"runs {len(rows)}{among}")
        self._tell()

    def opened(self, session: Session | None) -> None:
        """The cursor goes to the session at hand, as soon as it is seen."""
        self._wanted = session.name if session else ""
        self.clock()

    def memory(self) -> dict[str, Any]:
        """Filter, order, cursor."""
        return {"filter": self._filter, "sort": list(self._sort or ()), "at": self.at.name if self.at else None}

    def recall(self, memory: dict[str, Any]) -> None:
        """Filter, order, cursor."""
        wanted, sort = memory.get("filter"), memory.get("sort")
        if isinstance(wanted, str) and wanted:
            self._filter = wanted
            self.query_one("#filter", TextLine).value = wanted
            self.add_class("filtering")
        if isinstance(sort, list) and len(sort) == 2 and isinstance(sort[0], str):
            self._sort_by(sort[0], bool(sort[1]))
        self._shown_session = self.app.session
        self._wanted = str(memory.get("at") or (self.app.session.name if self.app.session else ""))

    def copied(self) -> tuple[str, str] | None:
        """The session's name."""
        return (f"the name {self.at.name}", self.at.name) if self.at else None

    def command_line(self) -> str:
        """The same in a shell."""
        verb = f"show {shlex.quote(self.at.name)}" if self.at else "ls"
        return f"sae-tui --sessions {shlex.quote(str(self.app.root))} {verb}"

    # The side pane.

    def on_paged_table_moved(self) -> None:
        """Another session is at the cursor; it is told once the cursor rests, for that is most of what is sent."""
        self.refresh_bindings()
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(REST_S, self._tell)

    def _tell(self) -> None:
        """Tell of the session at the cursor, if there is anything new; configurations are read in the background."""
        seen = self.at
        if seen is None:
            return
        marked = [one for one in self.app.seen if one.name in self.app.marked and one.name != seen.name]
        rows = self.query_one("#told", Rows)
        key = (seen, rows.size.width, *(one.name for one in marked))
        if key == self._told or not rows.size.width:
            return
        self._told = key

        def read() -> tuple[list[Mapping[str, Any]], list[str], str]:
            configurations = [self.configurations.of(one.session) for one in (seen, *marked)]
            return configurations, tail(seen.session.log_path, LOG_LINES), opening.swept(seen.session)

        def show(found: tuple[list[Mapping[str, Any]], list[str], str]) -> None:
            (values, *theirs), log, swept = found
            others = [(one.name, v) for one, v in zip(marked, theirs, strict=True)]
            lines = told(seen, values, others, log, rows.size.width, swept)
            rows.fill(lines)

        self.background(read, show, group="told")

    def on_resize(self) -> None:
        """Another width: the session at the cursor is told anew."""
        self.call_after_refresh(self._tell)

    # Actions.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Those that make no sense for the session at the cursor do not work."""
        seen = self.at
        active = seen is not None and seen.observed.active
        match action:
            case "clone" | "mark" | "compare" | "features" | "study" | "log":
                return seen is not None
            case "probe":
                return seen is not None and seen.has_features
            case "stop":
                return active
            case "resume":
                return seen is not None and not active and seen.resumable
            case "delete" | "train" | "evaluate" | "analyze":
                return seen is not None and not active
            case "sort":
                return bool(self._rows)
            case "leave":
                zoomed = self.has_class("alone") or self.maximized is not None
                return zoomed or bool(self._filter) or self.has_class("filtering")
            case _:
                return super().check_action(action, parameters)

    def on_paged_table_opened(self, event: PagedTable.Opened) -> None:
        """Watch it: its curves, or its features once they are there."""
        if isinstance(seen := event.row, Seen):
            ready = seen.has_features and not seen.observed.active
            self.app.open_session(seen.session, "features" if ready else "train")

    def action_mark(self) -> None:
        """Mark it, or unmark it."""
        self._table.toggle_mark()
        self.app.marked = {str(name) for name in self._table.marks}
        self._tell()

    # Order and filter.

    def action_sort(self) -> None:
        """By the column at the cursor; again the other way round, and then as they came."""
        name = self._table.column.name
        if self._sort and self._sort[0] == name:
            self._sort_by(*((name, not self._sort[1]) if not self._sort[1] else (None, False)))
        else:
            self._sort_by(name, False)
        self.clock()

    def _sort_by(self, name: str | None, descending: bool) -> None:
        self._sort = (name, descending) if name else None
        self._table.sorted_by(name or "", descending)

    def action_filter(self) -> None:
        """To the filter."""
        self.add_class("filtering")
        self.query_one("#filter").focus()

    def on_input_changed(self, event: TextLine.Changed) -> None:
        """Filter as it is typed."""
        self._filter = event.value
        self.clock()

    def on_input_submitted(self) -> None:
        """Back to the list."""
        self._table.focus()
        self.set_class(bool(self._filter), "filtering")

    def action_leave(self) -> None:
        """All sessions again; first a zoomed pane goes back."""
        if self.has_class("alone"):
            self._together()
            return
        if self.maximized is not None:
            self.minimize()
            return
        self.query_one("#filter", TextLine).value = ""
        self.remove_class("filtering")
        self._table.focus()

    def action_zoom(self) -> None:
        """The session at the cursor in full, where there is no room beside the list; else the pane at hand."""
        side = self.query_one("#side")
        if self.has_class("alone"):
            self._together()
        elif self.maximized is None and not side.display:
            self.add_class("alone")
            side.focus()
            self.call_after_refresh(self._tell)
        else:
            super().action_zoom()

    def _together(self) -> None:
        """The list again, in the place of the session in full."""
        self.remove_class("alone")
        self._table.focus()
        self.call_after_refresh(self._tell)


def _titled(widget: Widget, title: str) -> None:
    """Set a pane's title, which is safe, if it is another one."""
    content = Content(title)
    if widget.border_title != content.markup:
        widget.border_title = content

"""SQL: ask the feature database what no other screen foresaw."""

import shlex
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.analysis.console import Console, Table, place_of, words
from core.errors import QueryError
from core.session import Session
from sae_tui.history import Entry, History
from sae_tui.screens.dialogs import Reader
from sae_tui.screens.sql_export import Exports
from sae_tui.screens.sql_offers import COLUMNS
from sae_tui.text import safe
from sae_tui.widgets.bars import Line
from sae_tui.widgets.paged_table import PagedTable
from sae_tui.widgets.result import FEATURE, NULL, columns, spelled_out, whole
from sae_tui.widgets.schema import SchemaTree
from sae_tui.widgets.source import Source
from sae_tui.widgets.sql_editor import SqlEditor

if TYPE_CHECKING:
    from core.analysis.store import Result

ASK = "nothing asked yet: write a query and press ^J, or take one of these"
LIMIT = 10_000
"""Rows that are shown."""


class SqlPage(Exports):
    """The console: tables, a query, its result."""

    SECTION = MODE = "sql"
    CSS_PATH = "sql.tcss"
    AUTO_FOCUS = "SqlEditor"

    def __init__(self) -> None:
        super().__init__()
        self._asker = Console()
        self._asked = ""
        self._began: float | None = None
        self._listed: list[str] = []
        self._shown: tuple[Sequence[Session], str] | None = None
        """Of which sessions the result was asked, and by which query."""

    def body(self) -> Iterator[Widget]:
        """Tables at the left; the query above its result."""
        with Horizontal(id="main"):
            with Vertical(id="tables", classes="pane") as pane:
                pane.border_title = Content("tables")
                yield SchemaTree()
                yield Line(id="about")
            with Vertical(id="console"):
                with Vertical(id="query", classes="pane") as pane:
                    pane.border_title = Content("query")
                    yield SqlEditor()
                with Vertical(id="result", classes="pane") as pane:
                    pane.border_title = Content("result")
                    yield Static(id="wrong")
                    yield Line(id="told")
                    yield PagedTable(COLUMNS, id="rows")

    # What it shows.

    def opened(self, session: Session | None) -> None:
        """Other tables; what was asked of another session goes, the text stays."""
        sessions = self._sessions()
        names = [s.name for s in sessions]
        if self._result is None or names[:1] != self._listed[:1]:
            self.show_offers(sessions=len(sessions))
        self._listed = names
        if not sessions:
            self.query_one(SchemaTree).tell(())
            self._tell(self.app.keyed(_nothing_to_ask(session)))
            return
        self.background(lambda: self._asker.tables(sessions), self._tables_came, group="tables", failed=self._failed)

    def clock(self) -> None:
        """How long the query has been running; and whether there are other databases now."""
        if self._began is not None:
            self._tell(f"running, {time.monotonic() - self._began:.0f} s · esc stops it")
        elif [s.name for s in self._sessions()] != self._listed:
            self.opened(self.app.session)
        self.draw_export()

    def memory(self) -> dict[str, Any]:
        """The query and the place in it."""
        editor = self.query_one(SqlEditor)
        return {"text": editor.text, "cursor": list(editor.cursor_location)}

    def recall(self, memory: dict[str, Any]) -> None:
        """Put them back."""
        editor = self.query_one(SqlEditor)
        text, cursor = memory.get("text"), memory.get("cursor")
        editor.text = text if isinstance(text, str) else ""
        if isinstance(cursor, list) and len(cursor) == 2 and all(isinstance(c, int) for c in cursor):
            editor.move_cursor((cursor[0], cursor[1]))

    def copied(self) -> tuple[str, str] | None:
        """The cell at the cursor, or the name of a table or a column."""
        tree = self.query_one(SchemaTree)
        if tree.has_focus:
            return (tree.row.name, tree.row.name) if tree.row else None
        cell = self._cell()
        return (
            ("NULL", "") if cell and cell[1] is None else (f"the cell of {cell[0]}", whole(cell[1])) if cell else None
        )

    def command_line(self) -> str | None:
        """The query as a command."""
        sql = self._asked or self.query_one(SqlEditor).text.strip()
        if self.app.session is None or not sql:
            return None
        others = (word for session in self._sessions()[1:] for word in ("--with", session.name))
        return shlex.join(["sae-tui", "query", self.app.session.name, sql, *others])

    # What one does.

    def action_run(self) -> None:
        """Run what is selected in the editor, or all of it; a query that runs is stopped for it."""
        editor = self.query_one(SqlEditor)
        sql = (editor.selected_text or editor.text).strip()
        sessions = self._sessions()
        self._show_wrong(None)
        if not sessions:
            self._tell(self.app.keyed(_nothing_to_ask(self.app.session)))
            return
        if not sql:
            self.action_examples()
            return
        self._asked, self._began = sql, time.monotonic()
        self._tell("running · esc stops it")
        history = History(self.app.state.folder)

        def ask() -> "Result":
            self._asker.stop()
            history.add(sql, sessions[0].name)
            return self._asker.ask(sessions, sql, LIMIT)

        self.background(ask, lambda result: self._answered(result, (sessions, sql)), group="query", failed=self._failed)

    def action_leave(self) -> None:
        """Stop the query, or the export; else from the editor to the result, from the tables to the editor."""
        if self._began is not None:
            self.workers.cancel_group(self, f"{self.SECTION}.query")
            self._tell(f"stopped after {time.monotonic() - self._began:.1f} s")
            self._began = None
            self.background(self._asker.stop, lambda ended: None, group="stop")
        elif self.stop_exporting():
            return
        elif self.maximized is not None:
            self.minimize()
        elif self.query_one(SchemaTree).has_focus:
            self.query_one(SqlEditor).focus()
        else:
            self.query_one("#rows").focus()

    def action_edit(self) -> None:
        """To the editor."""
        self.query_one(SqlEditor).focus()

    def action_tables(self) -> None:
        """To the tables."""
        self.query_one(SchemaTree).focus()

    def action_examples(self) -> None:
        """The examples and the saved queries in the place of the result."""
        self._show_wrong(None)
        self.show_offers(sessions=len(self._sessions()))
        self._tell(ASK)
        self.query_one("#rows").focus()

    def action_history(self) -> None:
        """Choose among the queries that were run."""
        history = History(self.app.state.folder)

        def chosen(sql: str | None) -> None:
            if sql is not None:
                self.write(sql)

        def came(entries: list[Entry]) -> None:
            from sae_tui.screens.sql_history import SqlHistory

            self.app.push_screen(SqlHistory(entries), chosen) if entries else self.app.say("no query was run yet")

        self.background(history.entries, came, group="history")

    def action_cell(self) -> None:
        """The cell at the cursor, all of it."""
        cell = self._cell()
        if cell is not None:
            name, value, kind = cell
            content = NULL if value is None else Content(safe(spelled_out(value), newlines=True))
            self.app.push_screen(Reader(f"{name}  {kind.lower()}", content))

    # What comes.

    def on_paged_table_opened(self, event: PagedTable.Opened) -> None:
        """An example goes to the editor; a row of a result opens its feature, or shows the cell."""
        if event.control.id != "rows":
            return
        if self._result is None:
            if event.row is not None:
                self.write(event.row.sql)
            return
        feature = self._feature_at(event.control.column.name)
        if feature is None:
            self.action_cell()
        else:
            self.app.open_feature(feature)

    def on_paged_table_moved(self, event: PagedTable.Moved) -> None:
        """Say what the table at the cursor holds."""
        if isinstance(event.control, SchemaTree):
            self.query_one("#about", Line).show(event.control.about)

    def on_schema_tree_chosen(self, event: SchemaTree.Chosen) -> None:
        """A name for the query."""
        editor = self.query_one(SqlEditor)
        editor.put(event.name)
        editor.focus()

    def on_unmount(self) -> None:
        """Nothing goes on in the databases."""
        if self.exporting is not None:
            self.exporting.stop()
        self._asker.close()

    def _tables_came(self, tables: list[Table]) -> None:
        self.query_one(SchemaTree).tell(tables)
        self.query_one(SqlEditor).colour(words)
        if self._result is None and self._began is None:
            self._tell(ASK)

    @property
    def shown_query(self) -> tuple[Sequence[Session], str] | None:
        """The query whose result is shown, and of which sessions it was asked."""
        return self._shown if self._result is not None else None

    def _answered(self, result: "Result", asked: tuple[Sequence[Session], str]) -> None:
        self._began = None
        self._result, self._shown = result, asked
        rows = self.query_one("#rows", PagedTable)
        rows.browse(Source.of(()))
        rows.set_columns(columns(result))
        rows.browse(Source.of(result.rows))
        rows.move_to(0)
        count = f"the first {LIMIT:,} rows of more" if result.truncated else f"{len(result.rows):,} rows"
        self._tell(Content(f"{'1 row' if len(result.rows) == 1 else count} · {result.elapsed_s * 1000:,.0f} ms"))

    def _failed(self, error: Exception) -> None:
        self._began = None
        self._show_wrong(error)

    # Parts.

    def _sessions(self) -> list[Session]:
        """The session at hand as s1, and those that are marked on Runs; none where it was not analysed."""
        hand, found = self.app.session, {seen.name: seen.session for seen in self.app.seen if seen.has_features}
        if hand is None or hand.name not in found:
            return []
        return [hand, *(found[name] for name in sorted(self.app.marked) if name in found and name != hand.name)]

    def _tell(self, what: Content | str) -> None:
        self.query_one("#told", Line).show(what)

    def _show_wrong(self, error: Exception | None) -> None:
        shown = self.query_one("#wrong", Static)
        shown.set_class(error is not None, "-shown")
        self.query_one("#told").display = error is None
        if error is None:
            return
        lines = [Content(f"✗ {safe(self.app.told(error))}")]
        place = place_of(error) if isinstance(error, QueryError) else None
        asked = self._asked.split("\n")
        if place and place[0] <= len(asked):
            line = asked[place[0] - 1]
            first = max(0, place[1] - 1 - max(10, shown.size.width // 2))
            lines += [
                Content.styled(safe(line[first:]), "$foreground"),
                Content(" " * (Content(safe(line[first : place[1] - 1])).cell_length) + "▲"),
            ]
        shown.update(Content("\n").join(lines))

    def _cell(self) -> tuple[str, Any, str] | None:
        """Name of the column, value and type of the cell at the cursor of the result."""
        rows = self.query_one("#rows", PagedTable)
        if self._result is None or rows.row is None:
            return None
        at = int(rows.column.name)
        return self._result.columns[at], rows.row[at], self._result.types[at]

    def _feature_at(self, column: str) -> int | None:
        """The feature that the cell at the cursor is about, or its row."""
        result, row = self._result, self.query_one("#rows", PagedTable).row
        assert result is not None and row is not None
        names = [int(column), *(i for i, name in enumerate(result.columns) if name.lower() == "feature")]
        return next((row[i] for i in names if FEATURE.fullmatch(result.columns[i]) and type(row[i]) is int), None)


def _nothing_to_ask(session: Session | None) -> str:
    if session is None:
        return "there is no session yet: press 1, then n for a new run"
    return f"{session.name} has no feature database yet: `sae-tui analyze {session.name}` makes one"

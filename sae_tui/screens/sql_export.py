"""All rows of a query into a file: CSV and JSON here, batch by batch; Parquet in a process that may import pyarrow."""

import threading
from collections.abc import Sequence
from pathlib import Path

from textual.content import Content

from core.analysis.export import Export, format_of
from core.errors import UsageError
from core.session import Session
from sae_tui.screens.asked import Verb
from sae_tui.screens.dialogs import AskText
from sae_tui.screens.sql_offers import Offers
from sae_tui.text import safe


class Exporting:
    """One export. `write` blocks; `stop` may come from any thread, and leaves no file."""

    def __init__(self, root: Path, sessions: Sequence[Session], sql: str, path: Path) -> None:
        """`root` is the folder of sessions. Nothing is asked before `write`."""
        self._root, self._sessions, self._sql, self._path = root, sessions, sql, path
        self._running: Export | Verb | None = None
        self._lock = threading.Lock()
        self.stopped = False
        self.rows = 0
        """Rows that were written so far."""

    def write(self) -> None:
        """Write all rows. Raises SaeTuiError, and where it was stopped too."""
        if format_of(self._path) == "parquet":
            first, *others = (session.name for session in self._sessions)
            # Behind a space not even a comment looks like an option.
            words = ["query", first, f" {self._sql}", "--out", str(self._path.absolute())]
            words += [word for name in others for word in ("--with", name)]
            verb = Verb(self._root, words)
            self._begin(verb)
            self.rows = int(verb.answer()["rows"])
            return
        with Export(self._sessions, self._sql) as export:
            self._begin(export)
            for progress in export.to_file(self._path, format_of(self._path)):
                self.rows = int(progress.done)
                if self.stopped:
                    return

    def stop(self) -> None:
        """End it."""
        with self._lock:
            self.stopped = True
            if self._running is not None:
                self._running.stop()

    def _begin(self, running: Export | Verb) -> None:
        with self._lock:
            self._running = running
            if self.stopped:
                running.stop()


def path_of(name: str) -> Path:
    """The file that a person names."""
    return Path(name.strip()).expanduser()


def unwritable(name: str) -> str:
    """What is wrong with a file's name to export to; empty where nothing is."""
    path = path_of(name)
    try:
        format_of(path)
    except UsageError as error:
        return error.hint or str(error)
    if path.exists():
        return "there is such a file already"
    return "" if path.parent.is_dir() else "there is no such folder"


def free_name(name: str) -> str:
    """A name in the working directory that no file has: `NAME.csv`, `NAME-2.csv`."""
    number, found = 1, f"{name}.csv"
    while Path(found).exists():
        number += 1
        found = f"{name}-{number}.csv"
    return safe(found)


class Exports(Offers):
    """The console's export, one at a time. A subclass says which query is shown."""

    exporting: Exporting | None = None
    """The one that goes on."""

    @property
    def shown_query(self) -> tuple[Sequence[Session], str] | None:
        """The query whose result is shown, and of which sessions it was asked."""
        raise NotImplementedError

    def action_export(self) -> None:
        """Write all rows of the query that is shown to a file."""
        shown = self.shown_query
        if self.exporting is not None:
            self.app.say("a result is being written already: esc stops that")
        elif shown is None:
            self.app.say("there is no result to export: run a query first")
        else:
            question = "write all rows to which file? .csv, .json or .parquet"
            self.app.push_screen(AskText(question, free_name(shown[0][0].name), check=unwritable), self._named)

    def stop_exporting(self) -> bool:
        """End the export that goes on; whether one did."""
        exporting, self.exporting = self.exporting, None
        if exporting is not None:
            exporting.stop()
            self.draw_export()
            self.app.say("stopped: no file was written")
        return exporting is not None

    def draw_export(self) -> None:
        """How far it is, on the frame of the result."""
        exporting = self.exporting
        words = f"writing, {exporting.rows:,} rows · esc stops" if exporting else ""
        pane = self.query_one("#result")
        if (pane.border_subtitle or "") != words:
            pane.border_subtitle = Content(words)

    def _named(self, name: str | None) -> None:
        shown = self.shown_query
        if not name or shown is None:
            return
        path = path_of(name)
        exporting = self.exporting = Exporting(self.app.root, *shown, path)

        def ended(error: Exception | None) -> None:
            if self.exporting is exporting:
                self.exporting = None
                self.draw_export()
                self.app.complain(error) if error else self.app.say(f"wrote {exporting.rows:,} rows to {path}")

        self.background(exporting.write, lambda _: ended(None), group="export", failed=ended)
        self.draw_export()

"""The tables one may query, each of which opens into its columns."""

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.message import Message

from core.analysis.console import ONE_ROW, Table, quoted
from sae_tui import keys
from sae_tui.text import safe
from sae_tui.widgets.paged_table import Column, PagedTable


@dataclass(frozen=True, slots=True)
class Line:
    """A table, or one of its columns."""

    name: str
    detail: str
    """Rows of a table, type of a column."""
    column_of: str = ""
    """The table whose column it is; empty for a table itself."""


class SchemaTree(PagedTable):
    """The tables and their columns. Enter posts Chosen; `o`, `l` and `h` show and hide columns."""

    BINDINGS = [*keys.bindings("tree")]

    class Chosen(Message):
        """A name to be put into the query, as one writes it there."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(
            [
                Column("name", "table", 10, self._name, weight=1),
                Column("detail", "rows", 8, lambda line: line.detail, right=True, style="$text-muted"),
            ],
            key=lambda line: (line.column_of, line.name),
            pinned=2,
            id=id,
        )
        self._tables: Sequence[Table] = ()
        self._open: set[str] = set()

    def tell(self, tables: Sequence[Table]) -> None:
        """Show these tables; the first is open when there were none before."""
        if not self._tables and tables:
            self._open = {tables[0].name}
        self._tables = tables
        self._lines()

    @property
    def about(self) -> str:
        """What a row is of the table at the cursor."""
        line = self.row
        name = (line.column_of or line.name) if line else ""
        return ONE_ROW.get(name.rpartition(".")[2], "")

    def action_open(self) -> None:
        """Put the name at the cursor into the query."""
        if self.row is not None:
            self.post_message(self.Chosen(quoted(self.row.name) if self.row.column_of else self.row.name))

    def action_fold(self) -> None:
        """Show the table's columns, or hide them."""
        line = self.row
        if line is not None:
            table = line.column_of or line.name
            self._fold(table, table not in self._open)

    def action_right(self) -> None:
        """Show the table's columns."""
        line = self.row
        if line is not None and not line.column_of:
            self._fold(line.name, True)

    def action_left(self) -> None:
        """Hide the table's columns."""
        line = self.row
        if line is not None:
            self._fold(line.column_of or line.name, False)

    def _fold(self, table: str, shown: bool) -> None:
        self._open = self._open | {table} if shown else self._open - {table}
        self._lines()
        place = next((i for i, line in enumerate(self._rows) if line.name == table and not line.column_of), 0)
        if not shown:
            self.move_to(place)

    def _lines(self) -> None:
        self._rows: list[Line] = []
        for table in self._tables:
            self._rows.append(Line(table.name, f"{table.rows:,}"))
            if table.name in self._open:
                self._rows += [Line(name, kind.lower(), table.name) for name, kind in table.columns]
        self.show(self._rows)

    def _name(self, line: Line) -> Content:
        if line.column_of:
            return Content.assemble(("  ", "not underline"), safe(line.name))
        glyph = "−" if line.name in self._open else "+"
        return Content.assemble((f"{glyph} ", "$text-muted not underline"), (safe(line.name), "bold"))

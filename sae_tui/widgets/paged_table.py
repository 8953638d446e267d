"""A table of any length: rows come in pages from a thread, and only lines that changed are sent to the terminal.

    table = PagedTable([Column("feature", "id", 7, lambda row: str(row["feature"]), right=True), …],
                       key=lambda row: row["feature"])
    table.show(rows)                                      # rows in memory; again with other rows as often as one likes
    source = Source(fetch, count); source.load(at, 50)    # in the background: fetch(first, n) blocks
    table.browse(source, at)                              # in the event loop; `at` is the row for the cursor

A cell is a `str`, which the table makes safe, or `Content`, whose text is safe already. The cursor is a row and a
column: `index`, `row`, `column`. Moved is posted when the row at the cursor is another one, or has arrived; Opened on
enter and on a click on the cursor's row; Failed where a page cannot be fetched. Marks are of keys, not of places:
`toggle_mark()` is for a key of the screen. `show` keeps the cursor on its key, `browse` keeps its line on the screen.

A cursor that leaves the view by single steps moves the view by half its height: with every line in another place all
of it has to be sent again, and so it is sent once in half a view rather than at each step.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from textual.events import Click
from textual.geometry import Size
from textual.message import Message
from textual.timer import Timer

from sae_tui import keys
from sae_tui.text import safe, shortened
from sae_tui.widgets.columns import GAP, PREFIX, Column, Columns, sized
from sae_tui.widgets.line_view import LineView, Part
from sae_tui.widgets.source import PAGE, Source

__all__ = ["Column", "PagedTable", "Source"]
WAIT_S = 0.05
"""How long the old rows may stand where a page is fetched: dots and then rows would be twice the bytes."""


class PagedTable(LineView):
    """Rows of a source under a header; see the module."""

    BINDINGS = [*keys.bindings("table")]
    DEFAULT_CSS = """
    PagedTable { overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    """

    class Moved(Message):
        """The row at the cursor is another one, or has arrived. `row` is None while its page has not."""

        def __init__(self, table: "PagedTable", index: int, row: Any | None) -> None:
            super().__init__()
            self.table, self.index, self.row = table, index, row

        @property
        def control(self) -> "PagedTable":
            """The table."""
            return self.table

    class Opened(Moved):
        """The row at the cursor, which is there, is to be opened."""

    class Failed(Message):
        """A page could not be fetched; its rows stay away until another source comes."""

        def __init__(self, table: "PagedTable", error: Exception) -> None:
            super().__init__()
            self.table, self.error = table, error

        @property
        def control(self) -> "PagedTable":
            """The table."""
            return self.table

    def __init__(
        self, columns: Iterable[Column], *, key: Callable[[Any], Hashable] = id, pinned: int = 1,
        id: str | None = None, classes: str | None = None,
    ) -> None:  # fmt: skip
        """`key` tells rows apart; the first `pinned` columns stay where they are when others move sideways."""
        super().__init__(id=id, classes=classes)
        self._columns = Columns(tuple(columns), pinned)
        self._pinned = pinned
        self._key = key
        self._source = Source.of(())
        self._index = 0
        self._marks: dict[Hashable, None] = {}
        self._sort: tuple[str, bool] | None = None
        self._told: tuple[int, Hashable | None] | None = None
        self._loading = False
        self._scrolling = False
        """The table itself brings other rows into view."""
        self._waiting: Timer | None = None

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self._source.count

    @property
    def index(self) -> int:
        """The number of the row at the cursor; 0 where there are no rows."""
        return self._index

    @property
    def row(self) -> Any | None:
        """The row at the cursor; None where there are none, or its page has not come yet."""
        return self._source.row(self._index)

    @property
    def column(self) -> Column:
        """The column at the cursor."""
        return self._columns.current

    @property
    def marks(self) -> list[Hashable]:
        """The keys of the marked rows, in the order they were marked."""
        return list(self._marks)

    def show(self, rows: Sequence[Any]) -> None:
        """Show rows that are in memory, the cursor on the row it is on where that is among them."""
        row, at = self.row, self._index
        if row is not None:
            key = self._key(row)
            at = next((i for i, r in enumerate(rows) if self._key(r) == key), at)
        self.browse(Source.of(rows), at)

    def browse(
        self, source: Source, at: int = 0, *, columns: Iterable[Column] | None = None,
        sort: tuple[str, bool] | None = None,
    ) -> None:  # fmt: skip
        """Show the rows of a source, the cursor on row `at`, if possible on the line of the screen where it is now.

        At the same time with other `columns` and another `sort`, where they are given: see `set_columns`, `sorted_by`.
        """
        line = self._index - self._top
        self._source = source
        self._sort = sort or self._sort
        if columns is not None:
            self._take_columns(columns)
        self._index = max(0, min(at, source.count - 1))
        self.virtual_size = Size(0, source.count + 1)
        self._scroll(self._index - line)
        self._see()

    def set_columns(self, columns: Iterable[Column]) -> None:
        """Show other columns of the same rows; the cursor stays on its column where that is among them."""
        self._take_columns(columns)
        self.changed()

    def _take_columns(self, columns: Iterable[Column]) -> None:
        name = self.column.name
        self._columns = Columns(tuple(columns), self._pinned)
        self._columns.go(self._columns.number(name) or 0, self.line_width)

    def sorted_by(self, name: str, descending: bool) -> None:
        """Mark the header of the column that the rows are sorted by."""
        self._sort = (name, descending)
        self.changed()

    def move_to(self, index: int, column: str | None = None) -> None:
        """Put the cursor on a row, and on a column by its name."""
        number = None if column is None else self._columns.number(column)
        if number is not None:
            self._columns.go(number, self.line_width)
        self._go(index, jump=True)

    def toggle_mark(self) -> None:
        """Mark the row at the cursor, or unmark it, and go to the next."""
        row = self.row
        if row is not None:
            key = self._key(row)
            self.mark([k for k in self._marks if k != key] if key in self._marks else [*self._marks, key])
            self.action_down()

    def mark(self, marked: Iterable[Hashable]) -> None:
        """Mark the rows of these keys and no others."""
        self._marks = dict.fromkeys(marked)
        self.changed()

    def changed(self) -> None:
        """Send the lines again that are not as they were sent last: for whoever changed what cells show."""
        if self._waiting is not None:
            self._waiting.stop()
            self._waiting = None
        super().changed()

    def action_down(self) -> None:
        """To the next row."""
        self._go(self._index + 1)

    def action_up(self) -> None:
        """To the row before."""
        self._go(self._index - 1)

    def action_first(self) -> None:
        """To the first row."""
        self._go(0, jump=True)

    def action_last(self) -> None:
        """To the last row."""
        self._go(self.count - 1, jump=True)

    def action_page_down(self) -> None:
        """A view further."""
        self._page(self._height)

    def action_page_up(self) -> None:
        """A view back."""
        self._page(-self._height)

    def action_half_down(self) -> None:
        """Half a view further."""
        self._page(self._height // 2)

    def action_half_up(self) -> None:
        """Half a view back."""
        self._page(-(self._height // 2))

    def action_left(self) -> None:
        """To the column at the left."""
        self._columns.go(self._columns.at - 1, self.line_width)
        self.changed()

    def action_right(self) -> None:
        """To the column at the right."""
        self._columns.go(self._columns.at + 1, self.line_width)
        self.changed()

    def action_open(self) -> None:
        """Open the row at the cursor."""
        row = self.row
        if row is not None:
            self.post_message(self.Opened(self, self._index, row))

    @property
    def _height(self) -> int:
        """Rows in view."""
        return max(1, self.size.height - 1)

    @property
    def _top(self) -> int:
        """The number of the first row in view."""
        return round(self.scroll_y)

    def _go(self, index: int, *, jump: bool = False) -> None:
        self._index = max(0, min(index, self.count - 1))
        if not self._top <= self._index < self._top + self._height:
            line = self._height // 2 if jump or self._index > self._top else (self._height - 1) // 2
            self._scroll(self._index - line)
        self._see()

    def _page(self, rows: int) -> None:
        line = self._index - self._top
        self._index = max(0, min(self._index + rows, self.count - 1))
        self._scroll(self._index - line)
        self._see()

    def _scroll(self, top: int) -> None:
        """Bring other rows into view; `_see` follows, which draws them."""
        self._scrolling = True
        self.scroll_to(y=max(0, min(top, self.count - self._height)), animate=False, force=True)
        self._scrolling = False

    def _see(self) -> None:
        """The row at the cursor may be another one, or rows have come: draw, tell, and fetch what is missing."""
        self._draw()
        row = self.row
        told = (self._index, None if row is None else self._key(row))
        if told != self._told and (self.count or self._told):
            self._told = told
            self.post_message(self.Moved(self, self._index, row))
        self._fetch()

    def _draw(self) -> None:
        """Draw rows at once; those that are still to be fetched in a moment, when they will be there as a rule."""
        if self._source.missing(self._top, self._top + self._height - 1) is None or self._source.failed:
            self.changed()
        elif self._waiting is None and self.is_attached:
            self._waiting = self.set_timer(WAIT_S, self.changed)

    def _fetch(self) -> None:
        if not self._loading and self.is_attached and self._next_page() is not None:
            self._loading = True
            self.run_worker(self._fetch_pages())

    def _next_page(self) -> int | None:
        """The page that is needed first: of what is in view, else of what lies next to it."""
        if self._source.failed:
            return None
        first, last = self._top, self._top + self._height - 1
        page = self._source.missing(first, last)
        return page if page is not None else self._source.missing(first - PAGE // 2, last + PAGE // 2)

    def _shows(self, page: int) -> bool:
        """Whether a row of the page is in view, or at the cursor."""
        first, last = self._top // PAGE, (self._top + self._height - 1) // PAGE
        return first <= page <= last or page == self._index // PAGE

    async def _fetch_pages(self) -> None:
        try:
            while (page := self._next_page()) is not None:
                source = self._source
                try:
                    await asyncio.to_thread(source.fetch_page, page)
                except Exception as error:
                    if source is self._source:
                        self.post_message(self.Failed(self, error))
                if source is self._source and self._shows(page):
                    self._see()
        finally:
            self._loading = False

    def on_resize(self) -> None:
        """Another size: the cursor stays in view."""
        self.forget()
        self._columns.go(self._columns.at, self.line_width)
        if self.size:
            self._scroll(max(self._index - self._height + 1, min(self._top, self._index)))
            self._see()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Other rows are in view."""
        if self.show_vertical_scrollbar:
            self.vertical_scrollbar.position = new_value
        if round(old_value) != round(new_value) and not self._scrolling:
            self._draw()
            self._fetch()

    def on_click(self, event: Click) -> None:
        """A click moves the cursor; one on the cursor's row opens it."""
        place = event.get_content_offset(self)
        if place is None:
            return
        number = self._columns.number_at(place.x, self.line_width)
        if number is not None:
            self._columns.go(number, self.line_width)
        index = self._top + place.y - 1
        if place.y > 0 and index == self._index:
            self.action_open()
        elif place.y > 0 and index < self.count:
            self._go(index)
        self.changed()

    def parts(self, y: int) -> tuple[Sequence[Part], bool]:
        """The header, or a row."""
        index = self._top + y - 1
        if y == 0:
            return self._header(), False
        if index >= self.count:
            return [], False
        return self._cells(index, index == self._index), index == self._index

    def _header(self) -> list[Part]:
        parts: list[Part] = [("  ‹" if self._columns.aside else "   ", "$text-muted")]
        for place, (i, width) in enumerate(self._columns.fitted(self.line_width)):
            column = self._columns.all[i]
            mark = ""
            if self._sort and self._sort[0] == column.name:
                mark = " ↓" if self._sort[1] else " ↑"
            style = "bold $text-muted" if mark else "$text-muted"
            if i == self._columns.at and self.has_focus:
                style = "bold underline $primary"
            name = shortened(safe(column.header), max(0, width - len(mark))) + mark
            parts += [(" " * GAP, "")] if place else []
            parts += sized(name, width, right=column.right, style=style)
        if self._columns.more(self.line_width):
            parts += [(" " * self._columns.left_over(self.line_width), ""), ("›", "$text-muted")]
        return parts

    def _cells(self, index: int, cursor: bool) -> list[Part]:
        row = self._source.row(index)
        glyph = ("▸" if cursor else " ", "$primary")
        if row is None:
            return [glyph, (" " * (PREFIX - 1) + "·", "$text-muted")]
        parts: list[Part] = [glyph]
        parts += [("✱ ", "$accent")] if self._key(row) in self._marks else [("  ", "")]
        for place, (i, width) in enumerate(self._columns.fitted(self.line_width)):
            column = self._columns.all[i]
            style = column.style
            if cursor and i == self._columns.at and self.has_focus:
                style += " underline"
            parts += [(" " * GAP, "")] if place else []
            parts += sized(column.cell(row), width, right=column.right, style=style)
        return parts

"""Text as tokens: each lit by its strength, with a cursor that walks them. Only what changed is sent to the terminal.

Readable without colour: where there are few colours or none strong tokens stand in brackets (of what has two sides, in
others below 0) and changed ones, bold everywhere, are underlined; the one under the cursor is reversed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.events import Click
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from sae_tui import keys
from sae_tui.widgets.heat import STRONG, brackets_from, heat
from sae_tui.widgets.wrapping import Look, Piece, Row, difference, wrapped

__all__ = ["Piece", "TokenText"]


class TokenText(ScrollView, can_focus=True):
    """Tokens over as many lines as they take. `cursor` is the index of the token it is on, or None."""

    DEFAULT_CSS = """
    TokenText { overflow-x: hidden; overflow-y: auto; scrollbar-gutter: stable; scrollbar-size-vertical: 1; }
    """
    BINDINGS = [*keys.bindings("tokens")]

    @dataclass
    class Moved(Message):
        """The cursor is on another token, or (None) on none any more."""

        token_text: "TokenText"
        index: int | None

        @property
        def control(self) -> "TokenText":
            """Where."""
            return self.token_text

    @dataclass
    class Opened(Moved):
        """What is known of the token at the cursor is wanted, or (None) of all the text."""

    def __init__(self, pieces: Sequence[Piece] = (), *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._pieces: tuple[Piece, ...] = tuple(pieces)
        self._rows: list[Row] = []
        self._cursor: int | None = None
        self._width = 0

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """What it shows."""
        return self._pieces

    @property
    def cursor(self) -> int | None:
        """The index of the token the cursor is on; None where it is on none."""
        return self._cursor

    @cursor.setter
    def cursor(self, index: int | None) -> None:
        index = None if index is None or not self._pieces else min(max(index, 0), len(self._pieces) - 1)
        if index == self._cursor:
            return
        self._cursor = index
        self._draw()
        self._keep_in_view()
        self.post_message(self.Moved(self, index))

    def show(self, pieces: Sequence[Piece], *, follow: bool = False) -> None:
        """Show these tokens instead; rows that stay as they are cost nothing. With `follow`, the end is kept in view.

        The cursor stays on its index, and goes with the last token where there are fewer now.
        """
        pieces = tuple(pieces)
        if pieces == self._pieces:
            return
        self._pieces = pieces
        if self._cursor is not None and self._cursor >= len(pieces):
            self.cursor = len(pieces) - 1 if pieces else None
        ahead = self._height // 3 if follow else 0
        self._draw(ahead)
        top, last = self.scroll_offset.y, max(0, len(self._rows) - self._height)
        if follow and last > top:
            self.scroll_to(y=self.virtual_size.height - self._height, animate=False, force=True)
        elif top > last + ahead:  # a shorter text, which would be above all that is seen
            self.scroll_to(y=last, animate=False, force=True)

    def at(self, x: int, y: int) -> int | None:
        """The index of the token in that cell of the text; past the end of a line its last one."""
        if not 0 <= y < len(self._rows):
            return None
        found = None
        for run in self._rows[y]:
            found = run.piece
            x -= cell_len(run.text)
            if x < 0:
                break
        return found

    def render_line(self, y: int) -> Strip:
        """One line of the widget."""
        y += self.scroll_offset.y
        width, base = self.scrollable_content_region.width, self.rich_style
        if y >= len(self._rows):
            return Strip.blank(width, base)
        segments = [
            Segment("".join(run.text for run in runs), base + self._style(look))
            for look, runs in groupby(self._rows[y], lambda run: run.look)
        ]
        return Strip(segments).adjust_cell_length(width, base)

    def on_resize(self) -> None:
        """Wrap to another width."""
        if self.scrollable_content_region.width != self._width:
            self._rows = []
            self._draw()
            self.refresh()
        self._keep_in_view()

    def on_focus(self) -> None:
        """The cursor is fainter without the focus."""
        self._repaint_cursor()

    def on_blur(self) -> None:
        """The cursor is fainter without the focus."""
        self._repaint_cursor()

    def on_click(self, event: Click) -> None:
        """Go to the token."""
        offset = event.get_content_offset(self)
        if offset is not None:
            self.cursor = self.at(offset.x, offset.y + self.scroll_offset.y)

    def notify_style_update(self) -> None:
        """Another theme."""
        super().notify_style_update()
        self.refresh()

    def action_open(self) -> None:
        """Ask for what is known of the token."""
        self.post_message(self.Opened(self, self._cursor))

    def action_left(self) -> None:
        """To the token before that is to be seen; from none, to the last."""
        self._step(-1)

    def action_right(self) -> None:
        """To the next token that is to be seen; from none, to the first."""
        self._step(+1)

    def action_first(self) -> None:
        """To the first token."""
        self.cursor = 0

    def action_last(self) -> None:
        """To the last token."""
        self.cursor = len(self._pieces) - 1

    def action_up(self) -> None:
        """To the token above; from none, to the last."""
        self._line(-1)

    def action_down(self) -> None:
        """To the token below; from none, to the first."""
        self._line(+1)

    def action_page_up(self) -> None:
        """A pageful up."""
        self._line(-max(1, self._height - 1))

    def action_page_down(self) -> None:
        """A pageful down."""
        self._line(max(1, self._height - 1))

    @property
    def _height(self) -> int:
        return self.scrollable_content_region.height

    def _step(self, by: int) -> None:
        index = self._cursor if self._cursor is not None else -1 if by > 0 else len(self._pieces)
        while 0 <= (index := index + by) < len(self._pieces):
            if self._pieces[index].text:  # none has the first bytes of a character
                self.cursor = index
                return

    def _line(self, by: int) -> None:
        if not self._rows:
            return
        if self._cursor is None:
            self.cursor = 0 if by > 0 else len(self._pieces) - 1
            return
        x, y = self._place(self._cursor)
        goal = min(max(y + by, 0), len(self._rows) - 1)
        step = 1 if by > 0 else -1
        while (found := self.at(x, goal)) is None or found == self._cursor:  # an empty line, or a token of several
            goal += step
            if not 0 <= goal < len(self._rows):
                return
        self.cursor = found

    def _place(self, index: int) -> tuple[int, int]:
        """The cell in which a token begins, the space before it aside, which may hang on the line before."""
        found = None
        for y, row in enumerate(self._rows):
            x = 0
            for run in row:
                if run.piece == index:
                    if run.text.strip(" "):
                        return x, y
                    found = x, y
                x += cell_len(run.text)
        return found or (0, max(0, len(self._rows) - 1))

    def _keep_in_view(self) -> None:
        if self._cursor is None:
            return
        y = self._place(self._cursor)[1]
        top = self.scroll_offset.y
        if y < top:
            self.scroll_to(y=y, animate=False, force=True)
        elif y >= top + self._height:
            self.scroll_to(y=y - self._height + 1, animate=False, force=True)

    def _repaint_cursor(self) -> None:
        for y, row in enumerate(self._rows):
            if any(run.look[-1] for run in row):
                self.refresh(Region(0, y - self.scroll_offset.y, self._width, 1))

    def _draw(self, ahead: int = 0) -> None:
        """Lay all out anew, and ask for a repaint of the cells that are not as they were.

        Where the text grows past its height it gets room for so many lines `ahead`: with every line in another place
        all of it has to be sent again, and so it is sent once in a while rather than with each line.
        """
        self._width = self.scrollable_content_region.width
        if self._width < 1:
            return
        rows = wrapped(self._pieces, self._width, self._cursor, brackets_from=brackets_from(self.app))
        before, self._rows = self._rows, list(rows)
        lines, room = len(self._rows), self.virtual_size.height
        if lines > max(self._height, room):
            room = lines + ahead
        elif not ahead or lines < room - self._height:
            room = max(self._height, lines)
        if self.virtual_size != (self._width, room):
            self.virtual_size = Size(self._width, room)
        for y in range(max(len(before), len(self._rows))):
            old, new = (rows[y] if y < len(rows) else () for rows in (before, self._rows))
            if old != new:
                x, end = difference(old, new)
                self.refresh(Region(x, y - self.scroll_offset.y, end - x, 1))

    def _style(self, look: Look) -> Style:
        strength, dim, changed, quiet, under = look
        style = heat(self.app, strength, bold=changed)
        variables = self.app.theme_variables
        if (dim or quiet) and abs(strength) < STRONG:
            colour = variables["foreground-darken-3"]
            style += Style(color=None if colour.startswith("ansi") else colour[:7], dim=dim or None, italic=dim or None)
        if changed and self.app.theme_variables["foreground"].startswith("ansi"):
            style += Style(underline=True)
        elif changed and abs(strength) < STRONG:
            style += Style(color=variables["text-primary"][:7], underline=self.app.no_color)
        return style + Style(reverse=True, dim=not self.has_focus) if under else style

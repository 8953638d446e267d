"""The editor of SQL: what DuckDB takes for a keyword, a text or a number is coloured so, in DuckDB's own eyes."""

from collections.abc import Callable
from typing import Any

from rich.style import Style
from rich.text import Text
from textual.binding import Binding
from textual.color import Color, ColorParseError

from sae_tui.widgets.text_box import TextBox

Word = tuple[int, int, str]
STYLES = {
    "keyword": ("primary", "bold"),
    "string_const": ("success", ""),
    "numeric_const": ("accent", ""),
    "comment": ("text-muted", "italic"),
}
"""Of each kind of word the theme's colour for it, and what says it without colour."""


class SqlEditor(TextBox):
    """A query in the making. Plain until `lexer` is there."""

    BINDINGS = [Binding("ctrl+e", "screen.export", show=False)]  # not the end of the line, as in other editors

    def __init__(self, text: str = "", **options: Any) -> None:
        self.lexer: Callable[[str], list[Word]] | None = None
        self._lexed: tuple[str, dict[int, list[Word]]] = ("", {})
        super().__init__(text, highlight_cursor_line=False, **options)

    def colour(self, lexer: Callable[[str], list[Word]]) -> None:
        """From now on colour words as this function finds them: where each begins and ends in the text, its kind."""
        self.lexer = lexer
        self.notify_style_update()
        self.refresh()

    def put(self, text: str) -> None:
        """Put `text` where the cursor is, as if it were typed, with a space between it and a word before it."""
        row, column = self.cursor_location
        before = self.document.get_line(row)[:column]
        space = " " if before and not before[-1].isspace() and before[-1] not in "(.,=<>" else ""
        self.insert(space + text)

    def get_line(self, line_index: int) -> Text:
        """A line as it is drawn."""
        line = super().get_line(line_index)
        for start, end, kind in self._words().get(line_index, ()):
            style = self._style(kind)
            if style is not None:
                line.stylize(style, start, end)
        return line

    def _words(self) -> dict[int, list[Word]]:
        """The words on each line, in its columns; a word over several lines has a part on each."""
        if self.lexer is None:
            return {}
        text = self.text
        if self._lexed[0] != text:
            found: dict[int, list[Word]] = {}
            row = first = 0
            for start, end, kind in self.lexer(text):
                while start < end:
                    line_end = text.find("\n", first)
                    line_end = len(text) if line_end < 0 else line_end
                    if start <= line_end:
                        found.setdefault(row, []).append((start - first, min(end, line_end) - first, kind))
                    if end <= line_end:
                        break
                    row, first = row + 1, line_end + 1
                    start = max(start, first)
            self._lexed = (text, found)
        return self._lexed[1]

    def _style(self, kind: str) -> Style | None:
        if kind not in STYLES:
            return None
        name, weight = STYLES[kind]
        try:
            colour = Color.parse(self.app.theme_variables[name]).rich_color
        except ColorParseError:  # a theme may say `auto`
            colour = None
        return Style(color=colour, bold="bold" in weight or None, italic="italic" in weight or None)

"""Several lines to type in. Apart from `fields`: what it stands on takes longer to import than a first frame leaves."""

from typing import Any

from rich.text import Text
from textual.widgets import TextArea

from sae_tui.text import safe
from sae_tui.widgets.fields import UNKNOWN


class TextBox(TextArea):
    """Several lines. Its text is kept as it is, for a model may be meant to read it; what is drawn is safe."""

    def __init__(self, text: str = "", **options: Any) -> None:
        super().__init__(text, **options)
        self.cursor_blink = False

    def check_consume_key(self, key: str, character: str | None = None) -> bool:
        """Whether it takes the key as text."""
        return super().check_consume_key(key, character or UNKNOWN.get(key))

    def get_line(self, line_index: int) -> Text:
        """A line as it is drawn: each character that could act on the terminal is a glyph of its own."""
        line = super().get_line(line_index)
        line.plain = safe(line.plain)
        return line

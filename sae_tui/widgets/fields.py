"""A line to type in: without a blinking cursor, which would send bytes all day, and clean of what is pasted."""

from typing import Any

from textual.widgets import Input

from sae_tui.text import safe

UNKNOWN = {"slash": "/", "plus": "+", "minus": "-"}
"""Keys whose characters Textual does not know, and so would list among those that work while one types."""


class TextLine(Input):
    """One line. Control characters in what is pasted become glyphs."""

    def __init__(self, value: str = "", **options: Any) -> None:
        super().__init__(value, **options)
        self.cursor_blink = False
        self.select_on_focus = False

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """Whether it takes the key as text."""
        return super().check_consume_key(key, character or UNKNOWN.get(key))

    def insert_text_at_cursor(self, text: str) -> None:
        """Put in what was typed or pasted, made safe."""
        super().insert_text_at_cursor(safe(text))

    def replace(self, text: str, start: int, end: int) -> None:
        """Put `text` in the place of a part, made safe."""
        super().replace(safe(text), start, end)

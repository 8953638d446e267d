"""Where a prompt is typed: enter generates, a / at its very beginning is the beginning of a command instead."""

from typing import Any

from textual.events import Key
from textual.message import Message

from sae_tui import keys
from sae_tui.widgets.text_box import TextBox


class PromptBox(TextBox):
    """A text of several lines."""

    BINDINGS = [*keys.bindings("prompt")]

    class Submitted(Message):
        """Text is wanted after the prompt."""

    class Command(Message):
        """A command is wanted."""

    def __init__(self, **options: Any) -> None:
        super().__init__(soft_wrap=True, compact=True, show_line_numbers=False, **options)

    async def _on_key(self, event: Key) -> None:
        active = self.screen.active_bindings.get(event.key)
        if active and (active.binding.id or "").startswith("prompt."):
            event.prevent_default()  # or a text area would put in a newline
        elif event.character == "/" and not self.text:
            event.stop()
            event.prevent_default()
            self.post_message(self.Command())
        else:
            await super()._on_key(event)

    def action_generate(self) -> None:
        """Generate."""
        self.post_message(self.Submitted())

    def action_newline(self) -> None:
        """A new line in the prompt."""
        self.insert("\n")

"""A line for commands with a list of how it may go on, over the line.

The screen says what there is to choose from (`offer`) whenever the line has changed.
"""

from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from textual.content import Content
from textual.events import Blur
from textual.message import Message
from textual.widgets import Static

from core.steering.commands import Candidate
from sae_tui import keys
from sae_tui.text import safe, shortened
from sae_tui.widgets.fields import TextLine

ROWS = 8


class Candidates(Static):
    """How the line may go on, one of them chosen."""

    DEFAULT_CSS = """
    Candidates { display: none; height: auto; background: $panel; padding: 0 1; }
    Candidates.-here { display: block; }
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, **options)
        self._offered: tuple[Candidate, ...] = ()
        self._at: int | None = None

    @property
    def chosen(self) -> Candidate | None:
        """The one that was chosen with the arrows."""
        return None if self._at is None else self._offered[self._at]

    @property
    def first(self) -> Candidate | None:
        """The one chosen, else the first."""
        return self.chosen or (self._offered[0] if self._offered else None)

    def offer(self, candidates: Sequence[Candidate]) -> None:
        """Show others."""
        offered = tuple(candidates)
        if offered != self._offered or self._at is not None:
            self._offered, self._at = offered, None
            self._draw()

    def move(self, by: int) -> None:
        """Choose the next one, or the one before."""
        if self._offered:
            at = -1 if self._at is None and by > 0 else self._at or 0
            self._at = (at + by) % len(self._offered)
            self._draw()

    def _draw(self) -> None:
        self.set_class(bool(self._offered), "-here")
        top = max(0, (self._at or 0) - ROWS + 1)
        shown = self._offered[top : top + ROWS]
        wide = max((cell_len(safe(c.word)) for c in shown), default=0)
        lines = []
        for i, candidate in enumerate(shown, top):
            here = i == self._at
            word = safe(candidate.word)
            lines.append(
                Content.assemble(
                    ("▸ " if here else "  ", "$primary"),
                    (word + " " * (wide - cell_len(word)), "bold $accent" if here else "$accent"),
                    (shortened(f"  {safe(candidate.note)}", 68 - wide), "" if here else "$text-muted"),
                )
            )
        more = len(self._offered) - top - len(shown)
        if more > 0:
            lines.append(Content.styled(f"  … {more} more", "$text-muted"))
        self.update(Content("\n").join(lines))


class CommandLine(TextLine):
    """The line. It is there while a command is typed."""

    BINDINGS = [*keys.bindings("command")]
    DEFAULT_CSS = """
    CommandLine { display: none; }
    CommandLine.-here { display: block; }
    """

    class Left(Message):
        """No command is wanted any more."""

    class Entered(Message):
        """A command is to be done."""

        def __init__(self, line: str) -> None:
            super().__init__()
            self.line = line

    def __init__(self, candidates: Candidates, **options: Any) -> None:
        super().__init__(**options)
        self._candidates = candidates
        self._begin = 0
        self._offered_for = ""
        self.chooses = False
        """Enter takes a candidate, the chosen or the first, and does the command with it at once."""

    def open(self, line: str = "/") -> None:
        """Be there, with the beginning of a command."""
        self.set_class(True, "-here")
        self.value = line
        self.cursor_position = len(line)
        self.focus()

    def close(self) -> None:
        """Be gone."""
        self._candidates.offer(())
        self.set_class(False, "-here")

    def offer(self, candidates: Sequence[Candidate], begin: int) -> None:
        """Show how the line may go on from a place in it."""
        self._begin, self._offered_for = begin, self.value
        self._candidates.offer(candidates if self.has_class("-here") else ())

    def action_complete(self) -> None:
        """Take the candidate that is chosen, or the first."""
        candidate = self._candidates.first
        if candidate:
            word = candidate.word if candidate.word.endswith(":") else f"{candidate.word} "
            self.value = self.value[: self._begin] + word
            self.cursor_position = len(self.value)

    def action_next(self) -> None:
        """Choose the next candidate."""
        self._candidates.move(+1)

    def action_previous(self) -> None:
        """Choose the candidate before."""
        self._candidates.move(-1)

    def action_leave(self) -> None:
        """Leave the line, with nothing done."""
        self.close()
        self.post_message(self.Left())

    async def action_submit(self) -> None:
        """Take the candidate that was chosen with the arrows, else do the command."""
        first = self._candidates.first if self._offered_for == self.value else None
        if self.chooses and first and first.word:
            self.post_message(self.Entered(self.value[: self._begin] + first.word))
        elif self._candidates.chosen:
            self.action_complete()
        elif self.value.strip() in ("", "/"):
            self.action_leave()
        else:
            self.post_message(self.Entered(self.value.strip()))

    def on_blur(self, event: Blur) -> None:
        """Left for another widget."""
        self.close()

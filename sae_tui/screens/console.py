"""The Steer screen's line at the bottom: what was said last, or a command that is being typed, with completion."""

from collections.abc import Callable, Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from core.analysis.described import Described
from core.errors import nearest
from core.steering.commands import Candidate, commands_for, completion
from sae_tui.screens.names import Names
from sae_tui.text import figure, safe, token
from sae_tui.widgets.bars import Line
from sae_tui.widgets.command_line import Candidates, CommandLine

FOUND = 40
"""Features offered at most."""


class Console(Vertical):
    """One row, and more for what is wrong, which is told in full. The list of completions is over the other widgets."""

    DEFAULT_CSS = """
    Console {
        height: auto;
        max-height: 3;
        Line { padding: 0 1; color: $text-muted; }
        Line.-error { color: $error; height: auto; }
        CommandLine { padding: 0 1; background: $panel; }
        &.-typing Line { display: none; }
    }
    """

    def __init__(
        self, candidates: Candidates, names: Callable[[], Names | None], *, images: bool = False, id: str | None = None
    ) -> None:  # fmt: skip
        """`names` are those of the session at hand, which is one of `images` or of text."""
        super().__init__(id=id)
        self._candidates, self._names, self._images = candidates, names, images

    def compose(self) -> ComposeResult:
        """One of them is displayed."""
        yield Line(id="note")
        yield CommandLine(self._candidates)

    @property
    def line(self) -> CommandLine:
        """Where commands are typed."""
        return self.query_one(CommandLine)

    def say(self, words: str, *, error: bool = False) -> None:
        """Show this, which is made safe, until something else is said."""
        note = self.query_one("#note", Line)
        note.set_class(error, "-error")
        note.show(words)

    def open(self, line: str) -> None:
        """Let a command be typed that begins like this."""
        self.set_class(True, "-typing")
        self.line.open(line)

    def close(self) -> None:
        """Show what was said again."""
        self.line.close()
        self.set_class(False, "-typing")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say how the line may go on."""
        event.stop()
        wanted, names = completion(event.value, images=self._images), self._names()
        self.line.chooses = event.value.startswith("/find ")
        if wanted.feature and names is not None:
            names.find(wanted.word, FOUND, lambda found: self._offer_features(event.value, found))
            return
        if wanted.recipe and names is not None:
            names.recipes(lambda found: self._offer_recipes(event.value, found))
            return
        candidates = wanted.candidates
        if not candidates and event.value.strip("/") and wanted.begin == 0:
            candidates = (
                Candidate("", f"no such command: {nearest(wanted.word.strip('/'), commands_for(images=self._images))}"),
            )
        self.line.offer(candidates, wanted.begin)

    def _offer_features(self, line: str, found: Sequence[Described]) -> None:
        wanted = completion(line, images=self._images)
        if line == self.line.value:
            candidates = [Candidate(str(one.feature), _told(one)) for one in found]
            none = Candidate(
                "", "no feature by that number, label or token" if wanted.word else "type a number, a label or a token"
            )
            self.line.offer(candidates or [none], wanted.begin)

    def _offer_recipes(self, line: str, found: Sequence[str]) -> None:
        wanted = completion(line, images=self._images)
        if line == self.line.value:
            saves = line.startswith("/save ")
            note = "saved under this name: it is replaced" if saves else "interventions, prompt and settings"
            candidates = [Candidate(name, note) for name in found if name.startswith(wanted.word)]
            none = Candidate("", "a new name" if saves else "no recipe of that name: /save NAME makes one")
            self.line.offer(candidates or [none], wanted.begin)


def _told(one: Described) -> str:
    """A feature on a line of the list."""
    name = one.label or ("" if one.top_token is None else token(one.top_token))
    size = "" if one.max is None else f"max {figure(one.max)}, on {figure(100 * (one.density or 0))}% of tokens"
    return safe("  ".join(part for part in (name, size) if part))

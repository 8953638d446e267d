"""Small screens over others: a question, a choice, a line of text, a long text, the help."""

from collections.abc import Callable, Sequence
from typing import Any

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Label, Static

from sae_tui import keys
from sae_tui.text import safe
from sae_tui.widgets.bars import DialogKeys
from sae_tui.widgets.fields import TextLine

LEAST = 40
"""Cells of a text's frame, at least."""
FITS = 0.9
"""Of the screen, across and down, that a frame of a text's own size may take."""


class Ask(ModalScreen[str | None]):
    """A question with a few answers, each on a button and a letter; esc is none of them."""

    def __init__(self, question: str, answers: Sequence[tuple[str, str]], *, detail: str = "") -> None:
        """`answers` are pairs of a letter and a word; the first has the focus. The result is the letter."""
        super().__init__()
        self._question, self._answers, self._detail = question, answers, detail

    def compose(self) -> ComposeResult:
        """The question above its buttons."""
        with Vertical(classes="dialog"):
            yield Label(Content(safe(self._question)), classes="question")
            if self._detail:
                yield Label(Content(safe(self._detail, newlines=True)), classes="detail")
            with Horizontal():
                for letter, word in self._answers:
                    yield Button(Content.assemble((letter, "bold underline"), f"  {word}"), id=f"answer-{letter}")
        yield DialogKeys(("enter", "take"), ("← →", "other answer"), ("esc", "back"))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """The answer."""
        self.dismiss((event.button.id or "").removeprefix("answer-") or None)

    def on_key(self, event: Any) -> None:
        """A letter answers; arrows move between the buttons."""
        if event.key == "escape":
            event.stop()
            self.dismiss(None)
        elif event.key in ("left", "right"):
            event.stop()
            self.focus_next() if event.key == "right" else self.focus_previous()
        elif event.key in [letter for letter, _ in self._answers]:  # by its key: a quick esc and d is alt+d, not d
            event.stop()
            self.dismiss(event.key)


class AskText(ModalScreen[str | None]):
    """A line of text, with what it is for; enter takes it, esc leaves all as it was."""

    def __init__(self, question: str, value: str = "", *, check: Callable[[str], str] | None = None) -> None:
        """`check` returns what is wrong with a text, and nothing where it is right; it is shown as one types."""
        super().__init__()
        self._question, self._value, self._check = question, value, check

    def compose(self) -> ComposeResult:
        """The question above the line."""
        with Vertical(classes="dialog") as frame:
            frame.border_subtitle = Content("enter take · esc back")
            yield Label(Content(safe(self._question)), classes="question")
            yield TextLine(safe(self._value))
            yield Label("", id="wrong")
        yield DialogKeys(("enter", "take"), ("esc", "back"))

    def on_input_changed(self, event: TextLine.Changed) -> None:
        """Say what is wrong with it."""
        self.query_one("#wrong", Label).update(Content(safe(self._check(event.value) if self._check else "")))

    def on_input_submitted(self, event: TextLine.Submitted) -> None:
        """Take it, if nothing is wrong."""
        if not (self._check and self._check(event.value)):
            self.dismiss(event.value)

    def on_key(self, event: Any) -> None:
        """Esc leaves."""
        if event.key == "escape":
            event.stop()
            self.dismiss(None)


class Reader(ModalScreen[None]):
    """A text to be read, in a frame of its size, or of nearly the screen's: esc or q leaves, the usual keys move."""

    BINDINGS = [
        Binding("escape,q", "dismiss", "back", show=False),
        Binding("j,down", "scroll('down')", show=False),
        Binding("k,up", "scroll('up')", show=False),
        Binding("space,pagedown,ctrl+d", "scroll('page_down')", show=False),
        Binding("pageup,ctrl+u", "scroll('page_up')", show=False),
        Binding("g,home", "scroll('home')", show=False),
        Binding("G,end", "scroll('end')", show=False),
    ]  # fmt: skip

    def __init__(self, title: str, content: Content) -> None:
        """`content` is safe already."""
        super().__init__()
        self._title, self._content = title, content

    def compose(self) -> ComposeResult:
        """The text in a frame with its title."""
        lines = self._content.plain.splitlines() or [""]
        wide = max(LEAST, cell_len(self._title) + 6, *(cell_len(line) + 4 for line in lines))
        with VerticalScroll(classes="reader") as frame:
            if wide <= FITS * self.app.size.width and len(lines) + 2 <= FITS * self.app.size.height:
                frame.styles.width, frame.styles.height = wide, len(lines) + 2
            frame.border_title = Content(safe(self._title))
            frame.border_subtitle = Content("esc back")
            yield Static(self._content)
        yield DialogKeys(("esc", "back"), ("↓ ↑", "line"), ("space", "page"), ("g G", "ends"))

    def action_scroll(self, where: str) -> None:
        """Move in it."""
        getattr(self.query_one(VerticalScroll), f"scroll_{where}")(animate=False)


def help_text(sections: Sequence[str], keymap: dict[str, str]) -> Content:
    """Every action of the sections with its keys, as remapped, in a table."""
    lines: list[Content] = []
    for section in sections:
        rows = keys.actions(section)
        if not rows:
            continue
        lines += [Content(""), Content.styled(keys.SECTIONS[section], "bold $primary")]
        for action in rows:
            shown = keys.shown_keys(keymap.get(action.id, action.keys).split(","))
            lines.append(
                Content.assemble((f"{shown:>12}  ", "bold $accent"), action.help, (f"   {action.id}", "$text-disabled"))
            )
    return Content("\n").join(lines[1:])

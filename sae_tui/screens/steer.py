"""Steer: a prompt, interventions, and the text with and without them while it comes."""

from typing import Any

from textual.widgets import TextArea

from core.steering.commands import Action
from sae_tui.screens.steer_kept import Keeping
from sae_tui.screens.texts import VIEWS
from sae_tui.widgets.paged_table import PagedTable
from sae_tui.widgets.token_text import TokenText

TYPED_S = 0.6
"""So long without a key in the prompt, and it is asked what fires on it."""


class SteerPage(Keeping):
    """What keys and commands do. What is asked of the engine is the `Plan` of the interventions."""

    def __init__(self) -> None:
        super().__init__()
        self._recalled = ""
        """The prompt as it was left the last time."""

    def taken_up(self) -> None:
        """Tokens are lit by nothing yet."""
        self.light = None

    def recall(self, memory: dict[str, Any]) -> None:
        """Prompt, interventions, view."""
        view, prompt = memory.get("view"), memory.get("prompt")
        self.recall_plans(memory.get("plans"))
        self.texts.view = view if isinstance(view, str) and view in VIEWS else "both"
        if isinstance(prompt, str) and prompt:
            self.prompt.text = self._recalled = prompt
            self.edits.table.focus()

    def memory(self) -> dict[str, Any]:
        """Prompt, each session's interventions and settings, view."""
        return {"prompt": self.prompt.text, "plans": self.kept_plans(), "view": self.texts.view}

    def copied(self) -> tuple[str, str] | None:
        """The text at hand, with its prompt."""
        generation, side = self.generation, self.texts.side
        if generation is None or not generation.reports:
            return None
        return f"prompt and {side} text", generation.request.prompt + generation.text(side)

    def command_line(self) -> str | None:
        """`sae-tui steer` with all of this."""
        return self.edits.plan.command_line(self.steered.name, self.prompt.text) if self.steered else None

    def act(self, action: Action) -> None:
        """Do what is not about the plan. Raises UsageError."""
        match action.name:
            case "rewind":
                self.rewind(action.value)
            case "fork":
                self.action_fork()
            case _:
                super().act(action)

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """A prompt is typed: the engine will be needed."""
        if self.prompt.has_focus and self.prompt.text not in ("", self._recalled):
            desk = self.open_desk()
            if desk is not None and not self.hindrance:
                desk.warm()
            self.after("typed", TYPED_S, self.ask_prompt)
        self.draw_state()

    def on_prompt_box_submitted(self) -> None:
        """Generate, with the keys for what comes at hand."""
        self.texts.pane().focus()
        self.generate()

    def on_token_text_moved(self, event: TokenText.Moved) -> None:
        """Another token is at hand."""
        if event.control is self.texts.pane():
            if self.desk is not None and event.index is not None:
                self.desk.read(self.texts.side)
            self.texts.show_strip()
            self.wonder()

    def on_paged_table_opened(self, event: PagedTable.Opened) -> None:
        """A feature that fires is amplified, a next token explained; an intervention is written anew."""
        if event.control is not self.firing.table:
            self.action_command(self.edits.line())
        elif self.firing.next is not None:
            self.aim(self.firing.next)
        elif self.firing.feature is not None:
            self.do(f"/amplify {self.firing.feature} 2")

    def action_rerun(self) -> None:
        """Generate, or again."""
        self.generate()

    def action_stop(self) -> None:
        """Stop what runs; else leave the prompt, or the token."""
        desk, text = self.desk, self.texts.pane()
        if desk is not None and (desk.running or desk.attributing):
            desk.stop()
        elif self.maximized is not None:
            self.minimize()
        elif self.focused in (self.prompt, self.firing.table):
            text.focus()
        elif text.cursor is not None:
            text.cursor = None
            self.draw_firing()
        elif desk is not None and desk.loading:
            desk.stop()

    def action_live(self) -> None:
        """Again by itself, or not."""
        self.live = not self.live
        self.say("a change generates again by itself" if self.live else "r generates again")
        self.draw_state()

    def action_experiment(self) -> None:
        """Measure what steering does."""
        from sae_tui.screens.experiment import ExperimentPage  # here: not needed for the first frame

        edits = self.edits.plan.interventions
        self.app.push_screen(ExperimentPage(edits, self.edits.current, self.prompt.text))

    def action_save(self) -> None:
        """Save what there is."""
        if self.generation is None or not self.generation.reports:
            self.say("there is no text to save yet", error=True)
        else:
            self.save()

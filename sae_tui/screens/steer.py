"""Steer: a prompt, interventions, and the text with and without them while it comes."""

from collections.abc import Callable, Sequence
from typing import Any

from textual.widgets import TextArea

from core.analysis.described import Described
from core.errors import UsageError, sentence
from core.session import Session
from core.steering.commands import Action
from core.steering.plan import Plan
from sae_tui.screens.edits import Edits
from sae_tui.screens.names import Names
from sae_tui.screens.steer_kept import Keeping
from sae_tui.screens.texts import VIEWS
from sae_tui.widgets.command_line import CommandLine
from sae_tui.widgets.paged_table import PagedTable
from sae_tui.widgets.token_text import TokenText

TYPED_S = 0.6
"""So long without a key in the prompt, and it is asked what fires on it."""
KEPT = 50
"""Sessions whose interventions are remembered."""


class SteerPage(Keeping):
    """What keys and commands do. What is asked of the engine is the `Plan` of the interventions."""

    def __init__(self) -> None:
        super().__init__()
        self._plans: dict[str, Any] = {}
        self._recalled = ""
        """The prompt as it was left the last time."""

    def resumed(self) -> None:
        """Take the commands that other screens left."""
        lines, self.app.to_steer[:] = list(self.app.to_steer), []
        for line in lines:
            self._do(line)
        if lines:
            self.edits.table.focus()
        if self.app.session is None:
            self.say("no session yet: press 1, then n for a new one", error=True)
        self.draw()

    def opened(self, session: Session | None) -> None:
        """Another session: its own engine, its own interventions. The same one: all is looked up anew."""
        if session is None or self.steered is None or session.path != self.steered.path:
            self.memory()
            self.close_desk()
            self.steered, self.light, self.site, self.hindrance = session, None, "", ""
            self.edits.plan = Plan.from_json(self._plans.get(session.name, {}) if session else {})
            self.say("")
        self.names = Names(self, session, self.draw) if session else None
        if session is not None:
            self.look_at_site(session)
        self.draw()

    def recall(self, memory: dict[str, Any]) -> None:
        """Prompt, interventions, view."""
        plans, view, prompt = (memory.get(name) for name in ("plans", "view", "prompt"))
        self._plans = {str(k): v for k, v in plans.items() if isinstance(v, dict)} if isinstance(plans, dict) else {}
        self.texts.view = view if isinstance(view, str) and view in VIEWS else "both"
        if isinstance(prompt, str) and prompt:
            self.prompt.text = self._recalled = prompt
            self.edits.table.focus()

    def memory(self) -> dict[str, Any]:
        """Prompt, each session's interventions and settings, view."""
        if self.steered is not None:
            self._plans.pop(self.steered.name, None)
            self._plans[self.steered.name] = self.edits.plan.to_json()
        return {"prompt": self.prompt.text, "plans": dict(list(self._plans.items())[-KEPT:]), "view": self.texts.view}

    def copied(self) -> tuple[str, str] | None:
        """The text at hand, with its prompt."""
        generation, side = self.generation, self.texts.side
        if generation is None or not generation.reports:
            return None
        return f"prompt and {side} text", generation.request.prompt + generation.text(side)

    def command_line(self) -> str | None:
        """`sae-tui steer` with all of this."""
        return self.edits.plan.command_line(self.steered.name, self.prompt.text) if self.steered else None

    def _do(self, line: str) -> bool:
        """Do a command; whether it could be done."""
        try:
            action = self.edits.do(line)
            if action is not None:
                self._act(action)
        except UsageError as error:
            self.say(sentence(error), error=True)
            return False
        return True

    def _act(self, action: Action) -> None:
        """Do what is not about the plan. Raises UsageError."""
        match action.name:
            case "find":
                self._find(action.value)
            case "rewind":
                self.rewind(action.value)
            case "fork":
                self.action_fork()
            case "recipe":
                self.take_recipe(action.value)
            case "save":
                self.save_recipe(action.value)

    def _find(self, words: str) -> None:
        """Steer with the first feature of that number, label or token."""

        def found(features: Sequence[Described]) -> None:
            if features:
                self._do(f"/add {features[0].feature} {'1max' if features[0].max else '10'}")
            elif words.isdecimal() and self.names and not self.names.analysed:
                self._do(f"/add {words} 10")
            else:
                self.say(f"no feature by that number, label or token: {words}", error=True)

        if self.names is not None:
            self.names.find(words, 1, found)

    def on_edits_changed(self, event: Edits.Changed) -> None:
        """The plan is another one."""
        self.plan_changed(event.words)

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

    def on_command_line_entered(self, event: CommandLine.Entered) -> None:
        """Do the command; one that cannot be done stays to be mended."""
        if self._do(event.line):
            self.leave_command()

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
            self._do(f"/amplify {self.firing.feature} 2")

    def action_stronger(self) -> None:
        """One step more."""
        self._edit(lambda edits: edits.nudge(+1))

    def action_weaker(self) -> None:
        """One step less."""
        self._edit(lambda edits: edits.nudge(-1))

    def action_switch(self) -> None:
        """On or off."""
        self._edit(Edits.switch)

    def action_ablate(self) -> None:
        """Set it to 0."""
        self._edit(Edits.ablate)

    def action_remove(self) -> None:
        """Away with it."""
        self._edit(Edits.take_away)

    def action_undo(self) -> None:
        """Take the last change back."""
        self._do("/undo")

    def action_redo(self) -> None:
        """Do it again."""
        self._do("/redo")

    def _edit(self, act: Callable[[Edits], object]) -> None:
        if self.edits.current is None:
            self.say("there is no intervention yet: / types one, such as /amplify 12 4", error=True)
        else:
            act(self.edits)

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

    def action_add(self) -> None:
        """Add the feature that fires."""
        feature = self.firing.feature if self.firing.table.has_focus else None
        if feature is None:
            self.action_command("/add ")
        else:
            known = self.names.known.get(feature) if self.names else None
            self._do(f"/add {feature} {'1max' if known and known.max else '10'}")

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

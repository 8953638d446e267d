"""Steer: a prompt, interventions, and the text with and without them while it comes."""

import time
from collections.abc import Callable
from typing import Any

from textual.widgets import TextArea

from core.engine.client import Engine
from core.engine.operator import AnyEngine
from core.errors import SaeTuiError, UsageError, sentence
from core.session import Session
from core.steering.plan import Plan
from sae_tui.messages import EngineSaid
from sae_tui.screens.desk import Desk, site_of
from sae_tui.screens.edits import Edits
from sae_tui.screens.names import Names
from sae_tui.screens.steer_view import SteerView
from sae_tui.screens.texts import VIEWS
from sae_tui.widgets.command_line import CommandLine
from sae_tui.widgets.paged_table import PagedTable
from sae_tui.widgets.token_text import TokenText

FRAME_S = 0.1
"""Texts are painted at most so often while they come."""
QUIET_S = 0.3
"""So long without a change, and a text is generated again by itself."""
TYPED_S = 0.6
"""So long without a key in the prompt, and it is asked what fires on it."""
LET_GO_S = 2.0
"""How often it is looked whether the engine's session is still the one at hand."""
REST = 3
"""How many times as long as a frame took there is none after it."""
KEPT = 50
"""Sessions whose interventions are remembered."""


class SteerPage(SteerView):
    """What the screen does. What the engine does is `Desk`'s, what is asked of it the `Plan` of the interventions."""

    make_engine: Callable[[Session], AnyEngine] = staticmethod(Engine)
    """What makes a session's engine."""

    def __init__(self) -> None:
        super().__init__()
        self._session: Session | None = None
        self._plans: dict[str, Any] = {}
        self._recalled = ""
        """The prompt as it was left the last time."""
        self._fault = ""
        """What keeps one from steering with this session."""
        self._rest_until = 0.0

    def mounted(self) -> None:
        """The clock of frames stands still until text comes."""
        self.clocks["frame"] = self.set_interval(FRAME_S, self._paint_frame, pause=True)
        self.set_interval(LET_GO_S, self._let_go)

    def on_unmount(self) -> None:
        """The engine ends with the screen."""
        self._close_desk()

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
        if session is None or self._session is None or session.path != self._session.path:
            self.memory()
            self._close_desk()
            self._session, self.light, self.site, self._fault = session, None, "", ""
            self.edits.plan = Plan.from_json(self._plans.get(session.name, {}) if session else {})
            self.say("")
        self.names = Names(self, session, self.draw) if session else None
        if session is not None:
            self.background(lambda: site_of(session), self._show_site, group="site")
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
        if self._session is not None:
            self._plans.pop(self._session.name, None)
            self._plans[self._session.name] = self.edits.plan.to_json()
        return {"prompt": self.prompt.text, "plans": dict(list(self._plans.items())[-KEPT:]), "view": self.texts.view}

    def copied(self) -> tuple[str, str] | None:
        """The text at hand, with its prompt."""
        generation, side = self.generation, self.texts.side
        if generation is None or not generation.reports:
            return None
        return f"prompt and {side} text", generation.request.prompt + generation.text(side)

    def command_line(self) -> str | None:
        """`sae-tui steer` with all of this."""
        return self.edits.plan.command_line(self._session.name, self.prompt.text) if self._session else None

    def _show_site(self, found: tuple[str, str]) -> None:
        self.site, self._fault = found
        if self._fault:
            self.say(self._fault, error=True)
        self.draw_state()

    def on_engine_said(self, event: EngineSaid) -> None:
        """What comes of what was asked."""
        desk = self.desk
        if desk is None:
            return
        fault = desk.fault
        ended = desk.hear(event.key, event.told)
        if desk.fault and desk.fault != fault:
            self.say(desk.fault, error=True)
        if desk.running:
            return  # the frames show it
        if ended:
            self.clocks["frame"].pause()
            self._save()
        self._ask_prompt()
        self.draw()

    def _desk(self) -> Desk | None:
        """The desk, and with it the engine, which is made where there is none."""
        if self.desk is None and self._session is not None:
            engine = self.app.engines.share(self._session, self.make_engine)
            self.desk = Desk(engine, lambda key, told: self.post_message(EngineSaid(key, told)))
        return self.desk

    def _close_desk(self) -> None:
        if self.desk is not None:
            self.desk.close()
            self.desk = None
            self.clocks["frame"].pause()

    def _let_go(self) -> None:
        """Another session is at hand on another screen: its engine may need the memory."""
        there = self.app.session
        if self._session is not None and (there is None or there.path != self._session.path):
            self._close_desk()

    def _generate(self) -> None:
        prompt, desk = self.prompt.text, self._desk()
        if desk is None:
            return
        if self._fault:
            self.say(self._fault, error=True)
            return
        if not prompt:
            self.say("a prompt first: what is the model to go on from?", error=True)
            self.prompt.focus()
            return
        try:
            desk.begin(self.edits.plan.request(prompt))
        except SaeTuiError as error:
            self.say(sentence(error), error=True)
            return
        self.say("")
        self.draw()
        self.clocks["frame"].resume()

    def _save(self) -> None:
        session, generation = self._session, self.generation
        if session is None or generation is None or not generation.reports:
            return

        def saved(name: str) -> None:
            if not (self.desk and self.desk.fault):
                self.say(f"saved: {name}")

        self.background(
            lambda: generation.save(session),
            saved,
            group="save",
            failed=lambda error: self.say(sentence(error), error=True),
        )

    def _do(self, line: str) -> bool:
        """Do a command; whether it could be done."""
        try:
            self.edits.do(line)
        except UsageError as error:
            self.say(sentence(error), error=True)
            return False
        return True

    def on_edits_changed(self, event: Edits.Changed) -> None:
        """The plan is another one: it holds from the next token on, or for the next text."""
        running = self.desk is not None and self.desk.running
        hint = "" if running or self.live or self.generation is None else "  ·  r generates again"
        self.say(event.words + hint)
        if self.desk is not None and running:
            self.desk.change(self.edits.plan.interventions)
        elif self.live:
            self.after("quiet", QUIET_S, self._generate)
        else:
            self._ask_prompt()
        self.draw()

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """A prompt is typed: the engine will be needed."""
        if self.prompt.has_focus and self.prompt.text not in ("", self._recalled):
            desk = self._desk()
            if desk is not None and not self._fault:
                desk.warm()
            self.after("typed", TYPED_S, self._ask_prompt)
        self.draw_state()

    def _ask_prompt(self) -> None:
        """Ask what fires on the prompt, where there are interventions to be told of it and the engine is there."""
        if self.desk and self.desk.made_with and not self.desk.running and self.edits.plan.interventions:
            self.desk.ask_prompt(self.prompt.text)

    def on_prompt_box_submitted(self) -> None:
        """Generate, with the keys for what comes at hand."""
        self.texts.pane().focus()
        self._generate()

    def on_command_line_entered(self, event: CommandLine.Entered) -> None:
        """Do the command; one that cannot be done stays to be mended."""
        if self._do(event.line):
            self.leave_command()

    def on_token_text_moved(self, event: TokenText.Moved) -> None:
        """Another token is at hand."""
        if event.control is self.texts.pane():
            if self.desk is not None and event.index is not None:
                self.desk.read(self.texts.side)
            self.wonder()

    def on_paged_table_opened(self, event: PagedTable.Opened) -> None:
        """A feature that fires is amplified; an intervention is written anew."""
        if event.control is self.firing.table:
            self._do(f"/amplify {self.firing.feature} 2")
        else:
            self.action_command(self.edits.line())

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
        self.edits.undo()

    def _edit(self, act: Callable[[Edits], object]) -> None:
        if self.edits.current is None:
            self.say("there is no intervention yet: / types one, such as /amplify 12 4", error=True)
        else:
            act(self.edits)

    def action_rerun(self) -> None:
        """Generate, or again."""
        self._generate()

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

    def action_save(self) -> None:
        """Save what there is."""
        if self.generation is None or not self.generation.reports:
            self.say("there is no text to save yet", error=True)
        else:
            self._save()

    def _paint_frame(self) -> None:
        began = time.monotonic()
        if not self.is_current or began < self._rest_until:
            return
        if self.texts.frame(self.light):
            self.draw_state()
        now = time.monotonic()
        self._rest_until = now + REST * (now - began)  # a long text takes longer to lay out: keys come first

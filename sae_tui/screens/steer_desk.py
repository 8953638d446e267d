"""The Steer screen at its engine: which session it steers, when text is asked for, what is done with what comes."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from core.engine.operator import Ended
from core.errors import SaeTuiError, sentence
from sae_tui.messages import EngineSaid
from sae_tui.screens.desk import Desk, Read
from sae_tui.screens.generation import SIDES
from sae_tui.screens.steer_view import SteerView

FRAME_S = 0.1
"""Texts are painted at most so often while they come."""
REST = 3
"""How many times as long as a frame took there is none after it."""
QUIET_S = 0.3
"""So long without a change, and a text is generated again by itself."""
PAUSED_S = 0.5
"""So long at rest before its end, and it is asked what fires on a text: until then the engine is free to go on."""


class AtDesk(SteerView):
    """What the engine does is `Desk`'s."""

    def __init__(self) -> None:
        super().__init__()
        self._begun_with: dict[str, Any] = {}
        self._rest_until = 0.0
        self._to_save: deque[tuple[Callable[[], str], bool]] = deque()

    def mounted(self) -> None:
        """The clock of frames stands still until text comes."""
        super().mounted()
        self.clocks["frame"] = self.set_interval(FRAME_S, self._paint_frame, pause=True)

    def open_desk(self) -> Desk | None:
        """The desk, and with it the engine, which is made where there is none."""
        if self.desk is None and self.steered is not None:
            engine = self.app.engines.share(self.steered, self.make_engine)
            self.desk = Desk(engine, lambda key, told: self.post_message(EngineSaid(key, told)))
        return self.desk

    def close_desk(self) -> None:
        """Give the engine back."""
        if self.desk is not None:
            self.desk.close()
            self.desk = None
            self.clocks["frame"].pause()

    def generate(self) -> None:
        """Text from the prompt, under the plan as it is."""
        prompt, desk = self.prompt.text, self.open_desk()
        if desk is None:
            return
        if self.hindrance:
            self.say(self.hindrance, error=True)
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
        self.comes()

    def go_on(self, steps: int | None = None) -> None:
        """More of the branch at hand, under the plan as it is; text from the prompt where there is none yet."""
        generation, desk, plan = self.generation, self.desk, self.edits.plan
        if generation is None or desk is None or self.hindrance:
            self.generate()
            return
        request, came, wanted = generation.request, len(generation.reports), plan.settings["tokens"]
        if wanted == self._begun_with.get("tokens") and came < request.tokens:
            wanted = request.tokens  # as many as there were to be
        desk.go_on(plan.interventions, plan.sampling, wanted if wanted > came else came + wanted, steps=steps)
        other = [
            name
            for name, asked, begun in (
                ("prompt", self.prompt.text, request.prompt),
                *((name, plan.settings[name], getattr(request, name)) for name in ("mode", "chat")),
                ("system prompt", self.asked.system, request.system),
            )
            if asked != begun
        ]
        self.say(f"it goes on as it began: r takes the other {' and '.join(other)}" if other else "")
        self.comes()

    def comes(self) -> None:
        """Show text as it comes."""
        self._begun_with = dict(self.edits.plan.settings)
        self.draw()
        self.clocks["frame"].resume()

    def plan_changed(self, words: str) -> None:
        """The plan is another one: it holds from the next token on, or for the next text."""
        running, generation = self.desk is not None and self.desk.running, self.generation
        hint = "" if running or self.live or generation is None else "  ·  n goes on with it, r generates again"
        self.say(words + hint)
        if running:
            self._change()
        elif self.live:
            self.after("quiet", QUIET_S, self.generate)
        else:
            self.ask_prompt()
        self.draw()

    def _change(self) -> None:
        """Text comes, and is to be another from the next token on."""
        assert self.desk is not None, "text comes from an engine"
        settings = self.edits.plan.settings
        other = [name for name, value in settings.items() if value != self._begun_with.get(name)]
        if any(name not in ("where", "mode", "chat", "system") for name in other):
            self.go_on()
        else:
            self.desk.change(self.edits.plan.interventions)

    def on_engine_said(self, event: EngineSaid) -> None:
        """What comes of what was asked."""
        desk = self.desk
        if desk is None:
            return
        fault = desk.fault
        ended = desk.hear(event.key, event.told)
        generation = desk.generation
        if desk.fault and desk.fault != fault:
            stays = ended and generation is not None and generation.reports
            self.say(desk.fault + (" · what came stays: n goes on from there" if stays else ""), error=True)
        if desk.running:
            return  # the frames show it
        if ended:
            self.clocks["frame"].pause()
            self._came_to_rest()
        elif isinstance(event.key, Read) and event.key.side == "steered" and isinstance(event.told, tuple):
            self.save(quiet=True)  # its perplexity is known now
        self.ask_prompt()
        self.draw()

    def _came_to_rest(self) -> None:
        generation = self.generation
        assert generation is not None and isinstance(generation.ended, Ended), "one came to rest"
        verdict = "" if generation.ended.error else self.verdict()
        if verdict:
            self.say(verdict)
        if generation.came:
            self.save(quiet=bool(verdict))
        elif generation.reports and not (generation.ended.stopped or generation.ended.error):
            self.say("both texts have come to their end: backspace takes tokens back, f tries again", error=True)
        if generation.paused:
            self.after("read", PAUSED_S, self.read)
        else:
            self.read()

    def verdict(self) -> str:
        """What is to be said of a text that has come; empty: where it was saved."""
        return ""

    def read(self) -> None:
        """Ask what fires on the texts at hand."""
        if self.desk is not None:
            for side in (self.texts.side, *SIDES):
                self.desk.read(side)

    def ask_prompt(self) -> None:
        """Ask what fires on the prompt, where edits or its sparsity are to be told of it and the engine is there."""
        wanted = self.edits.plan.interventions or self.rank == "sparse"
        if self.desk and self.desk.made_with and not self.desk.running and wanted:
            self.desk.ask_prompt(self.asked)

    def action_rank(self) -> None:
        """The next list, of a prompt where there is no text yet."""
        super().action_rank()
        self.ask_prompt()

    def save(self, *, quiet: bool = False) -> None:
        """Save the branch at hand."""
        session, generation = self.steered, self.generation
        saving = generation.saving(session) if session and generation else None
        if saving is not None:
            self._to_save.append((saving, quiet))
            if len(self._to_save) == 1:
                self._save_next()

    def _save_next(self) -> None:
        """One after another: of two of the same text the later one must stay."""
        saving, quiet = self._to_save[0]

        def saved(name: str) -> None:
            if not quiet and not (self.desk and self.desk.fault):
                self.say(f"saved: {name}")
            over()

        def failed(error: Exception) -> None:
            self.say(sentence(error), error=True)
            over()

        def over() -> None:
            self._to_save.popleft()
            if self._to_save:
                self._save_next()

        self.background(saving, saved, group="save", failed=failed)

    def _paint_frame(self) -> None:
        began = time.monotonic()
        if not self.is_current or began < self._rest_until:
            return
        if self.texts.frame(self.light):
            self.draw_state()
        now = time.monotonic()
        self._rest_until = now + REST * (now - began)  # a long text takes longer to lay out: keys come first

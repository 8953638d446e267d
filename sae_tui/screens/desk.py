"""What goes on between the Steer screen and one session's engine: one generation at a time, what fires, faults.

Asks; hears what the engine's thread posts; holds what came of it. Draws nothing and waits for nothing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from core.engine import protocol
from core.engine.operator import AnyEngine, Ended, Operator, Told
from core.errors import EngineError, SaeTuiError, sentence
from core.records import Attribution, FiringToken, Progress
from core.session import Session
from core.steering.interventions import GenerationRequest, Intervention
from core.steering.transcript import MadeWith
from sae_tui.screens.generation import SIDES, Generation, Side

PAIRS = 2_048
"""Features on tokens that are asked for where a prediction is attributed, the largest first."""
TOP = 256
"""Features asked for on each token: more than are active on one, but where an SAE is hardly sparse."""
KEPT = 32
"""Predictions whose attributions are kept."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Key of a request for what fires on a prompt."""

    text: str


@dataclass(frozen=True, slots=True)
class Read:
    """Key of a request for what fires on a text that was generated."""

    generation: Generation
    side: Side


@dataclass(frozen=True, slots=True)
class Why:
    """Key of a request for what the prediction of a token rests on."""

    text: str
    target: str | None
    """The token; None is what the model finds likeliest."""
    position: int | None
    """Behind which token of the text; None is the last."""


LOAD = "load"


class Desk:
    """One session's engine as the screen uses it."""

    def __init__(self, engine: AnyEngine, tell: Callable[[Any, Told], object]) -> None:
        """`tell(key, told)` is called in a thread, and has `hear` called with the same in the event loop."""
        self._operator = Operator(engine, tell)
        self._next: GenerationRequest | None = None
        self._prompt: tuple[str, tuple[FiringToken, ...]] = ("", ())
        self._asked: str | None = None
        self._why: Why | None = None
        self._wanted: Why | None = None
        self._whys: dict[Why, Attribution | str] = {}
        self.generation: Generation | None = None
        """The newest one."""
        self.phase: Progress | None = None
        """What is being loaded."""
        self.loading = False
        self.made_with: MadeWith | None = None
        """What the engine computes with; None while it is not loaded."""
        self.fault = ""
        """What the engine last said is wrong, in a sentence."""

    @property
    def running(self) -> bool:
        """A text is being generated, or waits for that."""
        return self.generation is not None and self.generation.ended is None

    def warm(self) -> None:
        """Load model and SAE ahead of need."""
        if not self.running:
            self.fault = ""
            self._load()

    def begin(self, request: GenerationRequest) -> None:
        """Generate, after what is being generated was stopped."""
        self.fault = ""
        if self.running:
            self._next = request
            self._operator.drop() if self.loading else self._operator.stop()
            return
        self._operator.drop()
        self.generation = Generation(request, self.tokens(request.prompt))
        self._load()  # by itself, so that its phases are told
        self.ask_prompt(request.prompt)
        self._operator.generate(self.generation, request)

    def change(self, interventions: Sequence[Intervention]) -> None:
        """Other interventions for the text that is being generated, from its next token on."""
        if self.running:
            self._operator.change(interventions)

    def stop(self) -> None:
        """End what is being generated or loaded."""
        self._next = None
        self._operator.stop()

    def close(self) -> None:
        """End the engine; nothing is told after this."""
        self._operator.close()

    def tokens(self, prompt: str) -> tuple[FiringToken, ...]:
        """The tokens of a prompt and what fires on them, where that was asked for last and is known."""
        return self._prompt[1] if self._prompt[0] == prompt else ()

    def ask_prompt(self, prompt: str) -> None:
        """Ask what fires on a prompt, where it is not known yet."""
        if prompt and prompt != self._prompt[0] and prompt != self._asked:
            self._asked = prompt
            self._operator.firing(Prompt(prompt), prompt, TOP)

    def read(self, side: Side) -> None:
        """Ask what fires on a generated text, where it is not known yet."""
        generation = self.generation
        if generation is not None and generation.ended and generation.reports and side not in generation.firing:
            then = [choice.token_id for choice in generation.choices(side)]
            self._operator.firing(Read(generation, side), generation.request.prompt, TOP, then)

    def why(self, why: Why) -> Attribution | str | None:
        """What a prediction rests on, or in a sentence why that cannot be told; None where it is not known yet."""
        return self._whys.get(why)

    @property
    def attributing(self) -> bool:
        """Whether it is being found out what a prediction rests on."""
        return self._why is not None

    def ask_why(self, why: Why) -> None:
        """Ask what a prediction rests on; not while a text is generated. Of those that must wait the last is asked."""
        self._wanted = why
        if self.running or self._why is not None or why in self._whys:
            return
        self._why = why
        self._load()
        self._operator.attribution(why, why.text, why.target, position=why.position, top=PAIRS)

    def hear(self, key: Any, told: Told) -> bool:
        """Take in what was told; whether the newest generation has ended with it."""
        match told:
            case protocol.Loading():
                self.phase = told.progress
            case protocol.Started():
                self.made_with, self.phase, self.loading = told.made_with, None, False
            case protocol.Changed():
                self.fault = ""
            case protocol.Refused():
                self.fault = f"{told.message}: {told.hint}" if told.hint else told.message
            case Ended():
                self._heard_end(key, told)
            case tuple() if isinstance(key, Prompt) and told:
                self._prompt = key.text, told
            case tuple() if isinstance(key, Read) and told:
                key.generation.firing[key.side] = told
            case Attribution() if isinstance(key, Why):
                self._whys = {**dict(list(self._whys.items())[-KEPT:]), key: told}
        if isinstance(key, Generation):
            key.hear(told, time.monotonic())
            if key is self.generation and isinstance(told, Ended):
                self._go_on()
                return True
        return False

    def _load(self) -> None:
        if not (self.loading or self.made_with):
            self.loading = True
            self._operator.load(LOAD)

    def _heard_end(self, key: Any, ended: Ended) -> None:
        if key == LOAD:
            self.loading, self.phase = False, None
        if isinstance(key, Prompt) and key.text == self._asked:
            self._asked = None
        if isinstance(key, Why):
            self._heard_why(key, ended)
        if ended.error is None:
            return
        if isinstance(key, Prompt):  # what is wrong with a prompt is told when text is wanted of it
            self._prompt = key.text, ()
        elif not isinstance(key, Why):
            self.fault = sentence(ended.error, "steering/engine.log")
        if isinstance(ended.error, EngineError):
            self.made_with, self.phase, self.loading = None, None, False
        if key == LOAD:
            self._operator.drop()

    def _heard_why(self, why: Why, ended: Ended) -> None:
        """It is known, or not to be; then the next that is wanted."""
        self._why = None
        if ended.error is not None:
            self._whys[why] = sentence(ended.error, "steering/engine.log")
        wanted, self._wanted = self._wanted, None
        if wanted is not None and not ended.stopped and wanted != why:
            self.ask_why(wanted)

    def _go_on(self) -> None:
        """After one generation: the next one that waits, else what fires on the texts."""
        request, self._next = self._next, None
        if request is not None:
            self.begin(request)
            return
        for side in reversed(SIDES):
            self.read(side)


def site_of(session: Session) -> tuple[str, str]:
    """Model and hook point, and what keeps one from steering, if something does. Blocks."""
    try:
        model = session.config().model
        found = f"{model.name} {model.hook}"
        session.weights_dir()
    except SaeTuiError as error:
        return "", sentence(error)
    return found, ""

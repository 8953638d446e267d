"""What goes on between the Steer screen and one session's engine: one generation at a time, what fires, faults.

Asks; hears what the engine's thread posts; holds what came of it. Draws nothing and waits for nothing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from core.engine import protocol
from core.engine.operator import AnyEngine, Ended, Told
from core.errors import sentence
from core.records import Attribution, FiringToken
from core.steering.interventions import Intervention
from core.steering.request import GenerationRequest, Sampling
from core.steering.transcript import Change
from sae_tui.screens.generation import Generation, Side
from sae_tui.screens.loaded import Loaded

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
    chat: bool = False
    system: str = ""

    @classmethod
    def of(cls, request: GenerationRequest) -> "Prompt":
        """That of a generation."""
        return cls(request.prompt, request.chat, request.system)


@dataclass(frozen=True, slots=True)
class Read:
    """Key of a request for what fires on a text that was generated."""

    generation: Generation
    side: Side
    stage: object
    """Of the generation: an answer about another text than that at hand is of no use."""


@dataclass(frozen=True, slots=True)
class Why:
    """Key of a request for what the prediction of a token rests on."""

    text: str
    target: str | None
    """The token; None is what the model finds likeliest."""
    position: int | None
    """Behind which token of the text; None is the last."""
    then: tuple[int, ...] = ()
    """The tokens that were generated after the text, as far as they are read."""
    chat: bool = False
    system: str = ""


class Desk(Loaded):
    """One session's engine as the screen uses it."""

    def __init__(self, engine: AnyEngine, tell: Callable[[Any, Told], object]) -> None:
        """`tell(key, told)` is called in a thread, and has `hear` called with the same in the event loop."""
        super().__init__(engine, tell)
        self._next: Callable[[], object] | None = None
        self._prompt: tuple[Prompt, tuple[FiringToken, ...]] = Prompt(""), ()
        self._asked: Prompt | None = None
        self._reads: set[Any] = set()
        self._why: Why | None = None
        self._wanted: Why | None = None
        self._whys: dict[Why, Attribution | str] = {}
        self.generation: Generation | None = None
        """The newest one."""

    @property
    def running(self) -> bool:
        """A text is being generated, or waits for that."""
        return self.generation is not None and self.generation.ended is None

    @property
    def starting(self) -> bool:
        """Whether it is not known yet what the engine computes with."""
        return self.loading or (self.running and self.made_with is None)

    def warm(self) -> None:
        """Load model and SAE ahead of need."""
        if not self.running:
            self.fault = ""
            self.load()

    def begin(
        self, request: GenerationRequest, changes: Sequence[Change] = (), threads: int | None = None
    ) -> None:  # fmt: skip
        """Generate anew, after what is being generated was stopped.

        `changes` come as they did in what is replayed, which was computed with so many `threads`.
        """

        def begin() -> None:
            self._operator.drop()
            self.load()
            self.ask_prompt(Prompt.of(request))
            self.generation = Generation(request, self.tokens(Prompt.of(request)))
            for change in changes:
                self.generation.branches.change(change)
            self._ask(threads=threads)

        self.at_rest(begin)

    def go_on(
        self, interventions: Sequence[Intervention], sampling: Sampling, tokens: int, *, steps: int | None = None
    ) -> None:
        """More of the branch at hand, up to so many `tokens` in all, and at most so many `steps` now."""

        def go_on() -> None:
            if self.generation is not None:
                self._operator.drop()
                self.generation.go_on(interventions, sampling, tokens)
                self._ask(steps)

        self.at_rest(go_on)

    def at_rest(self, act: Callable[[], object]) -> None:
        """Do this while nothing is generated: what is, is stopped first. Only the last one asked for is done then."""
        if self.running:
            self._next = act
            self._operator.drop() if self.loading else self._operator.stop()
        else:
            self.fault = ""
            act()

    def change(self, interventions: Sequence[Intervention]) -> None:
        """Other interventions for the text that is being generated, from its next token on."""
        if self.running:
            self._operator.change(interventions)

    def stop(self) -> None:
        """End what is being generated or loaded."""
        self._next = None
        super().stop()

    def tokens(self, prompt: Prompt) -> tuple[FiringToken, ...]:
        """The tokens of a prompt and what fires on them, where that was asked for last and is known."""
        return self._prompt[1] if self._prompt[0] == prompt else ()

    def ask_prompt(self, prompt: Prompt) -> None:
        """Ask what fires on a prompt, where it is not known yet."""
        if prompt.text and prompt not in (self._prompt[0], self._asked):
            self._asked = prompt
            self._operator.firing(prompt, prompt.text, TOP, chat=prompt.chat, system=prompt.system)

    def read(self, side: Side) -> None:
        """Ask what fires on a text, before and behind what was done to it, where that is not known yet."""
        generation = self.generation
        if generation is None or self.running or not generation.reports or not generation.unread(side):
            return
        key, request = Read(generation, side, generation.stage), generation.request
        if key in self._reads:
            return
        self._reads.add(key)
        steered = side == "steered"
        self._operator.firing(
            key, request.prompt, TOP, [choice.token_id for choice in generation.choices(side)], mode=request.mode,
            interventions=request.interventions if steered else (), changes=generation.changes if steered else (),
            chat=request.chat, system=request.system,
        )  # fmt: skip

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
        self.load()
        self._operator.attribution(
            why, why.text, why.target, position=why.position, top=PAIRS, then=why.then, chat=why.chat, system=why.system
        )

    def hear(self, key: Any, told: Told) -> bool:
        """Take in what was told; whether the newest generation has ended with it."""
        super().hear(key, told)
        match told:
            case protocol.Changed():
                self.fault = ""
            case protocol.Refused():
                self.fault = f"{told.message}: {told.hint}" if told.hint else told.message
            case _:
                self._heard_answer(key, told)
        if isinstance(key, Generation):
            key.hear(told, time.monotonic())
            if key is self.generation and isinstance(told, Ended):
                act, self._next = self._next, None
                if act is not None:
                    self.at_rest(act)
                return True
        return False

    def _heard_answer(self, key: Any, told: Told) -> None:
        match told:
            case tuple() if isinstance(key, Prompt) and told:
                self._prompt = key, told
            case tuple() if isinstance(key, Read) and told and key.stage == key.generation.stage:
                key.generation.heard_firing(key.side, told)
            case Attribution() if isinstance(key, Why):
                self._whys = {**dict(list(self._whys.items())[-KEPT:]), key: told}

    def heard_end(self, key: Any, ended: Ended) -> None:
        """A request is over."""
        super().heard_end(key, ended)
        if key == self._asked:
            self._asked = None
        self._reads.discard(key)
        if isinstance(key, Why):
            self._heard_why(key, ended)
        if ended.error is not None and isinstance(key, Prompt):
            self._prompt = key, ()

    def tells(self, key: Any) -> bool:
        """What is wrong with a prompt is told when text is wanted of it."""
        return isinstance(key, Prompt | Why)

    def _heard_why(self, why: Why, ended: Ended) -> None:
        """It is known, or not to be; then the next that is wanted."""
        self._why = None
        if ended.error is not None:
            self._whys[why] = sentence(ended.error, "steering/engine.log")
        wanted, self._wanted = self._wanted, None
        if wanted is not None and not ended.stopped and wanted != why:
            self.ask_why(wanted)

    def _ask(self, steps: int | None = None, threads: int | None = None) -> None:
        generation = self.generation
        assert generation is not None, "there is nothing to go on with"
        generation.began(steps=steps is not None)
        path = generation.branches.path()
        self.load()
        self._operator.generate(
            generation, generation.request, path.changes, past=path.past, steps=steps, threads=threads
        )

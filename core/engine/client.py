"""Who talks to the engine: starts its process when it is needed, streams its answers, stops it, outlives it.

Knows no torch, and nothing of what a model does.
"""

import itertools
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TypeVar

from core import errors
from core.engine import protocol
from core.engine.process import Process
from core.errors import EngineError, SaeTuiError
from core.experiments.requests import Request as Wanted
from core.image_records import ClassifiedImage, ImageList
from core.records import Attribution, ConceptFound, FiringToken, Progress, TextReading
from core.session import Session
from core.steering.interventions import Intervention, Mode
from core.steering.request import GenerationRequest
from core.steering.transcript import Change, Past

A = TypeVar("A", bound=protocol.Answer)


class Engine:
    """The engine of one session. Its process begins with the first request, and anew when it has died.

    One request at a time; `stop`, `change`, `ping` and `close` may come from any thread. To close an iterator that
    a request returned is to stop the request.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._process: Process | None = None
        self._ids = itertools.count(1)
        self._turn = threading.Lock()
        self._beginning = threading.Lock()  # of a process, against `close`
        self._closed = False

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The engine's process, where one lives."""
        return self._process.pid if self._process and self._process.lives else None

    def load(self) -> Iterator[protocol.Event]:
        """Load model and SAE ahead of need: Loading events, then Done. Raises as `generate` does."""
        return self._ask(lambda n: protocol.Load(id=n))

    def generate(
        self, request: GenerationRequest, changes: Sequence[Change] = (), *, past: Past = (), steps: int | None = None,
        threads: int | None = None,
    ) -> Iterator[protocol.Event]:  # fmt: skip
        """Loading events where it must load, then Started, a Step for each token, and Done.

        `changes` replace the request's interventions and sampling, each from the token of its index on; other
        interventions than before come as a Changed ahead of that token's Step, as those of `change` do. A change that
        cannot be is a Refused. `past` are tokens that were generated before, under the changes up to there: it goes on
        behind them, with Loading events where they must be read again, and for `steps` tokens at most. `threads` are
        those of a transcript that is replayed. Whoever asks keeps all of this: the engine may have died in between.
        Raises EngineError where the engine dies or is busy, and what the engine says is wrong.
        """
        return self._ask(
            lambda n: protocol.Generate(
                id=n, request=request, changes=tuple(changes), past=tuple(past), steps=steps, threads=threads
            )
        )

    def change(self, interventions: Sequence[Intervention]) -> bool:
        """Give the generation that runs other interventions, from its next token on; whether one runs.

        What comes of it is told in the generation's own events: Changed or Refused.
        """
        return self._process is not None and self._process.change(tuple(interventions))

    def firing(
        self, text: str, top: int = 10, then: Sequence[int] = (), *, interventions: Sequence[Intervention] = (),
        changes: Sequence[Change] = (), mode: Mode = "error-kept", chat: bool = False, system: str = "",
    ) -> tuple[FiringToken, ...]:  # fmt: skip
        """The tokens of a text, and those that come `then`, the `top` features on each, and how likely it was.

        With interventions (and the changes made of them while `then` was generated) also the features behind them. The
        text is a prompt as GenerationRequest has it. `()` where stopped. Raises as `generate`.
        """
        answer = self._answer(
            lambda n: protocol.Tokens(
                id=n, text=text, top=top, then=tuple(then), interventions=tuple(interventions), changes=tuple(changes),
                mode=mode, chat=chat, system=system,
            ),
            protocol.Firing,
        )  # fmt: skip
        return answer.tokens if answer else ()

    def concept(
        self, texts: Sequence[str], contrast: Sequence[str] = (), *, strong: str | None = None, top: int = 20
    ) -> ConceptFound | None:
        """The features that stand for what `texts` have in common and `contrast` have not.

        `strong` is from where on an activation is: `5` or `0.5x`. None where stopped. Raises as `generate`.
        """
        answer = self._answer(
            lambda n: protocol.Concept(id=n, texts=tuple(texts), contrast=tuple(contrast), strong=strong, top=top),
            protocol.Found,
        )
        return answer and answer.concept

    def attribution(
        self,
        text: str,
        target: str | None = None,
        *,
        position: int | None = None,
        rank: str = "gradient",
        top: int = 20,
        then: Sequence[int] = (),
        chat: bool = False,
        system: str = "",
    ) -> Attribution | None:
        """Which features on which tokens the prediction of `target` behind `position` rests on.

        Without them: of the likeliest token, behind the last of `text` and the tokens `then`. None where stopped.
        Raises as `generate`.
        """
        answer = self._answer(
            lambda n: protocol.Attribute(
                id=n,
                text=text,
                target=target,
                position=position,
                rank=rank,
                top=top,
                then=tuple(then),
                chat=chat,
                system=system,
            ),
            protocol.Attributed,
        )
        return answer and answer.attribution

    def reading(self, texts: Sequence[str], feature: int) -> tuple[TextReading, ...]:
        """One feature on each token of each text; `()` where stopped. Raises as `generate`."""
        answer = self._answer(lambda n: protocol.Read(id=n, texts=tuple(texts), feature=feature), protocol.WasRead)
        return answer.readings if answer else ()

    def listing(self) -> ImageList | None:
        """The images one may walk through; None where stopped. Raises as `generate`."""
        answer = self._answer(lambda n: protocol.ListImages(id=n), protocol.Listed)
        return answer and answer.images

    def classified(
        self, images: Sequence[int], interventions: Sequence[Intervention] = (), *, mode: Mode = "error-kept",
        top: int = 256,
    ) -> tuple[ClassifiedImage, ...]:  # fmt: skip
        """What interventions make of images, by their numbers; `()` where stopped. Raises as `generate`."""
        answer = self._answer(
            lambda n: protocol.Classify(
                id=n, images=tuple(images), interventions=tuple(interventions), mode=mode, top=top
            ),
            protocol.Classified,
        )
        return answer.images if answer else ()

    def experiment(self, request: Wanted) -> Iterator[protocol.Event]:
        """Loading events, Started, more of them with how far it is, a Measured whenever more of it is whole, and Done.

        Raises as `generate`.
        """
        return self._ask(lambda n: protocol.Experiment(id=n, request=request))

    def ping(self, timeout_s: float = 1.0) -> bool:
        """Whether the engine lives and hears."""
        return self._process is not None and self._process.ping(next(self._ids), timeout_s)

    def stop(self) -> None:
        """End the request that runs, if one does: its iterator ends with Done. Takes 2 s at most."""
        if self._process is not None:
            self._process.stop()

    def close(self) -> None:
        """End the engine, whatever it does."""
        with self._beginning:
            self._closed = True
        if self._process is not None:
            self._process.close()

    def _answer(self, make: Callable[[int], protocol.Question], kind: type[A]) -> A | None:
        """The one event of this kind; None where stopped."""
        found = None
        for event in self._ask(make):
            if isinstance(event, kind):
                found = event
        return found

    def _ask(self, make: Callable[[int], protocol.Request]) -> Iterator[protocol.Event]:
        if not self._turn.acquire(blocking=False):
            raise EngineError("the engine is busy with another request", hint="stop that one, or wait for it")
        try:
            message = make(next(self._ids))
            process = self._process
            if process is not None and process.lives and (yield from _answers(process, message)):
                return
            # None lives, or it died before it took this request: the next one gets it.
            with self._beginning:
                if self._closed:
                    raise EngineError("the engine was closed", hint="open another")
                process = self._process = Process(self._session)
            if not (yield from _answers(process, message, starting=True)):
                raise process.death()
        finally:
            self._turn.release()


def _answers(
    process: Process, message: protocol.Request, starting: bool = False
) -> Generator[protocol.Event, None, bool]:
    """The events of one request, to its end; returns whether there was any before the process died."""
    answered = False
    process.begin(message)
    try:
        if starting:
            yield protocol.Loading(id=message.id, progress=Progress(phase="starting the engine"))
        while (event := process.next_event()) is not None:
            if event.id != message.id:
                continue  # of a request whose iterator was closed
            answered = True
            if isinstance(event, protocol.Failed):
                raise _as_error(event)
            yield event
            if isinstance(event, protocol.Done):
                return True
    finally:
        process.stop()
    if process.stopping:
        yield protocol.Done(id=message.id, stopped=True)
    elif answered:
        raise process.death()
    return process.stopping


def _as_error(event: protocol.Failed) -> SaeTuiError:
    kind = getattr(errors, event.kind, EngineError)
    return kind(event.message, hint=event.hint)

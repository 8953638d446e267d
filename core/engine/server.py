"""The engine: a process that holds a model and an SAE, and answers requests on a pipe.

It ends when its requests end: when whoever asks is gone, however it went. Nothing a library prints reaches
the protocol. Knows of the work only what `core.engine.backend` says.
"""

import contextlib
import itertools
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, TypeVar

from core.engine import protocol
from core.engine.backend import Backend
from core.errors import SaeTuiError, sentence
from core.experiments.records import Outcome
from core.records import Progress, TokenReport
from core.session import Session
from core.steering.interventions import Intervention
from core.steering.transcript import Recorder, held

T = TypeVar("T")


def serve(session: Session, make_backend: Callable[[], Backend]) -> None:
    """Answer requests from stdin on stdout, until stdin ends and with it this process. Never returns."""
    session.steering_dir.mkdir(exist_ok=True)
    requests, events = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with (session.steering_dir / "engine.log").open("ab") as log, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    _Server(requests, events).run(make_backend)


class _Server:
    """One thread hears, the main one works."""

    def __init__(self, requests: BinaryIO, events: BinaryIO) -> None:
        self._requests, self._events = requests, events
        self._sending = threading.Lock()
        self._waiting: queue.SimpleQueue[protocol.Request] = queue.SimpleQueue()
        self._changing = threading.Lock()
        self._change: protocol.Change | None = None
        """Heard, but its generation has not begun."""
        self._generating = 0
        self._wanted: tuple[Intervention, ...] = ()
        """Of the generation that runs, from its next token on."""
        self._stop_up_to = 0
        self._current = 0
        self._interruptible = False
        self._loaded = False

    def run(self, make_backend: Callable[[], Backend]) -> None:
        signal.signal(signal.SIGINT, self._interrupt)
        threading.Thread(target=self._hear, daemon=True, name="requests").start()
        self._backend = backend = make_backend()
        while True:
            self._serve(self._waiting.get(), backend)

    def _hear(self) -> None:
        # SIGINT is for the main thread, whose system call it must interrupt.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for line in self._requests:
                self._take(protocol.decode(line))
        except Exception:  # a request that is not understood would be waited for without end
            traceback.print_exc()
            os._exit(1)
        os._exit(0)  # also in mid-generation: nobody is left to read it

    def _take(self, message: protocol.Request | protocol.Event) -> None:
        match message:
            case protocol.Stop():
                self._stop_up_to = max(self._stop_up_to, message.id)
            case protocol.Change():
                self._hear_change(message)
            case protocol.Ping():
                self._send(protocol.Pong(id=message.id))
            case _ if isinstance(message, protocol.Load | protocol.Generate | protocol.Question | protocol.Experiment):
                self._waiting.put(message)

    def _serve(self, message: protocol.Request, backend: Backend) -> None:
        self._current = message.id
        try:
            stopped = not (self._load(backend) and self._answer(message, backend))
        except KeyboardInterrupt:
            stopped = True
            if not self._loaded:
                # What an interrupted load leaves behind in the libraries is not known: begin anew.
                self._send(protocol.Done(id=message.id, stopped=True))
                os._exit(0)
        except Exception as error:
            self._send(protocol.Failed(id=message.id, **_told(error)))
            return
        self._send(protocol.Done(id=message.id, stopped=stopped))

    def _load(self, backend: Backend) -> bool:
        """Whether all is loaded, rather than stopped."""
        if not self._loaded:
            self._loaded = self._each(
                backend.load(), lambda progress: [protocol.Loading(id=self._current, progress=progress)]
            )
        return self._loaded

    def _answer(self, message: protocol.Request, backend: Backend) -> bool:
        """Whether the request was served to its end, rather than stopped."""
        threads = message.threads if isinstance(message, protocol.Generate) else None
        self._send(protocol.Started(id=message.id, made_with=backend.made_with(threads)))
        match message:
            case protocol.Generate():
                return self._generate(message, backend)
            case _ if isinstance(message, protocol.Question):
                return self._each((backend.answer(question) for question in [message]), lambda answer: [answer])
            case protocol.Experiment():
                return self._each(backend.experiment(message.request), self._measured)
        return True

    def _measured(self, item: Progress | Outcome) -> list[protocol.Event]:
        if isinstance(item, Progress):
            return [protocol.Loading(id=self._current, progress=item)]
        return [protocol.Measured(id=self._current, outcome=item)]

    def _generate(self, message: protocol.Generate, backend: Backend) -> bool:
        """As `_answer`. What changes on the way is told ahead of the first token it holds for."""
        begin = len(message.past)
        recorder = Recorder(self._now(message), begin)
        told, interventions = 0, held(message.request, message.changes, begin)[0]

        def events(item: TokenReport | Progress) -> Iterator[protocol.Event]:
            nonlocal told, interventions
            if isinstance(item, Progress):
                yield protocol.Loading(id=message.id, progress=item)
                return
            for change in recorder.changes[told:]:
                if change.interventions != interventions:
                    interventions = change.interventions
                    yield protocol.Changed(id=message.id, index=change.index, interventions=interventions)
            told = len(recorder.changes)
            yield protocol.Step(id=message.id, report=item)

        with self._changing:
            self._wanted = interventions
            steps = _at_most(message.steps, backend.generate(message, recorder))
            self._generating = message.id
            if self._change and self._change.id == message.id:
                self._take_change(self._change, backend)
        try:
            return self._each(steps, events)
        finally:
            with self._changing:
                self._generating = 0

    def _now(self, message: protocol.Generate) -> Callable[[], tuple[Intervention, ...]]:
        """The interventions for one new token after another: those wanted last, by the request or by a person."""
        begin = len(message.past)
        changes = {change.index: change.interventions for change in message.changes if change.index > begin}
        indices = itertools.count(begin)

        def now() -> tuple[Intervention, ...]:
            if (index := next(indices)) in changes:
                self._wanted = changes[index]
            return self._wanted

        return now

    def _hear_change(self, message: protocol.Change) -> None:
        with self._changing:
            if message.id == self._generating:
                self._take_change(message, self._backend)
            else:
                self._change = message

    def _take_change(self, message: protocol.Change, backend: Backend) -> None:
        try:
            backend.check(message.interventions)
        except Exception as error:
            self._send(protocol.Refused(id=message.id, **_told(error)))
        else:
            self._wanted = message.interventions

    def _each(self, items: Generator[T, None, None], events: Callable[[T], Iterable[protocol.Event]]) -> bool:
        """Send the events of each item as it comes: to the last (True), or until a stop is wanted (False)."""
        with contextlib.closing(items):
            while self._stop_up_to < self._current:
                found = self._next(items)
                if not found:
                    return True
                for event in events(found[0]):
                    self._send(event)
        return False

    def _next(self, items: Iterator[T]) -> tuple[T, ...]:
        """The next item, or none at the end. Only here does SIGINT interrupt, so that no event is torn."""
        try:
            self._interruptible = True
            return (next(items),)
        except StopIteration:
            return ()
        finally:
            self._interruptible = False

    def _interrupt(self, _signum: int, _frame: FrameType | None) -> None:
        # The request that was to be interrupted may have ended since.
        if self._interruptible and self._stop_up_to >= self._current:
            self._interruptible = False
            raise KeyboardInterrupt

    def _send(self, event: protocol.Event) -> None:
        with self._sending:
            try:
                self._events.write(protocol.encode(event))
                self._events.flush()
            except BrokenPipeError:
                os._exit(0)


def _at_most(n: int | None, items: Generator[Any, None, None]) -> Generator[Any, None, None]:
    """What comes up to the n-th report."""
    with contextlib.closing(items):
        reports = 0
        while n is None or reports < n:
            try:
                item = next(items)
            except StopIteration:
                return
            reports += isinstance(item, TokenReport)
            yield item


def _told(error: Exception) -> dict[str, str]:
    """An error as Failed and Refused tell it; all of it goes to the log."""
    traceback.print_exc()
    known = isinstance(error, SaeTuiError)
    return {
        "kind": type(error).__name__,
        "message": error.message if known else sentence(error, "steering/engine.log"),
        "hint": error.hint if known else "",
    }

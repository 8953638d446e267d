"""The engine: a process that holds a model and an SAE, and answers requests on a pipe.

It ends when its requests end: when whoever asks is gone, however it went. Nothing a library prints reaches
the protocol. Knows of the work only what `Backend` says.
"""

import contextlib
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, Protocol, TypeVar

from core.engine import protocol
from core.errors import SaeTuiError, sentence
from core.records import FiringToken, Progress, TokenReport
from core.session import Session
from core.steering.interventions import GenerationRequest
from core.steering.transcript import MadeWith

T = TypeVar("T")
Loader = Generator[Progress, None, tuple[Any, Any]]
"""Its return value: the language model and the SAE."""


class Backend(Protocol):
    """The work. Whatever may take long yields, and ends when it is closed."""

    def load(self) -> Generator[Progress, None, None]:
        """protocol.Load all there is to load."""
        ...

    def made_with(self) -> MadeWith:
        """What a transcript must record of this process."""
        ...

    def generate(self, request: GenerationRequest) -> Generator[TokenReport, None, None]:
        """A report for each token."""
        ...

    def firing(self, text: str, top: int) -> list[FiringToken]:
        """The tokens of `text` and the `top` features on each."""
        ...


class ModelBackend:
    """A session's model and SAE, and the scales of its features where they were analysed."""

    def __init__(self, session: Session, load: Callable[[Session], Loader]) -> None:
        # torch: here and not on demand, for an import that a stop interrupts cannot be taken up again.
        from core.steering import generate

        self._session = session
        self._load = load
        self._steering = generate
        self._config = session.config().tokens

    def load(self) -> Generator[Progress, None, None]:
        """Model and SAE, from the session's configuration and folder."""
        self._model, self._sae = yield from self._load(self._session)

    def made_with(self) -> MadeWith:
        """What this process computes with."""
        return self._steering.made_with(self._model, self._session.name)

    def generate(self, request: GenerationRequest) -> Generator[TokenReport, None, None]:
        """Baseline and steered text."""
        from core.analysis.store import strengths

        scales = strengths(self._session, request.interventions)
        yield from self._steering.generate(self._model, self._sae, request, self._config, scales)

    def firing(self, text: str, top: int) -> list[FiringToken]:
        """What fires on a text."""
        return self._steering.firing(self._model, self._sae, text, self._config, top)


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
        self._stop_up_to = 0
        self._current = 0
        self._interruptible = False
        self._loaded = False

    def run(self, make_backend: Callable[[], Backend]) -> None:
        signal.signal(signal.SIGINT, self._interrupt)
        threading.Thread(target=self._hear, daemon=True, name="requests").start()
        backend = make_backend()
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
            case protocol.Ping():
                self._send(protocol.Pong(id=message.id))
            case protocol.Load() | protocol.Generate() | protocol.Tokens():
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
            traceback.print_exc()
            known = isinstance(error, SaeTuiError)
            self._send(
                protocol.Failed(
                    id=message.id, kind=type(error).__name__, hint=error.hint if known else "",
                    message=error.message if known else sentence(error, "steering/engine.log"),
                )
            )  # fmt: skip
            return
        self._send(protocol.Done(id=message.id, stopped=stopped))

    def _load(self, backend: Backend) -> bool:
        """Whether all is loaded, rather than stopped."""
        if not self._loaded:
            self._loaded = self._each(
                backend.load(), lambda progress: protocol.Loading(id=self._current, progress=progress)
            )
        return self._loaded

    def _answer(self, message: protocol.Request, backend: Backend) -> bool:
        """Whether the request was served to its end, rather than stopped."""
        self._send(protocol.Started(id=message.id, made_with=backend.made_with()))
        match message:
            case protocol.Generate():
                steps = backend.generate(message.request)
                return self._each(steps, lambda report: protocol.Step(id=message.id, report=report))
            case protocol.Tokens():
                tokens = (backend.firing(*asked) for asked in [(message.text, message.top)])
                return self._each(tokens, lambda found: protocol.Firing(id=message.id, tokens=tuple(found)))
        return True

    def _each(self, items: Generator[T, None, None], event: Callable[[T], protocol.Event]) -> bool:
        """Send an event for each item as it comes: to the last (True), or until a stop is wanted (False)."""
        with contextlib.closing(items):
            while self._stop_up_to < self._current:
                found = self._next(items)
                if not found:
                    return True
                self._send(event(found[0]))
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

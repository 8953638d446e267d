"""Who talks to the engine: starts its process when it is needed, streams its answers, stops it, outlives it.

Owns that process' life. Knows no torch, and nothing of what a model does.
"""

import contextlib
import itertools
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Generator, Iterator, Sequence

from core import child, errors
from core.engine import protocol
from core.errors import EngineError, SaeTuiError
from core.records import FiringToken, Progress
from core.session import LOG_HEAD, Session
from core.steering.interventions import GenerationRequest, Intervention
from core.steering.transcript import Change
from core.storage import tail

INTERRUPT_AFTER_S = 0.3
"""A stop that was not answered by then is made a SIGINT."""
KILL_AFTER_S = 2.0
"""One that was not answered by then ends the engine."""


class Engine:
    """The engine of one session. Its process begins with the first request, and anew when it has died.

    One request at a time; `stop`, `change`, `ping` and `close` may come from any thread. To close an iterator that
    a request returned is to stop the request.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._process: _Process | None = None
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

    def generate(self, request: GenerationRequest, changes: Sequence[Change] = ()) -> Iterator[protocol.Event]:
        """Loading events where it must load, then Started, a Step for each token, and Done.

        `changes` replace the request's interventions while it streams, each from the token of its index on, as
        `change` does: then a Changed comes ahead of that token's Step. A change that cannot be is a Refused.
        Raises EngineError where the engine dies or is busy, and what the engine says is wrong.
        """
        return self._ask(lambda n: protocol.Generate(id=n, request=request, changes=tuple(changes)))

    def change(self, interventions: Sequence[Intervention]) -> bool:
        """Give the generation that runs other interventions, from its next token on; whether one runs.

        What comes of it is told in the generation's own events: Changed or Refused.
        """
        return self._process is not None and self._process.change(tuple(interventions))

    def firing(self, text: str, top: int = 10, then: Sequence[int] = ()) -> tuple[FiringToken, ...]:
        """The tokens of a text, and those that come `then`, and the `top` features on each.

        `()` where stopped. Raises as `generate`.
        """
        found: tuple[FiringToken, ...] = ()
        for event in self._ask(lambda n: protocol.Tokens(id=n, text=text, top=top, then=tuple(then))):
            if isinstance(event, protocol.Firing):
                found = event.tokens
        return found

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
                process = self._process = _Process(self._session)
            if not (yield from _answers(process, message, starting=True)):
                raise process.death()
        finally:
            self._turn.release()


def _answers(
    process: "_Process", message: protocol.Request, starting: bool = False
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


class _Process:
    """One engine process, and the thread that reads its events and clears up after it.

    Its threads sleep while they wait for each other: those that spin take the cores from a training job beside them,
    and where all cores are busy make ten times fewer tokens.
    """

    def __init__(self, session: Session) -> None:
        self._log = session.steering_dir / "engine.log"
        session.steering_dir.mkdir(exist_ok=True)
        with self._log.open("ab") as log:
            log.write(f"{LOG_HEAD}engine\n".encode())
            log.flush()
            self._popen = subprocess.Popen(
                child.command("engine", session.path), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=log, env=child.environment(OMP_WAIT_POLICY="passive"), start_new_session=True,
            )  # fmt: skip
        self.stopping = False
        self._current = 0
        self._generates = False
        self._events: queue.SimpleQueue[protocol.Event | None] = queue.SimpleQueue()
        self._sending = threading.Lock()
        self._ending = threading.Lock()  # between the end of a request and a signal, which would hit the next
        self._idle = threading.Event()
        self._idle.set()
        self._heard = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True, name="engine")
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def lives(self) -> bool:
        return self._reader.is_alive() and self._popen.poll() is None

    def begin(self, message: protocol.Request) -> None:
        with self._ending:
            self.stopping, self._current = False, message.id
            self._generates = isinstance(message, protocol.Generate)
            self._idle.clear()
        self._send(message)

    def next_event(self) -> protocol.Event | None:
        """The next event, waited for as long as the process lives; None when it has died."""
        event = None
        while event is None and self.lives:
            with contextlib.suppress(queue.Empty):
                event = self._events.get(timeout=0.2)
        if event is None:
            self._reader.join(0.5)  # it reads what was said last, unless something else holds the pipe open
            with contextlib.suppress(queue.Empty):
                event = self._events.get_nowait()
        if event is None:
            self._end()
        return event

    def stop(self) -> None:
        with self._ending:
            if self._idle.is_set():
                return
            self.stopping = True
        self._send(protocol.Stop(id=self._current))
        if self._idle.wait(INTERRUPT_AFTER_S):
            return
        with self._ending:
            if not self._idle.is_set():
                self._popen.send_signal(signal.SIGINT)
        if not self._idle.wait(KILL_AFTER_S - INTERRUPT_AFTER_S):
            self._popen.kill()
            self._popen.wait()

    def change(self, interventions: tuple[Intervention, ...]) -> bool:
        with self._ending:
            hears = self._generates and not self._idle.is_set()
            message = protocol.Change(id=self._current, interventions=interventions)
        if hears:
            self._send(message)
        return hears

    def ping(self, n: int, timeout_s: float) -> bool:
        self._heard.clear()
        self._send(protocol.Ping(id=n))
        return self._heard.wait(timeout_s)

    def close(self) -> None:
        with self._ending:
            self.stopping = True
        self._hang_up()
        try:
            self._popen.wait(KILL_AFTER_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._reader.join(KILL_AFTER_S)

    def death(self) -> EngineError:
        """What to say of a process that died by itself."""
        code = self._popen.wait()
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        (line,) = tail(self._log, 1) or (LOG_HEAD,)
        said = "" if line.startswith(LOG_HEAD) else f", saying {line!r}"
        return EngineError(
            f"the engine died {how}{said}", hint="the next request starts another; see steering/engine.log"
        )

    def _send(self, message: protocol.Request) -> None:
        assert self._popen.stdin is not None
        if not self._sending.acquire(timeout=INTERRUPT_AFTER_S):
            return  # the engine does not read: a kill is all it will hear
        try:
            with contextlib.suppress(OSError, ValueError):  # it is dead, or the pipe closed already
                self._popen.stdin.write(protocol.encode(message))
                self._popen.stdin.flush()
        finally:
            self._sending.release()

    def _hang_up(self) -> None:
        assert self._popen.stdin is not None
        if not self._sending.acquire(timeout=INTERRUPT_AFTER_S):
            self._popen.kill()  # which ends the write that holds the lock
            self._sending.acquire()
        try:
            with contextlib.suppress(OSError):
                self._popen.stdin.close()
        finally:
            self._sending.release()

    def _end(self) -> None:
        with self._ending:
            self._idle.set()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as lines:
            for line in lines:
                try:
                    event = protocol.decode(line)
                except (ValueError, SaeTuiError):
                    continue  # printed before the engine had moved the protocol away
                if isinstance(event, protocol.Pong):
                    self._heard.set()
                elif isinstance(event, protocol.Event):
                    self._events.put(event)
                    if isinstance(event, protocol.Done | protocol.Failed) and event.id == self._current:
                        self._end()
        self._popen.kill()
        self._popen.wait()
        self._hang_up()
        self._end()
        self._events.put(None)

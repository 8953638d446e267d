"""One engine process: begun, asked, heard, stopped, ended. Owns its life, and knows of requests only their ids.

Knows no torch.
"""

import contextlib
import queue
import signal
import subprocess
import threading

from core import child
from core.engine import protocol
from core.errors import EngineError, SaeTuiError
from core.session import LOG_HEAD, Session
from core.steering.interventions import Intervention
from core.storage import tail

INTERRUPT_AFTER_S = 0.3
"""A stop that was not answered by then is made a SIGINT."""
KILL_AFTER_S = 2.0
"""One that was not answered by then ends the engine."""


class Process:
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
        """Its number."""
        return self._popen.pid

    @property
    def lives(self) -> bool:
        """Whether it can be asked."""
        return self._reader.is_alive() and self._popen.poll() is None

    def begin(self, message: protocol.Request) -> None:
        """Ask it: the request that `stop` and `change` are about from now on."""
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
        """End the request that runs, or, where it does not hear, the process. Takes 2 s at most."""
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
        """Give the generation that runs other interventions; whether one runs."""
        with self._ending:
            hears = self._generates and not self._idle.is_set()
            message = protocol.Change(id=self._current, interventions=interventions)
        if hears:
            self._send(message)
        return hears

    def ping(self, n: int, timeout_s: float) -> bool:
        """Whether it hears, asked with this id."""
        self._heard.clear()
        self._send(protocol.Ping(id=n))
        return self._heard.wait(timeout_s)

    def close(self) -> None:
        """End it, whatever it does."""
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

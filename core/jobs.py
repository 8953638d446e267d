"""Jobs: long work for a session, in a process that outlives whoever started it.

Starts one, stops it, follows its log; and `Running`, which a job lives in: it alone writes `status.json` and
its lock, and hears `control.json` and the signals. Knows nothing of the work itself: that is an iterator of
records.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, replace
from types import FrameType, TracebackType
from typing import Any, Literal

import psutil

from core import child, lock
from core.errors import RunError, SaeTuiError, SessionError, sentence
from core.log import Log
from core.records import Evaluation, Notice, Progress, StepReport
from core.session import LOG_HEAD, Session
from core.status import Observed, Status, process_lives
from core.storage import tail as tail_of

Verb = Literal["train", "analyze", "evaluate"]
Record = Progress | Notice | StepReport | Evaluation

THEN = ("--then", "evaluate", "--then", "analyze")
"""Arguments for `start(session, "train", …)`: what makes a session complete, with the model loaded once."""
SWEEP = "--sweep"
"""Argument for `start`: what is missing of the others in the session's sweep is done after it, in the same process."""
WRITE_S = 0.25
"""Least time between two writes of `status.json` within a phase."""
HEARTBEAT_S = 5.0
POLL_S = 0.1
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(2**26),
}
"""glibc keeps freed memory instead of faulting it in page by page for each large temporary."""


def start(session: Session, verb: Verb, args: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """Start `verb` as a detached process, and write its status once, as `queued`, before it begins.

    Poll what is returned now and then: it is a child, and stays a zombie until it is polled or this process
    ends. Raises SessionError where a job has the session.
    """
    with lock.alone(session):
        lock.require_free(session)
    with session.log_path.open("ab") as log:
        log.write(f"{LOG_HEAD}{verb}, {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
        log.flush()
        # The shell keeps the process from beginning until its status and its lock are written; it ends with
        # nothing done where this process dies before.
        process = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r go && exec "$@" </dev/null', "sh",
             *child.command(verb, session.path, *args)],
            stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, bufsize=0,
            start_new_session=True, env=child.environment(**MALLOC),
        )  # fmt: skip
    assert process.stdin is not None
    try:
        status = Status.of_process(verb, "queued", process.pid)
        with lock.alone(session):
            lock.take(session, status)
            session.want("run")
            session.write_status(status)
        with contextlib.suppress(BrokenPipeError):  # killed already: it shows as failed
            process.stdin.write(b"go\n")
    except BaseException:
        process.stdin.close()
        process.wait()
        raise
    process.stdin.close()
    return process


def stop(session: Session, timeout_s: float = 60.0) -> Observed:
    """Ask the job to stop, wait until it has ended or `timeout_s` is over, and say what is seen then.

    Works by `control.json` on any host, and by SIGTERM on this one. Raises SessionError where nothing runs.
    """
    seen = session.observed()
    if not seen.active:
        raise SessionError(f"no job runs in session {session.name!r}", hint=f"its state is {seen.state}")
    session.want("stop")
    told, deadline = False, time.monotonic() + timeout_s
    while seen.active and time.monotonic() < deadline:
        status = session.status()
        # A queued one has no handlers yet: the signal would kill it. It reads control.json first thing.
        here = status.state in ("running", "paused") and status.host == socket.gethostname()
        if not told and here and process_lives(status):
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(status.pid).terminate()
            told = True
        time.sleep(POLL_S)
        seen = session.observed()
    return seen


def tail(session: Session, n: int) -> list[str]:
    """The last `n` lines of the log that say something."""
    return tail_of(session.log_path, n)


def follow(session: Session, last: int = 10) -> Iterator[str]:
    """The `last` lines of the log, then each new one as it comes, until no job is active."""
    log = Log(session.log_path)
    yield from [line for line in log.read() if line.strip()][-last:]
    while True:
        active = session.observed().active  # before reading: what it wrote last is then read too
        yield from log.read()
        if not active:
            break
        time.sleep(POLL_S)
    yield from filter(None, [log.rest()])


def run(session: Session, verb: Verb, records: Iterator[Record]) -> Iterator[Record]:
    """The work as a job of this process: hands every record on, and closes `records` when a stop is wanted.

    Raises what the work raises, after `status.json` says it; SessionError where another job has the session.
    """
    return chain(session, [verb], lambda _: records)


def chain(session: Session, verbs: Sequence[Verb], work: Callable[[Verb], Iterator[Record]]) -> Iterator[Record]:
    """One job after another in this process, as `run`: `work(verb)` is asked for when it is that verb's turn.

    `status.json` tells of the verb at work; the session is held from the first to the last, so that none can come
    between. A stop, or an error, ends them all.
    """
    with Running(session, verbs[0]) as job:
        for verb in verbs:
            if job.should_stop():
                return
            job.begin(verb)
            records = work(verb)
            try:
                for record in records:
                    job.note(record)
                    yield record
                    if job.should_stop():
                        break
            finally:
                if isinstance(records, Generator):
                    records.close()


class Running:
    """The job that this process is, while the block lasts. Enter and leave it in the main thread."""

    def __init__(self, session: Session, verb: Verb) -> None:
        self._session = session
        self._status = Status(job=verb)
        self._mutex = threading.Lock()  # for the status and its file: the work's thread and the heartbeat's
        self._dirty = False
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True, name="heartbeat")
        self._handlers: dict[int, Any] = {}
        self._signals = 0
        self._leaving = self._lost = self._stopping = False
        self._stamp: tuple[int, int] | None = None
        self._want = "run"

    def __enter__(self) -> "Running":
        session = self._session
        self._status = replace(Status.of_process(self._status.job, "running", os.getpid()), phase="starting")
        with lock.alone(session):
            adopted = lock.take(session, self._status)
            try:
                if not adopted:  # else the starter did, and a person may have asked for a stop since
                    session.want("run")
                for signum in SIGNALS:
                    if signal.getsignal(signum) is not signal.SIG_IGN:  # nohup and `&` stay as they are
                        self._handlers[signum] = signal.signal(signum, self._signalled)
                session.write_status(self._status)
                lock.sweep(session)
            except BaseException:
                self._restore_handlers()
                session.lock_path.unlink(missing_ok=True)
                raise
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving = True
        self._ended.set()
        self._heart.join()
        if error is None:
            state, words = "stopped" if self._stopping else "done", ""
        elif isinstance(error, KeyboardInterrupt | GeneratorExit):
            state, words = "stopped", ""
        else:
            state, words = "failed", sentence(error)
        if state == "failed" and not isinstance(error, SaeTuiError):
            with contextlib.suppress(OSError), self._session.log_path.open("a", encoding="utf-8") as file:
                traceback.print_exception(error, file=file)
        with contextlib.suppress(OSError), lock.alone(self._session):
            if lock.held(self._session, self._status):
                self._write_last(replace(self._status, state=state, error=words, heartbeat=time.time()))
                self._session.lock_path.unlink()
        self._restore_handlers()

    def begin(self, verb: Verb) -> None:
        """The status is about `verb` from now on, if it was about another one."""
        if verb != self._status.job:
            now = time.time()
            fresh = Status(job=verb)
            change = {name: getattr(fresh, name) for name in ("job", "done", "total", "unit", "step", "steps")}
            self._update(True, **change, phase="starting", started=now, progress_at=now)

    def note(self, record: Record) -> None:
        """Take what the work reports into the status. Waits while a pause is wanted."""
        change: dict[str, Any] = {}
        match record:
            case Progress():
                change = {name: getattr(record, name) for name in ("phase", "done", "total", "unit")}
            case StepReport():
                change = {"step": record.step, "steps": record.steps}
        new_phase = change.get("phase", self._status.phase) != self._status.phase
        self._update(new_phase, progress_at=time.time(), **change)
        self._wait_while_paused()

    def should_stop(self) -> bool:
        """Whether to end now. Waits while a pause is wanted. Raises RunError where the lock is lost."""
        self._wait_while_paused()
        if self._lost:
            raise RunError(
                "this job no longer holds its session",
                hint="its folder was removed, or another process took it over after a long silence",
            )
        self._stopping = self._wanted() == "stop"
        return self._stopping

    def _wait_while_paused(self) -> None:
        while self._wanted() == "pause":
            if self._status.state != "paused":
                self._update(True, state="paused")
            time.sleep(POLL_S)
        if self._status.state == "paused":
            self._update(True, state="running", progress_at=time.time())

    def _wanted(self) -> str:
        if self._signals or self._lost:
            return "stop"
        try:
            found = self._session.control_path.stat()
        except OSError:
            return "run"
        stamp = (found.st_mtime_ns, found.st_ino)
        if stamp != self._stamp:
            self._stamp, self._want = stamp, self._session.wanted()
        return self._want

    def _signalled(self, _signum: int, _frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1 and not self._leaving:
            raise KeyboardInterrupt

    def _restore_handlers(self) -> None:
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)

    def _update(self, write: bool, **change: Any) -> None:
        with self._mutex:
            self._status = replace(self._status, **change)
            self._dirty = True
            if write:
                self._write()

    def _write(self) -> None:
        """Write the status; the mutex is held. A full disk is for the work itself to meet."""
        # psutil's start time moves with the clock: renewed, so that a corrected clock does not end the job.
        started = psutil.Process().create_time()
        self._status = replace(self._status, heartbeat=time.time(), pid_started=started)
        self._dirty = False
        if not self._lost:
            with contextlib.suppress(OSError):
                self._session.write_status(self._status)

    def _write_last(self, status: Status) -> None:
        try:
            self._session.write_status(status)
        except OSError:
            # A full disk has no room for a second file; the first one's block can still be written over.
            with self._session.status_path.open("r+", encoding="utf-8") as file:
                file.write(json.dumps(asdict(status)))
                file.truncate()

    def _beat(self) -> None:
        """The heartbeat; also writes what `note` left unwritten, and sees whether the lock was lost."""
        checked = time.monotonic()
        while not self._ended.wait(WRITE_S):
            if time.monotonic() - checked >= HEARTBEAT_S:
                checked = time.monotonic()
                self._lost = not lock.held(self._session, self._status)
                self._dirty = True
            if self._dirty:
                with self._mutex:
                    self._write()

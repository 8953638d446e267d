"""What a session's newest job says of itself, and what is seen of it: a dead job cannot write that it is dead.

Alone looks at processes, boots and hosts to tell running from interrupted, silent and hung.
"""

import socket
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from core.storage import read_json

ACTIVE = ("queued", "running", "paused")
SILENT_AFTER_S = 60.0
"""A job on another host whose heartbeat is older is called silent."""
HUNG_AFTER_S = 180.0
"""A job that beats but has not progressed for longer is called hung."""


def boot_id() -> str:
    """What tells this boot of this machine from any other; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """`status.json`: the newest job of a session, as it described itself last."""

    job: str = ""
    """train, analyze, evaluate or import; empty where no job ever ran."""
    state: str = "new"
    """new, queued, running, paused, done, failed or stopped, as written."""
    phase: str = ""
    done: float = 0.0
    total: float | None = None
    unit: str = ""
    pid: int = 0
    pid_started: float = 0.0
    """The process' start, in seconds since the epoch: tells a reused pid."""
    host: str = ""
    boot: str = ""
    started: float = 0.0
    heartbeat: float = 0.0
    """Written every few seconds by a thread, whatever the work does."""
    progress_at: float = 0.0
    """When the work itself last reported."""
    step: int = 0
    steps: int = 0
    error: str = ""
    """One sentence: what went wrong and what to do."""

    @classmethod
    def of_process(cls, job: str, state: str, pid: int) -> "Status":
        """A status for the process `pid` on this machine, begun now."""
        import psutil  # here: what only reads a finished session need not wait for it

        now = time.time()
        try:
            pid_started = psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            pid_started = now
        return cls(
            job=job, state=state, pid=pid, pid_started=pid_started, host=socket.gethostname(),
            boot=boot_id(), started=now, heartbeat=now, progress_at=now,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A session's state as it is now, which a dead job cannot write itself."""

    state: str
    """One of Status.state, or interrupted (its process is gone) or silent (on another host, no heartbeat)."""
    note: str = ""
    """What a person should know besides, e.g. that a running job hangs."""

    @property
    def active(self) -> bool:
        """Whether a job holds the session, as far as can be seen."""
        return self.state in (*ACTIVE, "silent")


def observe(status: Status, now: float | None = None) -> Observed:
    """What `status` means now: looks for the process on its own host, at the heartbeat from elsewhere."""
    now = time.time() if now is None else now
    if status.state not in ACTIVE:
        return Observed(state=status.state, note=status.error)
    if status.host != socket.gethostname():
        age = now - status.heartbeat
        if age > SILENT_AFTER_S:
            return Observed(state="silent", note=f"no sign of life from {status.host} for {age:.0f} s")
        return Observed(state=status.state, note=f"on {status.host}")
    if not process_lives(status):
        return Observed(state="interrupted", note="its process is gone; its files are as it left them")
    if status.state == "running" and now - status.progress_at > HUNG_AFTER_S:
        return Observed(
            state=status.state,
            note=f"hung? it lives but has not progressed for {now - status.progress_at:.0f} s",
        )
    return Observed(state=status.state)


def process_lives(status: Status) -> bool:
    """Whether the very process that `status` names still runs: same boot, same start, no zombie."""
    if status.boot != boot_id():
        return False
    import psutil

    try:
        process = psutil.Process(status.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(process.create_time() - status.pid_started) <= 2.0
    except psutil.NoSuchProcess:
        return False


def read_status(path: Path) -> Status:
    """The status in a file; a torn or missing one reads as `new`, a value of another kind as if it were not there."""
    values = read_json(path)
    kinds = {f.name: type(f.default) if isinstance(f.default, int | str) else int | float for f in fields(Status)}
    found: dict[str, Any] = {k: v for k, v in values.items() if k in kinds and isinstance(v, kinds[k])}
    return Status(**found)

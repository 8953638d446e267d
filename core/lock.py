"""`job.lock`: one job at a time in a session, whichever process or host it is on.

Made with O_EXCL; holds the status of the process it stands for. A lock is stale when that process is gone,
or, on another host, when its heartbeat is older than `session.SILENT_AFTER_S`.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace

from core.errors import SessionError
from core.session import Session
from core.status import ACTIVE, Status, observe, read_status


@contextlib.contextmanager
def alone(session: Session) -> Iterator[None]:
    """While the block lasts, no other process is in one: to look at the lock and status, then change them."""
    with session.log_path.open("ab") as file:
        # Without flock on a file system, only the takeover of a stale lock is a race; O_EXCL holds the rest.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)


def require_free(session: Session) -> None:
    """Raises SessionError where a job has the session. To be called `alone`."""
    if (holder := _holder(session)) is not None:
        raise SessionError(
            f"session {session.name!r} has a job running: {holder.job}, process {holder.pid}, {holder.host}",
            hint=f"wait for it, or `sae-tui stop {session.name}`",
        )


def take(session: Session, mine: Status) -> bool:
    """Make the lock stand for `mine`, and say whether it already did, `queued` by who started this process.

    Of several processes it is torchrun that was queued, whose child this one is. To be called `alone`. Raises
    SessionError where another has it.
    """
    holder = _holder(session)
    started = (mine, replace(mine, pid=os.getppid()))
    queued = holder is not None and holder.state == "queued" and any(same_process(holder, each) for each in started)
    if not queued:
        require_free(session)
    session.lock_path.unlink(missing_ok=True)
    with session.lock_path.open("x", encoding="utf-8") as file:
        json.dump(asdict(mine), file)
    return queued


def held(session: Session, mine: Status) -> bool:
    """Whether the lock stands for `mine` still; a file that cannot be read just now does."""
    try:
        if not session.lock_path.exists():
            return False
    except OSError:
        return True
    lock = read_status(session.lock_path)
    return lock.pid == 0 or same_process(lock, mine)


def same_process(one: Status, other: Status) -> bool:
    """Whether two statuses are of the same process, where both are known to be new."""
    return (one.host, one.boot, one.pid) == (other.host, other.boot, other.pid)


def sweep(session: Session) -> None:
    """Remove what a killed job left half-written. For the holder of the lock alone."""
    written = [
        session.status_path, session.evaluation_path, session.metrics_path, session.sae_dir, session.database_path,
    ]  # fmt: skip
    found = [p for path in written for p in session.path.glob(f".{path.name}.*")]
    for scratch in [*found, *session.checkpoints_dir.glob(".*")]:
        shutil.rmtree(scratch, ignore_errors=True)


def _holder(session: Session) -> Status | None:
    """The job that has the session, as far as can be seen: by the lock, or by the status if that is lost."""
    lock, status = read_status(session.lock_path), session.status()
    if same_process(lock, status):  # the status is written on, the lock is not
        beat = max(lock.heartbeat, status.heartbeat)
        lock = replace(lock, job=status.job, pid_started=status.pid_started, heartbeat=beat)
    return next((claim for claim in (lock, status) if observe(claim).state in ACTIVE), None)

"""A session: one SAE's folder under `sessions/`, the interface between all processes.

Owns every path and file name in it, its name's rules, the status of its job as written and as observed, and
atomic replacement. One kind of writer for each file: the job writes `status.json`, `metrics.jsonl`, `sae/`,
`checkpoints/`, `features.duckdb`, `evaluation.json`; the workbench `control.json` and `labels.jsonl`; the engine
`steering/`.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import psutil

from core import config as configs
from core.errors import ConfigError, SessionError, nearest

LOG_HEAD = "== "
"""What the line begins with that a starter writes to `log.txt` ahead of a job."""
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
ACTIVE = ("queued", "running", "paused")
SILENT_AFTER_S = 60.0
"""A job on another host whose heartbeat is older is called silent."""
HUNG_AFTER_S = 180.0
"""A job that beats but has not progressed for longer is called hung."""


def default_root() -> Path:
    """Where sessions live: `SAE_TUI_SESSIONS`, or `sessions` in the working folder."""
    return Path(os.environ.get("SAE_TUI_SESSIONS") or "sessions")


def replace_file(path: Path, text: str) -> None:
    """Put `text` at `path` atomically: written beside, synced, renamed, folder synced."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file or a folder at; renamed over `path` when the block ends well.

    A folder that is replaced is moved aside first and removed after. On an error nothing changes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    beside = scratch / path.name
    try:
        yield beside
        for file in [beside, *beside.rglob("*")] if beside.is_dir() else [beside]:
            _sync(file)
        if path.is_dir():
            path.rename(scratch / "old")
        beside.replace(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
    try:
        process = psutil.Process(status.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(process.create_time() - status.pid_started) <= 2.0
    except psutil.NoSuchProcess:
        return False


class Session:
    """A session's folder. Cheap to make; touches the disk only when asked."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    config_path = property(lambda self: self.path / "config.toml")
    status_path = property(lambda self: self.path / "status.json")
    control_path = property(lambda self: self.path / "control.json")
    lock_path = property(lambda self: self.path / "job.lock")
    evaluation_path = property(lambda self: self.path / "evaluation.json")
    metrics_path = property(lambda self: self.path / "metrics.jsonl")
    log_path = property(lambda self: self.path / "log.txt")
    checkpoints_dir = property(lambda self: self.path / "checkpoints")
    sae_dir = property(lambda self: self.path / "sae")
    activations_dir = property(lambda self: self.path / "activations")
    database_path = property(lambda self: self.path / "features.duckdb")
    labels_path = property(lambda self: self.path / "labels.jsonl")
    steering_dir = property(lambda self: self.path / "steering")

    @classmethod
    def create(cls, root: Path, name: str, config: configs.RunConfig) -> "Session":
        """A new session's folder with its configuration. Raises SessionError; leaves nothing half-made."""
        session = cls(root / unused_name(root, name))
        with replacing(session.path) as beside:
            beside.mkdir()
            (beside / session.config_path.name).write_text(configs.to_toml(config), encoding="utf-8")
        return session

    @classmethod
    def open(cls, root: Path, name: str) -> "Session":
        """An existing session. Raises SessionError naming the nearest one there is."""
        session = cls(root / checked_name(name))
        if not session.config_path.is_file():
            known = [s.name for s in listing(root)]
            if session.path.is_dir() and any(session.path.iterdir()):
                raise SessionError(
                    f"session {name!r} has no config.toml",
                    hint=f"its folder is torn; look into {session.path}",
                )
            hint = nearest(name, known) if known else "`sae-tui demo` makes a first one"
            raise SessionError(f"there is no session {name!r} in {root}", hint=hint)
        return session

    def config(self) -> configs.RunConfig:
        """The run as configured. Raises ConfigError where the file is torn."""
        return configs.read(self.config_path)

    def status(self) -> Status:
        """As last written; a torn or missing file reads as `new`."""
        return read_status(self.status_path)

    def write_status(self, status: Status) -> None:
        """Replace `status.json` atomically."""
        replace_file(self.status_path, json.dumps(asdict(status), indent=1))

    def observed(self) -> Observed:
        """The state as it is now. A job that died before it could write anything itself has failed."""
        status = self.status()
        seen = observe(status)
        if seen.state != "interrupted" or status.state != "queued":
            return seen
        (line,) = tail(self.log_path, 1) or ("",)
        why = "" if line.startswith(LOG_HEAD) else f": {line}"
        return Observed(state="failed", note=f"the job died before it began{why}")

    def wanted(self) -> str:
        """What a person wants of the job: run, pause or stop."""
        return str(read_json(self.control_path).get("want", "run"))

    def want(self, what: str) -> None:
        """Ask the job to run, pause or stop."""
        replace_file(self.control_path, json.dumps({"want": what}))

    def append_metrics(self, report: dict[str, Any]) -> None:
        """One line to `metrics.jsonl`, in one write."""
        with self.metrics_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(report) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Every whole line of `metrics.jsonl`; a torn last line is left out."""
        return read_lines(self.metrics_path)

    def weights_dir(self) -> Path:
        """The folder with the SAE to use: the finished one, else the newest checkpoint. Raises SessionError."""
        if (self.sae_dir / "sae_weights.safetensors").is_file():
            return self.sae_dir
        steps = sorted((int(p.name) for p in self.checkpoints_dir.glob("*") if p.name.isdigit()), reverse=True)
        if not steps:
            raise SessionError(
                f"session {self.name!r} has no trained SAE yet",
                hint=f"its state is {self.observed().state}; see `sae-tui logs {self.name}`",
            )
        return self.checkpoints_dir / str(steps[0])

    def size_bytes(self) -> int:
        """Bytes on disk of everything in the folder."""
        return sum(p.lstat().st_size for p in self.path.rglob("*") if p.is_file())

    def summary(self) -> dict[str, Any]:
        """The session for `show` and `ls`: name, state, progress, headline numbers, what exists."""
        status, seen = self.status(), self.observed()
        evaluation = read_json(self.evaluation_path)
        latest = last_line(self.metrics_path)
        return {
            "name": self.name,
            "job": status.job,
            "state": seen.state,
            "note": seen.note,
            "phase": status.phase,
            "step": latest.get("step", 0),
            "steps": self._steps() if latest else 0,
            "error": seen.note if seen.state == "failed" else status.error,
            "started": status.started,
            "has_sae": (self.sae_dir / "sae_weights.safetensors").is_file(),
            "has_features": self.database_path.is_file(),
            "latest": latest,
            "evaluation": evaluation,
            "size_bytes": self.size_bytes(),
        }

    def _steps(self) -> int:
        try:
            return self.config().steps
        except ConfigError:
            return 0

    def delete(self) -> None:
        """Remove the folder. Raises SessionError while a job runs in it; one silent elsewhere is not waited for."""
        if self.observed().state in ACTIVE:
            raise SessionError(f"session {self.name!r} has a job running", hint=f"`sae-tui stop {self.name}` first")
        if self.path.is_symlink():
            self.path.unlink()
        else:
            shutil.rmtree(self.path)


def checked_name(name: str) -> str:
    """`name`, where it may name a session. Raises SessionError."""
    if not NAME.fullmatch(name):
        raise SessionError(
            f"{name!r} cannot name a session",
            hint="use small letters, digits, '.', '_' and '-', beginning with a letter or digit",
        )
    return name


def unused_name(root: Path, name: str) -> str:
    """`name`, where it may name a new session in `root`. Raises SessionError."""
    if (root / checked_name(name)).exists():
        raise SessionError(
            f"a session {name!r} already exists in {root}",
            hint=f"choose another name, or remove it with `sae-tui rm {name}`",
        )
    return name


def free_name(root: Path, stem: str) -> str:
    """`stem`, or `stem-2`, `stem-3` and so on: the first that no session has."""
    name, n = stem, 1
    while (root / name).exists():
        n += 1
        name = f"{stem}-{n}"
    return name


def listing(root: Path) -> list[Session]:
    """Every session in `root`, newest first."""
    if not root.is_dir():
        return []
    found = [Session(p) for p in root.iterdir() if NAME.fullmatch(p.name)]
    found = [s for s in found if s.config_path.is_file()]
    return sorted(found, key=lambda s: s.config_path.stat().st_mtime, reverse=True)


def read_status(path: Path) -> Status:
    """The status in a file; a torn or missing one reads as `new`."""
    values = read_json(path)
    known = {f.name for f in fields(Status)}
    return Status(**{k: v for k, v in values.items() if k in known})


def tail(path: Path, n: int) -> list[str]:
    """The last `n` lines of a text file that are not blank, read from its end; none without a file."""
    found: list[bytes] = []
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        start = file.seek(0, os.SEEK_END)
        text = b""
        while start > 0 and len(found) <= n:
            step = min(start, 65_536)
            start -= step
            file.seek(start)
            text = file.read(step) + text
            found = [line for line in text.splitlines() if line.strip()]
    return [line.decode("utf-8", errors="replace") for line in found[max(0, len(found) - n) :]]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty where the file is missing or torn."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; a torn line (the last, after a crash) is left out."""
    found = []
    with contextlib.suppress(FileNotFoundError), path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
    return found


def last_line(path: Path) -> dict[str, Any]:
    """The last whole object of a JSON-lines file, read from its end; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 65_536))
            lines = file.read().splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        with contextlib.suppress(ValueError):
            return json.loads(line)
    return {}

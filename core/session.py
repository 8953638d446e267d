"""A session: one SAE's folder under `sessions/`, the interface between all processes.

Owns every path and file name in it and its name's rules. One kind of writer for each file: the job writes
`status.json`, `metrics.jsonl`, `sae/`, `checkpoints/`, `snapshots/`, `snapshots.parquet`, `tensorboard/`, `wandb/`,
`features.duckdb`, `evaluation.json`, `transfers.json`; the workbench `control.json` and `labels.jsonl`; the engine
`steering/`; whoever asks about texts `probes/`; whoever asks for a report `report/`; whoever begins
a sweep `sweep.json`.
"""

import contextlib
import json
import os
import re
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.architectures import reads_images
from core.errors import SessionError, nearest
from core.status import ACTIVE, Observed, Status, observe, read_status
from core.storage import append_line, keep_lines, last_line, read_json, read_lines, replace_file, replacing, tail

if TYPE_CHECKING:
    from core.config import RunConfig

LOG_HEAD = "== "
"""What the line begins with that a starter writes to `log.txt` ahead of a job."""
TRAINING_NAME = "training.json"
"""What a checkpoint holds besides the SAE if a training can go on from it."""
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


def default_root() -> Path:
    """Where sessions live: `SAE_TUI_SESSIONS`, or `sessions` in the working folder."""
    return Path(os.environ.get("SAE_TUI_SESSIONS") or "sessions")


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
    summary_path = property(lambda self: self.path / "summary.json")
    report_json_path = property(lambda self: self.path / "feature_report.json")
    transfers_path = property(lambda self: self.path / "transfers.json")
    calibration_path = property(lambda self: self.path / "calibration.json")
    densities_path = property(lambda self: self.path / "densities.json")
    sweep_path = property(lambda self: self.path / "sweep.json")
    metrics_path = property(lambda self: self.path / "metrics.jsonl")
    log_path = property(lambda self: self.path / "log.txt")
    checkpoints_dir = property(lambda self: self.path / "checkpoints")
    sae_dir = property(lambda self: self.path / "sae")
    snapshots_dir = property(lambda self: self.path / "snapshots")
    snapshots_path = property(lambda self: self.path / "snapshots.parquet")
    tensorboard_dir = property(lambda self: self.path / "tensorboard")
    wandb_dir = property(lambda self: self.path / "wandb")
    activations_dir = property(lambda self: self.path / "activations")
    database_path = property(lambda self: self.path / "features.duckdb")
    labels_path = property(lambda self: self.path / "labels.jsonl")
    explanations_path = property(lambda self: self.path / "explanations.jsonl")
    steering_dir = property(lambda self: self.path / "steering")
    experiments_dir = property(lambda self: self.steering_dir / "experiments")
    recipes_dir = property(lambda self: self.steering_dir / "recipes")
    probes_dir = property(lambda self: self.path / "probes")
    report_dir = property(lambda self: self.path / "report")

    @classmethod
    def create(
        cls, root: Path, name: str, config: "RunConfig", fill: Callable[["Session"], None] = lambda _: None
    ) -> "Session":
        """A new session's folder with its configuration, and what `fill` puts into it before anybody sees it.

        Raises SessionError; leaves nothing half-made.
        """
        from core import config as configs  # here: pydantic takes as long to import as the first frame may

        session = cls(root / unused_name(root, name))
        with replacing(session.path) as beside:
            beside.mkdir()
            (beside / session.config_path.name).write_text(configs.to_toml(config), encoding="utf-8")
            fill(cls(beside))
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

    def reconfigure(self, config: "RunConfig") -> None:
        """Another configuration in the place of the first. Only before training begins: it never changes after."""
        from core import config as configs

        replace_file(self.config_path, configs.to_toml(config))

    def config(self) -> "RunConfig":
        """The run as configured. Raises ConfigError where the file is torn."""
        from core import config as configs

        return configs.read(self.config_path)

    @property
    def reads_images(self) -> bool:
        """Whether its model is one of images; False where its configuration cannot be read."""
        try:
            return reads_images(tomllib.loads(self.config_path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            return False

    def require(self, *, images: bool) -> None:
        """Raise SessionError where its model does not read what is asked about: images, or else text."""
        if self.reads_images != images:
            reads, knows, how = ("text", "images", "--prompt TEXT") if images else ("images", "text", "--image N")
            raise SessionError(
                f"the model of session {self.name!r} reads {reads}: it knows no {knows}",
                hint=f"`sae-tui steer {self.name} {how}` steers it",
            )

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
        """One line to `metrics.jsonl`, whole or not at all. Raises OSError."""
        append_line(self.metrics_path, json.dumps(report))

    def cut_metrics(self, step: int) -> None:
        """Leave of `metrics.jsonl` the lines up to `step`, atomically: those after it come again."""
        keep_lines(self.metrics_path, lambda line: line.get("step", step + 1) <= step)

    def metrics(self) -> list[dict[str, Any]]:
        """Every whole line of `metrics.jsonl`; a torn last line is left out."""
        return read_lines(self.metrics_path)

    def evaluation(self) -> dict[str, Any]:
        """The metrics, with their token counts beneath `tokens`; empty where it was not evaluated."""
        return read_json(self.evaluation_path)

    def transfers(self) -> list[dict[str, Any]]:
        """What it measured on other models, hook points or corpora: beneath `on` which, and as `evaluation` else."""
        found = read_json(self.transfers_path).get("transfers")
        return found if isinstance(found, list) else []

    def sweep(self) -> dict[str, dict[str, str]]:
        """Its sweep: each member that is there by name, with what varies; empty where it is of none."""
        kept = read_json(self.sweep_path).get("members")
        return {
            name: {field: str(value) for field, value in varied.items()}
            for name, varied in (kept.items() if isinstance(kept, dict) else ())
            if NAME.fullmatch(name) and isinstance(varied, dict) and (self.path.parent / name / "config.toml").is_file()
        }

    @property
    def trained(self) -> bool:
        """Whether training has got as far as its first checkpoint, or has ended: its configuration is fixed."""
        return self.finished or self.checkpoints_dir.exists()

    @property
    def finished(self) -> bool:
        """Whether its SAE is trained to the end, or was imported."""
        return self.sae_dir.exists()

    def checkpoint_steps(self) -> list[int]:
        """The steps of its checkpoints, newest first."""
        return sorted((int(p.name) for p in self.checkpoints_dir.glob("*") if p.name.isdigit()), reverse=True)

    def snapshot_steps(self) -> list[int]:
        """The steps of which the SAE itself was kept to tell how features emerged, oldest first."""
        return sorted(int(p.name) for p in self.snapshots_dir.glob("*") if p.name.isdigit())

    def resumable(self) -> int | None:
        """The step from which its training can go on; None where it cannot, or has ended."""
        return None if self.finished else self.state_step()

    def state_step(self) -> int | None:
        """The step of the newest checkpoint that holds what a training goes on from; None where there is none."""
        found = (s for s in self.checkpoint_steps() if (self.checkpoints_dir / str(s) / TRAINING_NAME).is_file())
        return next(found, None)

    def weights_dir(self) -> Path:
        """The folder with the SAE to use: the finished one, else the newest checkpoint. Raises SessionError."""
        if (self.sae_dir / "sae_weights.safetensors").is_file():
            return self.sae_dir
        steps = self.checkpoint_steps()
        if not steps:
            raise SessionError(
                f"session {self.name!r} has no trained SAE yet",
                hint=f"its state is {self.observed().state}; see `sae-tui logs {self.name}`",
            )
        return self.checkpoints_dir / str(steps[0])

    def weights_config(self) -> dict[str, Any]:
        """What `cfg.json` says of the SAE to use; empty where it cannot be read. Raises as `weights_dir`."""
        return read_json(self.weights_dir() / "cfg.json")

    def size_bytes(self) -> int:
        """Bytes on disk of everything in the folder."""
        total = 0
        for path in self.path.rglob("*"):
            with contextlib.suppress(OSError):  # what a job replaces may be gone by now
                total += path.lstat().st_size if path.is_file() else 0
        return total

    def summary(self) -> dict[str, Any]:
        """The session for `show` and `ls`: name, state, progress, headline numbers, what exists."""
        status, seen = self.status(), self.observed()
        latest = last_line(self.metrics_path)
        return {
            "name": self.name,
            "job": status.job,
            "state": seen.state,
            "note": seen.note,
            "phase": status.phase,
            "step": latest.get("step", 0),
            "steps": latest.get("steps", 0),
            "error": seen.note if seen.state == "failed" else status.error,
            "started": status.started,
            "resumable": self.resumable(),
            "has_sae": (self.sae_dir / "sae_weights.safetensors").is_file(),
            "has_features": self.database_path.is_file(),
            "latest": latest,
            "evaluation": self.evaluation(),
            "size_bytes": self.size_bytes(),
        }

    def delete(self) -> None:
        """Remove the folder. Raises SessionError while a job runs in it; one silent elsewhere is not waited for."""
        if self.observed().state in ACTIVE:
            raise SessionError(f"session {self.name!r} has a job running", hint=f"`sae-tui stop {self.name}` first")
        if self.path.is_symlink():
            self.path.unlink()
        while self.path.is_dir():
            with contextlib.suppress(FileNotFoundError):  # a job that has just ended takes its lock away
                shutil.rmtree(self.path)


def checked_name(name: str, what: str = "a session") -> str:
    """`name`, where it may name a session, or what else is named as sessions are. Raises SessionError."""
    if not NAME.fullmatch(name):
        raise SessionError(
            f"{name!r} cannot name {what}",
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
    return sorted(found, key=_made, reverse=True)


def _made(session: Session) -> float:
    """When its configuration was written; 0 where it was deleted this very moment."""
    try:
        return session.config_path.stat().st_mtime
    except OSError:
        return 0.0

"""Sessions made of plain files, one with a real feature database full of hostile strings, and a workbench over them."""

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

HOSTILE = (
    "[bold]", "[/x]", "[@click=app.quit]q", "\x1b]52;c;aGk=\x07", "\x1b[2J\x9b31m", "\u202eevil\u2066",
    "a\u200bb\ufeff", "[$primary]\n\t\r", "日本e\u0301", "\x00\x7f",
)  # fmt: skip
"""What a token, a label or a file name may try."""


@pytest.fixture(scope="session")
def made_sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`alpha` (trained, evaluated, analysed), `beta` (running, by this very process), `gamma` (failed)."""
    root = tmp_path_factory.mktemp("made") / "sessions"
    _alpha(root)
    _session(root, "beta", steps=40)
    _session(root, "gamma", steps=3)
    return root


@pytest.fixture
def sessions_root(made_sessions: Path, tmp_path: Path) -> Path:
    """A copy of the three sessions for this test alone."""
    from core.session import Session
    from core.status import Status

    root = tmp_path / "sessions"
    shutil.copytree(made_sessions, root)
    Session(root / "beta").write_status(
        Status(
            **{
                **asdict(Status.of_process("train", "running", os.getpid())),
                "phase": "training",
                "done": 20_480,
                "total": 51_200,
                "unit": "activations",
                "step": 40,
                "steps": 100,
            }
        )
    )
    Session(root / "gamma").write_status(
        Status(
            job="train", state="failed", error="the loss became nan at step 4 " + "".join(HOSTILE), started=time.time()
        )
    )
    now = time.time()
    for age, name in enumerate(("alpha", "beta", "gamma")):  # the list's order: newest first
        os.utime(root / name / "config.toml", (now - age * 60, now - age * 60))
    return root


@pytest.fixture(scope="session")
def made_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Analysed sessions of images: `digits`, `maps` (a feature map of 7 by 7 places), `pixels` (no classifier)."""
    from tests import image_session

    root = tmp_path_factory.mktemp("images") / "sessions"
    image_session.make(root, "digits")
    image_session.make(root, "maps", model="mnist-cnn", hook="blocks.1.hook_post")
    image_session.make(root, "pixels", model="mnist-pixels", hook="hook_input")
    return root


@pytest.fixture
def images_root(made_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the three for this test alone, in a terminal with all colours, by which images are drawn."""
    from textual import constants

    monkeypatch.setattr(constants, "COLOR_SYSTEM", "truecolor")  # read from the environment before that was set
    return Path(shutil.copytree(made_images, tmp_path / "images"))


@pytest.fixture
def workbench(tmp_path: Path) -> Callable[..., object]:
    """`workbench(root, mode=…, session=…)`: an application with settings and a state of its own."""
    from core.session import Session
    from sae_tui.app import Workbench
    from sae_tui.settings import Settings
    from sae_tui.state import State

    def made(root: Path, *, mode: str | None = None, session: str | None = None, **settings: object) -> Workbench:
        return Workbench(
            root, Settings(**settings), State(root, tmp_path / "state.json"), mode=mode,
            session=Session(root / session) if session else None,
        )  # fmt: skip

    return made


def _session(root: Path, name: str, *, steps: int):
    """A session with a configuration, curves and a log."""
    from core import config
    from core.session import Session

    session = Session.create(root, name, config.parse({"corpus": {"category_column": HOSTILE[0]}}))
    with session.metrics_path.open("w") as file:
        for step in range(1, steps + 1):
            file.write(json.dumps(step_line(step, 100)) + "\n")
    session.log_path.write_text("== train, 2026-01-31 12:00:00\nloading the model\n" + "\n".join(HOSTILE) + "\n")
    return session


def step_line(step: int, steps: int) -> dict[str, float]:
    """A line of metrics.jsonl whose curves fall as curves do."""
    return {
        "step": step, "steps": steps, "activations": step * 512, "elapsed_s": step * 0.5, "loss": 200 / step**0.5,
        "mse": 200 / step**0.5, "fvu": 0.75 / step**0.3, "l0": 32.0, "l1": 60.0, "sparsity_loss": 0.0, "aux_loss": 0.0,
        "dead": step, "dead_share": step / 1000, "dense": 20, "lr": 3e-3, "activations_per_s": 1024.0 + step,
    }  # fmt: skip


def _alpha(root: Path) -> None:
    import pyarrow as pa

    from core.analysis import build
    from core.labels import Label, append
    from core.options import AnalysisConfig
    from core.status import Status
    from tests.core.analysis.conftest import N_IDS, random_case, write

    session = _session(root, "alpha", steps=100)
    random_case(session, 0, categories=True)
    folder = session.activations_dir
    texts = [
        " the",
        HOSTILE[1] + HOSTILE[2],
        HOSTILE[3] + HOSTILE[4],
        HOSTILE[5] + HOSTILE[6],
        HOSTILE[7],
        " " + HOSTILE[8],
    ]
    write(folder / "vocabulary.parquet", {"token_id": np.arange(N_IDS), "text": texts})
    documents = range(200)
    write(folder / "documents.parquet", {
        "doc": np.array(documents), "category": [HOSTILE[d % 3] for d in documents],
        "source": [f"{HOSTILE[d % len(HOSTILE)]}{d}.py" for d in documents],
        "digest": pa.array([f"{d:016x}" for d in documents]),
    })  # fmt: skip
    meta = {"session": "alpha", "model": "smollm2", "hook": "blocks.10.hook_resid_post", "d_sae": "12", "map": "pca"}
    steps = [1, 10, 20, 30, 40, 50, 75, 100]
    step, feature = (grid.ravel() for grid in np.meshgrid(steps, np.arange(12), indexing="ij"))
    born = step >= 25 * (feature % 3)
    write(session.snapshots_path, {
        "step": step, "feature": feature, "density": born * (feature + 1) / 40, "mean": born * 2.0,
        "drift": pa.array((1 / step).astype(np.float32), mask=step == 1), "drift_final": (100.0 - step) / 200,
    })  # fmt: skip
    for _ in build.build(session, meta, AnalysisConfig()):
        pass
    append(session, Label(feature=3, label="always on " + HOSTILE[0], note="".join(HOSTILE), starred=True))
    append(session, Label(feature=5, label="dates"))
    session.sae_dir.mkdir()
    (session.sae_dir / "sae_weights.safetensors").write_bytes(b"")
    (session.sae_dir / "cfg.json").write_text("{}")
    session.steering_dir.mkdir()
    metrics = {"fvu": 0.18, "l0": 32.0, "dead_share": 0.08, "ce_loss_score": 0.98, "ce_loss_clean": 2.8}
    session.evaluation_path.write_text(json.dumps({**metrics, "tokens": dict.fromkeys(metrics, 2_000)}))
    session.write_status(Status(job="analyze", state="done", started=time.time()))


@pytest.fixture
def cli(trained, capsys):
    """Run a command on the folder of a module's `trained`; returns exit code, stdout, stderr."""
    from sae_tui.cli import run

    def call(*arguments):
        code = run(["--sessions", str(trained), *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def engine(monkeypatch):
    """What the Steer screens make their engines of: `engine.made` is the newest."""
    from sae_tui.screens.planning import Planning
    from tests.sae_tui.fake_engine import FakeEngine

    class Makes:
        like = staticmethod(FakeEngine)
        made: FakeEngine | None = None

        def __call__(self, session):
            self.made = self.like()
            return self.made

    makes = Makes()
    monkeypatch.setattr(Planning, "make_engine", staticmethod(makes))
    return makes


@pytest.fixture
def steer(sessions_root, workbench, engine):
    """The workbench on the Steer screen of `alpha`."""

    def opened(**options):
        return workbench(sessions_root, **{"mode": "steer", "session": "alpha", **options})

    return opened

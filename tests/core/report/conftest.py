"""A session that is trained, measured, labelled, checked and probed, with strings in it that try everything."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core import config, labels
from core.analysis import build
from core.analysis.given import Given
from core.analysis.probed import Category, Heat, Probed, Specialist, keep, path_of
from core.labels import Label
from core.options import AnalysisConfig
from core.report import facts
from core.report.facts import Report
from core.session import Session
from tests.conftest import finished
from tests.core.analysis.conftest import N_FEATURES, N_IDS, random_case, write

SCRIPT = "<script>alert(1)</script>"
HOSTILE = (
    SCRIPT, '"><img src=x onerror=alert(1)>', "\x1b]52;c;aGk=\x07\x1b[2J", "\u202eevil\u2066", "'onmouseover='x",
    "日本e\u0301 $\\frac$",
)  # fmt: skip
"""What a token, a label or a file name may try."""
META = {
    "model": SCRIPT, "hook": "blocks.0.hook_resid_post", "architecture": "topk", "d_in": "8", "d_sae": str(N_FEATURES),
    "dtype": "float32", "corpus": '"><b>', "split": "test", "strong": "0.5x", "map": "pca",
}  # fmt: skip
EVALUATION = {"fvu": 0.125, "l0": 5.5, "ce_loss_score": None, "tokens": {"fvu": 98, "l0": 98, "ce_loss_score": 40}}
STARRED, LABELLED = 7, 9


@pytest.fixture(scope="session")
def told_session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """With everything a report can tell."""
    case = random_case(Session(tmp_path_factory.mktemp("told") / "toy"), 0, True)
    session, folder = case.session, case.session.activations_dir
    write(folder / "vocabulary.parquet", {"token_id": np.arange(N_IDS), "text": list(HOSTILE)})
    documents = pq.read_table(folder / "documents.parquet")
    hostile = pa.array([HOSTILE[i % 4] for i in range(len(documents))])
    pq.write_table(documents.set_column(2, "source", hostile), folder / "documents.parquet")
    (session.path / "config.toml").write_text(config.example())
    for _ in build.build(session, META, AnalysisConfig(keep_activations=True)):
        pass
    for step in range(1, 6):
        session.append_metrics({
            "step": step, "steps": 5, "activations": 100 * step, "elapsed_s": step / 2, "loss": 100.0 / 4**step,
            "fvu": 1 / step, "l0": 5.0, "dead_share": 0.0, "coefficient": 0.1 * step,
        })  # fmt: skip
    session.evaluation_path.write_text(json.dumps(EVALUATION))
    session.sae_dir.mkdir()
    cfg = {"metadata": {"neuronpedia_id": "gpt2-small/6-res-jb"}}
    (session.sae_dir / "cfg.json").write_text(json.dumps(cfg))
    (session.sae_dir / "sae_weights.safetensors").write_bytes(b"")
    labels.append(session, Label(feature=STARRED, starred=True, note="".join(HOSTILE), tags=HOSTILE))
    labels.append(session, Label(feature=LABELLED, label="".join(HOSTILE), source=SCRIPT))
    check = {
        "feature": LABELLED,
        "label": "".join(HOSTILE),
        "score": 0.9,
        "positives": 5,
        "negatives": 4,
        "model": SCRIPT,
    }
    session.explanations_path.write_text(json.dumps(check) + "\n")
    keep(path_of(session, [], "max", SCRIPT), _probe())
    return session


@pytest.fixture
def session(told_session: Session, tmp_path: Path) -> Session:
    """A copy of it for this test alone."""
    return Session(shutil.copytree(told_session.path, tmp_path / "toy"))


@pytest.fixture
def read(session: Session) -> Callable[..., Report]:
    """`read(n)`: what a report of the session with `n` features says."""
    return lambda n=N_FEATURES: finished(facts.read(session, n))


def _probe() -> Probed:
    best = Specialist(feature=3, score=2, inside=2, outside=0, max=1.5, threshold=0.5)
    return Probed(
        session="toy", name=SCRIPT, pool="max", rule='above "><i>', texts=(Given(text="a", category="c", source="s"),),
        d_sae=N_FEATURES, active=4, strongest=None, frequent=(), selective=(), specialists=1, specialised=1,
        entropy=0.5,
        categories=(
            Category(name=SCRIPT, texts=1, specialists=1, best=(best,), common=(), mean=1.0, active=3.0),
        ),
        top=(), heat=Heat(features=(), texts=(), values=(), means=()), notes=(SCRIPT,),
    )  # fmt: skip

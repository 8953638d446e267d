"""An analysed session of images made of numbers, without a network: the same on every machine, in half a second."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from core import config as configs
from core.analysis import build, coactivations
from core.image_facts import CLASSES, ImageFacts
from core.labels import Label, append
from core.options import AnalysisConfig
from core.session import Session
from tests import idx
from tests.core.analysis.conftest import ALWAYS, N_FEATURES, ONCE, SILENT, random_case, write

N_IMAGES = 60
MISTAKEN = 7
"""Every seventh image is taken for the class after its own."""


@dataclass(frozen=True)
class Made:
    """A session, and the numbers in it."""

    session: Session
    pixels: np.ndarray
    """[image 28 28], bytes."""
    labels: np.ndarray
    code: np.ndarray
    """[image place feature]: SILENT fires never, ONCE once, ALWAYS everywhere, any other f on the class f most."""
    patterns: np.ndarray
    """[feature 28 28]."""
    effects: np.ndarray
    """[feature class 2]; NaN where there is none."""


def make(root: Path, name: str, *, model: str = "mnist-mlp", hook: str = "mlp.hook_post") -> Made:
    """Write it under `root`: with several places an image where the hook point has them."""
    values = {"model": {"name": model, "hook": hook}, "corpus": {"name": "mnist"}}
    session = Session.create(root, name, configs.parse(values))
    random_case(session, 0, categories=True)
    places = ImageFacts(name=model, hidden=8).hooks[hook].places
    pixels, labels = idx.drawn(N_IMAGES, 3)
    code = _code(labels, places)
    f, y, x = np.indices((N_FEATURES, 28, 28))
    patterns = np.cos((x - 14) / 5) * np.where(abs(y - 2 * f - 4) < 3, 0.5, -0.1) * (abs(x - 14) < 8)
    feature, label = np.indices((N_FEATURES, CLASSES))
    switched = 2.0 * np.cos(feature - label) / (1 + feature)
    effects = np.stack([switched, -1.5 * switched], axis=2)
    effects[ALWAYS, :, 0] = np.nan
    folder, fired = session.activations_dir, code.any(axis=(0, 1))
    _write_text(folder, labels, code)
    write(folder / "images.parquet", {
        "doc": np.arange(N_IMAGES), "image": np.arange(N_IMAGES) + 100, "label": labels.astype(np.int32),
        "predicted": pa.nulls(N_IMAGES, pa.int32()) if model == "mnist-pixels" else _predicted(labels),
        "pixels": pa.array([one.tobytes() for one in pixels], pa.binary()),
    })  # fmt: skip
    write(folder / "patterns.parquet", {
        "feature": f[fired].ravel(), "y": y[fired].ravel(), "x": x[fired].ravel(), "value": patterns[fired].ravel(),
    })  # fmt: skip
    shown = fired & (model != "mnist-pixels")
    write(folder / "effects.parquet", {
        "feature": feature[shown].ravel(), "class": label[shown].ravel(),
        "switched_on": effects[shown, :, 0].ravel(), "ablated": effects[shown, :, 1].ravel(),
    })  # fmt: skip
    none = np.empty(0, int)
    write(folder / "snapshot_images.parquet", {
        "step": none, "feature": none, "doc": none, "value": none.astype(float),
        "pattern": pa.array([], pa.list_(pa.float32())),
    })  # fmt: skip
    write(folder / "logits.parquet", {
        "feature": none, "sign": none, "rank": none, "token_id": none, "value": none.astype(float),
    })  # fmt: skip
    meta = {"session": name, "model": model, "hook": hook, "d_sae": str(N_FEATURES), "map": "pca"}
    for _ in build.build(session, meta, AnalysisConfig(top_examples=12, band_examples=3)):
        pass
    append(session, Label(feature=5, label="the fives"))
    return Made(session, pixels, labels, code, patterns, effects)


def _code(labels: np.ndarray, places: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    n = len(labels)
    code = np.zeros((n, places, N_FEATURES), np.float32)
    for f in range(N_FEATURES):
        near = np.exp(-0.5 * ((labels - f) / 1.2) ** 2)[:, None] * rng.uniform(0.5, 1, (n, places))
        there = (near > 0.3) & (rng.random((n, places)) < (1 if places == 1 else 0.25))
        code[:, :, f] = np.where(there, np.round(8 * near, 2), 0)
    code[:, :, SILENT] = code[:, :, ONCE] = 0
    code[11, 0, ONCE] = 2.5
    code[:, :, ALWAYS] += 0.5
    return code


def _predicted(labels: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(labels)) % MISTAKEN == 0, (labels + 1) % CLASSES, labels).astype(np.int32)


def _write_text(folder: Path, labels: np.ndarray, code: np.ndarray) -> None:
    """Tokens, documents, vocabulary and codes: an image is a document, each place a token that reads as the label."""
    n, places, _ = code.shape
    for old in folder.glob("codes-*.parquet"):
        old.unlink()
    tokens = np.arange(n * places)
    doc, place = tokens // places, tokens % places
    rows, features = np.nonzero(code.reshape(n * places, -1))
    write(folder / "codes-0000.parquet", {
        "feature": features, "token_idx": rows, "value": code.reshape(n * places, -1)[rows, features],
    })  # fmt: skip
    write(folder / "tokens-0000.parquet", {
        "token_idx": tokens, "doc": doc, "doc_pos": place, "block": doc, "block_pos": place,
        "token_id": labels[doc].astype(np.int32), "counted": np.ones(len(tokens), bool),
    })  # fmt: skip
    write(folder / "documents.parquet", {
        "doc": np.arange(n), "category": [str(label) for label in labels],
        "source": [f"mnist:{image}" for image in range(n)], "digest": [f"{image:016x}" for image in range(n)],
    })  # fmt: skip
    write(folder / "vocabulary.parquet", {"token_id": np.arange(CLASSES), "text": [str(c) for c in range(CLASSES)]})
    for _ in coactivations.write(folder, N_FEATURES, n * places, 5):
        pass

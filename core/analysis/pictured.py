"""What the analysis of a network of images has besides: the images, and what each feature reads from them and does.

What it reads is in `core.analysis.patterns`. With z_f the activation of feature f, x an image's activations at the hook
point, g the network behind it, d_f the feature's decoder row and a_f the mean of its active values:

    switched_on(f)  mean over images of g(x + a_f d_f) − g(x), added at the places where z_f = 0
    ablated(f)      mean over images of g(x − z_f d_f) − g(x), taken away at the places where z_f > 0

The error of the reconstruction stays, as in steering.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import Tensor

from core.analysis import patterns, shards
from core.config import RunConfig
from core.images import SIDE
from core.models.digits import ImageClassifier
from core.records import Progress
from core.sae.base import SAE
from core.session import Session

MOST_IMAGES = 2_000
"""Images on which effects are measured, at most."""
ELEMENTS = 2**26
"""Entries of the code of those: 256 MB."""
ROWS = 8_192
"""Activations encoded at once."""


class Firing(NamedTuple):
    """Where a feature is active, the strongest first."""

    image: Int[np.ndarray, " n"]
    place: Int[np.ndarray, " n"]
    value: Float[np.ndarray, " n"]


def write(model: ImageClassifier, sae: SAE, session: Session, config: RunConfig) -> Iterator[Progress]:
    """The files `images`, `patterns`, `snapshot_images` and `effects`, from the codes that `collect` has left."""
    folder = session.activations_dir
    analysed = 1 + max(int(part["doc"].max()) for part in shards.each(folder, "tokens"))
    numbers = torch.from_numpy(model.images.numbers["test"][:analysed])
    yield Progress(phase="looking at the images")
    _write_images(model, numbers, folder)
    fired = firings(folder, sae.d_sae, model.places)
    yield Progress(phase="finding what features respond to")
    _write_patterns(model, sae, folder, numbers, fired, config.analysis.top_examples)
    yield from patterns.write_snapshots(model, session, numbers, config)
    yield from _write_effects(
        model, sae, folder, numbers, {f: float(s.value.mean(dtype=float)) for f, s in fired.items()}
    )


def firings(folder: Path, d_sae: int, places: int) -> dict[int, Firing]:
    """Every feature that fired in the codes of a folder, by number; equal values in the order of the images."""
    parts = list(shards.each(folder, "codes"))
    feature, token, value = (np.concatenate([p[name] for p in parts]) for name in ("feature", "token_idx", "value"))
    order = np.lexsort((token, -value, feature))
    ends = np.searchsorted(feature[order], np.arange(d_sae + 1))
    found: dict[int, Firing] = {}
    for one in range(d_sae):
        some = order[ends[one] : ends[one + 1]]
        if len(some):
            found[one] = Firing(*np.divmod(token[some], places), value[some])
    return found


@torch.no_grad()
def effect(
    model: ImageClassifier, x: Float[Tensor, "n p d_in"], clean: Float[Tensor, "n classes"], z: Float[Tensor, "n p"],
    direction: Float[Tensor, " d_in"], strength: float,
) -> tuple[Float[Tensor, " classes"], Float[Tensor, " classes"]]:  # fmt: skip
    """`switched_on` and `ablated` of one feature with activations z; NaN over no image."""
    changes = []
    for there, by in (((z == 0), torch.full_like(z, strength)), (z > 0, -z)):
        some = there.any(dim=1)
        edited = x[some] + (by * there)[some].unsqueeze(2) * direction
        changes.append((model.onward(edited) - clean[some]).double().mean(dim=0).float())
    return changes[0], changes[1]


def _write_patterns(
    model: ImageClassifier, sae: SAE, folder: Path, numbers: Int[Tensor, " n"], fired: dict[int, Firing], wanted: int
) -> None:
    pairs: list[np.ndarray] = [np.empty((3, 0), np.int64)]
    for feature, some in fired.items():
        first = np.unique(some.image, return_index=True)[1]  # an image counts once, where it is strongest
        top = np.sort(first)[:wanted]
        pairs.append(np.stack([np.full(len(top), feature), numbers.numpy()[some.image[top]], some.place[top]]))
    feature, number, place = torch.from_numpy(np.concatenate(pairs, axis=1))
    found, drawn = patterns.patterns(model, sae, (feature, number, place))
    y, x = np.indices((SIDE, SIDE)).reshape(2, -1)
    columns = [np.repeat(found.numpy(), SIDE**2), np.tile(y, len(found)), np.tile(x, len(found)), drawn.numpy().ravel()]
    shards.write(folder, "patterns", columns)


@torch.no_grad()
def _write_effects(
    model: ImageClassifier, sae: SAE, folder: Path, numbers: Int[Tensor, " n"], strengths: dict[int, float]
) -> Iterator[Progress]:
    parts: list[list[np.ndarray]] = []
    if model.classifies:
        most = max(1, min(MOST_IMAGES, ELEMENTS // sae.d_sae // model.places))
        x = model.activations(numbers[:most].unsqueeze(1))
        clean = model.onward(x)
        z = torch.cat([sae.encode(part) for part in x.flatten(0, 1).split(ROWS)]).view(*x.shape[:2], -1)
        for feature, strength in strengths.items():
            yield Progress(phase="switching features on and off", done=feature, total=sae.d_sae, unit="features")
            both = effect(model, x, clean, z[:, :, feature], sae.W_dec[feature].detach(), strength)
            columns = [np.full(len(both[0]), feature), np.arange(len(both[0])), *(t.cpu().numpy() for t in both)]
            parts.append(columns)
    shards.write_parts(folder, "effects", parts)


def _write_images(model: ImageClassifier, numbers: Int[Tensor, " n"], folder: Path) -> None:
    images = numbers.numpy()
    predicted = pa.nulls(len(images), pa.int32())
    if model.classifies:
        predicted = model.logits(numbers).argmax(dim=1).cpu().numpy()
    pixels = pa.array([row.tobytes() for row in model.images.pixels_of(images)], pa.binary())
    labels = model.images.labels_of(images)
    shards.write(folder, "images", [np.arange(len(images)), images, labels, predicted, pixels])

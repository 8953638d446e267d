"""What the analysis of a network of images has besides: the images, and what each feature reads from them and does.

With z_f the activation of feature f, p an image's pixels, x its activations at the hook point, g the network behind it,
d_f the feature's decoder row and a_f the mean of its active values:

    pattern(f)      mean over f's top images of ∂z_f / ∂p
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

from core.analysis import shards
from core.config import RunConfig
from core.images import SIDE
from core.models.digits import ImageClassifier
from core.records import Progress
from core.sae.base import SAE

MOST_IMAGES = 2_000
"""Images on which effects are measured, at most."""
ELEMENTS = 2**26
"""Entries of the code of those: 256 MB."""
ROWS = 2_048
"""Images in a backward pass."""


class Firing(NamedTuple):
    """Where a feature is active, the strongest first."""

    image: Int[np.ndarray, " n"]
    place: Int[np.ndarray, " n"]
    value: Float[np.ndarray, " n"]


def write(model: ImageClassifier, sae: SAE, folder: Path, config: RunConfig) -> Iterator[Progress]:
    """The files `images`, `patterns` and `effects`, from the codes that `collect` has left in the folder."""
    analysed = 1 + max(int(part["doc"].max()) for part in shards.each(folder, "tokens"))
    numbers = torch.from_numpy(model.images.numbers["test"][:analysed])
    yield Progress(phase="looking at the images")
    _write_images(model, numbers, folder)
    fired = firings(folder, sae.d_sae, model.places)
    wanted = config.analysis.top_examples
    parts: list[list[np.ndarray]] = []
    for feature, some in fired.items():
        yield Progress(phase="finding what features respond to", done=feature, total=sae.d_sae, unit="features")
        first = np.unique(some.image, return_index=True)[1]  # an image counts once, where it is strongest
        top = np.sort(first)[:wanted]
        rows = numbers[torch.from_numpy(some.image[top])]
        found = pattern(model, sae, feature, rows, torch.from_numpy(some.place[top]))
        y, x = np.indices((SIDE, SIDE)).reshape(2, -1)
        parts.append([np.full(SIDE**2, feature), y, x, found.cpu().numpy()])
    shards.write_parts(folder, "patterns", parts)
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


def pattern(
    model: ImageClassifier, sae: SAE, feature: int, numbers: Int[Tensor, " n"], place: Int[Tensor, " n"]
) -> Float[Tensor, " pixels"]:
    """The mean over some images of ∂z_f / ∂p, z_f at a place of each; pixels are in [0, 1]."""
    total = torch.zeros(SIDE**2, dtype=torch.float64, device=model.device)
    for some, where in zip(numbers.split(ROWS), place.split(ROWS), strict=True):
        with torch.enable_grad():
            pixels = model.pixels(some).requires_grad_()
            x = model.at_hook(pixels)[torch.arange(len(some)), where]
            (gradient,) = torch.autograd.grad(sae.encode(x)[:, feature].sum(), pixels)
        total += gradient.double().sum(dim=0)
    return (total / len(numbers)).float()


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


@torch.no_grad()
def _write_effects(
    model: ImageClassifier, sae: SAE, folder: Path, numbers: Int[Tensor, " n"], strengths: dict[int, float]
) -> Iterator[Progress]:
    parts: list[list[np.ndarray]] = []
    if model.classifies:
        most = max(1, min(MOST_IMAGES, ELEMENTS // sae.d_sae // model.places))
        x = model.activations(numbers[:most].unsqueeze(1))
        clean = model.onward(x)
        z = torch.cat([sae.encode(part) for part in x.flatten(0, 1).split(4 * ROWS)]).view(*x.shape[:2], -1)
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

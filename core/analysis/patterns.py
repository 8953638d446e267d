"""What features read from the pixels: now, and at each snapshot of their training.

With z_f the activation of feature f and p an image's pixels,

    pattern(f) = mean over f's top images of ∂z_f / ∂p

z_f at the place of an image where it is strongest. For a snapshot z is the code of the SAE as it was then, and so are
the top images.
"""

from collections.abc import Iterator

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
from core.sae import files
from core.sae.base import SAE
from core.session import Session

ROWS = 2_048
"""Images in a backward pass."""
ELEMENTS = 2**24
"""Entries of the code held at once: 64 MB."""

Pairs = tuple[Int[Tensor, " n"], Int[Tensor, " n"], Int[Tensor, " n"]]
"""Features, images by their numbers, and places in these, on the CPU: one line for each top image of a feature."""


def patterns(
    model: ImageClassifier, sae: SAE, pairs: Pairs
) -> tuple[Int[Tensor, " f"], Float[Tensor, "f pixels"]]:  # fmt: skip
    """The features there are among the pairs, in order, and the pattern of each; pixels are in [0, 1]."""
    found, which, n = pairs[0].unique(return_inverse=True, return_counts=True)
    total = torch.zeros(len(found), SIDE**2, dtype=torch.float64)
    for feature, number, place, at in zip(*(part.split(ROWS) for part in (*pairs, which)), strict=True):
        with torch.enable_grad():
            pixels = model.pixels(number).requires_grad_()
            row = torch.arange(len(number))
            z = sae.encode(model.at_hook(pixels)[row, place])[row, feature]
            (gradient,) = torch.autograd.grad(z.sum(), pixels)  # each z depends on its own image alone
        total.index_add_(0, at, gradient.double().cpu())
    return found, (total / n.unsqueeze(1)).float()


@torch.no_grad()
def strongest(
    sae: SAE, x: Float[Tensor, "n p d_in"], k: int
) -> tuple[Float[Tensor, "k f"], Int[Tensor, "k f"], Int[Tensor, "k f"]]:
    """Of each feature its k largest activations on different images: value, image and place; equal values in order."""
    value = torch.empty(0, sae.d_sae, device=x.device)
    image = torch.empty(0, sae.d_sae, dtype=torch.long, device=x.device)
    place, done = image, 0
    for part in x.split(max(1, ELEMENTS // sae.d_sae // x.shape[1])):
        z = sae.encode(part.flatten(0, 1)).view(*part.shape[:2], -1)
        here, at = z.max(dim=1)
        number = torch.arange(done, done + len(part), device=x.device).unsqueeze(1).expand_as(at)
        order = torch.cat([value, here]).sort(dim=0, descending=True, stable=True).indices[:k]
        value, image, place = (
            torch.cat(both).gather(0, order) for both in ((value, here), (image, number), (place, at))
        )  # fmt: skip
        done += len(part)
    return value, image, place


def write_snapshots(
    model: ImageClassifier, session: Session, numbers: Int[Tensor, " n"], config: RunConfig
) -> Iterator[Progress]:
    """The file `snapshot_images`, from the SAEs that the training kept; of the images with these numbers."""
    steps = session.snapshot_steps()
    x = model.activations(numbers.unsqueeze(1)) if steps else torch.empty(0)
    parts: list[list[np.ndarray]] = []
    rows: list[np.ndarray] = []
    for done, step in enumerate(steps):
        yield Progress(phase="finding what features responded to", done=done, total=len(steps), unit="snapshots")
        sae = files.load(session.snapshots_dir / str(step), model.device)
        value, image, place = (part.cpu() for part in strongest(sae, x, config.analysis.top_examples))
        feature, rank = (value.T > 0).nonzero(as_tuple=True)
        found, drawn = patterns(model, sae, (feature, numbers[image[rank, feature]], place[rank, feature]))
        parts.append([np.full(len(found), step), *(t.numpy() for t in (found, image[0, found], value[0, found]))])
        rows.append(drawn.numpy())
    columns: list[np.ndarray | pa.Array] = [np.concatenate(column) for column in zip(*parts, strict=True)]
    drawn = np.concatenate(rows) if rows else np.empty((0, SIDE**2), np.float32)
    lists = pa.ListArray.from_arrays(np.arange(len(drawn) + 1, dtype=np.int32) * SIDE**2, drawn.ravel())
    shards.write(session.activations_dir, "snapshot_images", [*(columns or [np.empty(0)] * 4), lists])

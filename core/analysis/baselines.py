"""What an SAE has to beat at the same number of active features: raw neurons, principal components, random directions.

Activations are centred at the mean of those that are fitted on. With k the SAE's L0, rounded:

    neurons  the k entries of x − μ that are largest in absolute value; an entry above 0 and below are two features
    pca      the same of the coordinates along principal components
    random   d_sae directions of unit length drawn from a normal distribution, the k largest positive products of x − μ
             with them, all times the one number that makes the least error on what is fitted on

FVU as in `core.evaluate`, and the median over the features that fire of the entropy, in nats, of the token it falls on,
or of the image's label: how plain a meaning is. Where the network classifies images, also the share of them that it
still classifies right with what is written in the activations' place. All on rows that nothing was fitted on.
"""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from core.errors import CorpusError
from core.models.digits import ImageClassifier
from core.models.load import Model
from core.records import Progress
from core.sae.base import SAE
from core.tokens import Blocks

ROWS = 8_192
"""Activations that are read, half of them to be fitted on."""
ELEMENTS = 2**26
"""Elements of the largest temporary matrix: 256 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """One way to write activations with few active features."""

    name: str
    fvu: float
    l0: float
    token_entropy: float | None
    recon_acc: float | None = None


@torch.no_grad()
def asked(model: Model, sae: SAE, batches: Iterable[Blocks], *, seed: int) -> Generator[Progress, None, list[Baseline]]:
    """Read some activations, and measure on them. Raises CorpusError where there is next to no text, or no image."""
    rows, ids, read = [], [], 0
    for batch in batches:
        block = torch.from_numpy(batch.ids).to(model.device)
        counted = torch.from_numpy(batch.counted).to(model.device)
        rows.append(model.activations(block)[counted])
        ids.append(torch.from_numpy(model.token_ids(batch.ids[batch.counted])).to(model.device))
        read += len(rows[-1])
        yield Progress(phase="reading activations", done=min(read, ROWS), total=ROWS, unit="tokens")
        if read >= ROWS:
            break
    places = model.places if isinstance(model, ImageClassifier) else 1
    n = min(read, ROWS) // (2 * places) * 2 * places  # no image is in both halves
    if not n:
        raise CorpusError("there is not enough text, or no two images, to measure on", hint="name a larger corpus")
    yield Progress(phase="measuring what it has to beat")
    x, token_ids = torch.cat(rows)[:n], torch.cat(ids)[:n]
    if not isinstance(model, ImageClassifier) or not model.classifies:
        return measured(sae, x, token_ids, seed=seed)
    labels = token_ids[n // 2 :: places]

    def right(x_hat: Float[Tensor, "n d_in"]) -> float:
        logits = model.onward(x_hat.unflatten(0, (-1, places)))
        return float((logits.argmax(dim=1) == labels).double().mean())

    return measured(sae, x, token_ids, seed=seed, right=right)


@torch.no_grad()
def measured(
    sae: SAE, x: Float[Tensor, "n d_in"], token_ids: Int[Tensor, " n"], *, seed: int,
    right: Callable[[Tensor], float] | None = None,
) -> list[Baseline]:  # fmt: skip
    """The SAE first, then the others, on the second half of the rows; what is fitted is so on the first.

    `right` gives the share classified right with other activations in the place of that half.
    """
    half = len(x) // 2
    fitted, x, token_ids = x[:half], x[half:], token_ids[half:]
    mean = fitted.mean(dim=0)
    _, _, axes = torch.linalg.svd(fitted - mean, full_matrices=False)
    z = _encoded(sae, x)
    k = max(1, round(float((z > 0).sum() / len(x))))
    directions = torch.nn.functional.normalize(
        torch.randn(sae.d_sae, x.shape[1], generator=torch.Generator().manual_seed(seed)).to(x.device), dim=1
    )
    scale = _scale(fitted - mean, directions, k)

    def of(name: str, x_hat: Float[Tensor, "n d"], z: Float[Tensor, "n f"]) -> Baseline:
        found = _of(name, x, x_hat, z, token_ids)
        return replace(found, recon_acc=right(x_hat)) if right else found

    found = [of("sae", sae.decode(z, x), z)]
    for name, basis in (("neurons", torch.eye(x.shape[1], device=x.device)), ("pca", axes)):
        kept = _largest((x - mean) @ basis.T, k)
        found.append(of(name, kept @ basis + mean, torch.cat([kept.relu(), (-kept).relu()], dim=1)))
    z = scale * _largest(((x - mean) @ directions.T).relu(), k)
    return [*found, of("random", z @ directions + mean, z)]


def token_entropies(z: Float[Tensor, "n f"], token_ids: Int[Tensor, " n"]) -> Float[np.ndarray, " f"]:
    """Of each feature, in nats, the entropy of the token a firing falls on; NaN for one that never fires."""
    row, feature = (part.cpu().numpy() for part in (z > 0).nonzero(as_tuple=True))
    pairs, n = np.unique(np.stack([feature, token_ids.cpu().numpy()[row]]), axis=1, return_counts=True)
    total = np.bincount(feature, minlength=z.shape[1])
    share = n / total[pairs[0]]
    found = np.bincount(pairs[0], -share * np.log(share), minlength=z.shape[1])
    return np.where(total > 0, found, np.nan)


def _of(
    name: str, x: Float[Tensor, "n d"], x_hat: Float[Tensor, "n d"], z: Float[Tensor, "n f"], token_ids: Tensor
) -> Baseline:
    error = float((x - x_hat).double().pow(2).sum())
    variance = float((x - x.mean(dim=0)).double().pow(2).sum())
    entropies = token_entropies(z, token_ids)
    living = entropies[~np.isnan(entropies)]
    return Baseline(
        name=name, fvu=error / variance, l0=float((z != 0).sum() / len(z)),
        token_entropy=float(np.median(living)) if len(living) else None,
    )  # fmt: skip


def _encoded(sae: SAE, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
    return torch.cat([sae.encode(some) for some in x.split(max(1, ELEMENTS // sae.d_sae))])


def _largest(values: Float[Tensor, "n f"], k: int) -> Float[Tensor, "n f"]:
    """The `k` entries of each row that are largest in absolute value, the others 0."""
    places = values.abs().topk(min(k, values.shape[1]), dim=1).indices
    return torch.zeros_like(values).scatter_(1, places, values.gather(1, places))


def _scale(x: Float[Tensor, "n d"], directions: Float[Tensor, "f d"], k: int) -> float:
    """The number times which the random code makes the least squared error."""
    x_hat = _largest((x @ directions.T).relu(), k) @ directions
    return float((x * x_hat).sum() / x_hat.pow(2).sum().clamp_min(torch.finfo(x.dtype).tiny))

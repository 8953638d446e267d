"""What the weights alone say of each feature: norms, logit effects, its nearest neighbours and its largest entries."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import Tensor

from core.analysis import shards
from core.errors import ModelError
from core.models.load import Model
from core.options import AnalysisConfig
from core.records import Notice, Progress
from core.sae.base import SAE
from core.sae.sparse_ops import largest

ELEMENTS = 2**26
"""Elements of the largest temporary matrix, in features × features: 256 MB."""
LOGITS = 2**23
"""Of a matrix of logits, in features × vocabulary: with more, what is computed of it waits for memory."""
AT_ONCE = 8
"""Features whose logits are binned at once: as many as stay near the processor."""


@torch.no_grad()
def write(model: Model, sae: SAE, folder: Path, config: AnalysisConfig) -> Iterator[Progress | Notice]:
    """The files `weights`, `alignment`, `logits`, `logit_histogram` and `neighbours`.

    Where the hook point is not in the residual stream there are no logit effects, and a Notice says so.
    """
    rows = sae.W_dec.detach().float()
    norms = rows.norm(dim=1)
    _write_weights(sae, rows, norms, folder)
    _write_alignment(rows, folder, config.neurons)
    try:
        yield from _write_logits(model, rows, folder, config)
    except ModelError as error:
        yield Notice(message=f"no logit effects: {error.message}")
        shards.write_parts(folder, "logits", [])
        shards.write_parts(folder, "logit_histogram", [])
    unit = rows / norms.clamp_min(torch.finfo(torch.float32).tiny).unsqueeze(1)
    parts = []
    step = max(1, ELEMENTS // sae.d_sae)
    for first in range(0, sae.d_sae, step):
        yield Progress(phase="comparing decoder directions", done=first, total=sae.d_sae, unit="features")
        cosines, others = _nearest(unit, first, step, config.neighbours)
        parts.append(shards.ranked(first, _numpy(others), _numpy(cosines)))
    shards.write_parts(folder, "neighbours", parts)


def _write_weights(sae: SAE, rows: Float[Tensor, "f d_in"], norms: Float[Tensor, " f"], folder: Path) -> None:
    encoder = sae.W_enc.detach().float().T
    threshold = getattr(sae, "threshold", None)
    shards.write(folder, "weights", [
        np.arange(sae.d_sae), _numpy(norms), _numpy(encoder.norm(dim=1)),
        _numpy(torch.nn.functional.cosine_similarity(encoder, rows, dim=1)), _numpy(sae.b_enc),
        pa.nulls(sae.d_sae, pa.float32()) if threshold is None else _numpy(threshold.flatten().expand(sae.d_sae)),
    ])  # fmt: skip


def _write_alignment(rows: Float[Tensor, "f d_in"], folder: Path, k: int) -> None:
    """The `k` entries of each direction that are largest in absolute value; `share`: of the sum of all of those."""
    top = rows.abs().topk(min(k, rows.shape[1]), dim=1)
    share = top.values / rows.abs().sum(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    weight = rows.gather(1, top.indices)
    shards.write_parts(folder, "alignment", [shards.ranked(0, *map(_numpy, (top.indices, weight, share)))])


def _write_logits(
    model: Model, rows: Float[Tensor, "f d_in"], folder: Path, config: AnalysisConfig
) -> Iterator[Progress]:
    effects: list[list[np.ndarray]] = []
    spread: list[list[np.ndarray]] = []
    step = max(1, LOGITS // model.n_vocab)
    for first in range(0, len(rows), step):
        yield Progress(phase="decoding features to logits", done=first, total=len(rows), unit="features")
        logits = model.unembed(rows[first : first + step])
        for sign in (1, -1):
            values, ids = _largest(sign * logits, min(config.top_tokens, logits.shape[1]))
            feature, rank, token_id, value = shards.ranked(first, _numpy(ids), _numpy(sign * values))
            effects.append([feature, np.full(len(rank), sign), rank, token_id, value])
        binned = [histograms(some, config.logit_bins) for some in logits.split(AT_ONCE)]
        feature, bins, *columns = shards.ranked(first, *(_numpy(torch.cat(part)) for part in zip(*binned, strict=True)))
        spread.append([feature, bins, *columns])
    shards.write_parts(folder, "logits", effects)
    shards.write_parts(folder, "logit_histogram", spread)


def histograms(rows: Float[Tensor, "f v"], bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row `bins` bins of equal width over all its values: lower edges, upper edges, counts, `[f bins]` each.

    A bin holds lo <= value < hi, the last one its upper edge too.
    """
    least, most = rows.amin(dim=1, keepdim=True), rows.amax(dim=1, keepdim=True)
    width = ((most - least) / bins).clamp_min(torch.finfo(torch.float32).tiny)
    place = rows.sub(least).div_(width).int().clamp_(max=bins - 1)
    place += torch.arange(len(rows), dtype=torch.int32, device=rows.device)[:, None] * bins
    n = torch.bincount(place.flatten(), minlength=len(rows) * bins).reshape(len(rows), bins)
    edges = least + width * torch.arange(bins + 1, device=rows.device)
    edges[:, -1:] = most
    return edges[:, :-1], edges[:, 1:], n


def _nearest(
    unit: Float[Tensor, "f d_in"], first: int, n: int, k: int
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The `k` largest cosines, and whose they are, of rows `first` to `first + n` with all others."""
    cosines = unit[first : first + n] @ unit.T
    own = torch.arange(len(cosines), device=unit.device)
    cosines[own, first + own] = -torch.inf
    return _largest(cosines, min(k, len(unit) - 1))


def _largest(rows: Float[Tensor, "n d"], k: int) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k largest of each row and their columns, largest first."""
    values, columns = largest(rows, k)
    order = values.argsort(dim=1, descending=True)
    return values.gather(1, order), columns.gather(1, order)


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()

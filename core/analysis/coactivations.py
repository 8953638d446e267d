"""Which features fire together, over the whole dictionary: products of the sparse code with itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from core.analysis import shards
from core.records import Progress

MOST_ENTRIES = 2**24
"""Activations that are counted: half a million tokens with 32 each. Of more, every second token is taken, every third,
and so on: what fires together does not need them all, and time and memory grow no further."""
BLOCK_ENTRIES = 2**24
"""Pairs held in memory at a time."""


def write(folder: Path, d_sae: int, tokens: int, k: int) -> Iterator[Progress]:
    """The file `coactivations`: of each feature that fired the `k` it fires together with, by Jaccard index.

    Over the `tokens` counted tokens whose codes lie in `folder`. With `n_f` those on which f fires and `n_fg` those on
    which both do:

        jaccard = n_fg / (n_f + n_g − n_fg)        pmi = ln(n_fg · tokens / (n_f n_g)), in nats
        pearson = (Σ z_f z_g / tokens − z̄_f z̄_g) / (σ(z_f) σ(z_g)), silent tokens included
    """
    code = _Code(folder, d_sae, tokens)
    parts = []
    for first, last in code.blocks():
        yield Progress(phase="finding what fires together", done=first, total=d_sae, unit="features")
        parts.append(code.together(first, last, k))
    shards.write_parts(folder, "coactivations", parts)


class _Code:
    """The sparse code of all tokens, or of every m-th position, and its moments."""

    def __init__(self, folder: Path, d_sae: int, tokens: int) -> None:
        parts = list(shards.each(folder, "codes"))
        columns = {name: np.concatenate([part[name] for part in parts]) for name in ("feature", "token_idx", "value")}
        every = -(-len(columns["feature"]) // MOST_ENTRIES) or 1
        self.tokens, positions = 0, 0
        for part in shards.each(folder, "tokens"):
            positions += len(part["token_idx"])
            self.tokens += int((part["counted"] & (part["token_idx"] % every == 0)).sum())
        if every > 1:
            kept = columns["token_idx"] % every == 0
            columns = {name: column[kept] for name, column in columns.items()}
        places = (columns["token_idx"], columns["feature"])
        self.by_token = sparse.csr_matrix((columns["value"], places), shape=(positions, d_sae))
        self.by_feature = self.by_token.T.tocsr()
        self.n = np.diff(self.by_feature.indptr)
        total = np.bincount(columns["feature"], columns["value"], minlength=d_sae)
        squares = np.bincount(columns["feature"], columns["value"].astype(np.float64) ** 2, minlength=d_sae)
        self.mean = total / max(1, self.tokens)
        self.spread = np.sqrt(np.maximum(squares / max(1, self.tokens) - self.mean**2, 0))

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Runs of features whose pairs fit into memory: each has at most one with every feature."""
        d_sae = len(self.n)
        entries_a_token = max(1, round(self.by_token.nnz / max(1, self.tokens)))
        pairs = np.cumsum(np.minimum(self.n * entries_a_token, d_sae))
        first = 0
        while first < d_sae:
            before = pairs[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(pairs, before + BLOCK_ENTRIES, side="right")))
            yield first, last
            first = last

    def together(self, first: int, last: int, k: int) -> list[np.ndarray]:
        """Columns of `coactivations` for features `first` to `last`."""
        some = self.by_feature[first:last]
        counts: Any = _ones(some) @ _ones(self.by_token)  # scipy's stubs promise less than it gives
        products: Any = some @ self.by_token
        assert np.array_equal(counts.indices, products.indices)  # one pattern gives one order
        found: list[list[np.ndarray]] = []
        for row in range(last - first):
            span = slice(counts.indptr[row], counts.indptr[row + 1])
            found.append(self._of(first + row, counts.indices[span], counts.data[span], products.data[span], k))
        return [np.concatenate(column) for column in zip(*found, strict=True)]

    def _of(self, feature: int, other: np.ndarray, both: np.ndarray, products: np.ndarray, k: int) -> list[np.ndarray]:
        """Its rows, from how often it fires with each other feature and the sums of products with them."""
        n, tokens = self.n.astype(np.float64), self.tokens
        jaccard = both / (n[feature] + n[other] - both)
        jaccard[other == feature] = 0
        kept = _largest(jaccard, other, k)
        other, both, jaccard, products = other[kept], both[kept], jaccard[kept], products[kept]
        scale = self.spread[feature] * self.spread[other]
        pearson = (products / tokens - self.mean[feature] * self.mean[other]) / np.where(scale > 0, scale, np.inf)
        pmi = np.log(both * tokens / (n[feature] * n[other]))
        return [np.full(len(other), feature), np.arange(len(other)), other, both, jaccard, pmi, pearson]


def _ones(code: sparse.csr_matrix) -> sparse.csr_matrix:
    """The same pattern, all ones."""
    return sparse.csr_matrix((np.ones(code.nnz, dtype=np.int32), code.indices, code.indptr), shape=code.shape)


def _largest(values: np.ndarray, names: np.ndarray, k: int) -> np.ndarray:
    """Places of the `k` largest positive values, largest first, ties by the smaller name."""
    places = np.flatnonzero(values > 0)
    if len(places) > k:
        least = np.partition(values[places], len(places) - k)[len(places) - k]
        places = places[values[places] >= least]
    return places[np.lexsort((names[places], -values[places]))][:k]

"""Codes over the same tokens: which features of one fire with which of the other, as products of sparse matrices."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

BLOCK_ENTRIES = 2**24
"""Pairs held in memory at a time."""


class Code:
    """The sparse code of some tokens, and its moments over them."""

    def __init__(self, feature: np.ndarray, token: np.ndarray, value: np.ndarray, *, d_sae: int, tokens: int) -> None:
        """Entries of the code; `token` is a place among `tokens` or more rows, of which `tokens` count."""
        rows = max(tokens, int(token.max(initial=-1)) + 1)
        self.tokens = tokens
        self.by_token = sparse.csr_matrix((value, (token, feature)), shape=(rows, d_sae))
        self.by_feature = self.by_token.T.tocsr()
        self.n = np.diff(self.by_feature.indptr)
        squares = np.bincount(feature, value.astype(np.float64) ** 2, minlength=d_sae) / max(1, tokens)
        self.mean = np.bincount(feature, value, minlength=d_sae) / max(1, tokens)
        self.spread = np.sqrt(np.maximum(squares - self.mean**2, 0))


def jaccard(n_f: Any, n_g: Any, both: Any) -> Any:
    """`n_fg / (n_f + n_g − n_fg)`: of the tokens on which either fires the share on which both do.

    Of numbers or arrays; n_f and n_g are not both 0.
    """
    return both / (np.float64(n_f) + n_g - both)


def pmi(n_f: Any, n_g: Any, both: Any, tokens: int) -> Any:
    """`ln(n_fg · tokens / (n_f n_g))`, in nats; of numbers or arrays above 0."""
    return np.log(np.float64(both) * tokens / (np.float64(n_f) * n_g))


class Pairs(NamedTuple):
    """A feature of one code with those of another that fire on some of the same tokens."""

    other: np.ndarray
    both: np.ndarray
    """Tokens on which both fire."""
    jaccard: np.ndarray
    pearson: np.ndarray


def blocks(one: Code, other: Code) -> Iterator[tuple[int, int]]:
    """Runs of features of `one` whose pairs with `other` fit into memory: each has at most one with every feature."""
    entries_a_token = max(1, round(other.by_token.nnz / max(1, other.tokens)))
    pairs = np.cumsum(np.minimum(one.n * entries_a_token, len(other.n)))
    first = 0
    while first < len(one.n):
        before = pairs[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(pairs, before + BLOCK_ENTRIES, side="right")))
        yield first, last
        first = last


def paired(one: Code, other: Code, first: int, last: int) -> Iterator[tuple[int, Pairs]]:
    """Features `first` to `last` of `one`, each with all of `other` that fire with it, both over the same tokens.

    jaccard: `jaccard`
    pearson = (Σ z_f z_g / n − z̄_f z̄_g) / (σ(z_f) σ(z_g)), over all n tokens, silent ones included
    """
    some = one.by_feature[first:last]
    counts: Any = _ones(some) @ _ones(other.by_token)  # scipy's stubs promise less than it gives
    products: Any = some @ other.by_token
    assert np.array_equal(counts.indices, products.indices)  # one pattern gives one order
    for row in range(last - first):
        span = slice(counts.indptr[row], counts.indptr[row + 1])
        feature, names, both = first + row, counts.indices[span], counts.data[span]
        scale = one.spread[feature] * other.spread[names]
        covariance = products.data[span] / max(1, one.tokens) - one.mean[feature] * other.mean[names]
        pearson = np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 0)
        yield feature, Pairs(names, both, jaccard(one.n[feature], other.n[names], both), pearson)


def _ones(code: sparse.csr_matrix) -> sparse.csr_matrix:
    """The same pattern, all ones."""
    return sparse.csr_matrix((np.ones(code.nnz, dtype=np.int32), code.indices, code.indptr), shape=code.shape)


def largest(values: np.ndarray, names: np.ndarray, k: int) -> np.ndarray:
    """Places of the `k` largest positive values, largest first, ties by the smaller name."""
    places = np.flatnonzero(values > 0)
    if len(places) > k:
        least = np.partition(values[places], len(places) - k)[len(places) - k]
        places = places[values[places] >= least]
    return places[np.lexsort((names[places], -values[places]))][:k]

"""Codes over the same tokens: which features of one fire with which of the other, as products of sparse matrices.

And such codes of two sessions, of whatever models, over the text that both were analysed on.
"""

import os
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import duckdb
import numpy as np
from jaxtyping import Int
from scipy import sparse

from core.analysis.connection import connected
from core.errors import QueryError
from core.session import Session

BLOCK_ENTRIES = 2**21
"""Pairs that a thread holds in memory at a time."""
THREADS = 4
"""At most: each holds some 80 MB."""
LONGEST = 2**40
"""Characters of a document, at most."""
SPANS = """
    WITH ends AS (
        SELECT token_idx, doc, counted, sum(length(text)) OVER (PARTITION BY doc ORDER BY doc_pos) AS upto
        FROM tokens WHERE doc_pos IS NOT NULL
    )
    SELECT token_idx, doc, counted, upto, digest FROM ends JOIN documents USING (doc) ORDER BY token_idx
"""


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


def pearson(one: Code, other: Code, f: np.ndarray, g: np.ndarray, products: np.ndarray) -> np.ndarray:
    """`(Σ z_f z_g / n − z̄_f z̄_g) / (σ(z_f) σ(z_g))`, over all n tokens, silent ones included; 0 where one never varies.

    Of features f of `one` and g of `other`, whose `products` are Σ z_f z_g.
    """
    scale = one.spread[f] * other.spread[g]
    covariance = products / max(1, one.tokens) - one.mean[f] * other.mean[g]
    return np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 0)


class Pairs(NamedTuple):
    """A run of features of one code, each with all of another that fire on some of the same tokens."""

    first: int
    """The first feature of the run."""
    starts: np.ndarray
    """Of each feature where its pairs begin, and where those of the last end: `[features + 1]`."""
    other: np.ndarray
    value: np.ndarray

    @property
    def upto(self) -> int:
        """The feature behind the last of the run."""
        return self.first + len(self.starts) - 1

    @property
    def feature(self) -> np.ndarray:
        """Of each pair the feature whose it is."""
        return self.spread(np.arange(self.upto, dtype=self.other.dtype))

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Of each pair the value of its feature, of `values` of all features: faster than to ask by feature."""
        return np.repeat(values[self.first : self.upto], np.diff(self.starts))


Found = TypeVar("Found")


def counted(one: Code, other: Code, made: Callable[[Pairs], Found]) -> Generator[Found, None, None]:
    """What `made` makes, on some threads, of all pairs of a feature of `one` and one of `other`, run by run in order.

    The value of a pair is on how many of the same tokens both fire.
    """
    return _products(_ones(one.by_feature), _ones(other.by_token), made)


def correlated(one: Code, other: Code, made: Callable[[Pairs], Found]) -> Generator[Found, None, None]:
    """As `counted`, with the `pearson` of both over the same tokens as the value."""

    def correlations(pairs: Pairs) -> Found:
        products = pairs.value.astype(np.float64)
        return made(pairs._replace(value=pearson(one, other, pairs.feature, pairs.other, products)))

    return _products(one.by_feature, other.by_token, correlations)


def _products(left: Any, right: Any, made: Callable[[Pairs], Found]) -> Generator[Found, None, None]:
    """`made` of the entries of left @ right, in runs of rows of at most BLOCK_ENTRIES, or of one row."""

    def of(run: tuple[int, int]) -> Found:
        product = left[slice(*run)] @ right
        return made(Pairs(run[0], product.indptr, product.indices, product.data))

    pool = ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1))
    try:
        yield from pool.map(of, pairwise(_runs(left, right)))
    finally:
        pool.shutdown(cancel_futures=True)


def _runs(left: Any, right: Any) -> Iterator[int]:
    """Where each run of rows of left @ right begins, and the last one ends."""
    upto = np.cumsum(np.minimum(_ones(left) @ np.diff(right.indptr), right.shape[1]), dtype=np.int64)
    first = 0
    while first < len(upto):
        yield first
        before = upto[first - 1] if first else 0
        first = max(first + 1, int(np.searchsorted(upto, before + BLOCK_ENTRIES, side="right")))
    yield len(upto)


def _ones(code: sparse.csr_matrix) -> sparse.csr_matrix:
    """The same pattern, all ones."""
    return sparse.csr_matrix((np.ones(code.nnz, dtype=np.int32), code.indices, code.indptr), shape=code.shape)


def largest(pairs: Pairs, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the `k` pairs of largest value of each feature, largest first, ties by the smaller other; their ranks.

    Features in order.
    """
    sizes = np.diff(pairs.starts)
    places = np.flatnonzero(pairs.value >= np.repeat(_least(pairs.value, pairs.starts, k), sizes))
    feature = np.searchsorted(pairs.starts, places, side="right")
    order = np.lexsort((pairs.other[places], -pairs.value[places], feature))
    places, feature = places[order], feature[order]
    ranks = np.arange(len(places)) - np.searchsorted(feature, feature)
    return places[ranks < k], ranks[ranks < k]


def _least(values: np.ndarray, starts: np.ndarray, k: int) -> np.ndarray:
    """Of each run of values one that is no larger than its k-th largest, and mostly near it.

    It is the k-th largest of the maxima of a run's parts: so many values at least are as large.
    """
    parts = 4 * k
    sizes = np.diff(starts).astype(np.int64)
    long = np.flatnonzero(sizes >= parts)
    least = np.full(len(sizes), -np.inf)
    edges = starts[long, None] + sizes[long, None] * np.arange(parts + 1) // parts
    if len(long):  # a run's last edge begins what lies between it and the next
        maxima = np.maximum.reduceat(np.append(values, -np.inf), edges.ravel()).reshape(edges.shape)[:, :-1]
        least[long] = np.partition(maxima, parts - k, axis=1)[:, parts - k]
    return least


def codes(one: Session, other: Session) -> tuple[Code, Code]:
    """Both sessions' codes over the positions that they have in common, numbered alike.

    Each position of `one` is held against that of `other` in which its last character lies, so that both have read the
    same text up to there: of documents with the same digest, by the lengths of their tokens' texts. Raises QueryError
    where they have no text in common, or were not analysed.
    """
    with connected([one]) as first, connected([other]) as second:
        places = _common(first, second)
        if not len(places[0]):
            raise _strangers(one, other)
        return _code(first, places[0]), _code(second, places[1])


def strongest(one: Session, other: Session) -> tuple[Code, Code]:
    """Of both the largest activation of each feature in each document that they have in common, numbered alike.

    Documents have the same digest, and count up to the character to which both have read them. Raises as `codes`.
    """
    with connected([one]) as first, connected([other]) as second:
        texts = [_arrays(connection, SPANS) for connection in (first, second)]
        shared = sorted(set(texts[0]["digest"]) & set(texts[1]["digest"]))
        numbers = {digest: i for i, digest in enumerate(shared)}
        docs = [np.array([numbers.get(digest, -1) for digest in text["digest"]], dtype=np.int64) for text in texts]
        read = np.zeros((2, len(shared) + 1), dtype=np.int64)
        for side, text, doc in zip(read, texts, docs, strict=True):
            np.maximum.at(side, doc, text["upto"].astype(np.int64))
        read[:, -1] = -1  # documents of one of both alone
        upto = read.min(axis=0)
        kept = [text["counted"] & (text["upto"] <= upto[doc]) for text, doc in zip(texts, docs, strict=True)]
        there = np.intersect1d(docs[0][kept[0]], docs[1][kept[1]])
        if not len(there):
            raise _strangers(one, other)
        kept = [keep & np.isin(doc, there) for keep, doc in zip(kept, docs, strict=True)]
        mine, its = (
            _maxima(connection, text["token_idx"][keep], np.searchsorted(there, doc[keep]), len(there))
            for connection, text, keep, doc in zip((first, second), texts, kept, docs, strict=True)
        )
        return mine, its


def _maxima(
    connection: duckdb.DuckDBPyConnection, positions: Int[np.ndarray, " n"], rows: Int[np.ndarray, " n"], count: int
) -> Code:
    """The code whose row i has the largest activation of each feature at the positions of row i, of `count` rows."""
    entries = _entries(connection, positions)
    feature, at, value = entries.col, rows[entries.row], entries.data
    order = np.lexsort((value, at, feature))
    feature, at, value = feature[order], at[order], value[order]
    largest = np.append((np.diff(feature) != 0) | (np.diff(at) != 0), True)[: len(value)]
    return Code(feature[largest], at[largest], value[largest], d_sae=_width(connection), tokens=count)


def _common(
    one: duckdb.DuckDBPyConnection, other: duckdb.DuckDBPyConnection
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Counted positions of `one`, and of each that of `other` in which its last character lies: `token_idx` of both."""
    mine, its = (_arrays(connection, SPANS) for connection in (one, other))
    numbers = {digest: i for i, digest in enumerate(dict.fromkeys(its["digest"]))}
    end_its, end_mine = _ends(its, numbers), _ends(mine, numbers)
    order = np.argsort(end_its, kind="stable")
    at = np.searchsorted(end_its[order], end_mine, side="left")
    lies = order[np.minimum(at, len(order) - 1)]
    same = (at < len(order)) & (end_its[lies] // LONGEST == end_mine // LONGEST) & (end_mine >= 0)
    kept = np.flatnonzero(same & mine["counted"] & its["counted"][lies])
    return mine["token_idx"][kept], its["token_idx"][lies[kept]]


def _ends(tokens: dict[str, np.ndarray], numbers: dict[str, int]) -> Int[np.ndarray, " n"]:
    """Where each token ends, as one number: that of its document and the character; negative in others' documents."""
    number = np.array([numbers.get(digest, -1) for digest in tokens["digest"]], dtype=np.int64)
    return number * LONGEST + tokens["upto"].astype(np.int64)


def _arrays(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, np.ndarray]:
    return {name: np.asarray(column) for name, column in connection.execute(sql).fetchnumpy().items()}


def _code(connection: duckdb.DuckDBPyConnection, positions: Int[np.ndarray, " n"]) -> Code:
    """The code at these positions, in their order; a position may come several times."""
    there = _entries(connection, positions)
    return Code(there.col, there.row, there.data, d_sae=_width(connection), tokens=len(positions))


def _entries(connection: duckdb.DuckDBPyConnection, positions: Int[np.ndarray, " n"]) -> Any:
    """What fires at these positions, as a matrix in coordinates: of each entry its place among them and its feature."""
    entries = _arrays(connection, "SELECT feature, token_idx, value FROM activations")
    places = (entries["token_idx"], entries["feature"])
    rows = 1 + max(int(column.max(initial=0)) for column in (positions, entries["token_idx"]))
    return sparse.csr_matrix((entries["value"], places), shape=(rows, _width(connection)))[positions].tocoo()


def _width(connection: duckdb.DuckDBPyConnection) -> int:
    return connection.execute("SELECT count(*) FROM features").fetchall()[0][0]


def _strangers(one: Session, other: Session) -> QueryError:
    return QueryError(
        f"{one.name} and {other.name} were analysed on no common text",
        hint=f"analyse both on one corpus with one seed: `sae-tui analyze {other.name} --set seed=...`",
    )

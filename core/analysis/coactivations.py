"""Which features fire together, over the whole dictionary."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from core.analysis import shards
from core.analysis.together import BLOCK_ENTRIES, Code, Pairs, counted, jaccard, largest, pearson, pmi
from core.records import Notice, Progress

MOST_ENTRIES = 2**25
"""Activations that are counted: a million tokens with 32 each. Of more, every second token is taken, every third, and
so on, and each stands for as many: what fires together does not need them all, and time and memory grow no further."""
UNEVEN = 16
"""From how many times the tokens of the rarer feature of a pair on to look the other up is faster than to read it."""


def write(folder: Path, d_sae: int, tokens: int, k: int) -> Iterator[Progress | Notice]:
    """The file `coactivations`: of each feature that fired the `k` it fires together with, by Jaccard index.

    Over the `tokens` counted tokens whose codes lie in `folder`. With `n_f` those on which f fires and `n_fg` those on
    which both do, `jaccard`, `pmi` and `pearson` (of both activations) are those of `core.analysis.together`. Where
    there are more than MOST_ENTRIES all are estimates, which a Notice says.
    """
    phase = "finding what fires together"
    yield Progress(phase=phase)
    every = -(-shards.rows(folder, "codes") // MOST_ENTRIES) or 1
    if every > 1:
        yield Notice(message=f"what fires together is estimated from one of {every} tokens")
    code = _read(folder, d_sae, tokens, every)
    parts = []
    for upto, part in counted(code, code, lambda pairs: (pairs.upto, _together(code, pairs, k, every))):
        yield Progress(phase=phase, done=upto, total=d_sae, unit="features")
        parts.append(part)
    shards.write_parts(folder, "coactivations", parts)


def _together(code: Code, pairs: Pairs, k: int, every: int) -> list[np.ndarray]:
    """Columns of `coactivations` for the features of these pairs."""
    f, g, both = pairs.feature, pairs.other, pairs.value
    alike = jaccard(pairs.spread(code.n), code.n[g], both)
    alike[f == g] = 0
    at, rank = largest(pairs._replace(value=alike), k)
    at, rank = at[alike[at] > 0], rank[alike[at] > 0]
    f, g, both = f[at], g[at], both[at]
    likelier = pmi(code.n[f], code.n[g], both, code.tokens)
    return [f, rank, g, every * both, alike[at], likelier, pearson(code, code, f, g, _products(code, f, g))]


def _products(code: Code, f: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Σ z_f z_g of each pair: so few are chosen that to multiply these alone takes less than all, as a product."""
    turned = code.n[f] > code.n[g]
    rare, common = np.where(turned, g, f), np.where(turned, f, g)
    n, m = code.n[rare].astype(np.int64), code.n[common].astype(np.int64)
    sums = np.zeros(len(f))
    for chosen, read, values in ((m > UNEVEN * n, n, _looked_up), (m <= UNEVEN * n, n + m, _merged)):
        places = np.flatnonzero(chosen)
        block = np.cumsum(read[places]) // BLOCK_ENTRIES
        for some in np.split(places, np.flatnonzero(np.diff(block)) + 1):
            if len(some):
                found = values(code, rare[some], common[some])
                pair = np.repeat(np.arange(len(some)), np.diff(found.indptr))
                sums[some] = np.bincount(pair, found.data, minlength=len(some))
    return sums


def _merged(code: Code, rare: np.ndarray, common: np.ndarray) -> Any:
    """z_f z_g on each token, a row a pair: both are read to their ends."""
    return code.by_feature[rare].multiply(code.by_feature[common])


def _looked_up(code: Code, rare: np.ndarray, common: np.ndarray) -> Any:
    """The same, by looking for the common one on each token of the rare one."""
    found = code.by_feature[rare]
    found.data *= np.asarray(code.by_token[found.indices, np.repeat(common, np.diff(found.indptr))]).ravel()
    return found


def _read(folder: Path, d_sae: int, tokens: int, every: int) -> Code:
    """The code of all tokens, or of each `every`-th position."""
    if every > 1:
        places = (part["token_idx"][part["counted"]] for part in shards.each(folder, "tokens"))
        tokens = sum(int((some % every == 0).sum()) for some in places)
    parts = [
        [part[name][part["token_idx"] % every == 0] for name in ("feature", "token_idx", "value")]
        for part in shards.each(folder, "codes")
    ]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    del parts  # a third of what is held while the matrices are made
    return Code(*columns, d_sae=d_sae, tokens=tokens)

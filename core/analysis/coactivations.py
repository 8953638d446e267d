"""Which features fire together, over the whole dictionary."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from core.analysis import shards
from core.analysis.together import Code, blocks, largest, paired, pmi
from core.records import Progress

MOST_ENTRIES = 2**24
"""Activations that are counted: half a million tokens with 32 each. Of more, every second token is taken, every third,
and so on: what fires together does not need them all, and time and memory grow no further."""


def write(folder: Path, d_sae: int, tokens: int, k: int) -> Iterator[Progress]:
    """The file `coactivations`: of each feature that fired the `k` it fires together with, by Jaccard index.

    Over the `tokens` counted tokens whose codes lie in `folder`. With `n_f` those on which f fires and `n_fg` those on
    which both do:

        jaccard and pmi: `core.analysis.together`
        pearson: the correlation of both activations over all tokens
    """
    code = _read(folder, d_sae, tokens)
    parts = []
    for first, last in blocks(code, code):
        yield Progress(phase="finding what fires together", done=first, total=d_sae, unit="features")
        found = [columns for _, columns in _together(code, first, last, k)]
        parts.append([np.concatenate(column) for column in zip(*found, strict=True)])
    shards.write_parts(folder, "coactivations", parts)


def _together(code: Code, first: int, last: int, k: int) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Columns of `coactivations` for features `first` to `last`."""
    for feature, pairs in paired(code, code, first, last):
        kept = largest(np.where(pairs.other == feature, 0, pairs.jaccard), pairs.other, k)
        other, both, jaccard, pearson = (column[kept] for column in pairs)
        likelier = pmi(code.n[feature], code.n[other], both, code.tokens)
        named = np.full(len(other), feature), np.arange(len(other))
        yield feature, [*named, other, both, jaccard, likelier, pearson]


def _read(folder: Path, d_sae: int, tokens: int) -> Code:
    """The code of all tokens, or of every m-th position."""
    every = -(-shards.rows(folder, "codes") // MOST_ENTRIES) or 1
    if every > 1:
        places = (part["token_idx"][part["counted"]] for part in shards.each(folder, "tokens"))
        tokens = sum(int((some % every == 0).sum()) for some in places)
    parts = [
        [part[name][part["token_idx"] % every == 0] for name in ("feature", "token_idx", "value")]
        for part in shards.each(folder, "codes")
    ]
    return Code(*(np.concatenate(column) for column in zip(*parts, strict=True)), d_sae=d_sae, tokens=tokens)

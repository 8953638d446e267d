"""Texts as an SAE reads them: tokens and the sparse code of each, and one vector a text made of it. Numbers, no torch.

Tokens are encoded first and pooled then. A code of pooled activations would be that of a point where no activation is,
and has many times as many active features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from core.errors import UsageError, nearest

Pool = Literal["max", "last", "mean"]
POOLS: tuple[Pool, ...] = get_args(Pool)
ELEMENTS = 2**28
"""Of the largest matrix of texts × features: 1 GiB."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CodedText:
    """One text, its tokens, and the positive entries of the code of each counted one, ordered by position."""

    ids: Int[np.ndarray, " t"]
    """As the model reads them, BOS included."""
    words: tuple[str, ...]
    """The text of each."""
    counted: Bool[np.ndarray, " t"]
    """False where the SAE is not defined."""
    first: int
    """The position at which the text begins: 1 behind a BOS."""
    position: Int[np.ndarray, " nnz"]
    feature: Int[np.ndarray, " nnz"]
    value: Float[np.ndarray, " nnz"]
    x_nonzero: float | None
    """Share of the entries of its counted activations that are not 0; None where no token counts."""
    cut: int
    """Tokens behind the last that the model could read."""
    x_ranked: tuple[float, ...] = ()
    z_ranked: tuple[float, ...] = ()
    """Absolute entries of an activation, and of its code, at evenly spaced ranks, the largest first: means over the
    counted tokens."""

    def on(self, feature: int) -> Float[np.ndarray, " t"]:
        """The feature's activation on each token."""
        values = np.zeros(len(self.ids), dtype=np.float32)
        mine = self.feature == feature
        values[self.position[mine]] = self.value[mine]
        return values


def pooled(texts: Sequence[CodedText], d_sae: int, how: Pool = "max") -> Float[np.ndarray, "n d_sae"]:
    """One vector a text, over its counted tokens i; 0 for a text that has none.

    `max`: `max_i z_if`; `mean`: `mean_i z_if`; `last`: `z_if` of the last. Raises UsageError for another `how`, and
    where the matrix would be too large.
    """
    if how not in POOLS:
        raise UsageError(f"there is no pooling {how!r}", hint=nearest(str(how), POOLS))
    if len(texts) * d_sae > ELEMENTS:
        raise UsageError(
            f"{len(texts):,} texts are too many for {d_sae:,} features", hint=f"give at most {ELEMENTS // d_sae:,}"
        )
    found = np.zeros((len(texts), d_sae), dtype=np.float32)
    for row, text in zip(found, texts, strict=True):
        counted = np.flatnonzero(text.counted)
        if how == "max":
            np.maximum.at(row, text.feature, text.value)
        elif len(counted) and how == "mean":
            row += np.bincount(text.feature, text.value.astype(np.float64), minlength=d_sae) / len(counted)
        elif len(counted):
            mine = text.position == counted[-1]
            row[text.feature[mine]] = text.value[mine]
    return found

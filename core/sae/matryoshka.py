"""Matryoshka: BatchTopK whose first features reconstruct by themselves, so that the general ones come first.

Bussmann et al. 2025, "Learning multi-level features with matryoshka SAEs" (arXiv 2503.17547).
"""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor

from core.sae.base import squared_error
from core.sae.batchtopk import BatchTopK
from core.sae.sparse_ops import SparseEntries


class Matryoshka(BatchTopK):
    """Nested prefixes of the features, each half as wide as the next: `widths`, the last being d_sae."""

    architecture = "matryoshka"

    def __init__(
        self, d_in: int, d_sae: int, k: int, *, levels: int = 5, aux_coefficient: float = 1 / 32,
        apply_b_dec_to_input: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(d_in, d_sae, k, aux_coefficient=aux_coefficient, apply_b_dec_to_input=apply_b_dec_to_input)
        self.widths = tuple(sorted({max(1, d_sae >> level) for level in range(levels)}))

    def reconstructed(
        self, x: Float[Tensor, "n d_in"], entries: SparseEntries
    ) -> tuple[Float[Tensor, "n d_in"], Float[Tensor, ""]]:
        """`x̂`, and `Σ_m mean_t Σ_d (x̂^m − x)²` over the narrower `widths`: x̂^m is that of the first m features."""
        x_hat: Tensor = self.b_dec.expand_as(x)
        inner = x.new_zeros(())
        for first, end in pairwise((0, *self.widths)):
            part = entries.only(first, end)
            x_hat = x_hat + part.decode(part.u, self.W_dec)
            if end < self.d_sae:
                inner = inner + squared_error(x, x_hat)
        return x_hat, inner

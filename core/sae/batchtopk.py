"""BatchTopK: k features on each activation on average, and a threshold learned for when there is no batch.

Bussmann et al. 2024, "BatchTopK sparse autoencoders" (arXiv 2412.06410).
"""

from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from core.sae.base import Losses, Thresholded, losses, squared_error
from core.sae.sparse_ops import Encoder, SparseEntries, flat_nonzero
from core.sae.topk import TopK

RATE = 0.1
"""How fast the threshold follows the smallest value kept, which hardly varies between batches but falls as codes learn.

At SAELens' 0.01 it trails by a hundred steps: after 100 steps 11.6 features passed it where k was 32, at 0.1 33.4.
"""
GUESSES = (0.9, 0.6)
"""Candidates for the largest are looked for above these shares of the threshold first: the first leaves an eighth of
what is positive, but early in a training the largest fall faster."""


class Batch(Protocol):
    """The batch as a whole, of which a process may have a part of the rows."""

    def whole(self, n: int) -> int:
        """How many rows it has, of which n are here."""
        ...

    def total(self, counts: Tensor) -> Tensor:
        """The sum of what each process counts."""
        ...

    def gathered(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "all d"]:
        """The rows that all processes give."""
        ...


class Alone:
    """All of the batch is here."""

    def whole(self, n: int) -> int:
        """All."""
        return n

    def total(self, counts: Tensor) -> Tensor:
        """As they are."""
        return counts

    def gathered(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "all d"]:
        """As they are."""
        return x


class BatchTopK(Thresholded, TopK):
    """In training `z` holds the k·n largest entries of `relu(u)` over a batch of n; else `z = u · 1[u > t]`.

    `t ← t + RATE (smallest value kept − t)`, one for all features, beginning with the first batch's. On disk it is a
    JumpReLU SAE.
    """

    architecture = "batchtopk"
    batch: Batch = Alone()

    def __init__(
        self, d_in: int, d_sae: int, k: int, *, aux_coefficient: float = 1 / 32, apply_b_dec_to_input: bool = True
    ) -> None:
        super().__init__(d_in, d_sae, k, aux_coefficient=aux_coefficient, apply_b_dec_to_input=apply_b_dec_to_input)
        self.register_buffer("threshold", torch.zeros(()))

    def losses(self, x: Float[Tensor, "n d_in"], *, dead: Bool[Tensor, " d_sae"], warmth: float) -> Losses:
        """`mean_t Σ_d (x̂ − x)²` + TopK's auxiliary loss, with `warm_k` largest on average. Moves the threshold."""
        entries = self._largest(self.encoder(x), self.warm_k(warmth) * self.batch.whole(len(x)))
        x_hat, inner = self.reconstructed(x, entries)
        aux = self.auxiliary_loss(x, x_hat, dead)
        return losses(entries, entries.u, squared_error(x, x_hat), aux=aux + inner)

    def reconstructed(
        self, x: Float[Tensor, "n d_in"], entries: SparseEntries
    ) -> tuple[Float[Tensor, "n d_in"], Float[Tensor, ""]]:
        """The reconstruction, and what reconstructions besides it add to the loss."""
        return entries.decode(entries.u, self.W_dec) + self.b_dec, x.new_zeros(())

    @torch.no_grad()
    def _largest(self, encoder: Encoder, wanted: int) -> SparseEntries:
        """The `wanted` largest positive pre-activations of the batch, such as are here.

        The threshold takes a step towards the smallest of them all.
        """
        u = encoder.u
        found = (flat_nonzero(u > share * self.threshold) for share in GUESSES)
        places = next((places for places in found if self._count(places) >= wanted), None)
        if places is None:
            places = flat_nonzero(u > 0)
        values = u.flatten().index_select(0, places)
        everywhere = self.batch.gathered(values.unsqueeze(1)).squeeze(1)
        if len(everywhere):
            largest = everywhere.topk(wanted, sorted=False).values if len(everywhere) > wanted else everywhere
            least = largest.min()
            kept = flat_nonzero(values >= least)[:wanted]
            places = places.index_select(0, kept)
            self.threshold += (least - self.threshold) * (RATE if self.threshold > 0 else 1.0)
        return encoder.at(places)

    def _count(self, places: Tensor) -> int:
        return int(self.batch.total(torch.tensor(len(places), device=places.device)))

"""TopK: the k largest of `relu(u)`, with an auxiliary loss that revives dead features.

Gao et al. 2024, "Scaling and evaluating sparse autoencoders" (arXiv 2406.04093).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from core.sae.base import Losses, SparseCode, UnitDecoder, losses, normalised, squared_error
from core.sae.sparse_ops import largest

WIDE = 8
"""How many times k a warm-up of k begins with."""


class TopK(UnitDecoder):
    """`z`: the k largest entries of `relu(u)`, 0 elsewhere."""

    architecture = "topk"
    reborn = 1.0  # a weaker one would never be among the largest

    def __init__(
        self,
        d_in: int,
        d_sae: int,
        k: int,
        *,
        aux_coefficient: float = 1 / 32,
        apply_b_dec_to_input: bool = True,
    ) -> None:
        super().__init__(d_in, d_sae, apply_b_dec_to_input=apply_b_dec_to_input)
        self.k = k
        self.aux_coefficient = aux_coefficient

    def code(self, u: Float[Tensor, "n d_sae"]) -> Float[Tensor, "n d_sae"]:
        """The k largest of `relu(u)` in each row."""
        values, features = u.relu().topk(self.k, dim=1, sorted=False)
        return torch.zeros_like(u).scatter(1, features, values)

    @torch.no_grad()
    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> SparseCode:
        """The positive entries of `encode(x)`, ordered by row; no dense code is made."""
        inside = normalised(x, self.per_token, self.centre)
        values, features = largest(self.pre_activations(inside.x), self.k)
        row, place = (values > 0).nonzero(as_tuple=True)
        return SparseCode(row, features[row, place], (values * inside.scale)[row, place])

    def losses(self, x: Float[Tensor, "n d_in"], *, dead: Bool[Tensor, " d_sae"], warmth: float) -> Losses:
        """`mean_t Σ_d (x̂ − x)²` + the auxiliary loss, with the `warm_k` largest.

        Only the encoder's product is dense: `core.sae.sparse_ops`.
        """
        entries = self.encoder(x).largest(self.warm_k(warmth))
        z = entries.u.relu()
        x_hat = entries.decode(z, self.W_dec) + self.b_dec
        aux = self.auxiliary_loss(x, x_hat, dead)
        return losses(entries, z, squared_error(x, x_hat), aux=aux)

    def warm_k(self, warmth: float) -> int:
        """`k` once `warmth` is 1; before, from WIDE times as many downwards in a straight line."""
        return min(self.d_sae, round(self.k * (WIDE + (1 - WIDE) * warmth)))

    def auxiliary_loss(
        self, x: Float[Tensor, "n d_in"], x_hat: Float[Tensor, "n d_in"], dead: Bool[Tensor, " d_sae"]
    ) -> Float[Tensor, ""]:
        """`α · min(n_dead / k_aux, 1) · mean_t ‖e − ê‖²`: the dead features learn what the living leave over.

        e = x − x̂ without gradient; ê is decoded, without bias, from the k_aux' = min(k_aux, n_dead) largest
        `relu(u)` among the dead features, k_aux = d_in / 2. As in SAELens 6.54's `TopKTrainingSAE`, but for
        the relu: there a dead feature may help with a negative value, which no code ever holds. OpenAI divides by the
        variance of e besides, which a loss in the units of the reconstruction error does not need.
        """
        n_dead = int(dead.sum())
        if n_dead == 0 or self.aux_coefficient == 0:
            return x.new_zeros(())
        k_aux = self.d_in // 2
        u = self.pre_activations(x, dead)
        values, places = u.relu().topk(min(k_aux, n_dead), dim=1, sorted=False)
        z = torch.zeros_like(u).scatter(1, places, values)
        error = squared_error((x - x_hat).detach(), z @ self.W_dec[dead])
        return self.aux_coefficient * min(n_dead / k_aux, 1.0) * error

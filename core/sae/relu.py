"""ReLU with an L1 penalty weighted by the decoder's norms.

Anthropic 2024, "Update on how we train SAEs" (transformer-circuits.pub/2024/april-update).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from core.sae.base import SAE, Losses, squared_error


class ReLU(SAE):
    """`z = relu(u)`. The penalty `λ mean_t Σ_j z_j ‖W_dec[j]‖` leaves the decoder's norms free."""

    architecture = "relu"

    def __init__(
        self, d_in: int, d_sae: int, *, l1_coefficient: float = 1.0, apply_b_dec_to_input: bool = True
    ) -> None:
        super().__init__(d_in, d_sae, apply_b_dec_to_input=apply_b_dec_to_input)
        self.l1_coefficient = l1_coefficient

    def code(self, u: Float[Tensor, "n d_sae"]) -> Float[Tensor, "n d_sae"]:
        """`relu(u)`."""
        return u.relu()

    def losses(self, x: Float[Tensor, "n d_in"], *, dead: Bool[Tensor, " d_sae"], warmth: float) -> Losses:
        """`mean_t Σ_d (x̂ − x)² + warmth · λ · mean_t Σ_j z_j ‖W_dec[j]‖`; `dead` plays no part."""
        z = self.encode(x)
        mse = squared_error(x, self.decode(z))
        sparsity = warmth * self.l1_coefficient * (z @ self.W_dec.norm(dim=1)).mean()
        active = z.detach() > 0
        return Losses(
            total=mse + sparsity,
            mse=mse,
            sparsity=sparsity,
            aux=torch.zeros_like(mse),
            l0=active.sum() / len(x),
            l1=z.detach().sum() / len(x),
            fired=active.any(dim=0),
        )

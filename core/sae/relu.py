"""ReLU with an L1 penalty weighted by the decoder's norms.

Anthropic 2024, "Update on how we train SAEs" (transformer-circuits.pub/2024/april-update).
"""

from jaxtyping import Bool, Float
from torch import Tensor

from core.sae.base import SAE, Losses, losses, squared_error


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
        entries = self.encoder(x).above(0.0)
        z = entries.u.relu()
        mse = squared_error(x, entries.decode(z, self.W_dec) + self.b_dec)
        penalty = (z * entries.of(self.W_dec.norm(dim=1))).sum() / len(x)
        return losses(entries, z, mse, sparsity=warmth * self.l1_coefficient * penalty)

"""ReLU with an L1 penalty, weighted by the decoder's norms or plain; the penalty's power may fall below 1.

Anthropic 2024, "Update on how we train SAEs" (transformer-circuits.pub/2024/april-update); the power: Karvonen et al.
2024, "Measuring progress in dictionary learning" (arXiv 2408.00113).
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from core.sae.base import SAE, Losses, UnitDecoder, losses, squared_error

L1 = Literal["norm_weighted", "plain"]
ANNEAL_FROM = 0.2
"""The share of the training after which the penalty's power begins to fall."""
TINY = 1e-3
"""Added to a contribution before it is raised to a power below 1, whose slope at 0 has no end."""


class ReLU(UnitDecoder):
    """`z = relu(u)`.

    A penalty weighted by the decoder's norms leaves them free. A plain one would be evaded by growing them, so there
    they are kept at 1.
    """

    architecture = "relu"

    def __init__(
        self, d_in: int, d_sae: int, *, l1_coefficient: float = 1.0, l1: L1 = "norm_weighted", p_end: float = 1.0,
        apply_b_dec_to_input: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(d_in, d_sae, apply_b_dec_to_input=apply_b_dec_to_input)
        self.l1_coefficient, self.l1, self.p_end = l1_coefficient, l1, p_end

    def code(self, u: Float[Tensor, "n d_sae"]) -> Float[Tensor, "n d_sae"]:
        """`relu(u)`."""
        return u.relu()

    @property
    def power(self) -> float:
        """The penalty's p: 1 at first, then falling in a straight line to `p_end` at the end of the training."""
        return 1 - (1 - self.p_end) * max(0.0, self.progress - ANNEAL_FROM) / (1 - ANNEAL_FROM)

    def losses(self, x: Float[Tensor, "n d_in"], *, dead: Bool[Tensor, " d_sae"], warmth: float) -> Losses:
        """`mean_t Σ_d (x̂ − x)² + warmth · λ · mean_t Σ_j c_j^p`, `c_j = z_j ‖W_dec[j]‖`; `dead` plays no part.

        With p below 1, `(c_j + TINY)^p − TINY^p` stands for `c_j^p`.
        """
        entries = self.encoder(x).above(0.0)
        z = entries.u.relu()
        mse = squared_error(x, entries.decode(z, self.W_dec) + self.b_dec)
        cost = z if self.l1 == "plain" else z * entries.of(self.W_dec.norm(dim=1))
        if (p := self.power) < 1:
            cost = (cost + TINY) ** p - TINY**p
        return losses(entries, z, mse, sparsity=warmth * self.l1_coefficient * cost.sum() / len(x))

    def constrain_gradients(self) -> None:
        """Nothing along the decoder's rows, where they are kept at unit norm."""
        (UnitDecoder if self.l1 == "plain" else SAE).constrain_gradients(self)

    def constrain(self) -> None:
        """Unit decoder rows, under a plain penalty."""
        (UnitDecoder if self.l1 == "plain" else SAE).constrain(self)

    def margins(self, u: Float[Tensor, "n d_sae"]) -> Float[Tensor, "n d_sae"]:
        """`u_j ‖W_dec[j]‖`."""
        return u * self.W_dec.norm(dim=1)

    @torch.no_grad()
    def raise_thresholds(self, by: float) -> None:
        """`b_enc_j ← b_enc_j − by / ‖W_dec[j]‖`: a ReLU has no threshold but its bias, so values move with it."""
        self.b_enc -= by / self.W_dec.norm(dim=1)

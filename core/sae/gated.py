"""Gated: whether a feature is active and how strongly are two questions, with an encoder that is shared.

Rajamanoharan et al. 2024, "Improving dictionary learning with gated sparse autoencoders" (arXiv 2404.16014).
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from core.sae.base import SAE, Losses, losses, squared_error


class Gated(SAE):
    """`z = 1[π > 0] · relu(μ)`, with `π = u` and `μ = e^r ⊙ (u − b_enc) + b_mag`.

    The gate's bias is `b_enc` here and `b_gate` on disk. The penalty leaves the decoder's norms free.
    """

    architecture = "gated"

    def __init__(
        self, d_in: int, d_sae: int, *, l1_coefficient: float = 1.0, apply_b_dec_to_input: bool = True
    ) -> None:
        super().__init__(d_in, d_sae, apply_b_dec_to_input=apply_b_dec_to_input)
        self.l1_coefficient = l1_coefficient
        self.r_mag = nn.Parameter(torch.zeros(d_sae))
        self.b_mag = nn.Parameter(torch.zeros(d_sae))

    @property
    def names(self) -> tuple[str, ...]:
        """With the magnitudes' scale and bias."""
        return (*super().names, "r_mag", "b_mag")

    def code(self, u: Float[Tensor, "n d_sae"]) -> Float[Tensor, "n d_sae"]:
        """`1[π > 0] · relu(μ)`."""
        return (u > 0) * ((u - self.b_enc) * self.r_mag.exp() + self.b_mag).relu()

    def losses(self, x: Float[Tensor, "n d_in"], *, dead: Bool[Tensor, " d_sae"], warmth: float) -> Losses:
        """`mean_t Σ_d (x̂ − x)² + warmth · λ · mean_t Σ_j relu(π_j) ‖W_dec[j]‖ + mean_t ‖x − (relu(π) W_dec + b_dec)‖²`.

        The last is the auxiliary term: the gate alone has to be of use. As in SAELens, and unlike the paper, its
        gradient reaches the decoder. `dead` plays no part.
        """
        entries = self.encoder(x).above(0.0)
        gate = entries.u.relu()
        strength = (entries.u - entries.of(self.b_enc)) * entries.of(self.r_mag.exp()) + entries.of(self.b_mag)
        z = (gate.detach() > 0) * strength.relu()
        mse = squared_error(x, entries.decode(z, self.W_dec) + self.b_dec)
        penalty = (gate * entries.of(self.W_dec.norm(dim=1))).sum() / len(x)
        by_gate = squared_error(x, entries.decode(gate, self.W_dec) + self.b_dec)
        return losses(entries, z, mse, sparsity=warmth * self.l1_coefficient * penalty, aux=by_gate)

    def margins(self, u: Float[Tensor, "n d_sae"]) -> Float[Tensor, "n d_sae"]:
        """`u_j ‖W_dec[j]‖` where the magnitude is positive: the gate's own."""
        return (u * self.W_dec.norm(dim=1)).where((u - self.b_enc) * self.r_mag.exp() + self.b_mag > 0, -torch.inf)

    @torch.no_grad()
    def raise_thresholds(self, by: float) -> None:
        """`b_enc_j ← b_enc_j − by / ‖W_dec[j]‖`: moves the gate, and no magnitude, which does not depend on `b_enc`."""
        self.b_enc -= by / self.W_dec.norm(dim=1)

    @torch.no_grad()
    def fold_scale(self, scale: float) -> None:
        """As `SAE.fold_scale`; `b_mag' = b_mag/s`."""
        super().fold_scale(scale)
        self.b_mag /= scale

    @torch.no_grad()
    def fold_affine(self, shift: Float[Tensor, " d_in"], scale: Float[Tensor, " d_in"]) -> None:
        """As `SAE.fold_affine`; where that moves `b_enc`, `b_mag` moves by `e^r` times as much."""
        if not self.apply_b_dec_to_input:
            self.b_mag -= self.r_mag.exp() * ((shift / scale) @ self.W_enc)
        super().fold_affine(shift, scale)

    @torch.no_grad()
    def begin_feature(self, features: Int[Tensor, " n"]) -> None:
        """With a magnitude like the gate."""
        super().begin_feature(features)
        self.r_mag[features] = 0
        self.b_mag[features] = 0

    @torch.no_grad()
    def fold_decoder_norms(self) -> None:
        """As `SAE.fold_decoder_norms`; `b_mag'_j = d_j b_mag_j`."""
        self.b_mag *= self.W_dec.norm(dim=1)
        super().fold_decoder_norms()

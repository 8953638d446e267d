"""JumpReLU: what passes a threshold passes whole. The thresholds learn through straight-through estimates.

Rajamanoharan et al. 2024, "Jumping ahead" (arXiv 2407.14435); the tanh penalty: Anthropic's January 2025 update; the
quadratic one: Gemma Scope 2. As SAELens 6.54's `JumpReLUTrainingSAE`, with unit decoder rows besides.
"""

from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from core.sae.base import Losses, Thresholded, losses, squared_error

Penalty = Literal["step", "tanh", "quadratic"]
Surrogate = Literal["rectangle", "sigmoid"]
TANH_SCALE = 4.0
REACH = {"rectangle": 0.5, "sigmoid": 6.0}
"""How far from a threshold, in bandwidths, a surrogate's gradient reaches; a sigmoid's is cut at 1 % of its height."""


class JumpReLU(Thresholded):
    """`z = u · 1[u > θ]` with a threshold θ_j ≥ 0 for each feature.

    H is the step function, ε the bandwidth, r the surrogate's slope. Where a gradient has to pass a step:

        ∂z/∂u = 1[u > θ]      ∂z/∂θ = −(θ/ε) r((u − θ)/ε)      ∂H(u − θ)/∂θ = −(1/ε) r((u − θ)/ε)

    `rectangle`: r(v) = 1 for |v| < 1/2; `sigmoid`: r(v) = σ(v) (1 − σ(v)) for |v| < 6; 0 elsewhere.
    """

    architecture = "jumprelu"

    def __init__(
        self, d_in: int, d_sae: int, *, penalty: Penalty = "step", l0_coefficient: float = 1.0, target_l0: float = 32.0,
        bandwidth: float = 0.05, surrogate: Surrogate = "rectangle", threshold: float = 0.01,
        pre_act_coefficient: float = 0.0, apply_b_dec_to_input: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(d_in, d_sae, apply_b_dec_to_input=apply_b_dec_to_input)
        self.penalty: Penalty = penalty
        self.l0_coefficient, self.target_l0 = l0_coefficient, target_l0
        self.bandwidth, self.surrogate, self.pre_act_coefficient = bandwidth, surrogate, pre_act_coefficient
        self.threshold_init = threshold
        self.threshold = nn.Parameter(torch.full((d_sae,), threshold))

    def losses(self, x: Float[Tensor, "n d_in"], *, dead: Bool[Tensor, " d_sae"], warmth: float) -> Losses:
        """`mean_t Σ_d (x̂ − x)² + warmth · λ · mean_t P_t + c · mean_t Σ_{j dead} relu(θ_j − u_j) ‖W_dec[j]‖`.

        P is `L0` (step), `Σ_j tanh(4 z_j ‖W_dec[j]‖)` (tanh) or `(2 / L0*) (L0 − L0*)²` (quadratic).
        """
        entries = self.encoder(x).above((self.threshold - self.bandwidth * REACH[self.surrogate]).detach())
        threshold = entries.of(self.threshold)
        given = (entries.u, threshold, self.bandwidth, self.surrogate)
        z: Tensor = _Jump.apply(*given)  # pyright: ignore[reportAssignmentType]
        mse = squared_error(x, entries.decode(z, self.W_dec) + self.b_dec)
        if self.penalty == "tanh":
            penalty = entries.row_sums(torch.tanh(TANH_SCALE * z * entries.of(self.W_dec.norm(dim=1))))
        else:
            step: Tensor = _Step.apply(*given)  # pyright: ignore[reportAssignmentType]
            penalty = entries.row_sums(step)
            if self.penalty == "quadratic":
                penalty = 2 / self.target_l0 * (penalty - self.target_l0) ** 2
        sparsity = warmth * self.l0_coefficient * penalty.mean()
        return losses(entries, z, mse, sparsity=sparsity, aux=self._pre_act_loss(x, dead))

    def _pre_act_loss(self, x: Float[Tensor, "n d_in"], dead: Bool[Tensor, " d_sae"]) -> Float[Tensor, ""]:
        """`c · mean_t Σ_j relu(θ_j − u_j) ‖W_dec[j]‖` over the dead features: lifts them to their thresholds."""
        if self.pre_act_coefficient == 0 or not bool(dead.any()):
            return x.new_zeros(())
        u = self.pre_activations(x, dead)
        lacking = (self.threshold[dead] - u).relu() * self.W_dec[dead].norm(dim=1)
        return self.pre_act_coefficient * lacking.sum(dim=1).mean()

    @torch.no_grad()
    def constrain(self) -> None:
        """Unit decoder rows, and no threshold below 0."""
        super().constrain()
        self.threshold.clamp_(min=0)

    @torch.no_grad()
    def begin_feature(self, features: Int[Tensor, " n"]) -> None:
        """With the first threshold."""
        super().begin_feature(features)
        self.threshold[features] = self.threshold_init

    @torch.no_grad()
    def fold_decoder_norms(self) -> None:
        """As `SAE.fold_decoder_norms`; `θ'_j = d_j θ_j`."""
        self.threshold *= self.W_dec.norm(dim=1)
        super().fold_decoder_norms()


class _Jump(torch.autograd.Function):
    """`u · 1[u > θ]`, entry by entry."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, threshold: Tensor, bandwidth: float, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(u, threshold)
        ctx.bandwidth, ctx.surrogate = bandwidth, surrogate
        return u * (u > threshold)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        u, threshold = ctx.saved_tensors
        slope = _slope(u, threshold, ctx)
        return grads[0] * (u > threshold), -(threshold / ctx.bandwidth) * slope * grads[0], None, None


class _Step(torch.autograd.Function):
    """`1[u > θ]`, entry by entry; u gets no gradient."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, threshold: Tensor, bandwidth: float, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(u, threshold)
        ctx.bandwidth, ctx.surrogate = bandwidth, surrogate
        return (u > threshold).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        u, threshold = ctx.saved_tensors
        return None, -_slope(u, threshold, ctx) / ctx.bandwidth * grads[0], None, None


def _slope(u: Tensor, threshold: Tensor, ctx: Any) -> Tensor:
    """r((u − θ)/ε)"""
    v = (u - threshold) / ctx.bandwidth
    near = v.abs() < REACH[ctx.surrogate]
    if ctx.surrogate == "rectangle":
        return near.to(u.dtype)
    high = v.sigmoid()
    return high * (1 - high) * near

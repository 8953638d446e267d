"""What is done to activations before they train an SAE, estimated on a sample, and taken back in the weights.

    none           x
    average_norm   s x                        s = √d_in / mean ‖x‖
    standardize    (x − μ) / σ                μ, σ: mean and deviation of each dimension (σ at least a tenth of their
                                              median where they vary: what is silent in the sample may fire later)
    unit_norm      √d_in (x − μ) / ‖x − μ‖    for each activation by itself
    layer_norm     (x − m) / (σ + 1e-5)       m, σ: mean and deviation of each activation over its own dimensions

The first three are one affine map for all activations and can be folded into the weights; what the last two do to an
activation goes with the SAE (`SAE.per_token`).
"""

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from core.sae.base import SAE, normalised

Kind = Literal["none", "average_norm", "standardize", "unit_norm", "layer_norm"]


class Inputs:
    """A normalisation with its estimates."""

    def __init__(self, kind: Kind, scale: float, mean: Float[Tensor, " d_in"], deviation: Float[Tensor, " d_in"]):
        self.kind: Kind = kind
        self.scale, self.mean, self.deviation = scale, mean, deviation

    @classmethod
    def fitted(cls, kind: Kind, x: Float[Tensor, "n d_in"]) -> "Inputs":
        """The normalisation as estimated on a sample."""
        mean, deviation, scale = torch.zeros_like(x[0]), torch.ones_like(x[0]), 1.0
        if kind == "average_norm":
            scale = math.sqrt(x.shape[1]) / float(x.norm(dim=1).double().mean())
        if kind in ("standardize", "unit_norm"):
            mean = x.double().mean(dim=0).float()
        if kind == "standardize":
            found = x.double().std(dim=0, correction=0).float()
            varying = found[found > 0]
            least = 0.1 * float(varying.median()) if len(varying) else 1.0
            deviation = found.clamp_min(least)
        return cls(kind, scale, mean, deviation)

    def apply(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_in"]:
        """Raw activations as the SAE is trained on them."""
        match self.kind:
            case "none":
                return x
            case "average_norm":
                return x * self.scale
            case "standardize":
                return (x - self.mean) / self.deviation
            case "unit_norm" | "layer_norm":
                return normalised(x, self.kind, self.mean).x

    def fold(self, sae: SAE) -> None:
        """Make an SAE that was trained on what `apply` gives take raw activations."""
        match self.kind:
            case "none":
                pass
            case "average_norm":
                sae.fold_scale(self.scale)
            case "standardize":
                sae.fold_affine(self.mean, self.deviation)
            case "unit_norm" | "layer_norm":
                sae.per_token = self.kind
                sae.centre = self.mean.to(sae.b_dec.device, copy=True)

    def unfold(self, sae: SAE) -> None:
        """Undo `fold`: for an SAE that takes raw activations and begins to be trained."""
        match self.kind:
            case "none":
                pass
            case "average_norm":
                sae.fold_scale(1 / self.scale)
            case "standardize":
                sae.fold_affine(-self.mean / self.deviation, 1 / self.deviation)
            case "unit_norm" | "layer_norm":
                sae.per_token = "none"

    def told(self, sample: int) -> str:
        """What was estimated, for a person; empty where nothing was."""
        said = {
            "average_norm": f"activations are scaled by {self.scale:.4g}",
            "standardize": "each dimension of the activations gets mean 0 and deviation 1",
            "unit_norm": "activations are centred by their mean, and each is brought to the same norm",
        }
        return f"{said[self.kind]}, estimated on {sample:,} of them" if self.kind in said else ""

    def state(self) -> dict[str, Any]:
        """Tensors and plain values, for a checkpoint."""
        return {"inputs_scale": self.scale, "inputs_mean": self.mean, "inputs_deviation": self.deviation}

    @classmethod
    def restored(cls, kind: Kind, state: dict[str, Any]) -> "Inputs":
        """What gave `state`, among whatever else is in it."""
        return cls(kind, state["inputs_scale"], state["inputs_mean"], state["inputs_deviation"])

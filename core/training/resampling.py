"""Dead features begin anew where the SAE is at its worst.

Bricken et al. 2023, "Towards monosemanticity", appendix "Neuron resampling", on the batch at hand.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.optim import Optimizer

from core.sae.base import SAE
from core.training import optimizers


@torch.no_grad()
def resample(
    sae: SAE, x: Float[Tensor, "n d_in"], dead: Bool[Tensor, " d_sae"], optimizer: list[Optimizer]
) -> int:  # fmt: skip
    """Give dead features, as many as there are activations, new weights; returns how many.

    Activations i are drawn without repetition with probability ∝ (‖x̂_i − x_i‖²)². With r = x_i − b_dec, a feature's
    decoder row becomes r/‖r‖ times the mean norm of the living rows, its encoder column r/‖r‖ times `sae.reborn` of the
    living columns' mean norm, its other weights what they begin with (`SAE.begin_feature`). The optimiser forgets
    what it knew of all of them.
    """
    features = dead.nonzero().squeeze(1)[: len(x)]
    if not len(features) or bool(dead.all()):
        return 0
    error = (sae(x) - x).pow(2).sum(dim=1).double()
    chosen = torch.multinomial(error.pow(2) / error.pow(2).sum(), len(features)) if bool(error.any()) else None
    if chosen is None:
        return 0
    r = x[chosen] - sae.b_dec
    r /= r.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    sae.W_dec[features] = r * sae.W_dec[~dead].norm(dim=1).mean()
    sae.W_enc[:, features] = (r * (sae.reborn * sae.W_enc[:, ~dead].norm(dim=0).mean())).T
    sae.begin_feature(features)
    for name, weights in sae.named_parameters():
        if name != "b_dec":
            optimizers.forget(optimizer, weights, (slice(None), features) if name == "W_enc" else (features,))
    return len(features)

"""How one number that is computed from a model's logits changes with its activations: one backward pass."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from core.models.language import LanguageModel


class Gradients(NamedTuple):
    """One text's activations x at the hook point, its logits, and what the number's gradients are."""

    x: Float[Tensor, "t d_in"]
    at_hook: Float[Tensor, "t d_in"]
    """∂ number / ∂ x, by every path."""
    at_end: Float[Tensor, "t d_model"] | None
    """∂ number / ∂ r, with r the residual stream behind the last block: through final norm and unembedding alone.

    None where the hook point is behind it.
    """
    number: float
    logits: Float[Tensor, " v"]
    """Behind the last token."""


def gradients(
    model: LanguageModel, ids: Int[Tensor, "1 t"], number: Callable[[Float[Tensor, " v"]], Float[Tensor, ""]]
) -> Gradients:
    """The gradients of `number(logits behind the last token)`. The model's own parameters get none."""
    seen: dict[str, Tensor] = {}

    def begin(x: Tensor, hook: Any) -> Tensor:
        seen["x"] = x.detach().flatten(2).float().requires_grad_()
        return seen["x"].reshape(x.shape).to(x.dtype)

    def end(x: Tensor, hook: Any) -> Tensor:
        seen["r"] = x.clone()  # what goes on is this very tensor, whatever the library passes along
        return seen["r"]

    last = f"blocks.{model.n_layers - 1}.hook_resid_post"
    with torch.enable_grad(), model.bridge.hooks(fwd_hooks=[(model.hook, begin), (last, end)]):
        logits = model.bridge(ids)[0, -1].float()
        value = number(logits)
        at_hook, at_end = torch.autograd.grad(value, [seen["x"], seen["r"]], allow_unused=True)
    return Gradients(
        x=seen["x"].detach()[0],
        at_hook=at_hook[0],
        at_end=None if at_end is None else at_end[0].float(),
        number=float(value.detach()),
        logits=logits.detach(),
    )

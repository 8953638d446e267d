"""The edit of activations that interventions make, by way of the SAE's code.

    z = encode(x),  z' = the code after the interventions,  F = the features they name
    error-kept    x' = x + (z' − z)_F W_dec[F]
    replace       x' = decode(z')

Owns this arithmetic and the positions it leaves alone. Knows nothing of models, tokens or sampling.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from core.models.language import Edit
from core.sae.base import SAE
from core.steering.interventions import Mode, Resolved, span


@torch.no_grad()
def edited(
    x: Float[Tensor, "n d_in"],
    sae: SAE,
    resolved: Sequence[Resolved],
    *,
    counted: Bool[Tensor, " n"],
    prompt_length: int,
    start: int = 0,
    mode: Mode = "error-kept",
) -> Float[Tensor, "n d_in"]:
    """x', for activations at the successive positions start, start + 1, … of one text.

    `counted` is False where the SAE is not defined (BOS, special tokens, first of a block): there, and
    outside every intervention's `where`, x passes through bit for bit. In replace mode x is replaced at all
    counted positions, and `where` only bounds the edits of the code.

    error-kept never takes `decode(z') − decode(z)`: both are rounded over every active feature and b_dec, so
    what ought to cancel does not, as x + a − a ≠ x in floating point. Over F alone an edit that changes no
    code adds exactly 0.
    """
    position = torch.arange(start, start + len(x), device=x.device)
    places = [counted & _within(position, span(r.where, prompt_length)) for r in resolved]
    touched = counted if mode == "replace" else torch.zeros_like(counted)
    for place in places:
        touched = touched | place
    if not touched.any():
        return x
    inside = x[touched]
    features = sorted({r.feature for r in resolved})
    z = sae.encode(inside)
    z_before = z[:, features]
    z_after = z_before.clone()
    for r, place in zip(resolved, places, strict=True):
        column = z_after[:, features.index(r.feature)]
        column.copy_(torch.where(place[touched], _changed(column, r), column))
    if mode == "replace":
        z[:, features] = z_after
        outside = sae.decode(z, inside)
    else:
        outside = inside + (z_after - z_before) @ sae.W_dec[features]
    result = x.clone()
    result[touched] = outside
    return result


def row_edit(
    sae: SAE,
    resolved: Sequence[Resolved],
    *,
    row: int,
    counted: Bool[Tensor, " t"],
    prompt_length: int,
    start: int = 0,
    mode: Mode = "error-kept",
) -> Edit | None:
    """`edited` for one row of a batch, the others untouched bit for bit; None where there is nothing to do.

    None means that no hook is installed at all: no enabled intervention, and the error kept.
    """
    if not resolved and mode == "error-kept":
        return None

    def edit(x: Float[Tensor, "r t d_in"]) -> Float[Tensor, "r t d_in"]:
        result = x.clone()
        result[row] = edited(
            x[row], sae, resolved, counted=counted, prompt_length=prompt_length, start=start, mode=mode
        )
        return result

    return edit


def _within(position: Tensor, bounds: tuple[int, int | None]) -> Bool[Tensor, " n"]:
    begin, end = bounds
    inside = position >= begin
    return inside if end is None else inside & (position < end)


def _changed(z: Float[Tensor, " n"], r: Resolved) -> Float[Tensor, " n"]:
    """z' of one feature: the formulas of `core.steering.interventions`."""
    match r.kind:
        case "ablate":
            return torch.zeros_like(z)
        case "scale":
            return r.value * z
        case "set":
            return torch.full_like(z, r.value)
        case "add":
            return z + r.value

"""The edit of activations that interventions make, by way of the SAE's code.

    z = encode(x),  z' = the code after the interventions,  F = the features they name
    error-kept    x' = x + (z' − z)_F W_dec[F]
    replace       x' = decode(z')

Owns this arithmetic and the positions it leaves alone. Knows nothing of models, tokens or sampling.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from core.errors import UsageError
from core.models.language import Edit
from core.sae.base import SAE
from core.steering.interventions import Mode, Resolved
from core.steering.places import Place, place


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """What is known of successive positions of one text: start, start + 1, …"""

    counted: Bool[Tensor, " n"]
    """False where the SAE is not defined (BOS, special tokens, first of a block)."""
    prompt_length: int
    """How many positions from 0 on are the prompt's."""
    start: int = 0
    roles: tuple[str | None, ...] | None = None
    """Whose turn of a chat each of these n positions is in; None for a raw prompt, which has no turns."""


@torch.no_grad()
def edited(
    x: Float[Tensor, "n d_in"],
    sae: SAE,
    resolved: Sequence[Resolved],
    at: Positions,
    mode: Mode = "error-kept",
) -> Float[Tensor, "n d_in"]:
    """x', for activations at the positions `at`.

    Where a position is not counted, and where no intervention changes its code, x passes through bit for bit. In
    replace mode x is replaced at all counted positions, and `where` only bounds the edits of the code. Raises
    UsageError for the place of a role in a text without roles.

    error-kept never takes `decode(z') − decode(z)`: both are rounded over every active feature and b_dec, so
    what ought to cancel does not, as x + a − a ≠ x in floating point.
    """
    texts = [at.counted & _in_text(place(r.where), at) for r in resolved]
    touched = at.counted if mode == "replace" else torch.zeros_like(at.counted)
    for text in texts:
        touched = touched | text
    if not touched.any():
        return x
    inside = x[touched]
    features = sorted({r.feature for r in resolved})
    z = sae.encode(inside)
    z_before = z[:, features]
    z_after = z_before.clone()
    for r, text in zip(resolved, texts, strict=True):
        holds = text[touched] & _in_code(place(r.where), r.feature, z)
        column = z_after[:, features.index(r.feature)]
        column.copy_(torch.where(holds, _changed(column, r), column))
    if mode == "replace":
        z[:, features] = z_after
        outside = sae.decode(z, inside)
    else:
        changed = (z_after != z_before).any(dim=1, keepdim=True)
        outside = torch.where(changed, inside + (z_after - z_before) @ sae.W_dec[features], inside)
    result = x.clone()
    result[touched] = outside
    return result


def rows_edit(
    sae: SAE, rows: Sequence[Sequence[Resolved] | None], at: Sequence[Positions], mode: Mode = "error-kept"
) -> Edit | None:
    """`edited` for each row of a batch; None where there is nothing to do at all, so that no hook is installed.

    A row of None is left alone bit for bit, whatever the mode; one without interventions is too, but for replace
    mode, where it becomes its reconstruction. Rows are computed one by one: a product's rounding depends on how many
    rows it has, and no row is to change another.
    """
    if not any(row is not None and (row or mode == "replace") for row in rows):
        return None

    def edit(x: Float[Tensor, "r t d_in"]) -> Float[Tensor, "r t d_in"]:
        result = x.clone()
        for i, (row, positions) in enumerate(zip(rows, at, strict=True)):
            if row is not None:
                result[i] = edited(x[i], sae, row, positions, mode)
        return result

    return edit


def _in_text(place: Place, at: Positions) -> Bool[Tensor, " n"]:
    """Where the conditions hold that ask for no activation."""
    device, n = at.counted.device, len(at.counted)
    position = torch.arange(at.start, at.start + n, device=device)
    inside = position >= place.begin
    if place.end is not None:
        inside = inside & (position < place.end)
    if place.side is not None:
        inside = inside & ((position < at.prompt_length) == (place.side == "prompt"))
    if place.role is not None:
        if at.roles is None:
            raise UsageError(f"the text has no turns of the {place.role}", hint="choose another place than a role's")
        inside = inside & torch.tensor([role == place.role for role in at.roles], dtype=torch.bool, device=device)
    return inside


def _in_code(place: Place, feature: int, z: Float[Tensor, "n d_sae"]) -> Bool[Tensor, " n"]:
    """Where the conditions on activations hold, those before any edit."""
    inside = torch.ones(len(z), dtype=torch.bool, device=z.device)
    if place.firing:
        inside = inside & (z[:, feature] > 0)
    for other, threshold in place.above:
        inside = inside & (z[:, other] > threshold)
    return inside


def _changed(z: Float[Tensor, " n"], r: Resolved) -> Float[Tensor, " n"]:
    """z' of one feature: the formulas of `core.steering.interventions`."""
    match r.kind:
        case "ablate":
            return torch.zeros_like(z)
        case "scale":
            return r.value * z
        case "set" | "mean-ablate":
            return torch.full_like(z, r.value)
        case "add":
            return z + r.value
        case "cap":
            return z.clamp(max=r.value)

"""All thresholds of a trained SAE moved by one amount, so that a number of active features is hit.

With m_tj the margin of feature j on activation t (`SAE.margins`: by how much it passes its threshold, in units of its
contribution), N activations and a target L*: after `raise_thresholds(τ)` the features with m > τ are active, so the τ
half way between the round(N L*)-th largest margin and the next hits the target, exactly on these activations.
"""

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from core.errors import RunError
from core.evaluate import Reconstruction
from core.records import Calibration
from core.sae.base import SAE, normalised

ENTRIES = 2**23
"""Entries of a code held at once: 32 MB in float32."""


@torch.no_grad()
def move(
    sae: SAE, x: Float[Tensor, "n d_in"], *, target: float, coefficient: float | None
) -> Calibration:  # fmt: skip
    """Move the thresholds of `sae`, in place, so that `target` features are active on x on average.

    Raises RunError where no threshold makes that many active.
    """
    before = _measured(sae, x)
    by = shift(_margins(sae, x), wanted=round(target * len(x)))
    sae.raise_thresholds(by)
    after = _measured(sae, x)
    return Calibration(
        target_l0=target, coefficient=coefficient, moved_by=by, activations=len(x),
        l0_before=before["l0"] or 0.0, l0=after["l0"] or 0.0, fvu_before=before["fvu"], fvu=after["fvu"],
    )  # fmt: skip


@torch.no_grad()
def begin(sae: SAE, x: Float[Tensor, "n d_in"], *, target: float) -> None:
    """Let an SAE that is to reach a target begin with as many active features on x, or all there are.

    At random weights half of all features are active: learned together, and then cut down to the target, they end far
    worse. After 300 steps of 1,024 (SmolLM2's layer 10, 4,608 features, 32 of them active), held-out FVU without and
    with this: relu 0.51 and 0.26, jumprelu 0.40 and 0.22.
    """
    two = _around(_margins(sae, x), wanted=round(target * len(x)))
    if two is not None and bool((two > 0).all()):  # more are active than wanted
        sae.raise_thresholds(float(two.mean()))


def shift(margins: Iterable[Float[Tensor, "n d_sae"]], *, wanted: int) -> float:
    """τ half way between the `wanted`-th largest of all margins and the next. Raises RunError where there is none."""
    two = _around(margins, wanted=wanted)
    if two is None:
        raise RunError(
            "the SAE cannot have as many active features as its target, wherever its thresholds are",
            hint="lower sae.target_l0, or set sae.move_thresholds = false",
        )
    return float(two.mean())


def _around(margins: Iterable[Float[Tensor, "n d_sae"]], *, wanted: int) -> Float[Tensor, "2"] | None:
    """The `wanted`-th largest of all margins and the next, in float64; None where there are not as many."""
    largest = torch.empty(0)
    for part in margins:
        flat = part.flatten()
        if len(largest) > wanted:
            flat = flat[flat > largest.min()]
        joined = torch.cat([largest.to(flat.device), flat[flat > -torch.inf]])
        largest = joined.topk(min(wanted + 1, len(joined)), sorted=False).values
    return None if len(largest) <= wanted else largest.topk(2, largest=False).values.double()


def _margins(sae: SAE, x: Float[Tensor, "n d_in"]) -> Iterator[Float[Tensor, "n d_sae"]]:
    for part in x.split(max(1, ENTRIES // sae.d_sae)):
        yield sae.margins(sae.pre_activations(normalised(part, sae.per_token, sae.centre).x))


def _measured(sae: SAE, x: Float[Tensor, "n d_in"]) -> dict[str, float | None]:
    sums = Reconstruction(sae.d_in, sae.d_sae, x.device)
    for part in x.split(max(1, ENTRIES // sae.d_sae)):
        sums.measure(sae, part)
    return sums.metrics()

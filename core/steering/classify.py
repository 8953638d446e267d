"""What interventions make of the classes of an image.

With x [p, d_in] an image's activations at the hook point (p places: 1, or those of a feature map), g the network behind
it, x' the activations under the interventions at every place (`core.steering.edit`), c a class and y the image's label:

    l = g(x),  l' = g(x')                          logits [10]
    ln p = l − ln Σ_c exp l_c,  ln p' likewise     of the classes [10]
    KL = Σ_c p'_c (ln p'_c − ln p_c)               steered from baseline, in nats
    Δ ln p = ln p'_y − ln p_y
    z = encode(x),  z'' = encode(x')               what fires, before and behind [p, d_sae]

Images are computed one by one: a product's rounding depends on how many rows it has.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from core.errors import UsageError
from core.image_records import ClassifiedImage, FiringFeature, ImageList, Scores
from core.models.digits import CHUNK, ImageClassifier
from core.sae.base import SAE
from core.steering.edit import Positions, edited
from core.steering.interventions import Intervention, Mode, Scales, resolve, too_strong
from core.steering.places import require_no_text


@torch.no_grad()
def listed(model: ImageClassifier) -> ImageList:
    """The test split's images in their order, each with its label and what the network takes it for."""
    numbers = torch.from_numpy(model.images.numbers["test"])
    predicted: list[int] = []
    if model.classifies:
        for some in numbers.split(CHUNK):
            predicted += model.logits(some).argmax(dim=1).tolist()
    labels = model.images.labels_of(numbers.numpy()).tolist()
    return ImageList(numbers=tuple(numbers.tolist()), labels=tuple(labels), predicted=tuple(predicted))


@torch.no_grad()
def classified(
    model: ImageClassifier,
    sae: SAE,
    numbers: Sequence[int],
    interventions: Sequence[Intervention] = (),
    scales: Scales | None = None,
    mode: Mode = "error-kept",
    *,
    top: int,
) -> list[ClassifiedImage]:
    """Each image by its number in the data set, whatever split it is in, with its `top` features at most.

    `scales` are the features' figures (`resolve`). Raises UsageError for an image that there is not and for a place in
    a text, QueryError for an intervention that cannot be, RunError where the network's output is not a number.
    """
    n = len(model.images.labels)
    for number in numbers:
        if not 0 <= number < n:
            raise UsageError(f"there is no image {number}", hint=f"{model.images.name} has images 0 to {n - 1}")
    for edit in interventions:
        require_no_text(edit.where)
    resolved = resolve(interventions, scales, sae.d_sae)
    found = []
    for number in numbers:
        pixels = model.pixels(torch.tensor([number]))
        x = model.at_hook(pixels)[0]
        everywhere = Positions(counted=torch.ones(len(x), dtype=torch.bool, device=x.device), prompt_length=len(x))
        behind = edited(x, sae, resolved, everywhere, mode)
        if not behind.isfinite().all():
            raise too_strong(interventions)
        baseline, steered = (_logprobs(model, one, interventions) for one in (x, behind))
        label = int(model.images.labels_of(torch.tensor([number]).numpy())[0])
        found.append(
            ClassifiedImage(
                image=number,
                label=label,
                split=next((name for name, some in model.images.numbers.items() if number in some), ""),
                pixels=_bytes(pixels[0]),
                behind=_bytes(behind[0]) if model.hook == model.network.hooks[0] else "",
                baseline=_scores(baseline),
                steered=_scores(steered),
                kl=None if baseline is None or steered is None else _kl(steered[1], baseline[1]),
                gain=None if baseline is None or steered is None else float(steered[1][label] - baseline[1][label]),
                places=len(x),
                features=_firing(sae, x, behind, top),
            )
        )
    return found


Logits = tuple[Float64[Tensor, " classes"], Float64[Tensor, " classes"]]
"""Of each class its logit, and ln p."""


def _logprobs(
    model: ImageClassifier, x: Float[Tensor, "p d_in"], interventions: Sequence[Intervention]
) -> Logits | None:
    """None where there is no classifier."""
    if not model.classifies:
        return None
    logits = model.onward(x.unsqueeze(0))[0].double()
    logprobs = logits.log_softmax(dim=0)
    if logprobs.isnan().any():
        raise too_strong(interventions)
    return logits, logprobs


def _scores(found: Logits | None) -> Scores | None:
    return found and Scores(logits=tuple(found[0].tolist()), probabilities=tuple(found[1].exp().tolist()))


def _kl(steered: Float64[Tensor, " classes"], baseline: Float64[Tensor, " classes"]) -> float:
    """Rounding below 0 is 0."""
    p = steered.exp()
    return max(0.0, float(torch.where(p > 0, p * (steered - baseline), 0.0).sum()))


def _firing(
    sae: SAE, x: Float[Tensor, "p d_in"], behind: Float[Tensor, "p d_in"], top: int
) -> tuple[FiringFeature, ...]:
    """What fires before or behind, the strongest first."""
    codes = [sae.encode(one) for one in (x, behind)]
    before, after = (z.amax(dim=0) for z in codes)
    places = [(z > 0).sum(dim=0) for z in codes]
    strongest = torch.maximum(before, after)
    return tuple(
        FiringFeature(
            feature=f, before=float(before[f]), after=float(after[f]),
            places=int(places[0][f]), places_after=int(places[1][f]),
        )
        for f in strongest.topk(min(top, sae.d_sae)).indices.tolist()
        if strongest[f] > 0
    )  # fmt: skip


def _bytes(pixels: Float[Tensor, " pixels"]) -> str:
    """Pixels in [0, 1], what is beyond cut off, as a byte each in hexadecimal digits."""
    return (255 * pixels.clamp(0, 1)).round().to(torch.uint8).cpu().numpy().tobytes().hex()

"""How well a network of images works with what an SAE makes of its activations. Beside `core.evaluate`'s metrics:

    baseline_acc    share of the images whose largest logit is that of their label
    recon_acc       the same with x̂ in x's place, at every place of a feature map
    delta_acc       baseline_acc − recon_acc
    fidelity        recon_acc / baseline_acc
    ce_loss_clean/_sae/_zero/_mean, ce_loss_score, kl    as there, of the label in the place of the next token

A network that does not classify has none of them.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from core.cross_entropy import quotient
from core.evaluate import reconstructed
from core.models.digits import ImageClassifier
from core.records import Evaluation, Progress
from core.sae.base import SAE
from core.tokens import Blocks

METRICS = (
    "baseline_acc", "recon_acc", "delta_acc", "fidelity", "ce_loss_clean", "ce_loss_sae", "ce_loss_zero",
    "ce_loss_mean", "ce_loss_score", "kl",
)  # fmt: skip


def evaluate(
    model: ImageClassifier,
    sae: SAE,
    batches: Callable[[int], Iterator[Blocks]],
    *,
    activations: int,
    unmoved: SAE | None = None,
) -> Generator[Progress, None, Evaluation]:
    """Measure `sae` at the network's hook point; a generator whose return value is an `Evaluation`.

    As `core.evaluate.evaluate`, with the accuracies of the images that `activations` reaches, the last one whole.
    """
    found, mean = yield from reconstructed(model, sae, batches(64), activations=activations, unmoved=unmoved)
    if not model.classifies:
        return found
    wanted = -(-activations // model.places)
    metrics, images = yield from _classified(model, sae, batches(256), mean, wanted)
    return replace(found, metrics=metrics | found.metrics, tokens=dict.fromkeys(metrics, images) | found.tokens)


@torch.no_grad()
def _classified(
    model: ImageClassifier, sae: SAE, batches: Iterable[Blocks], mean: Float[Tensor, " d_in"], wanted: int
) -> Generator[Progress, None, tuple[dict[str, float | None], int]]:
    """The metrics, and the number of images they stand on."""
    right = torch.zeros(2, dtype=torch.float64)
    losses = torch.zeros(5, dtype=torch.float64)
    n = 0
    for batch in batches:
        numbers = torch.from_numpy(batch.ids[: wanted - n, 0])
        label = torch.from_numpy(model.token_ids(numbers.numpy())).to(model.device)
        x = model.activations(numbers.unsqueeze(1).to(model.device))
        x_hat = sae(x.flatten(0, 1)).view_as(x)
        stand_ins = (x, x_hat, torch.zeros_like(x), mean.expand_as(x))
        logs = [model.onward(one).log_softmax(dim=1) for one in stand_ins]
        for place, log in enumerate(logs):
            losses[place] -= log.gather(1, label.unsqueeze(1)).double().sum().cpu()
        for place, log in enumerate(logs[:2]):
            right[place] += (log.argmax(dim=1) == label).double().sum().cpu()
        losses[4] += (logs[0].exp() * (logs[0] - logs[1])).sum(dtype=torch.float64).cpu()
        n += len(numbers)
        yield Progress(phase="measuring fidelity", done=n, total=wanted, unit="images")
        if n >= wanted:
            break
    baseline, recon = (right / n).tolist()
    clean, with_sae, zero, flat, kl = (losses / n).tolist()
    values: tuple[Any, ...] = (
        baseline, recon, baseline - recon, quotient(recon, baseline), clean, with_sae, zero, flat,
        quotient(zero - with_sae, zero - clean), kl,
    )  # fmt: skip
    return dict(zip(METRICS, values, strict=True)), n


def summary(result: Evaluation, architecture: str, target: float | None) -> dict[str, Any]:
    """What `summary.json` tells before the metrics by their own names: accuracies, active features aimed at and had.

    The latter are those of the test split, which neither λ nor the thresholds have seen.
    """
    metrics = result.metrics
    names = {
        "baseline_acc": metrics.get("baseline_acc"),
        f"recon_acc_{architecture}": metrics.get("recon_acc"),
        f"delta_acc_{architecture}": metrics.get("delta_acc"),
        "achieved_actives_val": metrics["l0"],
        "target_actives": target,
    }
    return {**names, **metrics}

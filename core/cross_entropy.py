"""Next-token cross-entropies of a model, untouched and with an SAE's reconstruction in its activations' place.

What the figures are called and mean is told in `core.evaluate`. The lower layers are run once for each text.
"""

from collections.abc import Generator, Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from core.models.language import LanguageModel
from core.records import Progress
from core.sae.base import SAE
from core.tokens import Blocks


class Predictions:
    """The next tokens that are predicted in some blocks, `n` of them at most `most`, and what is made of each."""

    def __init__(self, model: LanguageModel, batch: Blocks, most: int | None = None) -> None:
        ids = torch.from_numpy(batch.ids).to(model.device)
        scored = torch.from_numpy(predicted(batch)).to(model.device)
        if most is not None:
            scored &= scored.flatten().cumsum(0).view_as(scored) <= most
        self.split = model.split_pass(ids)
        self.n = int(scored.sum())
        self._counted = torch.from_numpy(batch.counted).to(model.device).unsqueeze(-1)
        self._scored, self._target = scored, ids[:, 1:][scored].unsqueeze(1)

    @property
    def clean(self) -> Float[Tensor, "n v"]:
        """ln p of every token at each place, untouched; another pass each time, for none is kept."""
        return self._log_probs(self.split.logits_with(self.split.x))

    def reconstructed(self, sae: SAE) -> Float[Tensor, "b t d_in"]:
        """What an SAE makes of the activations."""
        return sae(self.split.x.flatten(0, 1)).view_as(self.split.x)

    def replaced(self, x: Float[Tensor, "b t d_in"]) -> Float[Tensor, "n v"]:
        """ln p with `x` in the activations' place at the counted positions; others pass through."""
        return self._log_probs(self.split.logits_with(torch.where(self._counted, x, self.split.x)))

    def loss(self, log_probs: Float[Tensor, "n v"]) -> float:
        """The sum of the cross-entropies, in nats."""
        return float(-log_probs.gather(1, self._target).double().sum())

    def _log_probs(self, logits: Tensor) -> Float[Tensor, "n v"]:
        return logits[:, :-1][self._scored].float().log_softmax(dim=-1)


def cross_entropies(
    model: LanguageModel, sae: SAE, batches: Iterator[Blocks], mean: Tensor, budget: int
) -> Generator[Progress, None, tuple[dict[str, float | None], int]]:
    """The ce_loss_* and kl metrics; returns them and the number of predictions they stand on."""
    totals = torch.zeros(5, dtype=torch.float64)
    n = 0
    for batch in batches:
        found = Predictions(model, batch, budget - n)
        with torch.no_grad():
            x_hat = found.reconstructed(sae)
        clean = found.clean
        totals[0] += found.loss(clean)
        for place, stand_in in enumerate((x_hat, torch.zeros_like(x_hat), mean.expand_as(x_hat)), start=1):
            changed = found.replaced(stand_in)
            totals[place] += found.loss(changed)
            if place == 1:
                totals[4] += (clean.exp() * (clean - changed)).sum(dtype=torch.float64).cpu()
        n += found.n
        yield Progress(phase="measuring cross-entropy", done=n, total=budget, unit="tokens")
        if n >= budget:
            break
    if n == 0:
        return {}, 0
    clean_ce, sae_ce, zero_ce, mean_ce, kl = (totals / n).tolist()
    return {
        "ce_loss_clean": clean_ce,
        "ce_loss_sae": sae_ce,
        "ce_loss_zero": zero_ce,
        "ce_loss_mean": mean_ce,
        "ce_loss_score": quotient(zero_ce - sae_ce, zero_ce - clean_ce),
        "kl": kl,
    }, n


def predicted(batch: Blocks) -> Bool[np.ndarray, "b t-1"]:
    """Positions whose next token is scored: a token of the same document, not an inserted one."""
    same = batch.doc[:, 1:] == batch.doc[:, :-1]
    return same & (batch.doc_pos[:, 1:] >= 0)


def quotient(above: float, below: float) -> float | None:
    """None where there is nothing beneath."""
    return above / below if below else None

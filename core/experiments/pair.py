"""The interference of two features: what edits of both do beyond what each does.

For each prediction, with ℓ the untouched model's logits less their mean over the vocabulary, and ℓ(i), ℓ(j), ℓ(i,j)
those of the model under the one edit, the other and both:

    E_i = ℓ(i) − ℓ,   E_j = ℓ(j) − ℓ,   E_ij = ℓ(i,j) − ℓ        `[n_vocab]`, in units of logits
    beyond = ‖E_ij − E_i − E_j‖₂,  share = Σ beyond / Σ (‖E_i‖₂ + ‖E_j‖₂)
    loss_beyond = Δ_ij − Δ_i − Δ_j,  Δ the change of −ln p(next token), in nats

Features whose effects add up have 0 of each. All are averaged over the predictions, on all tokens and on those where
both fire, with intervals over texts (`core.experiments.intervals`).
"""

from collections.abc import Generator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from core.experiments.intervals import Bootstrap
from core.experiments.passes import Passes, by_text, cross_entropy, passes
from core.experiments.records import Interference, Pair, Together
from core.experiments.requests import PairRequest
from core.models.language import LanguageModel
from core.options import TokensConfig
from core.records import Progress
from core.sae.base import SAE
from core.steering.interventions import Mode, Resolved

FIGURES = ("one", "other", "both", "beyond", "loss_one", "loss_other", "loss_both", "loss_beyond")


class _Sums:
    """Of each figure the sum over some of the predictions, by text."""

    def __init__(self, texts: int) -> None:
        self.n = np.zeros(texts)
        self.of = {name: np.zeros(texts) for name in FIGURES}

    def add(self, batch: Passes, here: Bool[Tensor, " n"], figures: dict[str, Float[Tensor, " n"]]) -> None:
        texts = len(self.n)
        self.n += by_text(here, batch.text, texts).numpy()
        for name, values in figures.items():
            self.of[name] += by_text(torch.where(here, values, 0.0), batch.text, texts).numpy()

    def told(self, samples: Bootstrap, read: list[int]) -> Interference | None:
        n = self.n[read]
        if not n.sum():
            return None
        apart = self.of["one"][read] + self.of["other"][read]
        means = {name: samples.mean(sums[read], n) for name, sums in self.of.items()}
        return Interference(
            tokens=int(n.sum()), texts=int((n > 0).sum()), share=samples.mean(self.of["beyond"][read], apart),
            **{name: mean for name, mean in means.items() if mean is not None},
        )  # fmt: skip


def pair(
    model: LanguageModel,
    sae: SAE,
    request: PairRequest,
    texts: Sequence[str],
    config: TokensConfig,
    *,
    session: str,
    one: Resolved,
    other: Resolved,
    together: Together | None,
    notes: Sequence[str] = (),
) -> Generator[Progress | Pair, None, Pair]:
    """Measure the edits `one` and `other`, apart and together, on the texts.

    After each batch of texts a Pair over those that are whole is yielded; the last is returned. Raises UsageError for a
    text that cannot be read, RunError where an edit makes the model's output not a number.
    """
    everywhere, where_both = _Sums(len(texts)), _Sums(len(texts))
    directions = sae.W_dec[[one.feature, other.feature]].detach().double()
    cosine = float(torch.nn.functional.cosine_similarity(directions[0], directions[1], dim=0))
    read: set[int] = set()
    found: Pair | None = None
    for batch in passes(model, sae, texts, config):
        figures = _figures(batch, one, other, request.mode)
        everywhere.add(batch, torch.ones_like(batch.next, dtype=torch.bool), figures)
        where_both.add(batch, batch.fires(one.feature) & batch.fires(other.feature), figures)
        read |= set(batch.text.tolist())
        yield Progress(phase="measuring the interference", done=len(read), total=len(texts), unit="texts")
        whole, samples = sorted(read), Bootstrap(len(read))
        everywhere_told = everywhere.told(samples, whole)
        assert everywhere_told is not None, "every text has a prediction"
        found = Pair(
            request=request, session=session, cosine=cosine, together=together, everywhere=everywhere_told,
            where_both=where_both.told(samples, whole), read=len(read), asked=len(texts), notes=tuple(notes),
        )  # fmt: skip
        yield found
    assert found is not None, "there is a text"
    return found


def _figures(batch: Passes, one: Resolved, other: Resolved, mode: Mode) -> dict[str, Float[Tensor, " n"]]:
    """Each figure of each prediction: 0 where the edits have no effect."""
    here, clean, logits = batch.under([[one], [other], [one, other]], mode)
    following = batch.next[here]
    loss = cross_entropy(clean, following)
    beyond = torch.zeros_like(clean)
    found = {name: torch.zeros_like(batch.next, dtype=torch.float64) for name in FIGURES}
    for name, under, sign in zip(("one", "other", "both"), logits, (-1, -1, +1), strict=True):
        found[f"loss_{name}"][here] = cross_entropy(under, following) - loss
        effect = under.sub_(clean)
        effect -= effect.mean(dim=1, keepdim=True)
        found[name][here] = _norm(effect)
        beyond.add_(effect, alpha=sign)
    found["beyond"][here] = _norm(beyond)
    found["loss_beyond"] = found["loss_both"] - found["loss_one"] - found["loss_other"]
    return found


def _norm(effect: Float[Tensor, "n v"]) -> Float[Tensor, " n"]:
    return torch.linalg.vector_norm(effect, dim=1, dtype=torch.float64)

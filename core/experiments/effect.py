"""The causal effect of a feature: what an edit of it changes over texts, beside the same edit of another feature.

For prediction t (the next token y_t behind token t of a text), with p the untouched model's distribution and p' that of
the model whose every text is edited:

    loss     ln p(y_t) − ln p'(y_t), in nats: above 0 the edited model predicts worse
    kl       KL(p ‖ p') = Σ_v p(v) (ln p(v) − ln p'(v)), in nats
    target   ln p'(w) − ln p(w) of one token w, chosen by a person
    moved    ℓ'_v − ℓ_v of each token v, with ℓ_v = logit_v − mean_u logit_u: what the softmax does not see is taken out

Each is averaged over all predictions, `m = Σ_t q_t / N`, and over those behind tokens on which the feature fires, z > 0
before the edit. Intervals are over texts (`core.experiments.intervals`): predictions of one text go together. The
control is a feature of like density, drawn by a seed, with the same edit, on the tokens where it fires itself; a
strength in multiples of max or p99 is in those of its own.
"""

from collections.abc import Generator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from core.experiments.intervals import Bootstrap
from core.experiments.passes import Passes, by_text, passes
from core.experiments.records import Contrast, Effect, Interval, Moved, Shift, Side
from core.experiments.requests import EffectRequest
from core.models.language import LanguageModel
from core.options import TokensConfig
from core.records import Progress
from core.sae.base import SAE
from core.steering.interventions import Mode, Resolved

TOP = 10
"""Next tokens listed at each end."""


class Drawn:
    """A feature with its edit in raw units, and its density where that is known."""

    def __init__(self, edit: Resolved, density: float | None) -> None:
        self.edit, self.density = edit, density


class _Sums:
    """One feature's sums over some of the predictions, by text."""

    def __init__(self, texts: int, n_vocab: int) -> None:
        self.n, self.loss, self.kl, self.target = (np.zeros(texts) for _ in range(4))
        self.moved = torch.zeros(n_vocab, dtype=torch.float64)

    def add(
        self, batch: Passes, here: Bool[Tensor, " n"], figures: Sequence[Float[Tensor, " n"]],
        moved: Float[Tensor, "m v"],
    ) -> None:  # fmt: skip
        """Those of the predictions that are `here`; of these `moved` leaves out where nothing does."""
        for total, values in zip((self.n, self.loss, self.kl, self.target), figures, strict=True):
            total += by_text(torch.where(here, values, 0.0), batch.text, len(total)).numpy()
        self.moved += moved.sum(dim=0, dtype=torch.float64).cpu()


class _Feature:
    """One feature and all of its sums."""

    def __init__(self, drawn: Drawn, texts: int, n_vocab: int) -> None:
        self.drawn = drawn
        self.everywhere, self.where_fires = _Sums(texts, n_vocab), _Sums(texts, n_vocab)

    def add(self, batch: Passes, target: int | None, mode: Mode) -> None:
        here, logits, [edited] = batch.under([[self.drawn.edit]], mode)
        clean, after = logits.log_softmax(dim=1), edited.log_softmax(dim=1)
        following = batch.next[here].unsqueeze(1)
        loss, kl, follows = (torch.zeros_like(batch.next, dtype=torch.float64) for _ in range(3))
        loss[here] = clean.gather(1, following)[:, 0].double() - after.gather(1, following)[:, 0].double()
        kl[here] = (clean.exp() * (clean - after)).sum(dim=1, dtype=torch.float64).clamp_min(0)
        if target is not None:
            follows[here] = (after[:, target] - clean[:, target]).double()
        moved = edited.sub_(logits)
        moved -= moved.mean(dim=1, keepdim=True)
        figures = torch.ones_like(loss), loss, kl, follows
        every = torch.ones_like(here)
        self.everywhere.add(batch, every, figures, moved)
        fires = batch.fires(self.drawn.edit.feature)
        self.where_fires.add(batch, fires, figures, moved[fires[here]])


def effect(
    model: LanguageModel,
    sae: SAE,
    request: EffectRequest,
    texts: Sequence[str],
    config: TokensConfig,
    *,
    session: str,
    feature: Drawn,
    control: Drawn | None,
    target: int | None,
    notes: Sequence[str] = (),
) -> Generator[Progress | Effect, None, Effect]:
    """Measure `feature` and `control` on the texts; `target` is the token that is followed.

    After each batch of texts an Effect over those that are whole is yielded; the last is returned. Raises UsageError
    for a text that cannot be read, RunError where an edit makes the model's output not a number.
    """
    sides = [_Feature(drawn, len(texts), model.n_vocab) for drawn in (feature, control) if drawn]
    read: set[int] = set()
    found: Effect | None = None
    for batch in passes(model, sae, texts, config):
        for side in sides:
            side.add(batch, target, request.mode)
            done = len(read) + len(batch.text.unique()) * (sides.index(side) + 1) / len(sides)
            yield Progress(phase="measuring the effect", done=done, total=len(texts), unit="texts")
        read |= set(batch.text.tolist())
        found = _found(model, request, session, sides, sorted(read), target, len(texts), tuple(notes))
        yield found
    assert found is not None, "there is a text"
    return found


def _found(
    model: LanguageModel,
    request: EffectRequest,
    session: str,
    sides: Sequence[_Feature],
    read: list[int],
    target: int | None,
    asked: int,
    notes: tuple[str, ...],
) -> Effect:
    """The record of what was summed over the texts that were read."""
    samples = Bootstrap(len(read))

    def shift(sums: _Sums) -> Shift | None:
        n = sums.n[read]
        loss, kl = samples.mean(sums.loss[read], n), samples.mean(sums.kl[read], n)
        if loss is None or kl is None:
            return None
        mean = sums.moved / n.sum()
        return Shift(
            tokens=int(n.sum()), texts=int((n > 0).sum()), loss=loss, kl=kl,
            target=None if target is None else samples.mean(sums.target[read], n),
            gained=_moved(model, mean, +1), lost=_moved(model, mean, -1),
        )  # fmt: skip

    def side(one: _Feature) -> Side:
        everywhere = shift(one.everywhere)
        assert everywhere is not None, "every text has a prediction"
        return Side(
            feature=one.drawn.edit.feature, density=one.drawn.density, everywhere=everywhere,
            where_fires=shift(one.where_fires),
        )  # fmt: skip

    def contrast(one: _Sums, other: _Sums) -> Contrast:
        def difference(name: str) -> Interval | None:
            return samples.difference(*((getattr(sums, name)[read], sums.n[read]) for sums in (one, other)))

        return Contrast(
            loss=difference("loss"), kl=difference("kl"), target=None if target is None else difference("target")
        )

    feature, *control = sides
    return Effect(
        request=request, session=session, feature=side(feature), control=side(control[0]) if control else None,
        everywhere=contrast(feature.everywhere, control[0].everywhere) if control else None,
        where_fires=contrast(feature.where_fires, control[0].where_fires) if control else None,
        read=len(read), asked=asked, notes=notes,
    )  # fmt: skip


def _moved(model: LanguageModel, mean: Float[Tensor, " v"], sign: int) -> tuple[Moved, ...]:
    """The tokens whose logits moved most in one direction; none that moved in the other."""
    values, tokens = (sign * mean).topk(min(TOP, len(mean)))
    return tuple(
        Moved(token_id=token, text=model.tokens.text(token), by=sign * value)
        for token, value in zip(tokens.tolist(), values.tolist(), strict=True)
        if value > 0
    )

"""Which features on which tokens a prediction rests on: three answers, and how well one predicts the exact one.

What is attributed is the target's logit behind token p, less the mean over the vocabulary, `ℓ = logit_t − mean_v
logit_v`. For a feature f that is active on token i ≤ p, with z its activation there and d = W_dec[f]:

    direct      z ⟨d, ∂ℓ/∂r_p⟩ for i = p, else 0. r is the residual stream behind the last block, so the gradient is
                that of final norm and unembedding alone, linearised at the r of this very prompt: with u = W_U[:, t] −
                mean_v W_U[:, v] and a norm `γ ⊙ r / s`, `s = √(mean r²)`, it is `(γ ⊙ u) / s − r ⟨r, γ ⊙ u⟩ / (d_model
                s³)`. What a feature adds to another token's residual stream reaches ℓ by attention alone, which is
                not direct.
    gradient    z ⟨d, ∂ℓ/∂x_i⟩, gradient × activation: the change of ℓ to first order, by every path, from one
                backward pass
    ablation    ℓ(x) − ℓ(x with x_i − z d in the place of x_i): the exact effect of this feature on this token alone,
                the SAE's error kept; a forward pass each, so only for the pairs with the largest |gradient|

All are positive where the feature speaks for the target.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

from core.errors import ModelError, UsageError, nearest
from core.models.gradients import gradients
from core.models.language import LanguageModel
from core.options import TokensConfig
from core.records import AttributedFeature, Attribution, ContextToken, Progress
from core.sae.base import SAE
from core.steering.prompts import read

Rank = Literal["activation", "direct", "gradient", "ablation"]
RANKS: tuple[Rank, ...] = get_args(Rank)
ABLATIONS = 64
"""Pairs that are ablated one by one, where nothing else is said."""
LOGITS = 2**24
"""Logits held at once: 64 MB in float32, and a few times that in all."""
ROWS = 16
"""Prompts in one pass at most."""
LIKELIEST = 5


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """Features active on tokens, by position, then feature."""

    position: Int[Tensor, " n"]
    feature: Int[Tensor, " n"]
    value: Float[Tensor, " n"]
    gradient: Float[Tensor, " n"]
    direct: Float[Tensor, " n"] | None


def attribute(
    model: LanguageModel,
    sae: SAE,
    text: str,
    config: TokensConfig,
    *,
    target: str | None = None,
    position: int | None = None,
    rank: str = "gradient",
    top: int = 20,
    ablations: int = ABLATIONS,
    then: Sequence[int] = (),
    chat: bool = False,
    system: str = "",
) -> Generator[Progress, None, Attribution]:
    """Attribute the prediction of `target` behind the token at `position`; returns the `top` largest pairs by `rank`.

    The text, a user's turn in the model's chat template where it is a `chat`, is followed by the tokens `then`, such as
    those that were generated after it. `position` counts tokens as the model reads them, a BOS being 0; None is the
    last. `target` has to be one token; None is what the model finds most likely there. Raises UsageError for a text,
    position, target or rank that cannot be.
    """
    if rank not in RANKS:
        raise UsageError(f"features are not ranked by {rank!r}", hint=nearest(str(rank), RANKS))
    prompt = read(text, model, config, chat=chat, system=system, room=len(then))
    position = _checked(position, len(prompt) + len(then))
    read_ids, counts = (values[: position + 1] for values in prompt.followed(then))
    if not any(counts):
        raise UsageError("the text has no token on which the SAE is defined", hint="give a longer one")
    ids = torch.tensor(read_ids, device=model.device)
    yield Progress(phase="one backward pass")
    wanted = None if target is None else one_token(target, model)
    chosen: list[int] = []

    def score(logits: Float[Tensor, " v"]) -> Float[Tensor, ""]:
        chosen.append(int(logits.argmax()) if wanted is None else wanted)
        return logits[chosen[0]] - logits.mean()

    found = gradients(model, ids.unsqueeze(0), score)
    counted = torch.tensor(counts, device=model.device)
    direction = found.at_end[position] if found.at_end is not None and _in_residual(model) else None
    pairs = _pairs(sae, found.x, found.at_hook, counted, direction, position)
    if rank == "direct" and pairs.direct is None:
        raise UsageError(
            f"what {model.hook} holds is not added to the residual stream: nothing there has a direct effect",
            hint="rank by activation, gradient or ablation",
        )
    first = pairs.gradient.abs().argsort(descending=True, stable=True)[:ablations]
    effects = yield from _ablated(model, sae, ids, pairs, first, chosen[0])
    exact = torch.full_like(pairs.gradient, math.nan)
    exact[first] = effects
    probabilities = found.logits.softmax(dim=0)
    likeliest = probabilities.topk(min(LIKELIEST, len(probabilities)))
    sums = torch.zeros(position + 1, device=pairs.gradient.device).index_add(0, pairs.position, pairs.gradient)
    words = [model.tokens.text(i) for i in ids.tolist()]
    return Attribution(
        tokens=tuple(
            ContextToken(token_idx=i, token_id=token, text=words[i], value=value)
            for i, (token, value) in enumerate(zip(ids.tolist(), sums.tolist(), strict=True))
        ),
        position=position,
        target_id=chosen[0],
        target=model.tokens.text(chosen[0]),
        score=found.number,
        probability=float(probabilities[chosen[0]]),
        likeliest=tuple(
            (model.tokens.text(i), p)
            for p, i in zip(likeliest.values.tolist(), likeliest.indices.tolist(), strict=True)
        ),
        pairs=len(pairs.value),
        rows=_rows(pairs, exact, words, rank, top),
        ablated=len(first),
        pearson=_correlation(stats.pearsonr, pairs.gradient[first], effects),
        spearman=_correlation(stats.spearmanr, pairs.gradient[first], effects),
    )


def _checked(position: int | None, n: int) -> int:
    """The position among `n` tokens. Raises UsageError."""
    if position is not None and not 0 <= position < n:
        raise UsageError(f"the text has no token {position}", hint=f"its positions are 0 to {n - 1}")
    return n - 1 if position is None else position


def _in_residual(model: LanguageModel) -> bool:
    """Whether what the hook point holds is added to the residual stream."""
    try:
        model.unembed(torch.zeros(0, model.d_in, device=model.device))
    except ModelError:
        return False
    return True


def one_token(target: str, model: LanguageModel) -> int:
    """The one token that `target` is. Raises UsageError."""
    [ids] = model.tokens.encode([target.encode("utf-8", "replace").decode("utf-8")])
    if len(ids) != 1:
        parts = " ".join(repr(model.tokens.text(i)) for i in ids) or "none"
        raise UsageError(
            f"the target {target!r} is {len(ids)} tokens: {parts}",
            hint="give one; that of a word within a text begins with a space",
        )
    return ids[0]


@torch.no_grad()
def _pairs(
    sae: SAE, x: Float[Tensor, "t d_in"], gradient: Float[Tensor, "t d_in"], counted: Tensor,
    direction: Float[Tensor, " d_model"] | None, position: int,
) -> _Pairs:  # fmt: skip
    """Every active feature on every counted token, with its first-order effects."""
    code = sae.encode_sparse(x[counted])
    at = counted.nonzero().flatten()[code.row]
    by_gradient = torch.zeros_like(code.value)
    for i in at.unique().tolist():  # token by token: all rows of W_dec at once may not fit
        mine = at == i
        by_gradient[mine] = code.value[mine] * (sae.W_dec[code.feature[mine]] @ gradient[i])
    direct = None
    if direction is not None:
        direct, mine = torch.zeros_like(code.value), at == position
        direct[mine] = code.value[mine] * (sae.W_dec[code.feature[mine]] @ direction)
    return _Pairs(at, code.feature, code.value, by_gradient, direct)


@torch.no_grad()
def _ablated(
    model: LanguageModel, sae: SAE, ids: Int[Tensor, " t"], pairs: _Pairs, which: Int[Tensor, " m"], target: int
) -> Generator[Progress, None, Float[Tensor, " m"]]:
    """ℓ(x) − ℓ(x without the feature on its token), for each pair of `which`.

    The clean ℓ is that of a pass over as many rows, for with another number of rows a model rounds differently.
    """
    rows = max(1, min(ROWS, len(which), LOGITS // (len(ids) * model.n_vocab)))
    split = model.split_pass(ids.repeat(rows, 1))
    clean = _score(split.logits, target)
    effects: list[Tensor] = []
    for first in range(0, len(which), rows):
        part = which[first : first + rows]
        x = split.x.clone()
        at = torch.arange(len(part), device=x.device)
        x[at, pairs.position[part]] -= pairs.value[part].unsqueeze(1) * sae.W_dec[pairs.feature[part]]
        effects.append((clean - _score(split.logits_with(x), target))[: len(part)])
        yield Progress(phase="ablating features", done=first + len(part), total=len(which), unit="passes")
    return torch.cat(effects) if effects else torch.zeros(0, device=ids.device)


def _score(logits: Float[Tensor, "b t v"], target: int) -> Float[Tensor, " b"]:
    last = logits[:, -1].float()
    return last[:, target] - last.mean(dim=1)


def _rows(
    pairs: _Pairs, exact: Float[Tensor, " n"], words: Sequence[str], rank: str, top: int
) -> tuple[AttributedFeature, ...]:
    by = {"activation": pairs.value, "direct": pairs.direct, "gradient": pairs.gradient, "ablation": exact}[rank]
    assert by is not None
    order = by.abs().nan_to_num(-1).argsort(descending=True, stable=True)[:top].tolist()
    return tuple(
        AttributedFeature(
            position=int(pairs.position[i]),
            token=words[int(pairs.position[i])],
            feature=int(pairs.feature[i]),
            activation=float(pairs.value[i]),
            direct=None if pairs.direct is None else float(pairs.direct[i]),
            gradient=float(pairs.gradient[i]),
            ablation=None if exact[i].isnan() else float(exact[i]),
        )
        for i in order
    )


def _correlation(measure: object, one: Float[Tensor, " m"], other: Float[Tensor, " m"]) -> float | None:
    a, b = one.double().cpu().numpy(), other.double().cpu().numpy()
    if len(a) < 3 or not a.std() or not b.std():
        return None
    return float(measure(a, b).statistic)  # pyright: ignore[reportCallIssue]

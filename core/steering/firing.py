"""What fires on a text, before and behind interventions, and how likely the model finds its tokens.

An edit at the hook point changes no activation there in the same pass: x is read once, without edits, and x' is
computed from it. Owns which interventions held for which token.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from core.activations import ranked
from core.models.language import LanguageModel
from core.options import TokensConfig
from core.records import FiringToken
from core.sae.base import SAE
from core.steering.edit import Positions, edited
from core.steering.interventions import Scales, resolve
from core.steering.prompts import read
from core.steering.request import GenerationRequest
from core.steering.transcript import Change, held

Strongest = tuple[tuple[int, float], ...]
AT_ONCE = 64
"""Positions whose log-probabilities are computed together: over a whole vocabulary they are large."""


@torch.no_grad()
def firing(
    model: LanguageModel,
    sae: SAE,
    request: GenerationRequest,
    config: TokensConfig,
    scales: Scales | None = None,
    *,
    changes: Sequence[Change] = (),
    then: Sequence[int] = (),
    top: int = 10,
) -> list[FiringToken]:
    """The tokens of a prompt as the model reads it, BOS included, each with its `top` strongest features.

    The prompt is followed by the tokens `then`, such as those that were generated after it, which need not be what the
    tokenizer makes of their text. `after` is what the request's interventions and `changes` make of each where there
    are any, as in the steered row: the prompt was read under those of index 0, the i-th of `then` under those of i + 1.

    Raises UsageError for a text that is empty or too long, QueryError for an intervention that cannot be.
    """
    prompt = read(request.prompt, model, config, chat=request.chat, system=request.system, room=len(then))
    n = len(prompt)
    read_ids, counts = prompt.followed(then)
    ids, counted = (torch.tensor(values, device=model.device) for values in ([read_ids], counts))
    seen = model.split_pass(ids)
    x = seen.x[0]
    code = sae.encode(x[counted])
    before = _strongest(code, counted, top)
    active = _of_all((code > 0).sum(dim=1), counted)
    x_nonzero = _of_all((x[counted] != 0).double().mean(dim=1), counted)
    x_ranked, z_ranked = (_where(ranked(rows), counted) for rows in (x[counted], code))
    after: list[Strongest] = [()] * len(x)
    if any(edits.interventions for edits in (request, *changes)) or request.mode == "replace":
        steered = x.clone()
        roles = None if prompt.roles is None else (*prompt.roles, *["assistant"] * len(then))
        begins = sorted({0, *(n + change.index - 1 for change in changes if 0 < change.index <= len(then))})
        for begin, end in pairwise((*begins, len(x))):
            here = slice(begin, end)
            at = Positions(
                counted=counted[here], prompt_length=n, start=begin, roles=None if roles is None else roles[here]
            )
            interventions, _ = held(request, changes, max(0, begin - n + 1))
            steered[here] = edited(
                x[here], sae, resolve(interventions, scales, sae.d_sae, chat=request.chat), at, request.mode
            )
        after = _strongest(sae.encode(steered[counted]), counted, top)
    logprobs = [None, *_logprobs(seen.logits[0], ids[0])]
    return [
        FiringToken(
            token_id=token,
            text=model.tokens.text(token),
            counted=is_counted,
            features=features,
            active=int(n_active),
            x_nonzero=share,
            z_nonzero=n_active / sae.d_sae,
            x_ranked=x_sizes,
            z_ranked=z_sizes,
            after=features_after,
            logprob=logprob,
        )
        for token, is_counted, features, n_active, share, x_sizes, z_sizes, features_after, logprob in zip(
            ids[0].tolist(),
            counted.tolist(),
            before,
            active,
            x_nonzero,
            x_ranked,
            z_ranked,
            after,
            logprobs,
            strict=True,
        )
    ]


def _logprobs(logits: Float[Tensor, "t v"], ids: Int[Tensor, " t"]) -> list[float]:
    """ln p of each token but the first, behind those before it."""
    found: list[float] = []
    for begin in range(0, len(ids) - 1, AT_ONCE):
        targets = ids[begin + 1 : begin + 1 + AT_ONCE]
        logprobs = logits[begin : begin + len(targets)].double().log_softmax(dim=1)
        found += logprobs.gather(1, targets[:, None])[:, 0].tolist()
    return found


def _of_all(figures: Tensor, counted: Tensor) -> list[float]:
    """Figures of the counted positions as those of all, 0 for the others."""
    found = figures.new_zeros(len(counted))
    found[counted] = figures
    return found.tolist()


def _strongest(code: Float[Tensor, "n d_sae"], counted: Tensor, top: int) -> list[Strongest]:
    """For each position its active features, strongest first, at most `top`; none where it is not counted."""
    values, features = code.topk(min(top, code.shape[1]), dim=1)
    found = [
        tuple((f, v) for f, v in zip(fs, vs, strict=True) if v > 0)
        for fs, vs in zip(features.tolist(), values.tolist(), strict=True)
    ]
    return _where(found, counted)


def _where(found: Iterable[tuple[Any, ...]], counted: Tensor) -> list[tuple[Any, ...]]:
    """What was found at the counted positions as that of all, nothing for the others."""
    each = iter(found)
    return [next(each) if is_counted else () for is_counted in counted.tolist()]

"""A token for each row of logits, all rows by one random draw.

With l the logits and S the tokens that the row has already, in `transformers`' order and with its definitions:

    repetition penalty r    l_v = l_v / r where l_v > 0, else l_v r, for v in S
    temperature T           p = softmax(l / T)
    top-k                   out: v with l_v below the k-th largest
    top-p                   out: v where those less likely, and v, together have at most 1 − top_p
    min-p                   out: v with p_v < min_p max(p)

each on what the one before left. What is chosen of the rest is `argmax(l + T g)`, with g one vector of Gumbel noise for
all rows: the Gumbel-max trick `argmax(l / T + g)` times T, which is a sample of softmax(l / T) and exactly greedy at
T = 0. Rows then differ only where their logits do.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from core.steering.request import Sampling


class Noise:
    """Vectors of Gumbel noise, one a step: step t takes the t-th of its seed, whatever was asked for before."""

    def __init__(self, n_vocab: int) -> None:
        self._n_vocab = n_vocab
        self._generator = torch.Generator()
        self._seed, self._next = -1, 0

    def at(self, step: int, seed: int) -> Float64[Tensor, " v"]:
        """The vector of a step, from 0."""
        if seed != self._seed or step < self._next:
            self._generator.manual_seed(seed)
            self._seed, self._next = seed, 0
        drawn = torch.empty(self._n_vocab, dtype=torch.float64)
        while self._next <= step:
            drawn.exponential_(generator=self._generator)
            self._next += 1
        return -drawn.log()


def choose(
    logits: Float64[Tensor, "r v"], sampling: Sampling, seen: Sequence[Sequence[int]], noise: Noise, step: int
) -> list[int]:
    """A token for each row; `seen` are those that each row has already, the prompt's included."""
    logits = penalised(logits, sampling.repetition_penalty, seen)
    if sampling.temperature > 0:
        out = excluded(logits / sampling.temperature, sampling)
        logits = logits + sampling.temperature * noise.at(step, sampling.seed)
        logits = logits if out is None else logits.masked_fill(out, -torch.inf)
    return logits.argmax(dim=1).tolist()


def penalised(logits: Float64[Tensor, "r v"], penalty: float, seen: Sequence[Sequence[int]]) -> Float64[Tensor, "r v"]:
    """The logits with those of tokens a row has already made smaller; the tensor itself at a penalty of 1."""
    if penalty == 1:
        return logits
    result = logits.clone()
    for row, tokens in zip(result, seen, strict=True):
        had = torch.tensor(sorted(set(tokens)), dtype=torch.long)
        row[had] = torch.where(row[had] < 0, row[had] * penalty, row[had] / penalty)
    return result


def excluded(scores: Float64[Tensor, "r v"], sampling: Sampling) -> Tensor | None:
    """Which tokens may not be chosen, as a mask `[r v]`, by scores l / T; None where all may."""
    left = scores
    if 0 < sampling.top_k < scores.shape[1]:
        least = left.topk(sampling.top_k, dim=1).values[:, -1:]
        left = left.masked_fill(left < least, -torch.inf)
    if sampling.top_p < 1:
        ascending, order = left.sort(dim=1)
        out = ascending.softmax(dim=1).cumsum(dim=1) <= 1 - sampling.top_p
        out[:, -1] = False
        left = left.masked_fill(torch.zeros_like(out).scatter(1, order, out), -torch.inf)
    if sampling.min_p > 0:
        p = left.softmax(dim=1)
        left = left.masked_fill(p < sampling.min_p * p.max(dim=1, keepdim=True).values, -torch.inf)
    return None if left is scores else left == -torch.inf

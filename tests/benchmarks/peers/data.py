"""What everything is measured on: activations of SmolLM2, of layer 10 as a rule, harvested once and kept in a file."""

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from core import activations, config, corpus, flow, tokens

HOOK, CONTEXT = "blocks.10.hook_resid_post", 128
ROWS, HELD_OUT = 131_072, 16_384


class Data(NamedTuple):
    """Activations of an average norm of √d_in, in three parts without a row in common."""

    train: Float[Tensor, "n d_in"]
    calibration: Float[Tensor, "m d_in"]
    """The first half of what is held out: thresholds are moved on it."""
    test: Float[Tensor, "m d_in"]

    @property
    def d_in(self) -> int:
        return self.train.shape[1]

    def batches(self, n: int, rows: int) -> Iterator[Float[Tensor, "rows d_in"]]:
        """The same `n` batches each time, drawn with replacement."""
        generator = torch.Generator().manual_seed(1)
        for _ in range(n):
            yield self.train[torch.randint(len(self.train), (rows,), generator=generator)]


def read(path: Path, corpus_name: str, hook: str = HOOK) -> Data:
    """What `path` holds; harvested first at `hook` where there is no such file."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(_harvested(corpus_name, hook), path)
    x = torch.load(path)
    x = x * (math.sqrt(x.shape[1]) / x.norm(dim=1).mean())
    return Data(x[HELD_OUT:], x[: HELD_OUT // 2], x[HELD_OUT // 2 : HELD_OUT])


def _harvested(corpus_name: str, hook: str) -> Float[Tensor, "n d_in"]:
    """Activations of the corpus in a random order; the first position of each block is left out."""
    cfg = config.parse({"model": {"hook": hook}, "corpus": {"name": corpus_name}, "tokens": {"context": CONTEXT}})
    loading = flow.load_model(cfg)
    while True:
        try:
            next(loading)
        except StopIteration as end:
            model = end.value
            break
    blocks = tokens.blocks(corpus.documents(cfg.corpus, "train", seed=0), model.tokens, cfg.tokens)
    mixed = corpus.shuffled(blocks, 4096, random.Random(0))
    parts, n = [], 0
    for x in activations.harvest(model, tokens.stacked(mixed, 16)):
        parts.append(x.clone())
        n += len(x)
        if n >= ROWS:
            break
    x = torch.cat(parts)[:ROWS]
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]

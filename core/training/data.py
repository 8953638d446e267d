"""What a training reads: the blocks of a split, and the shuffled activations of the train split.

The text is a function of the configuration, so a place in it is the number of batches of blocks that were read: to
find it again the text is read again, without the model. What the model made of it and still waits is in the state.
"""

import hashlib
import itertools
import random
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from core import activations, corpus, tokens
from core.config import RunConfig
from core.errors import CorpusError
from core.models.digits import ImageClassifier
from core.models.load import Model
from core.records import Notice, Progress
from core.training.ranks import ALONE, Ranks

BLOCK_BUFFER, MIXED_TOKENS = 8_192, 2**20
"""Blocks, and tokens, shuffled before the model reads them: documents mix cheapest while they are token ids."""


def blocks(config: RunConfig, model: Model, split: corpus.Split, ranks: Ranks = ALONE) -> Iterator[tokens.Block]:
    """One split in blocks as the model reads them, from its beginning; of the documents, a process' own."""
    mine = itertools.islice(documents(config, model, split), ranks.rank, None, ranks.world)
    return activations.blocks(model, mine, config.tokens)


def documents(config: RunConfig, model: Model, split: corpus.Split) -> Iterator[corpus.Document]:
    """The documents of one split: texts of the corpus, or a network's images."""
    if isinstance(model, ImageClassifier):
        return model.images.documents(split)
    return corpus.documents(config.corpus, split, seed=config.seed)


def check_budget(config: RunConfig, model: Model) -> Iterator[Progress]:
    """Refuse, by a CorpusError, a budget larger than the train split, before anything is trained."""
    counted = 0
    for batch in tokens.stacked(blocks(config, model, "train"), 256):
        counted += int(batch.counted.sum())
        yield Progress(phase="counting the corpus", done=counted, total=config.budget.activations, unit="activations")
        if counted >= config.budget.activations:
            return
    raise CorpusError(
        f"the train split of {config.corpus.name} gives {counted:,} activations, "
        f"the budget is {config.budget.activations:,}",
        hint="lower budget.activations, name a larger corpus, or drop `strict`",
    )


class TrainingActivations:
    """Shuffled batches of the train split's activations, no more than the budget needs; as `loop.train` takes them.

    Where several processes train, each reads every so many'th document, and has its part of budget, batch and buffer.
    """

    def __init__(self, config: RunConfig, model: Model, ranks: Ranks = ALONE) -> None:
        training, budget = config.training, ranks.part(config.budget.activations)
        batch, held = training.batch_activations // ranks.world, training.buffer_activations // ranks.world
        context = config.tokens.context
        self._ranks = ranks
        self._config, self._model, self._budget = config, model, budget
        # Four budgets' worth of blocks mix as well as all: no more text is read before the first step than helps.
        self._mixing = max(64, min(BLOCK_BUFFER, MIXED_TOKENS // context, 4 * budget // context))
        self._text = self._mixed()
        self._read = self._gathered = 0
        """Batches of blocks that were read, and the activations taken from them."""
        self._digest = ""
        """Of the token ids that were read."""
        self._shuffled = activations.Shuffled(
            self._harvested(),
            buffer=max(2 * batch, min(held, budget)),
            batch=batch,
            generator=torch.Generator().manual_seed(config.seed),
        )

    def __iter__(self) -> Iterator[Float[Tensor, "batch d_in"] | int]:
        return iter(self._shuffled)

    def state(self) -> dict[str, Any]:
        """The place in the text, and what was read and has not been handed out. See `activations.Shuffled.state`."""
        return {
            "read": self._read, "gathered": self._gathered, "digest": self._digest, "mixing": self._mixing,
            "budget": self._budget, **self._shuffled.state(),
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> Iterator[Progress | Notice]:
        """Become what gave `state`: reads the text again up to its place, and says so where it is another text now.

        Under a larger budget than the state's it goes on where that one had ended: after the last batch of blocks read,
        of which the smaller budget may have left some activations out, in the order that the smaller budget gave.
        """
        ended = state["ended"] and self._budget <= state["budget"]
        read, digest, self._gathered, self._mixing = (state[x] for x in ("read", "digest", "gathered", "mixing"))
        self._shuffled.restore({**state, "ended": ended})
        del state  # the rows are in the buffer now, and need not be held twice while the text is read
        if ended:
            self._read, self._digest = read, digest
            return
        self._text = self._mixed()
        while self._read < read and (batch := next(self._text, None)) is not None:
            self._note(batch)
            yield Progress(phase="finding the place in the corpus", done=self._read, total=read, unit="batches")
        if self._digest != digest:
            yield Notice(
                message="the corpus or its tokenizer is not what it was at the checkpoint: training goes on at the "
                "same place in what is there now, and will not end with the weights of an uninterrupted run"
            )

    def _mixed(self) -> Iterator[tokens.Blocks]:
        """The text from its beginning, `_mixing` blocks of it shuffled at a time."""
        read = blocks(self._config, self._model, "train", self._ranks)
        mixed = corpus.shuffled(read, self._mixing, random.Random(self._config.seed))
        return tokens.stacked(mixed, self._config.training.model_batch_blocks)

    def _harvested(self) -> Iterator[Float[Tensor, "n d_in"]]:
        """The activations of one batch of blocks after another, up to the budget."""
        while self._gathered < self._budget and (batch := next(self._text, None)) is not None:
            for chunk in activations.harvest(self._model, [batch]):
                chunk = chunk[: self._budget - self._gathered]
                self._note(batch)  # after the model: where that fails, the batch was not read
                self._gathered += len(chunk)
                yield chunk

    def _note(self, batch: tokens.Blocks) -> None:
        self._read += 1
        self._digest = hashlib.blake2b(self._digest.encode() + batch.ids.tobytes(), digest_size=16).hexdigest()

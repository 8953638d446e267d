"""The CE-loss score while an SAE is trained: how much of the model's loss is left as it was, on the same few texts.

As `core.evaluate` defines it, on the first predictions of the calibration split, so that the test split is looked at
once, when all is done. Knows nothing of the training but its steps and what it has come to.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from itertools import islice

import torch

from core import activations, corpus, tokens
from core.config import RunConfig
from core.cross_entropy import Predictions, quotient
from core.errors import CorpusError, out_of_memory
from core.models.language import LanguageModel
from core.models.load import Model
from core.records import Notice, Progress
from core.sae.base import SAE

PREDICTIONS = 512
"""Positions read, some of which have no next token to predict: the noise of few is the same at each step."""
LENGTH = 128
"""Of a block's beginning, and positions in a pass: the logits of no more have to be in memory, three times over."""
MIXED = 64
"""Documents of the split that are mixed: no more text is read before the first step than that takes."""
EARLY, AT_LEAST, TIMES = 10_000, 100_000, 100
"""Activations trained on when it is measured again, which doubles until so many lie between two measurements at least,
and as many as make so many measurements of a training at most: to measure costs as much as to read some 1,500
activations, so a fiftieth of a long training's time, and little more of a short one's."""


class Scored:
    """The score of one training, measured at its first report, soon again, then every so many steps, and at its end."""

    def __init__(self, config: RunConfig, model: Model | None, last: float | None = None) -> None:
        """`last` is what was measured before a training that goes on was interrupted.

        Where there is no model at hand, or one that predicts no text, nothing is measured.
        """
        self._config, self._model, self.last = config, model if isinstance(model, LanguageModel) else None, last
        logged, batch = config.training.log_every_steps, config.training.batch_activations
        first, self._every = (
            logged * math.ceil(n / batch / logged) for n in (EARLY, max(AT_LEAST, config.budget.total / TIMES))
        )
        doubled = (first << n for n in range((self._every // first).bit_length()))
        self._early = {logged, config.steps // logged * logged, *doubled}
        self._blocks: list[tokens.Blocks] = []
        """The texts; none where there are none, or no memory for them."""
        self._texts: list[tuple[Predictions, float, float]] = []
        """Predictions, and the sums of their losses untouched and with 0 in the activations' place."""
        self._said = ""

    def read(self) -> Iterator[Progress]:
        """Read the texts. To be called once, before the first step; a corpus without any is as none at hand."""
        if self._model is None:
            return
        yield Progress(phase="reading texts to measure the CE-loss score on")
        with contextlib.suppress(CorpusError):
            self._blocks = list(self._read(self._model))

    def after(self, step: int, made: Callable[[], SAE]) -> None:
        """Measure the SAE that `made` gives, if it is due. To be called after every step, before its report."""
        if self._model is not None and self._blocks and (step in self._early or step % self._every == 0):
            with self._in_memory(), torch.no_grad():
                self.last = self._score(self._model, made().to(self._model.device))

    def notices(self) -> Iterator[Notice]:
        """What is to be said, once."""
        said, self._said = self._said, ""
        if said:
            yield Notice(message=said)

    def _score(self, model: LanguageModel, sae: SAE) -> float | None:
        """(CE_zero − CE_sae) / (CE_zero − CE_clean), of the SAE in the precision in which it is evaluated."""
        sae.precision = "float32"
        for blocks in self._blocks[len(self._texts) :]:  # the first time
            one = Predictions(model, blocks)
            self._texts.append((one, one.loss(one.clean), one.loss(one.replaced(torch.zeros_like(one.split.x)))))
        clean = sum(clean for _, clean, _ in self._texts)
        zero = sum(zero for _, _, zero in self._texts)
        by_sae = sum(one.loss(one.replaced(one.reconstructed(sae))) for one, _, _ in self._texts)
        return quotient(zero - by_sae, zero - clean)

    @contextlib.contextmanager
    def _in_memory(self) -> Iterator[None]:
        """Measure no more where memory does not suffice: the training goes on, which is what it is for."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            self._blocks, self._texts, self.last = [], [], None
            self._said = "there is too little memory beside the training to measure its CE-loss score: evaluate does"

    def _read(self, model: LanguageModel) -> Iterator[tokens.Blocks]:
        length = min(LENGTH, self._config.tokens.context)
        documents = corpus.documents(self._config.corpus, "calibration", seed=self._config.seed, mixed=MIXED)
        read = islice(activations.blocks(model, documents, self._config.tokens), -(-PREDICTIONS // length))
        for batch in tokens.stacked(read, max(1, LENGTH // length)):
            cut = {field.name: getattr(batch, field.name)[:, :length] for field in dataclasses.fields(batch)}
            yield tokens.Blocks(**cut)

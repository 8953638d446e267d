"""The CE-loss score while an SAE is trained: how much of the model's loss is left as it was, on the same few texts.

As `core.evaluate` defines it, on the first predictions of the calibration split, so that the test split is looked at
once, when all is done. Knows nothing of the training but its steps and what it has come to.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from itertools import islice

import torch

from core import tokens
from core.config import RunConfig
from core.cross_entropy import Predictions, quotient
from core.models.language import LanguageModel
from core.models.load import Model
from core.sae.base import SAE
from core.training import data

PREDICTIONS = 512
"""Positions read, some of which have no next token to predict: the noise of few is the same at each step."""
LENGTH = 128
"""Of a block's beginning, so that the logits, of half of the positions at once, take 0.05 to 0.25 GB."""
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
        self._early = {logged, config.steps, *(first << n for n in range((self._every // first).bit_length()))}
        self._texts: list[tuple[Predictions, float, float]] | None = None
        """Predictions, and the sums of their losses untouched and with 0 in the activations' place."""

    def after(self, step: int, made: Callable[[], SAE]) -> None:
        """Measure the SAE that `made` gives, if it is due. To be called after every step, before its report."""
        if self._model is not None and (step in self._early or step % self._every == 0):
            self.last = self._score(self._model, made().to(self._model.device))

    @torch.no_grad()
    def _score(self, model: LanguageModel, sae: SAE) -> float | None:
        """(CE_zero − CE_sae) / (CE_zero − CE_clean); None where there is no text to measure on."""
        if self._texts is None:
            self._texts = [
                (one, one.loss(one.clean), one.loss(one.replaced(torch.zeros_like(one.split.x))))
                for one in self._predictions(model)
            ]
        clean = sum(clean for _, clean, _ in self._texts)
        zero = sum(zero for _, _, zero in self._texts)
        by_sae = sum(one.loss(one.replaced(one.reconstructed(sae))) for one, _, _ in self._texts)
        return quotient(zero - by_sae, zero - clean)

    def _predictions(self, model: LanguageModel) -> Iterator[Predictions]:
        length = min(LENGTH, self._config.tokens.context)
        read = data.blocks(self._config, model, "calibration")
        for batch in tokens.stacked(islice(read, -(-PREDICTIONS // length)), max(1, PREDICTIONS // length // 2)):
            cut = {field.name: getattr(batch, field.name)[:, :length] for field in dataclasses.fields(batch)}
            yield Predictions(model, tokens.Blocks(**cut))

"""How the texts of a generation are shown: as tokens, lit by a feature or by how far the two runs are apart."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from math import exp, tanh
from typing import Literal

from core.records import FiringToken
from sae_tui.screens.differing import changed
from sae_tui.screens.generation import SIDES, Generation, Side
from sae_tui.widgets.token_text import Piece

END = "∎"
"""Stands for a token that ends the text."""
FAR = 2.0
"""Nats apart at which a token is lit by three quarters."""


@dataclass(frozen=True, slots=True)
class Light:
    """What tokens are lit by: one `feature`, in units of `most`; or `kl`; or `gap`, how far apart the runs are on each.

    The gap is ln p under the steered run less ln p under the baseline: below 0 the interventions made it less likely.
    """

    by: Literal["feature", "kl", "gap"] = "kl"
    feature: int | None = None
    most: float = 1.0


class Lighting:
    """Makes pieces of a generation's texts; what takes long is made once for each stage."""

    def __init__(self) -> None:
        self._marks: tuple[object, dict[Side, list[bool]]] = None, {side: [] for side in SIDES}

    def pieces(self, generation: Generation, side: Side, light: Light | None = None) -> list[Piece]:
        """Prompt and text as they are to be shown."""
        shown = list(_prompt_pieces(generation, light))
        choices = generation.choices(side)
        marked = self._marked(generation)[side]
        ended = any(getattr(report, side) is None for report in generation.reports[-1:])
        for i, choice in enumerate(choices):
            closing = ended and i == len(choices) - 1 and not choice.text
            strength = _strength(generation, side, i, light)
            shown.append(Piece(END if closing else choice.text, strength, closing, marked[i]))
        return shown

    def _marked(self, generation: Generation) -> dict[Side, list[bool]]:
        """For each token of each text whether it belongs to a word that only this one has."""
        at_rest = generation.ended is not None
        stage = id(generation), generation.stage, at_rest
        if self._marks[0] != stage:
            texts = [[choice.text for choice in generation.choices(side)] for side in SIDES]
            found: dict[Side, list[bool]] = {}
            marked = changed(*map("".join, texts), aligned=at_rest)
            for side, text, marks in zip(SIDES, texts, marked, strict=True):
                ends = list(accumulate(map(len, text)))
                found[side] = [any(marks[a:b]) for a, b in zip([0, *ends], ends, strict=False)]
            self._marks = stage, found
        return self._marks[1]


def _prompt_pieces(generation: Generation, light: Light | None) -> Iterator[Piece]:
    if not generation.prompt:
        yield Piece(generation.request.prompt, quiet=True)
    for token in generation.prompt:
        yield Piece(token.text, _lit(token, light), not token.counted, quiet=True)


def _strength(generation: Generation, side: Side, i: int, light: Light | None) -> float:
    if light is None:
        return 0.0
    report = generation.reports[i]
    if light.by == "kl":
        return 1 - exp(-report.kl) if side == "steered" else 0.0
    if light.by == "gap":
        choice = getattr(report, side)
        return tanh((choice.logprob_steered - choice.logprob_baseline) / FAR)
    token = generation.firing_at(side, generation.begin + i)
    return _lit(token, light) if token else 0.0


def _lit(token: FiringToken, light: Light | None) -> float:
    """How strongly a token is lit by a feature."""
    if light is None or light.by != "feature":
        return 0.0
    value = next((z for feature, z in token.features if feature == light.feature), 0.0)
    return min(1.0, value / light.most) if light.most > 0 else 0.0

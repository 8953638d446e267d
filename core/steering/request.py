"""What a generation is asked for: a prompt, interventions, and how tokens are chosen.

Owns these values and the sentences that say what is wrong with one. Knows no tensors, models or databases.
"""

import math
from dataclasses import dataclass, fields
from typing import Any

from core.errors import UsageError, nearest
from core.steering.interventions import MODES, Intervention, Mode

MAX_TEMPERATURE = 100.0


def _number(name: str, value: Any, low: float, high: float) -> None:
    """Raises UsageError unless the value is a number from `low` to `high`."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not low <= value <= high:
        raise UsageError(f"{value!r} is no {name}", hint=f"give a number from {low:g} to {high:g}")


def _whole(name: str, value: Any, high: int) -> None:
    """Raises UsageError unless the value is a whole number from 0 to `high`."""
    if not _is_int(value) or not 0 <= value <= high:
        raise UsageError(f"{value!r} is no {name}", hint=f"give a whole number from 0 to {high}")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a token is chosen; formulas in `core.steering.sampling`. Raises UsageError for values without sense."""

    temperature: float = 0.7
    """0: the most likely token, always."""
    top_p: float = 1.0
    """Only the most likely tokens that together have this share of the probability; 1: all."""
    top_k: int = 0
    """Only the so many most likely tokens; 0: all."""
    min_p: float = 0.0
    """Only tokens at least this share as likely as the most likely one; 0: all."""
    repetition_penalty: float = 1.0
    """Above 1: tokens that the row has already, those of the prompt too, are made less likely; 1: they are not."""
    seed: int = 0
    """Of the one random draw a step that all rows share."""

    def __post_init__(self) -> None:
        _number("temperature", self.temperature, 0, MAX_TEMPERATURE)
        _number("top-p", self.top_p, 0, 1)
        if self.top_p == 0:
            raise UsageError("a top-p of 0 leaves no token", hint="for the likeliest token set the temperature to 0")
        _whole("top-k", self.top_k, 10**9)
        _number("min-p", self.min_p, 0, 1)
        _number("repetition penalty", self.repetition_penalty, 0.01, 100)
        _whole("seed", self.seed, 2**63 - 1)


SAMPLING = tuple(field.name for field in fields(Sampling))
"""The names of its values."""
GREEDY = Sampling(temperature=0.0)
"""The most likely token, always."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """What to generate: a baseline text and a steered one. Raises UsageError where a value makes no sense."""

    prompt: str
    interventions: tuple[Intervention, ...] = ()
    mode: Mode = "error-kept"
    """`error-kept`: x' = x + (z' − z) W_dec; `replace`: x' = decode(z'), without the SAE's error."""
    tokens: int = 80
    """At most so many are generated, in each text."""
    sampling: Sampling = Sampling()
    chat: bool = False
    """The prompt is what a user says, in the model's chat template; what is generated is what the assistant says."""
    system: str = ""
    """What the template's system turn says; empty: as the template has it. Only with `chat`."""

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str):
            raise UsageError(f"{self.prompt!r} is no prompt", hint="a prompt is text")
        if self.mode not in MODES:
            raise UsageError(f"there is no mode {self.mode!r}", hint=nearest(str(self.mode), MODES))
        if not _is_int(self.tokens) or self.tokens < 1:
            raise UsageError(f"cannot generate {self.tokens!r} tokens", hint="give a whole number from 1")
        if not isinstance(self.system, str):
            raise UsageError(f"{self.system!r} is no system prompt", hint="a system prompt is text")
        if self.system and not self.chat:
            raise UsageError("a system prompt needs a chat template", hint="turn the chat template on, or leave it out")

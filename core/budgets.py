"""Budgets that this machine does in about two minutes: what the demo is given before it begins.

Measures the model's speed and nothing else; who asks for it writes the configuration.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from core.models.language import LanguageModel

TRAIN_S, EVALUATE_S, CROSS_ENTROPY_S, ANALYSE_S = 50, 6, 14, 18
"""Seconds of model time that each part gets."""
PASSES = 3
"""What a token costs in the cross-entropy figures, in whole passes: one clean, three of the layers above the hook."""


def measure(model: LanguageModel) -> tuple[dict[str, int], str]:
    """Fields of the configuration with what is to be done in them, and a sentence that says how it was found."""
    harvest, full = _tokens_per_second(model)
    found = {
        "budget.activations": _rounded(TRAIN_S * harvest, 20_000, 400_000),
        "evaluation.activations": _rounded(EVALUATE_S * harvest, 4_000, 30_000),
        "evaluation.ce_tokens": _rounded(CROSS_ENTROPY_S * full / PASSES, 500, 4_096),
        "analysis.activations": _rounded(ANALYSE_S * harvest, 10_000, 100_000),
    }
    words = (
        f"{harvest:,.0f} tokens/s to {model.hook}, {full:,.0f} through all of {model.name} in "
        f"{str(model.dtype).removeprefix('torch.')}; budgets: "
        + ", ".join(f"{key} {value:,}" for key, value in found.items())
    )
    return found, words


def _tokens_per_second(model: LanguageModel) -> tuple[float, float]:
    """Speed to the hook point and through the whole model: the best of three passes, the first being slow."""
    ids = torch.zeros(8, 128, dtype=torch.long, device=model.device)

    def speed(run: Callable[[Tensor], object]) -> float:
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            run(ids)
            seconds.append(time.perf_counter() - began)
        return ids.numel() / min(seconds)

    return speed(model.activations), speed(lambda ids: model.split_pass(ids).logits)


def _rounded(tokens: float, least: int, most: int) -> int:
    """Two digits of `tokens`, within bounds."""
    digits = 10 ** max(0, len(str(int(tokens))) - 2)
    return max(least, min(most, int(tokens) // digits * digits))

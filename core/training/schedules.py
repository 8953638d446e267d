"""How the learning rate, and what warms up, move over the steps. Pure functions of the step."""

import math
from typing import Literal

Decay = Literal["constant", "linear", "cosine"]


def lr_factor(
    step: int, steps: int, *, warmup_steps: int, decay: Decay = "linear", decay_share: float, floor: float = 0.0
) -> float:
    """The share of the full learning rate at `step` (0-based) of `steps`, in (0, 1].

    It rises linearly from 1/warmup_steps to 1, is constant, and falls to `floor` over the last `decay_share` of the
    steps: with r falling linearly from 1 to 0, by `floor + (1 − floor) f(r)`, f(r) = r (linear) or (1 − cos πr) / 2
    (cosine). At the last step r is 1/decay_steps, never 0.
    """
    rise = (step + 1) / warmup_steps if step < warmup_steps else 1.0
    decay_steps = 0 if decay == "constant" else round(decay_share * steps)
    left = (steps - step) / decay_steps if step > steps - decay_steps else 1.0
    fall = (1 - math.cos(math.pi * left)) / 2 if decay == "cosine" else left
    return min(rise, floor + (1 - floor) * fall)


def warmth(step: int, warmup_steps: int) -> float:
    """How far what warms up has come at `step` (0-based): linear from 0 to 1 over `warmup_steps`."""
    return 1.0 if warmup_steps == 0 else min(1.0, step / warmup_steps)

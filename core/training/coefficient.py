"""The weight λ of a sparsity penalty, found while the SAE is trained: it follows the number of active features.

With L the number of active features of a step's batch, L* the target, and p the share of the training that is done:

    want_p  = L_0^(1 − q) L*^q,  q = min(1, p / REACHED)     from what it begins with to the target, in equal ratios
    e       = ln(L / want_p), within [−1, 1]
    ln λ    = ln λ_0 + Σ_steps GAIN · e + DAMPING · e

until p = FIXED_FROM; from there on λ is what the sum alone says. Why not short runs with a λ each, and bisection: where
the number of active features ends depends on how long it has been falling (a ReLU SAE at one λ had 0.6 after 100 steps
and 7.0 after 400), so that a λ found on short runs misses in long ones. What is left is for the thresholds
(`thresholds`).
"""

import math
from typing import Any

from core.architectures import SPARSITY
from core.config import RunConfig
from core.sae.base import SAE

REACHED = 0.3
FIXED_FROM = 0.8
GAIN, GAINED = 0.03, 9.0
"""Per step, and over a short training as a whole: λ has to be able to grow e^9-fold in any."""
DAMPING = 0.3
BEGINS_AT = 0.1
"""The share of the configured λ that it begins with: too strong a one at first kills features."""
LEAST_L0 = 0.1


class Coefficient:
    """λ of one training, set on the SAE."""

    def __init__(self, sae: SAE, config: RunConfig) -> None:
        self._sae, self._field = sae, SPARSITY[config.sae.architecture][1]
        self._follows, self._target = config.sae.finds_coefficient, config.sae.target_l0 or 1.0
        self._gain = max(GAIN, GAINED / config.steps)
        self._log, self._first = math.log(BEGINS_AT * max(self.value or 0.0, 1e-6)), 0.0
        if self._follows:
            self._set(self._log)

    @property
    def value(self) -> float | None:
        """λ in use; None where k sets the sparsity."""
        return None if self._field == "k" else float(getattr(self._sae, self._field))

    def follow(self, l0: float, progress: float) -> None:
        """A step had `l0` active features: move λ."""
        if not self._follows:
            return
        if progress >= FIXED_FROM:
            self._set(self._log)
            return
        l0 = max(l0, LEAST_L0)
        self._first = self._first or l0
        way = min(1.0, progress / REACHED)
        wanted = (1 - way) * math.log(self._first) + way * math.log(self._target)
        error = max(-1.0, min(1.0, math.log(l0) - wanted))
        self._log += self._gain * error
        self._set(self._log + DAMPING * error)

    def state(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {"coefficient": self.value, "coefficient_log": self._log, "coefficient_first": self._first}

    def restore(self, state: dict[str, Any]) -> None:
        """Become what gave `state`, among whatever else is in it."""
        self._log, self._first = state["coefficient_log"], state["coefficient_first"]
        if self._follows:
            setattr(self._sae, self._field, state["coefficient"])

    def _set(self, log: float) -> None:
        setattr(self._sae, self._field, math.exp(log))

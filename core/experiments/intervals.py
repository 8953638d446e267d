"""Means over texts or seeds, with bootstrap intervals: what varies from one to the next is what is drawn again."""

import numpy as np
from jaxtyping import Float

from core.experiments.records import Interval

DRAWS = 2_000
"""Samples drawn, where nothing else is said."""
LEVEL = 95.0
"""Percent of the samples that lie in an interval."""


class Bootstrap:
    """n units (texts or seeds), each with a sum and a count, drawn again with replacement.

    The mean is that of all counted things, `m = Σ_i s_i / Σ_i c_i`, and a sample's is `Σ_i w_i s_i / Σ_i w_i c_i`, w_i
    being how often unit i was drawn. The interval is from the 2.5th to the 97.5th percentile of the samples' means,
    those left out in which nothing is counted. All intervals of one Bootstrap are of the same samples, so that a
    difference of two means has the interval of the difference, not that of independent ones.
    """

    def __init__(self, n: int, *, draws: int = DRAWS, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        self._drawn = generator.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)

    def mean(self, sums: Float[np.ndarray, " n"], counts: Float[np.ndarray, " n"]) -> Interval | None:
        """The mean and its interval; None where nothing is counted."""
        if not counts.sum():
            return None
        units = int((counts > 0).sum())
        return self._interval(float(sums.sum() / counts.sum()), self._samples(sums, counts), units)

    def difference(
        self,
        one: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]],
        other: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]],
    ) -> Interval | None:
        """The first mean less the second, each of sums and counts; None where one of them has nothing counted."""
        if not one[1].sum() or not other[1].sum():
            return None
        mean = float(one[0].sum() / one[1].sum() - other[0].sum() / other[1].sum())
        units = int(((one[1] > 0) | (other[1] > 0)).sum())
        return self._interval(mean, self._samples(*one) - self._samples(*other), units)

    def _samples(self, sums: Float[np.ndarray, " n"], counts: Float[np.ndarray, " n"]) -> Float[np.ndarray, " draws"]:
        below = self._drawn @ counts
        return np.divide(self._drawn @ sums, below, out=np.full(len(below), np.nan), where=below > 0)

    @staticmethod
    def _interval(mean: float, samples: Float[np.ndarray, " draws"], units: int) -> Interval:
        """One unit has no interval: nothing is known of how it varies."""
        samples = samples[np.isfinite(samples)]
        if units < 2 or not len(samples):
            return Interval(mean=mean, low=None, high=None, n=units)
        low, high = np.percentile(samples, [50 - LEVEL / 2, 50 + LEVEL / 2])
        return Interval(mean=mean, low=float(low), high=float(high), n=units)

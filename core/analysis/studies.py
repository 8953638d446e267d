"""What the feature databases of finished runs say about a question: does frequency tell of specialisation, how do
features emerge. A study is figures, with what they stand on, and points to draw. Knows no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from core.analysis.connection import connected
from core.errors import QueryError
from core.session import Session

DRAWS = 1_000
"""Bootstrap samples behind an interval."""
CONFIDENCE = 0.95
OF = ("token_entropy", "category_entropy", "specialist_score")
"""What density is held against: the first two are small for a specialist, the last is large."""
LEAST = 20
"""Firings of a feature that is counted: an entropy cannot be above ln n, so that few firings look like a specialist."""
COLUMNS, ROWS = 192, 96
"""Of a cloud: as many as a terminal has dots for."""
FREQUENCY = f"SELECT density, {', '.join(OF)} FROM features WHERE n >= {LEAST}"
EMERGENCE = """
    SELECT step, count(*) FILTER (density > 0) AS alive, count(*) FILTER (birth = step) AS born,
        count(*) FILTER (death = step) AS died, median(density) FILTER (density > 0) AS density,
        median(drift) AS drift, median(drift_final) AS drift_final
    FROM snapshots JOIN (SELECT feature, birth, death FROM features) USING (feature) GROUP BY step ORDER BY step
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """Spearman's ρ of two columns over features."""

    of: str
    rho: float | None
    """None where one of both never varies, or nothing was measured."""
    low: float | None
    high: float | None
    """Between them lie 95 % of bootstrap samples of the features."""
    n: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frequency:
    """Does a feature's density tell whether it is a specialist?"""

    name: str
    correlations: list[Correlation]
    columns: dict[str, Float[np.ndarray, " f"]]
    """density and what it is held against, of every feature that fired often enough; NaN where it was not measured."""

    def to_json(self) -> dict[str, Any]:
        """With the points counted by cells."""
        found = [{name: getattr(c, name) for name in ("of", "rho", "low", "high", "n")} for c in self.correlations]
        return {"name": self.name, "density_against": found, "clouds": [self.cloud(of) for of in OF]}

    def cloud(self, of: str) -> dict[str, Any]:
        """How many features lie in each cell of a grid of log10 density, across, and `of`, upwards: `x` and `y` are the
        limits, `cells` triples of column, row and count, without those that are empty.
        """
        density, y = self.columns["density"], self.columns[of]
        there = ~(np.isnan(density) | np.isnan(y)) & (density > 0)
        x, y = np.log10(density[there]), y[there]
        if not len(x):
            return {"of": of, "x": None, "y": None, "columns": COLUMNS, "rows": ROWS, "cells": []}
        counts, across, up = np.histogram2d(x, y, bins=(COLUMNS, ROWS))
        cells = [[int(c), int(r), int(counts[c, r])] for c, r in np.argwhere(counts)]
        limits = [[float(edges[0]), float(edges[-1])] for edges in (across, up)]
        return {"of": of, "x": limits[0], "y": limits[1], "columns": COLUMNS, "rows": ROWS, "cells": cells}


@dataclass(frozen=True, slots=True, kw_only=True)
class Emergence:
    """How features came to be during a training."""

    name: str
    steps: list[dict[str, Any]]
    """Of each snapshot: step, alive, born, died, and medians over features of density (of those active), of drift since
    the snapshot before and of drift from the last; `density_rho` is Spearman's ρ of all densities with those of the
    snapshot before."""
    stability: dict[str, float | None]
    """Median, and 10th and 90th percentile, over features of `stability`: see `stabilities`."""

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {"name": self.name, "stability": self.stability, "steps": self.steps}


def frequency(session: Session, *, seed: int = 0) -> Frequency:
    """Spearman's ρ of density with token entropy, category entropy and specialist score, over features with 20 firings.

    Raises QueryError where the session was not analysed.
    """
    with connected([session]) as connection:
        found = connection.execute(FREQUENCY).fetchnumpy()
    columns = {name: np.ma.filled(np.ma.asarray(column, dtype=float), np.nan) for name, column in found.items()}
    rng = np.random.default_rng(seed)
    correlations = [_correlation(columns["density"], columns[name], name, rng) for name in OF]
    return Frequency(name=session.name, correlations=correlations, columns=columns)


def emergence(session: Session) -> Emergence:
    """What the snapshots of its training tell. Raises QueryError where there are none, or it was not analysed."""
    with connected([session]) as connection:
        cursor = connection.execute(EMERGENCE)
        names = [str(d[0]) for d in cursor.description or []]
        steps = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        flat = connection.execute("SELECT density FROM snapshots ORDER BY step, feature").fetchnumpy()["density"]
    if not steps:
        raise QueryError(
            f"the training of {session.name} took no snapshots",
            hint="train with training.snapshot_every_steps above 0; an imported SAE has none",
        )
    densities = np.asarray(flat, dtype=float).reshape(len(steps), -1)
    for i, step in enumerate(steps):
        step["density_rho"] = spearman(densities[i - 1], densities[i]) if i else None
    stable = stabilities(densities)
    stable = stable[~np.isnan(stable)]
    shown = {"median": 50, "p10": 10, "p90": 90}
    found = {name: float(np.percentile(stable, q)) if len(stable) else None for name, q in shown.items()}
    return Emergence(name=session.name, steps=steps, stability=found)


def stabilities(densities: Float[np.ndarray, "s f"]) -> Float[np.ndarray, " f"]:
    """How steadily each feature fires from snapshot to snapshot: the mean of `min(a, b) / max(a, b)`, a and b its
    densities in two snapshots, one after the other, in at least one of which it fires.

    1 for one that always fires as often, 0 for one that comes and goes; NaN for one that never fires.
    """
    before, after = densities[:-1], densities[1:]
    most = np.maximum(before, after)
    ratio = np.divide(np.minimum(before, after), most, out=np.full(most.shape, np.nan), where=most > 0)
    counted = ~np.isnan(ratio)
    n = counted.sum(axis=0)
    return np.divide(np.where(counted, ratio, 0).sum(axis=0), n, out=np.full(len(n), np.nan), where=n > 0)


def spearman(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> float | None:
    """Pearson's correlation of the ranks, ties sharing their mean rank; None where one of both never varies."""
    a, b = rankdata(x), rankdata(y)
    if len(a) < 2 or not a.std() or not b.std():
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _correlation(x: np.ndarray, y: np.ndarray, name: str, rng: np.random.Generator) -> Correlation:
    there = ~(np.isnan(x) | np.isnan(y))
    x, y = x[there], y[there]
    rho = spearman(x, y)
    if rho is None:
        return Correlation(of=name, rho=None, low=None, high=None, n=len(x))
    draws = [spearman(x[some], y[some]) for some in rng.integers(0, len(x), size=(_draws(len(x)), len(x)))]
    bounds = np.percentile([d for d in draws if d is not None], [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
    return Correlation(of=name, rho=rho, low=float(bounds[0]), high=float(bounds[1]), n=len(x))


def _draws(n: int) -> int:
    """Fewer of very many features, whose interval is narrow anyway: each takes n log n."""
    return max(100, min(DRAWS, 20_000_000 // max(1, n)))

"""What the feature databases of finished runs say about a question: does frequency tell of specialisation, how do
features emerge. A study is figures, with what they stand on, and points to draw. Knows no torch.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from core.analysis import grown
from core.analysis.connection import connected
from core.errors import QueryError
from core.session import Session

DRAWS = 1_000
"""Bootstrap samples behind an interval."""
CONFIDENCE = 0.95
OF = ("token_entropy", "category_entropy", "specialist_score")
"""What density is held against: the first two are small for a specialist, the last is large. An image's tokens and its
category are its label: of those the first two are one."""
RELIABILITY = ("density_reliability", "density_reliability_full")
"""Of the evaluation, how far the densities agree between halves of the test split."""
LEAST = 20
"""Firings of a feature that is counted: an entropy cannot be above ln n, so that few firings look like a specialist."""
COLUMNS, ROWS = 192, 96
"""Of a cloud: as many as a terminal has dots for."""
FREQUENCY = f"SELECT density, {', '.join(OF)} FROM features WHERE n >= {LEAST}"
EMERGENCE = """
    SELECT step, count(*) FILTER (density > 0) AS alive, count(*) FILTER (birth = step) AS born,
        count(*) FILTER (death = step) AS died, median(density) FILTER (density > 0) AS density,
        median(drift) AS drift, median(drift_final) AS drift_final, median(jaccard) AS jaccard
    FROM snapshots JOIN (SELECT feature, birth, death FROM features) USING (feature) GROUP BY step ORDER BY step
"""
STABILITY = """
    SELECT median(stability) AS median, quantile_cont(stability, 0.1) AS p10, quantile_cont(stability, 0.9) AS p90
    FROM features
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
    reliability: dict[str, float | None]
    """The metrics of `RELIABILITY`; None where it was not evaluated."""

    def to_json(self) -> dict[str, Any]:
        """With the points counted by cells."""
        found = [{name: getattr(c, name) for name in ("of", "rho", "low", "high", "n")} for c in self.correlations]
        clouds = [self.cloud(c.of) for c in self.correlations]
        return {"name": self.name, **self.reliability, "density_against": found, "clouds": clouds}

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
    the snapshot before and of drift from the last, and of jaccard with the one before; `density_rho` is Spearman's ρ of
    all densities with those of the snapshot before."""
    stability: dict[str, float | None]
    """Median, and 10th and 90th percentile, over features of the column `stability`; None where none was measured."""
    features: list[grown.Grown]

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        features = [asdict(one) for one in self.features]
        return {"name": self.name, "stability": self.stability, "steps": self.steps, "features": features}


def frequency(session: Session, *, seed: int = 0) -> Frequency:
    """Spearman's ρ of density with token entropy, category entropy and specialist score, over features with 20 firings.

    Raises QueryError where the session was not analysed.
    """
    with connected([session]) as connection:
        found = connection.execute(FREQUENCY).fetchnumpy()
    columns = {name: np.ma.filled(np.ma.asarray(column, dtype=float), np.nan) for name, column in found.items()}
    rng = np.random.default_rng(seed)
    correlations = [_correlation(columns["density"], columns[name], name, rng) for name in OF[session.reads_images :]]
    reliability = {name: session.evaluation().get(name) for name in RELIABILITY}
    return Frequency(name=session.name, correlations=correlations, columns=columns, reliability=reliability)


def emergence(session: Session, *, features: Sequence[int] = (), each: int = grown.EACH) -> Emergence:
    """What the snapshots of its training tell: of all features together, and of some one by one.

    Those are `features`, or where none is asked for `each` for each of `grown.REASONS`. Raises QueryError where there
    are no snapshots, it was not analysed, or there is no such feature.
    """
    with connected([session]) as connection:
        cursor = connection.execute(EMERGENCE)
        names = [str(d[0]) for d in cursor.description or []]
        steps = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        if not steps:
            raise QueryError(
                f"the training of {session.name} took no snapshots",
                hint="train with training.snapshot_every_steps above 0; an imported SAE has none",
            )
        flat = connection.execute("SELECT density FROM snapshots ORDER BY step, feature").fetchnumpy()["density"]
        stable = connection.execute(STABILITY).fetchall()[0]
        wanted = dict.fromkeys(features, "") or grown.chosen(connection, each)
        told = [grown.read(connection, feature, why) for feature, why in wanted.items()]
    densities = np.asarray(flat, dtype=float).reshape(len(steps), -1)
    for i, step in enumerate(steps):
        step["density_rho"] = spearman(densities[i - 1], densities[i]) if i else None
    stability: dict[str, float | None] = dict(zip(("median", "p10", "p90"), stable, strict=True))
    return Emergence(name=session.name, steps=steps, stability=stability, features=told)


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

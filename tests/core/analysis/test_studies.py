"""What studies say, against plain counts over the same numbers."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from core.analysis import studies
from core.errors import QueryError
from tests.core.analysis.conftest import N_FEATURES
from tests.core.analysis.test_build import naive_features

STEPS = (1, 10, 20, 25)


def test_frequency_is_held_against_what_makes_a_specialist(case):
    found = studies.frequency(case.session)
    living = [r for r in naive_features(case) if r["n"] >= 20]
    for c in found.correlations:
        there = [r for r in living if r[c.of] is not None]
        expected = stats.spearmanr([r["density"] for r in there], [r[c.of] for r in there]).statistic
        assert c.rho == pytest.approx(expected, abs=1e-9)
        assert c.n == len(there)
        assert c.low <= c.rho <= c.high
    assert len(found.columns["density"]) == len(living)
    assert found.to_json()["density_against"][0]["of"] == "token_entropy"


def test_where_nothing_was_measured_there_is_no_correlation(make_case):
    case = make_case(categories=False)
    case.build()
    by_name = {c.of: c for c in studies.frequency(case.session).correlations}
    assert by_name["category_entropy"].rho is None
    assert by_name["specialist_score"].n == 0
    assert by_name["token_entropy"].rho is not None


def with_snapshots(case, densities):
    rows = [
        {"step": step, "feature": f, "density": densities[i, f], "mean": 1.0, "drift": None if i == 0 else 0.1 * f,
         "drift_final": 0.5}
        for i, step in enumerate(STEPS) for f in range(N_FEATURES)
    ]  # fmt: skip
    schema = pa.schema([(k, pa.int32() if k in ("step", "feature") else pa.float32()) for k in rows[0]])
    pq.write_table(pa.Table.from_pylist(rows, schema), case.session.snapshots_path)
    case.build()


def test_emergence_counts_who_lives_comes_and_goes(case):
    rng = np.random.default_rng(0)
    densities = np.where(rng.random((4, N_FEATURES)) < 0.6, rng.random((4, N_FEATURES)), 0).astype(np.float32)
    densities[:, 0] = 0
    with_snapshots(case, densities)
    found = studies.emergence(case.session)
    alive = densities > 0
    for i, step in enumerate(found.steps):
        assert step["step"] == STEPS[i]
        assert step["alive"] == alive[i].sum()
        assert step["born"] == sum(alive[i, f] and not alive[:i, f].any() for f in range(N_FEATURES))
        assert step["died"] == sum(i > 0 and alive[i - 1, f] and not alive[i:, f].any() for f in range(N_FEATURES))
        assert step["density"] == pytest.approx(np.median(densities[i][alive[i]]))
        rho = stats.spearmanr(densities[i - 1], densities[i]).statistic if i else None
        assert step["density_rho"] == (pytest.approx(rho) if i else None)
    steadiness = []
    for f in range(N_FEATURES):
        ratios = [min(a, b) / max(a, b) for a, b in zip(densities[:-1, f], densities[1:, f], strict=True) if max(a, b)]
        steadiness += [np.mean(ratios)] if ratios else []
    assert found.stability["median"] == pytest.approx(np.median(steadiness))


def test_a_training_without_snapshots_is_told(case):
    with pytest.raises(QueryError, match="took no snapshots"):
        studies.emergence(case.session)


def test_ranks_share_ties_as_scipy_has_it():
    x, y = [1, 2, 2, 5], [3, 1, 1, 9]
    assert studies.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert studies.spearman([1, 1], [1, 2]) is None

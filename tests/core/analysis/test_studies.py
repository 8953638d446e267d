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


def with_snapshots(case, densities, jaccard=None):
    jaccard = np.full_like(densities, np.nan) if jaccard is None else jaccard
    rows = [
        {"step": step, "feature": f, "density": densities[i, f], "mean": 1.0, "drift": None if i == 0 else 0.1 * f,
         "drift_final": 0.5, "jaccard": None if np.isnan(jaccard[i, f]) else jaccard[i, f]}
        for i, step in enumerate(STEPS) for f in range(N_FEATURES)
    ]  # fmt: skip
    schema = pa.schema([(k, pa.int32() if k in ("step", "feature") else pa.float32()) for k in rows[0]])
    pq.write_table(pa.Table.from_pylist(rows, schema), case.session.snapshots_path)
    case.build()


def test_emergence_counts_who_lives_comes_and_goes(case):
    rng = np.random.default_rng(0)
    densities = np.where(rng.random((4, N_FEATURES)) < 0.6, rng.random((4, N_FEATURES)), 0).astype(np.float32)
    densities[:, 0] = 0
    jaccard = np.where(rng.random((4, N_FEATURES)) < 0.8, rng.random((4, N_FEATURES)), np.nan).astype(np.float32)
    jaccard[0] = jaccard[:, 0] = np.nan
    with_snapshots(case, densities, jaccard)
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
        assert step["jaccard"] == (pytest.approx(np.nanmedian(jaccard[i])) if i else None)
    stable = [np.mean(j[~np.isnan(j)].astype(np.float64)) for j in jaccard.T if not np.isnan(j).all()]
    assert found.stability == pytest.approx(
        {"median": np.median(stable), "p10": np.percentile(stable, 10), "p90": np.percentile(stable, 90)}
    )
    told = {one.feature: one for one in found.features}
    for one in told.values():
        assert one.density == densities[:, one.feature].tolist() and one.pictures == []
        assert one.birth == STEPS[int(np.argmax(alive[:, one.feature]))]
    late = [f for f in range(N_FEATURES) if alive[-1, f] and not alive[0, f]]
    births = {f: STEPS[int(np.argmax(alive[:, f]))] for f in late}
    chosen = [f for f, one in told.items() if one.why == "came late"]
    others = [f for f in late if told.get(f) is None]
    assert chosen and all(births[f] >= births[g] for f in chosen for g in others)


def test_features_are_told_one_by_one_for_a_reason_each_or_because_they_are_asked_for(case):
    densities = np.full((4, N_FEATURES), 0.5, dtype=np.float32)
    densities[:2, 5] = densities[:3, 6] = 0
    with_snapshots(case, densities)
    found = studies.emergence(case.session, each=2).features
    # means and drifts are equal: in the order of their numbers, and none twice
    assert [(one.feature, one.why) for one in found] == [
        (0, "strongest"), (1, "strongest"), (6, "came late"), (5, "came late"), (2, "turned most"), (3, "turned most"),
    ]  # fmt: skip
    assert found[0].drift == [None, 0, 0, 0] and found[2].density == [0, 0, 0, 0.5]
    asked = studies.emergence(case.session, features=[9, 4]).features
    assert [(one.feature, one.why) for one in asked] == [(9, ""), (4, "")]
    with pytest.raises(QueryError, match="no feature 99"):
        studies.emergence(case.session, features=[99])


def test_frequency_carries_how_far_halves_of_the_test_split_agree(case):
    assert studies.frequency(case.session).to_json()["density_reliability"] is None
    case.session.evaluation_path.write_text('{"density_reliability": 0.9, "density_reliability_full": 0.95}')
    assert studies.frequency(case.session).reliability == {
        "density_reliability": 0.9, "density_reliability_full": 0.95
    }  # fmt: skip


def test_a_training_without_snapshots_is_told(case):
    with pytest.raises(QueryError, match="took no snapshots"):
        studies.emergence(case.session)


def test_ranks_share_ties_as_scipy_has_it():
    x, y = [1, 2, 2, 5], [3, 1, 1, 9]
    assert studies.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert studies.spearman([1, 1], [1, 2]) is None

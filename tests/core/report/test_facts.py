"""What a report says is what the files and the database say."""

import json

import duckdb
import numpy as np
import pytest

from core import labels
from core.analysis.store import Store
from core.errors import QueryError
from core.report import facts
from tests.conftest import finished
from tests.core.analysis.conftest import N_FEATURES, SILENT
from tests.core.report.conftest import EVALUATION, LABELLED, META, STARRED


def test_the_summarys_figures_are_those_of_the_files_and_the_database(session, read):
    summary = read().summary
    assert summary["evaluation"] == EVALUATION and summary["sae"]["d_sae"] == N_FEATURES
    assert summary["training"] | {"corpus": 0, "budget": 0} == {
        "corpus": 0, "budget": 0, "activations": 500, "steps": 5, "elapsed_s": 2.5,
    }  # fmt: skip
    assert summary["config"] == session.config().model_dump(mode="json")
    assert summary["analysis"]["tokens_counted"] == 98 and summary["analysis"]["model"] == META["model"]
    with Store.open([session]) as store:
        rows = store.features(sort="feature", descending=False, limit=N_FEATURES)
        clusters = {row["cluster"]: row for row in store.clusters()}
    kinds = summary["features"]
    assert kinds["all"] == N_FEATURES and kinds["starred"] == kinds["labelled"] == 1
    assert kinds["dead"] == sum(r["dead"] for r in rows) == summary["densities"]["never"] == 1
    special = [r for r in rows if (r["specialist_score"] or 0) > 0]
    assert sum(c["specialists"] for c in summary["categories"]) == len(special) == kinds["specialists"]
    for row in summary["categories"]:
        of = [r for r in special if r["specialist_category"] == row["category"]]
        best = max(of, key=lambda r: (r["specialist_score"], r["max"]))
        assert (row["best"], row["score"]) == (best["feature"], best["specialist_score"])
    assert [c["cluster"] for c in summary["clusters"]] == [0, 1, 2]  # not the pairs in which they are joined
    assert all(c.items() <= clusters[c["cluster"]].items() for c in summary["clusters"])


def test_densities_are_counted_by_their_logarithms(read):
    report = read()
    found, density = report.summary["densities"], report.columns["density"]
    naive = [0] * len(found["counts"])
    for d in density[density > 0]:
        place = (np.log10(d) - found["low"]) / found["width"]
        naive[min(int(place), len(naive) - 1)] += 1
    assert found["counts"] == naive and sum(naive) + found["never"] == N_FEATURES


def test_the_best_are_starred_then_labelled_then_specialists_then_strong(session, read):
    session.database_path.chmod(0o644)
    with duckdb.connect(str(session.database_path)) as connection:  # the toy's specialists are all of one category
        connection.execute(
            "UPDATE features SET specialist_category = 'hills' WHERE specialist_score > 0 AND feature > 9"
        )
    chosen = read().summary["best"]["features"]
    assert chosen[:2] == [STARRED, LABELLED] and read(1).summary["best"]["features"] == [STARRED]
    with Store.open([session]) as store:
        rows = {r["feature"]: r for r in store.features(limit=N_FEATURES)}
    special = [f for f, r in rows.items() if (r["specialist_score"] or 0) > 0 and f not in (STARRED, LABELLED)]
    special.sort(key=lambda f: (-rows[f]["specialist_score"], -rows[f]["max"]))
    category = {f: rows[f]["specialist_category"] for f in special}
    turn = {f: [g for g in special if category[g] == category[f]].index(f) for f in special}
    assert len(special) > 2 and len(set(category.values())) > 1
    assert chosen[2 : 2 + len(special)] == sorted(special, key=turn.__getitem__)
    others = [
        f for f, r in rows.items() if f not in (STARRED, LABELLED, *special) and 1e-4 < r["density"] < 0.1
    ]  # fmt: skip
    assert chosen[2 + len(special) :] == sorted(others, key=lambda f: -rows[f]["max"])
    assert SILENT not in chosen and read(0).summary["best"]["features"] == []


def test_each_feature_is_told_as_its_tables_tell_it(session, read):
    told = {one.card.feature: one for one in read().told}
    with Store.open([session]) as store:
        for feature, one in told.items():
            found = json.loads(json.dumps(one.to_json(), allow_nan=False))
            assert {k: found[k] for k in store.browsed} == store.browsed_row(feature)
            assert found["logits"] == store.logits(feature) and found["histogram"] == store.histogram(feature)
            assert found["coactivations"] == store.coactivations(feature)
            assert found["neighbours"] == store.neighbours(feature) and found["tokens"] == store.top_tokens(feature)
            assert [e["value"] for e in found["examples"]] == [
                e.value for e in store.examples(feature, limit=facts.TOP)
            ]
            assert found["url"] == f"https://www.neuronpedia.org/gpt2-small/6-res-jb/{feature}"


def test_a_check_belongs_to_the_label_that_was_tested(session, read):
    told = {one.card.feature: one for one in read().told}
    assert told[LABELLED].check["score"] == 0.9 and told[STARRED].check is None
    labels.change(session, LABELLED, label="another")
    assert {one.card.feature: one for one in read().told}[LABELLED].check is None


def test_what_was_not_measured_is_left_out(session, read):
    session.evaluation_path.unlink()
    session.metrics_path.unlink()
    report = read()
    assert report.summary["evaluation"] == {} and facts.headline(report) == []
    assert report.summary["training"]["activations"] is None and len(report.curves) == 0


def test_contexts_show_no_place_twice(read):
    for one in read().told:
        found = facts.contexts(one.card, 3, 1)
        assert len({e.token_idx for e in found}) == len(found)
        assert [e.rank for e in found if e.band == 0] == list(range(min(3, one.card.row["n"])))[: len(found)]


def test_a_session_that_was_not_analysed_is_said(session):
    session.database_path.unlink()
    with pytest.raises(QueryError, match="has not been analysed"):
        finished(facts.read(session, 3))

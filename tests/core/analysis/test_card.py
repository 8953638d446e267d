"""All there is to say of a feature, in one read; the document around a token."""

import numpy as np
import pytest

from core import labels
from core.analysis import card
from core.analysis.store import Store
from core.errors import QueryError
from tests.core.analysis.conftest import ALIKE, ALWAYS, N_FEATURES, ONCE, SILENT


@pytest.fixture
def store(case):
    with Store.open([case.session]) as opened:
        yield opened


def test_a_card_is_what_the_single_reads_give(store, case):
    found = card.read(store, ALWAYS, context=5)
    assert found.feature == ALWAYS and found.d_sae == N_FEATURES and found.counted == case.counted.sum()
    assert {k: found.row[k] for k in store.columns} == store.feature(ALWAYS)
    assert found.examples == store.examples(ALWAYS, context=5)
    assert (found.histogram, found.tokens, found.logits) == (
        store.histogram(ALWAYS), store.top_tokens(ALWAYS), store.logits(ALWAYS),
    )  # fmt: skip
    [near] = found.neighbours
    assert (near["other"], near["row"]["feature"]) == (4, 4)
    assert near["row"]["density"] == pytest.approx(np.count_nonzero(case.code[:, 4]) / case.counted.sum())
    assert found.double is None and card.read(store, ALIKE).double["other"] == 5
    assert [{k: v for k, v in c.items() if k != "row"} for c in found.coactivations] == store.coactivations(ALWAYS)
    assert all(c["row"]["feature"] == c["other"] for c in found.coactivations) and found.coactivations
    assert (found.categories, found.emergence, found.logit_histogram, found.alignment, found.correlations) == (
        store.categories(ALWAYS), store.emergence(ALWAYS), store.logit_histogram(ALWAYS), store.alignment(ALWAYS),
        store.correlations(ALWAYS),
    )  # fmt: skip
    assert found.cluster == next(row for row in store.clusters() if row["cluster"] == found.row["cluster"])
    assert found.bands == store.bands() == max(e.band for e in store.examples(ALWAYS))
    assert len(card.read(store, ALWAYS, limit=1).examples) == found.bands + 1
    silent = card.read(store, SILENT)
    assert silent.row["dead"] and silent.examples == silent.tokens == silent.histogram == []


def test_a_card_has_the_labels_of_now(store, case):
    assert card.read(store, 3).row["label"] is None
    labels.append(case.session, labels.Label(feature=3, label="a", tags=("x", "y"), starred=True))
    labels.append(case.session, labels.Label(feature=4, label="b"))
    found = card.read(store, 3)
    assert (found.row["label"], found.row["tags"], found.row["starred"]) == ("a", ["x", "y"], True)
    assert found.neighbours[0]["row"]["label"] == "b"


def test_no_such_feature(store):
    with pytest.raises(QueryError, match="there is no feature 99: they go from 0 to 11"):
        card.read(store, 99)


def test_a_passage_is_the_document_around_a_token_clipped_to_it(store, case):
    for at in np.flatnonzero(case.counted)[::7]:
        inside = [t for t in range(len(case.doc)) if case.doc[t] == case.doc[at] and case.counted[t]]
        found = store.passage(ALWAYS, int(at))
        assert [t["token_idx"] for t in found] == inside
        assert [t["value"] for t in found] == [float(case.code[t, ALWAYS]) for t in inside]
        assert [t["token_id"] for t in found] == [case.token_id[t] for t in inside]
        near = store.passage(ONCE, int(at), reach=2)
        assert [t["token_idx"] for t in near] == [t for t in inside if abs(t - at) <= 2]
        assert [t["value"] for t in near] == [float(case.code[t["token_idx"], ONCE]) for t in near]


def test_the_features_of_a_token_are_those_that_fire_there(store, case):
    labels.append(case.session, labels.Label(feature=ALWAYS, label="a"))
    store.relabel()
    at = int(np.flatnonzero(case.counted)[5])
    found = store.firing(at)
    assert {row["feature"]: row["value"] for row in found} == {
        f: float(v) for f, v in enumerate(case.code[at]) if v > 0
    }  # fmt: skip
    assert [row["value"] for row in found] == sorted((row["value"] for row in found), reverse=True)
    assert next(row for row in found if row["feature"] == ALWAYS)["label"] == "a"
    assert store.firing(at, limit=1) == found[:1]
    assert store.firing(int(np.flatnonzero(~case.counted)[0])) == []

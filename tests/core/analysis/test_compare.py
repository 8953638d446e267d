"""Matching the features of two SAEs, against naive loops over the same numbers."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from core import config, labels
from core.analysis import compare
from core.errors import QueryError
from core.labels import Label
from core.records import Progress
from tests.core.analysis.conftest import N_FEATURES


@pytest.fixture
def pair(make_case):
    """Two analyses of one text, whose second SAE has the features of the first in another order, and noise."""
    one, other = make_case(0, name="one"), make_case(0, name="other", turned=True)
    for case in (one, other):
        case.build()
        case.session.config_path.write_text(config.example())
    return one, other


def matched(one, other, by=compare.by_firing):
    steps = by(one.session, other.session)
    while True:
        try:
            assert isinstance(next(steps), Progress)
        except StopIteration as end:
            return end.value


def naive_pearson(x, y):
    found = np.full((N_FEATURES, N_FEATURES), -np.inf)
    for f in range(N_FEATURES):
        for g in range(N_FEATURES):
            if ((x[:, f] > 0) & (y[:, g] > 0)).any():
                flat = x[:, f].std() * y[:, g].std() == 0
                found[f, g] = 0 if flat else np.corrcoef(x[:, f], y[:, g])[0, 1]
    return found


def naive_documents(one, other, characters=(3, 3)):
    """Of each document, as far as both have read it, the largest activation of every feature; `characters` a token."""
    found = [], []
    for doc in sorted({*one.doc} & {*other.doc}):
        places = [np.flatnonzero((case.doc == doc) & case.counted) for case in (one, other)]
        ends = [n * (case.doc_pos[at] + 1) for n, case, at in zip(characters, (one, other), places, strict=True)]
        upto = min(max(end, default=0) for end in ends)
        kept = [at[end <= upto] for at, end in zip(places, ends, strict=True)]
        if len(kept[0]) and len(kept[1]):
            for rows, case, at in zip(found, (one, other), kept, strict=True):
                rows.append(case.code[at].max(axis=0))
    return [np.array(rows, dtype=np.float64) for rows in found]


def test_features_that_fire_alike_are_matched_by_correlation(pair):
    matches = matched(*pair)
    expected = naive_pearson(*(case.code[case.counted].astype(np.float64) for case in pair))
    for f in range(N_FEATURES):
        if expected[f].max() == -np.inf:
            assert matches.best[f] == -1 and np.isnan(matches.score[f])
        else:
            assert matches.score[f] == pytest.approx(expected[f].max(), abs=1e-5)
            assert expected[f, matches.best[f]] == pytest.approx(expected[f].max(), abs=1e-5)
    assert np.nan_to_num(matches.back_score, nan=-9) == pytest.approx(
        np.where(np.isinf(expected.max(axis=0)), -9, expected.max(axis=0)), abs=1e-5
    )
    assert matches.tokens == pair[0].counted.sum()
    alike = expected.max(axis=1) >= 0.5
    assert matches.unmatched().tolist() == np.flatnonzero(~alike).tolist()
    assert matches.mutual.tolist() == [
        bool(matches.best[f] >= 0 and matches.back[matches.best[f]] == f) for f in range(N_FEATURES)
    ]


def test_other_tokens_of_the_same_text_are_matched_by_where_they_end(make_case):
    """The second model has a token for every two of the first's."""
    one = make_case(3, name="one")
    other = make_case(3, name="other", halved=True)
    one.build()
    other.build()
    matches = matched(one, other)
    x, y = [], []
    for i in np.flatnonzero(one.counted):
        [at] = np.flatnonzero(
            (other.doc == one.doc[i]) & (other.doc_pos == one.doc_pos[i] // 2) & (other.doc_pos >= 0)
        ) if (other.doc == one.doc[i]).any() else [None]  # fmt: skip
        x.append(one.code[i].astype(np.float64))
        y.append(other.code[at].astype(np.float64))
    x, y = np.array(x), np.array(y)
    for f in range(N_FEATURES):
        g = matches.best[f]
        if g >= 0 and x[:, f].std() and y[:, g].std():
            assert matches.score[f] == pytest.approx(np.corrcoef(x[:, f], y[:, g])[0, 1], abs=1e-5)
    assert matches.tokens == len(x)


@pytest.mark.parametrize(("shape", "characters"), [({"turned": True}, (3, 3)), ({"halved": True}, (3, 6))])
def test_documents_are_matched_by_the_largest_activation_up_to_where_both_have_read(make_case, shape, characters):
    one, other = make_case(3, name="one"), make_case(3, name="other", **shape)
    one.build()
    other.build()
    matches = matched(one, other, compare.by_documents)
    x, y = naive_documents(one, other, characters)
    expected = naive_pearson(x, y)
    assert matches.documents == len(x) > 5 and matches.tokens == 0 and matches.by == "documents"
    for best, score, naive in (
        (matches.best, matches.score, expected), (matches.back, matches.back_score, expected.T),
    ):  # fmt: skip
        for f in range(N_FEATURES):
            most = naive[f].max()
            assert (best[f] >= 0) == (most > -np.inf)
            if best[f] >= 0:
                assert score[f] == pytest.approx(most, abs=1e-5)
                assert naive[f, best[f]] == pytest.approx(most, abs=1e-5)
    assert matches.turned().documents == matches.documents


def test_analyses_without_common_text_are_told(make_case):
    one, other = make_case(0, name="one"), make_case(1, name="other", digests="f")
    one.build()
    other.build()
    with pytest.raises(QueryError, match="no common text"):
        list(compare.by_firing(one.session, other.session))
    with pytest.raises(QueryError, match="no common text"):
        list(compare.by_documents(one.session, other.session))


def write_decoder(case, rows):
    case.session.sae_dir.mkdir(parents=True)
    save_file({"W_dec": rows.astype(np.float32)}, case.session.sae_dir / "sae_weights.safetensors")


def test_directions_are_matched_by_cosine(pair):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(N_FEATURES, 6)), rng.normal(size=(5, 6))
    rows[0][2] = 0
    for case, some in zip(pair, rows, strict=True):
        write_decoder(case, some)
    matches = compare.by_direction(pair[0].session, pair[1].session)
    a, b = (r / np.maximum(np.linalg.norm(r, axis=1, keepdims=True), 1e-30) for r in rows)
    cosines = a @ b.T
    assert matches.best.tolist() == cosines.argmax(axis=1).tolist()
    assert matches.score == pytest.approx(cosines.max(axis=1), abs=1e-6)
    assert matches.back_score == pytest.approx(cosines.max(axis=0), abs=1e-6)
    assert matches.unmatched_back().tolist() == np.flatnonzero(cosines.max(axis=0) < 0.7).tolist()


def test_directions_of_other_spaces_are_refused(pair):
    write_decoder(pair[0], np.ones((N_FEATURES, 6)))
    write_decoder(pair[1], np.ones((N_FEATURES, 7)))
    with pytest.raises(QueryError, match="different spaces"):
        compare.by_direction(pair[0].session, pair[1].session)


def test_weights_that_cannot_be_read_are_told(pair):
    write_decoder(pair[0], np.ones((N_FEATURES, 6)))
    write_decoder(pair[1], np.ones((N_FEATURES, 6)))
    (pair[1].session.weights_dir() / "sae_weights.safetensors").write_bytes(b"torn")
    with pytest.raises(QueryError, match="the weights of other cannot be read") as told:
        compare.by_direction(pair[0].session, pair[1].session)
    assert "--by firing" in told.value.hint


def test_a_feature_is_followed_through_one_sae_after_another(pair):
    there, back = matched(*pair), matched(*pair[::-1])
    way = compare.followed(4, [there, back])
    assert way == [
        (there.best[4], pytest.approx(there.score[4])),
        (back.best[there.best[4]], pytest.approx(back.score[there.best[4]])),
    ]
    assert compare.followed(0, [there]) == []  # it never fires


def test_a_summary_counts_what_the_database_holds(pair):
    found = compare.summary(pair[0].session)
    assert found.about["d_sae"] == N_FEATURES
    assert found.figures["alive"] == N_FEATURES - 1
    assert found.figures["specialists"] == sum(found.specialists.values())


def test_a_summary_has_the_mean_score_of_the_labels_that_were_tested(case):
    assert compare.summary(case.session).figures["label_score"] is None
    for feature, label in ((1, "a"), (2, "b"), (3, "c"), (4, "d")):
        labels.append(case.session, Label(feature=feature, label=label, source="m"))
    tests = [(1, "a", 0.9), (1, "a", 0.6), (2, "another", 0.1), (3, "c", 1.0), (4, "d", None)]
    lines = (
        json.dumps({"feature": feature, "label": label, "model": "m", "score": score})
        for feature, label, score in tests
    )
    case.session.explanations_path.write_text("\n".join(lines) + "\n")
    assert compare.summary(case.session).figures["label_score"] == pytest.approx((0.6 + 1.0) / 2)

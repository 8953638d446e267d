"""The probe's counts on a small matrix of random numbers, against loops over it."""

import dataclasses
import json
import math

import numpy as np
import pytest

from core.analysis import probed, strong
from core.analysis.coded import CodedText
from core.analysis.given import Given
from core.analysis.probe import entropy, probe
from core.analysis.probed import Probed
from core.analysis.strong import Thresholds
from core.errors import UsageError
from core.session import Session

N, D = 24, 15
CATEGORIES = ("code", "rivers", "songs")


def coded(row: np.ndarray) -> CodedText:
    """A text of two counted tokens: on the second stands what `row` has."""
    feature = np.flatnonzero(row)
    return CodedText(
        ids=np.arange(3), words=("<s>", " no", " yes"), counted=np.array([False, True, True]), first=1,
        position=np.full(len(feature), 2), feature=feature, value=row[feature].astype(np.float32), x_nonzero=1.0, cut=0,
    )  # fmt: skip


@pytest.fixture
def matrix():
    rng = np.random.default_rng(3)
    found = np.where(rng.random((N, D)) < rng.uniform(0.05, 0.9, D), rng.gamma(2, 3, (N, D)), 0)
    found[:, 0] = 0  # never fires
    found[:, 1] = np.array([9.0 if i % 3 == 0 else 0.0 for i in range(N)])  # all of `code`, nothing else
    found[:, 2] = 1.5  # everywhere, strong nowhere
    return found.astype(np.float32)


def ask(matrix, level=5.0, **changes):
    texts = [Given(f"text {i}", CATEGORIES[i % 3], f"source {i}") for i in range(N)]
    thresholds = Thresholds(np.full(matrix.shape[1], level, dtype=np.float32), f"above {level:g}")
    values = {"texts": texts, "coded": [coded(row) for row in matrix], "session": "toy", "name": "set", "pool": "max"}
    return probe(**{"pooled": matrix, "thresholds": thresholds, **values, **changes})


def test_the_strongest_is_the_highest_single_value_with_its_text_and_token(matrix):
    peak = ask(matrix).strongest
    assert peak is not None and peak.value == matrix.max() == matrix[peak.text, peak.feature] and peak.token == " yes"


def test_its_l0_is_counted_on_tokens_before_they_are_pooled(matrix):
    assert ask(matrix).l0 == pytest.approx(sum(v > 0 for row in matrix for v in row) / (2 * N))
    silent = [dataclasses.replace(coded(row), counted=np.zeros(3, dtype=np.bool_)) for row in np.zeros_like(matrix)]
    assert ask(matrix, coded=silent).l0 is None


def test_the_most_frequent_fire_on_the_most_texts(matrix):
    found = ask(matrix, top=6).frequent
    counts = {f: sum(matrix[i, f] > 0 for i in range(N)) for f in range(D)}
    assert [one.n for one in found] == sorted(counts.values(), reverse=True)[:6]
    assert all(one.n == counts[one.feature] and one.share == one.n / N for one in found)
    assert found[0].feature == 2 and 0 not in [one.feature for one in ask(matrix, top=99).frequent]


def test_the_most_selective_are_strong_on_the_fewest_texts_but_on_one_at_least(matrix):
    found = ask(matrix, top=99).selective
    naive = [(sum(v > 5 for v in matrix[:, f]), -matrix[:, f].max(), f) for f in range(D)]
    assert [(one.strong, -one.max, one.feature) for one in found] == sorted(one for one in naive if one[0])
    assert {0, 2}.isdisjoint(one.feature for one in found)
    assert all(matrix[one.text, one.feature] == one.max for one in found)


def test_a_specialist_is_strong_on_more_texts_inside_than_outside(matrix):
    found = ask(matrix)
    naive = {}
    for category in CATEGORIES:
        for f in range(D):
            inside = sum(matrix[i, f] > 5 for i in range(N) if CATEGORIES[i % 3] == category)
            outside = sum(matrix[i, f] > 5 for i in range(N) if CATEGORIES[i % 3] != category)
            if inside > outside:
                naive[category, f] = (inside - outside, inside, outside)
    assert found.specialists == len(naive) and found.specialised == len({c for c, _ in naive})
    for category in found.categories:
        assert category.specialists == sum(c == category.name for c, _ in naive)
        for one in category.best:
            assert naive[category.name, one.feature] == (one.score, one.inside, one.outside)
        assert [one.score for one in category.best] == sorted((one.score for one in category.best), reverse=True)
    assert found.categories[0].best[0].feature == 1 and found.categories[0].best[0].score == 8


def test_seven_of_ten_inside_and_one_of_sixty_outside_score_six():
    column = np.zeros((70, 1), dtype=np.float32)
    column[[0, 1, 2, 3, 4, 5, 6, 40]] = 16.85
    texts = [Given(f"{i}", f"category {i // 10}") for i in range(70)]
    found = ask(column, texts=texts, coded=[coded(row) for row in column])
    [one] = found.categories[0].best
    assert (one.score, one.inside, one.outside) == (6, 7, 1) and found.specialised == 1 and found.specialists == 1


def test_categories_have_their_common_features_and_means(matrix):
    for category in ask(matrix).categories:
        rows = matrix[[i for i in range(N) if CATEGORIES[i % 3] == category.name]].astype(np.float64)
        assert category.texts == len(rows) and category.active == pytest.approx((rows > 0).sum(1).mean())
        assert category.mean == pytest.approx(np.mean([row[row > 0].mean() for row in rows]))
        shares = sorted(((rows[:, f] > 0).mean() for f in range(D)), reverse=True)[:5]
        assert [one.share for one in category.common] == pytest.approx(shares)


def test_each_text_has_its_strongest_features(matrix):
    for row, top in zip(matrix, ask(matrix).top, strict=True):
        assert [v for _, v in top] == sorted((float(v) for v in row if v > 0), reverse=True)[:5]
        assert all(row[f] == np.float32(v) for f, v in top)


def test_the_heat_map_has_the_ten_most_frequent_features_on_all_texts_by_category(matrix):
    found = ask(matrix, top=3)
    assert len(found.heat.features) == 10 and found.heat.features[:3] == tuple(one.feature for one in found.frequent)
    assert [CATEGORIES[i % 3] for i in found.heat.texts] == [c for c in CATEGORIES for _ in range(8)]
    assert found.heat.values == tuple(tuple(matrix[i, f] for i in found.heat.texts) for f in found.heat.features)
    assert found.heat.means[0] == pytest.approx([matrix[k::3, found.heat.features[0]].mean() for k in range(3)])


def test_the_entropy_of_category_is_0_for_one_and_ln_n_for_all_equally(matrix):
    inside = [np.array([i % 3 == k for i in range(N)]) for k in range(3)]
    assert entropy(matrix[:, [1]], inside) == pytest.approx(0)
    assert entropy(matrix[:, [2]], inside) == pytest.approx(math.log(3))
    assert entropy(matrix[:, [0]], inside) is None
    naive = []
    for f in range(1, D):
        means = [float(matrix[k::3, f].astype(np.float64).mean()) for k in range(3)]
        naive.append(-sum(m / sum(means) * math.log(m / sum(means)) for m in means if m))
    assert ask(matrix).entropy == pytest.approx(float(np.median(naive)))


def test_without_categories_or_with_one_there_are_no_specialists(matrix):
    none = ask(matrix, texts=[Given(f"{i}") for i in range(N)])
    assert none.categories == () and none.specialists is None and none.entropy is None and len(none.heat.texts) == N
    one = ask(matrix, texts=[Given(f"{i}", "all") for i in range(N)])
    assert len(one.categories) == 1 and one.specialists is None and one.categories[0].common


def test_a_probe_on_which_nothing_fires_says_so():
    found = ask(np.zeros((N, D), dtype=np.float32))
    assert found.strongest is None and found.active == 0 and found.frequent == found.selective == ()
    assert found.specialists == 0 and found.specialised == 0 and found.entropy is None and found.heat.features == ()


def test_it_is_kept_and_comes_back_equal_and_a_torn_file_is_left_out(matrix, tmp_path):
    session, found = Session(tmp_path), ask(matrix)
    path = probed.path_of(session, found.texts, "max", "5")
    assert path != probed.path_of(session, found.texts, "mean", "5") and path.parent == tmp_path / "probes"
    probed.keep(path, found)
    (tmp_path / "probes" / "torn.json").write_text('{"session": "toy", "te')
    (tmp_path / "probes" / "other.json").write_text('{"a": 1}')
    assert probed.kept(session) == [found]
    assert Probed.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_strong_is_a_number_or_a_multiple_of_each_features_own_p99():
    codes = [coded(np.array([4.0, 0.0, 8.0, 0.0])), coded(np.array([0.0, 0.0, 2.0, 6.0]))]
    raw = strong.thresholds("5.0", {0: 9.0}, codes, 4)
    assert raw.values.tolist() == [5.0] * 4 and raw.rule == "above 5"
    own = strong.thresholds("0.5x", {0: 10.0, 1: 4.0, 2: 6.0, 3: 8.0}, codes, 4)
    assert own.values.tolist() == [5.0, 2.0, 3.0, 4.0] and "p99 in the database" in own.rule and "never" not in own.rule


def test_where_no_p99_is_known_the_activations_at_hand_say_what_is_strong():
    codes = [coded(np.array([4.0, 0.0, 8.0, 0.0])), coded(np.array([0.0, 0.0, 2.0, 6.0]))]
    common = 0.5 * np.percentile([4.0, 8.0, 2.0, 6.0], 99)
    some = strong.thresholds("0.5x", {0: 10.0}, codes, 4)
    assert some.values.tolist() == pytest.approx([5.0, common, common, common])
    assert "for 2 that fire here and never did there" in some.rule
    none = strong.thresholds("0.5x", None, codes, 4)
    assert none.values.tolist() == pytest.approx([common] * 4) and "no feature database" in none.rule


@pytest.mark.parametrize("written", ["", "x", "-1", "0.5y", "nan", "1e3", "5 x"])
def test_what_says_not_what_is_strong_is_refused(written):
    with pytest.raises(UsageError, match="what is strong"):
        strong.checked(written)

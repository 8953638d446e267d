"""The concept search, against its formula."""

import numpy as np
import pytest

from core.analysis.concepts import search
from core.analysis.strong import Thresholds


def thresholds(d, level=5.0):
    return Thresholds(np.full(d, level, dtype=np.float32), "")


def test_a_feature_that_is_strong_on_all_five_texts_scores_a_hundred_times_its_mean():
    texts = np.zeros((5, 3), dtype=np.float32)
    texts[:, 1] = [8.0, 9.0, 10.0, 11.0, 11.6]  # mean 9.92
    texts[:, 2] = [30, 0, 0, 0, 0]
    one, other = search(texts, None, thresholds(3))
    assert (one.feature, round(one.score)) == (1, 992) and one.inside.strong_share == 1.0
    assert (other.feature, round(other.score)) == (2, 120) and other.inside.active_share == 0.2
    assert one.outside is None


def test_it_is_the_share_that_is_strong_times_the_mean_over_all_texts():
    rng = np.random.default_rng(0)
    texts = np.where(rng.random((9, 20)) < 0.6, rng.gamma(2, 3, (9, 20)), 0).astype(np.float32)
    contrast = np.where(rng.random((7, 20)) < 0.3, rng.gamma(2, 3, (7, 20)), 0).astype(np.float32)

    def composite(rows, f):
        return 100 * sum(v > 5 for v in rows[:, f]) / len(rows) * sum(map(float, rows[:, f])) / len(rows)

    for against in (None, contrast):
        naive = {f: composite(texts, f) - (composite(against, f) if against is not None else 0) for f in range(20)}
        found = search(texts, against, thresholds(20), top=20)
        assert [row.feature for row in found] == [f for f in sorted(naive, key=lambda f: -naive[f]) if naive[f] > 0]
        for row in found:
            assert row.score == pytest.approx(naive[row.feature])
            assert row.inside.composite == pytest.approx(composite(texts, row.feature))
            if against is not None:
                assert row.outside is not None
                assert row.outside.composite == pytest.approx(composite(against, row.feature))
                assert row.outside.mean == pytest.approx(against[:, row.feature].mean())


def test_what_the_contrast_has_more_of_is_not_listed():
    texts, contrast = np.full((2, 2), 6, dtype=np.float32), np.array([[9, 0], [9, 0]], dtype=np.float32)
    assert [row.feature for row in search(texts, contrast, thresholds(2))] == [1]
    assert len(search(texts, None, thresholds(2), top=1)) == 1
    assert search(np.zeros((2, 2), dtype=np.float32), None, thresholds(2)) == ()

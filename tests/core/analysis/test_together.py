"""How two features fire together, by numbers and by arrays, also where the counts are large."""

import itertools
import math
import threading

import numpy as np
import pytest

from core.analysis import together
from core.analysis.together import Code, Pairs, correlated, jaccard, largest, pmi


@pytest.mark.parametrize(
    ("one", "other", "both", "tokens"), [(10, 4, 2, 100), (7, 7, 7, 7), (400_000, 300_000, 250_000, 524_288)]
)
def test_jaccard_and_pmi_are_of_numbers_and_of_arrays_what_their_formulas_say(one, other, both, tokens):
    share = both / (one + other - both)
    more = math.log((both / tokens) / ((one / tokens) * (other / tokens)))
    assert float(jaccard(one, other, both)) == pytest.approx(share, rel=1e-12)
    assert float(pmi(one, other, both, tokens)) == pytest.approx(more, rel=1e-9, abs=1e-12)
    # Counts of sparse matrices are of 32 bits, and their products are not.
    others, boths = np.array([other], dtype=np.int32), np.array([both], dtype=np.int32)
    assert jaccard(np.int32(one), others, boths) == pytest.approx([share], rel=1e-12)
    assert pmi(np.int32(one), others, boths, tokens) == pytest.approx([more], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_largest_of_each_run_are_found_among_equals_and_in_runs_of_any_length(k):
    rng = np.random.default_rng(k)
    sizes = [0, 1, 3, 200, 0, 4 * k, 4 * k - 1, 50, 0, 0]
    starts = np.cumsum([0, *sizes])
    value = rng.integers(-9, 9, starts[-1]) / 4
    other = np.concatenate([rng.permutation(size) for size in sizes])
    places, ranks = largest(Pairs(3, starts, other, value), k)
    expected = [
        (i, place)
        for a, b in itertools.pairwise(starts)
        for i, place in enumerate(sorted(range(a, b), key=lambda place: (-value[place], other[place]))[:k])
    ]
    assert list(zip(ranks, places, strict=True)) == expected


def test_correlations_of_two_codes_come_in_runs_that_hold_no_more_pairs_than_allowed(monkeypatch):
    monkeypatch.setattr(together, "BLOCK_ENTRIES", 30)
    rng = np.random.default_rng(0)
    dense = [np.where(rng.random((50, width)) < 0.1, rng.gamma(2, 3, (50, width)), 0) for width in (20, 25)]
    codes = []
    for code in dense:
        token, feature = code.nonzero()
        codes.append(Code(feature, token, code[token, feature], d_sae=code.shape[1], tokens=50))
    runs = list(correlated(codes[0], codes[1], lambda pairs: pairs))
    assert len(runs) > 1 and all(len(run.other) <= 30 or len(run.starts) == 2 for run in runs)
    found = {(f, g): r for run in runs for f, g, r in zip(run.feature, run.other, run.value, strict=True)}
    both = (dense[0] > 0).T.astype(int) @ (dense[1] > 0)
    assert found.keys() == set(zip(*map(np.ndarray.tolist, both.nonzero()), strict=True))
    for (f, g), r in found.items():
        assert r == pytest.approx(np.corrcoef(dense[0][:, f], dense[1][:, g])[0, 1])


def test_what_is_stopped_does_not_multiply_the_runs_that_are_left(monkeypatch):
    monkeypatch.setattr(together, "BLOCK_ENTRIES", 1)
    monkeypatch.setattr(together, "THREADS", 1)
    firsts, stopped = list[int](), threading.Event()

    def made(pairs: Pairs) -> None:
        firsts.append(pairs.first)
        if pairs.first:
            assert stopped.wait(30)

    code = Code(np.arange(50), np.arange(50), np.ones(50), d_sae=50, tokens=50)
    runs = together.counted(code, code, made)
    next(runs)
    threading.Timer(0.1, stopped.set).start()
    runs.close()
    assert len(firsts) <= 2

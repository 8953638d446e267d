"""What fires together, of a code whose pairs are found in many runs, against a count of each pair."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from core.analysis import coactivations, together
from core.records import Notice
from tests.core.analysis.conftest import write

FEATURES, TOKENS = 60, 300


@pytest.fixture(scope="module")
def code():
    """[token feature]: some always fire, some once, some never, and many as often as another."""
    rng = np.random.default_rng(0)
    fires = rng.random((TOKENS, FEATURES)) < np.geomspace(1, 0.005, FEATURES)
    fires[:, 5] = fires[:, 4]
    fires[:, [20, 59]] = False
    fires[:, 30] = np.arange(TOKENS) == 7
    return np.where(fires, rng.integers(1, 9, fires.shape) / 2, 0)


def naive(code, f):
    """Of a feature and all it fires with (other, n, jaccard, pearson), in order."""
    fires, found = code > 0, []
    for g in set(range(FEATURES)) - {f}:
        both, either = (fires[:, f] & fires[:, g]).sum(), (fires[:, f] | fires[:, g]).sum()
        if both:
            flat = code[:, f].std() * code[:, g].std() == 0
            found.append((g, both, both / either, 0 if flat else np.corrcoef(code[:, f], code[:, g])[0, 1]))
    return sorted(found, key=lambda row: (-row[2], row[0]))


@pytest.mark.parametrize("k", [1, 4, 100])
@pytest.mark.parametrize("uneven", [0, 4, 1000])
@pytest.mark.parametrize("entries", [1, 100, 2**21])
def test_others_do_not_depend_on_how_pairs_are_split_and_read(monkeypatch, tmp_path, code, entries, uneven, k):
    monkeypatch.setattr(together, "BLOCK_ENTRIES", entries)
    monkeypatch.setattr(coactivations, "BLOCK_ENTRIES", entries)
    monkeypatch.setattr(coactivations, "UNEVEN", uneven)
    token, feature = code.nonzero()
    columns = {"feature": feature, "token_idx": token, "value": code[token, feature]}
    write(tmp_path / "codes-0000.parquet", columns)
    steps = list(coactivations.write(tmp_path, FEATURES, TOKENS, k))
    assert (len(steps) == 2) == (entries == 2**21)  # one before the first run
    rows = pq.read_table(tmp_path / "coactivations.parquet").to_pylist()
    for f in range(FEATURES):
        mine, expected = [row for row in rows if row["feature"] == f], naive(code, f)[:k]
        assert [(row["rank"], row["other"], row["n"]) for row in mine] == [(i, *e[:2]) for i, e in enumerate(expected)]
        assert [row["jaccard"] for row in mine] == pytest.approx([e[2] for e in expected], rel=1e-6)
        assert [row["pearson"] for row in mine] == pytest.approx([e[3] for e in expected], abs=1e-6)


def test_of_too_many_activations_every_second_token_stands_for_two(monkeypatch, tmp_path, code):
    token, feature = code.nonzero()
    monkeypatch.setattr(coactivations, "MOST_ENTRIES", len(token) - 1)
    write(tmp_path / "codes-0000.parquet", {"feature": feature, "token_idx": token, "value": code[token, feature]})
    write(tmp_path / "tokens-0000.parquet", {"token_idx": np.arange(TOKENS), "counted": np.ones(TOKENS, dtype=bool)})
    said = [r.message for r in coactivations.write(tmp_path, FEATURES, TOKENS, 4) if isinstance(r, Notice)]
    assert said == ["what fires together is estimated from one of 2 tokens"]
    rows = pq.read_table(tmp_path / "coactivations.parquet").to_pylist()
    for f in range(FEATURES):
        mine, expected = [row for row in rows if row["feature"] == f], naive(code[::2], f)[:4]
        assert [(row["other"], row["n"]) for row in mine] == [(other, 2 * n) for other, n, *_ in expected]
        assert [row["pearson"] for row in mine] == pytest.approx([e[3] for e in expected], abs=1e-6)

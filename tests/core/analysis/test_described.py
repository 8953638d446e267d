"""Features on a line: looked up by number, found by number, label and token."""

import pytest

from core.analysis.described import Described, described, found, scales
from core.analysis.store import Store
from core.labels import Label
from tests.core.analysis.conftest import N_FEATURES, SILENT

LABELS = {3: Label(feature=3, label="Dates of years"), 5: Label(feature=5, label="it's \x1b[31m"), 7: Label(feature=7)}


@pytest.fixture
def store(case):
    with Store.open([case.session]) as opened:
        yield opened


def test_features_are_described_and_those_there_are_not_left_out(store):
    rows = described(store, LABELS, [3, SILENT, N_FEATURES + 5])
    assert rows.keys() == {3, SILENT}
    row = store.feature(3)
    assert rows[3] == Described(
        feature=3, label="Dates of years", top_token=row["top_token"], max=row["max"], p99=row["p99"],
        mean=row["density"] * row["mean"], density=row["density"],
    )  # fmt: skip
    assert rows[SILENT].max is None
    assert scales(rows) == {f: pytest.approx(one) for f, one in store.scales([3, SILENT]).items()}
    assert described(store, LABELS, []) == {}
    assert described(None, LABELS, [3, 9]) == {
        3: Described(feature=3, label="Dates of years"),
        9: Described(feature=9),
    }


def test_features_are_found_by_number_label_and_token(store):
    def numbers(text, limit=99):
        return [one.feature for one in found(store, LABELS, text, limit)]

    assert numbers("dates") == [3] and numbers("IT'S") == [5]
    assert numbers("1")[0] == 1 and set(numbers("1")) >= {1, *(f for f in range(N_FEATURES) if str(f).startswith("1"))}
    assert numbers("") == [3, 5]
    assert numbers("3")[0] == 3
    token = store.feature(3)["top_token"]
    assert 3 in numbers(token.strip()) and len(numbers(token.strip(), 2)) <= 2
    assert numbers("no such thing') OR true --") == []
    assert [one.feature for one in found(None, LABELS, "date", 9)] == [3]

"""Labels from statistics: what tokens make of a name."""

import pytest

from core.analysis import naming
from core.analysis.store import Store
from core.errors import QueryError
from tests.core.analysis.conftest import N_FEATURES, SILENT


def token(text, share, lift=10.0):
    return {"text": text, "share": share, "lift": lift}


@pytest.mark.parametrize(
    ("tokens", "category", "label"),
    [
        ([token(" raise", 0.7), token(" the", 0.1)], None, "raise"),
        ([token(" Raise", 0.3), token("raise", 0.4)], None, "raise"),
        ([token(" with", 0.3, 50), token(" from", 0.2, 20), token("(", 0.1)], None, "with, from"),
        ([token(" a", 0.1), token(" b", 0.1)], None, ""),
        ([token(" a", 0.1), token(" b", 0.1)], "asyncio", "in asyncio"),
        ([token(" raise", 0.9)], "asyncio", "raise · asyncio"),
        ([token("\n    ", 0.9)], None, "newline and space"),
        ([token(" the", 0.3, 0.5), token(" raise", 0.4)], None, "raise"),
        ([token(" ", 0.3), token("\n ", 0.3), token("\n", 0.1)], None, "newline and space"),
        ([token("'", 0.3), token(" s", 0.2), token('"', 0.3)], None, "punctuation"),
        ([token(")\n", 0.3), token("\n\n", 0.3)], None, "punctuation and newline"),
        ([token("(", 0.9)], None, "'('"),
        ([token("😀", 0.3), token("don't", 0.3)], None, "'don't', '😀'"),
        ([token(f" {word}", 0.2) for word in "abcd"], None, "a, b, c"),
        ([], None, ""),
    ],
)
def test_a_name_is_of_what_it_fires_on(tokens, category, label):
    assert naming.named(tokens, category) == label


def test_tokens_that_differ_by_space_or_case_are_one_word_of_at_most_three():
    tokens = [token(text, 0.15) for text in (" The", "the", "THE", " a", "an")]
    assert naming.named(tokens, None) == "the, a, an"


def test_features_are_named_from_the_database_but_for_those_it_says_too_little_of(case):
    with Store.open([case.session]) as store:
        found = dict(naming.proposed(store, range(N_FEATURES)))
        assert SILENT not in found
        assert set(found) <= set(range(N_FEATURES))
        for feature, label in found.items():
            row = store.feature(feature)
            assert label.endswith(row["specialist_category"]) == ((row["specialist_score"] or 0) > 0)
        with pytest.raises(QueryError, match="no feature 99"):
            list(naming.proposed(store, [99]))

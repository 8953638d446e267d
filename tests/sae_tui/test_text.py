"""Contexts on one line, and figures in a few cells."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.records import ContextToken
from sae_tui.text import fitting, lit


def context(*pairs):
    return [ContextToken(token_idx=i, token_id=i, text=text, value=value) for i, (text, value) in enumerate(pairs)]


def test_active_tokens_are_in_brackets_and_the_example_in_double_ones():
    assert lit(context(("a", 0.0), (" b", 1.0), (" c", 2.0)), at=2, width=80) == "a[ b][[ c]]"


@given(st.lists(st.text(max_size=8), min_size=1, max_size=60), st.integers(0, 59), st.integers(10, 60))
def test_a_context_fits_its_width_and_shows_what_it_is_about(texts, at, width):
    at = min(at, len(texts) - 1)
    line = lit(context(*((t, 1.0 if i == at else 0.0) for i, t in enumerate(texts))), at=at, width=width)
    assert len(line) <= width


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (8.33e-7, "<0.001"), (0.0000833, "<0.001"), (0.00482, "0.0048"), (0.0482, "0.0482"), (4.82, "4.82"),
        (48_215.0, "48,215"), (123_456.0, "1e+05"), (4.82e17, "5e+17"), (0.0, "0"), (None, "-"),
    ],
)  # fmt: skip
def test_a_figure_keeps_to_its_cells_and_is_never_cut(value, shown):
    assert fitting(value, 6) == shown
    assert len(shown) <= 6

"""Hostile text cannot act on a terminal."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.records import ContextToken
from sae_tui.text import lit, safe, token

BAD = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@given(st.text(st.characters(exclude_categories=[])))
def test_nothing_that_comes_out_can_act_on_a_terminal(text):
    shown = safe(text)
    assert not [c for c in shown if unicodedata.category(c) in BAD]
    assert safe(shown) == shown


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_plain_text_is_left_as_it_is(text):
    assert safe(text) == text


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[31mred", "␛[31mred"),
        ("\x1b]52;c;aGk=\x07", "␛]52;c;aGk=␇"),
        ("a\nb\tc\rd", "a↵b→c␍d"),
        ("\x7f\x00", "␡␀"),
        ("\x9b31m", "\ufffd31m"),
        ("abc\u202edef", "abc\ufffddef"),
        ("a\u200bb\ufeff", "a·b·"),
        ("[/nope]", "[/nope]"),
        ("日本 é", "日本 é"),
    ],
)
def test_known_tricks_become_glyphs(hostile, shown):
    assert safe(hostile) == shown


def test_newlines_stay_where_they_are_wanted():
    assert safe("a\n\x1bb", newlines=True) == "a\n␛b"


@pytest.mark.parametrize(("text", "shown"), [(" the", "␣the"), ("  ", "␣␣"), ("a b ", "a b␣"), ("\n", "↵"), ("", "")])
def test_a_tokens_spaces_are_seen(text, shown):
    assert token(text) == shown


def context(*pairs):
    return [ContextToken(token_idx=i, token_id=i, text=text, value=value) for i, (text, value) in enumerate(pairs)]


def test_active_tokens_are_in_brackets_and_the_example_in_double_ones():
    assert lit(context(("a", 0.0), (" b", 1.0), (" c", 2.0)), at=2, width=80) == "a[ b][[ c]]"


@given(st.lists(st.text(max_size=8), min_size=1, max_size=60), st.integers(0, 59), st.integers(10, 60))
def test_a_context_fits_its_width_and_shows_what_it_is_about(texts, at, width):
    at = min(at, len(texts) - 1)
    line = lit(context(*((t, 1.0 if i == at else 0.0) for i, t in enumerate(texts))), at=at, width=width)
    assert len(line) <= width

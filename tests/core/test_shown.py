"""Strings and numbers as a person is shown them: hostile text cannot act on a terminal."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.shown import figure, safe, token

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


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.004821, "0.00482"), (4.8215, "4.82"), (4821.5, "4,822"), (4.82e7, "4.82e+07"), (0.0, "0"), (None, "-")],
)
def test_a_figure_has_three_digits(value, shown):
    assert figure(value) == shown

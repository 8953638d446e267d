"""Texts that people give, and the probe set that is shipped."""

import json
from collections import Counter

import pytest

from core.analysis import given
from core.analysis.given import Given
from core.errors import CorpusError, UsageError


def test_the_probe_set_is_seventy_texts_of_seven_categories_and_ten_languages():
    texts = given.standard()
    assert len({text.text for text in texts}) == 70
    assert Counter(text.category for text in texts) == dict.fromkeys(
        (
            "python code", "urls and web", "mathematical notation", "non-english languages", "social media and emoji",
            "formal and academic", "conversational",
        ),
        10,
    )  # fmt: skip
    foreign = [text.source for text in texts if text.category == "non-english languages"]
    assert foreign == ["fr", "zh", "es", "de", "ru", "ja", "ar", "ko", "it", "pt"]
    assert all(text.source for text in texts)


def test_a_text_file_has_a_text_a_line(tmp_path):
    file = tmp_path / "some.txt"
    file.write_text("one\n\n  two \u2028 still two\n", encoding="utf-8")
    assert given.from_file(file) == (Given("one", "", "some.txt:1"), Given("two \u2028 still two", "", "some.txt:3"))


def test_rows_may_say_category_and_source(tmp_path):
    file = tmp_path / "some.jsonl"
    rows = [{"text": "a", "category": "c", "source": "s"}, {"text": " b"}]
    file.write_text("\n".join(map(json.dumps, rows)))
    assert given.from_file(file) == (Given("a", "c", "s"), Given(" b", "", "some.jsonl:2"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text": ', "a.jsonl:2 is not JSON"),
        ("a.jsonl", b'{"words": "x"}', "a.jsonl:1 has no `text`"),
        ("a.jsonl", b"[1]", "a.jsonl:1 has no `text`"),
        ("a.jsonl", b'{"text": " "}', "a.jsonl:1 has no `text`"),
        ("a.txt", b"\n \n", "holds no text"),
        ("a.txt", b"\xff\xfe\xff", "not UTF-8"),
        ("a.csv", b"x", "no file of texts"),
    ],
)
def test_a_file_that_is_none_says_why(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=said):
        given.from_file(tmp_path / name)


def test_a_file_that_is_not_there_and_a_blank_text_are_errors(tmp_path):
    with pytest.raises(CorpusError, match="cannot be read: No such file"):
        given.from_file(tmp_path / "a.txt")
    with pytest.raises(UsageError, match="empty"):
        given.gathered((), ["a", " "])
    assert given.gathered((), ["a"]) == (Given("a", "", "typed"),)

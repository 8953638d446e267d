"""The page is well-formed, needs nothing else, and lets no string of others act."""

import re
from html.parser import HTMLParser

import pytest

from core.analysis.store import Store
from core.report import page
from core.report.figures import drawings
from tests.core.report.conftest import HOSTILE, LABELLED

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Tree(HTMLParser):
    """Checks that tags close in order, and keeps attributes and text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)


@pytest.fixture
def html(read):
    report = read()
    return page.html(report, list(drawings(report)))


def test_no_string_of_others_acts_on_who_reads_it(html):
    tree = Tree(html)
    assert not {"script", "img", "i:hover", "iframe", "object"} & set(tree.tags)
    assert not [name for name, _ in tree.attributes if name.startswith("on")]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]", html)
    text = "".join(tree.text)
    for shown in (
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "␛]52;c;aGk=␇␛[2J",
        "\ufffdevil\ufffd",
    ):
        assert shown in text
    assert len(HOSTILE) == 6 and "日本" in text


def test_it_loads_nothing_and_no_script_may_run(html):
    tree = Tree(html)
    for name, value in tree.attributes:
        if name in ("src", "xlink:href", "data"):
            assert value.startswith(("#", "data:image/png;base64,"))
        if name == "href" and not value.startswith(("#", "data:image/png;base64,")):
            assert value.startswith("https://www.neuronpedia.org/gpt2-small/6-res-jb/")
    assert "url(" not in re.sub(r"url\(#\w+\)", "", html) and "@import" not in html
    assert "default-src 'none'" in html and "link" not in tree.tags


def test_links_lead_to_what_is_there_and_no_id_stands_twice(html):
    tree = Tree(html)
    ids = [value for name, value in tree.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    links = [value[1:] for name, value in tree.attributes if name in ("href", "xlink:href") and value.startswith("#")]
    assert len(links) > 10 and set(links) <= set(ids)


def test_tokens_are_lit_by_their_share_of_the_maximum(session, read):
    with Store.open([session]) as store:
        most = store.feature(LABELLED)["max"]
        example = store.examples(LABELLED, limit=1)[0]
    runs = list(page.lit(example, most))
    assert "".join(text for text, *_ in runs) == "".join(t.text for t in example.tokens)
    [place] = [run for run in runs if run[3]]
    assert place[1:3] == (page.LEVELS, example.value) and example.value == most
    for text, shade, value, _ in runs:
        assert shade == (max(1, round(page.LEVELS * value / most)) if value else 0), text


def test_bars_are_as_high_as_their_numbers():
    heights = [float(h) for h in re.findall(r"v-([\d.]+)", page.bars([0, 5, 10], 30, 40))]
    assert heights == [20.0, 40.0] and page.bars([]) == ""


def test_what_is_missing_is_said(session, read):
    session.evaluation_path.unlink()
    session.metrics_path.unlink()
    report = read(0)
    text = "".join(Tree(page.html(report, [])).text)
    assert "sae-tui evaluate toy" in text and "Not trained here" in text and "0 features" in text

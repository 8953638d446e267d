"""The PDF holds what the page does, whatever characters there are."""

import re
import unicodedata
import zlib

import pytest

from core.report import pdf
from core.report.figures import drawings


def test_what_the_font_has_not_is_a_box():
    assert pdf.printable("a日本\x1b\u202e😀") == "a□□□\ufffd□"
    assert pdf.printable("e\u0301 ␣→↵×★λ") == "é ␣→↵×★λ"
    assert not [c for c in pdf.printable("x\u0300\u0489") if unicodedata.category(c).startswith("M")]


@pytest.mark.parametrize("n", [0, 12])
def test_pages_are_written_whatever_the_strings_are(read, tmp_path, n):
    report = read(n)
    path = tmp_path / "report.pdf"
    phases = [progress.phase for progress in pdf.write(report, list(drawings(report)), path)]
    assert ("writing pages" in phases) is (n > 0)
    data = path.read_bytes()
    assert data.startswith(b"%PDF") and len(re.findall(rb"/Type /Page\b", data)) >= 3
    drawn = b"".join(_streams(data))
    assert drawn.count(b" re") + drawn.count(b"\nf") > 0


class Pages:
    texts = ()

    def savefig(self, page):
        self.texts = [text.get_text() for text in page.texts]


def test_a_feature_has_its_page_on_neuronpedia_on_paper(read):
    pages = Pages()
    sheet = pdf._Sheet(pages)
    [told] = read(1).told
    pdf._feature(sheet, told)
    sheet.end()
    assert f"https://www.neuronpedia.org/gpt2-small/6-res-jb/{told.card.feature}" in pages.texts


def test_a_long_line_goes_on_in_the_next(read):
    pages = Pages()
    sheet = pdf._Sheet(pages)
    words = "word " * 60
    sheet.line(words)
    sheet.line("x" * (2 * pdf.COLUMNS + 1))
    sheet.end()
    shown = [text for text in pages.texts if not text.isdigit()]
    assert all(len(text) <= pdf.COLUMNS for text in shown) and len(shown) == 6
    assert " ".join(shown[:3]).split() == words.split() and "".join(shown[3:]) == "x" * (2 * pdf.COLUMNS + 1)


def _streams(data):
    for part in re.findall(rb"stream\r?\n(.*?)endstream", data, re.DOTALL):
        try:
            yield zlib.decompress(part)
        except zlib.error:
            continue

"""Pictures written out as PNG: a reader of that format finds the pixels again."""

import base64
import io

import numpy as np
from PIL import Image

from core.analysis.store import Store
from core.report import page, png
from core.report.facts import read
from core.report.figures import drawings
from tests import image_session
from tests.conftest import finished


def pixels(address):
    head, _, data = address.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_grey_is_from_black_to_white():
    grid = [[0.0, 0.5, 1.0], [1.0, 0.25, 0.0]]
    found = pixels(png.grey(grid))
    assert found.shape == (2, 3, 3) and (found[:, :, 0] == found[:, :, 2]).all()
    assert found[:, :, 0].tolist() == [[0, 128, 255], [255, 64, 0]]


def test_both_signs_have_a_colour_of_their_own_and_the_largest_is_the_brightest():
    found = pixels(png.signed([[-2.0, 0.0], [1.0, 4.0]])).tolist()
    assert found[0][1] == [0, 0, 0] and found[1][1] == list(png.UP)
    assert found[0][0] == [35, 65, 128] and found[1][0] == [64, 42, 15]
    assert pixels(png.signed([[0.0, 0.0]])).tolist() == [[[0, 0, 0]] * 2]


def test_the_page_of_a_session_of_images_shows_them_in_the_place_of_contexts(tmp_path):
    made = image_session.make(tmp_path, "digits")
    made.session.sae_dir.mkdir()
    (made.session.sae_dir / "cfg.json").write_text("{}")
    (made.session.sae_dir / "sae_weights.safetensors").write_bytes(b"")
    report = finished(read(made.session, 3))
    report.summary["analysis"] |= {"corpus": "mnist", "split": "test", "strong": "0.5x"}
    html = page.html(report, list(drawings(report)))
    assert "<h4>contexts</h4>" not in html and "label entropy" in html and " images)" in html
    with Store.open([made.session]) as store:
        [shown] = store.query("SELECT count(*) FROM examples WHERE band = 0 AND rank < 8 AND feature IN "
                              f"({', '.join(str(one.card.feature) for one in report.told)})", 1).rows  # fmt: skip
    assert html.count('<img class="p"') == shown[0] + len(report.told)
    first = report.told[0].gallery.images[0]
    address = html[html.index(f'alt="image {first.image},') :].partition("<")[0]
    assert f"label {first.label}" in address
    wanted = made.pixels[first.image - 100]
    assert (pixels(png.grey(first.pixels))[:, :, 0] == wanted).all()
    assert "switched on" in html and "taken for" in html

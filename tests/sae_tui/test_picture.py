"""Pictures as strips: what each cell is in colours, in sixteen of them and in marks; and tiles on shelves."""

import time
from types import SimpleNamespace

import pytest

from sae_tui.widgets.picture import heat_map, image, kind_of, smaller
from sae_tui.widgets.shelves import Shelves


def cells(strip):
    """Upper and lower colour of each cell."""
    found = []
    for text, style, _ in strip:
        lower = style.bgcolor.name
        found += [((style.color.name if character == "▀" else lower), lower) for character in text]
    return found


def test_a_cell_is_two_pixels_one_above_the_other():
    [row] = image([[0.0, 1.0, 0.5], [0.0, 0.0, 0.5]], "colours")
    assert row.text == " ▀ "
    assert cells(row) == [("#000000", "#000000"), ("#ffffff", "#000000"), ("#808080", "#808080")]


def test_a_heat_map_is_orange_above_zero_and_blue_below_it():
    [row] = heat_map([[1.0, -1.0, 0.0], [1.0, -1.0, 0.05]], "colours")
    assert cells(row) == [("#ffaa3c",) * 2, ("#4682ff",) * 2, ("#000000",) * 2]


def test_few_colours_are_enough_to_tell_signs_and_strengths_apart():
    [row] = heat_map([[1.0, 0.4, 0.1, -0.1, -0.4, -1.0]] * 2, "16")
    assert [upper for upper, _ in cells(row)] == ["#ffff55", "#aa5500", "#000000", "#000000", "#0000aa", "#5555ff"]
    [grey] = image([[0.0, 0.4, 0.7, 1.0]] * 2, "16")
    assert [upper for upper, _ in cells(grey)] == ["#000000", "#555555", "#aaaaaa", "#ffffff"]


def test_where_a_feature_fires_the_image_is_lit():
    [row] = image([[1.0, 1.0, 0.0, 0.0]] * 2, "colours", fires=[[0.0, 1.0]])
    (dark, _), _, (lit, _), _ = cells(row)
    assert dark == "#ffffff" and lit != "#000000"
    assert image([[1.0] * 4] * 4, "plain", fires=[[0.0, 1.0]] * 2)[0].text == "@@@@"


def test_marks_stand_for_colours_where_there_are_none():
    assert [strip.text for strip in image([[0.0, 1.0], [0.5, 0.0]], "plain")] == ["+@"]
    assert [strip.text for strip in heat_map([[1.0, -1.0], [0.0, 0.0]], "plain")] == ["#="]


def test_a_thin_stroke_stays_bright_at_half_the_size():
    [[found]] = smaller([[1.0, 0.0], [1.0, 0.0]])
    assert found == pytest.approx(0.5 ** (1 / 2.2)) and smaller([[1.0, 1.0], [1.0, 1.0]]) == [[1.0]]


def test_what_a_terminal_can_draw_is_what_it_says_of_itself():
    def app(system, no_color=False):
        return SimpleNamespace(console=SimpleNamespace(color_system=system), no_color=no_color)

    kinds = {system: kind_of(app(system), ascii_only=False) for system in ("truecolor", "256", "standard", None)}
    assert kinds == {"truecolor": "colours", "256": "colours", "standard": "16", None: "plain"}
    assert kind_of(app("truecolor", no_color=True), ascii_only=False) == "plain"
    assert kind_of(app("truecolor"), ascii_only=True) == "plain"


def test_ten_images_are_drawn_within_a_key_press():
    grid = [[(x * y * 37 % 256) / 255 for x in range(28)] for y in range(28)]
    image(grid, "colours")
    began = time.process_time()
    for _ in range(10):
        image(grid, "colours")
    assert time.process_time() - began < 0.05


def test_tiles_stand_in_rows_under_the_heading_of_their_group():
    shelves = Shelves([0, 0, 0, 1], lambda group, n: f"{group}: {n}", columns=2, height=3)
    assert [shelves.at(y) for y in (0, 1, 3, 4, 7, 8)] == [
        ("0: 3", 0), ([0, 1], 0), ([0, 1], 2), ([2], 0), ("1: 1", 0), ([3], 0),
    ]  # fmt: skip
    assert shelves.height == 11 and shelves.place(1) == (1, 1) and shelves.place(3) == (8, 0)
    assert shelves.span(0) == (0, 4) and shelves.span(2) == (4, 7) and shelves.span(3) == (7, 11)
    assert [shelves.further(1, by) for by in (1, 2, 9, -1)] == [2, 3, 3, 1]
    with pytest.raises(IndexError):
        shelves.at(11)

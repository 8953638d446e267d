"""Pictures as text, at every depth of colour."""

import itertools
import re

import pytest

from sae_tui import pictures

RAMP = [[column / 9 for column in range(10)] for _ in range(4)]


@pytest.mark.parametrize(
    ("environment", "terminal", "wanted"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, True, "24 bit"),
        ({"TERM": "xterm-256color"}, True, "256"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": "1"}, True, "plain"),
        ({"TERM": "dumb"}, True, "plain"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, False, "plain"),
    ],
)
def test_the_depth_is_what_the_terminal_says_and_a_pipe_gets_text(environment, terminal, wanted):
    assert pictures.depth(environment, terminal=terminal) == wanted


@pytest.mark.parametrize("kind", ["24 bit", "256", "plain"])
@pytest.mark.parametrize("heat", [False, True])
def test_a_picture_takes_half_as_many_lines_as_rows_and_as_many_cells_as_columns(kind, heat):
    for rows in (4, 5):
        drawn = pictures.lines((RAMP + RAMP)[:rows], kind, heat=heat)
        assert len(drawn) == -(-rows // 2)
        assert all(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) == 10 for line in drawn)


def test_a_cell_has_the_upper_pixel_in_its_letter_and_the_lower_one_in_its_ground():
    (line,) = pictures.lines([[1.0], [0.0]], "24 bit")
    assert line == "\x1b[38;2;255;255;255m\x1b[48;2;0;0;0m▀\x1b[0m"
    assert pictures.lines([[1.0], [0.0]], "256") == ["\x1b[38;5;231m\x1b[48;5;16m▀\x1b[0m"]


def test_equal_neighbours_do_not_repeat_their_colours():
    (line,) = pictures.lines([[0.5] * 8, [0.5] * 8], "24 bit")
    assert line.count("\x1b[38") == 1 and line.count("▀") == 8


def test_plain_marks_grow_with_the_value_and_a_line_has_the_stronger_of_two_rows():
    (line,) = pictures.lines([[0.0, 0.0, 0.3, 1.0], [0.0, 0.95, 0.1, 0.2]], "plain")
    assert line == " @-@"
    order = [pictures.MARKS.index(pictures.lines([[v / 20]], "plain")[0]) for v in range(21)]
    assert order == sorted(order) and set(order) == set(range(10))


def test_a_plain_heat_map_tells_signs_and_strengths_apart():
    assert pictures.lines([[-1.0, -0.3, 0.0, 0.3, 1.0]], "plain", heat=True) == ["=- +#"]


def test_heat_is_black_at_nothing_and_both_signs_differ():
    assert pictures.signed(0.0) == (0, 0, 0) and pictures.signed(1) != pictures.signed(-1)
    assert pictures.signed(5.0) == pictures.signed(1.0)


def test_a_grid_is_scaled_by_its_largest_absolute_value():
    assert pictures.scaled([[1.0, -4.0]]) == [[0.25, -1.0]] and pictures.scaled([[0.0]]) == [[0.0]]


def test_a_halved_grid_has_the_means_of_its_squares():
    assert pictures.halved([[1, 3, 0, 0], [5, 7, 0, 4]]) == [[4, 1]]
    assert len(pictures.halved([[0.0] * 28] * 28)) == 14


def test_the_nearest_of_256_colours_is_nearer_than_any_other():
    def seen(number):
        if number >= 232:
            return (8 + 10 * (number - 232),) * 3
        cube = number - 16
        return tuple(pictures.STEPS[part] for part in (cube // 36, cube // 6 % 6, cube % 6))

    levels = (0, 60, 128, 200, 255)
    for colour in itertools.product(levels, levels, levels):
        far = {n: sum((a - b) ** 2 for a, b in zip(colour, seen(n), strict=True)) for n in range(16, 256)}
        assert far[pictures.nearest_256(colour)] == min(far.values())


def test_pictures_stand_beside_one_another():
    assert pictures.beside([["ab", "cd"], ["12", "34"]]) == ["ab  12", "cd  34"]

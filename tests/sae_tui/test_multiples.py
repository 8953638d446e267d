"""Small multiples: which snapshots are drawn, how large, and on what scale."""

import pytest

from sae_tui.widgets import multiples

STEPS = [1, 200, 400, 600, 800, 1_000, 1_200, 1_400, 1_477]


def feature(**changed):
    pictures = [
        {"pixels": [[place / 10] * 28] * 28, "pattern": [[place / 2 - 1.0] * 28] * 28} for place in range(len(STEPS))
    ]
    pictures[1] = None
    given = {"feature": 7, "why": "came late", "label": "", "top_token": "4", "birth": 200, "pictures": pictures}
    return {**given, "density": [0.01 * place for place in range(len(STEPS))], **changed}


@pytest.mark.parametrize(
    ("width", "edge", "shown"),
    [(268, 28, STEPS), (267, 14, STEPS), (142, 14, STEPS), (76, 14, [1, 600, 1_000, 1_477]), (14, 14, [1])],
)
def test_as_many_snapshots_as_fit_are_drawn_the_first_and_the_last_among_them(width, edge, shown):
    found = multiples.columns(feature(), STEPS, width)
    assert all(len(one.caption) == edge for one in found)
    assert all(len(grid) == edge and len(grid[0]) == edge for one in found for grid in (one.pattern, one.image))
    steps = [int(one.caption.replace("step ", "").split()[0].replace(",", "")) for one in found]
    assert steps == shown and len(found) * (edge + multiples.GAP) - multiples.GAP <= max(width, edge)


def test_all_snapshots_of_a_feature_are_on_one_scale_and_a_silent_one_is_empty():
    found = multiples.columns(feature(), STEPS, 200)
    assert [round(one.pattern[0][0], 3) for one in found] == [-0.333, 0, 0, 0.167, 0.333, 0.5, 0.667, 0.833, 1]
    assert found[1].image[3][3] == 0 and found[2].image[3][3] == pytest.approx(0.2)
    assert "silent" in found[0].caption and "1.00%" in found[1].caption


def test_a_title_says_what_it_is_called_and_why_it_is_told():
    assert multiples.title(feature()) == "feature 7 · fires on 4 · came late · since step 200"
    assert multiples.title(feature(label="a\x1b[31m")) == 'feature 7 · "a␛[31m" · came late · since step 200'
    bare = feature(top_token=None, why="", birth=None)
    assert multiples.title(bare) == "feature 7 · never fired"
    assert multiples.bars(feature(density=[0.0, 0.05, 0.1]), ascii_only=True) == "_-#      0% to  10.0%"

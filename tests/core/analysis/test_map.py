"""The map in cells, against a count feature by feature; windows."""

import math

import pytest

from core.analysis.map import DOTS_X, DOTS_Y, Window
from core.analysis.store import Store
from core.errors import QueryError
from tests.core.analysis.conftest import CLUSTERS, N_FEATURES


@pytest.fixture
def store(case):
    with Store.open([case.session]) as opened:
        yield opened


def naive(window: Window, columns: int, rows: int, lit):
    """Cells of the toy's map, where feature f lies at (f/2, -f/2): n, lit and the dots of each."""
    found = {}
    for f in range(N_FEATURES):
        across = (f / 2 - window.x0) / (window.x1 - window.x0) * columns * DOTS_X
        down = (window.y1 + f / 2) / (window.y1 - window.y0) * rows * DOTS_Y
        if 0 <= across < columns * DOTS_X and 0 <= down < rows * DOTS_Y:
            x, y = math.floor(across), math.floor(down)
            n, m, dots, clusters = found.get((x // DOTS_X, y // DOTS_Y), (0, 0, 0, []))
            dots |= 1 << (DOTS_X * (y % DOTS_Y) + x % DOTS_X)
            found[x // DOTS_X, y // DOTS_Y] = (n + 1, m + (f in lit), dots, [*clusters, int(CLUSTERS[f])])
    return {
        at: (n, m, dots, max(sorted(set(clusters)), key=clusters.count)) for at, (n, m, dots, clusters) in found.items()
    }


@pytest.mark.parametrize(("columns", "rows"), [(7, 5), (1, 1), (40, 30)])
@pytest.mark.parametrize("part", [1.0, 0.5, 0.1])
def test_cells_hold_what_a_count_finds(store, columns, rows, part):
    window = store.map_window().closer(2.6, -2.4, part)
    for where, lit in (("", set(range(N_FEATURES))), ("feature < 5 OR feature = 11", {*range(5), 11})):
        cells = store.on_map(window, columns, rows, [where] if where else [])
        found = {(c.column, c.row): (c.n, c.lit, c.dots, c.cluster) for c in cells}
        assert found == naive(window, columns, rows, lit)
        assert len(cells) == len(found)


def test_the_whole_window_holds_every_feature(store):
    window = store.map_window()
    assert sum(cell.n for cell in store.on_map(window, 20, 10)) == N_FEATURES
    assert window.x0 < 0 and window.y1 > 0


def test_a_condition_that_is_none_is_refused(store):
    window = store.map_window()
    for where in ("true) UNION SELECT 1 --", "densty > 1", "feature IN (FROM read_csv('x'))"):
        with pytest.raises(QueryError):
            store.on_map(window, 10, 10, [where])


def test_windows_move_and_close_in_on_a_point_and_cells_have_middles():
    window = Window(0, 8, 0, 4)
    assert window.closer(2, 1, 0.5) == Window(1, 5, 0.5, 2.5)
    assert window.moved(0.5, -0.25) == Window(4, 12, -1, 3)
    for cell in ((0, 0), (3, 1), (7, 3)):
        assert window.cell(*window.middle(*cell, 8, 4), 8, 4) == cell
    assert window.cell(-1, 5, 8, 4) == (-1, -1)
    assert Window.around(1, 1, 2, 2).x1 > 1

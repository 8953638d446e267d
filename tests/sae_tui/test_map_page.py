"""The map: what is drawn where, the cursor, zoom, clusters by size, what reads without colour, both sizes."""

import threading

import pytest
from rich.cells import cell_len

from core.analysis.map import Cell, Window
from core.session import Session
from sae_tui.dots import braille, quarters
from sae_tui.screens.map import MapPage
from sae_tui.widgets.feature_map import FeatureMap, painted
from sae_tui.widgets.rows import Rows
from tests.sae_tui.waiting import until

WIDE, NARROW = (160, 45), (80, 24)


async def opened(app, pilot, conditions=(), cluster=None):
    """The map over the Features screen, drawn."""
    await until(lambda: app.screen._found is not None)
    await app.push_screen(MapPage(list(conditions), cluster))
    await until(lambda: isinstance(app.screen, MapPage) and app.screen._map.ground.cells)
    return app.screen, app.screen.query_one(FeatureMap)


def lines(chart):
    return ["".join(segment.text for segment in chart.render_line(y)) for y in range(chart.size.height)]


def told(page):
    return "\n".join(line.plain for line in page.query_one("#cluster", Rows).lines)


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [WIDE, NARROW])
async def test_features_lie_on_the_map_and_the_cluster_under_the_cursor_is_told(sessions_root, workbench, size):
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=size) as pilot:
        page, chart = await opened(app, pilot)
        assert page.query_one("#map").border_title == "map · PCA of 12 directions"
        assert chart.ground.in_view == 12 and chart.cluster == 0
        await until(lambda: page.query_one("#cluster").border_title == "cluster 0 · 6 features")
        await until(lambda: "always on" in told(page))
        assert "cluster 1 of 4" in told(page) and f"{12 if size == WIDE else 10} features at 0." in told(page)
        drawn = "".join(lines(chart))
        assert sum(1 for c in drawn if "\u2801" <= c <= "\u28ff") + drawn.count("╋") >= 9 and "#0" in drawn
        at = chart._at
        lit = [
            [segment for segment in chart.render_line(y) if segment.style and segment.style.reverse] for y in range(3)
        ]
        here = [segment for segment in chart.render_line(at[1]) if segment.style and segment.style.reverse]
        assert here[0].text == "╋" or here[0].text.startswith("#0")
        assert not any(segment.text.endswith("  ") for row in (*lit, here) for segment in row)
        assert all(line.isprintable() for line in (*lines(chart), *told(page).split("\n")))
        await pilot.press("right_square_bracket")
        await until(lambda: page.query_one("#cluster").border_title == "cluster 1 · 4 features")
        await pilot.press("left_square_bracket", "left_square_bracket")
        await until(lambda: page.query_one("#cluster").border_title == "cluster 2 · 2 features")
        assert page.copied() == ("the condition of cluster 2", "cluster = 2")
        assert page.command_line() == "sae-tui map alpha"


@pytest.mark.asyncio
async def test_what_fulfils_the_conditions_has_another_glyph(sessions_root, workbench):
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page, chart = await opened(app, pilot, ["feature >= 9", "NOT dead"])
        assert "3 lit (25.0%)" in page.query_one("#map").border_title
        drawn = "".join(lines(chart))
        assert drawn.count("●") + drawn.count("○") == 3
        assert page.command_line() == "sae-tui map alpha --where '(feature >= 9) AND (NOT dead)'"


@pytest.mark.asyncio
async def test_the_cursor_moves_and_the_window_closes_in_on_it_and_follows(sessions_root, workbench):
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page, chart = await opened(app, pilot)
        whole, (columns, rows) = chart.window, chart.room
        for _ in range(30):
            await pilot.press("H", "K")
        assert chart._at[0] < 8 and chart._at[1] < 4 and chart.window == whole
        await pilot.press(*["h"] * 8, *["k"] * 4)
        assert chart._at == (0, 0)
        await pilot.press("l", "j", "L", "J")
        assert chart._at == (9, 5)
        middle = whole.middle(9, 5, columns, rows)
        await pilot.press("plus", "plus")
        assert chart.zoom == pytest.approx(4) and chart._at == (9, 5)
        assert chart.window.middle(9, 5, columns, rows) == pytest.approx(middle)
        await until(lambda: "×4" in page.query_one("#map").border_title)
        await until(lambda: 0 < chart.ground.in_view < 12)
        left = chart.window.x0
        await pilot.press("H", "H")
        assert chart.window.x0 < left and 0 <= chart._at[0] < columns
        await pilot.press("minus", "minus", "minus")
        assert chart.window == whole
        await pilot.press("plus", "plus", "0")
        assert chart.window == whole
        await until(lambda: chart.ground.in_view == 12)
        await pilot.press("plus", "plus", "plus", "right_square_bracket", "right_square_bracket")
        await until(lambda: 0 <= chart._at[0] < columns and chart.ground.in_view)
        assert any("#" in line for line in lines(chart))


@pytest.mark.asyncio
async def test_names_go_away_and_stay_away(sessions_root, workbench):
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page, chart = await opened(app, pilot)
        page.app.state.values["map"] = {}
        count = sum(line.count("#") for line in lines(chart))
        await pilot.press("t")
        await until(lambda: sum(line.count("#") for line in lines(chart)) <= 1 < count + 1)
        assert page.memory() == {"names": False}
        app.tick()
        await pilot.press("escape")
        await until(lambda: not isinstance(app.screen, MapPage))
        assert app.state.part("map") == {"names": False}
        page, chart = await opened(app, pilot)
        assert chart.names is False


@pytest.mark.asyncio
async def test_a_map_leaves_with_its_session_and_says_what_is_wrong(sessions_root, workbench):
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=NARROW) as pilot:
        page, _ = await opened(app, pilot)
        app.open_session(Session(sessions_root / "beta"))
        await until(lambda: app.screen is not page)
        app.open_session(Session(sessions_root / "alpha"))
        await until(lambda: app.screen._found is not None)
        await app.push_screen(MapPage(["densty > 1"]))
        await until(lambda: "no column 'densty'" in told(app.screen))
        await pilot.press("plus", "h", "right_square_bracket", "minus", "0", "t", "y")
        await pilot.press("escape")
        await until(lambda: not isinstance(app.screen, MapPage))


@pytest.mark.asyncio
@pytest.mark.parametrize(("graph", "glyphs"), [("ascii", ".:*#"), ("block", "▘▝▖▗")])
async def test_other_graphs_have_other_glyphs(sessions_root, workbench, graph, glyphs):
    app = workbench(sessions_root, mode="features", session="alpha", graph=graph)
    async with app.run_test(size=WIDE) as pilot:
        _, chart = await opened(app, pilot)
        drawn = "".join(lines(chart))
        assert any(glyph in drawn for glyph in glyphs) and not any("\u2801" <= c <= "\u28ff" for c in drawn)
        assert graph != "ascii" or "X" in drawn


@pytest.mark.asyncio
async def test_many_features_are_shades_and_few_are_dots(sessions_root, workbench):
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        _, chart = await opened(app, pilot)
        chart.begin(Window(0, 1, 0, 1), [], None)
        few = [Cell(x, 2, 1, 1, 1 << x % 8, None) for x in range(40)]
        chart.show(painted(few, *chart.room, graph=chart.graph, filtered=False))
        assert list(lines(chart)[2][:8]) == [braille(1 << x) for x in range(8)]
        many = [Cell(x, 2, 4 ** (x // 10 + 1), 0, 0b1, None) for x in range(40)]
        chart.show(painted(many, *chart.room, graph=chart.graph, filtered=False))
        levels = ["░▒▓█".index(glyph) for glyph in lines(chart)[2][:40]]
        assert levels == sorted(levels) and len(set(levels)) == 3
        lit = [Cell(0, 2, 10, 5, 1, None), Cell(1, 2, 10, 1, 1, None), Cell(2, 2, 10, 0, 1, None)]
        chart.show(painted(lit, *chart.room, graph=chart.graph, filtered=True))
        assert lines(chart)[2][:2] == "●○" and lines(chart)[2][2] in "░▒▓█"


@pytest.mark.asyncio
async def test_what_looks_at_every_cell_runs_beside_the_event_loop(sessions_root, workbench, monkeypatch):
    threads = []

    def watched(*args, **options):
        threads.append(threading.current_thread())
        return painted(*args, **options)

    monkeypatch.setattr("sae_tui.screens.map.painted", watched)
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        await opened(app, pilot)
        await pilot.press("plus", "l", "L", "right_square_bracket")
        await until(lambda: len(threads) == 2)
    assert threading.main_thread() not in threads


def test_a_row_has_a_run_for_each_ink_and_none_for_blanks():
    alike = [Cell(x, 1, 3, 0, 1, None) for x in (2, 3, 7)]
    other = Cell(9, 1, 300, 0, 0b1111_1111, None)
    ground = painted([*alike, other], 12, 3, graph="ascii", filtered=False)
    assert ground.in_view == 309 and ground.cells[9, 1] == other
    assert [len(line) for line in ground.lines] == [1, 3, 1] and ground.lines[0] == [(0, " " * 12, "")]
    assert [(x, text) for x, text, _ in ground.lines[1]] == [(0, "  "), (2, "..   . "), (9, "#  ")]


@pytest.mark.asyncio
async def test_names_and_the_cursor_lie_over_what_is_below_them_cell_by_cell(sessions_root, workbench):
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        _, chart = await opened(app, pilot)
        columns, rows = chart.room
        full = [Cell(x, y, 1 + (x + y) % 3, 0, 1 << x % 8, None) for x in range(columns) for y in range(rows)]
        cluster = {"cluster": 0, "x": 0.5, "y": 0.5, "tokens": ["日本語"], "n": 4}
        chart.begin(Window(0, 1, 0, 1), [cluster], 0)
        chart.show(painted(full, *chart.room, graph=chart.graph, filtered=False))
        assert {cell_len(line) for line in lines(chart)} == {columns}
        x, y = chart._at
        before = "".join(braille(1 << column % 8) for column in range(columns))
        assert lines(chart)[y] == before[:x] + "╋" + before[x + 1 :]
        named = lines(chart)[y + 1]
        first = named.index("#0 日本語")
        assert named[:first] == before[:first] and named[first + len("#0 日本語") :] == before[first + 9 :]


def test_dots_are_characters_of_braille_and_quarters():
    assert [braille(1 << bit) for bit in range(8)] == list("⠁⠈⠂⠐⠄⠠⡀⢀")
    assert braille(0b1111_1111) == "⣿" and braille(0) == "\u2800"
    assert [quarters(1 << bit) for bit in (0, 1, 2, 3, 4, 5, 6, 7)] == list("▘▝▘▝▖▗▖▗")
    assert quarters(0b1111_1111) == "█" and quarters(0) == " "

"""The heat map of all features: which cell is whose, the cursor, its ways, the sizes, what reads without colour."""

import pytest
from textual.app import App

from core.session import Session
from sae_tui.screens.feature import FeaturePage
from sae_tui.screens.features import FeaturesPage
from sae_tui.screens.peaks import PeaksPage
from sae_tui.widgets.bars import Line
from sae_tui.widgets.peaks import Peaks, fitted
from tests.sae_tui.waiting import until

WIDE, NARROW = (160, 45), (80, 24)


async def opened(app, pilot, text=""):
    """The heat map over the features that `text` finds, drawn."""
    await until(lambda: isinstance(app.screen, FeaturesPage) and app.screen._found is not None)
    if text:
        before = app.screen._found
        await pilot.press("slash", *text, "enter")
        await until(lambda: app.screen._found is not before)
    await pilot.press("H")
    await until(lambda: isinstance(app.screen, PeaksPage) and app.screen._map._picture)
    return app.screen, app.screen._map


def lines(chart):
    return ["".join(segment.text for segment in chart.render_line(y)) for y in range(chart.size.height)]


def told(page):
    return page.query_one("#cell", Line).content.plain


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [WIDE, NARROW])
async def test_every_feature_has_a_cell_and_the_cursor_tells_whose(sessions_root, workbench, size):
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=size) as pilot:
        page, chart = await opened(app, pilot)
        assert page._map.border_title == "heat map · max of 12 features"
        rows = app.stores.get(Session(sessions_root / "alpha")).features("max")
        shown = {row["feature"]: row["peak"] for row in chart._picture.rows.values()}
        assert shown == {row["feature"]: row["max"] for row in rows}
        first = chart.place  # the one at the cursor of the list
        assert told(page).startswith(f"{first} ")
        await pilot.press("g")
        assert chart.place == 0 and told(page).startswith("0 ")
        await pilot.press("l", "l", "l")
        await until(lambda: "always on" in told(page) and "density" in told(page))
        assert told(page).startswith("3 ") and told(page).isprintable()
        assert page.copied() == ("the number 3", "3")
        await pilot.press("G")
        assert chart.place == 11
        await pilot.press("l", "j", "L", "J")
        assert chart.place == 11
        await pilot.press("H", "K", "h", "k")
        assert chart.place == 0
        strongest = [row["feature"] for row in rows]
        chart.go(strongest[0])
        walked = []
        for _ in range(3):
            walked.append(chart.place)
            await pilot.press("right_square_bracket")
        assert walked == strongest[:3]
        await pilot.press("left_square_bracket")
        assert chart.place == strongest[2]
        scale = lines(chart)[-1]
        assert scale.startswith("max") and "a feature a cell" in scale and "0 " in scale
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, FeaturePage) and app.screen.feature == strongest[2])
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, FeaturesPage))


@pytest.mark.asyncio
async def test_only_the_listed_features_are_lit(sessions_root, workbench):
    app = workbench(sessions_root, mode="features", session="alpha", graph="ascii")
    async with app.run_test(size=NARROW) as pilot:
        page, chart = await opened(app, pilot, "feature > 7")
        assert page._map.border_title == "heat map · max of 12 features · 4 listed (33.3%)"
        assert sorted(row["feature"] for row in chart._picture.rows.values()) == [8, 9, 10, 11]
        across = chart.grid.across
        marks = next(line for line in lines(chart) if line.strip())[chart._gutter :]
        lit = [marks[f * across : (f + 1) * across].strip() != "" for f in range(chart.grid.columns)]
        assert not any(lit[:8])
        assert all(line.isascii() for line in lines(chart))
        await pilot.press("g")
        assert told(page) == "0  not among those that are listed" and page.copied() is None
        here = [segment for segment in chart.render_line(0) if segment.style and segment.style.reverse]
        assert [segment.text for segment in here] == [" " * across]
        await pilot.press("enter")
        await pilot.pause()
        assert app.screen is page
        assert page.command_line() == "sae-tui features alpha --heat --where '(feature > 7)'"
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, FeaturesPage))


@pytest.mark.asyncio
async def test_it_leaves_with_its_session(sessions_root, workbench):
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=NARROW) as pilot:
        page, _ = await opened(app, pilot)
        app.open_session(Session(sessions_root / "beta"))
        await until(lambda: app.screen is not page)


class Drawn(App[None]):
    """The map alone, of as many features as there are in `peaks`."""

    def __init__(self, peaks) -> None:
        super().__init__()
        self.peaks, self.asked = peaks, []

    def compose(self):
        yield Peaks(ascii_only=False, id="peaks")

    def on_peaks_wanted(self) -> None:
        chart = self.query_one(Peaks)
        each = chart.grid.each
        self.asked.append(each)
        groups = [range(i, min(i + each, len(self.peaks))) for i in range(0, len(self.peaks), each)]
        best = [max(group, key=self.peaks.__getitem__) for group in groups]
        chart.show(chart.paint()([{"place": i, "feature": f, "peak": self.peaks[f]} for i, f in enumerate(best)]))


@pytest.mark.asyncio
async def test_cells_hold_several_where_there_are_more_and_a_resize_shares_them_anew():
    app = Drawn([float(f * 7919 % 5_000) for f in range(5_000)])
    async with app.run_test(size=(60, 12)) as pilot:
        chart = app.query_one(Peaks)
        chart.begin(5_000)
        await pilot.pause()
        assert chart.grid.each > 1 and f"a cell: strongest of {chart.grid.each}, 50 a" in lines(chart)[-1]
        assert chart.at["peak"] == 4999.0  # it begins at the strongest
        numbers = [int(line[:5]) for line in lines(chart)[:-1] if line[:5].strip()]
        assert numbers[:2] == [0, 2 * chart.grid.columns * chart.grid.each]
        await pilot.resize_terminal(170, 60)
        await pilot.pause()
        assert chart.grid.each == 1 and chart.at["feature"] == app.peaks.index(4999.0)
        assert app.asked[-1] == 1


@pytest.mark.asyncio
async def test_a_key_draws_only_the_lines_of_the_cursor(monkeypatch):
    from sae_tui.widgets import peaks

    app = Drawn([float(f % 97) for f in range(6_000)])
    async with app.run_test(size=WIDE) as pilot:
        chart = app.query_one(Peaks)
        chart.begin(6_000)
        await pilot.pause()
        chart.go(0)
        drawn = []
        monkeypatch.setattr(peaks, "heat_map", lambda *a: drawn.append(1) or heat_map(*a))
        monkeypatch.setattr(peaks, "image", lambda *a: drawn.append(1) or image(*a))
        from sae_tui.widgets.picture import heat_map, image

        chart.move(1, 0)
        assert len(drawn) == 1
        chart.move(0, 10)
        assert len(drawn) <= 3


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("n", [1, 12, 1_000, 4_608, 131_072])
@pytest.mark.parametrize(("width", "height"), [(150, 40), (70, 18), (20, 3), (1, 1), (0, 0)])
def test_all_cells_fit(n, width, height, plain):
    grid = fitted(n, width, height, plain=plain)
    rows = -(-n // (grid.each * grid.columns))
    assert grid.each >= 1 and grid.columns * grid.across <= max(1, width)
    assert rows * grid.down <= max(2, 2 * height)
    assert not plain or grid.down % 2 == 0
    if n == 131_072 and width == 150:
        assert grid.each == (22 if plain else 11)

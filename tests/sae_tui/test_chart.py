import math
import random

import pytest
from rich.cells import cell_len
from textual.app import App
from textual.widget import Widget

from sae_tui.settings import GRAPHS
from sae_tui.widgets import scales
from sae_tui.widgets.chart import Chart
from sae_tui.widgets.plots import AXIS, Plot, Series, draw
from sae_tui.widgets.rows import differs_to, with_cell, wrapped
from sae_tui.widgets.scales import linear, logarithmic, reach
from tests.sae_tui.conftest import HOSTILE


def curve(n=100, level=200.0, label="demo"):
    return Series(label, [float(i) for i in range(1, n + 1)], [level / i**0.5 for i in range(1, n + 1)])


def plot(*series, **options):
    return Plot(**{"name": "loss", "series": series or (curve(),), "low": 0, "high": 128, **options})


def text(drawing):
    return ["".join(part for part, _ in row) for row in drawing.rows]


def inks(drawing):
    return {ink for row in drawing.rows for _, ink in row}


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_drawing_fills_its_cells_whatever_it_is_given(graph):
    rng = random.Random(0)
    values = [0.0, -1.0, 1e-300, 1e300, math.nan, 3.0, -1e-9, 5e5]
    for _ in range(150):
        width, height = rng.randint(0, 70), rng.randint(0, 20)
        series = []
        for n in range(rng.randint(0, 3)):
            ys = [rng.choice(values) if rng.random() < 0.3 else rng.gauss(5, 3) for _ in range(rng.randint(0, 40))]
            series.append(Series(f"r{n}", [float(i) for i in range(len(ys))], ys))
        low = rng.choice([0.0, 3.0, 30.0])
        drawing = draw(
            plot(
                *series, series=tuple(series), low=low, high=low + rng.choice([0, 1e-6, 10, 1e9]),
                log=rng.random() < 0.5, y_kind=rng.choice(["number", "share", "count", "time"]),
                x_kind=rng.choice(["count", "time"]),
            ), width, height, graph,
        )  # fmt: skip
        lines = text(drawing)
        assert len(lines) == height and all(cell_len(line) == width for line in lines)
        if graph == "ascii":
            assert "".join(lines).isascii()


def test_what_stands_in_a_drawing():
    lines = text(draw(plot(log=True, y_kind="number"), 60, 15, "braille"))
    assert any("100┤" in line for line in lines) and any("20┤" in line for line in lines)
    assert lines[-2].lstrip().startswith("└") and lines[-1].split() == ["0", "50", "100"]
    assert any(0x2800 < ord(c) <= 0x28FF for line in lines for c in line)
    assert text(draw(plot(series=(), empty="not yet"), 30, 9, "block"))[4].strip() == "not yet"
    assert "▀" in "".join(text(draw(plot(), 60, 15, "block"))) or "▄" in "".join(text(draw(plot(), 60, 15, "block")))


def test_a_gap_is_blank_and_so_is_what_has_no_logarithm():
    xs = [float(i) for i in range(100)]
    ys = [1.0 if x < 30 else math.nan if x < 60 else 0.0 if x < 70 else 2.0 for x in xs]
    for log, blank_to in ((False, 58), (True, 68)):
        drawing = draw(plot(Series("a", xs, ys), low=0, high=100, log=log), 106, 12, "braille")
        columns = {
            x - drawing.left for line in text(drawing)[:-2] for x, c in enumerate(line) if 0x2800 < ord(c) < 0x2900
        }
        assert columns & set(range(28)) and not columns & set(range(32, blank_to)) and columns & set(range(72, 98))


def test_runs_have_each_an_ink_and_a_letter_at_their_end():
    drawing = draw(plot(curve(level=200), curve(level=100, n=60), curve(level=200)), 60, 16, "braille")
    assert inks(drawing) == {AXIS, 0, 1, 2}
    whole = "\n".join(text(drawing))
    assert all(whole.count(letter) == 1 for letter in "ABC")  # also where two runs end at the same place
    assert "b" in "\n".join(text(draw(plot(curve(), curve(level=100)), 60, 16, "ascii")))


def test_a_run_that_goes_on_changes_few_rows():
    rng = random.Random(2)
    ys = [200 / i**0.3 * (1 + 0.02 * rng.random()) for i in range(1, 1_000)]
    xs = [float(i) for i in range(1, 1_000)]
    changed = []
    before = None
    for n in range(520, 999, 20):
        now = draw(plot(Series("a", xs[:n], ys[:n]), high=reach(n, 4_000), log=True), 100, 20, "braille").rows
        if before:
            changed.append(sum(a != b for a, b in zip(before, now, strict=True)))
        before = now
    assert sum(changed) / len(changed) <= 2


def test_where_a_value_stands():
    drawing = draw(plot(curve(), log=True), 60, 15, "braille")
    rows = [drawing.row(value) for value in (200, 100, 20)]
    assert rows == sorted(rows)
    assert "100┤" in text(drawing)[rows[1]]
    assert drawing.row(0) is None and drawing.row(math.nan) is None and drawing.row(1e9) is None


def test_limits_are_round_and_hold_the_values():
    assert linear(0.17, 0.75, "number", 4).labels == ("0", "0.2", "0.4", "0.6", "0.8")
    assert linear(32, 32, "number", 3).labels[1] == "32"
    assert linear(0, 0, "share", 3).low == 0
    assert logarithmic(1e-5, 300, "number", 4).labels == ("1e-5", "0.001", "0.1", "10")
    rng = random.Random(3)
    for _ in range(2_000):
        low = 10 ** rng.uniform(-9, 9)
        high = low * 10 ** rng.choice([0, rng.uniform(0, 1), rng.uniform(0, 12)])
        for scale, limits in ((linear, (low, high)), (logarithmic, (math.log10(low), math.log10(high)))):
            axis = scale(low, high, rng.choice(["number", "share", "count", "time"]), rng.randint(1, 12))
            assert axis.low < axis.high and len(axis.ticks) == len(axis.labels)
            assert axis.low <= limits[0] + 1e-6 * abs(limits[0]) + 1e-9
            assert axis.high >= limits[1] - 1e-6 * abs(limits[1]) - 1e-9


def test_a_logarithmic_axis_has_as_many_ticks_as_there_is_room_for():
    assert logarithmic(18, 55, "number", 11).labels == ("15", "20", "30", "40", "50", "60")
    assert logarithmic(18, 55, "number", 4).labels == ("20", "50")


def test_the_end_of_the_x_axis_moves_by_powers_of_two():
    ends = [reach(step, 4_096) for step in range(1, 4_097)]
    assert sorted(set(ends)) == [2**i for i in range(13)]
    assert all(end >= step for step, end in enumerate(ends, 1))
    assert reach(100, None) == 128 and reach(0, 50) == 50 and reach(60, 50) == 64


@pytest.mark.parametrize(("value", "kind", "shown"), [
    (0.0812, "number", "0.0812"), (1.2e-4, "number", "1.2e-4"), (32, "number", "32.0"), (203.41, "number", "203.4"),
    (12_345, "number", "12.3k"), (0, "number", "0"), (-0.5, "number", "-0.5000"), (0.0822, "share", "8.22%"),
    (1, "share", "100%"), (0, "share", "0%"), (410_123, "count", "410k"), (12, "count", "12"),
    (12_400, "step", "12,400"), (67 * 60, "time", "1h07m"), (45, "time", "45s"),
    (95, "time", "1m35s"), (9e5, "time", "10d10h"),
])  # fmt: skip
def test_numbers_for_a_person(value, kind, shown):
    assert scales.number(value, kind) == shown


def test_bars_and_trends():
    assert scales.bar(0, 4) == "    " and scales.bar(1, 4) == "████" and scales.bar(2, 4) == "████"
    assert scales.bar(0.5, 3) == "█▌ " and scales.bar(0.5, 4, ascii_only=True) == "##--"
    assert scales.trend([1, 2, math.nan, 9]) == "▁▂ █" and scales.trend([5, 5]) == "▄▄"
    assert scales.trend([math.nan]) == " " and scales.trend([1, 9], ascii_only=True) == "_#"
    assert scales.memory(2.1e9) == "2.10 GB" and scales.memory(512e6) == "512 MB" and scales.memory(12) == "12 B"


def test_rows():
    row = (("ab", 0), ("cd", 1))
    assert with_cell(row, 2, "X", 5) == (("ab", 0), ("X", 5), ("d", 1))
    assert with_cell(row, 1, "", 5) == (("a", 0), ("b", 5), ("cd", 1))
    assert with_cell(row, 9, "X", 5) == row
    assert differs_to(row, (("ab", 0), ("ce", 1))) == 4
    assert differs_to(row, (("Ab", 0), ("cd", 1))) == 1
    assert differs_to((("abc", 0),), (("abcde", 0),)) == 5
    pieces = [(("aaaa", 0),), (("bbbb", 1),), (("cc", 2),)]
    assert wrapped(pieces, 10, 2, -1) == [(("aaaa", 0), (" ", -1), ("bbbb", 1), (" ", -1)), (("cc", 2), (" ", -1))]
    assert len(wrapped(pieces, 5, 2, -1)) == 2


class OneChart(App[None]):
    def __init__(self, shown: Plot, graph: str = "braille") -> None:
        super().__init__()
        self.chart = Chart(shown, graph=graph)
        self.windows: list[tuple[float, float] | None] = []

    def compose(self):
        yield self.chart

    def on_chart_window(self, event: Chart.Window) -> None:
        self.windows.append(event.window)

    @property
    def lines(self):
        return [self.chart.strip(y).text for y in range(self.chart.size.height)]


async def drawn(pilot, chart):
    """Wait until nothing is being drawn."""
    for _ in range(100):
        await pilot.pause(0.01)
        if not chart._busy and chart._size_drawn == chart.size:
            return
    raise TimeoutError


@pytest.mark.asyncio
async def test_the_crosshair_reads_all_runs():
    app = OneChart(
        plot(curve(label="mine"), curve(60, 100, label="\x1b]0;x\x07[bold]other"), log=True, notes=("EMA .9",))
    )
    async with app.run_test(size=(70, 20)) as pilot:
        chart = app.chart
        await drawn(pilot, chart)
        assert "A mine" in app.lines[0] and "B ␛]0;x␇[bold]other" in app.lines[0]
        assert str(chart.border_title) == "▸ loss · log y · EMA .9"
        await pilot.press("h")
        await drawn(pilot, chart)
        assert chart.cursor == pytest.approx(100, abs=2)
        assert chart.readings()[0] == ("step", "100")
        assert chart.readings()[1] == ("mine", "20.0") and chart.readings()[2][1] == "–"  # it had ended
        await pilot.press("home", "l", *["full_stop"] * 2)
        await drawn(pilot, chart)
        step, mine, other = chart.readings()
        assert 35 <= int(step[1]) <= 48
        assert float(mine[1]) == pytest.approx(2 * float(other[1]), rel=0.02)
        assert mine[1] in app.lines[0] and other[1] in app.lines[0] and step[1] in app.lines[0]
        assert sum("▲" in line for line in app.lines) == 1
        segments = [segment for y in range(20) for segment in chart.strip(y)]
        assert sum(bool(segment.style and segment.style.reverse) for segment in segments) == 2
        chart.look_at(None)
        await drawn(pilot, chart)
        assert not any("▲" in line for line in app.lines)


@pytest.mark.asyncio
async def test_over_another_axis_the_crosshair_is_at_its_end():
    app = OneChart(plot())
    async with app.run_test(size=(70, 20)) as pilot:
        chart = app.chart
        await drawn(pilot, chart)
        chart.look_at(50)
        chart.show(plot())
        assert chart.cursor == 50
        chart.show(plot(Series("demo", [512.0, 1_024.0], [2.0, 1.0]), high=2_048, x_name="tokens", value="1.0"))
        await drawn(pilot, chart)
        assert chart.cursor == 1_024 and chart.border_title == "▸ loss 1.0"


@pytest.mark.asyncio
async def test_zooming_asks_for_a_part_of_the_axis():
    app = OneChart(plot())
    async with app.run_test(size=(70, 20)) as pilot:
        await drawn(pilot, app.chart)
        app.chart.look_at(40)
        await pilot.press("plus", "minus", "0")
        await pilot.pause()
        assert app.windows == [(8, 72), (0, 256), None]
        app.chart.show(plot(low=40, high=42.5))
        await pilot.press("plus")
        await pilot.pause()
        assert len(app.windows) == 3  # fewer than three points would be left


@pytest.mark.asyncio
async def test_only_rows_that_changed_are_sent(monkeypatch):
    app = OneChart(plot())
    async with app.run_test(size=(70, 20)) as pilot:
        chart = app.chart
        await drawn(pilot, chart)
        sent = []
        refresh = Widget.refresh
        monkeypatch.setattr(
            Widget, "refresh", lambda self, *regions, **o: (sent.append(regions), refresh(self, *regions, **o))[1]
        )
        chart.show(plot())
        await drawn(pilot, chart)
        assert sent == []
        more = curve(103)
        chart.show(plot(more))
        await drawn(pilot, chart)
        assert 1 <= len(sent) <= 3 and all(len(regions) == 1 and regions[0].height == 1 for regions in sent)
        sent.clear()
        chart.look_at(50)  # makes room above
        await drawn(pilot, chart)
        sent.clear()
        await pilot.press("l")
        await drawn(pilot, chart)
        assert 1 <= len(sent) <= 4


@pytest.mark.asyncio
async def test_it_is_drawn_anew_for_another_size_and_survives_what_cannot_be_drawn(monkeypatch):
    app = OneChart(plot(curve(), *[curve(label=h) for h in HOSTILE[:7]]), graph="ascii")
    async with app.run_test(size=(70, 20)) as pilot:
        chart = app.chart
        await drawn(pilot, chart)
        for size in ((20, 6), (3, 2), (120, 40), (40, 10)):
            await pilot.resize_terminal(*size)
            await drawn(pilot, chart)
            assert all(cell_len(line) == size[0] for line in app.lines)
        monkeypatch.setattr("sae_tui.widgets.chart.draw", lambda *_: 1 / 0)
        chart.show(plot())
        await drawn(pilot, chart)
        assert any("this cannot be drawn" in line for line in app.lines)
        chart.look_at(3)
        await pilot.press("h", "plus")

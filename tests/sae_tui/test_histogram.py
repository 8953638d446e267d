"""The histogram: what its bars and axes say, in blocks and in ascii, and what a move of its cursor repaints."""

import pytest
from textual.app import App

from sae_tui.text import compact
from sae_tui.widgets.histogram import Bin, Histogram, bins

COUNTS = [1000, 100, 10, 1, 0, 500, 999, 3]


class Bench(App):
    def __init__(self, counts=COUNTS, **options):
        super().__init__()
        self.histogram = Histogram(**options)
        self.counts, self.opened = counts, []

    def compose(self):
        yield self.histogram

    def on_mount(self):
        self.histogram.show([Bin(i * 2.0, (i + 1) * 2.0, n) for i, n in enumerate(self.counts)])

    def on_histogram_opened(self, event):
        self.opened.append(event.bin)

    def lines(self):
        return [self.histogram.render_line(y).text for y in range(self.histogram.size.height)]

    def bars(self):
        """The height of each bar in eighths."""
        left = self.lines()[0].index("┤") + 1
        rows = self.lines()[:-3]
        width = (len(rows[0]) - left) // len(self.counts)
        return [
            sum(" ▁▂▃▄▅▆▇█".index(row[left + i * width]) for row in rows) for i in range(len(self.counts))
        ]  # fmt: skip


@pytest.mark.asyncio
async def test_heights_are_logarithms_or_counts_and_one_token_is_always_seen():
    app = Bench()
    async with app.run_test(size=(60, 11)) as pilot:
        log = app.bars()
        assert log[0] == 64 and log[4] == 0 and log[3] > 0
        assert log[0] >= log[6] > log[5] > log[1] > log[2] > log[7] > log[3]
        assert log[1] == pytest.approx(64 * 2.004 / 3, abs=1)
        assert "log scale" in app.histogram.border_title
        app.histogram.log_scale = False
        await pilot.pause()
        counts = app.bars()
        assert counts == [64, 7, 1, 1, 0, 32, 64, 1]
        assert app.histogram.border_title.endswith("number of tokens")


@pytest.mark.asyncio
async def test_both_axes_have_numbers():
    app = Bench()
    async with app.run_test(size=(60, 11)):
        lines = app.lines()
        assert lines[0].startswith("1.0k ┤")
        assert any(line.startswith(" 100 ┤") for line in lines) and any(line.startswith("  10 ┤") for line in lines)
        assert lines[-3].startswith("   0 └─")
        assert lines[-2].split() == ["0", "4.00", "8.00", "12.0", "16.0"]
        assert "2,613 tokens in 8 bins" in lines[-1]
        assert "activation" in app.histogram.border_subtitle


@pytest.mark.asyncio
async def test_the_bin_under_the_cursor_is_told_in_words_and_opens():
    app = Bench()
    async with app.run_test(size=(60, 11)) as pilot:
        await pilot.press("l")
        assert "▲ 0 to 2.00   1,000 tokens   38.3%" in app.lines()[-1]
        await pilot.press("l", "right", "l", "enter")
        assert "6.00 to 8.00   1 token " in app.lines()[-1] + " "
        assert app.opened == [Bin(6.0, 8.0, 1)]
        await pilot.press("end", "l", "h")
        assert app.histogram.bin == Bin(12.0, 14.0, 999)
        await pilot.press("g", "h")
        assert app.histogram.bin == Bin(0.0, 2.0, 1000)
        app.histogram.mark(10.0)
        assert app.histogram.bin == Bin(8.0, 10.0, 0)
        app.histogram.mark(99.0)
        assert app.histogram.bin == Bin(14.0, 16.0, 3)
        assert "▲" in app.lines()[-3]


@pytest.mark.asyncio
async def test_a_move_repaints_two_bars_and_the_words():
    app = Bench()
    async with app.run_test(size=(60, 11)) as pilot:
        await pilot.press("l")
        await pilot.pause()
        asked = []
        refresh = app.histogram.refresh
        app.histogram.refresh = lambda *regions, **options: (asked.extend(regions), refresh(*regions, **options))[1]
        await pilot.press("l")
        assert sorted((r.x, r.y, r.width, r.height) for r in asked) == [(0, 10, 60, 1), (6, 0, 6, 9), (12, 0, 6, 9)]


@pytest.mark.asyncio
async def test_ascii_is_ascii():
    app = Bench(ascii_only=True)
    async with app.run_test(size=(60, 11)) as pilot:
        await pilot.press("l")
        text = "".join(app.lines())
        assert text.isascii() and {"#", "|", "+", "^"} <= set(text)


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [(60, 3), (15, 11), (16, 4), (24, 6), (60, 11), (200, 40)])
async def test_more_bins_than_cells_are_merged_and_no_size_is_wrong(size):
    app = Bench([7] * 300)
    async with app.run_test(size=size) as pilot:
        assert {len(line) for line in app.lines()} == {size[0]}
        await pilot.press("l", "l", "h", "right")
        words = app.lines()[-1]
        await pilot.press("end", "enter")
        assert app.opened == [Bin(598.0, 600.0, 7)]
        assert size != (60, 11) or "▲ 12.0 to 24.0   42 tokens" in words
        await pilot.click(Histogram, offset=(10, 0))


@pytest.mark.asyncio
async def test_what_never_fired_says_so():
    app = Bench([])
    async with app.run_test(size=(60, 11)) as pilot:
        await pilot.press("l", "enter", "G")
        assert "it never fired" in "".join(app.lines()) and app.opened == []


def test_rows_of_the_database_become_bins():
    assert bins([{"feature": 1, "bin": 0, "lo": 0, "hi": 2.5, "n": 3}]) == [Bin(0.0, 2.5, 3)]


def test_counts_take_four_cells_at_most():
    assert [compact(n) for n in (0, 7, 999, 1000, 1204, 9960, 48_000, 999_400, 3_100_000, 2e9)] == [
        "0", "7", "999", "1.0k", "1.2k", "10k", "48k", "999k", "3.1M", "2.0G",
    ]  # fmt: skip

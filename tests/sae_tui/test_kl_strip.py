"""The strip of KLs: a cell a token, a mark where texts part, and only what changed is sent."""

import pytest
from textual.app import App
from textual.geometry import Region

from sae_tui.widgets.kl_strip import KlStrip, level


class Bench(App):
    def __init__(self, **options):
        super().__init__()
        self.strip = KlStrip(**options)

    def compose(self):
        yield self.strip


@pytest.mark.asyncio
async def test_a_token_has_a_cell_and_where_the_texts_part_there_is_a_mark():
    app = Bench()
    async with app.run_test(size=(20, 2)):
        app.strip.show([0.0, 0.01, 1.0, 100.0], 2, None)
        assert app.strip.plain == " KL ▁▂┃▆█"
        app.strip.show([0.0, 0.01, 1.0, 100.0], None, 1)
        assert app.strip.plain == " KL ▁▂▆█"
        styles = [segment.style.reverse for segment in app.strip.render_line(0) if "▂" in segment.text]
        assert styles == [True]
        app.strip.show([], None, None)
        assert app.strip.plain == ""


@pytest.mark.asyncio
async def test_a_long_text_is_shown_by_half_lines_with_the_end_or_the_cursor_in_view():
    app = Bench(ascii_only=True)
    async with app.run_test(size=(15, 2)):
        kls = [0.0] * 12 + [10.0]
        app.strip.show(kls, None, None)
        assert app.strip.plain == " KL <______#"
        app.strip.show(kls, None, 0)
        assert app.strip.plain == " KL " + "_" * 10
        app.strip.show(kls, 1, 0)
        assert app.strip.plain == " KL _|________"
        assert len(app.strip.render_line(0).text) == 15


@pytest.mark.asyncio
async def test_one_more_token_repaints_one_cell(monkeypatch):
    app = Bench()
    async with app.run_test(size=(40, 2)) as pilot:
        app.strip.show([0.1] * 5, None, None)
        await pilot.pause()
        painted = []
        monkeypatch.setattr(app.strip, "refresh", lambda *regions, **_: painted.extend(regions))
        app.strip.show([0.1] * 6, None, None)
        app.strip.show([0.1] * 6, None, None)
        assert painted == [Region(9, 0, 1, 1)]


def test_bars_grow_with_the_logarithm_and_end_at_both_ends():
    levels = [level(kl) for kl in (0.0, 0.001, 0.004, 0.02, 0.1, 0.4, 1.5, 5.0, 20.0, 1e9)]
    assert levels == [0, 0, 1, 2, 3, 4, 5, 6, 7, 7]

"""What the workbench mends of Textual."""

import gc
import weakref

import pytest
from textual.app import App
from textual.screen import Screen
from textual.widgets import Static

from sae_tui.mended import forget_closed_widgets


@pytest.mark.asyncio
async def test_what_was_drawn_of_a_closed_screen_goes_with_it():
    forget_closed_widgets()
    async with App().run_test() as pilot:
        page = Screen()
        await pilot.app.push_screen(page)
        await page.mount_all(Static(f"line {number}") for number in range(20))
        await pilot.pause(0.1)
        drawn = [weakref.ref(widget._styles_cache) for widget in page.walk_children() if widget._styles_cache._cache]
        assert len(drawn) > 10
        await pilot.app.pop_screen()
        await pilot.pause(0.1)
        del page
        gc.collect()
        assert [cache for cache in drawn if cache() is not None] == []


@pytest.mark.asyncio
async def test_colours_are_as_without_it():
    forget_closed_widgets()
    async with App().run_test() as pilot:
        inside, outside = Static(), Static()
        await pilot.app.mount(inside, outside)
        red, blue = inside.styles.background.parse("red"), inside.styles.background.parse("blue").with_alpha(0.5)
        inner, outer = inside._styles_cache.get_inner_outer(red, blue)
        assert (inner.background, outer.background) == (red + blue, red)
        assert outside._styles_cache.get_inner_outer(red, blue)[0] is inner

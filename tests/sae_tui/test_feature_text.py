"""A feature on a text of a person's own, and its page on Neuronpedia."""

import json

import pytest

from core.errors import EngineError
from sae_tui.screens import feature_actions, feature_text
from sae_tui.screens.choose import Choose
from sae_tui.screens.dialogs import AskText
from sae_tui.screens.feature import FeaturePage
from sae_tui.screens.features import FeaturesPage
from sae_tui.text import safe
from sae_tui.widgets.feature_facts import Weights
from sae_tui.widgets.fields import TextLine
from sae_tui.widgets.paged_table import PagedTable
from sae_tui.widgets.places import Places
from tests.core.analysis.conftest import ALWAYS, SILENT
from tests.sae_tui.waiting import until

from .conftest import HOSTILE
from .fake_engine import FakeEngine
from .test_feature_page import NARROW, WIDE, line, opened

TEXT = "one two three " + HOSTILE[3] + " five"


@pytest.fixture
def engine(monkeypatch):
    made = FakeEngine()
    monkeypatch.setattr(FeaturesPage, "make_engine", staticmethod(lambda session: made))
    return made


async def typed(app, pilot, text):
    await pilot.press("t")
    await until(lambda: isinstance(app.screen, AskText))
    await until(lambda: str(app.screen.query_one(".dialog").border_subtitle) == "enter take · esc back")
    before = app.screen.query_one(TextLine).value
    app.screen.query_one(TextLine).value = text
    await pilot.press("enter")
    return before


def places(page):
    return page.query_one(Places)


def read(page):
    """The words that are lit, and the title."""
    return [piece.text for piece in places(page).document.pieces if piece.strength], places(page).border_title


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [WIDE, NARROW])
async def test_a_feature_lights_up_on_a_text_and_so_does_each_one_goes_on_to(sessions_root, workbench, engine, size):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=size) as pilot:
        page = await opened(app, pilot, ALWAYS)
        assert await typed(app, pilot, TEXT) == ""
        await until(lambda: places(page).reading and page.focused is places(page).document)
        lit, title = read(page)
        assert lit == [" one", " two", " " + HOSTILE[3], " five"]
        assert "text · max 2.00 at ␣two" in title and "100% of x" in title and "10.0% of z" in title
        assert size == NARROW or "1 to 3 features each" in title
        await until(lambda: "of its max" in line(page, "place"))
        assert page.copied()[0] == "the text"
        await pilot.press("right_square_bracket")
        await until(lambda: page._card.feature != ALWAYS)
        now = page._card.feature
        await until(lambda: places(page).reading)
        asked = [asked for asked in engine.asked if asked[0] == "reading"]
        assert asked == [("reading", (TEXT,), f) for f in (ALWAYS, now)]
        await until(lambda: page.focused is places(page).document)
        assert await typed(app, pilot, "again") == safe(TEXT)
        await until(lambda: [piece.text for piece in places(page).document.pieces] == [" again"])
        await pilot.press("escape")
        await until(lambda: not places(page).reading and app.screen is page)
        await pilot.press("left_square_bracket")
        await until(lambda: page._card.feature == ALWAYS)
        assert not page._text and "contexts" in places(page).border_title


@pytest.mark.asyncio
async def test_enter_on_a_token_of_the_text_chooses_among_the_features_that_fire_on_it(
    sessions_root, workbench, engine
):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(app, pilot, ALWAYS)
        await typed(app, pilot, "one two three")
        await until(lambda: places(page).reading and page.focused is places(page).document)
        await until(lambda: places(page).document.cursor == 1)  # on " two", the strongest
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, Choose))
        await until(lambda: "␣two" in str(app.screen.query_one(".dialog").border_title))
        assert ("firing", "one two three", 0) in engine.asked
        table = app.screen.query_one(PagedTable)
        await until(lambda: table.count == 2)
        assert table.row[0].split()[0] == "3" and table.row[1] == "8.00"
        await pilot.press("enter")
        await until(lambda: app.screen is page and page._card.feature == 3)


@pytest.mark.asyncio
async def test_who_walks_fast_asks_about_the_last_feature_alone(sessions_root, workbench, engine, monkeypatch):
    monkeypatch.setattr(feature_text, "QUIET_S", 3.0)
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(app, pilot, ALWAYS)
        await typed(app, pilot, "a b")
        await until(lambda: places(page).reading)
        for _ in range(3):
            before = page._card.feature
            await pilot.press("right_square_bracket")
            await until(lambda before=before: page._card.feature != before)
        await until(lambda: places(page).reading)
        assert [asked[2] for asked in engine.asked if asked[0] == "reading"] == [ALWAYS, page._card.feature]


@pytest.mark.asyncio
async def test_one_that_never_fired_is_looked_at_too(sessions_root, workbench, engine):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(app, pilot, SILENT)
        await typed(app, pilot, "a b")
        await until(lambda: places(page).reading and places(page).document.region.height > 3)
        await pilot.press("escape")
        await until(lambda: not places(page).reading)


@pytest.mark.asyncio
async def test_esc_stops_the_loading_and_an_error_is_told(sessions_root, workbench, engine):
    loads = engine.load

    def load():
        yield from list(loads())[:1]
        engine._stopped.wait(20)

    engine.load = load
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(app, pilot, ALWAYS)
        await typed(app, pilot, "a b")
        await until(lambda: "loading smollm2 50%" in places(page).border_subtitle)
        await pilot.press("escape")
        await until(lambda: "stop" in engine.asked and not places(page).border_subtitle)
        assert app.screen is page and not places(page).reading
        engine.load, engine.error, said = loads, EngineError("it \x1b[31m died"), []
        app.complain = said.append
        await typed(app, pilot, "a b")
        await until(lambda: said == [engine.error])
        assert isinstance(app.screen, FeaturePage) and not page._text


@pytest.mark.asyncio
async def test_the_page_on_neuronpedia_is_shown_copied_and_opened_where_there_is_one(
    sessions_root, workbench, monkeypatch
):
    app, said, copied = workbench(sessions_root, session="alpha"), [], []
    app.say = lambda message, severity="information": said.append(message)
    app.copy_to_clipboard = copied.append
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(app, pilot, ALWAYS)
        await pilot.press("u")
        await until(lambda: said and "not on Neuronpedia" in said[-1])
        config = sessions_root / "alpha" / "sae" / "cfg.json"
        config.write_text(json.dumps({"metadata": {"neuronpedia_id": "gpt2-small/10-res-jb"}}))
        page = await opened(app, pilot, 5)
        address = "https://www.neuronpedia.org/gpt2-small/10-res-jb/5"
        await pilot.press("u")
        await until(lambda: copied == [address] and said[-1] == f"copied the address {address}")
        page._panes.to("weights")
        await until(lambda: address in "".join(row.plain for row in page.query_one(Weights)._lines))
        await pilot.press("y")
        await until(lambda: copied == [address] * 2)
        opened_urls = []
        monkeypatch.setattr(app, "open_url", opened_urls.append)
        for here, said_last in ((True, f"opened {address}"), (False, f"copied the address {address}, as there is no")):
            monkeypatch.setattr(feature_actions, "browser_here", lambda here=here: here)
            await pilot.press("U")
            await until(lambda said_last=said_last: said[-1].startswith(said_last))
        assert opened_urls == [address] and copied == [address] * 3
        config.write_text('{"metadata": {"neuronpedia_id": "../\\u001b[31m"}}')
        page = await opened(app, pilot, 6)
        await until(lambda: page._link is None)


def test_through_ssh_and_without_a_display_no_browser_is_asked_to_open_a_page(monkeypatch):
    monkeypatch.setattr(feature_actions.webbrowser, "get", lambda: None)
    monkeypatch.setattr(feature_actions.sys, "platform", "linux")
    for name in ("SSH_CONNECTION", "SSH_TTY", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not feature_actions.browser_here()
    monkeypatch.setenv("DISPLAY", ":0")
    assert feature_actions.browser_here()
    monkeypatch.setenv("SSH_TTY", "pts/1")
    assert not feature_actions.browser_here()

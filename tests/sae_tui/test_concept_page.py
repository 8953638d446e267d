"""A search for a concept: from texts to features, their marks and their list, with an engine that has no model."""

import re

import pytest

from core.errors import EngineError
from core.records import ConceptFound
from core.session import Session
from sae_tui.screens.concept import ConceptPage
from sae_tui.screens.feature import FeaturePage
from sae_tui.screens.features import FeaturesPage
from sae_tui.screens.steer import SteerPage
from sae_tui.widgets.bars import KeyBar, Line
from sae_tui.widgets.feature_columns import percent
from sae_tui.widgets.paged_table import PagedTable
from tests.sae_tui.waiting import until

from .conftest import HOSTILE
from .fake_engine import FakeEngine, paced


@pytest.fixture
def made(monkeypatch):
    """The engines that were made, whoever wanted them."""
    found = []

    def make(session):
        found.append(FakeEngine())
        return found[-1]

    for page in (FeaturesPage, SteerPage):
        monkeypatch.setattr(page, "make_engine", staticmethod(make))
    return found


def told(page):
    return page.query_one("#told", Line).content.plain


def drawn(page):
    table = page.query_one("#found", PagedTable)
    return [table.render_line(y).text for y in range(table.size.height)]


async def opened(app, pilot):
    await until(lambda: isinstance(app.screen, FeaturesPage) and app.screen._found is not None)
    features = app.screen
    await pilot.press("c")
    await until(lambda: isinstance(app.screen, ConceptPage) and app.screen.focused is not None)
    return features, app.screen


async def searched(app, pilot, page, texts="one\n\ntwo", contrast=""):
    page._box("texts").text, page._box("contrast").text = texts, contrast
    await pilot.pause()
    await pilot.press("ctrl+j")
    await until(lambda: page._searched.found is not None and page._question is None)


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [(160, 45), (80, 24)])
async def test_texts_find_features_that_open_are_marked_and_filter_the_list(sessions_root, workbench, made, size):
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=size) as pilot:
        features, page = await opened(app, pilot)
        await pilot.press("ctrl+j")
        await until(lambda: "an example text first" in told(page))
        await pilot.press("f", "space")  # text, while one types
        assert page._searched.texts == "f "
        await searched(app, pilot, page)
        assert ("concept", ("one", "two"), (), None, 100) in made[0].asked
        await until(lambda: told(page) == "2 features of 2 texts")
        await until(lambda: str(page.query_one("#found").border_subtitle) == "strong: 0.5x")
        await until(lambda: "100%" in drawn(page)[1] and "50%" in drawn(page)[1])
        await until(lambda: [line.count("█") for line in drawn(page)[1:3]] == [8, 7])  # by 97 and 95
        await until(lambda: "always on [bold]" in drawn(page)[1])
        await until(lambda: "mark" in page.query_one(KeyBar).content.plain)
        await pilot.press("space")
        await until(lambda: features.marks == {3})
        await pilot.press("asterisk")
        await until(lambda: features.marks == {3, 5})
        await pilot.press("asterisk")
        await until(lambda: features.marks == set())
        await pilot.press("g", "space", "g", "enter")
        await until(lambda: isinstance(app.screen, FeaturePage) and app.screen.feature == 3)
        await pilot.press("q")
        await until(lambda: app.screen is page)
        await pilot.press("f")
        await until(lambda: app.screen is features and features._found.order.count == 2)
        assert features._wanted.text == "feature IN (3, 5)" and features.chosen == [3]
        await pilot.press("c")
        await until(lambda: isinstance(app.screen, ConceptPage) and "2 features" in told(app.screen))
        assert app.screen._box("texts").text == "one\n\ntwo" and len(made) == 1
        await pilot.press("escape")
        await until(lambda: app.screen is features)


@pytest.mark.asyncio
async def test_a_feature_that_fires_everywhere_is_told_from_one_of_these_texts(sessions_root, workbench, made):
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=(160, 45)) as pilot:
        features, page = await opened(app, pilot)
        await searched(app, pilot, page)
        table = features.query_one("#features", PagedTable)
        densities = {row["feature"]: row["density"] for row in (table._source.row(i) for i in range(table.count))}
        # what it stands for takes the width that is left, behind all figures
        await until(lambda: re.search(r"mean +in corpus +stands for$", drawn(page)[0].rstrip()))
        for line, feature in enumerate((3, 5), 1):
            await until(lambda y=line, f=feature: f" {percent(densities[f])}  " in drawn(page)[y])


@pytest.mark.asyncio
async def test_contrast_texts_have_columns_of_their_own(sessions_root, workbench, made):
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=(160, 45)) as pilot:
        _, page = await opened(app, pilot)
        await searched(app, pilot, page, HOSTILE[3] + HOSTILE[4], "\n".join(HOSTILE[:2]))
        await until(lambda: "of 1 text against 2" in told(page))
        await until(lambda: "c.composite" in drawn(page)[0] and "score" in drawn(page)[0])
        await until(lambda: "␛]52" in page._box("texts").get_line(0).plain)


@pytest.mark.asyncio
async def test_steer_and_features_ask_one_engine_which_ends_with_the_session(sessions_root, workbench, made):
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=(160, 45)) as pilot:
        _, page = await opened(app, pilot)
        await searched(app, pilot, page)
        await pilot.press("escape")
        await pilot.press("4")
        await until(lambda: isinstance(app.screen, SteerPage))
        assert app.screen.open_desk() is not None and len(made) == 1
        app.open_session(Session(sessions_root / "beta"))
        await until(lambda: made[0].closed)


@pytest.mark.asyncio
async def test_esc_stops_a_search_and_what_goes_wrong_is_told(sessions_root, workbench, monkeypatch):
    engine = paced(0)
    waits = engine.load

    def load():
        yield from list(waits())[:1]
        engine._stopped.wait(20)
        engine._stopped.clear()

    engine.load = load
    monkeypatch.setattr(FeaturesPage, "make_engine", staticmethod(lambda session: engine))
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=(80, 24)) as pilot:
        features, page = await opened(app, pilot)
        page._box("texts").text = "one"
        await pilot.pause()
        await pilot.press("ctrl+j")
        await until(lambda: "loading smollm2 50% · esc stops" in told(page))
        await pilot.press("escape")
        await until(lambda: told(page) == "stopped" and "stop" in engine.asked)
        assert app.screen is page and not [a for a in engine.asked if a[0] == "concept"]
        engine.load, engine.error = waits, EngineError("it \x1b[31m died", hint="look")
        await until(lambda: features._operator is not None)
        await pilot.press("ctrl+j")
        await until(lambda: "it ␛[31m died" in told(page))
        await until(lambda: features._operator is None)
        engine.error = None
        await pilot.press("ctrl+j")
        await until(lambda: "2 features of 1 text" in told(page))


@pytest.mark.asyncio
async def test_a_list_without_features_says_why_and_what_to_do(sessions_root, workbench, monkeypatch):
    engine = paced(0)
    empty = ConceptFound(texts=1, contrast=0, rule="above [b]5", rows=(), notes=())
    engine.concept = lambda *words, **more: empty
    monkeypatch.setattr(FeaturesPage, "make_engine", staticmethod(lambda session: engine))
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=(80, 24)) as pilot:
        _, page = await opened(app, pilot)
        why = page.query_one("#why")
        assert why.display and "Nothing was searched for yet" in why.render().plain
        page._box("texts").text = "one"
        await pilot.pause()
        await pilot.press("ctrl+j")
        await until(lambda: "strong: above [b]5" in why.render().plain and told(page) == "0 features of 1 text")
        assert "Try longer texts" in why.render().plain and not page.query_one("#found").display

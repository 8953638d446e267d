"""Asking a language model for labels from the screens of features: offered, taken, changed, left, stopped."""

import json

import pytest

from core import explanations, labels
from core.errors import RunError
from core.labels import Label
from core.session import Session
from core.storage import append_line
from sae_tui.screens.asked import Asks
from sae_tui.screens.dialogs import AskText
from sae_tui.screens.feature import FeaturePage
from sae_tui.screens.features import FeaturesPage
from sae_tui.widgets.bars import Line
from sae_tui.widgets.fields import TextLine
from tests.core.analysis.conftest import EQUAL, ONCE, SILENT, server  # noqa: F401 # a fixture
from tests.sae_tui.asked import FakeVerbs
from tests.sae_tui.waiting import until

WIDE = (160, 45)
BAD = "a\x1b[2J [bold]label"


@pytest.fixture(autouse=True)
def model(monkeypatch):
    monkeypatch.setenv(explanations.URL, "http://127.0.0.1:9/v1")
    monkeypatch.setenv(explanations.MODEL, "stub")


@pytest.fixture
def session(sessions_root):
    return Session(sessions_root / "alpha")


@pytest.fixture
def verbs(monkeypatch, session):
    """Answers as the command's, which keeps them, for one feature."""
    line = {"feature": EQUAL, "label": BAD, "score": 0.75, "model": "st\x1bub [b]"}
    made = FakeVerbs({"labels": [line]})
    made.done = lambda words: append_line(session.explanations_path, json.dumps(line))
    monkeypatch.setattr(Asks, "make_verb", staticmethod(made))
    return made


@pytest.fixture
def bench(sessions_root, workbench):
    """Alpha's features, and what is said in notices."""
    app, said = workbench(sessions_root, mode="features", session="alpha"), []
    app.say = lambda message, severity="information": said.append(message)
    return app, said


async def feature(app, number=EQUAL):
    app.open_feature(number)
    await until(lambda: isinstance(app.screen, FeaturePage) and app.screen._card)
    return app.screen


async def listed(app):
    page = app.screen
    await until(lambda: isinstance(page, FeaturesPage) and page.chosen)
    return page


async def offered(app):
    await until(lambda: isinstance(app.screen, AskText) and app.screen.query(TextLine))
    return app.screen.query_one(TextLine).value


def line(page, name):
    return page.query_one(f"#{name}", Line).content.plain


@pytest.mark.asyncio
async def test_a_label_that_is_taken_keeps_its_source_and_score(bench, verbs, session):
    app, _ = bench
    async with app.run_test(size=WIDE) as pilot:
        page = await feature(app)
        await pilot.press("P")
        assert await offered(app) == "a␛[2J [bold]label"
        assert verbs.asked[0][:4] == ["labels", "alpha", "--ask", "--limit"] and "--offer" in verbs.asked[0]
        await pilot.press("enter")
        await until(lambda: "by st␛ub [b], detection score 0.75" in line(page, "name"))
        assert (labels.read(session)[EQUAL].label, labels.read(session)[EQUAL].source) == (BAD, "st\x1bub [b]")


@pytest.mark.asyncio
async def test_a_label_that_is_changed_is_a_persons_and_one_that_is_left_is_none(bench, verbs, session):
    app, _ = bench
    async with app.run_test(size=WIDE) as pilot:
        page = await feature(app)
        await pilot.press("P")
        await offered(app)
        await pilot.press("escape")
        assert EQUAL not in labels.read(session)
        await pilot.press("P")
        await offered(app)
        await pilot.press("end", "s", "enter")
        await until(lambda: line(page, "name").count("by a person"))
        assert "detection" not in line(page, "name") and labels.read(session)[EQUAL].source == "person"


@pytest.mark.asyncio
async def test_reading_the_session_again_does_not_stop_it_and_another_session_does(bench, verbs, sessions_root):
    app, _ = bench
    verbs.waits.clear()
    async with app.run_test(size=WIDE) as pilot:
        page = await feature(app)
        await pilot.press("P")
        await until(lambda: "esc stops" in line(page, "note"))
        await pilot.press("R")
        await pilot.pause()
        assert page.asking and "esc stops" in line(page, "note")
        page.opened(Session(sessions_root / "beta"))
        assert not page.asking and "esc stops" not in line(page, "note")
        verbs.waits.set()


@pytest.mark.asyncio
async def test_esc_stops_it_on_both_screens(bench, verbs):
    app, said = bench
    verbs.waits.clear()
    async with app.run_test(size=WIDE) as pilot:
        page = await listed(app)
        await pilot.press("P")
        await until(lambda: line(page, "ran").startswith("reading ␛[31m it · "))
        await pilot.press("P")
        assert said == ["still at work: esc stops it"] and len(verbs.asked) == 1
        await pilot.press("escape")
        assert len(verbs.stopped) == 1 and "reading" not in line(page, "ran")
        page = await feature(app)
        await pilot.press("P")
        await until(lambda: "esc stops" in line(page, "note") and page.query_one("#note").display)
        await pilot.press("escape")
        assert len(verbs.stopped) == 2 and app.screen is page and line(page, "note") == ""
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, FeaturesPage))


@pytest.mark.asyncio
async def test_an_answer_that_comes_while_one_does_something_else_waits(bench, verbs):
    app, said = bench
    verbs.waits.clear()
    async with app.run_test(size=WIDE) as pilot:
        page = await listed(app)
        page._table.mark([EQUAL])
        await pilot.press("P", "slash")
        verbs.waits.set()
        await until(lambda: said)
        assert said[0].startswith(f"feature {EQUAL}, by st") and app.screen is page
        await pilot.press("escape", "P")
        assert await offered(app) == "a␛[2J [bold]label"
        assert len(verbs.asked) == 1


@pytest.mark.asyncio
async def test_for_many_the_labels_are_written_for_those_that_have_none(bench, verbs, session):
    app, said = bench
    verbs.done = lambda words: labels.append(session, Label(feature=EQUAL, label=BAD, source="stub"))
    async with app.run_test(size=WIDE) as pilot:
        page = await listed(app)
        page._table.mark([EQUAL, ONCE, SILENT])
        await pilot.press("P")
        told = "1 of 3 labels given by the model; the others have one, which stays, or fire nowhere"
        await until(lambda: said == [told])
        assert "--offer" not in verbs.asked[0] and verbs.asked[0][-1].startswith("NOT dead AND feature IN (2, 1, 0)")


@pytest.mark.asyncio
async def test_without_a_model_it_is_said_how_to_name_one_and_what_goes_wrong_is_told(bench, verbs, monkeypatch):
    app, said = bench
    verbs.answers = {"labels": RunError("it refused with 401: is the key right?")}
    async with app.run_test(size=WIDE) as pilot:
        await feature(app)
        await pilot.press("P")
        await until(lambda: said == ["it refused with 401: is the key right?"])
        monkeypatch.delenv(explanations.URL)
        await pilot.press("P")
        assert said[1].startswith("no language model is configured: set SAE_TUI_LLM_URL to the root of")
        assert len(verbs.asked) == 1


@pytest.mark.asyncio
async def test_the_command_asks_the_model_that_the_environment_names(bench, server, session, monkeypatch):  # noqa: F811
    url, asked, answer = server
    answer[0] = lambda prompt: '{"label": "some tokens", "active": [1]}'
    monkeypatch.setenv(explanations.URL, url)
    app, _ = bench
    async with app.run_test(size=WIDE) as pilot:
        page = await feature(app)
        await pilot.press("P")
        await until(lambda: isinstance(app.screen, AskText), within_s=60)
        assert await offered(app) == "some tokens" and asked[0][2]["model"] == "stub"
        await pilot.press("enter")
        await until(lambda: '"some tokens"  by stub' in line(page, "name"))
        assert labels.read(session)[EQUAL].source == "stub"

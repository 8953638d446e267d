"""Steer ranks what fires by its part in the next token: by gradient, direct effect, ablation, for any target."""

import pytest

from core.errors import UsageError
from core.steering.interventions import Intervention
from sae_tui.screens.desk import Why
from sae_tui.screens.generation import Generation
from sae_tui.screens.steer import SteerPage
from tests.sae_tui.conftest import HOSTILE
from tests.sae_tui.fake_engine import FakeEngine
from tests.sae_tui.waiting import until

PROMPT = "To be or not"
SIZES = [(160, 45), (80, 24)]


@pytest.fixture
def engine(monkeypatch):
    made = FakeEngine()
    monkeypatch.setattr(SteerPage, "make_engine", staticmethod(lambda session: made))
    return made


async def at_a_token(pilot, command=None):
    """Generate, after a command where there is one, and put the cursor on the third token of the prompt."""
    app = pilot.app
    page = app.screen
    page.prompt.text = PROMPT
    if command:
        page.edits.do(command)
    page.edits.table.focus()
    await pilot.pause()
    await pilot.press("r")
    await until(lambda: page.generation and page.generation.ended and len(page.generation.firing) == 2)
    page.texts.pane("steered").focus()
    await pilot.press("g", "l", "l", "l")
    await until(lambda: page.texts.pane("steered").cursor == 3)
    return page


def asked_why(engine) -> list[tuple]:
    return [asked for asked in engine.asked if isinstance(asked, tuple) and asked[0] == "attribution"]


def rows(page) -> list[str]:
    table = page.firing.table
    return [table.render_line(y).text.rstrip() for y in range(1, 1 + table.count)]


def title(page) -> str:
    return str(page.firing.border_title)


@pytest.mark.asyncio
@pytest.mark.parametrize("size", SIZES)
async def test_s_ranks_by_each_effect_in_turn_for_the_token_that_comes_next(sessions_root, workbench, engine, size):
    app = workbench(sessions_root, mode="steer", session="alpha")
    async with app.run_test(size=size) as pilot:
        page = await at_a_token(pilot)
        assert "fires on" in title(page)
        await pilot.press("s", "s")
        await until(lambda: "gradient · r 0.97 ρ 0.93" in title(page))
        assert ("attribution", PROMPT, " not", 3, (), False, "") in engine.asked and "␣not" in title(page)
        await until(lambda: "+0.300" in rows(page)[0] and page.firing.table.count == 4)
        assert "+0.300" in rows(page)[0] and "+0.310" in rows(page)[0] and "␣or" in rows(page)[0]
        assert "p 0.250" in page.firing.query_one("#token").render().plain
        await pilot.press("s")
        await until(lambda: "· direct" in title(page) and "-0.750" in rows(page)[0])
        assert len(rows(page)) == 2  # those of other tokens have none
        await pilot.press("s")
        await until(lambda: "· ablation" in title(page) and len(rows(page)) == 3)  # one was not ablated
        await pilot.press("s", "s")
        await until(lambda: "fires on" in title(page))
        assert len(asked_why(engine)) == 1


@pytest.mark.asyncio
async def test_the_target_may_be_chosen_and_what_cannot_be_one_is_told(sessions_root, workbench, engine):
    app = workbench(sessions_root, mode="steer", session="alpha")
    async with app.run_test(size=SIZES[0]) as pilot:
        page = await at_a_token(pilot)
        await pilot.press("x")
        await pilot.pause()
        app.screen.query_one("Input").value = " Paris"
        await pilot.press("enter")
        await until(lambda: "␣Paris" in title(page))
        assert ("attribution", PROMPT, " Paris", 3, (), False, "") in engine.asked and page.rank == "gradient"
        engine.error = UsageError("the target is 2 tokens: " + HOSTILE[3])
        await pilot.press("l")
        await until(lambda: "is 2 tokens" in page.firing.query_one("#token").render().plain)
        assert page.firing.query_one("#token").render().plain.isprintable()
        engine.error = None
        await pilot.press("x")
        await pilot.pause()
        app.screen.query_one("Input").value = ""
        await pilot.press("enter", "l", "l")
        then = tuple(choice.token_id for choice in page.generation.choices("steered")[:2])
        await until(lambda: engine.asked[-1] == ("attribution", PROMPT, " is", None, then, False, ""))


@pytest.mark.asyncio
async def test_in_a_chat_it_is_asked_about_the_chat(sessions_root, workbench, engine):
    app = workbench(sessions_root, mode="steer", session="alpha")
    async with app.run_test(size=SIZES[0]) as pilot:
        await at_a_token(pilot, "/system be brief")
        await pilot.press("s", "s")
        await until(lambda: [one[-2:] for one in asked_why(engine)] == [(True, "be brief")])


@pytest.mark.asyncio
async def test_a_row_goes_to_its_feature_or_into_an_intervention(sessions_root, workbench, engine, monkeypatch):
    app = workbench(sessions_root, mode="steer", session="alpha")
    async with app.run_test(size=SIZES[0]) as pilot:
        page = await at_a_token(pilot)
        opened = []
        monkeypatch.setattr(app, "open_feature", opened.append)
        await pilot.press("s", "s", "s")
        await until(lambda: "direct" in title(page) and page.firing.table.count == 2)
        await pilot.press("enter", "o")
        await until(lambda: opened == [5])
        await pilot.press("down", "o")
        await until(lambda: opened == [5, 3])
        await pilot.press("enter")
        await until(lambda: page.edits.plan.interventions == (Intervention("scale", 3, 2.0),))


@pytest.mark.asyncio
async def test_what_takes_long_is_told_and_esc_stops_it(sessions_root, workbench, engine):
    app = workbench(sessions_root, mode="steer", session="alpha")
    async with app.run_test(size=SIZES[0]) as pilot:
        page = await at_a_token(pilot)
        engine.pace_s = 30.0
        await pilot.press("s", "s")
        await until(lambda: page.desk.attributing)
        await until(lambda: "finding out" in page.query_one("#state").content.plain)
        await pilot.press("escape")
        await until(lambda: not page.desk.attributing)
        assert page.texts.pane("steered").cursor == 3 and not page.firing.table.count


def test_a_text_up_to_a_token_has_the_one_that_comes_next(tmp_path):
    from core.records import FiringToken
    from core.steering.request import GenerationRequest

    prompt = [FiringToken(token_id=i, text=text, counted=i > 0) for i, text in enumerate(("<s>", "To", " be"))]
    generation = Generation(GenerationRequest(prompt="To be"), prompt)
    engine = FakeEngine(words=["or", "not"])
    for event in engine.generate(generation.request):
        generation.hear(event, 0.0)
    tokens = tuple(choice.token_id for choice in generation.choices("steered"))
    assert generation.up_to("steered", 1) == ((), 1, " be")
    assert generation.up_to("steered", 2) == ((), None, " or")
    assert generation.up_to("steered", 3) == (tokens[:1], None, " not")
    assert generation.up_to("steered", 4) == (tokens, None, None)
    assert Why("a", None, 1) == Why("a", None, 1)

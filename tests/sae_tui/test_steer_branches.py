"""Steer while text streams: pause and on, one token, back, forks, walking the branches, an engine that dies."""

import pytest

from core.errors import EngineError, RunError
from core.steering.interventions import Intervention
from core.steering.transcript import Transcript
from tests.sae_tui.fake_engine import FakeEngine, paced
from tests.sae_tui.steering import PROMPT, SIZE, branch, command, generated, note, shown, state, strip
from tests.sae_tui.waiting import until


async def streaming(pilot, page, tokens=1900):
    """Text that comes, and has some tokens already."""
    page.prompt.text = PROMPT
    page.edits.table.focus()
    await pilot.pause()
    await command(pilot, f"/tokens {tokens}")
    await pilot.press("r")
    await until(lambda: page.generation and len(page.generation.reports) > 3)


async def at_rest(page):
    await until(lambda: page.generation.ended and not page.desk.running)
    await until(lambda: not any(page.generation.unread(side) for side in ("baseline", "steered")))


def texts(page):
    return [page.generation.text(side) for side in ("baseline", "steered")]


@pytest.mark.asyncio
async def test_n_pauses_and_goes_on_and_a_full_stop_is_one_token(steer, engine):
    engine.like = lambda: paced(0.02)
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await streaming(pilot, page)
        await pilot.press("n")
        await until(lambda: "n goes on" in state(page))
        came = len(page.generation.reports)
        assert f"‖ {came}/1900" in state(page)
        await pilot.press("full_stop")
        await until(lambda: len(page.generation.reports) == came + 1 and page.generation.ended)
        assert engine.made.pasts[-1][2] == 1 and len(engine.made.pasts[-1][1]) == came
        await pilot.press("n")
        await until(lambda: len(page.generation.reports) > came + 4)
        await pilot.press("full_stop")
        await until(lambda: page.generation.ended)
        assert [report.index for report in page.generation.reports] == list(range(len(page.generation.reports)))
        assert shown(page, "baseline").endswith(page.generation.text("baseline"))


@pytest.mark.asyncio
async def test_what_is_changed_while_it_is_paused_holds_from_there_on(steer, engine):
    engine.like = lambda: paced(0.02)
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await streaming(pilot, page)
        await pilot.press("n")
        await until(lambda: "n goes on" in state(page))
        came = len(page.generation.reports)
        await command(pilot, "/amplify 5 4")
        await command(pilot, "/temperature 0.2")
        assert "n goes on with it" in note(page)
        await pilot.press("n")
        await until(lambda: len(page.generation.reports) > came + 3)
        (change,) = page.generation.changes
        assert (change.index, change.interventions) == (came, (Intervention("scale", 5, 4.0),))
        assert change.sampling.temperature == 0.2
        await command(pilot, "/seed 9")  # while it comes
        await until(lambda: len(page.generation.changes) == 2)
        await until(lambda: len(page.generation.reports) > page.generation.changes[-1].index + 2)
        assert page.generation.changes[-1].sampling.seed == 9
        await pilot.press("escape")
        await until(lambda: "saved" in note(page))
        transcript = Transcript.load(page.steered.path / note(page).removeprefix("saved: "))
        assert transcript.changes == page.generation.changes


@pytest.mark.asyncio
async def test_backspace_takes_back_the_last_token_or_all_from_the_cursor_on(steer):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await generated(pilot, page)
        came = len(page.generation.reports)
        page.texts.pane("steered").focus()
        await pilot.press("backspace")
        await until(lambda: len(page.generation.reports) == came - 1)
        await command(pilot, "/rewind 4")
        await until(lambda: len(page.generation.reports) == came - 5)
        page.texts.pane("steered").focus()
        await pilot.press("g", *["l"] * 7)
        index = page.texts.pane("steered").cursor - page.generation.begin
        await pilot.press("backspace")
        await until(lambda: len(page.generation.reports) == index == 2)
        assert page.texts.pane("steered").cursor is None and "back at token 2" in note(page)
        await pilot.press("n")
        await until(lambda: len(page.generation.reports) == came)
        assert len(page.generation.branches.all) == 1
        await command(pilot, "/rewind 999")
        await until(lambda: not page.generation.reports)
        await pilot.press("n")
        await until(lambda: len(page.generation.reports) == came)


@pytest.mark.asyncio
async def test_a_fork_keeps_the_old_text_and_branches_are_walked(steer, engine):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await generated(pilot, page)
        first = texts(page)
        assert branch(page) == ""
        await pilot.press("H")
        await until(lambda: "parts from none" in note(page))
        page.texts.pane("steered").focus()
        await pilot.press("g", *["l"] * 10, "f")
        await at_rest(page)
        # nothing had changed: the next seed tries it
        assert page.edits.plan.settings["seed"] == 1 and engine.made.pasts[-1][0][0].sampling.seed == 1
        await until(lambda: branch(page).startswith("branch 2/2 · parts at 5 from 1"))
        assert len(engine.made.pasts[-1][1]) == 5
        await command(pilot, "/amplify 5 4")
        await command(pilot, "/fork")
        await at_rest(page)
        await until(lambda: branch(page).startswith("branch 3/3 · parts at 0 from 1"))
        second = texts(page)
        assert second != first and page.edits.plan.settings["seed"] == 1
        page.texts.pane("steered").focus()
        await pilot.press("K")
        await until(lambda: branch(page).startswith("branch 2/3"))
        await pilot.press("J")
        await until(lambda: texts(page) == second and "4" in note(page))
        await pilot.press("H")
        await until(lambda: texts(page) == first and branch(page) == "branch 1/3 · L 2 3")
        assert shown(page, "steered").endswith(first[1])
        await pilot.press("L")
        await until(lambda: branch(page).startswith("branch 2/3") and "seed 1" in note(page))
        await at_rest(page)
        files = sorted(path.name for path in page.steered.steering_dir.glob("*.json"))
        kept = [Transcript.load(page.steered.steering_dir / name) for name in files]
        assert [(one.parent, one.parted) for one in kept] == [("", 0), (files[0], 5), (files[0], 0)]


@pytest.mark.asyncio
async def test_a_fork_that_would_give_the_same_text_is_refused(steer, engine):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await command(pilot, "/temperature 0")
        page.edits.table.focus()
        await pilot.press("f")
        assert "no text yet" in note(page)
        await generated(pilot, page)
        await pilot.press("f")
        await until(lambda: "the same text would come" in note(page))
        assert len(page.generation.branches.all) == 1


@pytest.mark.asyncio
async def test_a_change_while_text_comes_is_undone_and_done_again(steer, engine):
    engine.like = lambda: paced(0.02)
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await streaming(pilot, page)
        await command(pilot, "/amplify 5 4")
        await until(lambda: len(page.generation.changes) == 1)
        page.edits.table.focus()
        await pilot.press("u")
        await until(lambda: len(page.generation.changes) == 2 and not page.generation.changes[-1].interventions)
        await pilot.press("U")
        await until(lambda: len(page.generation.changes) == 3 and page.generation.changes[-1].interventions)
        await pilot.press("U")
        await until(lambda: "nothing to do again" in note(page))


@pytest.mark.asyncio
async def test_an_engine_that_dies_leaves_what_came_and_the_next_key_goes_on_from_there(steer, engine):
    engine.like = lambda: paced(0.02)
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await streaming(pilot, page)
        engine.made.error = EngineError("the engine died by signal 9", hint="the next request starts another")
        await until(lambda: "died by signal 9" in note(page) and "n goes on from there" in note(page))
        came = texts(page)
        assert came[0] and page.prompt.text == PROMPT
        await until(lambda: "✗ no engine: n goes on with another" in state(page))
        engine.made.error = None
        await pilot.press("n")
        await until(lambda: len(texts(page)[0]) > len(came[0]))
        await until(lambda: "/1900 tokens" in state(page), "what was read before it went on is told no longer")
        assert texts(page)[0].startswith(came[0])


@pytest.mark.asyncio
async def test_what_is_no_number_is_told_and_what_came_stays(steer, engine):
    engine.like = lambda: paced(0.02)
    app = steer()
    async with app.run_test(size=(80, 24)) as pilot:
        page = app.screen
        await streaming(pilot, page)
        engine.made.error = RunError(
            "at token 7 the model's output is no longer a number, under: scale feature 5 by 1e+30", hint="lower it"
        )
        await until(lambda: "at token 7" in note(page) and "scale feature 5" in note(page))
        assert page.generation.reports and shown(page, "steered").endswith(texts(page)[1])


@pytest.mark.asyncio
async def test_texts_that_have_ended_do_not_go_on(steer, engine):
    engine.like = lambda: FakeEngine(words=["a", "b"])
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await generated(pilot, page)
        await pilot.press("n")
        await until(lambda: "come to their end" in note(page))
        assert len(page.generation.reports) == 2


@pytest.mark.asyncio
async def test_another_prompt_or_mode_waits_for_a_new_text(steer, engine):
    engine.like = lambda: paced(0.02)
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await streaming(pilot, page)
        await pilot.press("n")
        await until(lambda: "n goes on" in state(page))
        page.prompt.text = "another"
        await command(pilot, "/mode replace")
        came = len(page.generation.reports)
        await pilot.press("n")
        await until(lambda: "r takes the other prompt and mode" in note(page))
        await until(lambda: len(page.generation.reports) > came)
        assert page.generation.request.prompt == PROMPT and page.generation.request.mode == "error-kept"


@pytest.mark.asyncio
async def test_the_strip_grows_and_follows_the_cursor(steer, engine):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await command(pilot, "/amplify 5 4")
        await generated(pilot, page)
        cells = strip(page)
        assert cells.startswith(" KL ") and cells.index("┃") == 4 + 2  # the third word is the first that differs
        assert len(cells) == 5 + len(page.generation.reports)

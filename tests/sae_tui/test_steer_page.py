"""The Steer screen with an engine that has no model: what keys do, what is asked, what is shown."""

import json
import shlex

import pytest

from core.errors import EngineError
from core.session import Session
from core.steering.interventions import Intervention
from core.steering.request import GenerationRequest
from core.steering.transcript import Transcript
from sae_tui.screens.steer import SteerPage
from sae_tui.widgets.bars import Line
from sae_tui.widgets.command_line import Candidates, CommandLine
from tests.sae_tui.waiting import until

from .conftest import HOSTILE
from .fake_engine import FakeEngine, paced, wait_for
from .steering import PROMPT, SIZE, command, generated, note, offered, shown, state, typed


@pytest.mark.asyncio
async def test_a_prompt_gives_two_texts_with_differing_words_marked(steer, engine):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await pilot.pause()
        assert page.focused is page.prompt and "engine not started" in state(page)
        await typed(pilot, "the most")
        await pilot.press("ctrl+j")
        await typed(pilot, "important")
        assert page.prompt.text == "the most\nimportant"
        await until(lambda: "ready on cpu" in state(page))
        await pilot.press("escape")
        await command(pilot, "/amplify 5 4")
        await pilot.press("p", "enter")
        await until(lambda: page.generation and page.generation.ended)
        await pilot.pause()
        request = next(a for a in engine.made.asked if isinstance(a, GenerationRequest))
        assert (request.prompt, request.interventions) == ("the most\nimportant", (Intervention("scale", 5, 4.0),))
        assert page.focused is page.texts.pane("steered")
        marked = [p.text for p in page.texts.pane("steered").pieces if p.changed]
        assert marked[:2] == [" IS", " TO"]
        assert shown(page, "baseline").startswith("<s> the most important that it is not")
        figures = page.query_one("#figures", Line).content.plain
        assert "mean KL 0.400" in figures and "part after 3" in figures and "Δ ln p +1.50" in figures


@pytest.mark.asyncio
async def test_strength_and_switches_work_on_the_intervention_at_the_cursor_and_can_be_undone(steer):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await pilot.press("escape", "plus")
        assert "no intervention yet" in note(page)
        await command(pilot, "/amplify 3 4")
        await command(pilot, "/add 5 1max")
        await until(lambda: 5 in page.names.known)
        plan = page.edits.plan

        def edits():
            return [(e.kind, e.value, e.enabled) for e in plan.interventions]

        await pilot.press("plus", "minus", "minus")
        assert edits()[1] == ("add", 0.75, True)
        await pilot.press("space", "0")
        assert edits()[1] == ("ablate", 0.0, False)
        await pilot.press("u", "u")
        assert edits()[1] == ("add", 0.75, True)
        page.edits.table.focus()
        await pilot.pause()
        await pilot.press("up", "plus", "D")
        assert edits() == [("add", 0.75, True)] and "u brings" in note(page)
        await pilot.press("u")
        assert edits()[0] == ("scale", 5.0, True)
        assert "2 on" in page.query_one("#edits-pane").border_title
        await pilot.press("enter")
        assert page.query_one(CommandLine).value == "/scale 3 5"
        await pilot.press("backspace", "8", "enter")
        await pilot.pause()
        assert edits()[0] == ("scale", 8.0, True) and page.focused is page.edits.table


@pytest.mark.asyncio
async def test_commands_are_completed_by_name_and_features_by_number_label_and_token(steer):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await typed(pilot, "/")
        assert isinstance(page.focused, CommandLine) and "/amplify" in offered(page)
        await typed(pilot, "ampl")
        await pilot.press("tab")
        await until(lambda: "5" in offered(page))
        assert page.query_one(CommandLine).value == "/amplify "
        await typed(pilot, "dat")
        await until(lambda: offered(page) == ["5"])
        assert "dates" in str(page.query_one(Candidates).render())
        await pilot.press("down", "enter")
        await until(lambda: "2" in offered(page))
        assert page.query_one(CommandLine).value == "/amplify 5 "
        await typed(pilot, "2")
        await pilot.press("enter")
        await pilot.pause()
        assert page.edits.plan.interventions == (Intervention("scale", 5, 2.0),)
        assert "scale feature 5 by 2" in note(page)
        await command(pilot, "/amplfy 3 4")
        assert "did you mean 'amplify'" in note(page) and isinstance(page.focused, CommandLine)
        await pilot.press("escape")
        await command(pilot, "/seed 9")
        assert "seed 9" in state(page)
        await command(pilot, "/where prompt")
        assert page.edits.plan.interventions[0].where == "prompt" and "prompt" in state(page)
        await typed(pilot, "/add 1")
        await until(lambda: offered(page)[:1] == ["1"])
        await pilot.press("escape")
        assert not page.query_one(CommandLine).has_class("-here")


@pytest.mark.asyncio
async def test_a_silent_feature_is_told_and_one_that_does_not_exist_too(steer):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await command(pilot, "/amplify 7 4")
        await generated(pilot, page)
        words = str(page.query_one("#edit").render())
        assert "fires on 0 of 4 tokens of the prompt: try /add 7 1max" in words
        await command(pilot, "/amplify 3 4")
        await pilot.pause()
        assert "fires on 4 of 4 tokens" in str(page.query_one("#edit").render())
        await command(pilot, "/ablate 5000")
        await until(lambda: 5000 in page.names.missing)
        assert "no such feature" in page.edits._stands_for(page.edits.current).plain


@pytest.mark.asyncio
async def test_changes_hold_while_text_comes_and_the_transcript_has_them(steer, engine, sessions_root):
    engine.like = lambda: paced(0.05)
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        page.prompt.text = PROMPT
        page.edits.table.focus()
        await pilot.pause()
        await command(pilot, "/tokens 1900")
        await pilot.press("r")
        await until(lambda: page.generation and len(page.generation.reports) > 3)
        assert "/1900 tokens" in state(page)
        await command(pilot, "/amplify 5 4")
        await until(lambda: page.generation.changes)
        await command(pilot, "/ablate 99")
        await until(lambda: "there is no feature 99" in note(page))
        before = len(page.generation.reports)
        await pilot.press("u")
        await until(lambda: len(page.generation.reports) > before)
        await pilot.press("escape")
        await until(lambda: page.generation.ended)
        await until(lambda: "saved: steering/" in note(page))
        (path,) = sessions_root.joinpath("alpha", "steering").glob("*.json")
        transcript = Transcript.load(path)
        first = page.generation.changes[0]
        assert transcript.interventions == () and transcript.changes[0] == first and first.index > 3
        assert first.interventions == (Intervention("scale", 5, 4.0),)


@pytest.mark.asyncio
async def test_the_token_at_the_cursor_tells_its_features_and_one_key_makes_one_an_intervention(steer, monkeypatch):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await generated(pilot, page)
        assert "fires more" in page.firing.border_title or not page.firing.table.count
        page.texts.pane("steered").focus()
        await pilot.press("g", "l", "l")
        await pilot.pause()
        assert page.firing.table.count == 2 and "fires on" in page.firing.border_title
        await until(lambda: {3, 5} <= page.names.known.keys())
        await pilot.press("enter", "down")
        assert page.firing.feature == 5
        await pilot.press("enter")
        await pilot.pause()
        assert page.edits.plan.interventions == (Intervention("scale", 5, 2.0),)
        await pilot.press("up", "a")
        await pilot.pause()
        assert page.edits.plan.interventions[1] == Intervention("add", 3, 1.0, "max")
        await pilot.press("c")
        await pilot.pause()
        lit = [p.strength for p in page.texts.pane("steered").pieces]
        assert max(lit) > 0.2 and "lit: 3" in page.texts.pane("steered").border_title
        await pilot.press("c")
        await pilot.pause()
        assert "lit: KL" in page.texts.pane("steered").border_title
        await pilot.press("c")
        await until(lambda: "lit: Δ ln p" in page.texts.pane("baseline").border_title)
        await pilot.press("c")
        await pilot.pause()
        assert page.texts.pane("steered").border_title == "steered"
        await pilot.press("escape", "escape")
        assert page.texts.pane("steered").cursor is None
        opened = []
        monkeypatch.setattr(app, "open_feature", opened.append)
        await pilot.press("o")
        assert opened == [3]


@pytest.mark.asyncio
async def test_r_generates_again_with_the_same_seed_and_t_by_itself(steer, engine):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await generated(pilot, page)
        first = page.generation
        await pilot.press("r")
        await until(lambda: page.generation is not first and page.generation.ended)
        assert page.generation.request == first.request
        second = page.generation
        await pilot.press("t")
        await command(pilot, "/ablate 3")
        await until(lambda: page.generation is not second and page.generation.ended)
        assert page.generation.request.interventions == (Intervention("ablate", 3),)
        await pilot.press("t")
        third = page.generation
        await pilot.press("space")
        await pilot.pause(0.5)
        assert page.generation is third and "r generates again" in note(page)


@pytest.mark.asyncio
async def test_a_text_that_comes_is_stopped_and_replaced(steer, engine):
    engine.like = lambda: paced(0.2)
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        page.prompt.text = PROMPT
        page.edits.table.focus()
        await pilot.pause()
        await pilot.press("r")
        await until(lambda: page.generation and page.generation.reports)
        first = page.generation
        await pilot.press("r")
        await until(lambda: page.generation is not first and page.generation.reports)
        assert first.ended.stopped
        await pilot.press("escape")
        await until(lambda: page.generation.ended)
        await until(lambda: "n goes on" in state(page))
        assert page.generation.ended.stopped


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("size", "views"), [(SIZE, ["baseline", "steered", "both"]), ((80, 24), ["baseline", "steered"])]
)
async def test_b_cycles_the_views_and_a_narrow_screen_has_one_text(steer, size, views):
    app = steer()
    async with app.run_test(size=size) as pilot:
        page = app.screen
        await generated(pilot, page)

        def displayed():
            sides = [side for side in ("baseline", "steered") if page.texts.pane(side).display]
            return "both" if len(sides) == 2 else sides[0]

        seen = []
        for _ in views:
            await pilot.press("b")
            await pilot.pause()
            seen.append(displayed())
        assert seen == views
        pane = page.texts.pane()
        pane.focus()
        await pilot.press("l")
        await pilot.pause()
        assert page.firing.display
        await pilot.press("z")
        await pilot.pause()
        assert page.maximized is pane
        await pilot.press("escape")
        assert page.maximized is None


@pytest.mark.asyncio
async def test_an_engine_that_dies_is_told_with_what_to_do_and_the_next_run_starts_another(steer, engine):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await generated(pilot, page)
        engine.made.error = EngineError(
            "the engine died by signal 9" + HOSTILE[3], hint="the next request starts another"
        )
        await pilot.press("r")
        await until(lambda: "died by signal 9" in note(page))
        assert "starts another" in note(page) and "\x1b" not in note(page) and "✗" in state(page)
        engine.made.error = None
        await pilot.press("r")
        await until(lambda: page.generation.ended and not page.generation.ended.error and page.generation.reports)
        assert "ready" in state(page)


@pytest.mark.asyncio
async def test_another_session_gets_an_engine_of_its_own_and_leaving_closes_it(steer, engine, sessions_root):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await command(pilot, "/ablate 3")
        await generated(pilot, page)
        first = engine.made
        await pilot.press("1")
        app.session = Session(sessions_root / "beta")
        await until(lambda: first.closed)
        app.open_session(Session(sessions_root / "beta"), "steer")
        await until(lambda: app.screen is page)
        await pilot.pause()
        assert page.desk is None and page.edits.plan.interventions == ()
        await until(lambda: "no trained SAE yet" in note(page))
        await pilot.press("r")
        assert engine.made is first or not engine.made.asked
        app.open_session(Session(sessions_root / "alpha"))
        await pilot.pause()
        assert page.edits.plan.interventions == (Intervention("ablate", 3),)
        await generated(pilot, page)
    assert engine.made is not first
    wait_for(lambda: engine.made.closed)


@pytest.mark.asyncio
async def test_without_a_session_or_a_prompt_it_says_what_to_do(workbench, tmp_path, steer):
    app = workbench(tmp_path / "none", mode="steer")
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert "press 1, then n" in note(app.screen)
        await pilot.press("escape", "r", "b", "c", "o", "w", "u", "D")
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("escape", "w")
        assert "no text to save" in note(app.screen)
        await pilot.press("r")
        assert "a prompt first" in note(app.screen) and app.screen.focused is app.screen.prompt


@pytest.mark.asyncio
async def test_a_session_that_was_not_analysed_is_steered_in_plain_numbers(steer, sessions_root):
    (sessions_root / "alpha" / "features.duckdb").unlink()
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await command(pilot, "/add 5 1max")
        await until(lambda: 5 in page.names.known)
        assert "the max is not known" in str(page.query_one("#edit").render())
        assert page.edits._stands_for(page.edits.current).plain == "dates"
        await command(pilot, "/add 5 8")
        await generated(pilot, page)
        assert page.generation.request.interventions == (Intervention("add", 5, 8.0),)


@pytest.mark.asyncio
async def test_it_comes_back_as_it_was_and_gives_its_command_line(steer):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        page.prompt.text = "it's"
        page.edits.table.focus()
        await pilot.pause()
        for line in ("/add 5 0.5max", "/seed 4", "/temperature 0"):
            await command(pilot, line)
        assert page.copied() is None
        line = page.command_line()
        app.exit()
    assert shlex.split(line)[:7] == ["sae-tui", "steer", "alpha", "--prompt", "it's", "--add", "5=0.5max"]
    app = steer(mode=None)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        page = app.screen
        assert isinstance(page, SteerPage)
        assert page.command_line() == line and page.focused is page.edits.table
        await generated(pilot, page)
        what, text = page.copied()
        assert what == "prompt and steered text" and text.startswith(PROMPT + " that")


@pytest.mark.asyncio
async def test_other_screens_leave_commands_for_it(steer):
    app = steer(mode="runs")
    async with app.run_test(size=SIZE) as pilot:
        app.to_steer.append("/add 5 1max")
        app.open_session(app.session, "steer")
        await until(lambda: isinstance(app.screen, SteerPage) and app.screen.edits.plan.interventions)
        assert app.screen.edits.plan.interventions == (Intervention("add", 5, 1.0, "max"),)
        app.to_steer.append("/nonsense")
        app.open_session(app.session, "steer")
        await pilot.pause()
        assert app.to_steer == [] and "no command" in note(app.screen)


@pytest.mark.asyncio
async def test_hostile_text_is_shown_safely_in_every_field(steer, engine):
    engine.like = lambda: FakeEngine(words=HOSTILE)
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        page.prompt.text = "".join(HOSTILE)
        page.edits.table.focus()
        await pilot.pause()
        await command(pilot, "/add 3 1max")
        await until(lambda: 3 in page.names.known)
        await pilot.press("r")
        await until(lambda: page.generation and len(page.generation.firing) == 2)
        page.texts.pane().focus()
        for _ in range(8):
            await pilot.press("l", "c")
        await typed(pilot, "/add ")
        await until(lambda: offered(page))
        await pilot.pause()
        drawn = "".join(segment.text for line in page._compositor.render_strips(page.size) for segment in line)
        assert not [c for c in "\x1b\x9b\u202e\u2066\u200b\x00\x07" if c in drawn]
        assert "always on [bold]" in drawn


@pytest.mark.asyncio
async def test_a_torn_memory_is_as_none(steer, tmp_path, sessions_root):
    state = {str(sessions_root.resolve()): {"steer": {"prompt": 3, "plans": {"alpha": [1]}, "view": {}}}}
    (tmp_path / "state.json").write_text(json.dumps(state))
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert app.screen.prompt.text == "" and app.screen.texts.view == "both"

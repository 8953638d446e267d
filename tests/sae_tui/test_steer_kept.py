"""Steer's recipes and saved transcripts: kept, completed, chosen from a list, opened with their branches, replayed."""

import json

import pytest

from core.steering.interventions import Intervention
from core.steering.recipe import Recipe, recipe_path
from core.steering.transcript import Transcript
from sae_tui.screens.saved import ChooseSaved, family, saved
from sae_tui.widgets.paged_table import PagedTable
from tests.sae_tui.conftest import HOSTILE
from tests.sae_tui.fake_engine import TOKENS_MADE
from tests.sae_tui.steering import PROMPT, SIZE, branch, command, generated, note, offered, state, typed
from tests.sae_tui.waiting import until


async def chosen(pilot, prefix=""):
    """Open the list, narrowed down."""
    await pilot.press("W")
    await until(lambda: isinstance(pilot.app.screen, ChooseSaved))
    await typed(pilot, prefix)
    return pilot.app.screen.query_one(PagedTable)


@pytest.mark.asyncio
async def test_a_recipe_is_saved_completed_and_taken_up_again(steer):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        page.prompt.text = PROMPT
        page.edits.table.focus()
        await pilot.pause()
        for line in ("/add 5 0.5max@generated,firing", "/seed 4", "/system Be short", "/save dates"):
            await command(pilot, line)
        await until(lambda: "steering/recipes/dates.toml" in note(page))
        recipe = Recipe.load(recipe_path(page.steered, "dates"))
        assert recipe.interventions == (Intervention("add", 5, 0.5, "max", "generated,firing"),)
        assert (recipe.request.system, recipe.request.sampling.seed, recipe.hook) == (
            "Be short", 4, "blocks.10.hook_resid_post",
        )  # fmt: skip
        for line in ("/clear", "/seed 0", "/chat off"):
            await command(pilot, line)
        page.prompt.text = "something else"
        page.edits.table.focus()
        await pilot.pause()
        await typed(pilot, "/recipe d")
        await until(lambda: offered(page) == ["dates"])
        await pilot.press("tab", "enter")
        await until(lambda: page.edits.plan.interventions == recipe.interventions)
        assert page.prompt.text == PROMPT and page.edits.plan.settings["seed"] == 4
        await until(lambda: "Be short" in page.prompt.border_title and "chat" in state(page))
        page.prompt.focus()
        await pilot.press("ctrl+z")
        await until(lambda: page.prompt.text == "something else")
        page.edits.table.focus()
        await pilot.press("u")
        await until(lambda: not page.edits.plan.interventions)
        await command(pilot, "/recipe nonsense")
        await until(lambda: app._notifications)
        await command(pilot, "/save No Name")
        assert "takes a name" in note(page)


@pytest.mark.asyncio
async def test_a_saved_text_is_opened_with_its_branches_and_goes_on(steer, engine):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await generated(pilot, page)
        await command(pilot, "/amplify 5 4")
        await pilot.press("f")
        await until(lambda: page.generation.ended and len(page.generation.branches.all) == 2)
        await until(lambda: len(list(page.steered.steering_dir.glob("*.json"))) == 2 and "saved" in note(page))
        forked = page.generation.text("steered")
        await command(pilot, "/clear")
        page.prompt.text = "another"
        page.edits.table.focus()
        await generated(pilot, page)
        await until(lambda: len(list(page.steered.steering_dir.glob("*.json"))) == 3)
        table = await chosen(pilot, "scale 5")
        await until(lambda: table.count == 1)
        await pilot.press("enter")
        await until(lambda: app.screen is page and len(page.generation.branches.all) == 2)
        await until(lambda: branch(page).startswith("branch 2/2 · parts at 0 from 1"))
        assert page.generation.text("steered") == forked and page.prompt.text == PROMPT
        assert page.edits.plan.interventions == (Intervention("scale", 5, 4.0),)
        came = len(page.generation.reports)
        await pilot.press("backspace", "backspace", "H")
        await until(lambda: branch(page).startswith("branch 1/2"))
        await pilot.press("L", "n")
        await until(lambda: page.generation.ended and len(page.generation.reports) == came)
        assert engine.made.pasts[-1][1] and page.generation.text("steered") == forked


@pytest.mark.asyncio
async def test_a_saved_text_is_replayed_and_it_says_whether_it_is_the_same(steer, engine):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await command(pilot, "/add 5 1x")
        await generated(pilot, page)
        await until(lambda: "saved" in note(page))
        await chosen(pilot)
        await pilot.press("ctrl+r")
        await until(lambda: "all 40 tokens came again" in note(page) or "tokens came again" in note(page))
        assert page.generation.request.interventions[0].unit == "raw"
        assert engine.made.threads == [None, TOKENS_MADE.threads]


def test_a_list_tells_what_cannot_be_read_and_families_hold_together(sessions_root):
    from core.session import Session

    session = Session(sessions_root / "alpha")
    folder = session.steering_dir
    made = {"interventions": [], "changes": [], "reports": [1, 2], "mean_kl": None, "prompt": HOSTILE[3]}
    parents = {"1": "", "2": "1Z.json", "3": "2Z.json", "4": "", "5": "gone.json", "6": "6Z.json"}
    for name, parent in parents.items():
        (folder / f"{name}Z.json").write_text(json.dumps({**made, "parent": parent}))
    (folder / "7Z.json").write_text("{")
    found = saved(session)
    assert [one.path.name[0] for one in found] == list("7654321")
    assert [bool(one.wrong) for one in found] == [True] + [False] * 6
    assert [path.name[0] for path in family(found, folder / "3Z.json")] == ["1", "2", "3"]
    assert [path.name[0] for path in family(found, folder / "5Z.json")] == ["5"]
    assert [path.name[0] for path in family(found, folder / "6Z.json")] == ["6"]
    assert found[1].tokens == 2 and found[1].name == "6Z"


@pytest.mark.asyncio
async def test_what_is_hostile_or_torn_in_the_list_is_shown_safely(steer, sessions_root):
    folder = sessions_root / "alpha" / "steering"
    (folder / "1Z.json").write_text("{")
    recipes = folder / "recipes"
    recipes.mkdir()
    (recipes / "evil.toml").write_text('prompt = "\\u001b]52;c;aGk=\\u0007"\n')
    (recipes / "torn.toml").write_text("prompt = ")
    app = steer()
    async with app.run_test(size=(80, 24)) as pilot:
        page = app.screen
        page.edits.table.focus()
        await pilot.pause()
        table = await chosen(pilot)
        await until(lambda: table.count == 3)
        await pilot.pause()
        drawn = "".join(s.text for line in app.screen._compositor.render_strips(page.size) for s in line)
        assert "\x1b" not in drawn and "evil" in drawn and "torn" in drawn
        await pilot.press("down", "down", "enter")
        await until(lambda: app.screen is page and "cannot be read" in note(page))
        table = await chosen(pilot, "torn")
        await pilot.press("enter")
        await until(lambda: app.screen is page and "TOML" in note(page))


@pytest.mark.asyncio
async def test_nothing_saved_is_told(steer):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        app.screen.edits.table.focus()
        await pilot.pause()
        await pilot.press("W")
        await until(lambda: "nothing is saved yet" in note(app.screen))


@pytest.mark.asyncio
async def test_a_text_that_grew_keeps_its_file_and_one_that_was_rewound_gets_another(steer):
    app = steer()
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await generated(pilot, page)

        def files():
            return sorted(page.steered.steering_dir.glob("*.json"))

        await until(lambda: len(files()) == 1)
        await until(lambda: Transcript.load(files()[0]).summary().perplexity)
        whole = files()[0].read_text()
        page.texts.pane("steered").focus()
        await pilot.press("backspace", "full_stop")
        await until(lambda: len(files()) == 2)
        await pilot.press("backspace", "backspace", "full_stop")
        await until(lambda: len(files()) == 3)
        assert files()[0].read_text() == whole
        before = len(Transcript.load(files()[2]).reports)
        await pilot.press("full_stop")
        await until(lambda: len(Transcript.load(files()[2]).reports) == before + 1)
        assert len(files()) == 3

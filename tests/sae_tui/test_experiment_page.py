"""An experiment on its screen: the form, what is found while it comes, and back to Steer with a strength."""

import shlex

import pytest

from core.errors import RunError
from core.experiments import kept
from core.experiments.requests import DoseRequest, EffectRequest, PairRequest
from core.session import Session
from core.steering.interventions import from_command
from core.steering.request import Sampling
from sae_tui.cli import parser
from sae_tui.screens.experiment import ExperimentPage
from sae_tui.screens.runs import RunsPage
from sae_tui.screens.steer import SteerPage
from sae_tui.widgets.bars import Line
from sae_tui.widgets.chart import Chart
from sae_tui.widgets.paged_table import PagedTable
from tests.sae_tui.waiting import until

from .fake_engine import FakeEngine, paced


@pytest.fixture
def made(monkeypatch):
    """The engines that were made, whoever wanted them; the first may be put here ahead."""
    found = []

    def make(session):
        found.append(found.pop() if found and not found[-1].asked else FakeEngine())
        return found[-1]

    for page in (ExperimentPage, SteerPage):
        monkeypatch.setattr(page, "make_engine", staticmethod(make))
    return found


async def opened(app, pilot, *lines, prompt=""):
    """The experiment as Steer pushes it, over Runs, with these interventions, the last at the cursor."""
    await until(lambda: isinstance(app.screen, RunsPage) and app.screen.is_mounted)
    edits = tuple(from_command(line) for line in lines)
    page = ExperimentPage(edits, edits[-1] if edits else None, prompt)
    app.push_screen(page)
    await until(lambda: app.screen is page and page.focused is not None)
    return page


def put(page, **values):
    page._form.put(values)
    page._sift()


def told(page):
    return "\n".join(line.plain for line in page.query_one("#lines").lines)


def status(page):
    return page.query_one("#status", Line).content.plain


async def measured(pilot, page):
    await pilot.press("ctrl+s")
    await until(lambda: page._outcome is not None and page._outcome.whole and page._question is None, status(page))


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [(160, 45), (120, 30), (80, 24)])
async def test_a_dose_is_measured_and_its_best_strength_goes_to_steer(sessions_root, workbench, made, size):
    app = workbench(sessions_root, mode="runs", session="alpha")
    async with app.run_test(size=size) as pilot:
        page = await opened(app, pilot, "/add 3 2max", "/ablate 5")
        assert page._form.value("features") == "5" and page._form.value("edit") == "ablate"
        put(page, features="3", prompt="Once", strengths="1 2 3 4", target=" upon")
        await measured(pilot, page)
        [request] = [asked for asked in made[0].asked if isinstance(asked, DoseRequest)]
        assert request.prompt == "Once" and request.strengths == (1, 2, 3, 4) and request.target == " upon"
        assert request.unit == "max" and request.kind == "add" and len(request.seeds) == 5
        await until(lambda: "of use from 2 to 3 max, best 3" in told(page))
        assert "always on" in told(page) and "\x1b" not in told(page)
        target = page.query_one("#target", Chart).plot
        assert [series.label for series in target.series] == ["target", "of use"]
        assert list(target.series[0].xs) == [0, 1, 2, 3, 4] and list(target.series[1].xs) == [2, 3]
        damage = page.query_one("#damage", Chart)
        assert damage.plot.name.startswith("KL") and damage.plot.level == 1.0
        table = page.query_one("#table", PagedTable)
        assert table.count == 5
        await until(lambda: page.query_one("#status", Line).content.plain.startswith("kept: "))
        [path] = sorted(Session(sessions_root / "alpha").experiments_dir.iterdir())
        assert kept.load(path) == page._outcome
        page.to("table")
        await until(lambda: page.focused is table)
        await pilot.press("m")
        await until(lambda: damage.plot.name.startswith("perplexity"))
        await pilot.press("j", "j")
        await until(lambda: "text at 2" in told(page))
        await pilot.press("a")
        await until(lambda: app.screen is not page)
        assert app.to_steer == ["/add 3 3max"]


@pytest.mark.asyncio
async def test_tokens_are_chosen_as_the_form_says_and_the_command_line_asks_for_the_same(
    sessions_root, workbench, made
):
    app = workbench(sessions_root, mode="runs", session="alpha")
    async with app.run_test(size=(80, 24)) as pilot:
        page = await opened(app, pilot, "/add 3 2max")
        put(page, prompt="Once", strengths="1", top_k="40", top_p="0.9", min_p="0.05", repetition_penalty="1.2")
        line = shlex.split(page.command_line())
        parsed = parser().parse_args(line[1:])
        await measured(pilot, page)
        [request] = [asked for asked in made[0].asked if isinstance(asked, DoseRequest)]
        wanted = Sampling(top_k=40, top_p=0.9, min_p=0.05, repetition_penalty=1.2)
        assert request.sampling == wanted
        assert (parsed.top_k, parsed.top_p, parsed.min_p, parsed.repetition_penalty) == (40, 0.9, 0.05, 1.2)
        assert parsed.temperature is None, "what is as it begins is not told"
        put(page, top_k="x")
        await pilot.press("ctrl+s")
        await until(lambda: "'x' is no top-k" in status(page))
        put(page, kind="effect")
        assert not any("top-k" in row.entry.label for row in page._form.shown())


@pytest.mark.asyncio
async def test_the_row_at_the_cursor_goes_to_steer_with_enter(sessions_root, workbench, made):
    app = workbench(sessions_root, mode="runs", session="alpha")
    async with app.run_test(size=(160, 45)) as pilot:
        page = await opened(app, pilot, "/scale 3 2")
        put(page, prompt="Once", strengths="2 4")
        await measured(pilot, page)
        page.to("table")
        await until(lambda: page.focused is page.query_one("#table"))
        await pilot.press("a")
        await until(lambda: "no strength is of use" in status(page))
        await pilot.press("G", "enter")
        await until(lambda: app.screen is not page)
        assert app.to_steer == ["/scale 3 4"]


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [(160, 45), (80, 24)])
async def test_pair_and_effect_show_intervals_and_tokens(sessions_root, workbench, made, size):
    app = workbench(sessions_root, mode="runs", session="alpha")
    async with app.run_test(size=size) as pilot:
        page = await opened(app, pilot, "/ablate 3")
        put(page, kind="effect")
        await measured(pilot, page)
        [request] = [asked for asked in made[0].asked if isinstance(asked, EffectRequest)]
        assert request.edit.to_command() == "/ablate 3" and request.texts == ()
        for words in ("where it fires", "control", "difference", "├", "●", "+0.250", "␣London", "↵ −0.750"):
            assert words in told(page), words
        assert "\x1b" not in told(page) and not page.query_one("#charts").display
        put(page, kind="pair", features="3 5", texts="one text")
        await measured(pilot, page)
        [request] = [asked for asked in made[0].asked if isinstance(asked, PairRequest)]
        assert (request.one.feature, request.other.feature) == (3, 5) and request.texts == ("one text",)
        for words in ("cosine -0.125", "Jaccard 0.154", "PMI +3.69", "beyond is 25.0%", "nowhere in these texts"):
            assert words in told(page), words


@pytest.mark.asyncio
async def test_esc_stops_and_keeps_what_is_whole_and_then_goes_back(sessions_root, workbench, made):
    app = workbench(sessions_root, mode="runs", session="alpha")
    made.append(paced(0.4))
    async with app.run_test(size=(160, 45)) as pilot:
        page = await opened(app, pilot, "/ablate 3")
        put(page, kind="effect")
        await pilot.press("ctrl+s")
        await until(lambda: page._outcome is not None)
        await pilot.press("escape")
        await until(lambda: page._question is None and "as far as it is whole" in status(page), status(page))
        assert "35 of 70 texts are whole" in told(page)
        [path] = Session(sessions_root / "alpha").experiments_dir.iterdir()
        assert not kept.load(path).whole
        await pilot.press("escape")
        await until(lambda: app.screen is not page)


@pytest.mark.asyncio
async def test_what_cannot_be_asked_and_what_fails_is_said_and_nothing_typed_is_lost(sessions_root, workbench, made):
    app = workbench(sessions_root, mode="runs", session="alpha")
    async with app.run_test(size=(160, 45)) as pilot:
        page = await opened(app, pilot, "/ablate 3")
        put(page, features="x")
        await pilot.press("ctrl+s")
        await until(lambda: "'x' are no features" in status(page))
        put(page, features="3")
        await pilot.press("ctrl+s")
        await until(lambda: "a prompt first" in status(page))
        put(page, kind="pair")
        await pilot.press("ctrl+s")
        await until(lambda: "pair takes 2 features" in status(page))
        put(page, kind="effect", texts="missing.txt")
        await pilot.press("ctrl+s")
        await until(lambda: "missing.txt cannot be read" in status(page))
        put(page, texts="")
        engine = FakeEngine()
        engine.error = RunError("the model's output is no longer a number")
        made.append(engine)
        await pilot.press("ctrl+s")
        await until(lambda: "no longer a number" in status(page))
        assert page._form.value("features") == "3" and page._question is None


@pytest.mark.asyncio
async def test_the_form_is_there_again_the_next_time(sessions_root, workbench, made):
    app = workbench(sessions_root, mode="runs", session="alpha")
    async with app.run_test(size=(160, 45)) as pilot:
        page = await opened(app, pilot, "/ablate 3")
        put(page, kind="effect", token=" London")
        app.remember()
        await pilot.press("escape")
        await until(lambda: app.screen is not page)
        again = await opened(app, pilot, "/ablate 3")
        assert again._form.value("token") == " London" and again._form.value("kind") == "effect"


@pytest.mark.asyncio
async def test_steer_opens_it_with_what_it_has_and_takes_the_strength(sessions_root, workbench, made):
    app = workbench(sessions_root, mode="steer", session="alpha")
    async with app.run_test(size=(160, 45)) as pilot:
        await until(lambda: isinstance(app.screen, SteerPage) and app.screen.is_mounted)
        steer = app.screen
        steer.prompt.text = "Once"
        steer.edits.do("/add 3 2max")
        steer.edits.table.focus()
        await pilot.press("E")
        await until(lambda: isinstance(app.screen, ExperimentPage) and app.screen.focused is not None)
        page = app.screen
        assert (page._form.value("prompt"), page._form.value("features")) == ("Once", "3")
        assert page._form.value("dosed") == "add"
        await measured(pilot, page)
        page.to("table")
        await until(lambda: page.focused is page.query_one("#table"))
        await pilot.press("a")
        await until(lambda: app.screen is steer)
        await until(lambda: [edit.to_command() for edit in steer.edits.plan.interventions] == ["/add 3 3max"])

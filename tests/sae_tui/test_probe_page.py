"""The probe: what is kept is shown, cells and lists open features, and it runs anew, till it is stopped."""

import shutil
from dataclasses import replace

import pytest

from core.analysis import probed
from core.analysis.given import Given
from core.analysis.probed import Category, Frequent, Heat, Peak, Probed, Selective, Specialist
from core.errors import RunError
from core.session import Session
from sae_tui.screens.asked import Asks
from sae_tui.screens.probe import ProbePage
from sae_tui.screens.runs import RunsPage
from sae_tui.widgets import probed as drawn
from sae_tui.widgets.heatmap import HeatMap
from tests.sae_tui.asked import FakeVerbs
from tests.sae_tui.conftest import HOSTILE
from tests.sae_tui.waiting import until

WIDE, SMALL = (160, 45), (80, 24)


def probe(name: str = "standard", *, texts: int = 24) -> Probed:
    """Features 3, 5 and 7 on texts of two categories and of none, named as badly as can be."""
    third = texts // 3
    names = (HOSTILE[0], HOSTILE[3], "")
    given = tuple(Given(HOSTILE[i % 10] * 9, names[i // third], HOSTILE[-1 - i % 10]) for i in range(texts))
    best = Specialist(feature=5, score=3, inside=3, outside=0, max=8.0, threshold=4.0)
    common = Frequent(feature=3, n=8, share=1.0, max=9.0)
    categories = tuple(
        Category(name=n, texts=third, specialists=k, best=(best,) * k, common=(common,), mean=2.0 - k, active=5.5)
        for k, n in enumerate(names[:2])
    )
    values = tuple(tuple(float((i * f) % 9) for i in range(texts)) for f in (3, 5, 7))
    return Probed(
        session="alpha", name=name, pool="max", rule="above 0.5 × p99", texts=given, d_sae=12, active=9,
        strongest=Peak(feature=7, value=8.5, text=2, token=HOSTILE[4]),
        frequent=(Frequent(feature=3, n=20, share=20 / 24, max=9.0), Frequent(feature=5, n=3, share=0.125, max=8.0)),
        selective=(Selective(feature=7, strong=1, max=8.5, text=2, threshold=4.2),), specialists=1, specialised=1,
        entropy=0.4, categories=categories, top=tuple(((3, 9.0), (5, 1.0)) for _ in given),
        heat=Heat(features=(3, 5, 7), texts=tuple(range(texts)), values=values, means=((1.0, 2.0),) * 3),
    )  # fmt: skip


def keep(root, name: str = "standard", **changes) -> None:
    session = Session(root / "alpha")
    found = replace(probe(name), **changes)
    probed.keep(probed.path_of(session, found.texts, name, found.rule), found)


@pytest.fixture
def verbs(monkeypatch):
    made = FakeVerbs({"probe": {}})
    monkeypatch.setattr(Asks, "make_verb", staticmethod(made))
    return made


def text(page, pane) -> str:
    found = page.query_one(f"#{pane}")
    return "\n".join(found.render_line(y).text.rstrip() for y in range(found.size.height))


def title(page, pane) -> str:
    return str(page.query_one(f"#{pane}").border_title)


async def opened(pilot):
    app = pilot.app
    await until(lambda: app.screen._rows and app.screen.at, "the list is empty")
    await pilot.press("p")
    await until(lambda: isinstance(app.screen, ProbePage) and app.screen._kept is not None, "it did not open")
    return app.screen


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [WIDE, SMALL])
async def test_what_is_kept_is_shown_and_every_pane_can_be_reached(sessions_root, workbench, verbs, size):
    keep(sessions_root)
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=size) as pilot:
        page = await opened(pilot)
        await until(lambda: "9 of 12 fire" in page.query_one("#head").content.plain)
        assert "7" in page.query_one("#head").content.plain
        await until(lambda: ("always on" if size == WIDE else "always") in text(page, "heat"))  # a label came
        lines = text(page, "heat").splitlines()
        assert any(shade in lines[1] for shade in "░▒▓█") and "[bold]" in lines[0]
        await pilot.press("l", "l", "j")
        await until(lambda: page.query_one("#cell").lines[0].plain.startswith("5 dates"))
        heat = page.query_one(HeatMap)
        assert (heat.row, heat.column) == (1, 2) and "on text 3" in page.query_one("#cell").lines[0].plain
        await pilot.press("full_stop")
        await until(lambda: heat.column == 8)
        await pilot.press("full_stop", "G")
        await until(lambda: (heat.row, heat.column) == (2, 16))
        await pilot.press("comma")
        await until(lambda: heat.column == 8)
        await pilot.press("tab")
        await until(lambda: page.here == "list" and "most frequent" in title(page, "list"))
        await until(lambda: "20" in text(page, "list"))
        await pilot.press("v")
        await until(lambda: "most selective" in title(page, "list") and "1 of 24" in text(page, "list"))
        await pilot.press("v")
        await until(lambda: "specialists 1, in 1 of 2 categories" in title(page, "list"))
        await until(lambda: "3/8" in text(page, "list") and "0/16" in text(page, "list"))
        await pilot.press("v")
        await until(lambda: "strongest on each text" in title(page, "list"))
        await pilot.press("v", "tab")
        await until(lambda: page.here == "bars" and "fire" in text(page, "bars"))
        assert "0.40 nats" in title(page, "bars")
        for pane in (*page.PANES, "cell"):
            assert text(page, pane).replace("\n", "").isprintable()
        if size == SMALL:
            assert [p for p in page.PANES if page.query_one(f"#{p}").display] == ["bars"]
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, RunsPage))


@pytest.mark.asyncio
@pytest.mark.parametrize(("size", "wide"), [(WIDE, 11), (SMALL, 10)])
async def test_categories_of_few_texts_have_the_room_that_their_names_take(sessions_root, workbench, verbs, size, wide):
    few = probe(texts=6)
    names = ("encyclopedia articles", "questions")
    categories = tuple(replace(one, name=name) for one, name in zip(few.categories, names, strict=True))
    keep(sessions_root, texts=few.texts, heat=few.heat, top=few.top, categories=categories)
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=size) as pilot:
        page = await opened(pilot)
        await until(lambda: "│" in text(page, "heat"))
        header, line = text(page, "heat").splitlines()[:2]
        assert ("encyclopedia articles" if size == WIDE else "encyclopedia articl…") in header and "questions" in header
        parted = header.index("│"), header.index("│", header.index("questions") - 1)
        assert parted[1] - parted[0] == 1 + 2 * wide and all(line[place] == "│" for place in parted)


@pytest.mark.asyncio
async def test_names_of_categories_take_the_room_there_is_and_the_shades_and_means_are_told(
    sessions_root, workbench, verbs
):
    many = probe(texts=72)
    names = ("mathematical notation, written", "social media and emoji")
    categories = tuple(replace(one, name=name) for one, name in zip(many.categories, names, strict=True))
    keep(sessions_root, texts=many.texts, heat=many.heat, top=many.top, categories=categories)
    app = workbench(sessions_root, session="beta")
    async with app.run_test(size=WIDE) as pilot:
        await until(lambda: app.screen._rows and app.screen.at)
        app.screen._table.move_to([one.name for one in app.screen._rows].index("alpha"))
        page = await opened(pilot)
        assert app.session.name == "alpha"  # which the title bar names
        await until(lambda: "│" in text(page, "heat"))
        header, *lines = text(page, "heat").splitlines()
        assert all(name in header for name in names) and "░▒▓█ quarters of 8.00" in header
        marks = [i for i, c in enumerate(header) if c == "│"]
        assert all(line[i] == "│" for line in lines[:3] for i in marks) and marks[1] - marks[0] == 1 + len(names[0])
        await until(lambda: len(page.query_one("#cell").lines) > 1)
        assert page.query_one("#cell").lines[1].plain == f"mean {names[0]} 1.00 · {names[1]} 2.00"
        head = page.query_one("#head").content.plain
        assert head.startswith("alpha · 72 texts") and head.endswith("strong: above 0.5 × p99")
        assert title(page, "heat") == "heat map: the 3 most frequent features"


@pytest.mark.asyncio
async def test_enter_opens_the_feature_of_the_cell_or_of_the_row(sessions_root, workbench, verbs, monkeypatch):
    keep(sessions_root)
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(pilot)
        went = []
        monkeypatch.setattr(app, "open_feature", went.append)
        await until(lambda: page.query_one("#heat").has_focus and text(page, "heat").strip())
        await pilot.press("j", "enter")
        await until(lambda: went == [5])
        assert page.copied() == ("feature 5", "5")
        await pilot.press("v", "v")
        await until(lambda: page.query_one("#list").has_focus and "category" in text(page, "list"))
        await pilot.press("enter")
        await until(lambda: went == [5, 5])
        await pilot.press("v", "enter")
        await until(lambda: went == [5, 5, 3])
        assert page.copied() == ("feature 3", "3")


@pytest.mark.asyncio
async def test_no_specialist_and_no_category_are_said_plainly(sessions_root, workbench, verbs):
    keep(sessions_root, specialists=0)
    assert drawn.title(replace(probe(), specialists=0), "specialists") == "specialists: none"
    assert "not of two categories" in drawn.title(replace(probe(), specialists=None), "specialists")
    assert "no text has a category" in drawn.bars(replace(probe(), categories=()), 60, ascii_only=True)[0].plain
    nothing = replace(probe(), strongest=None, heat=Heat(features=(), texts=(), values=(), means=()))
    assert "no feature fires" in drawn.cell(nothing, 0, 0, lambda f: None, 60, 3)[0].plain


@pytest.mark.asyncio
async def test_the_standard_probe_and_ones_own_file_are_run_and_what_runs_can_be_stopped(
    sessions_root, workbench, verbs, tmp_path
):
    file = tmp_path / "own texts.txt"
    file.write_text("one\n")
    verbs.done = lambda words: keep(sessions_root, "own texts.txt" if "--texts" in words else "standard")
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=SMALL) as pilot:
        page = await opened(pilot)
        head = page.query_one("#head")
        await until(lambda: "nothing was probed yet" in head.content.plain)
        verbs.waits.clear()
        await pilot.press("r")
        await until(lambda: "esc stops" in head.content.plain)
        page.clock()
        assert head.content.plain.isprintable()
        await pilot.press("q")
        await until(lambda: any("esc stops it" in one.message for one in app._notifications))
        assert app.screen is page and not verbs.stopped
        await pilot.press("escape")
        await until(lambda: "nothing was probed yet" in head.content.plain)
        assert verbs.stopped == [["probe", "alpha"]] and app.screen is page
        verbs.waits.set()
        await pilot.press("r")
        await until(lambda: "(standard)" in head.content.plain)
        await pilot.press("f")
        await pilot.pause()
        await pilot.press(*"/no")
        await until(lambda: "no such file" in str(app.screen.query_one("#wrong").render()))
        app.screen.query_one("Input").value = str(file)
        await pilot.press("enter")
        await until(lambda: app.screen is page and "1 of 2 · 24 texts (own texts.txt)" in head.content.plain)
        assert verbs.asked[-1] == ["probe", "alpha", "--texts", str(file)]
        await pilot.press("right_square_bracket")
        await until(lambda: "2 of 2 · 24 texts (standard)" in head.content.plain)
        await pilot.press("left_square_bracket")
        await until(lambda: "own texts" in head.content.plain)
        assert page.command_line().endswith("probe alpha --texts 'own texts.txt'")
        verbs.answers["probe"] = RunError("it is no text " + HOSTILE[3])
        await pilot.press("r")
        await until(lambda: "it is no text" in head.content.plain)
        assert head.content.plain.isprintable()


@pytest.mark.asyncio
async def test_a_session_without_features_has_no_probe_and_torn_results_are_left_out(sessions_root, workbench, verbs):
    keep(sessions_root)
    folder = Session(sessions_root / "alpha").probes_dir
    (folder / "torn.json").write_text('{"session": "al')
    shutil.copy(folder / "torn.json", folder / "other.json")
    app = workbench(sessions_root, session="alpha", graph="ascii")
    async with app.run_test(size=SMALL) as pilot:
        page = await opened(pilot)
        assert len(page._kept) == 1
        await until(lambda: any(shade in text(page, "heat") for shade in ".:*#"))
        await pilot.press("escape", "j")
        await until(lambda: app.screen.at.name == "beta")
        await pilot.press("p", "u")
        await pilot.pause()
        assert isinstance(app.screen, RunsPage)

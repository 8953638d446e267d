"""Features of SAEs compared, and studies: tables, matches, the way of a feature, clouds, verbs that are stopped."""

import re
import threading
import time

import psutil
import pytest

from core.errors import RunError
from core.session import Session
from sae_tui.screens import study
from sae_tui.screens.alike import AlikePage
from sae_tui.screens.asked import Asks, Verb
from sae_tui.screens.compare import ComparePage
from sae_tui.screens.runs import RunsPage
from sae_tui.screens.study import StudyPage
from sae_tui.widgets import alike, cloud
from sae_tui.widgets.chart import Chart
from sae_tui.widgets.multiples import Multiples
from sae_tui.widgets.rows import Rows
from tests.sae_tui.asked import FakeVerbs, compared, studied, studied_of_images
from tests.sae_tui.conftest import HOSTILE
from tests.sae_tui.waiting import until

WIDE, SMALL = (160, 45), (80, 24)
NAMES = ("alpha", "beta", "gamma")


@pytest.fixture
def root(sessions_root):
    """Three sessions that were analysed, as far as the list knows."""
    for name in NAMES[1:]:
        Session(sessions_root / name).database_path.write_bytes(b"")
    return sessions_root


@pytest.fixture
def verbs(monkeypatch):
    answers = {
        "compare alpha beta gamma --by firing": compared(NAMES, HOSTILE, by="firing", pairs=2),
        "compare alpha beta gamma --by documents": compared(NAMES, HOSTILE, by="documents"),
        "compare alpha beta gamma": compared(NAMES, HOSTILE),
        "compare alpha beta": RunError(f"they have no text in common {HOSTILE[3]}"),
        **studied(),
    }
    made = FakeVerbs(answers)
    monkeypatch.setattr(Asks, "make_verb", staticmethod(made))
    return made


def text(page, pane) -> str:
    found = page.query_one(f"#{pane}")
    lines = found.lines if isinstance(found, Rows) else [found.render_line(y) for y in range(found.size.height)]
    return "\n".join(line.plain if isinstance(found, Rows) else line.text.rstrip() for line in lines)


def title(page, pane) -> str:
    return str(page.query_one(f"#{pane}").border_title)


async def opened(pilot, *, marked=NAMES):
    """Mark sessions, or none for all, and press `m` on Runs."""
    app = pilot.app
    await until(lambda: app.screen._rows, "the list is empty")
    app.marked = set(marked)
    await pilot.press("m")
    await until(lambda: isinstance(app.screen, AlikePage), "it did not open")
    return app.screen


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [WIDE, SMALL])
async def test_saes_stand_beside_each_other_with_their_matches_and_every_pane_can_be_reached(
    root, workbench, verbs, size
):
    app = workbench(root)
    async with app.run_test(size=size) as pilot:
        page = await opened(pilot)
        await until(lambda: page._match)
        await until(lambda: page.here == "figures" and "token entropy" in text(page, "figures"))
        shown = text(page, "figures")
        assert all(name in shown for name in ("alpha", "beta"))
        l0 = next(line for line in shown.splitlines() if "L0" in line)
        assert "3.50" in l0 and "7.00" in l0 and l0.count("█") > 8  # the second twice as long as the first
        await pilot.press("tab")
        await until(lambda: page.here == "matches" and page.query_one("#matches").has_focus)
        await until(lambda: "alpha → beta, by cosine · 1 of 2" in title(page, "matches"))
        await until(lambda: "4 of 12 of alpha have their like in beta" in text(page, "matches"))
        assert "5 are each other's best" in text(page, "matches") and "█" in text(page, "matches")
        await pilot.press("tab")
        await until(lambda: page.here == "pairs" and "0.95" in text(page, "pairs"))
        assert "each other's best 5, the first 4" in title(page, "pairs")
        if size == SMALL:
            assert not page.query_one("#matches").display and not page.query_one("#figures").display
            assert "·features·" in str(page.query_one("#pairs").border_subtitle)
        for pane in page.PANES:
            assert text(page, pane).replace("\n", "").isprintable()
        await pilot.press("v")
        await until(lambda: "only in alpha 2, the first 1" in title(page, "pairs"))
        await pilot.press("v")
        await until(lambda: "only in beta 1" in title(page, "pairs"))
        await pilot.press("v", "right_square_bracket")
        await until(lambda: "beta → gamma" in title(page, "matches"))
        await pilot.press("left_square_bracket", "escape")
        await until(lambda: isinstance(app.screen, RunsPage))


@pytest.mark.asyncio
async def test_a_feature_is_followed_from_one_sae_to_the_next(root, workbench, verbs):
    app = workbench(root)
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(pilot)
        await until(lambda: page._match)
        page.to("pairs")
        await until(lambda: page.query_one("#pairs").has_focus)
        await pilot.press("f")
        await until(lambda: "feature 0 from one to the next" in title(page, "matches"))
        assert [line.split()[0] for line in text(page, "matches").splitlines()[::2]] == [*NAMES]
        assert "0.80" in text(page, "matches") and "━" in text(page, "matches")
        await pilot.press("j")
        await until(lambda: "feature 1 from" in title(page, "matches"))
        await pilot.press("escape")
        await until(lambda: "by cosine" in title(page, "matches"))


@pytest.mark.asyncio
async def test_each_way_of_matching_is_asked_once_and_its_answer_is_kept(root, workbench, verbs):
    app = workbench(root)
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(pilot)
        await until(lambda: page._match)
        await pilot.press("b")
        await until(lambda: "by correlation" in title(page, "matches"))
        assert "on 900 tokens" in text(page, "matches")
        await pilot.press("b")
        await until(lambda: "by documents' r" in title(page, "matches"))
        assert "on 40 documents" in text(page, "matches") and "only 40 " in text(page, "matches")
        await pilot.press("b")
        await until(lambda: "by cosine" in title(page, "matches"))
        await pilot.press("b")
        await until(lambda: "by correlation" in title(page, "matches"))
        assert len(verbs.asked) == 3
        assert page.command_line().endswith("compare alpha beta gamma --by firing")
        assert page.copied() == ("feature 0", "0")
        await pilot.press("R")
        await until(lambda: len(verbs.asked) == 4)


def beaten(name, fvu, **more):
    """What `compare NAME --baselines` answers."""
    rows = [("sae", fvu), ("neurons", 2 * fvu), ("pca", 3 * fvu), ("random", 4 * fvu)]
    figures = [
        {"name": one, "fvu": value, "l0": 3.5, "token_entropy": 1.25, "recon_acc": None, **more} for one, value in rows
    ]
    return {"sessions": [], "matches": [], "baselines": {name: figures}}


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [WIDE, SMALL])
async def test_what_each_has_to_beat_is_measured_by_a_key_one_after_another_and_told_as_it_comes(
    root, workbench, verbs, size, monkeypatch
):
    verbs.answers |= {
        "compare alpha --b": beaten("alpha", 0.1), "compare beta --b": RunError(f"no text {HOSTILE[3]}"),
        "compare gamma --b": beaten("gamma", 0.2, recon_acc=0.9),
    }  # fmt: skip
    app = workbench(root)
    async with app.run_test(size=size) as pilot:
        page = await opened(pilot)
        await until(lambda: page._match and page.here == "figures")
        verbs.waits.clear()
        await pilot.press("n")
        await until(lambda: "at its L0" in title(page, "figures") and "esc stops" in title(page, "figures"))
        verbs.waits.set()
        await until(lambda: len(page._beaten) == 3 and "esc stops" not in title(page, "figures"))
        assert [words[1] for words in verbs.asked[1:]] == ["alpha", "beta", "gamma"]
        await until(lambda: "random directions" in text(page, "figures"))
        lines = text(page, "figures").splitlines()[1:]
        said = [[words for words in line.replace("▸", "").replace("█", " ").split() if words != "│"] for line in lines]
        assert [words[0] for words in said[:9]] == [
            "alpha", "raw", "principal", "random", "beta", "gamma", "raw", "principal", "random"
        ]  # fmt: skip
        assert "0.100" in lines[0] and "0.400" in lines[3] and lines[3].count("█") > lines[0].count("█")
        assert "0.800" in lines[8] and any("no text" in note.message for note in app._notifications)
        assert page.command_line().endswith("compare alpha beta gamma --by direction --baselines")
        modes = []
        monkeypatch.setattr(app, "open_session", lambda session, mode: modes.append(session.name))
        await pilot.press("j", "j", "j", "j", "j", "j", "enter")
        await until(lambda: modes == ["gamma"])
        await pilot.press("escape")
        await until(lambda: "token entropy" in text(page, "figures") and "random" not in text(page, "figures"))
        asked = len(verbs.asked)
        await pilot.press("n")
        await until(lambda: "random directions" in text(page, "figures"))
        assert len(verbs.asked) == asked and app.screen is page  # they are kept


@pytest.mark.asyncio
async def test_enter_opens_the_feature_of_the_session_at_the_cursor(root, workbench, verbs, monkeypatch):
    app = workbench(root)
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(pilot)
        await until(lambda: page._match)
        went = []
        monkeypatch.setattr(app, "open_feature", lambda f: went.append((app.session.name, f)))
        page.to("pairs")
        await until(lambda: page.query_one("#pairs").has_focus)
        await pilot.press("j", "enter", "l", "l", "enter")
        await until(lambda: went == [("alpha", 1), ("beta", 2)], str(went))
        await pilot.press("v", "v", "enter")
        await until(lambda: went[2:] == [("beta", 9)], str(went))
        modes = []
        monkeypatch.setattr(app, "open_session", lambda session, mode: modes.append((session.name, mode)))
        page.to("figures")
        await until(lambda: page.query_one("#figures").has_focus)
        await pilot.press("l", "l", "enter")
        await until(lambda: modes == [("beta", "features")], str(modes))


@pytest.mark.asyncio
async def test_what_runs_is_told_stopped_by_esc_and_when_the_screen_is_left(root, workbench, verbs):
    verbs.waits.clear()
    app = workbench(root)
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(pilot)
        await until(lambda: "esc stops" in text(page, "matches"))
        page.clock()
        assert "\x1b" not in text(page, "matches")
        await pilot.press("escape")
        await until(lambda: "R asks again" in text(page, "matches"))
        assert len(verbs.stopped) == 1 and app.screen is page
        await pilot.press("R")
        await until(lambda: page.asking)
        await pilot.press("q")
        await until(lambda: any("esc stops it" in n.message for n in app._notifications))
        assert len(verbs.stopped) == 1 and app.screen is page
        page.dismiss()
        await until(lambda: len(verbs.stopped) == 2)
        verbs.waits.set()
        await pilot.press("d")
        await until(lambda: isinstance(app.screen, ComparePage) and app.screen._runs)
        await pilot.press("m")
        await until(lambda: isinstance(app.screen, AlikePage) and app.screen._match)


@pytest.mark.asyncio
async def test_where_none_is_marked_all_that_are_listed_and_were_analysed_are_matched(root, workbench, verbs):
    app = workbench(root)
    async with app.run_test(size=SMALL) as pilot:
        await opened(pilot, marked=())
        await until(lambda: verbs.asked and verbs.asked[-1][:4] == ["compare", *NAMES])


@pytest.mark.asyncio
async def test_what_cannot_be_compared_is_told(root, workbench, verbs):
    app = workbench(root)
    async with app.run_test(size=SMALL) as pilot:
        await until(lambda: app.screen._rows)
        Session(root / "beta").database_path.unlink()
        app.tick()
        await until(lambda: not app.seen_of(Session(root / "beta")).has_features)
        app.marked = {"alpha", "beta"}
        await pilot.press("m")
        await until(lambda: any("two sessions" in n.message for n in app._notifications))
        Session(root / "beta").database_path.write_bytes(b"")
        app.tick()
        await until(lambda: app.seen_of(Session(root / "beta")).has_features)
        page = await opened(pilot, marked=("alpha", "beta"))
        await until(lambda: "no text in common" in text(page, "matches"))
        assert text(page, "matches").replace("\n", "").isprintable()
        await pilot.press("b")
        await until(lambda: verbs.asked[-1][:5] == ["compare", "alpha", "beta", "--by", "firing"])


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [WIDE, SMALL])
async def test_studies_draw_clouds_and_the_training(root, workbench, verbs, size):
    app = workbench(root, session="alpha")
    async with app.run_test(size=size) as pilot:
        await until(lambda: app.screen._rows and app.screen.at)
        await pilot.press("u")
        await until(lambda: isinstance(app.screen, StudyPage) and len(app.screen._found) == 2)
        page = app.screen
        await until(lambda: "ρ +0.38 95% +0.35 to +0.41 · 64 features" in text(page, "token_entropy"))
        assert "density, log scale" in text(page, "token_entropy")
        assert [verb[1] for verb in verbs.asked] == ["frequency", "emergence"]
        if size == WIDE:  # each beside others: no title is cut
            for pane in study.NAMES:
                assert len(title(page, pane)) <= page.query_one(f"#{pane}").size.width - 2, pane
        visited = [page.here]
        for _ in range(7):
            await pilot.press("tab")
            await until(lambda: page.here != visited[-1] and page.query_one(f"#{page.here}").has_focus)
            visited.append(page.here)
            if size == SMALL:
                assert [pane for pane in page.PANES if page.query_one(f"#{pane}").display] == [page.here]
        assert visited == list(page.PANES)
        page.to("steps")
        await until(lambda: "11" in text(page, "steps") and "stability 0.63" in title(page, "steps"))
        assert [series.ys for series in page.query_one("#changes", Chart).plot.series] == [[4.0, 0.0], [1.0, 1.0]]
        assert "A born, B died" in title(page, "changes") and "of alpha" in title(page, "features")
        assert app.session.name == "alpha" and "study emergence alpha" in page.command_line()
        assert "nothing to compare" in text(page, "specialist_score")
        assert "halves agree .987" in title(page, "token_entropy")
        page.to("features")
        await until(lambda: 'feature 7 · "␛[31m" · strongest · since step 1' in text(page, "features"))
        assert "▁▅█   1.00% to  3.00%  feature 7" in text(page, "features")
        assert "feature 9 · fires on ␣the · came late · since step 50" in text(page, "features")
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, RunsPage))


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [WIDE, SMALL])
async def test_a_study_of_images_shows_a_picture_for_each_snapshot(root, workbench, verbs, size):
    verbs.answers |= studied_of_images()
    path = Session(root / "alpha").config_path
    path.write_text(re.sub(r'(?m)^name = ".*"', 'name = "mnist-mlp"', path.read_text(), count=1))
    app = workbench(root, session="alpha")
    async with app.run_test(size=size) as pilot:
        await until(lambda: app.screen._rows)
        await pilot.press("g", "u")
        await until(lambda: isinstance(app.screen, StudyPage) and len(app.screen._found) == 2)
        page = app.screen
        assert "token_entropy" not in page.PANES and not page.query("#token_entropy")
        await until(lambda: "density and label entropy" in title(page, "category_entropy"))
        await pilot.press("shift+tab")
        await until(lambda: page.here == "features" and page.query_one(Multiples).has_focus)
        shown = page.query_one(Multiples)
        await until(lambda: "feature 7 · fires on 4 · strongest" in text(page, "features"))
        lines = text(page, "features").splitlines()
        assert "silent" in lines[1] and "50" in lines[1] and "▀" in "".join(lines)
        wide = size == WIDE
        assert ("step 50  density 2.00%" in lines[1]) == wide
        height = 2 + 2 * (14 if wide else 7) + 1
        assert len(shown._block(0)) == height
        await pilot.press("z")
        await until(lambda: page.maximized is shown and shown.size.height > 15)
        await until(lambda: shown.has_focus)
        await pilot.press("G")
        await until(lambda: "feature 9 · fires on 4 · came late" in text(page, "features"), "the last is out of view")
        opened = []
        app.open_session, app.open_feature = lambda session, mode: opened.append(mode), opened.append
        await pilot.press("enter")
        await until(lambda: opened == ["features", 9])


@pytest.mark.asyncio
async def test_a_study_of_a_training_without_snapshots_says_so(root, workbench, verbs):
    verbs.answers["study emergence"] = RunError("it took no snapshots")
    app = workbench(root, session="alpha")
    async with app.run_test(size=SMALL) as pilot:
        page = await opened(pilot)
        await until(lambda: page._match)
        await pilot.press("l", "u")
        await until(lambda: isinstance(app.screen, StudyPage) and len(app.screen._found) == 2)
        assert app.screen.query_one("#alive", Chart).plot.empty.startswith("it took no snapshots")
        app.screen.to("features")
        await until(lambda: text(app.screen, "features").startswith("it took no snapshots"))


def test_the_longest_bar_is_the_largest_and_lines_fit():
    found = compared(NAMES, HOSTILE)
    rows = dict(alike.figures(found["sessions"]))
    assert rows["L0"] == [3.5, 7.0, 10.5] and rows["dense %"] == [50, 50, 50]
    assert "FVU" not in rows and "label score" not in rows  # none of them has it
    found["sessions"][1]["figures"] = {**found["sessions"][1]["figures"], "label_score": 0.8}
    assert dict(alike.figures(found["sessions"]))["label score"] == [None, 0.8, None]
    column = alike.figure_columns(NAMES, 120, ascii_only=True)
    cells = [column[i].cell(("L0", [3.5, 7.0, 10.5])).plain.count("#") for i in (1, 2, 3)]
    assert cells[0] < cells[1] < cells[2]
    for width, height in ((120, 40), (60, 12), (30, 6), (10, 3)):
        for ascii_only in (False, True):
            lines = alike.match_lines(found["matches"][0], width, height, ascii_only=ascii_only)
            assert len(lines) <= max(4, height)
            assert all(line.plain.isprintable() for line in lines)
            way = alike.way_lines(found["matches"][0]["pairs"][0]["way"], NAMES, width, ascii_only=ascii_only)
            assert all(line.plain.isprintable() for line in way)
    lost = alike.way_lines(found["matches"][0]["only"][0]["way"], NAMES, 60, ascii_only=False)
    assert "nothing" in lost[-1].plain


@pytest.mark.parametrize("graph", ["braille", "block", "ascii"])
def test_every_feature_of_a_cloud_has_its_cell(graph):
    points = {"x": [-3, 0], "y": [0, 1], "columns": 192, "rows": 96, "cells": [[0, 0, 5], [191, 95, 1], [96, 48, 99]]}
    for width, height in ((80, 20), (24, 8), (160, 45)):
        lines = [line.plain for line in cloud.lines(points, width, height, graph)]
        assert len(lines) == height and all(len(line) <= width for line in lines)
        plane = [line[cloud.GUTTER :].ljust(width - cloud.GUTTER) for line in lines[:-2]]
        drawn = [(x, y) for y, line in enumerate(plane) for x, c in enumerate(line) if c != " "]
        columns, rows = width - cloud.GUTTER, height - 2
        assert drawn == [(columns - 1, 0), (columns // 2, (rows * 4 - 1 - 48 * rows * 4 // 96) // 4), (0, rows - 1)]
        assert graph != "ascii" or "".join(lines).isascii()
    assert "too few" in cloud.lines({**points, "cells": []}, 40, 10, graph)[0].plain


def test_a_verb_answers_fails_with_its_words_and_dies_when_it_is_stopped(root):
    answer = Verb(root, ["ls"]).answer()
    assert {row["name"] for row in answer} == {*NAMES}
    with pytest.raises(RunError, match="there is no session"):
        Verb(root, ["show", "nobody"]).answer()
    slow = Verb(root, ["compare", "alpha", "gamma"])

    def refused():
        with pytest.raises(RunError):
            slow.answer()

    thread = threading.Thread(target=refused, daemon=True)
    thread.start()
    while slow._process is None:
        time.sleep(0.01)
    pid = slow._process.pid
    slow.stop()
    thread.join(20)
    assert not thread.is_alive() and not psutil.pid_exists(pid)
    with pytest.raises(RunError):
        slow.answer()

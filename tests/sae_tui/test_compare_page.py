"""Runs compared: points, the front, the table, while members of a sweep finish."""

import json
import shutil

import pytest

from core.pareto import front
from core.session import Session
from sae_tui.screens.compare import ComparePage
from sae_tui.screens.dialogs import Reader
from sae_tui.screens.runs import RunsPage
from sae_tui.screens.study import StudyPage
from sae_tui.widgets.compared import differing, letter
from sae_tui.widgets.paged_table import PagedTable
from sae_tui.widgets.scatter import AT, Point, Scatter, drawn, span
from tests.sae_tui.conftest import HOSTILE
from tests.sae_tui.waiting import until

WIDE, SMALL = (160, 45), (80, 24)


def evaluated(root, name, **figures):
    """A member of a sweep: beta's configuration with another k, and what `evaluate` found."""
    if not (root / name).exists():
        shutil.copytree(root / "gamma", root / name)
    session = Session(root / name)
    if "k" in figures:
        text = session.config_path.read_text()
        session.config_path.write_text(text.replace("k = 32", f"k = {figures['k']}"))
    session.evaluation_path.write_text(json.dumps({"l0": figures.pop("k", 32), **figures, "tokens": {}}))


def table(app) -> list[str]:
    found = app.screen.query_one(PagedTable)
    return [found.render_line(y).text.rstrip() for y in range(found.size.height)]


def points(app) -> list[str]:
    return [line.plain for line in app.screen.query_one(Scatter).lines]


async def compare(pilot) -> ComparePage:
    """Press `d` on Runs and wait until the runs are there."""
    app = pilot.app
    await until(lambda: app.screen._rows, "the list is empty")
    await pilot.press("d")
    await until(lambda: isinstance(app.screen, ComparePage) and app.screen._runs and points(app), "nothing came")
    await until(lambda: len(points(app)) == app.screen.query_one(Scatter).size.height, "it was not drawn")
    return app.screen


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [WIDE, SMALL])
async def test_all_runs_are_points_and_lines_where_none_are_marked(sessions_root, workbench, size):
    evaluated(sessions_root, "k16", k=16, fvu=0.4, sparsity=0.993, dead_share=0.01, ce_loss_score=0.8)
    evaluated(sessions_root, "k64", k=64, fvu=0.3, ce_loss_score=0.99)
    app = workbench(sessions_root)
    async with app.run_test(size=size) as pilot:
        page = await compare(pilot)
        assert [(run.letter, run.name) for run in page._runs] == [
            ("A", "alpha"), ("B", "beta"), ("C", "gamma"), ("D", "k16"), ("E", "k64")
        ]  # fmt: skip
        best = {point.letter: point.best for point in page._points}
        assert best == {"A": True, "B": False, "C": False, "D": True, "E": False}
        k16 = next(line for line in table(app) if "k16" in line)
        assert all(part in k16 for part in ("● D", ".400", "16.0", "99.3", "1.0%", ".800"))
        beta = next(line for line in table(app) if "beta" in line)
        assert "+ B" in beta and "~.248" in beta and "31.6" in beta  # of the last batch
        shutil.copytree(sessions_root / "k16", sessions_root / "begun")
        for name in ("evaluation.json", "metrics.jsonl"):
            (sessions_root / "begun" / name).unlink(missing_ok=True)
        app.tick()
        await until(lambda: len(page._runs) == 6)
        await until(lambda: page._table.count == 6 and "begun" in table(app)[6], "what has no figures is last")
        picture = "\n".join(points(app))
        assert "none better in both" in picture and "not evaluated" in picture
        assert "●D" in picture and "○E" in picture and "20" in picture  # the axis
        assert "k 16" in k16
        await pilot.press("w")
        await until(lambda: "higher is better" in str(page.query_one(Scatter).border_title))
        await until(lambda: "●E" in "\n".join(points(app)), "another front")
        assert page.memory()["axis"] == "ce_loss_score"
        await pilot.press("l", "l", "l", "s")
        if size == SMALL:
            assert page._sort and page._sort[0] == "fvu"
            names = [line.split()[2] for line in table(app)[1:6]]
            assert names[0].startswith("alpha") or "alpha" in table(app)[1]
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.screen, RunsPage)


@pytest.mark.asyncio
async def test_runs_that_classify_are_compared_by_fidelity_too(sessions_root, workbench):
    evaluated(sessions_root, "k16", k=16, fvu=0.4, ce_loss_score=0.8, fidelity=0.97)
    evaluated(sessions_root, "k64", k=64, fvu=0.3, ce_loss_score=0.9, fidelity=0.99)
    app = workbench(sessions_root)
    app.marked = {"k16", "k64"}
    async with app.run_test(size=WIDE) as pilot:
        page = await compare(pilot)
        assert any("fid." in line for line in table(app)) and any(".970" in line for line in table(app))
        await pilot.press("w", "w")
        await until(lambda: "fidelity (higher is better)" in str(page.query_one(Scatter).border_title))
        assert [point.y for point in page._points] == [0.97, 0.99] and page.memory()["axis"] == "fidelity"
    app = workbench(sessions_root)
    app.marked = {"alpha", "beta"}  # which have none: the axis that is remembered is none of theirs
    async with app.run_test(size=WIDE) as pilot:
        page = await compare(pilot)
        assert page._axis == "fvu" and not any("fid." in line for line in table(app))


@pytest.mark.asyncio
async def test_the_marked_runs_only_and_the_cursor_lights_a_point(sessions_root, workbench):
    evaluated(sessions_root, "k16", k=16, fvu=0.4)
    app = workbench(sessions_root)
    app.marked = {"alpha", "k16"}
    async with app.run_test(size=WIDE) as pilot:
        page = await compare(pilot)
        assert [run.name for run in page._runs] == ["alpha", "k16"]
        await pilot.press("g")

        def lit() -> str:
            lines = page.query_one(Scatter).lines
            spans = [(line, span) for line in lines for span in line.spans if "reverse" in str(span.style)]
            return "".join(line.plain[span.start : span.end] for line, span in spans)

        await until(lambda: sorted(lit()) == ["A", "●"])
        await pilot.press("j")
        await until(lambda: sorted(lit()) == ["B", "●"])
        assert page.copied() == ("the name k16", "k16") and page.command_line().endswith(" show k16")
        await pilot.press("d")
        await pilot.pause()
        assert isinstance(app.screen, Reader)
        assert "alpha → k16" in app.screen._content.plain and "32 → 16" in app.screen._content.plain
        await pilot.press("escape", "z")
        await pilot.pause()
        assert page.query_one(PagedTable).size.height == 2 and page.query_one(Scatter).size.height > 30
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is page and not page.has_class("-large")
        await pilot.press("enter")
        await until(lambda: app.current_mode == "train")
        assert app.session.name == "k16"


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [WIDE, SMALL])
async def test_the_studies_of_a_run_are_the_runs_of_its_study_and_then_its_features(sessions_root, workbench, size):
    evaluated(sessions_root, "k16", k=16, fvu=0.4, ce_loss_score=0.8)
    other = shutil.copytree(sessions_root / "gamma", sessions_root / "wider") / "config.toml"
    other.write_text(other.read_text().replace("k = 32", "k = 8\nd_sae = 64"))
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=size) as pilot:
        await until(lambda: app.screen._rows and app.screen.at and app.screen.at.name == "alpha")
        await pilot.press("u")
        await until(lambda: isinstance(app.screen, ComparePage) and app.screen._runs)
        page = app.screen
        assert [run.name for run in page._runs] == ["alpha", "beta", "gamma", "k16"]
        assert page.query_one(PagedTable).border_title == "runs 4 · study fidelity" and page._table.row.name == "alpha"
        beside = page.query_one("#beside", Scatter)
        if size == WIDE:
            await until(lambda: "●D" in "\n".join(line.plain for line in beside.lines), "the other figure")
            assert "CE-loss score (higher is better)" in str(beside.border_title)
        else:
            assert not beside.display
        await pilot.press("j")
        assert not page.check_action("study", ())  # beta has no features to study
        await pilot.press("k", "u")
        await until(lambda: isinstance(app.screen, StudyPage))
        await pilot.press("escape", "escape")
        await until(lambda: app.screen is page)
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, RunsPage))


@pytest.mark.asyncio
async def test_a_run_that_is_part_of_no_study_says_what_would_make_it_one(sessions_root, workbench):
    app = workbench(sessions_root, session="gamma")
    async with app.run_test(size=SMALL) as pilot:
        await until(lambda: app.screen._rows and app.screen.at and app.screen.at.name == "gamma")
        await pilot.press("u")
        await until(lambda: any("part of no study" in notice.message for notice in app._notifications))
        assert "(here A on Runs)" in next(iter(app._notifications)).message and isinstance(app.screen, RunsPage)


@pytest.mark.asyncio
async def test_one_marked_run_is_compared_with_the_one_at_the_cursor(sessions_root, workbench):
    app = workbench(sessions_root, session="beta")
    app.marked = {"gamma", "gone"}
    async with app.run_test(size=WIDE) as pilot:
        await until(lambda: app.screen.at and app.screen.at.name == "beta")
        page = await compare(pilot)
        assert [run.name for run in page._runs] == ["beta", "gamma"]
        assert page._table.row.name == "beta"


@pytest.mark.asyncio
async def test_what_is_measured_meanwhile_appears(sessions_root, workbench):
    app = workbench(sessions_root)
    async with app.run_test(size=WIDE) as pilot:
        page = await compare(pilot)
        before = {run.name: run.letter for run in page._runs}
        evaluated(sessions_root, "a-new-one", k=8, fvu=0.6)
        evaluated(sessions_root, "gamma", fvu=0.1)
        app.tick()
        await until(lambda: len(page._runs) == 4)
        after = {run.name: run.letter for run in page._runs}
        assert after == {**before, "a-new-one": "D"}  # letters stay
        assert {point.letter for point in page._points if point.best} == {"C", "D"}
        shutil.rmtree(sessions_root / "a-new-one")
        app.tick()
        await until(lambda: len(page._runs) == 3)


@pytest.mark.asyncio
async def test_nothing_is_drawn_anew_while_nothing_happens(sessions_root, workbench, monkeypatch):
    from textual.widget import Widget

    app = workbench(sessions_root)
    app.marked = {"alpha", "gamma"}
    async with app.run_test(size=WIDE) as pilot:
        page = await compare(pilot)
        await pilot.pause(0.3)
        sent = []
        refresh = Widget.refresh
        monkeypatch.setattr(Widget, "refresh", lambda self, *a, **o: (sent.append(self), refresh(self, *a, **o))[1])
        for _ in range(3):
            page.clock()
            page._show()
            await pilot.pause(0.1)
        assert sent == []


@pytest.mark.asyncio
async def test_one_run_and_hostile_files_are_shown_as_far_as_they_go(sessions_root, workbench):
    for name in ("alpha", "beta"):
        shutil.rmtree(sessions_root / name)
    app = workbench(sessions_root, graph="ascii", theme="ansi-dark")
    gamma = Session(sessions_root / "gamma")
    async with app.run_test(size=SMALL) as pilot:
        page = await compare(pilot)
        assert len(page._runs) == 1 and page._runs[0].differs == "" and "+A" in "\n".join(points(app))
        assert not page.check_action("differences", ())
        await pilot.press("w")
        await until(lambda: "no run has come so far" in "\n".join(points(app)))
        for n, figures in enumerate((
            {"fvu": HOSTILE[3], "l0": None, "ce_loss_score": True}, {"fvu": 10**400, "l0": -3, "ce_loss_score": 1e300},
            {"fvu": float("nan"), "l0": 0, "ce_loss_score": [1]}, {"fvu": 0.5, "l0": 1e-9, "ce_loss_score": 0.5},
        )):  # fmt: skip
            gamma.evaluation_path.write_text(json.dumps(figures))
            gamma.config_path.write_text(f"{json.dumps(HOSTILE[4])} = {json.dumps(HOSTILE[1] + str(n))}\n")
            app.tick()
            await pilot.pause(0.3)
            await pilot.press("w", "d")
            seen = "".join([*points(app), *table(app)])
            assert seen.isprintable() and seen.replace("▸", "").replace("…", "").replace("›", "").isascii()
        gamma.config_path.write_text("torn = [\x1b")
        app.tick()
        await until(lambda: page._runs[0].differs == "its config.toml cannot be read")


def test_what_differs_is_told_without_what_is_no_setting_of_the_architecture():
    def config(**sae):
        return {"model": {"name": "m"}, "sae": sae}

    told = differing([
        config(architecture="topk", k=16, l1_coefficient=1.0), config(architecture="topk", k=32, l1_coefficient=2.0),
        config(architecture="relu", k=64, l1_coefficient=3.0), config(architecture="relu", target_l0=8.0, new=1),
        {},
    ])  # fmt: skip
    assert told == [
        "topk · k 16", "topk · k 32", "relu", "relu · target_l0 8", "its config.toml cannot be read"
    ]  # fmt: skip
    assert differing([{"sae": {HOSTILE[0]: HOSTILE[3]}}, {"sae": {HOSTILE[0]: [1]}}])[0].isprintable()
    assert differing([config(k=1), config(k=1)]) == ["", ""]


def test_a_name_that_several_parts_have_is_told_with_its_part_and_what_all_but_one_share_is_last():
    def config(k, budget, hook="h"):
        given = {"sae": {"k": k}, "budget": {"activations": budget}, "model": {"hook": hook}}
        return {**given, "analysis": {"activations": 5}}

    told = differing([config(8, 1_000), config(16, 3_000), config(32, 1_000, "g"), config(64, 3_000)])
    assert told == [
        "k 8 · budget.activations 1,000 · hook h", "k 16 · budget.activations 3,000 · hook h",
        "k 32 · budget.activations 1,000 · hook g", "k 64 · budget.activations 3,000 · hook h",
    ]  # fmt: skip
    assert differing([config(8, 1, "g"), config(8, 2)])[1] == "budget.activations 2 · hook h"


def test_both_pictures_have_one_range_and_points_on_one_cell_are_counted():
    few = [Point("A", 32.0, 0.5), Point("B", 32.0, 0.5), Point("C", 32.0, 0.5)]
    wide = [*few, Point("D", 256.0, None), Point("E", 512.0, 0.1)]
    assert span(few) == (32, 32) and span(wide) == (32, 512) and span([]) is None
    alone = "\n".join("".join(part for part, _ in row) for row in drawn(few, "B", 60, 12, "block", span(wide)))
    assert "○B+2" in alone and "C" not in alone and "A" not in alone
    beside = "\n".join("".join(part for part, _ in row) for row in drawn(wide, "B", 60, 12, "block"))
    assert alone.splitlines()[-1] == beside.splitlines()[-1]


def test_letters_go_on_after_z():
    assert [letter(n) for n in (0, 25, 26, 27, 51, 52, 701, 702)] == ["A", "Z", "AA", "AB", "AZ", "BA", "ZZ", "AAA"]


def test_a_front_holds_what_none_beats():
    assert front([(1, 3), (2, 2), (3, 1), (3, 3), None, (2, 2), (2, 3)]) == [
        True, True, True, False, False, True, False
    ]  # fmt: skip
    assert front([]) == [] and front([None, None]) == [False, False]


@pytest.mark.parametrize("graph", ["braille", "block", "ascii"])
def test_points_stay_in_their_cells_and_are_told_apart_without_colour(graph):
    many = [Point(letter(i), 2.0**i, 1 / (i + 1), best=i % 2 == 0, measured=i % 3 > 0) for i in range(40)]
    for found in (many, many[:1], [Point("A", 32, 0.5), Point("B", 32, 0.5)], [], [Point("A", None, 1.0)]):
        for width, height in ((156, 24), (76, 8), (20, 4), (5, 2), (0, 0)):
            rows = drawn(found, "A", width, height, graph)
            lines = ["".join(text for text, _ in row) for row in rows]
            assert len(lines) == height and all(len(line) == width for line in lines)
            assert graph != "ascii" or "".join(lines).isascii()
    rows = drawn(
        [Point("A", 8, 0.5, best=True), Point("B", 64, 0.6), Point("C", 64, 0.2, measured=False)], "B", 60, 12, graph
    )
    text = "\n".join("".join(part for part, _ in row) for row in rows)
    glyphs = ("*A", "oB", "+C") if graph == "ascii" else ("●A", "○B", "+C")
    assert all(glyph in text for glyph in glyphs)
    assert [part for row in rows for part, ink in row if ink == AT] in (
        [["o", "B"], ["○", "B"]],
        ["oB"],
        ["○B"],
        ["○", "B"],
        ["o", "B"],
    )

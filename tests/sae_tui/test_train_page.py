import json
import re
import shlex
import time
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

from core import jobs
from core.session import Session
from core.status import Observed, Status
from sae_tui.screens.dialogs import Ask
from sae_tui.screens.log import LogReader
from sae_tui.screens.train import TrainPage
from sae_tui.widgets import job
from sae_tui.widgets.bars import KeyBar
from sae_tui.widgets.chart import Chart
from sae_tui.widgets.panes import PANES, Figures
from sae_tui.widgets.rows import Rows
from tests.sae_tui.conftest import HOSTILE, step_line

WIDE, SMALL = (160, 45), (80, 24)
HERE = tuple(pane for pane in PANES if pane not in ("ce", "l0", "coefficient", "cosine", "terms", "memory"))
"""The panes of a run without a penalty that has its k at every step, and of which nothing else was recorded."""


async def settled(pilot, page=None):
    """Wait until nothing is read nor drawn."""
    for _ in range(200):
        await pilot.pause(0.01)
        page = pilot.app.screen
        if not isinstance(page, TrainPage):
            return page
        busy = page._looking or any(chart._busy for chart in page.query(Chart))
        if not busy and (page._look is not None or page._seen is None):
            await pilot.pause(0.01)
            return page
    raise TimeoutError


def text(page, name):
    """The first line, the second, or the one of figures."""
    if name == "strip":
        return page.query_one("#strip", Rows).lines[0].plain
    return page.query_one("#status", Rows).lines[("progress", "steps").index(name)].plain


def figures(page):
    return "\n".join(line.plain for line in page.query_one(Figures).lines)


def waiting(page):
    return "\n".join(line.plain for line in page.query_one("#waiting", Rows).lines)


def chart(page, name="loss"):
    return page.query_one(f"#{name}", Chart)


def shown(page):
    """Panes that are seen."""
    return {pane for pane in PANES if page.query_one(f"#{pane}").is_on_screen}


def add(session, *lines):
    with session.metrics_path.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def put(root, name, **status):
    Session(root / name).write_status(Status(**{"started": time.time() - 90, "heartbeat": time.time(), **status}))


@pytest.mark.asyncio
async def test_a_running_job_and_its_curves_as_they_grow(sessions_root, workbench):
    app = workbench(sessions_root, mode="train", session="beta")
    async with app.run_test(size=WIDE) as pilot:
        page = await settled(pilot)
        assert "● running  train · training" in text(page, "progress") and "40%" in text(page, "progress")
        assert "step 40 of 100" in text(page, "steps") and "loss 31.6" in text(page, "steps")
        assert "dead 40 (4.00%)   dense 20" in text(page, "steps")
        assert "ETA 30s" in text(page, "progress")  # 30,720 activations left, 1,024 a second
        assert shown(page) == set(HERE)
        assert chart(page).plot.high == 50 and len(chart(page).plot.series[0].xs) == 40
        assert "evaluated after training" in figures(page) and "job's memory" in figures(page)
        assert "● train the SAE" in figures(page) and "○ build the feature database" in figures(page)
        assert "blocks.10" in figures(page)

        before = page._found
        page.clock()
        await settled(pilot)
        assert page._found is before  # nothing new: nothing is made anew

        add(Session(sessions_root / "beta"), *(step_line(step, 100) for step in range(41, 61)))
        page.clock()
        await settled(pilot)
        assert chart(page).plot.series[0].xs[-1] == 60 and chart(page).plot.high == 100
        assert "loss 25.8" in text(page, "steps")


@pytest.mark.asyncio
async def test_a_finished_session_shows_what_it_came_to(sessions_root, workbench):
    app = workbench(sessions_root, mode="train", session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page = await settled(pilot)
        assert "✓ done  analyze" in text(page, "progress")
        assert "ETA" not in text(page, "progress")
        said = figures(page)
        assert "CE-loss score" in said and "0.9800" in said and "2,000" in said and "18.0%" not in said
        assert said.count("✓") == 3
        assert chart(page).plot.high == 100
        assert page.query_one("#trouble").display is False


@pytest.mark.asyncio
async def test_keys_change_how_the_curves_are_seen_and_it_is_remembered(sessions_root, workbench):
    app = workbench(sessions_root, mode="train", session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page = await settled(pilot)
        loss, fvu = chart(page), chart(page, "fvu")
        assert loss.plot.log and not fvu.plot.log
        raw = list(loss.plot.series[0].ys)
        await pilot.press("L", "m", "m", "w")
        await settled(pilot)
        assert not loss.plot.log and loss.plot.x_name == "tokens"
        assert text(page, "progress").endswith("x = tokens · EMA .9") and not loss.plot.notes
        assert loss.plot.high == 51_200 and list(loss.plot.series[0].ys) != raw
        await pilot.press("w")
        await settled(pilot)
        assert loss.plot.x_name == "time" and loss.plot.high == 50
        await pilot.press("w", "m", "m", "right", "L", "f")
        await settled(pilot)
        assert fvu.plot.log and fvu.plot.x_name == "step" and list(loss.plot.series[0].ys) == raw
        assert (fvu.plot.low, fvu.plot.high) == (75, 100)
        assert text(page, "progress").endswith("x = step · tail")
        kept = page.memory()
        assert kept == {
            "axis": "step", "smoothing": 0.0, "follow": True, "log": ["fvu", "terms"], "chart": "fvu", "overlay": False
        }  # fmt: skip
        app.remember()
    again = workbench(sessions_root, mode="train", session="alpha")
    async with again.run_test(size=WIDE) as pilot:
        page = await settled(pilot)
        assert page.memory() == kept and page.focused is chart(page, "fvu")


@pytest.mark.parametrize("foreign", [
    {}, {"axis": 3, "smoothing": "x", "log": {"a": 1}, "chart": ["loss"], "follow": 1},
    {"axis": "time", "smoothing": 0.5, "log": ["loss", "terms", 3, "x"], "chart": "nothing", "overlay": "yes"},
])  # fmt: skip
def test_a_foreign_state_is_the_default(foreign):
    from sae_tui.widgets.traces import View

    assert View.of_json(foreign) == View()


@pytest.mark.asyncio
async def test_charts_are_chosen_by_arrows_and_brackets_and_zoomed(sessions_root, workbench):
    app = workbench(sessions_root, mode="train", session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page = await settled(pilot)
        for key, at in (("right", "fvu"), ("down", "dead"), ("down", "lr"), ("up", "dead"), ("up", "fvu"),
                        ("left", "loss"), ("shift+tab", "figures"),
                        ("tab", "loss"), ("right_square_bracket", "fvu"), ("left_square_bracket", "loss")):  # fmt: skip
            await pilot.press(key)
            await pilot.pause()
            assert page._panes.current == at and page.focused is page.query_one(f"#{at}")
        await pilot.press("enter")
        await settled(pilot)
        assert shown(page) == {"loss"} and chart(page).size.height > 35
        assert chart(page).cursor == 100 and "step 100" in chart(page).strip(0).text
        await pilot.press("left", "left", "h")
        await pilot.pause()
        assert 96 < chart(page).cursor < 99
        await pilot.press("right_square_bracket")
        await settled(pilot)
        assert shown(page) == {"fvu"} and 96 < chart(page, "fvu").cursor < 99 and chart(page).cursor is None
        await pilot.press("plus")
        await settled(pilot)
        assert chart(page, "fvu").plot.high - chart(page, "fvu").plot.low == 50
        await pilot.press("0")
        await settled(pilot)
        assert (chart(page).plot.low, chart(page).plot.high) == (0, 100)
        what, copied = page.copied()
        assert what == "the values of FVU" and copied.startswith("chart\tFVU\nstep\t98\nalpha\t0.")
        await pilot.press("escape")
        await settled(pilot)
        assert shown(page) == set(HERE) and chart(page, "fvu").cursor is None
        await pilot.press("z", "escape", "left", "left", "z")
        await settled(pilot)
        assert shown(page) == {"figures"}


@pytest.mark.asyncio
async def test_one_chart_at_a_time_at_80x24_and_all_of_them_in_reach(sessions_root, workbench):
    app = workbench(sessions_root, mode="train", session="beta")
    async with app.run_test(size=SMALL) as pilot:
        page = await settled(pilot)
        strip = text(page, "strip")
        assert all(name in strip for name in ("loss 31.6", "FVU", "L0 32.0", "dead 40", "dense 20")) and "▁" in strip
        assert page.query_one("#strip").size.height == 1 and len(strip.rstrip()) <= 80
        seen = []
        for _ in HERE:
            seen.append(shown(page))
            assert chart(page).size.width <= 78
            assert text(page, "progress").endswith(f"{len(seen)} of {len(HERE)} · x = step")
            await pilot.press("right_square_bracket")
            await settled(pilot)
        assert seen == [{pane} for pane in HERE]
        await pilot.press("left_square_bracket")
        await settled(pilot)
        assert "newest step" in figures(page) and "run" in figures(page) and "top lr" in figures(page)  # two columns
        assert "enter zoom  ] next  [ back" in page.query_one(KeyBar).content.plain
        await pilot.resize_terminal(*WIDE)
        await settled(pilot)
        assert shown(page) == set(HERE)


@pytest.mark.asyncio
async def test_marked_runs_are_laid_over_this_one(sessions_root, workbench):
    app = workbench(sessions_root, mode="train", session="beta")
    async with app.run_test(size=WIDE) as pilot:
        page = await settled(pilot)
        app.marked.clear()
        await pilot.press("o")
        await settled(pilot)
        assert not page.memory()["overlay"] and any("no other run is marked" in n.message for n in app._notifications)
        app.marked = {"alpha", "beta", "gone"}
        await pilot.press("o")
        await settled(pilot)
        assert [series.label for series in chart(page).plot.series] == ["beta", "alpha"]
        assert chart(page).plot.high == 100  # the longer one
        assert "A beta" in chart(page).strip(0).text and "B alpha" in chart(page).strip(0).text
        await pilot.press("h")
        await settled(pilot)
        assert [name for name, _ in chart(page).readings()] == ["step", "beta", "alpha"]
        await pilot.press("o")
        await settled(pilot)
        assert len(chart(page).plot.series) == 1


@pytest.mark.asyncio
async def test_what_went_wrong_is_said_with_what_to_do(sessions_root, workbench):
    (sessions_root / "gamma" / "checkpoints" / "2").mkdir(parents=True)
    app = workbench(sessions_root, mode="train", session="gamma")
    async with app.run_test(size=(120, 36)) as pilot:
        page = await settled(pilot)
        trouble = page.query_one("#trouble")
        said = str(trouble.render())
        assert trouble.display and "✗ train failed: the loss became nan at step 4" in said
        assert "checkpoint 2 is kept" in said and "v: what it printed" in said and "1, then c" in said
        assert "␛[2J" in said and "\x1b" not in said
        assert page.query_one("#trouble").size.height <= 4

        beta = Session(sessions_root / "beta")
        beta.write_status(replace(beta.status(), pid_started=1.0))
        app.session = beta
        page.on_screen_resume()
        app.tick()
        for _ in range(200):
            await pilot.pause(0.05)
            if "interrupted" in str(trouble.render()) and figures(page):
                break
        assert "✗ train interrupted: its process is gone" in str(trouble.render())
        assert "✗ train the SAE" in figures(page)


@pytest.mark.asyncio
async def test_before_the_first_step_the_phase_stands_there_in_words(sessions_root, workbench):
    root = sessions_root
    for name in ("beta", "alpha"):
        (root / name / "metrics.jsonl").unlink()
    status = Session(root / "beta").status()
    Session(root / "beta").write_status(
        replace(
            status, phase="loading smollm2", done=86, total=200, unit="tensors", step=0, steps=0,
            started=time.time() - 12,
        )
    )  # fmt: skip
    app = workbench(root, mode="train", session="beta")
    async with app.run_test(size=SMALL) as pilot:
        page = await settled(pilot)
        assert shown(page) == set() and page.query_one("#waiting").is_on_screen
        said = waiting(page)
        assert "loading smollm2" in said and "43%" in said and "86 of 200 tensors" in said and "s since" in said
        await pilot.press("enter")
        assert not page._zoomed
        add(Session(root / "beta"), step_line(1, 100), step_line(2, 100))
        page.clock()
        await settled(pilot)
        assert shown(page) == {"loss"} and page.focused is chart(page)

        app.session = Session(root / "alpha")
        page.on_screen_resume()
        await settled(pilot)
        assert "its SAE was not trained here" in waiting(page) and "3: its features" in waiting(page)


@pytest.mark.asyncio
async def test_other_jobs_show_their_progress_above_the_curves(sessions_root, workbench):
    alpha = Session(sessions_root / "alpha")
    alpha.write_status(
        Status(**{
            **asdict(Status.of_process("analyze", "running", 1)), **asdict(Session(sessions_root / "beta").status()),
            "job": "analyze", "phase": "reading activations", "done": 3_000, "total": 12_000, "unit": "tokens",
        })
    )  # fmt: skip
    app = workbench(sessions_root, mode="train", session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page = await settled(pilot)
        assert "● running  analyze · reading activations" in text(page, "progress") and "25%" in text(page, "progress")
        assert "tokens 3,000 of 12,000" in text(page, "steps") and "ETA soon known" in text(page, "progress")
        assert "● build the feature database" in figures(page) and chart(page).plot.high == 100
        page._pace.note(time.time() - 10, page._pace._phase, 1_000)  # as if watched since
        page._pace._seen.clear()
        page._pace._seen.extend([(time.time() - 10, 1_000.0), (time.time(), 3_000.0)])
        page._tell()
        assert "ETA 45s" in text(page, "progress") or "ETA 50s" in text(page, "progress")


@pytest.mark.asyncio
async def test_no_session_says_what_to_press(tmp_path, workbench):
    app = workbench(tmp_path, mode="train")
    async with app.run_test(size=SMALL) as pilot:
        page = await settled(pilot)
        assert "no session yet" in waiting(page) and "press 1, then n" in waiting(page)
        assert page.copied() is None and page.command_line() is None
        await pilot.press("enter", "L", "m", "w", "f", "o", "v", "p", "x", "h", "plus", "tab", "up", "y", "Y", "z")
        assert "1 Runs" in page.query_one("TitleBar").content.plain


@pytest.mark.asyncio
async def test_pause_and_stop_reach_the_job(sessions_root, workbench, monkeypatch):
    stopped = []
    monkeypatch.setattr(jobs, "stop", lambda session: stopped.append(session.name) or Observed(state="stopped"))
    app = workbench(sessions_root, mode="train", session="beta")
    beta = Session(sessions_root / "beta")
    async with app.run_test(size=WIDE) as pilot:
        page = await settled(pilot)

        async def wanted(what):
            for _ in range(50):
                await pilot.pause(0.02)
                if beta.wanted() == what:
                    return True
            return False

        await pilot.press("p")
        assert await wanted("pause")
        assert any("the train job of beta waits" in n.message for n in app._notifications)
        beta.write_status(replace(beta.status(), state="paused"))
        app.tick()
        for _ in range(50):
            await pilot.pause(0.02)
            if "paused" in text(page, "progress"):
                break
        assert "‖ paused" in text(page, "progress") and "p lets it go on" in str(page.query_one("#trouble").render())
        assert "ETA" not in text(page, "progress")
        await pilot.press("p")
        assert await wanted("run")

        await pilot.press("x")
        await pilot.pause()
        assert isinstance(app.screen, Ask)
        await pilot.press("c", "x", "s")
        for _ in range(50):
            await pilot.pause(0.02)
            if stopped:
                break
        assert stopped == ["beta"]

        app.session = Session(sessions_root / "alpha")
        page.on_screen_resume()
        await settled(pilot)
        wanted_before = beta.wanted()
        await pilot.press("x", "p")
        await pilot.pause(0.1)
        assert app.screen is page and beta.wanted() == wanted_before
        shown = str(page.query_one("#keys").render())
        assert "stop job" not in shown and "pause job" not in shown


@pytest.mark.asyncio
async def test_the_log_and_the_command_line(sessions_root, workbench):
    app = workbench(sessions_root, mode="train", session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page = await settled(pilot)
        assert page.command_line() == f"sae-tui --sessions {shlex.quote(str(sessions_root))} show alpha"
        await pilot.press("v")
        await pilot.pause(0.2)
        assert isinstance(app.screen, LogReader)
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is page


@pytest.mark.asyncio
async def test_gaps_old_lines_and_hostile_values_do_not_stop_it(sessions_root, workbench):
    beta = Session(sessions_root / "beta")
    beta.metrics_path.write_text("")
    lines = [{k: v for k, v in step_line(i, 9).items() if k not in ("steps", "dead_share")} for i in range(1, 9)]
    lines[3]["loss"], lines[4]["loss"], lines[5]["fvu"] = float("nan"), 0.0, None
    lines += [{"step": "x"}, {"loss": HOSTILE[3]}]
    add(beta, *lines)
    with beta.metrics_path.open("a") as file:
        file.write("torn{" + HOSTILE[3])
    app = workbench(sessions_root, mode="train", session="beta", graph="ascii", theme="ansi-dark")
    async with app.run_test(size=WIDE) as pilot:
        page = await settled(pilot)
        assert "2 gaps" in chart(page).plot.notes  # not a number, and no logarithm
        assert "1 gap" in chart(page, "fvu").plot.notes
        assert chart(page, "dead").plot.y_kind == "count" and "dead 8" in text(page, "steps")
        assert "".join(chart(page).strip(y).text for y in range(20)).isascii()
        beta.metrics_path.write_text("")
        page.clock()
        await settled(pilot)
        assert shown(page) == set()
        await pilot.press("1", "2")
        await settled(pilot)


@pytest.mark.asyncio
async def test_nothing_is_drawn_anew_while_nothing_happens(sessions_root, workbench, monkeypatch):
    from textual.widget import Widget

    app = workbench(sessions_root, mode="train", session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page = await settled(pilot)
        await pilot.pause(0.2)
        sent = []
        refresh = Widget.refresh
        monkeypatch.setattr(Widget, "refresh", lambda self, *a, **o: (sent.append(self), refresh(self, *a, **o))[1])
        for _ in range(3):
            page.clock()
            await settled(pilot)
        assert sent == []


def write_densities(session, **values):
    counts = [0] * 14 + [5, 900, 40, 7, 3, 0, 30, 20, 0, 7, 3]
    found = {"step": 40, "low": -5, "high": 0, "counts": counts, "rarer": 12, **values}
    session.densities_path.write_text(json.dumps(found))


def drawn(chart):
    return [chart.strip(y).text for y in range(chart.size.height)]


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [WIDE, SMALL])
async def test_densities_are_bars_that_are_read_when_the_file_is_another_one(sessions_root, workbench, size):
    beta = Session(sessions_root / "beta")
    app = workbench(sessions_root, mode="train", session="beta")
    async with app.run_test(size=size) as pilot:
        page = await settled(pilot)
        density = chart(page, "density")
        page._panes.select("density")
        await settled(pilot)
        assert "nothing yet" in "".join(drawn(density))
        write_densities(beta)
        page.clock()
        await settled(pilot)
        assert density.plot.series[0].ys[15] == 900
        assert drawn(density)[0].startswith(" 60 dense · 12 below 1e-5")
        assert any(0x2800 < ord(c) < 0x2900 for c in "".join(drawn(density)))
        for torn in ("{", "[1]", json.dumps({"low": HOSTILE[3], "high": 0, "counts": [1], "rarer": 0}), "{}"):
            beta.densities_path.write_text(torn)
            page.clock()
            await settled(pilot)
        assert len(density.plot.series) <= 1 and "\x1b" not in "".join(drawn(density))
        for counts in ([-1], ["x"], [], {"a": 1}, [1e400], None):
            write_densities(beta, counts=counts)
            page.clock()
            await settled(pilot)
            assert "nothing yet" in "".join(drawn(density))
        write_densities(beta, rarer=0)
        page.clock()
        await settled(pilot)
        await pilot.press("L", "enter", "plus", "h", "h", "h")
        await settled(pilot)
        assert density.plot.log and density.plot.low == -5
        (name, where), (_, n) = density.readings()
        assert name == "density, log10" and where.startswith("-0.") and n in ("3", "7")
        await pilot.press("left_square_bracket")
        await settled(pilot)
        assert chart(page, "dead").cursor == 50  # another x axis: its end


@pytest.mark.asyncio
async def test_a_run_with_a_penalty_shows_its_weight_and_the_target_as_a_line(sessions_root, workbench):
    beta = Session(sessions_root / "beta")
    text_ = beta.config_path.read_text()
    text_ = text_.replace('architecture = "topk"', 'architecture = "relu"').replace("[sae]", "[sae]\ntarget_l0 = 20.0")
    beta.config_path.write_text(text_)
    lines = [{**step_line(i, 100), "coefficient": 2.0 / i, "l0": 200 / i} for i in range(1, 41)]
    beta.metrics_path.write_text("")
    add(beta, *lines)
    app = workbench(sessions_root, mode="train", session="beta")
    async with app.run_test(size=WIDE) as pilot:
        page = await settled(pilot)
        assert shown(page) == {*HERE, "l0", "coefficient"} and chart(page, "coefficient").plot.series[0].ys[0] == 2.0
        assert chart(page, "l0").plot.level == 20 and "target 20" in chart(page, "l0").plot.notes
        assert any("╌╌" in line for line in drawn(chart(page, "l0")))
        assert "λ 0.0500" in text(page, "steps") and "target   20" in figures(page)
        await pilot.press("down", "right", "right")
        await settled(pilot)
        assert page._panes.current == "coefficient"
        app.session = Session(sessions_root / "alpha")
        page.on_screen_resume()
        await settled(pilot)
        assert shown(page) == set(HERE) and page._panes.current == "loss"
        assert chart(page, "l0").plot.level == 32  # its k


@pytest.mark.asyncio
async def test_how_alike_directions_are_has_a_chart_where_it_was_measured(sessions_root, workbench):
    beta = Session(sessions_root / "beta")
    beta.metrics_path.write_text("")
    alike = {"decoder_cosine_mean": -0.002, "decoder_cosine_max": 0.4}
    add(beta, *({**step_line(i, 100), **alike, "decoder_cosine_max": 0.4 if i < 30 else 0.75} for i in range(1, 41)))
    app = workbench(sessions_root, mode="train", session="beta")
    async with app.run_test(size=WIDE) as pilot:
        page = await settled(pilot)
        series = chart(page, "cosine").plot.series[0]  # points where it was measured, not what is held between
        assert shown(page) == {*HERE, "cosine"} and (list(series.xs), list(series.ys)) == ([1, 30], [0.4, 0.75])
        assert chart(page, "cosine").border_title == "max cosine 0.7500"
        assert re.search(r"mean cosine +[−-]0\.002", figures(page))
        lr, loss = list(chart(page, "lr").plot.series[0].ys), list(chart(page).plot.series[0].ys)
        await pilot.press("down", "right", "m")
        await settled(pilot)
        assert page._panes.current == "cosine" and list(chart(page, "cosine").plot.series[0].ys) == [0.4, 0.75]
        assert list(chart(page, "lr").plot.series[0].ys) == lr and list(chart(page).plot.series[0].ys) != loss


@pytest.mark.asyncio
async def test_the_ce_loss_score_is_a_curve_where_it_was_measured(sessions_root, workbench):
    beta = Session(sessions_root / "beta")
    beta.metrics_path.write_text("")
    scores = (0.5, 0.5, 0.5, 0.9, 0.9)
    add(beta, *({**step_line(i, 100), "ce_loss_score": scores[min(i // 10, 4)]} for i in range(1, 41)))
    app = workbench(sessions_root, mode="train", session="beta")
    async with app.run_test(size=WIDE) as pilot:
        page = await settled(pilot)
        series = chart(page, "ce").plot.series[0]
        found = [(x, y) for x, y in zip(series.xs, series.ys, strict=True) if y == y]
        assert shown(page) == {*HERE, "ce"} and found == [(1, 0.5), (30, 0.9)]
        assert chart(page, "ce").border_title == "CE-loss score 0.9000"


@pytest.mark.asyncio
async def test_parts_of_the_loss_and_the_memory_are_curves_where_there_are_some(sessions_root, workbench):
    beta = Session(sessions_root / "beta")
    beta.metrics_path.write_text("")
    more = {"sparsity_loss": 2.0, "memory_bytes": 1_300_000_000, "gpu_memory_bytes": None}
    add(beta, *({**step_line(i, 100), **more} for i in range(1, 41)))
    app = workbench(sessions_root, mode="train", session="beta")
    async with app.run_test(size=WIDE) as pilot:
        page = await settled(pilot)
        terms, memory = chart(page, "terms"), chart(page, "memory")
        assert shown(page) == {*HERE, "terms", "memory"}
        assert [part.label for part in terms.plot.series] == ["error", "sparsity"] and terms.plot.log
        assert drawn(terms)[0].startswith(" A error · B sparsity")
        assert memory.border_title == "memory 1.30 GB" and len(memory.plot.series) == 1
        add(beta, {**step_line(41, 100), **more, "aux_loss": 0.5, "gpu_memory_bytes": 3e9})
        page.clock()
        await settled(pilot)
        assert len(page._found.plots["terms"].series) == 3
        assert page._found.plots["memory"].line == ("A process", "B GPU")


@pytest.mark.asyncio
async def test_a_panel_that_is_too_long_is_scrolled(sessions_root, workbench):
    app = workbench(sessions_root, mode="train", session="alpha")
    async with app.run_test(size=(80, 18)) as pilot:
        page = await settled(pilot)
        panel = page.query_one(Figures)
        await pilot.press("left")
        await settled(pilot)
        said = panel.border_subtitle
        assert page._panes.current == "figures" and re.fullmatch(r"↓ \d+ more", said) and "top lr" not in figures(page)
        await pilot.press("enter", *["down"] * 30)
        await settled(pilot)
        assert panel.border_subtitle in ("↑", None) and "top lr" in figures(page)
        await pilot.press("escape", *["up"] * 30)
        await settled(pilot)
        assert panel.border_subtitle == said


@pytest.mark.parametrize(("status", "saved", "said"), [
    ({"job": "train", "phase": "loading smollm2", "done": 86}, {}, "No step was made yet: there is nothing to keep."),
    ({"job": "train", "phase": "loading smollm2", "done": 86}, {1_200: 0.0}, "Checkpoint 1,200 is kept."),
    ({"job": "train", "phase": "training", "done": 512}, {}, "A checkpoint is written first."),
    ({"job": "train", "phase": "saving", "step": 9}, {}, "A checkpoint is written first."),
    ({"job": "evaluate", "done": 512}, {1_200: 0.0}, "What it has done so far is not kept."),
    ({"job": "analyze", "done": 512}, {}, "What it has read is kept: an analysis goes on from there."),
])  # fmt: skip
def test_what_a_job_that_is_stopped_leaves(status, saved, said):
    assert job.kept(SimpleNamespace(status=Status(**status)), saved) == said


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [WIDE, SMALL])
async def test_what_moving_the_thresholds_did_is_a_line(sessions_root, workbench, size):
    alpha = Session(sessions_root / "alpha")
    app = workbench(sessions_root, mode="train", session="alpha")
    async with app.run_test(size=size) as pilot:
        page = await settled(pilot)
        rows = page.query_one("#calibration", Rows)
        assert not rows.display
        found = {"target_l0": 32.0, "coefficient": 3.502, "moved_by": -0.2374, "activations": 9, "l0_before": 27.9,
                 "l0": 32.0, "fvu_before": 0.4609, "fvu": 0.4477}  # fmt: skip
        alpha.calibration_path.write_text(json.dumps(found))
        page.clock()
        await settled(pilot)
        said = rows.lines[0].plain
        assert rows.display and len(said) <= size[0]
        assert said.startswith(" target 32 · achieved 32.0 · λ 3.50 · ")
        assert said.endswith("moved by −0.237: FVU 0.4609 → 0.4477")
        alpha.calibration_path.write_text(json.dumps({**found, "coefficient": None, "fvu": HOSTILE[3]}))
        page.clock()
        await settled(pilot)
        assert "λ" not in rows.lines[0].plain and rows.lines[0].plain.endswith("moved by −0.237")
        alpha.calibration_path.write_text(json.dumps({"l0": [1], "target_l0": HOSTILE[0]}))
        page.clock()
        await settled(pilot)
        assert not rows.display

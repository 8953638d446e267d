"""The Runs screen: the list, the session in full, and each of its actions."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from core.session import Session
from sae_tui.screens.compare import ComparePage
from sae_tui.screens.dialogs import Ask, Reader
from sae_tui.screens.log import LogReader
from sae_tui.screens.runs import RunsPage
from sae_tui.widgets.log_view import LogView
from sae_tui.widgets.paged_table import PagedTable
from sae_tui.widgets.rows import Rows
from tests.sae_tui.conftest import HOSTILE
from tests.sae_tui.waiting import until


def table(app) -> PagedTable:
    return app.screen.query_one(PagedTable)


def lines(app) -> list[str]:
    found = table(app)
    return [found.render_line(y).text.rstrip() for y in range(found.size.height)]


def side(app) -> str:
    return "\n".join(line.plain for line in app.screen.query_one("#told", Rows).lines)


async def at(pilot, name: str) -> None:
    """Put the cursor on a session."""
    app = pilot.app
    place = [seen.name for seen in app.screen._rows].index(name)
    table(app).move_to(place)
    for _ in range(100):  # the side waits until the cursor rests
        await pilot.pause(0.02)
        if not app.screen.query_one("#side").display or side(app).startswith(f"{name}\n"):
            break


@pytest.mark.asyncio
async def test_each_session_is_a_line_and_the_one_at_the_cursor_is_told_in_full(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=(160, 45)) as pilot:
        await pilot.pause(0.3)
        header, *rows = lines(app)
        assert header.split() == ["state", "name", "step", "FVU", "L0", "CE", "trend", "size", "dead", "tok/s", "age"]
        alpha, beta, gamma = (next(row for row in rows if name in row) for name in ("alpha", "beta", "gamma"))
        assert "✓ done" in alpha and ".180" in alpha and ".980" in alpha and "8.0%" in alpha and "◂" in alpha
        assert "● running" in beta and "40/100" in beta and "█" in beta
        assert "✗ failed" in gamma and "3/100" in gamma
        assert "on 2,000 test tokens" in side(app) and "SAE, evaluation, features" in side(app)
        assert "blocks.10.hook_resid_post" in side(app)
        await at(pilot, "gamma")
        assert (
            side(app).startswith("gamma")
            and "the loss became nan at step 4" in " ".join(side(app).split())
            and "last printed" in side(app)
        )
        assert not any(c in side(app) for c in "\x1b\x9b\u202e") and "␛" in side(app)
        assert all(safe_line.isprintable() for safe_line in side(app).splitlines())
        await at(pilot, "beta")
        assert "training: 20,480 of 51,200 activations (40%)" in " ".join(side(app).split())


@pytest.mark.asyncio
async def test_columns_go_from_the_right_and_the_side_comes_with_z(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause(0.3)
        header = lines(app)[0]
        assert "CE" in header and "trend" in header and "tok/s" not in header and "age" not in header
        assert not app.screen.query_one("#side").display
        await pilot.press("z")
        await pilot.pause(0.2)
        assert app.screen.query_one("#side").display and not table(app).display
        assert any("blocks.10.hook_resid_post" in line for line in side(app).splitlines())
        await pilot.press("escape")
        await pilot.pause()
        assert table(app).display and table(app).has_focus
        await pilot.press(*["l"] * 10)
        await pilot.pause()
        assert "age" in lines(app)[0] and "name" in lines(app)[0]


@pytest.mark.asyncio
async def test_enter_watches_a_run_and_opens_the_features_of_one_that_has_them(sessions_root, workbench):
    app = workbench(sessions_root)
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.pause(0.2)
        for name, mode in (("beta", "train"), ("alpha", "features")):
            await at(pilot, name)
            await pilot.press("enter")
            await pilot.pause(0.3)
            assert (app.session.name, app.current_mode) == (name, mode)
            await pilot.press("escape", "1")
            await pilot.pause(0.2)


@pytest.mark.asyncio
async def test_filter_and_order_narrow_the_list_and_come_back_after_quitting(sessions_root, workbench):
    app = workbench(sessions_root)
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.pause(0.2)
        await pilot.press("slash", *"MMA", "enter")
        await pilot.pause()
        assert [seen.name for seen in app.screen._rows] == ["gamma"]
        await pilot.press("escape")
        await pilot.pause()
        assert len(app.screen._rows) == 3
        await pilot.press("l", "s")
        assert [seen.name for seen in app.screen._rows] == ["alpha", "beta", "gamma"]
        await pilot.press("s")
        assert [seen.name for seen in app.screen._rows] == ["gamma", "beta", "alpha"]
        await pilot.press("slash", *"a", "enter")
        await at(pilot, "beta")
        app.tick()
    again = workbench(sessions_root)
    async with again.run_test(size=(120, 36)) as pilot:
        await pilot.pause(0.2)
        assert [seen.name for seen in again.screen._rows] == ["gamma", "beta", "alpha"]
        assert again.screen.at.name == "beta" and again.screen._filter == "a"
        await pilot.press("l", "s")
        assert [seen.name for seen in again.screen._rows] == ["alpha", "beta", "gamma"]


@pytest.mark.asyncio
async def test_marks_are_kept_and_differences_to_them_told(sessions_root, workbench):
    path = sessions_root / "beta" / "config.toml"
    path.write_text(path.read_text().replace("k = 32", "k = 64"))
    app = workbench(sessions_root)
    async with app.run_test(size=(160, 45)) as pilot:
        await pilot.pause(0.2)
        await at(pilot, "alpha")
        await pilot.press("space")
        assert app.marked == {"alpha"}
        await at(pilot, "beta")
        assert "differs from alpha" in side(app) and "sae.k  32 → 64" in side(app)
        await pilot.press("d")
        await until(lambda: isinstance(app.screen, ComparePage) and app.screen._runs)
        await pilot.press("d")
        await until(lambda: isinstance(app.screen, Reader))
        text = app.screen._content.plain
        assert "sae.k" in text and "32 → 64" in text and "fvu" in text
        await pilot.press("escape", "escape")
        app.tick()
    again = workbench(sessions_root)
    assert again.marked == {"alpha"}


@pytest.mark.asyncio
async def test_stop_asks_and_then_tells_the_job(sessions_root, workbench, monkeypatch):
    from core import jobs

    stopped = []
    monkeypatch.setattr(jobs, "stop", lambda session: stopped.append(session.name))
    app = workbench(sessions_root)
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.pause(0.2)
        await at(pilot, "alpha")
        await pilot.press("x")
        assert isinstance(app.screen, RunsPage)  # nothing runs there
        await at(pilot, "beta")
        await pilot.press("x")
        await pilot.pause()
        assert isinstance(app.screen, Ask)
        assert "A checkpoint is written first." in str(app.screen.query_one(".detail").content)
        await pilot.press("escape")
        beta = Session(sessions_root / "beta")
        beta.write_status(replace(beta.status(), job="analyze", phase="reading activations"))
        app.tick()
        await until(lambda: app.screen.at.status.job == "analyze")
        await pilot.press("x")
        await pilot.pause()
        assert "What it has read is kept" in str(app.screen.query_one(".detail").content)
        await pilot.press("escape")
        await pilot.press("x")
        await pilot.pause()
        await pilot.press("s")
        await pilot.pause(0.1)
    assert stopped == ["beta"]


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
async def test_the_member_of_a_sweep_that_runs_says_which_it_is_in_its_row(sessions_root, workbench, size):
    members = {name: {"sae.k": "8"} for name in ("alpha", "beta", "gamma")}
    for name in members:
        Session(sessions_root / name).sweep_path.write_text(json.dumps({"members": members}))
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=size) as pilot:
        await pilot.pause(0.3)
        await until(lambda: any("● running 2 of 3  beta" in row and "40/100" in row for row in lines(app)))
        assert [" of 3" in row for row in lines(app)].count(True) == 1


@pytest.mark.asyncio
async def test_delete_asks_closes_the_database_and_removes_the_folder(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.pause(0.3)
        app.stores.get(app.session)
        app.marked = {"alpha"}
        await at(pilot, "beta")
        await pilot.press("D")
        assert isinstance(app.screen, RunsPage)  # it runs
        await at(pilot, "alpha")
        await pilot.press("D")
        await pilot.pause()
        assert "B: its SAE" in str(app.screen.query_one(".detail").content)
        await pilot.press("enter")  # what has the focus is harmless
        await pilot.pause()
        assert (sessions_root / "alpha").exists()
        await pilot.press("D")
        await pilot.pause()
        await pilot.press("d")
        await pilot.pause(0.4)
        assert not (sessions_root / "alpha").exists()
        assert [seen.name for seen in app.screen._rows] == ["beta", "gamma"]
        assert app.marked == set() and app.session.name == "beta"


@pytest.mark.asyncio
async def test_jobs_are_started_detached_where_they_make_sense(sessions_root, workbench, monkeypatch):
    from core import jobs
    from core.config import RunConfig

    class Ended:
        def poll(self) -> int:
            return 0

    started, said = [], []
    monkeypatch.setattr(
        jobs, "start", lambda session, verb, args=(): started.append((session.name, verb, *args)) or Ended()
    )
    Session.create(sessions_root, "waiting", RunConfig())
    app = workbench(sessions_root)
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.pause(0.2)
        app.notify = lambda message, **_: said.append(message)
        for name, key in (("alpha", "A"), ("alpha", "E"), ("gamma", "A"), ("beta", "A"), ("alpha", "T")):
            await at(pilot, name)
            await pilot.press(key)
            await pilot.pause(0.1)
        assert started == [("alpha", "analyze"), ("alpha", "evaluate")]
        assert any("gamma" in s and "no trained SAE" in s for s in said)
        assert any("trained already" in s for s in said)
        await at(pilot, "waiting")
        await pilot.press("T")
        await pilot.pause(0.3)
        assert started[-1] == ("waiting", "train", *jobs.THEN)
        assert (app.session.name, app.current_mode) == ("waiting", "train")
        app.tick()
        assert app.started == []  # looked at, so that none stays a zombie


@pytest.mark.asyncio
async def test_a_training_that_did_not_end_is_resumed_from_runs_and_from_train(sessions_root, workbench, monkeypatch):
    from core import jobs

    started = []

    class Process:
        def poll(self):
            return 0

    monkeypatch.setattr(
        jobs, "start", lambda session, verb, args=(): (started.append((session.name, verb, *args)), Process())[1]
    )
    app = workbench(sessions_root)
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.pause(0.2)
        await at(pilot, "gamma")
        assert not app.screen.check_action("resume", ())  # it has no checkpoint
        folder = sessions_root / "gamma" / "checkpoints" / "2"
        folder.mkdir(parents=True)
        (folder / "training.json").write_text("{}")
        app.tick()
        for _ in range(100):
            await pilot.pause(0.02)
            if app.screen.check_action("resume", ()):
                break
        await pilot.press("r")
        await pilot.pause(0.3)
        assert started == [("gamma", "train", *jobs.THEN)]
        assert (app.session.name, app.current_mode) == ("gamma", "train")
        for _ in range(100):
            await pilot.pause(0.02)
            if app.screen.check_action("resume", ()):
                break
        assert "r: train on from it" in str(app.screen.query_one("#trouble").render())
        await pilot.press("r")
        await pilot.pause(0.3)
        assert started == [("gamma", "train", *jobs.THEN)] * 2


@pytest.mark.asyncio
async def test_an_empty_folder_says_what_to_press_and_the_demo_can_be_tried(tmp_path: Path, workbench, monkeypatch):
    from core import demo
    from core.config import RunConfig

    def begin(root: Path):
        return Session.create(root, "demo", RunConfig()), None

    monkeypatch.setattr(demo, "begin", begin)
    app = workbench(tmp_path / "none")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause(0.2)
        welcome = app.screen.query_one("#welcome")
        assert (
            welcome.display and "train the demo" in str(welcome.content) and not app.screen.query_one("#panes").display
        )
        await pilot.press("x", "D", "v", "d", "space", "s", "A")
        assert isinstance(app.screen, RunsPage)
        await pilot.press("t")
        await pilot.pause(0.4)
        assert app.session.name == "demo" and app.current_mode == "train"


@pytest.mark.asyncio
async def test_a_job_that_runs_and_ends_is_followed(sessions_root, workbench):
    app = workbench(sessions_root)
    async with app.run_test(size=(160, 45)) as pilot:
        await pilot.pause(0.2)
        await at(pilot, "beta")
        beta = Session(sessions_root / "beta")
        with beta.metrics_path.open("a") as file:
            file.write(json.dumps({"step": 55, "steps": 100, "fvu": 0.123}) + "\n")
        beta.write_status(replace(beta.status(), done=30_000, phase="evaluating", total=60_000))
        app.tick()
        await pilot.pause(0.3)
        assert "evaluating 50%" in "\n".join(lines(app)) and ".123" in "\n".join(lines(app))
        assert "evaluating: 30,000 of 60,000 activations (50%)" in " ".join(side(app).split())


@pytest.mark.asyncio
async def test_what_is_copied_is_the_name_and_the_command_shows_the_same(sessions_root, workbench):
    app = workbench(sessions_root)
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.pause(0.2)
        copied = []
        app.copy_to_clipboard = copied.append
        await at(pilot, "gamma")
        await pilot.press("y", "Y")
        assert (
            copied[0] == "gamma" and copied[1].startswith("sae-tui --sessions ") and copied[1].endswith(" show gamma")
        )


@pytest.mark.asyncio
async def test_the_log_is_followed_searched_and_left(sessions_root, workbench):
    log = sessions_root / "beta" / "log.txt"
    log.write_text(
        "== train, now\n" + "".join(f"step {i}\n" for i in range(1, 200)) + "".join(HOSTILE) + "\nerror: bad\n"
    )
    app = workbench(sessions_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause(0.2)
        await at(pilot, "beta")
        await pilot.press("v")
        await pilot.pause(0.3)
        assert isinstance(app.screen, LogReader)
        view = app.screen.query_one(LogView)
        rows = [view.render_line(y).text.rstrip() for y in range(view.size.height)]
        assert "error: bad" in rows and "step 199" in rows and view.following
        assert all(row.isprintable() for row in rows)
        with log.open("a") as file:
            file.write("step 200\nhalf a li")
        app.tick()
        await pilot.pause(0.3)
        assert view.render_line(view.size.height - 1).text.strip() == "step 200"
        await pilot.press("slash", *"STEP 19", "enter")
        await pilot.pause()
        assert view.found == (2, 11) and view.line == "step 190"  # the first from where one looks
        await pilot.press("N", "N")
        assert view.line == "step 199" and not view.following
        await pilot.press("n", "g", "n")
        assert view.line == "step 190"
        assert "2 of 11" in str(view.border_subtitle)
        await pilot.press("escape")
        assert view.found == (0, 0) and isinstance(app.screen, LogReader)
        await pilot.press("g")
        assert view.render_line(0).text.strip() == "== train, now"
        await pilot.press("space", "pageup", "j", "k", "G")
        assert view.following
        await pilot.resize_terminal(100, 30)
        await pilot.pause()
        assert view.render_line(view.size.height - 1).text.strip() == "step 200"
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.screen, RunsPage)


def test_it_imports_nothing_that_is_slow():
    import subprocess
    import sys

    slow = {"pydantic", "duckdb", "plotext", "torch", "numpy", "pyarrow"}
    code = "import sys, sae_tui.screens.runs; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not slow & set(done.stdout.split())

"""The form of a new run: what it says while one types, what it starts, what it keeps."""

import contextlib
import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from textual.events import Paste

from core import config, jobs, sweep
from core.session import Session
from sae_tui.screens.choose import Choose
from sae_tui.screens.configure import ConfigurePage
from sae_tui.screens.dialogs import Ask
from sae_tui.screens.runs import RunsPage
from sae_tui.widgets.form import FIELD, LABEL
from sae_tui.widgets.rows import Rows
from tests.sae_tui.waiting import until


@pytest.fixture
def started(monkeypatch) -> list:
    """What was started, in place of real processes."""
    found = []

    class Ended:
        def poll(self) -> int:
            return 0

    monkeypatch.setattr(jobs, "start", lambda session, verb, args=(): found.append((session, verb, *args)) or Ended())
    return found


async def opened(pilot, key: str = "n") -> ConfigurePage:
    await pilot.pause(0.2)
    await pilot.press(key)
    await until(lambda: isinstance(pilot.app.screen, ConfigurePage))
    await until(lambda: pilot.app.screen._checked is not None)
    return pilot.app.screen


async def typed(pilot, name: str, text: str) -> None:
    """Put the focus in a field and type another value; a long one is pasted, which is quicker."""
    form = pilot.app.screen._form
    form.go_to(form.row(name))
    await pilot.pause()
    await pilot.press("end", "ctrl+u")
    if len(text) < 3:
        await pilot.press(*text)
    else:
        form.post_message(Paste(text))
    await pilot.pause(0.05)


def note(page, name: str) -> str:
    form = page._form
    form.go_to(form.row(name))
    y = form._shown.index(form.row(name)) - form._top
    return form.render_line(y).text[LABEL + FIELD[form.size.width < 90] :].strip()


def words(page, part: str) -> str:
    return "\n".join(line.plain for line in page.query_one(part, Rows).lines)


@pytest.mark.asyncio
async def test_it_begins_with_a_preset_a_free_name_and_what_it_will_cost(sessions_root, workbench):
    app = workbench(sessions_root)
    async with app.run_test(size=(160, 45)) as pilot:
        page = await opened(pilot)
        assert page._session_name == "smollm2-l10-topk32" and page._texts["budget.activations"] == "120,000"
        cost = words(page, "#cost")
        for said in ("ready", "235 steps on 121k tokens", "30 layers, 576 wide, 135M", "576 → 4,608", "memory", "disk"):
            assert said in cost
        assert "GB free" in cost
        assert "Hook point" not in words(page, "#help")
        await pilot.press(*["down"] * 4)
        await pilot.pause()
        assert "Hook point in TransformerLens' names" in words(page, "#help")
        assert "learning rate after the warm-up" in note(page, "training.lr")
        shown = {row.entry.name for row in page._form.shown()}
        assert "sae.k" in shown and "sae.l1_coefficient" not in shown and "seed" not in shown


@pytest.mark.asyncio
async def test_what_is_wrong_is_said_beside_the_field_as_one_types_and_nothing_starts(
    sessions_root, workbench, started
):
    app = workbench(sessions_root)
    async with app.run_test(size=(160, 45)) as pilot:
        page = await opened(pilot)
        await typed(pilot, "sae.k", "0")
        assert note(page, "sae.k") == "✗ must be greater than 0" and "1 to mend" in words(page, "#cost")
        await typed(pilot, "sae.k", "16")
        assert "✗" not in note(page, "sae.k") and page._session_name == "smollm2-l10-topk16"
        await typed(pilot, "model.hook", "blocks.99.hook_resid_post")
        await until(lambda: "30 blocks, 0 to 29" in note(page, "model.hook"))
        await typed(pilot, "model.hook", "blocks.9.hook_resid_pots")
        await until(lambda: "? did you mean 'hook_resid_post'" in note(page, "model.hook"))
        await typed(pilot, "model.name", "./nowhere")
        await until(lambda: "no model folder" in note(page, "model.name"))
        await typed(pilot, "corpus.name", "/none/x.txt")
        await typed(pilot, "session", "alpha")
        assert "already" in note(page, "session")
        await typed(pilot, "session", "Not A Name")
        assert "cannot name a session" in note(page, "session")
        await until(lambda: "no such file" in note(page, "corpus.name"))
        await pilot.press("ctrl+s")
        await pilot.pause()
        detail = str(app.screen.query_one(".detail").content)
        assert all(name in detail for name in ("session:", "model.name:", "corpus.name:"))
        await pilot.press("b")
        await pilot.pause()
        assert (
            app.screen is page and page._form.at.entry.name == "session" and page._texts["corpus.name"] == "/none/x.txt"
        )
        assert started == [] and len(list(sessions_root.iterdir())) == 3


@pytest.mark.asyncio
async def test_it_starts_a_session_of_its_own_and_goes_to_watch_it(sessions_root, workbench, started):
    app = workbench(sessions_root)
    async with app.run_test(size=(80, 24)) as pilot:
        page = await opened(pilot)
        await typed(pilot, "sae.k", "8")
        form = page._form
        form.go_to(form.row("model.dtype"))
        await pilot.press("right", "left", "enter")
        assert page._texts["model.dtype"] == "bfloat16"
        await typed(pilot, "session", "mine")
        await typed(pilot, "budget.activations", "20,000")
        assert page._session_name == "mine"
        await pilot.press("ctrl+s")
        await until(lambda: app.current_mode == "train")
        [(session, verb, *arguments)] = started
        assert verb == "train" and tuple(arguments) == jobs.THEN and app.session.name == session.name == "mine"
        cfg = Session(sessions_root / "mine").config()
        assert (cfg.sae.k, cfg.model.dtype, cfg.budget.activations) == (8, "bfloat16", 20_000)
        assert cfg == config.parse(config.with_settings(
            config.preset("demo"), ["sae.k=8", "model.dtype=bfloat16", "budget.activations=20_000"]
        ))  # fmt: skip
        await pilot.press("1")
        await until(lambda: isinstance(app.screen, RunsPage))
        assert app.state.part("configure") == {}


@pytest.mark.asyncio
async def test_a_clone_begins_with_the_sessions_configuration(sessions_root, workbench, started):
    path = sessions_root / "alpha" / "config.toml"
    path.write_text(path.read_text().replace("k = 32", "k = 7").replace("seed = 0", "seed = 11"))
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=(120, 36)) as pilot:
        page = await opened(pilot, "c")
        await until(lambda: page._texts["seed"] == "11")
        assert page._texts["sae.k"] == "7" and page._preset == "as alpha"
        form = page._form
        form.go_to(form.row("then"))
        await pilot.press("right")
        line = shlex.split(page.command_line())
        assert line[3:5] == ["clone", "alpha"] and "--then-all" not in line
        await pilot.press("ctrl+s")
        await until(lambda: started)
        assert started[0][1:] == ("train",) and started[0][0].config().seed == 11


@pytest.mark.asyncio
async def test_presets_are_gone_through_and_each_keeps_what_was_typed(sessions_root, workbench):
    app = workbench(sessions_root)
    async with app.run_test(size=(120, 36)) as pilot:
        page = await opened(pilot)
        await typed(pilot, "sae.k", "9")
        page._form.go_to(page._form.row("preset"))
        while page._preset != "relu":
            await pilot.press("right")
        await until(lambda: page._session_name == "smollm2-l10-relu")
        assert page._texts["sae.architecture"] == "relu" and page._session_name == "smollm2-l10-relu"
        assert {"sae.l1_coefficient", "sae.k"} & {row.entry.name for row in page._form.shown()} == {
            "sae.l1_coefficient"
        }
        await pilot.press("right", "right", "right")
        assert page._texts["budget.activations"] == "1,000,000"
        await pilot.press("right")
        assert page._preset == "demo" and page._texts["sae.k"] == "9"
        line = shlex.split(page.command_line())
        assert line[3:6] == ["train", "--preset", "demo"] and "sae.k=9" in line and "--then-all" in line


@pytest.mark.asyncio
async def test_all_fields_are_there_when_asked_for(sessions_root, workbench):
    from core import fields

    app = workbench(sessions_root)
    async with app.run_test(size=(160, 45)) as pilot:
        page = await opened(pilot)
        await pilot.press("ctrl+t")
        await until(lambda: page._form.row("seed"))
        names = {row.entry.name for row in page._form.shown()}
        others = {field.name for field in fields.fields() if field.only and "topk" not in field.only}
        assert {"sae.l1_coefficient", "sae.bandwidth"} <= others
        assert {field.name for field in fields.fields()} - names == others
        await typed(pilot, "seed", "-1")
        assert "greater than or equal to 0" in note(page, "seed")
        page._form.go_to(page._form.row("preset"))
        await pilot.press("a")
        await pilot.pause(0.1)
        assert page._form.row("seed") not in page._form.shown()
        assert "seed (^T shows all fields)" in words(page, "#cost")


@pytest.mark.asyncio
async def test_choices_are_offered_for_the_field_at_hand(sessions_root, workbench):
    app = workbench(sessions_root)
    async with app.run_test(size=(120, 36)) as pilot:
        page = await opened(pilot)
        page._form.go_to(page._form.row("model.hook"))
        await pilot.press("ctrl+o")
        await until(lambda: isinstance(app.screen, Choose))
        await pilot.press(*"12.attn.hook_z", "enter")
        await until(lambda: app.screen is page)
        assert page._texts["model.hook"] == "blocks.12.attn.hook_z" and page._session_name == "smollm2-l12-topk32"
        page._form.go_to(page._form.row("corpus.name"))
        await pilot.press("ctrl+o")
        await until(lambda: isinstance(app.screen, Choose))
        assert ("stdlib", "of another session") in app.screen._choices
        await pilot.press("escape")


@pytest.mark.asyncio
async def test_the_same_is_edited_as_toml_and_what_is_wrong_with_it_is_kept_to_go_on_with(
    sessions_root, workbench, monkeypatch, tmp_path
):
    edits, seen = iter(["k = 32/k = 16", "k = 16/kk = 16", "kk = 16/k = 0", "[sae]/[sae"]), tmp_path / "seen"
    script = tmp_path / "editor.sh"
    script.write_text('#!/bin/sh\ncat "$1" > "$SEEN"\nsed -i "s/^$EDIT/" "$1"\n')
    script.chmod(0o755)
    monkeypatch.setenv("SEEN", str(seen))
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", str(script))
    app = workbench(sessions_root)
    app.suspend = contextlib.nullcontext
    async with app.run_test(size=(120, 36)) as pilot:
        page = await opened(pilot)

        async def edit(key: str) -> None:
            monkeypatch.setenv("EDIT", next(edits).replace("[", "\\["))
            await pilot.press(key)
            await pilot.pause(0.2)

        await edit("ctrl+e")  # also while one types
        assert page._texts["sae.k"] == "16" and "# topk, batchtopk, matryoshka: features active" in seen.read_text()
        await edit("ctrl+e")
        assert isinstance(app.screen, Ask) and "did you mean 'sae.k'" in str(app.screen.query_one(".detail").content)
        await edit("e")
        assert "kk = 16" in seen.read_text()  # the text that was wrong
        assert app.screen is page and page._texts["sae.k"] == "0" and "✗" in note(page, "sae.k")
        await edit("ctrl+e")
        assert seen.read_text().startswith("# wrong: sae.k = 0")
        assert "cannot be read as TOML" in str(app.screen.query_one(".detail").content)
        await pilot.press("d")
        await pilot.pause()
        assert app.screen is page and page._texts["sae.k"] == "0"
        monkeypatch.setenv("EDITOR", "/none/editor")
        said = []
        app.notify = lambda message, **_: said.append(message)
        await pilot.press("ctrl+e")
        await pilot.pause()
        assert "set VISUAL or EDITOR" in said[0]


@pytest.mark.asyncio
async def test_an_unfinished_form_is_asked_about_kept_and_gone_on_with(sessions_root, workbench):
    app = workbench(sessions_root)
    async with app.run_test(size=(120, 36)) as pilot:
        page = await opened(pilot)
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, RunsPage))  # nothing was changed
        page = await opened(pilot)
        await typed(pilot, "sae.k", "zwölf [/x]\x1b")
        await typed(pilot, "session", "mine")
        await pilot.press("ctrl+t")
        app.tick()
        await pilot.press("escape")
        await pilot.pause()
        await pilot.press("c")
        await pilot.pause()
        assert app.screen is page
    state = json.loads((Path(app.state._path)).read_text())
    assert next(iter(state.values()))["configure"]["texts"]["sae.k"].startswith("zwölf [/x]")
    again = workbench(sessions_root)
    async with again.run_test(size=(120, 36)) as pilot:
        await pilot.pause(0.2)
        await pilot.press("n")
        await until(lambda: isinstance(again.screen, ConfigurePage) and again.screen._texts["sae.k"] != "32")
        page = again.screen
        assert page._session_name == "mine" and "✗" in note(page, "sae.k") and page._everything
        await pilot.press("escape")
        await pilot.pause()
        await pilot.press("k")
        await until(lambda: isinstance(again.screen, RunsPage))
        assert again.state.part("configure")["name"] == "mine"
        await pilot.press("n")
        await until(lambda: isinstance(again.screen, ConfigurePage) and again.screen._session_name == "mine")
        await pilot.press("escape")
        await pilot.pause()
        await pilot.press("d")
        await until(lambda: isinstance(again.screen, RunsPage))
        assert again.state.part("configure") == {}


@pytest.mark.asyncio
async def test_everything_is_reached_without_a_mouse_in_a_small_terminal(sessions_root, workbench):
    app = workbench(sessions_root)
    async with app.run_test(size=(80, 24)) as pilot:
        page = await opened(pilot)
        reached = [page._form.at.entry.name]
        for _ in range(18):
            await pilot.press("down")
            await pilot.pause()
            form = page._form
            reached.append(form.at.entry.name)
            y = form._shown.index(form.at) - form._top
            assert form.at.entry.label in form.render_line(y).text and 0 <= y < form.size.height
        assert reached[0] == "session" and reached[-1] == "then" and "analysis.activations" in reached
        assert "memory" in words(page, "#cost") and "disk" in words(page, "#cost")
        await pilot.press("up")
        await pilot.pause()
        assert page._form.at.entry.name == "analysis.activations"


@pytest.mark.asyncio
async def test_a_line_is_edited_as_lines_are_and_hostile_text_is_shown_safe(sessions_root, workbench):
    app = workbench(sessions_root)
    async with app.run_test(size=(80, 24)) as pilot:
        page = await opened(pilot)
        form = page._form
        form.go_to(form.row("corpus.name"))
        await pilot.press(
            "ctrl+u", *"ab", "home", "x", "right", "delete", "end", "left", "left", "backspace", "q", "1", "colon"
        )
        assert page._texts["corpus.name"] == "q1:xa" and app.current_mode == "runs"
        await pilot.press("end", "ctrl+w")
        assert page._texts["corpus.name"] == ""
        form.post_message(Paste("./日本\x1b[2J[/x]" + "long" * 20 + "\nsecond line"))
        await pilot.pause(0.05)
        assert (
            page._texts["corpus.name"].startswith("./日本␛[2J[/x]long") and "second" not in page._texts["corpus.name"]
        )
        for key in ("left", "home", "right", "end"):
            await pilot.press(key)
            lines = [form.render_line(y) for y in range(form.size.height)]
            assert all(line.text.isprintable() and line.cell_length == form.size.width for line in lines)
        await pilot.press("home", "ctrl+k")
        assert page._texts["corpus.name"] == ""
        await pilot.click("Form", offset=(35, 5))
        await pilot.click("Form", offset=(35, 5))
        assert page._texts["model.dtype"] == "bfloat16"


@pytest.mark.asyncio
async def test_what_a_preset_is_for_is_said_and_a_target_stands_in_the_place_of_the_weight_it_decides(
    sessions_root, workbench
):
    app = workbench(sessions_root)
    async with app.run_test(size=(160, 45)) as pilot:
        page = await opened(pilot)
        page._form.go_to(page._form.row("preset"))
        await pilot.pause()
        assert "in a few minutes on two cores" in words(page, "#help")
        while page._preset != "jumprelu-l0":
            await pilot.press("right")
            await pilot.pause()
        assert "JumpReLU SAE that is brought to 32" in words(page, "#help")

        def shown() -> set[str]:
            return {row.entry.name for row in page._form.shown()}

        assert page._form.value("sae.target_l0") == "32" and "sae.l0_coefficient" not in shown()
        await typed(pilot, "sae.target_l0", "")
        assert "sae.l0_coefficient" in shown()
        page._form.go_to(page._form.row("preset"))
        while page._preset != "exploring":
            await pilot.press("left")
            await pilot.pause()
        await until(lambda: "× 100 epochs" in words(page, "#cost"))
        assert "sae.l1_coefficient" in shown()


@pytest.mark.asyncio
async def test_a_study_is_begun_from_its_preset_and_a_grid_from_what_is_typed(sessions_root, workbench, started):
    app = workbench(sessions_root)
    async with app.run_test(size=(160, 45)) as pilot:
        page = await opened(pilot)
        page._form.go_to(page._form.row("preset"))
        while page._preset != "study-activation":
            await pilot.press("left")
            await pilot.pause()
        assert page._form.value("sweep") == "activation" and page._session_name == "smollm2-l10-activation"
        await until(lambda: "6 runs, each of this cost" in words(page, "#cost"))
        line = shlex.split(page.command_line())
        assert line[3:7] == ["study", "activation", "--preset", "study-activation"]
        assert line[-2:] == ["--detach", "--analyze"]
        await typed(pilot, "sweep", "sae.kk=4")
        await until(lambda: "no field" in note(page, "sweep"))
        await typed(pilot, "sweep", "sae.k=4,8 seed=0,1")
        await until(lambda: "4 runs" in words(page, "#cost") and "✗" not in note(page, "sweep"))
        assert shlex.split(page.command_line())[3:10] == [
            "sweep", "--preset", "study-activation", "--grid", "sae.k=4,8", "--grid", "seed=0,1",
        ]  # fmt: skip
        await typed(pilot, "session", "grid")
        await pilot.press("ctrl+s")
        await until(lambda: app.current_mode == "train")
        [(session, verb, *arguments)] = started
        assert verb == "train" and tuple(arguments) == (*jobs.THEN, jobs.SWEEP) and session.name == "grid-k4-seed0"
        assert list(session.sweep()) == ["grid-k4-seed0", "grid-k4-seed1", "grid-k8-seed0", "grid-k8-seed1"]
        assert Session(sessions_root / "grid-k8-seed1").config().training.cache == "float16"


@pytest.mark.asyncio
async def test_runs_tells_how_far_a_sweep_is_and_resuming_goes_on_with_it(sessions_root, workbench, started):
    values = config.preset("demo")
    one, _ = sweep.begin(sessions_root, sweep.members("grid", values, {"sae.k": ["4", "8"]}))
    one.append_metrics({"step": 5, "steps": 20, "elapsed_s": 100.0})
    (one.checkpoints_dir / "5").mkdir(parents=True)
    (one.checkpoints_dir / "5" / "training.json").write_text("{}")
    one.write_status(replace(one.status(), job="train", state="stopped"))
    app = workbench(sessions_root, session="grid-k4")
    async with app.run_test(size=(160, 45)) as pilot:
        await until(lambda: "run 1 of 2 of a sweep, 0 finished, about 12 min" in words(app.screen, "#told"))
        await pilot.press("r")
        await until(lambda: started)
        assert started[0][0].name == "grid-k4" and started[0][1:] == ("train", *jobs.THEN, jobs.SWEEP)

"""The workbench around its screens: modes, help, palette, copying, coming back, ends of jobs, keys."""

import json
from pathlib import Path

import pytest
from textual.content import Content
from textual.events import Key

from sae_tui import keys, settings
from sae_tui.palette import Commands
from sae_tui.screens.choose import Choose
from sae_tui.screens.dialogs import Ask, AskText, Reader
from sae_tui.screens.saved import ChooseSaved
from sae_tui.screens.sql_history import SqlHistory
from sae_tui.state import State
from sae_tui.widgets.bars import MODES, KeyBar, TitleBar
from tests.sae_tui.waiting import until

SIZE = (100, 30)


@pytest.mark.asyncio
async def test_digits_go_to_the_modes_and_each_keeps_its_screen(sessions_root, workbench):
    app = workbench(sessions_root)
    async with app.run_test(size=SIZE) as pilot:
        assert app.current_mode == "runs"
        screens = {}
        for number, mode in enumerate(MODES, 1):
            await pilot.press("escape", str(number))
            await pilot.pause()
            assert app.current_mode == mode
            screens[mode] = app.screen
        await pilot.press("escape", "1")
        await pilot.pause()
        assert app.screen is screens["runs"]


@pytest.mark.asyncio
async def test_the_title_says_where_one_is_and_what_runs(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        title = app.screen.query_one(TitleBar).content.plain
        assert "1 Runs" in title and "alpha" in title and "1 running" in title


@pytest.mark.asyncio
async def test_help_lists_every_key_of_the_screen_and_those_that_work_everywhere(sessions_root, workbench):
    app = workbench(sessions_root)
    async with app.run_test(size=(120, 45)) as pilot:
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, Reader)
        text = app.screen._content.plain
        for action in [*keys.actions("runs"), *keys.actions("app")]:
            assert action.help in text and action.id in text
        await pilot.press("escape")
        await pilot.pause()
        assert not isinstance(app.screen, Reader)
        assert "? help" in app.screen.query_one(KeyBar).content.plain


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("dialog", "enter"),
    [
        (lambda: Ask("Sure?", (("y", "yes"), ("c", "cancel"))), "take"),
        (lambda: AskText("A name"), "take"),
        (lambda: Choose("one of", [("a", "the first")]), "take"),
        (lambda: SqlHistory([]), "take"),
        (lambda: ChooseSaved([]), "open"),
        (lambda: Reader("Read", Content("it")), None),
    ],
    ids=["ask", "text", "choose", "history", "saved", "reader"],
)
async def test_the_last_line_has_a_dialogs_keys_while_it_is_open_and_then_the_pages(
    sessions_root, workbench, dialog, enter
):
    app = workbench(sessions_root)
    async with app.run_test(size=SIZE) as pilot:
        page = app.screen
        await app.push_screen(dialog())
        await pilot.pause()
        drawn = "".join(segment.text for segment in app.screen._compositor.render_strips()[-1])
        assert "esc back" in drawn and (f"enter {enter}" in drawn if enter else "enter" not in drawn)
        assert "help" not in drawn and len(drawn) == SIZE[0]
        await pilot.press("escape")
        await until(lambda: app.screen is page)
        assert "? help" in "".join(segment.text for segment in page._compositor.render_strips()[-1])


@pytest.mark.asyncio
async def test_a_letter_right_behind_esc_answers_nothing(sessions_root, workbench):
    app = workbench(sessions_root)
    answers = []
    async with app.run_test(size=SIZE) as pilot:
        await app.push_screen(Ask("Delete?", (("c", "cancel"), ("d", "delete"))), answers.append)
        await pilot.pause()
        app.screen.post_message(Key("alt+d", "d"))  # as a terminal sends both, and Textual reads them
        await pilot.pause()
        assert isinstance(app.screen, Ask) and not answers
        await pilot.press("d")
        await until(lambda: answers == ["d"])


@pytest.mark.asyncio
async def test_the_palette_finds_actions_sessions_and_features_by_number(sessions_root, workbench):
    app = workbench(sessions_root, session="beta")
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("colon")
        await pilot.press(*"run alpha")
        await pilot.pause(0.5)
        await pilot.press("enter")
        await pilot.pause(0.3)
        assert app.session.name == "alpha"
        await pilot.press("colon", "3")
        await pilot.pause(0.5)
        await pilot.press("enter")
        await pilot.pause(0.3)
        assert app.current_mode == "features"
        assert type(app.screen).__name__ == "FeaturePage"


@pytest.mark.asyncio
async def test_the_palette_begins_with_what_the_screen_can_do_and_names_the_keys(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=SIZE) as pilot:
        await until(lambda: app.screen.focused is not None)
        found = [(hit.text, hit.help) async for hit in Commands(app.screen).discover()]
        assert found[0] == ("Runs: new", "n  Configure a new run, from a preset")
        sections = [text.partition(":")[0] for text, _ in found]
        assert sections == sorted(sections, key=["Runs", "In tables", "Everywhere"].index)
        hits = [hit.text async for hit in Commands(app.screen).search("Draw the whole screen")]
        assert hits[0] == "Everywhere: redraw"
        await pilot.pause()


def test_keys_are_written_as_they_stand_on_a_keyboard():
    assert keys.shown_keys(["ctrl+j", "f5", "ctrl+enter", "f1"]) == "^J F5 ^enter F1"


@pytest.mark.asyncio
async def test_it_comes_back_in_the_mode_and_with_the_session_it_was_left(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("escape", "3")
        await pilot.pause()
        app.tick()
    again = workbench(sessions_root)
    async with again.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert (again.current_mode, again.session.name) == ("features", "alpha")


@pytest.mark.asyncio
async def test_the_end_of_a_job_is_told(sessions_root, workbench):
    from dataclasses import replace

    from core.session import Session

    app = workbench(sessions_root)
    said = []
    async with app.run_test(size=SIZE) as pilot:
        app.notify = lambda message, **options: said.append((message, options["severity"], options["markup"]))
        await pilot.pause(0.1)
        beta = Session(sessions_root / "beta")
        beta.write_status(replace(beta.status(), state="failed", error="the disk is full [/x]\x1b"))
        told: list = []
        for _ in range(200):
            app.tick()  # none while one is at work
            await pilot.pause(0.05)
            told = [
                s for s in said if "beta: train failed. the disk is full [/x]␛" in s[0] and s[1:] == ("error", False)
            ]
            if told:
                break
    assert told


@pytest.mark.asyncio
async def test_leaving_while_a_job_runs_asks_and_detaching_stops_nothing(sessions_root, workbench):
    app = workbench(sessions_root)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("escape", "q")
        await pilot.pause()
        assert isinstance(app.screen, Ask)
        await pilot.press("d")
        await pilot.pause()
    assert app.return_value == 0
    assert not (sessions_root / "beta" / "control.json").exists()


@pytest.mark.asyncio
async def test_a_persons_keys_take_the_place_of_ours(sessions_root, workbench):
    app = workbench(sessions_root, keys={"app.features": "ctrl+f"})
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("escape", "3")
        assert app.current_mode == "runs"
        await pilot.press("ctrl+f")
        await pilot.pause()
        assert app.current_mode == "features"


def test_every_action_has_words_a_method_and_keys_that_work_over_ssh():
    from sae_tui.app import Workbench

    ids = [action.id for action in keys.ACTIONS]
    assert len(ids) == len(set(ids))
    owners = {"app": [Workbench], **owners_of_sections()}
    for action in keys.ACTIONS:
        assert action.section in keys.SECTIONS and action.label and len(action.help) > 10 and action.help[-1] != "."
        assert any(hasattr(owner, f"action_{action.name.split('(')[0]}") for owner in owners[action.section]), action.id
        pressed = action.keys.split(",")
        assert any(not k.startswith(("f1", "f2", "f5", "alt+", "ctrl+b", "ctrl+a")) for k in pressed), action.id


def owners_of_sections() -> dict[str, list[type]]:
    """The classes that take each section's keys: screens by SECTION, widgets by the ids in their bindings."""
    import importlib
    import pkgutil

    import sae_tui.screens
    import sae_tui.widgets

    found: dict[str, list[type]] = {}
    for package in (sae_tui.screens, sae_tui.widgets):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, type) and value.__module__ == module.name:
                    bound = {getattr(b, "id", None) or "" for b in vars(value).get("BINDINGS", [])}
                    for section in {b.partition(".")[0] for b in bound if b}:
                        found.setdefault(section, []).append(value)
    return found


def test_no_two_actions_that_work_at_once_share_a_key():
    everywhere = {k for action in keys.actions("app") for k in action.keys.split(",")}
    for section in keys.SECTIONS:
        if section == "app":
            continue
        pressed = [k for action in keys.actions(section) for k in action.keys.split(",")]
        assert len(pressed) == len(set(pressed)), section
        assert not everywhere & set(pressed), (section, everywhere & set(pressed))
    shared = {k for action in keys.actions("edits") for k in action.keys.split(",")}
    for section in ("steer", "image"):
        assert not shared & {k for action in keys.actions(section) for k in action.keys.split(",")}, section


def test_settings_are_read_strictly_and_a_wrong_one_names_the_nearest(tmp_path: Path):
    path = tmp_path / "settings.toml"
    assert settings.read(path) == settings.Settings()
    path.write_text(settings.EXAMPLE)
    assert settings.read(path).graph == "braille"
    for text, words in (
        ("thema = 1", "theme"), ('theme = "sae-drak"', "sae-dark"), ('[keys]\n"app.stere" = "n"', "app.steer"),
        ('[keys]\n"runs.new" = ""', "keys read like"), ("= 3", "cannot be read as TOML"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(Exception, match=words):
            settings.read(path)


def test_a_torn_state_file_reads_as_empty_and_other_folders_keep_theirs(tmp_path: Path):
    path = tmp_path / "state.json"
    path.write_text("{torn")
    state = State(tmp_path / "a", path)
    assert state.values == {}
    state.keep({"app": {"mode": "sql"}})
    State(tmp_path / "b", path).keep({"app": {"mode": "steer"}})
    assert State(tmp_path / "a", path).part("app") == {"mode": "sql"}
    assert len(json.loads(path.read_text())) == 2

"""Steer on an image with an engine that has no network: what keys do, what is asked, what is shown."""

import shlex
import shutil

import pytest
from textual.widgets import Static

from core.errors import EngineError
from core.session import Session
from core.steering.interventions import Intervention
from sae_tui.screens.feature_images import ImageFeaturePage
from sae_tui.screens.steer import SteerPage
from sae_tui.screens.steer_image import SteerImagePage
from sae_tui.widgets.bars import KeyBar
from sae_tui.widgets.command_line import CommandLine
from sae_tui.widgets.scored import Scored
from sae_tui.widgets.shown_image import ShownImage
from tests.sae_tui.fake_images import FIRST, LABELS, FakeImageEngine, taken_for, with_sae
from tests.sae_tui.steering import command, note, offered, state, typed
from tests.sae_tui.waiting import until

WIDE, NARROW = (160, 45), (80, 24)
ABLATED = Intervention("ablate", 5)


@pytest.fixture
def on_images(images_root, workbench, engine):
    """The workbench on the Steer screen of a session of images, with an engine like `engine.like`."""
    engine.like = FakeImageEngine
    for name in ("digits", "maps", "pixels"):
        with_sae(images_root / name)

    def opened(**options):
        return workbench(images_root, **{"mode": "steer", "session": "digits", **options})

    return opened


async def there(app):
    """The page, once the first image is."""
    await until(lambda: isinstance(app.screen, SteerImagePage) and app.screen.desk.shown)
    return app.screen


async def asked(page, image, *edits):
    """Wait until this is what is shown."""
    newest = (image, edits)
    await until(lambda: (page.desk._newest.image, page.desk._newest.interventions) == newest, page.desk._newest)
    await until(lambda: page.desk._newest in page.desk._answers and page.desk.shown.image == image)


def rows(page):
    widget = page.query_one(Scored)
    return [widget.render_line(y).text for y in range(widget.size.height)]


def facts(page):
    return str(page.query_one("#facts", Static).render())


@pytest.mark.asyncio
async def test_the_first_image_of_the_test_split_is_shown_with_its_classes_and_what_fires(on_images):
    app = on_images()
    async with app.run_test(size=WIDE) as pilot:
        page = await there(app)
        await asked(page, FIRST)
        await until(lambda: "ready on cpu" in state(page))
        assert state(page).startswith("mnist-mlp mlp.hook_post") and page.focused is page.firing.table
        wrong = taken_for(FIRST)
        assert f"a {LABELS[0]} · test 1/60" in facts(page) and f"baseline  {wrong}" in facts(page)
        assert "wrong" in facts(page) and "takes 9 of 60 of the test split for another class" in facts(page)
        shown = rows(page)
        assert "baseline" in shown[0] and "steered" in shown[0] and len(shown) == 11
        assert shown[1 + LABELS[0]].startswith("▸") and shown[1 + wrong].count("◂") == 2
        assert shown[1 + wrong].count("85.8%") == 2 and shown[1 + wrong].count("█") > 40
        assert [row.feature for row in page.firing.table._source._pages[0]] == [5, 3, 7]
        await until(lambda: "the fives" in page.firing._stands_for(page.desk.shown.features[0]).plain)
        drawn = page.query_one(ShownImage)
        assert len(drawn._lines) == 28 and drawn._lines[0].cell_length == 56, "twice as large as its pixels"
        await pilot.press("y")
        await until(lambda: app._notifications)
        assert page.copied() == ("the number 5", "5")


@pytest.mark.asyncio
async def test_every_change_is_asked_at_once_and_bars_and_features_follow(on_images, engine):
    app = on_images()
    async with app.run_test(size=WIDE) as pilot:
        page = await there(app)
        await asked(page, FIRST)
        await pilot.press("0")
        await asked(page, FIRST, ABLATED)
        label = int(LABELS[0])
        await until(lambda: "-6.00" in rows(page)[1 + label])
        assert "KL 0.250" in facts(page) and "ablate feature 5" in note(page)
        assert page.firing._columns()[2].cell(page.desk.shown.features[0]) == "-"
        await pilot.press("down", "plus")
        await asked(page, FIRST, ABLATED, Intervention("scale", 3, 2.0))
        await pilot.press("plus")
        await asked(page, FIRST, ABLATED, Intervention("scale", 3, 3.0))
        assert "fires on this image: 2.25" in str(page.query_one("#edit").render())
        await pilot.press("space")
        await asked(page, FIRST, ABLATED, Intervention("scale", 3, 3.0, enabled=False))
        await pilot.press("D")
        await asked(page, FIRST, ABLATED)
        before = len(engine.made.asked)
        await pilot.press("u", "u", "u", "u", "u")
        await asked(page, FIRST)
        assert page.edits.plan.interventions == () and len(engine.made.asked) == before, "all of it was answered before"
        await command(pilot, "/add 9 1max")
        await asked(page, FIRST, Intervention("add", 9, 1.0, "max"))
        assert "silent on this image" in str(page.query_one("#edit").render())
        await command(pilot, "/mode replace")
        await until(lambda: engine.made.asked[-1] == ((FIRST,), (Intervention("add", 9, 1.0, "max"),), "replace"))
        assert "replace" in state(page)
        await pilot.press("a")
        await until(lambda: page.edits.plan.of(3) == Intervention("add", 3, 1.0, "max"))


@pytest.mark.asyncio
async def test_keys_and_commands_walk_the_images_of_the_test_split(on_images):
    app = on_images()
    async with app.run_test(size=WIDE) as pilot:
        page = await there(app)
        for keys, image in (
            (["right_square_bracket"], 101),
            (["left_square_bracket"] * 2, 159),
            (["m"], 100),
            (["m"], 107),
        ):
            await pilot.press(*keys)
            await asked(page, image)
        assert taken_for(107) != LABELS[7]
        await command(pilot, "/label 3")
        await asked(page, 113)
        await pilot.press("p")
        assert page.query_one(CommandLine).value == "/image "
        await typed(pilot, "140")
        await pilot.press("enter")
        await asked(page, 140)
        assert page.query_one("#image-pane").border_title == "image 140" and "test 41/60" in facts(page)
        await command(pilot, "/image 99999")
        await until(lambda: "there is no image 99999: digits has images 100 to 159" in note(page))
        await until(lambda: page.image == 140)
        await command(pilot, "/label 77")
        assert "no image of the test split is a 77" in note(page)


@pytest.mark.asyncio
async def test_what_waits_gives_way_to_the_newest_so_that_keys_never_queue(on_images, engine):
    engine.like = lambda: FakeImageEngine(pace_s=0.1)
    app = on_images()
    async with app.run_test(size=WIDE):
        page = await there(app)
        await asked(page, FIRST)
        for _ in range(12):
            page.action_next()
        await asked(page, 112)
        assert [one[0] for one in engine.made.asked[2:]] == [(100,), (101,), (112,)]


@pytest.mark.asyncio
async def test_commands_are_those_for_images_and_places_in_a_text_are_refused(on_images):
    app = on_images()
    async with app.run_test(size=WIDE) as pilot:
        page = await there(app)
        await typed(pilot, "/")
        assert {"/image", "/label", "/ablate"} < set(offered(page)) and "/temperature" not in offered(page)
        await pilot.press("escape")
        await command(pilot, "/temperature 0")
        assert "/temperature is for text: the model of this session reads images" in note(page)
        await pilot.press("escape")
        await command(pilot, "/ablate 5@prompt")
        assert "'prompt' is a place in a text, not in an image" in note(page)
        await pilot.press("escape")
        await command(pilot, "/ablate 5@firing")
        await asked(page, FIRST, Intervention("ablate", 5, where="firing"))
        shown = page.query_one(KeyBar).content.plain
        assert "next image" in shown and "prompt" not in shown and "view" not in shown


@pytest.mark.asyncio
async def test_it_comes_back_as_it_was_and_gives_its_command_line(on_images):
    app = on_images()
    async with app.run_test(size=WIDE) as pilot:
        page = await there(app)
        await pilot.press("0", "right_square_bracket")
        await asked(page, 101, ABLATED)
        line = page.command_line()
        assert shlex.split(line) == ["sae-tui", "steer", "digits", "--image", "101", "--ablate", "5"]
        await command(pilot, "/save dull")
        await until(lambda: "kept as steering/recipes/dull.toml" in note(page))
        app.exit()
    app = on_images(mode=None)
    async with app.run_test(size=WIDE) as pilot:
        page = await there(app)
        await asked(page, 101, ABLATED)
        assert page.command_line() == line
        await command(pilot, "/clear")
        await asked(page, 101)
        await command(pilot, "/recipe dull")
        await asked(page, 101, ABLATED)


@pytest.mark.asyncio
async def test_each_kind_of_session_has_its_own_screen_and_other_screens_reach_it(
    on_images, images_root, made_sessions, engine
):
    shutil.copytree(made_sessions / "alpha", images_root / "alpha")
    app = on_images(mode="runs")
    async with app.run_test(size=WIDE) as pilot:
        digits, alpha = (Session(images_root / name) for name in ("digits", "alpha"))
        app.to_steer.append("/ablate 5")
        app.open_session(digits, "steer")
        page = await there(app)
        await asked(page, FIRST, ABLATED)
        first = engine.made
        app.open_session(alpha)
        await until(lambda: isinstance(app.screen, SteerPage))
        await until(lambda: first.closed)
        app.open_session(digits)
        await until(lambda: app.screen is page and page.desk is not None)
        await asked(page, FIRST, ABLATED)
        await pilot.press("1")
        await until(lambda: app.screen is not page)
        await pilot.press("4")
        await until(lambda: app.screen is page)
        page.firing.table.focus()
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, ImageFeaturePage))
        assert app.screen._wanted == 5
        app.remember()
        assert app.state.part("app")["mode"] == "features"


@pytest.mark.asyncio
async def test_an_engine_that_dies_or_does_not_load_is_told_and_r_starts_another(on_images, engine):
    app = on_images()
    async with app.run_test(size=WIDE) as pilot:
        page = await there(app)
        engine.made.error = EngineError("the engine died by signal 9", hint="the next request starts another")
        await pilot.press("0")
        await until(lambda: "died by signal 9" in note(page) and "✗ no engine: r starts another" in state(page))
        assert page.desk.shown.image == FIRST, "what was there stays"
        engine.made.error = None
        await pilot.press("r")
        await asked(page, FIRST, ABLATED)
        assert "ready" in state(page)


@pytest.mark.asyncio
async def test_without_an_sae_or_a_session_it_says_what_to_do(on_images, images_root, engine, workbench, tmp_path):
    (images_root / "digits" / "sae" / "sae_weights.safetensors").unlink()
    app = on_images()
    async with app.run_test(size=WIDE) as pilot:
        page = app.screen
        await until(lambda: "no trained SAE yet" in note(page))
        await pilot.press("m", "tab", "D", "o", "y", "Y")
        for key in ("right_square_bracket", "r"):
            page.say("")
            await pilot.press(key)
            assert "no trained SAE yet" in note(page)
        assert engine.made is None
    app = workbench(tmp_path / "none", mode="steer")
    async with app.run_test(size=WIDE):
        assert isinstance(app.screen, SteerPage), "where there is no session there is no image either"


@pytest.mark.asyncio
async def test_pixels_are_drawn_as_they_are_and_as_steered_and_have_no_classes(on_images, engine):
    app = on_images(session="pixels")
    engine.like = lambda: FakeImageEngine(classifies=False)
    async with app.run_test(size=NARROW) as pilot:
        page = await there(app)
        assert "no classifier: there are no classes" in facts(page) and "".join(rows(page)[1:]).strip() == ""
        drawn = page.query_one(ShownImage)
        await until(lambda: drawn._grids)
        as_it_is = drawn._grids
        await until(lambda: "b view" in page.query_one(KeyBar).content.plain)
        await pilot.press("b")
        await until(lambda: drawn._grids != as_it_is)
        assert page.query_one("#image-pane").border_title == "image 100 · as steered"
        await pilot.press("m")
        assert "no image of the test split is taken for another class" in note(page)
        await pilot.resize_terminal(*WIDE)
        await until(lambda: len(drawn._grids) == 2 and drawn._lines[0].cell_length == 58)


@pytest.mark.asyncio
async def test_a_feature_map_tells_at_how_many_of_its_places_a_feature_fires(on_images, engine):
    engine.like = lambda: FakeImageEngine(places=49)
    app = on_images(session="maps")
    async with app.run_test(size=WIDE) as pilot:
        page = await there(app)
        await until(lambda: "places" in [column.name for column in page.firing.table._columns.all])
        await pilot.press("0")
        await asked(page, FIRST, ABLATED)
        assert "fires on this image at 3 of 49 places: 4.50" in str(page.query_one("#edit").render())
        assert page.firing._columns()[3].cell(page.desk.shown.features[0]) == "3→0"


@pytest.mark.asyncio
async def test_in_a_narrow_terminal_one_list_takes_the_place_of_the_other(on_images):
    app = on_images()
    async with app.run_test(size=NARROW) as pilot:
        page = await there(app)
        await asked(page, FIRST)
        assert page.query_one(ShownImage)._lines[0].cell_length == 28
        assert page.firing.size.height > 4 and page.edits.size.height == 0
        await pilot.press("tab")
        assert "no intervention yet" in note(page) and page.focused is page.firing.table
        await pilot.press("0", "tab")
        await until(lambda: page.focused is page.edits.table and page.edits.size.height > 4)
        assert page.firing.size.height == 0 and "× 0" in page.edits.table.render_line(1).text
        await pilot.press("minus")
        await asked(page, FIRST, Intervention("scale", 5, -1.0))
        await pilot.press("tab")
        await until(lambda: page.focused is page.firing.table and page.firing.size.height > 4)


@pytest.mark.asyncio
async def test_without_colours_or_glyphs_all_of_it_reads_as_text(on_images, monkeypatch):
    app = on_images(graph="ascii")
    async with app.run_test(size=NARROW):
        page = await there(app)
        shown, drawn = rows(page), page.query_one(ShownImage)
        wrong = taken_for(FIRST)
        assert shown[1 + LABELS[0]].startswith(">") and "#" in shown[1 + wrong] and "<" in shown[1 + wrong]
        await until(lambda: drawn._lines)
        assert "#" in "".join(line.text for line in drawn._lines) or "@" in "".join(line.text for line in drawn._lines)
        assert not set("▀█▸◂") & set("".join([*shown, *(line.text for line in drawn._lines)]))

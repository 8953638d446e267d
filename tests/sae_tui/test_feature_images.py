"""One feature of an image session, and the list of them: what is shown, each key, both layouts, without colours."""

import pytest
from textual import constants
from textual.widgets import Static

from sae_tui.screens.choose import Choose
from sae_tui.screens.concept import ConceptPage
from sae_tui.screens.feature import FeaturePage
from sae_tui.screens.feature_images import ImageFeaturePage
from sae_tui.widgets.bars import KeyBar, Line
from sae_tui.widgets.class_bars import ClassEffects, Labels
from sae_tui.widgets.gallery import Gallery
from sae_tui.widgets.image_panes import ImagePanes
from sae_tui.widgets.pattern import Pattern
from sae_tui.widgets.preview import Preview
from tests.core.analysis.conftest import ALWAYS, ONCE, SILENT
from tests.sae_tui.waiting import until

WIDE, NARROW = (160, 45), (80, 24)
FIVES = 5
HALF_BLOCKS = set("▀█")


async def opened(app, feature=FIVES):
    before = app.screen, app.screen.stack_updates
    app.open_feature(feature)
    await until(lambda: isinstance(app.screen, ImageFeaturePage) and (app.screen, app.screen.stack_updates) != before)
    await until(lambda: app.screen._card is not None and app.screen._card.feature == feature)
    return app.screen


def line(page, name):
    return page.query_one(f"#{name}", Line).content.plain


def rows(widget):
    return [widget.render_line(y).text for y in range(widget.size.height)]


@pytest.mark.asyncio
async def test_a_feature_opens_with_its_images_and_what_it_reads_and_does(images_root, workbench):
    app = workbench(images_root, session="digits")
    async with app.run_test(size=WIDE):
        page = await opened(app)
        assert '"the fives"' in line(page, "name") and "of 60 images)" in line(page, "facts")
        assert "label entropy" in line(page, "facts")
        gallery, panes = page.query_one(Gallery), page.query_one(ImagePanes)
        await until(lambda: "1/" in line(page, "place"))
        first = gallery.images[0]
        assert first.value == max(one.value for one in gallery.images) and first.label == 5
        assert panes.images.border_title == f"images · all bands · {len(gallery.images)} shown"
        drawn = rows(gallery)
        assert "top: the 12 strongest" in drawn[0] and drawn[1].startswith("▸5")
        assert set("".join(drawn)) & HALF_BLOCKS
        assert page.focused is gallery and panes.names == list(ImagePanes.ALL)
        pattern = rows(page.query_one(Pattern))
        assert "-0.5" in pattern[14] and "+0.5" in pattern[14]
        labels = rows(page.query_one(Labels))
        assert "specialist of" in labels[0] and labels[2].split()[:2] == ["▸0", "-"] and "━" in labels[7]
        effects = rows(page.query_one(ClassEffects))
        assert "promotes 5" in effects[0] and "suppresses 5" in effects[1] and "switched on" in effects[2]
        assert panes.histogram.border_title.startswith("histogram · number of images") and panes.histogram.bin


@pytest.mark.asyncio
async def test_a_wrong_prediction_is_said_and_the_line_below_tells_of_the_image_at_the_cursor(images_root, workbench):
    app = workbench(images_root, session="digits")
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(app)
        gallery = page.query_one(Gallery)
        wrong = next(i for i, one in enumerate(gallery.images) if one.predicted != one.label)
        for _ in range(wrong):
            await pilot.press("l")
        seen = gallery.images[wrong]
        said = f"image {seen.image}, a {seen.label}, taken for {seen.predicted} · "
        await until(lambda: line(page, "place").startswith(said))
        assert f"{seen.value / page._card.row['max']:.0%} of its max" in line(page, "place")
        assert any(f"{seen.label}, taken for {seen.predicted}" in row for row in rows(gallery))
        assert page.copied() == (f"the number of image {seen.image}", str(seen.image))
        await pilot.press("minus")
        await until(lambda: any(f"{seen.label}→{seen.predicted}" in row for row in rows(gallery)))


@pytest.mark.asyncio
async def test_keys_reach_every_image_in_both_sizes(images_root, workbench):
    app = workbench(images_root, session="digits")
    async with app.run_test(size=NARROW) as pilot:
        page = await opened(app)
        gallery = page.query_one(Gallery)
        count = len(gallery.images)
        for size in ("minus", "plus"):
            await pilot.press(size, "g")
            for place in range(count):
                await until(lambda place=place: f"{place + 1}/{count}" in line(page, "place"))
                marked = [row for row in rows(gallery) if "▸" in row]
                assert len(marked) == 1 and marked[0].split("▸")[1].startswith(str(gallery.seen.label))
                await pilot.press("l")
            await pilot.press("g")
            await until(lambda: f"1/{count}" in line(page, "place"))
            before = gallery.seen
            await pilot.press("j")
            await until(lambda before=before: gallery.seen != before)
            await pilot.press("k")
            await until(lambda before=before: gallery.seen == before)
            await pilot.press("pagedown", "G")
            await until(lambda: f"{count}/{count}" in line(page, "place"))
            await pilot.press("pageup", "g", "h")
            await until(lambda: f"1/{count}" in line(page, "place"))


@pytest.mark.asyncio
async def test_bands_one_after_another(images_root, workbench):
    app = workbench(images_root, session="digits")
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(app)
        gallery, panes = page.query_one(Gallery), page.query_one(ImagePanes)
        every = gallery.images
        for band in sorted({one.band for one in every}):
            await pilot.press("i")
            name = "top" if band == 0 else f"band {band}"
            await until(lambda name=name: f"· {name} ·" in panes.images.border_title)
            assert gallery.images == [one for one in every if one.band == band]
        await pilot.press("i")
        await until(lambda: "· all bands ·" in panes.images.border_title)


@pytest.mark.asyncio
async def test_an_image_leads_to_the_features_that_fire_on_it_and_back(images_root, workbench):
    app = workbench(images_root, session="digits")
    async with app.run_test(size=NARROW) as pilot:
        page = await opened(app)
        seen = page.query_one(Gallery).seen
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, Choose))
        assert app.screen._title == f"features that fire on image {seen.image}, a {seen.label}"
        names = [name.split() for name, _ in app.screen._choices]
        assert [str(FIVES), "the", "fives"] in names and [str(ALWAYS), "class"] in [name[:2] for name in names]
        await pilot.press(*f"{ALWAYS} ", "enter")
        await until(lambda: page._card.feature == ALWAYS)
        await pilot.press("backspace")
        await until(lambda: page._card.feature == FIVES)


@pytest.mark.asyncio
async def test_classes_and_bins_lead_to_their_images(images_root, workbench):
    app = workbench(images_root, session="digits")
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(app)
        gallery, panes, said = page.query_one(Gallery), page.query_one(ImagePanes), []
        app.say = lambda message, severity="information": said.append(message)
        panes.to("classes")
        await pilot.press(*"jjjjjj", "enter")
        await until(lambda: gallery.seen.label == 6 and page.focused is gallery)
        panes.to("effects")
        await pilot.press("g", "enter")
        await until(lambda: said == ["none of the images shown is a 0"])
        await pilot.press("G", "k")
        assert page.query_one(ClassEffects).cursor == 8
        panes.to("histogram")
        await pilot.press("G", "enter")
        await until(lambda: page.focused is gallery and gallery.seen.value == page._card.row["max"])


@pytest.mark.asyncio
async def test_keys_that_are_for_texts_say_why_and_are_not_offered(images_root, workbench):
    app = workbench(images_root, session="digits", mode="features")
    async with app.run_test(size=WIDE) as pilot:
        await until(lambda: app.screen._found is not None)
        said = []
        app.say = lambda message, severity="information": said.append(message)
        await until(lambda: "concept" not in app.screen.query_one(KeyBar).content.plain)
        await pilot.press("c")
        await until(lambda: said)
        assert "reads images" in said[0] and not isinstance(app.screen, ConceptPage)
        page = await opened(app)
        bar = page.query_one(KeyBar).content.plain
        assert " text " not in bar and "firing" not in bar and "i band" in bar and "enter features" in bar
        await pilot.press("t", "number_sign", "u")
        await until(lambda: len(said) == 4)
        assert "no text to try" in said[1] and "no tokens" in said[2] and "Neuronpedia" in said[3]


@pytest.mark.asyncio
async def test_the_probe_of_such_a_session_says_that_it_is_for_texts(images_root, workbench):
    app = workbench(images_root, session="digits", mode="runs")
    async with app.run_test(size=WIDE) as pilot:
        said, page = [], app.screen
        app.say = lambda message, severity="information": said.append(message)
        await until(lambda: page.at is not None)
        await pilot.press("p")
        await until(lambda: said)
        assert "reads images, and texts are what is probed" in said[0] and app.screen is page


@pytest.mark.asyncio
async def test_a_feature_that_never_fired_says_so_and_one_that_fired_once_shows_that(images_root, workbench):
    app = workbench(images_root, session="digits")
    async with app.run_test(size=WIDE):
        page = await opened(app, SILENT)
        panes = page.query_one(ImagePanes)
        words = panes.images.query_one(Static).content.plain
        assert "none of the 60 analysed images" in words and panes.images.has_class("-words")
        assert "it fired on none of 60 images" in line(page, "facts")
        assert panes.names == ["images", "emergence", "weights", "neighbours"]
        page = await opened(app, ONCE)
        assert len(page.query_one(Gallery).images) == 2, "at the top, and in its band"
        assert "(1 of 60 images)" in line(page, "facts")
        page = await opened(app, ALWAYS)
        effects = rows(page.query_one(ClassEffects))
        assert "on no image that was measured" in effects[0] and "suppresses" in effects[1]


@pytest.mark.asyncio
async def test_without_a_classifier_there_are_no_effects_and_no_predictions(images_root, workbench):
    app = workbench(images_root, session="pixels")
    async with app.run_test(size=WIDE):
        page = await opened(app)
        assert any("no classifier" in row for row in rows(page.query_one(ClassEffects)))
        assert "taken for" not in "".join(rows(page.query_one(Gallery))) and "effects" in page._panes.names


@pytest.mark.asyncio
async def test_an_image_of_a_feature_map_is_lit_where_the_feature_fires_and_tells_its_place(images_root, workbench):
    app = workbench(images_root, session="maps")
    async with app.run_test(size=WIDE):
        page = await opened(app)
        gallery = page.query_one(Gallery)
        row, column = gallery.seen.place
        await until(lambda: f"row {row + 1}, column {column + 1} of 7 x 7" in line(page, "place"))
        assert "places)" in line(page, "facts")
        colours = {
            style.bgcolor.triplet
            for y in range(2, 16)
            for _, style, _ in gallery.render_line(y)
            if style and style.bgcolor
        }
        assert any(blue + 40 < red < 255 for red, _, blue in colours)


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["ascii", "NO_COLOR"])
async def test_without_colours_images_and_patterns_are_marks(images_root, workbench, monkeypatch, how):
    if how == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    app = workbench(images_root, session="digits", **({"graph": "ascii"} if how == "ascii" else {}))
    async with app.run_test(size=WIDE):
        page = await opened(app)
        gallery = "".join(rows(page.query_one(Gallery))[2:14])
        assert not set(gallery) & HALF_BLOCKS and set("@#%") & set(gallery)
        pattern = "".join(rows(page.query_one(Pattern)))
        assert not set(pattern) & HALF_BLOCKS and set("#=") <= set(pattern)


@pytest.mark.asyncio
async def test_in_sixteen_colours_a_pattern_has_those_of_them_that_tell_its_signs_apart(
    images_root, workbench, monkeypatch
):
    monkeypatch.setattr(constants, "COLOR_SYSTEM", "standard")
    app = workbench(images_root, session="digits")
    async with app.run_test(size=WIDE):
        page = await opened(app)
        drawn = {style.bgcolor.name for y in range(14) for _, style, _ in page.query_one(Pattern).render_line(y)}
        assert {"#000000", "#aa5500", "#ffff55"} <= drawn


@pytest.mark.asyncio
async def test_a_narrow_terminal_has_one_pane_at_a_time_and_words_beside_the_pattern(images_root, workbench):
    app = workbench(images_root, session="digits")
    async with app.run_test(size=NARROW) as pilot:
        page = await opened(app)
        panes = page.query_one(ImagePanes)

        def displayed():
            return [name for name in panes.ALL if page.query_one(f"#{name}").region.area > 0]

        for name in [*panes.ALL, panes.ALL[0]]:
            await until(lambda name=name: displayed() == [name] and panes.at_hand == name)
            await pilot.press("tab")
        await until(lambda: panes.at_hand == "pattern")
        assert any("orange: brighter there, more active" in row for row in rows(page.query_one(Pattern)))
        await pilot.resize_terminal(110, 40)
        await until(lambda: displayed() == ["images", "pattern"])
        await pilot.resize_terminal(120, 36)
        await until(lambda: displayed() == ["images", "pattern", "emergence", "coactivations"])
        panes.to("effects")
        await until(lambda: displayed() == ["images", "pattern", "emergence", "effects"])
        assert len(rows(page.query_one(ClassEffects))) >= 11
        await pilot.resize_terminal(*WIDE)
        await until(lambda: displayed() == ["images", "pattern", "emergence", "effects", "coactivations"])


@pytest.mark.asyncio
async def test_it_comes_back_to_its_pane(images_root, workbench):
    for drive in (("tab", "tab", "L"), ()):
        app = workbench(images_root, session="digits")
        async with app.run_test(size=WIDE) as pilot:
            page = await opened(app)
            await pilot.press(*drive)
            await until(lambda page=page: (page.memory()["pane"], page.memory()["log"]) == ("histogram", False))
            app.tick()


@pytest.mark.asyncio
async def test_each_kind_of_session_has_its_own_page(images_root, sessions_root, workbench):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=WIDE):
        app.open_feature(5)
        await until(lambda: isinstance(app.screen, FeaturePage))


@pytest.mark.asyncio
async def test_the_list_shows_classes_and_its_preview_the_images_after_the_pattern(images_root, workbench):
    app = workbench(images_root, session="digits", mode="features")
    async with app.run_test(size=WIDE) as pilot:
        page = app.screen
        await until(lambda: page._found is not None)
        headers = [column.header for column in page._table._columns.all]
        assert "top classes" in headers and "top tokens" not in headers
        await pilot.press("slash", *"feature = 5", "enter")
        preview = page.query_one(Preview)
        await until(lambda: preview.feature == FIVES and preview.gallery.images)
        drawn = rows(preview.gallery)
        assert "reads" in drawn[0] and drawn[0].count("5") and not preview.contexts.display
        text = app.export_screenshot().replace("&#160;", " ")
        assert "images)" in text and "images by activation" in text and "label entropy" in text
        await pilot.press("v", "v")
        await until(lambda: "category_entropy" in [column.name for column in page._table._columns.all])
        assert "token_entropy" not in [column.name for column in page._table._columns.all]
        preview.keys.focus()
        await pilot.press("l", "enter")
        await until(lambda: isinstance(app.screen, ImageFeaturePage))

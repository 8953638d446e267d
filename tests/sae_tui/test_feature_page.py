"""One feature: each key, both layouts, labels on disk, features that never fired or are not there."""

import asyncio
import re
import threading
import time

import duckdb
import pytest
from textual.widgets import Static

from core import labels
from core.analysis import card, naming
from core.analysis.store import Store
from core.labels import Label
from core.session import Session
from core.storage import append_line
from sae_tui.screens.choose import Choose
from sae_tui.screens.dialogs import Ask, AskText
from sae_tui.screens.feature import FeaturePage
from sae_tui.screens.features import FeaturesPage
from sae_tui.widgets.bars import KeyBar, Line
from sae_tui.widgets.chart import Chart
from sae_tui.widgets.contexts import Contexts
from sae_tui.widgets.feature_facts import Weights
from sae_tui.widgets.feature_panes import FeaturePanes
from sae_tui.widgets.fields import TextLine
from sae_tui.widgets.histogram import Histogram
from sae_tui.widgets.places import Places
from tests.core.analysis.conftest import ALWAYS, N_FEATURES, ONCE, SILENT
from tests.sae_tui.waiting import still, until

from .conftest import HOSTILE

WIDE, NARROW = (160, 45), (80, 24)
PANES, SHORT = FeaturePanes.ALL, FeaturePanes.SHORT


async def opened(app, pilot, feature):
    """The page, with the feature shown."""
    before = app.screen, app.screen.stack_updates
    app.open_feature(feature)
    await until(lambda: isinstance(app.screen, FeaturePage) and (app.screen, app.screen.stack_updates) != before)
    await until(lambda: app.screen._card is not None and app.screen._card.feature == feature)
    assert isinstance(app.screen, FeaturePage)
    return app.screen


def line(page, name):
    return page.query_one(f"#{name}", Line).content.plain


@pytest.mark.asyncio
async def test_the_screen_before_stays_for_a_moment_and_no_longer_however_long_a_feature_takes(
    sessions_root, workbench, monkeypatch
):
    gate, read = threading.Event(), card.read
    monkeypatch.setattr(card, "read", lambda *args, **options: gate.wait(20) and read(*args, **options))
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        await until(lambda: not isinstance(app.screen, FeaturePage))
        app.open_feature(ALWAYS)
        await until(lambda: isinstance(app.screen, FeaturePage))
        page = app.screen
        await until(lambda: not app._batch_count)  # it is drawn without the feature
        assert page._card is None
        gate.set()
        await until(lambda: page._card is not None)
        await pilot.press("escape")

        gate.clear()
        app.open_feature(SILENT)
        await until(lambda: app.screen is page)
        assert page._card is None
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, FeaturesPage))
        drawn = []
        draw = app.screen._compositor_refresh
        monkeypatch.setattr(app.screen, "_compositor_refresh", lambda: (drawn.append(app._batch_count), draw())[1])
        app.screen.refresh()
        await until(lambda: not app._batch_count and drawn and not drawn[-1])  # and whatever one went on to
        gate.set()
        await until(lambda: page._card is not None)
        assert isinstance(app.screen, FeaturesPage) and not app._batch_count


@pytest.mark.asyncio
async def test_a_feature_that_is_opened_again_is_drawn_as_if_it_were_the_first(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha", mode="features")
    async with app.run_test(size=WIDE) as pilot:
        await until(lambda: app.screen._found is not None)
        page = await opened(app, pilot, ALWAYS)
        await still(pilot)
        shown = app.export_screenshot()
        await pilot.press("j", "enter")  # its document
        await until(lambda: page.query_one(Places).reading)
        page._panes.to("neighbours")
        await pilot.press("enter")
        await until(lambda: page._card.feature != ALWAYS)
        page._panes.to(PANES[0])
        await pilot.press("i", "z")
        await pilot.press("escape", "escape")
        await until(lambda: isinstance(app.screen, FeaturesPage))
        await pilot.resize_terminal(*NARROW)
        await pilot.resize_terminal(*WIDE)
        again = await opened(app, pilot, ALWAYS)
        assert again is page and not page.query_one(Places).reading and page.maximized is None and not page._earlier
        assert "band" in page.query_one(Places).border_title or "top" in page.query_one(Places).border_title
        while "all bands" not in page.query_one(Places).border_title:
            await pilot.press("i")
        await still(pilot)
        assert re.sub(r"terminal-\d+", "", app.export_screenshot()) == re.sub(r"terminal-\d+", "", shown)


@pytest.mark.asyncio
async def test_a_label_from_elsewhere_is_on_the_feature_that_was_read_before_it_came(sessions_root, workbench):
    app, session = workbench(sessions_root, session="alpha", mode="features"), Session(sessions_root / "alpha")
    async with app.run_test(size=WIDE) as pilot:
        await until(lambda: app.screen._found is not None)
        order = [app.screen._found.order.feature_at(i) for i in range(3)]
        page = await opened(app, pilot, order[0])
        await until(lambda: order[1] in page._ahead._known)
        await until(page._ahead._known[order[1]][1].done)
        labels.append(session, Label(feature=order[1], label="from elsewhere"))
        await pilot.press("right_square_bracket")
        await until(lambda: '"from elsewhere"' in line(page, "name"))
        await pilot.press("right_square_bracket")
        await until(lambda: page._card.feature == order[2])
        starred = page._card.row["starred"]
        await pilot.press("asterisk")
        await until(lambda: page._card.row["starred"] != starred)
        await pilot.press("left_square_bracket")
        await until(lambda: page._card.feature == order[1])
        await pilot.press("right_square_bracket")
        await until(lambda: page._card.feature == order[2])
        assert page._card.row["starred"] != starred


@pytest.mark.asyncio
async def test_a_feature_opens_with_all_there_is_to_say_of_it(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(app, pilot, ALWAYS)
        assert line(page, "name").startswith('Feature 3 ★ "always on [bold]"')
        assert f"of {N_FEATURES} · blocks.10.hook_resid_post · smollm2" in line(page, "name")
        assert "density 100% (98 of 98 tokens)" in line(page, "facts") and "token entropy" in line(page, "facts")
        assert "␛[2J" in line(page, "note")
        panes = page.query_one(FeaturePanes)
        assert panes.places.contexts.count > 5 and "all bands" in panes.places.border_title
        assert panes.histogram.bin is not None
        tables = ("tokens", "categories", "logits", "neighbours", "coactivations")
        assert all(panes.table(name).count > 0 for name in tables) and panes.names == list(PANES)
        assert page.focused is panes.places.contexts
        await until(lambda: line(page, "place").endswith(f"1/{panes.places.contexts.count}"))
        assert "py · " in line(page, "place")
        assert "a steer" in page.query_one(KeyBar).content.plain


@pytest.mark.asyncio
async def test_label_note_and_star_are_written_and_shown_and_keep_the_rest(sessions_root, workbench):
    app, session = workbench(sessions_root, session="alpha"), Session(sessions_root / "alpha")
    labels.append(session, Label(feature=7, label="old", note="kept", tags=("t",), source="model"))
    async with app.run_test(size=NARROW) as pilot:
        page = await opened(app, pilot, 7)
        assert '"old"' in line(page, "name") and "#t" in line(page, "name") and line(page, "note") == "kept"
        await pilot.press("e")
        await pilot.pause()
        assert isinstance(app.screen, AskText) and app.screen.query_one(TextLine).value == "old"
        await pilot.press("end", *"er", "enter")
        await until(lambda: '"older"' in line(page, "name"))
        await pilot.press("asterisk")
        await until(lambda: "★" in line(page, "name"))
        await pilot.press("n")
        await pilot.pause()
        await pilot.press("home", *"well ", "enter")
        await until(lambda: line(page, "note") == "well kept")
        found = labels.read(session)[7]
        assert (found.label, found.note, found.tags, found.starred) == ("older", "well kept", ("t",), True)
        assert found.source == "person"
        assert app.stores.get(app.session).features(where="feature = 7")[0]["label"] == "older"
        await pilot.press("e")
        await pilot.pause()
        await pilot.press("escape")
        await pilot.press("asterisk")
        await until(lambda: "★" not in line(page, "name"))
        assert labels.read(session)[7].label == "older"


@pytest.mark.asyncio
async def test_brackets_go_through_the_order_below_and_backspace_undoes_a_neighbour(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha", mode="features")
    async with app.run_test(size=WIDE) as pilot:
        await until(lambda: app.screen._found is not None)
        order = [app.screen._found.order.feature_at(i) for i in range(N_FEATURES)]
        page = await opened(app, pilot, order[2])
        assert line(page, "name").count(f"3 of {N_FEATURES}") == 1
        await pilot.press("right_square_bracket")
        await until(lambda: page._card.feature == order[3])
        await pilot.press(*["left_square_bracket"] * 3)
        await until(lambda: page._card.feature == order[0])
        said = []
        app.say = lambda message, severity="information": said.append(message)
        await pilot.press("left_square_bracket")
        await until(lambda: said)
        assert "first" in said[0] and page.feature == order[0]
        page._panes.to("neighbours")
        await pilot.press("enter")
        other = (order[0] + 1) % N_FEATURES
        await until(lambda: page._card.feature == other)
        await pilot.press("backspace")
        await until(lambda: page._card.feature == order[0])
        await pilot.press("backspace")
        assert "opened first" in said[-1]
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, FeaturesPage))
        await until(lambda: app.screen._table.row["feature"] == order[0])


@pytest.mark.asyncio
async def test_steering_asks_how_and_goes_there(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        for feature, letter, command in ((5, "m", "/amplify 5 2"), (5, "x", "/add 5 1max"), (SILENT, "r", "/add 0 10")):
            page = await opened(app, pilot, feature)
            went = []
            app.open_session = lambda session, mode=None, went=went: went.append((session.name, mode))
            await pilot.press("a")
            await pilot.pause()
            assert isinstance(app.screen, Ask)
            await pilot.press("c")
            await pilot.pause()
            assert not went and app.screen is page
            await pilot.press("a", letter)
            await pilot.pause()
            assert went == [("alpha", "steer")] and app.to_steer.pop() == command


@pytest.mark.asyncio
async def test_bands_ids_and_scale(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(app, pilot, ALWAYS)
        places, contexts = page.query_one(Places), page.query_one(Contexts)
        every, bands = contexts.count, sorted({e.band for e in page._card.examples})
        for name in ("top", *(f"band {band}" for band in bands[1:]), "all bands"):
            await pilot.press("i")
            assert f"· {name} ·" in places.border_title
        assert contexts.count == every
        once = {example.band for example in card.read(app.stores.get(app.session), ONCE).examples}
        last = f"· band {max(set(bands) - once)} ·"
        while last not in places.border_title:
            await pilot.press("i")
        await opened(app, pilot, ONCE)
        await until(lambda: "all bands" in places.border_title and contexts.count)
        await opened(app, pilot, ALWAYS)
        await until(lambda: last in places.border_title)  # where there is one it stays
        await pilot.press("i")
        assert contexts.count == every
        await pilot.press("number_sign")
        await pilot.pause()
        assert all(part.isdigit() for part in contexts.render_line(1).text.split("▲")[1].replace("…", " ").translate(
            {91: " ", 93: " "}
        ).split())  # fmt: skip
        assert page._panes.table("tokens").column.cell(page._panes.table("tokens").row).isdigit()
        assert page.memory() == {"pane": "contexts", "log": True, "ids": True}
        await pilot.press("number_sign", "L")
        assert page.query_one(Histogram).log_scale is False and page.memory()["ids"] is False


@pytest.mark.asyncio
async def test_a_context_opens_its_document_and_each_token_has_its_value(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(app, pilot, 5)
        places, contexts = page.query_one(Places), page.query_one(Contexts)
        assert "next firing" not in page.query_one(KeyBar).content.plain
        await pilot.press("j", "enter")
        await until(lambda: places.reading)
        example = contexts.example
        at = places.document.cursor
        assert places._document[at]["token_idx"] == example.token_idx
        assert page.focused is places.document and places.border_title.startswith("document · ")
        await pilot.pause()
        assert "of its max" in line(page, "place") and "next firing" in page.query_one(KeyBar).content.plain
        values = [t["value"] for t in places._document]
        await pilot.press("g", "full_stop")
        await pilot.pause()
        assert places.document.cursor == next(i for i, v in enumerate(values) if i > 0 and v > 0)
        await pilot.press("G", "comma")
        assert places.document.cursor == max((i for i, v in enumerate(values[:-1]) if v > 0), default=len(values) - 1)
        silent = next(i for i, v in enumerate(values) if v == 0)
        places.document.cursor = silent
        await until(lambda: "silent" in line(page, "place") or "not defined" in line(page, "place"))
        await pilot.press("number_sign")
        assert places.document.pieces[0].text == f"{places._document[0]['token_id']} "
        assert page.copied() == ("the document", "".join(t["text"] for t in places._document))
        await pilot.press("escape")
        await pilot.pause()
        assert not places.reading and page.focused is contexts and contexts.example == example
        await pilot.press("q")
        await until(lambda: app.screen is not page)


@pytest.mark.asyncio
async def test_a_token_of_a_document_leads_to_the_features_that_fire_on_it(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=NARROW) as pilot:
        page = await opened(app, pilot, 5)
        await pilot.press("enter")
        await until(lambda: page.query_one(Places).reading)
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, Choose))
        names = [name.strip() for name, _ in app.screen._choices]
        assert any(name.startswith("3  ★ always on [bold]") for name in names) and any(
            n.startswith("5 ") for n in names
        )
        await pilot.press(*"always", "enter")
        await until(lambda: page._card.feature == ALWAYS)
        assert not page.query_one(Places).reading
        await pilot.press("backspace")
        await until(lambda: page._card.feature == 5)


@pytest.mark.asyncio
async def test_panes_open_what_is_under_their_cursor(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(app, pilot, ALWAYS)
        contexts, said = page.query_one(Contexts), []
        app.say = lambda message, severity="information": said.append(message)
        await pilot.press("tab", "g", "l")
        await pilot.pause()
        bin_ = page.query_one(Histogram).bin
        fits = [e for e in page._card.examples if bin_.lo < e.value <= bin_.hi]
        await pilot.press("enter")
        await until(lambda: (contexts.example in fits and page.focused is contexts) if fits else said)
        page._panes.to("tokens")
        await pilot.press("j", "enter")
        token = page._panes.table("tokens").row["text"]

        def at():
            return next(t.text for t in contexts.example.tokens if t.token_idx == contexts.example.token_idx)

        await until(lambda: at() == token and page.focused is contexts)
        page._panes.to("logits")
        await pilot.press("enter")
        await until(lambda: page.focused is contexts or "that token in it" in said[-1])


@pytest.mark.asyncio
async def test_a_pane_that_was_left_again_before_it_heard_of_the_focus_is_not_gone_back_to(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        panes, gone_to = (await opened(app, pilot, ALWAYS))._panes, []
        await pilot.pause()
        is_at = panes._is_at
        panes._is_at = lambda name: (gone_to.append(name), is_at(name))
        panes.to("tokens")
        panes.to("neighbours")
        await pilot.pause()
        assert gone_to == ["tokens", "neighbours"] and panes.at_hand == "neighbours"


@pytest.mark.asyncio
async def test_what_is_copied_and_the_command_line(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(app, pilot, ALWAYS)
        example = page.query_one(Contexts).example
        assert page.copied() == ("the context", "".join(t.text for t in example.tokens))
        assert page.command_line() == "sae-tui feature alpha 3"
        page._panes.to("histogram")
        assert page.copied() == ("the number 3", "3")
        page._panes.to("tokens")
        assert page.copied() == ("the token", page._panes.table("tokens").row["text"])
        page._panes.to("neighbours")
        assert page.copied() == ("the number 4", "4")
        copied = []
        app.copy = lambda what, text: copied.append(text)
        await pilot.press("y", "Y")
        assert copied == ["4", "sae-tui feature alpha 3"]


@pytest.mark.asyncio
async def test_a_narrow_terminal_has_one_pane_at_a_time_and_all_of_them(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=NARROW) as pilot:
        page = await opened(app, pilot, ALWAYS)
        panes = page.query_one(FeaturePanes)

        def displayed():
            found = [panes.places, *(page.query_one(f"#{name}") for name in PANES[1:])]
            return [w.id for w in found if w.region.area > 0]

        first = ["contexts", "histogram", "tokens", "logits"]

        for name in [*PANES, PANES[0]]:
            await until(lambda name=name: displayed() == [name] and panes.at_hand == name)
            assert {w.id for w in page.focused.ancestors_with_self} & {name}
            assert f" {SHORT.get(name, name)} " in line(page, "strip")
            await pilot.press("tab")
        await pilot.press("shift+tab", "shift+tab")
        await until(lambda: displayed() == ["coactivations"])
        assert page.memory()["pane"] == "coactivations"
        await pilot.press("shift+tab")
        await until(lambda: displayed() == ["neighbours"])
        await pilot.resize_terminal(*WIDE)
        await until(lambda: displayed() == ["contexts", "histogram", "categories", "weights", "neighbours"])
        assert " co-activations " in line(page, "strip")
        panes.to("emergence")
        await until(lambda: displayed() == ["contexts", "emergence", "categories", "weights", "neighbours"])
        for name in ("tokens", "logits", "histogram"):
            panes.to(name)
        await until(lambda: displayed() == [*first, "neighbours"])
        panes.to("coactivations")
        await until(lambda: displayed() == [*first, "coactivations"])
        panes.to("neighbours")
        await pilot.press("tab", "tab", "z")
        await until(lambda: page.maximized is panes.places)
        await pilot.press("tab")
        await until(lambda: page.maximized is panes.histogram)
        await pilot.press("escape")
        await until(lambda: page.maximized is None and displayed() == [*first, "coactivations"])
        assert app.screen is page
        await pilot.click("#coactivations", offset=(5, 2))
        await until(lambda: panes.at_hand == "coactivations")


@pytest.mark.asyncio
async def test_the_new_panes_say_what_the_database_knows(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(app, pilot, ALWAYS)
        panes, card = page.query_one(FeaturePanes), page._card
        categories = page.query_one("#categories")
        score = f"score {card.row['specialist_score']:+d}"
        assert categories.border_title.startswith("categories") and score in categories.border_title
        assert [row["category"] for row in card.categories] == [
            panes.table("categories")._source.row(i)["category"] for i in range(3)
        ]  # fmt: skip
        weights = "\n".join(content.plain for content in page.query_one(Weights).lines)
        assert "‖enc‖ 2.00" in weights and "cosine 0.250" in weights and "bias -0.300" in weights
        assert "duplicate   of none" in weights and "6 +" not in weights and "6 -0.150 (15.0%)" in weights
        assert "cluster     0, of 6 features" in weights and "density 100% and 100%" in weights
        assert "5 r +0.15" in weights
        life = page.query_one("#emergence", Chart)
        assert [series.label for series in life.plot.series] == ["density", "drift"]
        assert list(life.plot.series[0].ys) == pytest.approx([0.1] * 8) and "born by step 1" in life.plot.notes
        assert page.query_one("#spread").lines
        page = await opened(app, pilot, 4)
        weights = "\n".join(content.plain for content in page.query_one(Weights).lines)
        assert "duplicate   of 5 (cosine 0.95)" in weights
        assert page.query_one("#emergence", Chart).plot.notes == ("born by step 30",)


@pytest.mark.asyncio
async def test_co_activations_and_categories_lead_on_and_are_copied(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=NARROW) as pilot:
        page = await opened(app, pilot, ALWAYS)
        panes, said = page._panes, []
        app.say = lambda message, severity="information": said.append(message)
        panes.to("categories")
        category = panes.table("categories").row["category"]
        assert page.copied() == ("the category", category)
        await pilot.press("enter")
        await until(lambda: page.query_one(Contexts).example.category == category and panes.at_hand == "contexts")
        panes.to("coactivations")
        other = panes.table("coactivations").row["other"]
        assert page.copied() == (f"the number {other}", str(other))
        await pilot.press("enter")
        await until(lambda: page._card.feature == other)
        await pilot.press("backspace")
        await until(lambda: page._card.feature == ALWAYS)
        panes.to("emergence")
        chart = page.query_one("#emergence", Chart)
        await until(lambda: chart._drawn)
        await pilot.press("home", "plus")
        await until(lambda: chart.plot.high < 60)
        await pilot.press("0")
        await until(lambda: chart.plot.high == 100)


@pytest.mark.asyncio
async def test_a_training_without_snapshots_is_told_in_a_sentence(sessions_root, workbench):
    app, session = workbench(sessions_root, session="alpha"), Session(sessions_root / "alpha")
    session.database_path.chmod(0o644)
    with duckdb.connect(str(session.database_path)) as connection:
        connection.execute("DELETE FROM snapshots")
        connection.execute("DELETE FROM feature_categories")
        connection.execute("DELETE FROM coactivations")
    async with app.run_test(size=NARROW) as pilot:
        page = await opened(app, pilot, ALWAYS)
        assert "categories" not in page._panes.names and "coactivations" not in page._panes.names
        page._panes.to("emergence")
        chart = page.query_one("#emergence", Chart)
        await until(lambda: "its training took no snapshots" in "".join(chart.strip(y).text for y in range(15)))
        assert "training.snapshot_every_steps" in chart.plot.notes[0]


@pytest.mark.asyncio
async def test_tags_are_written_with_commas_between(sessions_root, workbench):
    app, session = workbench(sessions_root, session="alpha"), Session(sessions_root / "alpha")
    async with app.run_test(size=NARROW) as pilot:
        page = await opened(app, pilot, 7)
        await pilot.press("T")
        await until(lambda: isinstance(app.screen, AskText))
        await pilot.press(*"a b, c,,a b", "enter")
        await until(lambda: "#a b" in line(page, "name") and "#c" in line(page, "name"))
        assert labels.read(session)[7].tags == ("a b", "c")
        await pilot.press("T")
        await until(lambda: isinstance(app.screen, AskText) and app.screen.query_one(TextLine).value == "a b, c")


@pytest.mark.asyncio
async def test_it_comes_back_to_its_pane_and_scale(sessions_root, workbench):
    left = {"pane": "histogram", "log": False, "ids": True}
    for drive, expected in ((("tab", "L", "number_sign"), None), ((), left)):
        app = workbench(sessions_root, session="alpha")
        async with app.run_test(size=NARROW) as pilot:
            page = await opened(app, pilot, ALWAYS)
            await pilot.pause(0.1)
            assert expected is None or page.memory() == expected
            await pilot.press(*drive)
            app.tick()


@pytest.mark.asyncio
async def test_dead_features_and_features_that_fired_once(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(app, pilot, SILENT)
        words = page.query_one(Places).query_one(Static).content.plain
        assert "none of the 98 analysed tokens" in words and "sae-tui analyze alpha --tokens 980" in words
        assert "it fired on none of 98 tokens" in line(page, "facts") and "bias" in line(page, "facts")
        panes = page.query_one(FeaturePanes)
        assert panes.names == ["contexts", "emergence", "logits", "weights", "neighbours"]
        assert "tokens" not in line(page, "strip") and "co-activations" not in line(page, "strip")
        await pilot.press("tab", "tab", "i", "enter")
        assert panes.at_hand == "logits"
        await pilot.press("colon", "1")
        await pilot.pause(0.4)
        await pilot.press("enter")
        await until(lambda: app.screen._card.feature == ONCE)
        contexts = app.screen.query_one(Contexts)
        assert contexts.count == 2 and "top: the strongest" in contexts.render_line(0).text
        assert "(1 of 98 tokens)" in line(app.screen, "facts")
        await pilot.press("left_square_bracket")
        await pilot.press("right_square_bracket")
        await pilot.pause(0.2)
        assert app.screen.focused is not None


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("session", "feature", "words"),
    [
        ("alpha", 99, "there is no feature 99: they go from 0 to 11"),
        ("beta", 3, "session beta has not been analysed"),
    ],
)
async def test_what_is_not_there_is_said_in_words(sessions_root, workbench, session, feature, words):
    app = workbench(sessions_root, session=session)
    async with app.run_test(size=NARROW) as pilot:
        app.open_feature(feature)
        await until(lambda: app.screen.query_one(Places).has_class("-words"))
        assert words in app.screen.query_one(Places).query_one(Static).content.plain
        assert app.screen.query_one("#name", Line).content.plain == f"Feature {feature}"
        await pilot.press("e", "n", "asterisk", "a", "i", "t", "u", "L", "tab", "enter", "y", "full_stop")
        await pilot.press("right_square_bracket", "backspace")
        await pilot.pause(0.1)
        assert isinstance(app.screen, FeaturePage)
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, FeaturesPage))


@pytest.mark.asyncio
async def test_a_feature_leaves_with_its_session(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        await opened(app, pilot, 5)
        app.open_session(Session(sessions_root / "gamma"), "runs")
        await pilot.pause(0.1)
        await pilot.press("3")
        await until(lambda: isinstance(app.screen, FeaturesPage))


@pytest.mark.asyncio
async def test_the_last_one_asked_for_is_shown_and_the_old_one_stays_until_then(sessions_root, workbench, monkeypatch):
    app, read = workbench(sessions_root, session="alpha"), card.read
    monkeypatch.setattr(card, "read", lambda *args, **options: (time.sleep(0.05), read(*args, **options))[1])
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(app, pilot, 5)
        shown = []
        came = page._came
        page._came = lambda known: (shown.append(known.card.feature), came(known))
        others = [feature for feature in range(6, N_FEATURES) if feature not in page._browser.ahead._known][:3]
        for feature in others:
            page._go(feature)
            assert page._card.feature == 5 and line(page, "name").startswith("Feature 5")
        await until(lambda: page._card.feature == others[-1])
        assert shown == [others[0], others[-1]]


@pytest.mark.asyncio
async def test_hostile_tokens_sources_and_labels_are_shown_and_nothing_more(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha", graph="ascii")
    labels.append(Session(sessions_root / "alpha"), Label(feature=4, label="".join(HOSTILE), note="x", tags=HOSTILE))
    async with app.run_test(size=WIDE) as pilot:
        await opened(app, pilot, ALWAYS)
        await asyncio.sleep(0)
        await pilot.press("enter")
        await pilot.pause(0.2)
        text = app.export_screenshot()
        assert not {"\x1b", "\x9b", "\u202e", "\u2066", "\u200b", "\ufeff", "\x7f"} & set(text)
        assert "[/x]" in text.replace("&#160;", " ")


@pytest.mark.asyncio
async def test_a_label_is_proposed_from_its_tokens_and_one_that_is_there_stays(sessions_root, workbench):
    session = Session(sessions_root / "alpha")
    with Store.open([session]) as store:
        known = labels.read(session)
        proposals = dict(naming.proposed(store, [f for f in range(N_FEATURES) if f not in known]))
    feature, label = next(iter(proposals.items()))
    app, said = workbench(sessions_root, session="alpha"), []
    app.say = lambda message, severity="information": said.append(message)
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(app, pilot, feature)
        await pilot.press("p")
        await until(lambda: said == [f'proposed from its tokens: "{label}"'])
        await until(lambda: f'"{label}"  proposed from its tokens' in line(page, "name"))
        assert labels.read(session)[feature].source == naming.SOURCE
        await pilot.press("asterisk")
        await until(lambda: "★" in line(page, "name"))
        assert "proposed from its tokens" in line(page, "name")
        await pilot.press("p")
        await until(lambda: said[-1] == "it has a label, which stays: e changes it")
        page = await opened(app, pilot, SILENT)
        await pilot.press("p")
        await until(lambda: "say too little" in said[-1])


@pytest.mark.asyncio
async def test_labels_are_proposed_for_all_that_are_marked(sessions_root, workbench):
    session = Session(sessions_root / "alpha")
    with Store.open([session]) as store:
        [(one, label), (other, _), *_] = naming.proposed(store, range(N_FEATURES))
    labels.append(session, Label(feature=one))
    labels.append(session, Label(feature=other, label="mine"))
    app, said = workbench(sessions_root, mode="features", session="alpha"), []
    app.say = lambda message, severity="information": said.append(message)
    async with app.run_test(size=WIDE) as pilot:
        page = app.screen
        await until(lambda: isinstance(page, FeaturesPage) and page.chosen)
        page._table.mark([one, other, SILENT])
        await pilot.press("p")
        await until(lambda: said)
        told = "1 of 3 labels proposed from tokens; 1 had one, which stays; 1 whose tokens say too little"
        assert said == [told] and labels.read(session)[one].label == label
        assert labels.read(session)[other].label == "mine"


@pytest.mark.asyncio
async def test_a_label_stands_with_who_gave_it_and_its_detection_score(sessions_root, workbench):
    session = Session(sessions_root / "alpha")
    labels.append(session, Label(feature=5, label="months", source="gpt [b]"))
    labels.append(session, Label(feature=6, label="days", source="list.jsonl"))
    append_line(session.explanations_path, '{"feature": 5, "label": "months", "score": 0.834, "model": "gpt [b]"}')
    append_line(
        session.explanations_path, '{"feature": 6, "label": "other words", "score": 0.9, "model": "list.jsonl"}'
    )
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(app, pilot, 5)
        assert '"months"  by gpt [b], detection score 0.83' in line(page, "name")
        page = await opened(app, pilot, 6)
        assert '"days"  by list.jsonl ' in line(page, "name") and "detection" not in line(page, "name")
        page = await opened(app, pilot, ALWAYS)
        assert '"always on [bold]"  by a person' in line(page, "name")


@pytest.mark.asyncio
async def test_the_place_among_the_contexts_stays_at_the_right_edge_when_the_pane_is_zoomed(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(app, pilot, ALWAYS)
        shown = page.query_one("#place", Line)
        for _ in range(2):
            before = shown.size.width
            await pilot.press("z")
            await until(lambda before=before: shown.size.width != before)
            await until(lambda: shown.content.cell_length == shown.size.width)
            assert re.search(r" 1/\d+$", shown.content.plain)


@pytest.mark.asyncio
async def test_the_longest_bar_of_a_list_is_of_its_largest_value(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha")
    async with app.run_test(size=WIDE) as pilot:
        page = await opened(app, pilot, ALWAYS)
        for name in ("tokens", "neighbours", "coactivations"):
            table = page.query_one(FeaturePanes).table(name)
            await until(lambda table=table: table.count)
            column = next(c for c in table._columns.all if c.name in ("share", "cosine", "jaccard"))
            bars = [column.cell(table._source.row(i)).plain.count("━") for i in range(table.count)]
            assert max(bars) == 6, name

"""The Features screen: filter, sort, facets, labels, marks, the preview, what it says where there is nothing."""

import shutil
import sys
from types import SimpleNamespace

import pytest
from textual.content import Content
from textual.widgets import Static

from core import labels
from core.analysis.browse import FACETS, Kind
from core.analysis.store import Store
from core.session import Session
from sae_tui import keys
from sae_tui.screens.browsing import Wanted
from sae_tui.screens.choose import Choose
from sae_tui.screens.dialogs import AskText
from sae_tui.screens.explaining import Explaining
from sae_tui.screens.feature_maps import Maps
from sae_tui.screens.features import FeaturesPage
from sae_tui.screens.map import MapPage
from sae_tui.screens.saying import Saying
from sae_tui.state import State
from sae_tui.text import safe
from sae_tui.widgets.bars import Line
from sae_tui.widgets.feature_columns import SETS, cells, percent, sets, table_columns
from sae_tui.widgets.feature_facts import specialist
from sae_tui.widgets.paged_table import PagedTable
from sae_tui.widgets.preview import Preview, bars
from tests.sae_tui.waiting import until
from tests.terminal import Terminal


def parts(app):
    page = app.screen
    assert isinstance(page, FeaturesPage)
    return page, page.query_one("#features", PagedTable), page.query_one(Preview)


async def opened(app, pilot):
    await until(lambda: isinstance(app.screen, FeaturesPage) and app.screen._found is not None)
    return parts(app)


def shown(page):
    table = page.query_one("#features", PagedTable)
    return [table._source.row(i)["feature"] for i in range(table.count)]


def title(page):
    return page.query_one("#list").border_title


def ran(page):
    return page.query_one("#ran", Line).content.plain


def drawn(widget):
    return "\n".join(widget.render_line(y).text for y in range(widget.size.height))


async def asked(page, pilot):
    """Whatever was set off has come."""
    await pilot.pause()
    await until(lambda: page._asking is None)


async def type_(page, pilot, text):
    """As if typed into the filter box, and taken."""
    await pilot.press("slash")
    page.query_one("#filter-text").value = text
    await pilot.press("enter")
    await asked(page, pilot)


@pytest.mark.asyncio
async def test_it_opens_sorted_by_density_with_a_preview_of_the_first(sessions_root, workbench):
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=(120, 30)) as pilot:
        page, table, preview = await opened(app, pilot)
        with Store.open([Session(sessions_root / "alpha")]) as store:
            expected = [row["feature"] for row in store.features(limit=99)]
        assert shown(page) == expected
        assert title(page).startswith("features 12 of 12 · density ↓ · ")
        assert page.query_one("#place", Line).content.plain == "row 1 of 12"
        assert table.has_focus
        await until(lambda: preview.feature == expected[0])
        assert ran(page) == "ORDER BY  density DESC"
        await pilot.press("G")
        await until(lambda: preview.feature == expected[-1])
        assert page.query_one("#place", Line).content.plain == "row 12 of 12"
        await pilot.press("left_square_bracket")
        assert table.index == 10
        await pilot.press("y")
        assert app.clipboard == str(expected[10])
        await pilot.press("l", "y")
        assert float(app.clipboard) > 0
        assert page.command_line() == "sae-tui features alpha --sort density"


@pytest.mark.asyncio
async def test_nothing_hostile_reaches_the_screen(sessions_root, workbench):
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=(120, 30)) as pilot:
        page, table, preview = await opened(app, pilot)
        for _ in range(12):
            table.action_down()
            page._rest()
            await until(lambda: preview.feature == table.row["feature"])
            for y in range(30):
                text = "".join(segment.text for segment in page._compositor.render_strips()[y])
                assert text.isprintable(), text
        await type_(page, pilot, "feature = 3")
        assert "★ always on" in drawn(table)
        assert "always on [bold]" in preview.query_one("#glance-head", Line).content.plain


@pytest.mark.asyncio
async def test_words_and_conditions_filter_as_one_types_and_errors_leave_what_was_shown(sessions_root, workbench):
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=(120, 36)) as pilot:
        page, table, _ = await opened(app, pilot)
        await pilot.press("slash", *"dates")
        await until(lambda: table.count == 1)
        assert shown(page) == [5]
        assert ran(page).startswith("WHERE  (label ILIKE '%dates%'")
        assert title(page).startswith("features 1 of 12")
        await pilot.press("escape")
        assert table.has_focus
        await pilot.press("escape")
        await until(lambda: table.count == 12)
        assert ran(page) == "ORDER BY  density DESC"
        await type_(page, pilot, "not dead and density < 0.3")
        found = shown(page)
        assert 0 < len(found) < 12
        await pilot.press("C")
        assert app.clipboard == "not dead and density < 0.3"
        assert page.command_line() == "sae-tui features alpha 'not dead and density < 0.3' --sort density"
        await type_(page, pilot, "densty < 0.3")
        assert ran(page) == "features have no column 'densty': did you mean 'density'?"
        assert shown(page) == found
        await type_(page, pilot, "zzzzzz < 0.3")
        await until(lambda: ran(page).endswith("y") and "no column 'zzzzzz': known are" in ran(page))
        await until(lambda: page.query_one("#ran").size.height > 2)  # all of it can be read
        await type_(page, pilot, "max > '[/x]\x1b]52;'")
        assert ran(page).isprintable()
        assert "Could not convert" in ran(page)
        await type_(page, pilot, "nowhere")
        assert table.count == 0
        assert ran(page).startswith("no feature fulfils")
        await pilot.press("e", "a", "asterisk", "space", "enter", "s", "n")
        await pilot.press("escape")
        await until(lambda: table.count == 12)


@pytest.mark.asyncio
async def test_words_sort_by_match_until_a_column_is_chosen_and_without_words_by_density(sessions_root, workbench):
    with Store.open([Session(sessions_root / "alpha")]) as store:
        matched, densest = store.features(text="a", limit=99), store.features(sort="density", limit=99)
        by_match, by_density = ([row["feature"] for row in rows] for rows in (matched, densest))
        lifts = [row["match"] for row in matched]
    dense_first = [feature for feature in by_density if feature in by_match]
    assert len(by_match) > 1 and by_match != dense_first
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=(120, 36)) as pilot:
        page, table, _ = await opened(app, pilot)
        await type_(page, pilot, "a")
        assert shown(page) == by_match
        assert f"{len(by_match)} of 12 · match ↓" in title(page)
        assert [table._source.row(i)["match"] for i in range(table.count)] == lifts
        assert table.render_line(0).text.split()[:3] == ["id", "match", "↓"]
        assert page.command_line() == "sae-tui features alpha a"
        await pilot.press("escape")
        await asked(page, pilot)
        assert (shown(page), "12 of 12 · density ↓" in title(page)) == (by_density, True)
        await type_(page, pilot, "a")
        table.move_to(0, "density")
        await pilot.press("s")
        await asked(page, pilot)
        assert (shown(page), "density ↓" in title(page)) == (dense_first, True)
        assert "match" not in table.render_line(0).text
        assert page.command_line() == "sae-tui features alpha a --sort density"
        await pilot.press("escape")
        await asked(page, pilot)
        await type_(page, pilot, "a")
        assert shown(page) == dense_first
        await pilot.press("S", *"match", "enter")
        await asked(page, pilot)
        assert (shown(page), "match ↓" in title(page)) == (by_match, True)
        await type_(page, pilot, "-x")
        assert page.command_line() == "sae-tui features alpha ' -x'"


@pytest.mark.asyncio
async def test_keys_are_text_in_the_filter_box(sessions_root, workbench):
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=(120, 36)) as pilot:
        page, table, _ = await opened(app, pilot)
        await pilot.press("slash", *"sfv", "space", "asterisk", "slash", "A")
        assert page.query_one("#filter-text").value == "sfv */A"
        assert page._wanted.kind.facet == "all"
        assert "filter" not in page.query_one("#keys", Line).content.plain
        assert page.query_one("#keys", Line).content.plain.strip() == "F1 help"  # `?` is text, too
        await until(lambda: page.query_one("#place", Line).content.plain.endswith("enter: to the list"))
        page.query_one("#filter-text").value = ""
        await pilot.press("escape")
        assert table.has_focus


@pytest.mark.asyncio
async def test_the_cursor_stays_on_its_feature_when_order_and_filter_change(sessions_root, workbench):
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=(120, 36)) as pilot:
        page, table, _ = await opened(app, pilot)
        table.move_to(shown(page).index(5))
        await pilot.press("l", "l")
        assert table.column.name == "max"
        await pilot.press("s")
        await asked(page, pilot)
        assert "max ↓" in title(page)
        assert table.row["feature"] == 5
        down = shown(page)
        await pilot.press("s")
        await asked(page, pilot)
        assert "max ↑" in title(page)
        assert [f for f in shown(page) if f != 0] == [f for f in down[::-1] if f != 0]
        assert (table.row["feature"], page.command_line()) == (5, "sae-tui features alpha --sort max --ascending")
        await type_(page, pilot, "feature <> 5")
        assert table.row["feature"] == shown(page)[0]
        await pilot.press("escape")
        await asked(page, pilot)
        assert table.row["feature"] == 5
        await pilot.press("S", *"entrop", "down", "enter")
        await asked(page, pilot)
        assert "category_entropy ↑" in title(page)
        table.move_to(0, "histogram")
        await pilot.press("s")
        assert "category_entropy" in title(page)


@pytest.mark.asyncio
async def test_facets_column_sets_marks_and_steering(sessions_root, workbench):
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=(120, 30)) as pilot:
        page, table, _ = await opened(app, pilot)
        seen = []
        for _ in range(len(FACETS)):
            await pilot.press("f")
            await asked(page, pilot)
            seen.append((title(page).split(" · ")[1], table.count))
        assert [name for name, _ in seen] == [*list(FACETS)[1:], "density ↓"]
        assert dict(seen)["duplicates"] == 1
        assert dict(seen)["starred"] == 1
        assert dict(seen)["labelled"] == 2
        assert dict(seen)["alive"] + dict(seen)["dead"] == 12
        headers = []
        for _ in range(len(sets(list(page._found.store.browsed)))):
            await pilot.press("v")
            await asked(page, pilot)
            headers.append(table.render_line(0).text.split())
        assert "p50" in headers[0]
        assert "strong" in headers[1] and "birth" in headers[2]
        assert "bias" in headers[3]
        assert headers[4][:6] == ["id", "star", "label", "by", "score", "note"]
        assert "histogram" in headers[-1]
        first = shown(page)[:2]
        await pilot.press("space", "space")
        assert table.marks == first
        assert "2 marked" in title(page)
        went = []
        app.open_session = lambda session, mode=None: went.append((session.name, mode))
        await pilot.press("a")
        assert app.to_steer == [f"/add {f} 1max" for f in first]
        await pilot.press("escape", "a")
        assert app.to_steer[2:] == [f"/add {shown(page)[2]} 1max"]
        assert went == [("alpha", "steer")] * 2


@pytest.mark.asyncio
async def test_a_kind_is_chosen_among_facets_and_categories_with_their_counts(sessions_root, workbench):
    session = Session(sessions_root / "alpha")
    with Store.open([session]) as store:
        of = {kind.category: n for kind, n in store.kinds() if kind.category is not None}
        category, n = next(iter(of.items()))
        expected = [r["feature"] for r in store.features(where=Kind(category=category).condition, limit=99)]
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=(120, 36)) as pilot:
        page, table, _ = await opened(app, pilot)
        await pilot.press("F")
        await until(lambda: isinstance(app.screen, Choose) and app.screen.query_one(PagedTable).count == 9 + len(of))
        await pilot.press(*"specialists of", "enter")
        await until(lambda: table.count == n and page._asking is None)
        assert shown(page) == expected
        assert f"specialists of {safe(category)}" in title(page).replace("\\", "")
        assert ran(page).startswith("WHERE  specialist_category = ") and page.command_line().count("specialist_score")
        await pilot.press("F")
        await until(lambda: isinstance(app.screen, Choose) and app.screen.query_one(PagedTable).row)
        assert app.screen.query_one(PagedTable).row[0] == f"specialists of {category}"
        await pilot.press("escape")
        await until(lambda: app.screen is page)
        await pilot.press("escape")
        await until(lambda: table.count == 12)


@pytest.mark.asyncio
async def test_what_is_said_is_said_of_all_that_are_marked(sessions_root, workbench):
    session = Session(sessions_root / "alpha")
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=(120, 30)) as pilot:
        page, table, _ = await opened(app, pilot)
        marked = [f for f in shown(page) if f not in (3, 5)][:3]
        table.mark(marked)
        await pilot.press("number_sign")
        assert app.clipboard == ", ".join(map(str, marked))
        await pilot.press("asterisk")
        await until(lambda: all(f in labels.read(session) and labels.read(session)[f].starred for f in marked))
        labels.change(session, marked[0], starred=False)
        await asked(page, pilot)
        await pilot.press("asterisk")
        await until(lambda: labels.read(session)[marked[0]].starred)
        await asked(page, pilot)
        await pilot.press("asterisk")
        await until(lambda: not any(labels.read(session)[f].starred for f in marked))
        await pilot.press("T")
        await until(lambda: isinstance(app.screen, AskText))
        await pilot.press(*"x, y", "enter")
        await until(lambda: all(labels.read(session)[f].tags == ("x", "y") for f in marked))
        await pilot.press("e")
        await until(lambda: isinstance(app.screen, AskText))
        await pilot.press(*"all", "enter")
        await until(lambda: all(labels.read(session)[f].label == "all" for f in marked))
        assert labels.read(session)[3].label != "all"
        await until(lambda: app.screen is page and page._asking is None)
        assert table.marks == marked


@pytest.mark.asyncio
async def test_the_map_is_pushed_and_a_cluster_comes_back_as_a_filter(sessions_root, workbench):
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=(120, 36)) as pilot:
        page, table, _ = await opened(app, pilot)
        await type_(page, pilot, "feature < 8")
        await pilot.press("m")
        await until(lambda: isinstance(app.screen, MapPage) and app.screen._map.cluster == 0)
        assert app.screen._conditions == ["feature < 8"]
        await pilot.press("right_square_bracket", "enter")
        await until(lambda: app.screen is page and table.count == 2)
        assert shown(page) and set(shown(page)) == {6, 7} and "cluster 1" in title(page)
        await pilot.press("m")
        await until(lambda: isinstance(app.screen, MapPage) and app.screen._map.cluster == 1)
        await pilot.press("escape")
        await until(lambda: app.screen is page)
        await pilot.press("escape", "escape")
        await until(lambda: table.count == 12)


@pytest.mark.asyncio
async def test_label_note_and_star_are_written_and_seen_at_once(sessions_root, workbench):
    session = Session(sessions_root / "alpha")
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=(120, 30)) as pilot:
        page, table, preview = await opened(app, pilot)
        table.move_to(shown(page).index(7))
        await pilot.press("asterisk")
        await until(lambda: table.row["starred"])
        await pilot.press("e")
        await until(lambda: app.screen is not page)
        await pilot.press(*"[b]new", "enter")
        await until(lambda: table.row["label"] == "[b]new")
        assert table.row["starred"]
        await pilot.press("n")
        await until(lambda: app.screen is not page)
        await pilot.press(*"why", "enter")
        await until(lambda: labels.read(session)[7].note == "why")
        await until(lambda: "why" in preview.query_one("#glance-note", Line).content.plain)
        assert "★ [b]new" in drawn(table)
        await pilot.press("asterisk")
        await until(lambda: not labels.read(session)[7].starred)
        labels.change(session, 7, label="from elsewhere")
        page.clock()
        await until(lambda: table.row["label"] == "from elsewhere")


@pytest.mark.asyncio
async def test_a_feature_opens_and_its_neighbours_are_those_of_the_order(sessions_root, workbench):
    from sae_tui.screens.feature import FeaturePage

    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=(120, 30)) as pilot:
        page, table, _ = await opened(app, pilot)
        order = shown(page)
        assert [page.neighbour(f, 1) for f in order] == [*order[1:], None]
        assert [page.neighbour(f, -1) for f in order] == [None, *order[:-1]]
        assert page.place(order[4]) == (4, 12)
        assert page.neighbour(99, 1) is page.place(99) is None
        page.go_to(order[6])
        await until(lambda: table.index == 6)
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, FeaturePage))
        assert app.screen.feature == order[6]
        await pilot.press("q")
        await until(lambda: app.screen is page)
        assert table.index == 6


@pytest.mark.asyncio
async def test_it_comes_back_as_it_was(sessions_root, workbench):
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=(120, 36)) as pilot:
        page, table, _ = await opened(app, pilot)
        await pilot.press("f", "v")
        await type_(page, pilot, "feature > 2")
        await pilot.press("s", "j", "j", "j")
        await asked(page, pilot)
        kept, before, row = page.memory(), shown(page), table.row["feature"]
        app.exit(0)
    again = workbench(sessions_root)
    async with again.run_test(size=(120, 36)) as pilot:
        page, table, _ = await opened(again, pilot)
        assert page.memory() == kept
        assert (shown(page), table.row["feature"]) == (before, row)
        assert page.query_one("#filter-text").value == "feature > 2"


def test_a_state_that_is_foreign_is_as_none():
    kind = {"facet": ["x"], "category": 3, "cluster": True}
    assert Wanted.of({"text": 3, "kind": kind, "sort": None, "descending": "no", "columns": []}) == Wanted()
    assert Wanted.of({"kind": "dead"}) == Wanted()
    kept = Wanted.of({"kind": {"facet": "dead", "category": "it's", "cluster": 4}, "descending": False, "more": 1})
    assert kept == Wanted(kind=Kind(facet="dead", category="it's", cluster=4), descending=False)


@pytest.mark.asyncio
async def test_without_an_analysis_it_says_why_and_starts_one(sessions_root, workbench, monkeypatch):
    started = []
    monkeypatch.setattr(
        "core.jobs.start",
        lambda session, verb: started.append((session.name, verb)) or SimpleNamespace(poll=lambda: None),
    )
    app = workbench(sessions_root, mode="features", session="beta")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(lambda: isinstance(app.screen, FeaturesPage) and app.screen.has_class("-none"))
        page = app.screen
        words = page.query_one("#empty", Static)
        assert words.content.plain.startswith("train running: training 40%")
        app.open_session(Session(sessions_root / "gamma"))
        assert "no SAE in this session" in words.content.plain
        shutil.copytree(sessions_root / "alpha" / "sae", sessions_root / "gamma" / "sae")
        app.tick()
        await until(lambda: "analysis not done" in words.content.plain)
        assert "press A to start it" in words.content.plain
        await pilot.press("A")
        await until(lambda: started == [("gamma", "analyze")])
        await until(lambda: len(app.started) == 1)
        await pilot.press("slash", "s", "S", "e", "space", "a", "enter", "C", "v", "z", "y", "Y")
        shutil.copy(sessions_root / "alpha" / "features.duckdb", sessions_root / "gamma" / "features.duckdb")
        page.clock()
        page, table, _ = await opened(app, pilot)
        assert table.count == 12
        await pilot.press("escape", "A")
        await until(lambda: app.screen is not page)
        await pilot.press("c")
        assert len(started) == 1


@pytest.mark.asyncio
async def test_a_database_that_cannot_be_read_is_told(sessions_root, workbench):
    path = sessions_root / "alpha" / "features.duckdb"
    path.unlink()
    path.write_bytes(b"x" * 20_000)
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=(80, 24)):
        await until(lambda: isinstance(app.screen, FeaturesPage) and app.screen.has_class("-none"))
        words = app.screen.query_one("#empty", Static)
        await until(lambda: "cannot be read" in words.content.plain)
        assert "press A" in words.content.plain


@pytest.mark.asyncio
async def test_in_a_narrow_terminal_the_preview_takes_the_place_of_the_list(sessions_root, workbench):
    app = workbench(sessions_root, mode="features", session="alpha")
    async with app.run_test(size=(80, 24)) as pilot:
        page, table, preview = await opened(app, pilot)
        assert table.region
        assert not preview.region
        await pilot.press("j", "z")
        await until(lambda: preview.feature == table.row["feature"])
        assert preview.region
        assert not table.region
        await pilot.press("right_square_bracket")
        await until(lambda: preview.feature == shown(page)[2])
        await pilot.press("escape")
        await until(lambda: bool(table.region))
        assert table.has_focus
        await pilot.resize_terminal(160, 45)
        await until(lambda: bool(preview.region) and preview.feature == shown(page)[2])
        await pilot.press("z")
        await until(lambda: page.maximized is not None)
        await pilot.press("escape")
        assert page.maximized is None


def test_a_cursor_move_sends_little_and_an_idle_screen_nothing(sessions_root, tmp_path):
    env = {"XDG_STATE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    State(sessions_root, tmp_path / "sae-tui" / "state.json").keep({"app": {"mode": "features", "session": "alpha"}})
    command = [sys.executable, "-m", "sae_tui", "--sessions", str(sessions_root)]
    with Terminal(command, size=(160, 45), env=env) as terminal:
        terminal.wait_for("row 1 of 12", 20)
        terminal.settle(1.2, 10)
        assert terminal.drain(2.2) == b""
        for key, place in (("j", "row 2 of 12"), ("j", "row 3 of 12"), ("k", "row 2 of 12")):
            before = len(terminal.sent)
            terminal.press(key)
            terminal.wait_for(place)
            assert 0 < len(terminal.sent) - before <= 1300
            terminal.settle(0.5)


def test_only_specialists_stand_out_and_a_star_is_drawn_once():
    row = {"specialist_category": "[b]x", "specialist_score": 2, "label": "l", "starred": True}
    column = table_columns(["specialist_category"], ascii_only=False)[0]
    assert column.header == "strong most in"
    bold = column.cell(row)
    assert isinstance(bold, Content) and (bold.plain, str(bold.spans[0].style)) == ("[b]x", "bold")
    assert column.cell({**row, "specialist_score": -2}) == "[b]x"
    assert specialist(row) == "specialist of [b]x, score +2"
    assert specialist({**row, "specialist_score": -2}) == "strong most in [b]x, score -2"
    for names, stars in ((["label", "max"], 1), (["starred", "label"], 1)):
        drawn = "".join(str(c.cell(row)) for c in table_columns(names, ascii_only=False) if c.name != "max")
        assert drawn.count("★") == stars, names


def test_the_small_histogram_shows_every_count():
    assert cells([0] * 20) == " " * 10
    assert cells([]) == ""
    assert cells([100, 1] + [0] * 18) == "▇" + " " * 9
    assert cells([10_000, 0, 1, 0] + [0] * 16)[1] == "▁"
    assert len(cells(list(range(37)))) <= 10
    assert cells([4, 0, 1], ascii_only=True).isascii()
    assert bars([9, 0, 1], 3, 2) == ["██       ", "██    ▅▅ "]
    assert all(row.isascii() for row in bars([9, 0, 1], 3, 2, ascii_only=True))


def test_every_column_of_a_database_is_in_some_set():
    columns = [*(name for names in SETS.values() for name in names), "unheard_of"]
    assert sets(columns)["more"] == ["feature", "unheard_of", "label"]
    assert "more" not in sets(SETS["overview"])
    assert (percent(0.00413), percent(None), percent(0.0)) == ("0.413%", "-", "0%")


def test_every_key_of_the_screen_is_said_in_the_help():
    assert {a.name for a in keys.actions("features")} == {
        name.removeprefix("action_")
        for name in {**vars(Saying), **vars(Explaining), **vars(Maps), **vars(FeaturesPage)}
        if name.startswith("action_") and name != "action_zoom"
    }

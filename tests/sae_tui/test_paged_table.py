"""The paged table: what it shows of rows that come late, where its cursor goes, and what it repaints."""

import threading

import pytest
from rich.cells import cell_len
from textual.app import App
from textual.content import Content
from textual.strip import Strip

from sae_tui.widgets.columns import Columns, runs, sized
from sae_tui.widgets.paged_table import Column, PagedTable, Source
from sae_tui.widgets.source import PAGE, PAGES_KEPT
from tests.sae_tui.waiting import until

COLUMNS = (
    Column("id", "id", 6, lambda row: str(row["id"]), right=True),
    Column("text", "text", 10, lambda row: row["text"], weight=1),
    Column("mark", "mark", 6, lambda row: Content.styled("★", "$accent")),
)


def rows(n, text="text"):
    return [{"id": i, "text": f"{text} {i}"} for i in range(n)]


class Tables(App[None]):
    CSS = "PagedTable { height: 1fr; }"

    def __init__(self, columns=COLUMNS):
        super().__init__()
        self.table = PagedTable(columns, key=lambda row: row["id"], id="table")
        self.heard = []

    def compose(self):
        yield self.table

    def on_paged_table_moved(self, event):
        self.heard.append(("moved", event.index, event.row and event.row["id"]))

    def on_paged_table_opened(self, event):
        self.heard.append(("opened", event.index, event.row["id"]))

    def on_paged_table_failed(self, event):
        self.heard.append(("failed", str(event.error)))


def lines(table):
    return [table.render_line(y).text.rstrip() for y in range(table.size.height)]


@pytest.mark.asyncio
async def test_keys_move_the_cursor_and_the_view_follows_by_half_its_height():
    app = Tables()
    async with app.run_test(size=(60, 21)) as pilot:
        table = app.table
        table.show(rows(1000))
        await pilot.press("j", "down", "k")
        assert (table.index, round(table.scroll_y)) == (1, 0)
        assert lines(table)[2].startswith("▸")
        for _ in range(18):
            table.action_down()
        assert (table.index, round(table.scroll_y)) == (19, 0)
        await pilot.press("j")
        assert (table.index, round(table.scroll_y)) == (20, 10)
        for _ in range(11):
            table.action_up()
        assert table.index == 9
        assert round(table.scroll_y) == 0
        places = []
        for key in ("G", "g", "pagedown", "ctrl+d", "pageup", "ctrl+u", "end", "home"):
            await pilot.press(key)
            places.append(table.index)
        assert places == [999, 0, 20, 30, 10, 0, 999, 0]
        await pilot.press("G", "j", "enter")
        assert table.index == 999
        assert lines(table)[-1].startswith("▸     999")
        assert app.heard[-1] == ("opened", 999, 999)


@pytest.mark.asyncio
async def test_only_lines_that_changed_are_drawn_again():
    app = Tables()
    async with app.run_test(size=(60, 21)) as pilot:
        table = app.table
        table.show(rows(50))
        await pilot.pause()
        drawn = []
        table.refresh = lambda *regions, **_: drawn.extend(r.y for r in regions) or table
        await pilot.press("j")
        assert sorted(drawn) == [1, 2]
        drawn.clear()
        changed = rows(50)
        changed[7]["text"] = "another"
        table.show(changed)
        assert drawn == [8]
        drawn.clear()
        table.show(changed)
        table.changed()
        assert drawn == []


@pytest.mark.asyncio
async def test_a_move_draws_the_lines_once_and_pages_out_of_view_draw_nothing():
    app = Tables()
    async with app.run_test(size=(60, 21)) as pilot:
        table, drawn, asked = app.table, [], []

        def fetch(first, n):
            asked.append(first)
            return [{"id": i, "text": "x"} for i in range(first, first + n)]

        draw = table.changed
        table.changed = lambda: (drawn.append(table.index), draw())[1]
        table.browse(Source(fetch, 1_000_000))
        await until(lambda: table.row is not None)
        drawn.clear()
        for key, place in (("pagedown", 20), ("ctrl+d", 30), ("j", 31)):
            await pilot.press(key)
            assert drawn == [place]
            drawn.clear()
        asked.clear()
        table.move_to(150)
        await until(lambda: asked == [200])
        await pilot.pause(0.1)
        assert drawn == [150]


@pytest.mark.asyncio
async def test_rows_that_are_late_are_dots_until_they_come_and_only_pages_in_view_are_fetched():
    app, asked, gate = Tables(), [], threading.Event()

    def fetch(first, n):
        asked.append(first)
        assert gate.wait(5)
        return [{"id": i, "text": "x"} for i in range(first, first + n)]

    async with app.run_test(size=(60, 21)) as pilot:
        table = app.table
        table.browse(Source(fetch, 1_000_000))
        await until(lambda: lines(table)[1:3] == ["▸  ·", "   ·"])
        assert table.row is None
        await pilot.press("G", "enter")
        await until(lambda: lines(table)[-1] == "▸  ·")
        assert ("opened", 999_999, None) not in app.heard
        gate.set()
        await until(lambda: table.row is not None)
        assert lines(table)[-1].split()[:2] == ["▸", "999999"]
        await pilot.pause(0.05)
        assert asked == [0, 999_800]
        assert ("moved", 999_999, 999_999) in app.heard


@pytest.mark.asyncio
async def test_a_page_that_cannot_be_fetched_is_told_once_and_not_tried_for_ever():
    app, asked = Tables(), []

    def fetch(first, n):
        asked.append(first)
        raise OSError("gone")

    async with app.run_test(size=(60, 21)) as pilot:
        app.table.browse(Source(fetch, 1000))
        await until(lambda: ("failed", "gone") in app.heard)
        await pilot.press("G", "g")
        assert len(asked) == 1
        app.table.browse(Source.of(rows(3)))
        await pilot.press("j")
        assert app.table.row["id"] == 1


@pytest.mark.asyncio
async def test_the_cursor_stays_on_its_key_in_lists_and_on_its_line_in_sources():
    app = Tables()
    async with app.run_test(size=(60, 21)) as pilot:
        table = app.table
        table.show(rows(100))
        table.move_to(40)
        await pilot.pause()
        line = table.index - round(table.scroll_y)
        table.show(rows(100)[::-1])
        assert (table.index, table.row["id"]) == (59, 40)
        assert table.index - round(table.scroll_y) == line
        table.show([row for row in rows(100) if row["id"] > 40])
        assert table.index == 58
        table.show(rows(5))
        assert table.index == 4
        table.show(())
        assert (table.index, table.row, table.count) == (0, None, 0)
        assert lines(table)[1] == ""
        await pilot.press("j", "G", "enter", "pagedown")
        table.show(rows(5))
        assert table.row["id"] == 0


@pytest.mark.asyncio
async def test_marks_are_of_keys_and_stay_with_them():
    app = Tables()
    async with app.run_test(size=(60, 21)) as pilot:
        table = app.table
        table.show(rows(10))
        table.toggle_mark()
        table.toggle_mark()
        assert table.marks == [0, 1]
        assert [line[:3] for line in lines(table)[1:4]] == [" ✱ ", " ✱ ", "▸  "]
        table.show(rows(10)[::-1])
        assert [y for y, line in enumerate(lines(table)) if "✱" in line] == [9, 10]
        table.move_to(9)
        table.toggle_mark()
        assert table.marks == [1]
        table.mark(())
        assert table.marks == []
        await pilot.pause()


@pytest.mark.asyncio
async def test_columns_move_sideways_until_the_cursors_is_in_view():
    wide = [COLUMNS[0], *(Column(f"c{i}", f"col {i}", 12, lambda row: "x") for i in range(8))]
    app = Tables(wide)
    async with app.run_test(size=(60, 10)) as pilot:
        table = app.table
        table.show(rows(3))
        await pilot.pause()
        assert lines(table)[0].split() == ["id", "col", "0", "col", "1", "col", "2", "›"]
        for _ in range(8):
            table.action_right()
        assert table.column.name == "c7"
        assert lines(table)[0].split() == ["‹", "id", "col", "5", "col", "6", "col", "7"]
        await pilot.press("l", "h", "h", "h")
        assert table.column.name == "c4"
        assert lines(table)[0].split()[:3] == ["‹", "id", "col"]
        table.sorted_by("c4", True)
        assert "col 4 ↓" in lines(table)[0]
        table.set_columns([COLUMNS[0], wide[5], COLUMNS[1]])
        assert table.column.name == "c4"
        table.move_to(1, "text")
        assert table.column.name == "text"
        await pilot.resize_terminal(30, 8)
        await pilot.pause()
        assert all(cell_len(table.render_line(y).text) == 29 for y in range(8))


@pytest.mark.asyncio
async def test_a_click_moves_the_cursor_and_a_second_opens():
    app = Tables()
    async with app.run_test(size=(60, 12)) as pilot:
        app.table.show(rows(5))
        await pilot.click("#table", offset=(14, 3))
        assert (app.table.index, app.table.column.name) == (2, "text")
        await pilot.click("#table", offset=(14, 3))
        await pilot.click("#table", offset=(14, 9))
        await pilot.click("#table", offset=(14, 0))
        await pilot.pause()
        assert app.heard[-1] == ("opened", 2, 2)
        assert app.table.index == 2


@pytest.mark.asyncio
async def test_wide_combining_and_hostile_text_neither_shifts_columns_nor_leaves_its_cell():
    hostile = [
        "日本語日本語日本語日本語",
        "e\u0301" * 20,
        "[bold]x[/]",
        "\x1b[31mred\x1b[0m",
        "a\tb\nc",
        "\u202eevil",
        "",
    ]
    app = Tables([COLUMNS[0], Column("text", "[b]te\nxt", 11, lambda row: row["text"]), COLUMNS[2]])
    async with app.run_test(size=(40, 12)) as pilot:
        table = app.table
        table.show([{"id": i, "text": text} for i, text in enumerate(hostile)])
        await pilot.pause()
        for y in range(1, len(hostile) + 1):
            line = table.render_line(y)
            assert line.cell_length == cell_len(line.text) == 39
            assert cell_len(line.text[: line.text.index("★")]) == 3 + 6 + 2 + 11 + 2
            assert line.text.isprintable()
        assert "[b]te↵xt" in lines(table)[0]
        assert "␛[31mred␛[…" in lines(table)[4]


def test_a_source_keeps_the_pages_used_last():
    asked = []

    def fetch(first, n):
        asked.append(first // PAGE)
        return list(range(first, min(first + n, 100 * PAGE)))

    source = Source(fetch, 100 * PAGE)
    source.load(0, 10)
    for page in range(1, PAGES_KEPT):
        source.fetch_page(page)
    assert source.row(5) == 5
    source.fetch_page(50)
    assert source.row(5) == 5
    assert source.row(PAGE) is None
    assert source.missing(0, PAGE) == 1
    source.load(100 * PAGE - 1, 10)
    assert source.row(100 * PAGE - 1) == 100 * PAGE - 1
    assert source.row(100 * PAGE) is None
    assert source.row(-1) is None
    assert Source(fetch, 0).missing(0, 10) is None


def test_rows_on_two_pages_are_fetched_at_once_and_rows_that_are_there_not_again():
    asked = []

    def fetch(first, n):
        asked.append((first, n))
        return list(range(first, min(first + n, 3 * PAGE - 50)))

    source = Source(fetch, 3 * PAGE - 50)
    source.load(PAGE + 5, 10)
    source.load(5, 10)
    assert asked == [(0, 2 * PAGE)]
    source.load(3 * PAGE - 60, 10)
    assert asked[1:] == [(2 * PAGE, PAGE)]
    assert [source.row(i) for i in (0, PAGE - 1, PAGE, 2 * PAGE, 3 * PAGE - 51)] == [
        0, PAGE - 1, PAGE, 2 * PAGE, 3 * PAGE - 51,
    ]  # fmt: skip
    assert source.missing(0, 3 * PAGE) is None


def test_a_row_is_few_runs_of_text():
    from textual.style import Style

    styles = {"": Style(), "x": Style(bold=True)}
    parts = [*sized("ab", 5), ("  ", "x"), *sized("cd", 4, right=True), *sized("bold", 6, style="x")]
    found = runs(parts, lambda name: styles[name])
    assert [(s.text, bool(s.style and s.style.bold)) for s in found] == [
        ("ab       cd", False),
        ("bold", True),
        ("  ", False),
    ]
    assert Strip(found).cell_length == 17


def test_columns_share_what_is_left_by_their_weights():
    made = Columns([Column("a", "", 4, str), Column("b", "", 4, str, weight=1), Column("c", "", 4, str, weight=3)], 1)
    assert made.fitted(3 + 4 + 2 + 4 + 2 + 4 + 9 + 1) == [(0, 4), (1, 6), (2, 11)]
    assert made.fitted(12) == [(0, 4)]
    assert made.more(12)
    assert made.fitted(2) == [(0, 0)]
    assert [made.number_at(x, 28) for x in (0, 3, 8, 9, 100)] == [None, 0, 0, 1, None]
    assert (made.left_over(12), made.left_over(30)) == (4, 0)

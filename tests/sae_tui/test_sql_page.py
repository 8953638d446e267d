"""The SQL screen: what each key does, errors in place, a query that is stopped, what comes back."""

import asyncio
import json
import re

import duckdb
import pytest

from sae_tui.history import History, Saved
from sae_tui.screens.dialogs import Ask, AskText, Reader
from sae_tui.screens.sql_history import SqlHistory
from sae_tui.widgets.bars import Line
from sae_tui.widgets.fields import TextLine
from sae_tui.widgets.paged_table import PagedTable
from sae_tui.widgets.schema import SchemaTree
from sae_tui.widgets.sql_editor import SqlEditor
from tests.sae_tui.conftest import HOSTILE
from tests.sae_tui.waiting import until

SIZE = (140, 40)
ENDLESS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"


class Page:
    """The screen as a test sees it."""

    def __init__(self, app, pilot):
        self.app, self.pilot = app, pilot

    def __getattr__(self, name):
        return getattr(self.app.screen, name)

    @property
    def editor(self):
        return self.app.screen.query_one(SqlEditor)

    @property
    def rows(self):
        return self.app.screen.query_one("#rows", PagedTable)

    @property
    def tree(self):
        return self.app.screen.query_one(SchemaTree)

    @property
    def told(self):
        return self.app.screen.query_one("#told", Line).content.plain

    @property
    def wrong(self):
        shown = self.app.screen.query_one("#wrong")
        return str(shown.content) if shown.has_class("-shown") else ""

    def lines(self, table=None):
        table = table or self.rows
        return [table.render_line(y).text.rstrip() for y in range(table.size.height)]

    async def ready(self):
        await until(lambda: self.tree.count > 0 and self.editor.lexer)
        return self

    async def ask(self, sql):
        self.editor.text = sql
        before = self.app.screen._result
        await self.pilot.press("ctrl+j")
        await until(lambda: self.app.screen._result is not before or self.wrong)


@pytest.mark.asyncio
async def test_tables_open_into_columns_and_a_name_goes_into_the_query(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha", mode="sql")
    async with app.run_test(size=SIZE) as pilot:
        page = await Page(app, pilot).ready()
        shown = page.lines(page.tree)
        assert "− features" in shown[1] and shown[1].endswith("12")
        assert "feature " in shown[2] and shown[2].endswith("integer")
        page.editor.text = "SELECT"
        page.editor.move_cursor((0, 6))
        await pilot.press("shift+tab")
        assert page.tree.has_focus
        await pilot.press("down", "down", "enter")
        assert page.editor.text == "SELECT n" and page.editor.has_focus
        await pilot.press("escape", "t", "h")
        assert page.tree.row.name == "features" and page.tree.count < 25
        assert page.query_one("#about", Line).content.plain == "a feature and its statistics"
        await pilot.press("l")
        opened = page.tree.count
        await pilot.press("o")
        assert page.tree.count < opened
        assert page.copied() == ("features", "features")


@pytest.mark.asyncio
async def test_a_result_has_numbers_at_the_right_and_null_is_not_the_word(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha", mode="sql")
    async with app.run_test(size=SIZE) as pilot:
        page = await Page(app, pilot).ready()
        await page.ask("SELECT feature, NULL AS nothing, 'NULL' AS word, 1/0 AS inf, [1, 2] AS two, feature = 1 AS one"
                       " FROM features ORDER BY feature LIMIT 3")  # fmt: skip
        assert page.told.startswith("3 rows · ") and page.told.endswith(" ms")
        header, first, second, *_ = page.lines()
        assert header.split() == ["feature", "nothing", "word", "inf", "two", "one"]
        assert first.split() == ["▸", "0", "NULL", "NULL", "inf", "[1,", "2]", "false"]
        assert header.index("feature") + 6 == first.index("0")
        strip = page.rows.render_line(2)
        null, word = [segment for segment in strip if "NULL" in segment.text]
        assert null.style.italic and not word.style.italic
        assert page.editor.has_focus and second
        await pilot.press("escape")
        assert page.rows.has_focus
        await pilot.press("l", "l")
        assert page.copied() == ("the cell of word", "NULL")
        await pilot.press("h")
        assert page.copied() == ("NULL", "")


@pytest.mark.asyncio
async def test_an_error_stands_under_the_query_with_a_mark_at_its_place(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha", mode="sql")
    async with app.run_test(size=SIZE) as pilot:
        page = await Page(app, pilot).ready()
        await page.ask("SELECT feature\n  , maks FROM features")
        first, text, mark = page.wrong.split("\n")
        assert first.startswith('✗ Referenced column "maks" not found') and '"max"' in first
        assert text == "  , maks FROM features" and mark.index("▲") == text.index("maks")
        assert page.editor.has_focus and app.screen is page.app.screen
        for sql, words in (
            ("DROP TABLE features", "refused"),
            ("SELECT '[/x]\x1b' FROM nowhere", "nowhere"),
            (";", ""),
        ):
            await page.ask(sql)
            assert words in page.wrong and "\x1b" not in page.wrong
        await page.ask("SELECT 1")
        assert page.wrong == "" and page.told.startswith("1 row · ")


@pytest.mark.asyncio
async def test_escape_stops_a_query_and_the_screen_is_free_at_once(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha", mode="sql")
    async with app.run_test(size=SIZE) as pilot:
        page = await Page(app, pilot).ready()
        page.editor.text = ENDLESS
        app.simulate_key("ctrl+j")  # Pilot would wait for an idle processor
        await until(lambda: page.told.startswith("running"))
        await asyncio.sleep(0.1)
        assert page.told.startswith("running")
        page.clock()
        assert re.fullmatch(r"running, \d+ s · esc stops it", page.told)
        app.simulate_key("escape")
        await asyncio.sleep(0.05)
        assert page.told.startswith("stopped after ") and page.editor.has_focus
        await page.ask("SELECT 41 + 1 AS answer")
        assert page._result.rows == [(42,)]
        page.editor.text = ENDLESS
        app.simulate_key("ctrl+j")
        await asyncio.sleep(0.1)
        page.editor.text = "SELECT 'this one instead'"
        app.simulate_key("ctrl+j")
        await until(lambda: page._result.rows != [(42,)])
        assert page._result.rows == [("this one instead",)] and page.wrong == ""


@pytest.mark.asyncio
async def test_only_what_is_selected_runs_and_nothing_shows_the_examples(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha", mode="sql")
    async with app.run_test(size=SIZE) as pilot:
        page = await Page(app, pilot).ready()
        await until(lambda: "the most active features" in page.lines()[1])
        await pilot.press("escape", "down", "enter")
        assert "specialist_category" in page.editor.text and page.editor.has_focus
        await page.ask("SELECT 1 AS a, 2 AS b")
        page.editor.text = "SELECT 3;\nSELECT 4"
        page.editor.selection = ((1, 0), (1, 8))
        await pilot.press("f5")
        await until(lambda: page._result.rows == [(4,)])
        await pilot.press("ctrl+j")
        page.editor.text = ""
        await pilot.press("ctrl+j")
        await until(lambda: "the most active features" in page.lines()[1])


@pytest.mark.asyncio
async def test_the_history_is_filtered_as_one_types_and_survives(sessions_root, workbench, tmp_path):
    app = workbench(sessions_root, session="alpha", mode="sql")
    async with app.run_test(size=SIZE) as pilot:
        page = await Page(app, pilot).ready()
        for sql in ("SELECT 1", "SELECT 'two\n[/x]\x1b'", "SELECT 'two\n[/x]\x1b'", "SELECT 3"):
            await page.ask(sql)
        lines = (tmp_path / "sql_history.jsonl").read_text().splitlines()
        assert [json.loads(line)["sql"] for line in lines] == ["SELECT 1", "SELECT 'two\n[/x]\x1b'", "SELECT 3"]
        await pilot.press("ctrl+r")
        await until(lambda: isinstance(app.screen, SqlHistory))
        table = app.screen.query_one(PagedTable)
        assert "SELECT 3" in table.render_line(1).text and "[/x]␛" in table.render_line(2).text
        await pilot.press(*"TWO")
        assert table.count == 1
        await pilot.press("backspace", "backspace", "backspace", "down", "up", "enter")
        await until(lambda: not isinstance(app.screen, SqlHistory))
        assert page.editor.text == "SELECT 'two\n[/x]\x1b'"
        await pilot.press("ctrl+r")
        await until(lambda: isinstance(app.screen, SqlHistory))
        await pilot.press("escape")
        await until(lambda: not isinstance(app.screen, SqlHistory))
        assert page.editor.text == "SELECT 'two\n[/x]\x1b'"


@pytest.mark.asyncio
async def test_a_cell_is_read_in_full_and_a_result_written_to_a_file(sessions_root, workbench, tmp_path):
    app = workbench(sessions_root, session="alpha", mode="sql")
    async with app.run_test(size=SIZE) as pilot:
        page = await Page(app, pilot).ready()
        await page.ask("SELECT {'a': [1, 2], 'b': '[bold]'} AS deep, 0.0/0.0 AS nan, 'x,\x1by' AS text FROM range(2)")
        await pilot.press("escape", "space")
        await pilot.pause()
        assert isinstance(app.screen, Reader) and '  "b": "[bold]"' in app.screen._content.plain
        await pilot.press("escape")
        csv, json_, parquet = (tmp_path / f"out.{end}" for end in ("csv", "json", "parquet"))
        for path in (csv, json_, parquet):
            await pilot.press("E")
            await pilot.pause()
            assert isinstance(app.screen, AskText)
            app.screen.query_one("Input").value = str(path)
            await pilot.press("enter")
            await until(lambda path=path: path.exists() and app.screen.exporting is None)
        assert csv.read_text().splitlines()[0] == "deep,nan,text" and csv.read_text().count("\n") == 3
        assert json.loads(json_.read_text())[1] == {
            "deep": {"a": [1, 2], "b": "[bold]"},
            "nan": None,
            "text": "x,\x1by",
        }
        import pyarrow.parquet as pq

        assert pq.read_table(parquet).column("deep").to_pylist() == [{"a": [1, 2], "b": "[bold]"}] * 2
        await pilot.press("i", "ctrl+e")
        await pilot.pause()
        assert app.screen._check(str(csv)) and app.screen._check("x.txt") and app.screen._check("/nowhere/x.csv")
        assert not app.screen._check(str(tmp_path / "new.json"))


@pytest.mark.asyncio
async def test_all_rows_are_written_and_to_stop_that_leaves_no_file(sessions_root, workbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "alpha.csv").write_text("mine")
    app, said = workbench(sessions_root, session="alpha", mode="sql"), []
    app.say = lambda message, severity="information": said.append(message)
    async with app.run_test(size=SIZE) as pilot:
        page = await Page(app, pilot).ready()
        await page.ask("-- all\nSELECT range AS n FROM range(25_000)")
        await pilot.press("escape", "E")
        await until(lambda: isinstance(app.screen, AskText))
        assert app.screen.query_one(TextLine).value == "alpha-2.csv"
        await pilot.press("enter")
        await until(lambda: said == ["wrote 25,000 rows to alpha-2.csv"])
        assert (tmp_path / "alpha-2.csv").read_text().count("\n") == 25_001
        await page.ask("SELECT range AS n FROM range(100_000_000)")
        await pilot.press("escape")
        for name in ("long.json", "long.parquet"):
            await pilot.press("E")
            await until(lambda: isinstance(app.screen, AskText))
            app.screen.query_one(TextLine).value = name
            await pilot.press("enter")
            await until(lambda: "esc stops" in str(app.screen.query_one("#result").border_subtitle))
            await pilot.press("escape")
            await until(lambda: said[-1] == "stopped: no file was written" and not app.screen.exporting)
            assert not app.screen.query_one("#result").border_subtitle
        assert not (tmp_path / "long.json").exists() and not (tmp_path / "long.parquet").exists()


@pytest.mark.asyncio
async def test_enter_opens_the_feature_of_a_cell(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha", mode="sql")
    opened = []
    app.open_feature = opened.append
    async with app.run_test(size=SIZE) as pilot:
        page = await Page(app, pilot).ready()
        await page.ask("SELECT 7 AS other, 'x' AS word, 3 AS feature, 5.5 AS my_feature")
        await pilot.press("escape", "enter", "l", "enter", "l", "enter", "l", "enter")
        assert opened == [7, 3, 3, 3]
        await page.ask("SELECT 'x' AS word")
        await pilot.press("escape", "enter")
        await pilot.pause()
        assert isinstance(app.screen, Reader)
        assert app.screen.query_one("VerticalScroll").outer_size == (40, 3)  # a word has a small frame
        await pilot.press("escape")
        await page.ask("SELECT repeat('word ', 400) AS long")
        await pilot.press("escape", "enter")
        await until(lambda: isinstance(app.screen, Reader) and app.screen.query_one("VerticalScroll").outer_size.width)
        assert app.screen.query_one("VerticalScroll").outer_size.height > 30


@pytest.mark.asyncio
async def test_the_text_and_the_cursor_come_back_and_the_command_line_is_given(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha", mode="sql")
    async with app.run_test(size=SIZE) as pilot:
        page = await Page(app, pilot).ready()
        page.editor.text = "SELECT 'it''s'\nFROM features"
        page.editor.move_cursor((1, 4))
        assert page.command_line() == "sae-tui query alpha 'SELECT '\"'\"'it'\"'\"''\"'\"'s'\"'\"'\nFROM features'"
        app.remember()
    again = workbench(sessions_root, session="alpha", mode="sql")
    async with again.run_test(size=SIZE) as pilot:
        editor = again.screen.query_one(SqlEditor)
        assert (editor.text, editor.cursor_location) == ("SELECT 'it''s'\nFROM features", (1, 4))


@pytest.mark.asyncio
async def test_without_a_database_it_says_what_to_do(sessions_root, workbench):
    app = workbench(sessions_root, session="gamma", mode="sql")
    async with app.run_test(size=SIZE) as pilot:
        page = Page(app, pilot)
        await until(lambda: "sae-tui analyze gamma" in page.told)
        await pilot.press(*"FROM")
        await pilot.press("ctrl+j")
        assert "sae-tui analyze gamma" in page.told and page.wrong == ""
        app.open_session(next(s.session for s in app.seen if s.name == "alpha"))
        await page.ready()
        await page.ask("FROM features LIMIT 2")
        assert len(page._result.rows) == 2
        app.action_reload()
        await pilot.pause()
        assert len(page._result.rows) == 2
        app.open_session(next(s.session for s in app.seen if s.name == "gamma"))
        await pilot.pause()
        assert page._result is None and page.tree.count == 0 and page.editor.text == "FROM features LIMIT 2"


@pytest.mark.asyncio
async def test_in_a_narrow_terminal_the_tables_come_with_the_focus(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha", mode="sql")
    async with app.run_test(size=(80, 24)) as pilot:
        page = await Page(app, pilot).ready()
        pane = page.query_one("#tables")
        assert pane.region.right <= 0 and page.rows.size.width > 70
        await pilot.press("escape", "t")
        await pilot.pause()
        assert pane.region.x == 0 and page.tree.has_focus
        await pilot.press("z")
        await pilot.pause()
        assert pane.region.width > 70
        await pilot.press("escape", "escape")
        await pilot.pause()
        assert pane.region.right <= 0 and page.editor.has_focus
        await pilot.press("shift+tab")
        assert page.tree.has_focus


@pytest.mark.asyncio
async def test_marked_sessions_can_be_joined_and_the_result_written(sessions_root, workbench, tmp_path):
    app = workbench(sessions_root, session="alpha", mode="sql")
    async with app.run_test(size=SIZE) as pilot:
        import shutil

        shutil.copytree(sessions_root / "alpha", sessions_root / "delta")
        app.tick()
        await until(lambda: any(s.name == "delta" for s in app.seen))
        app.marked = {"delta", "beta"}
        app.tick()
        page = await Page(app, pilot).ready()
        await until(lambda: any(line.name == "delta.features" for line in page.tree._rows))
        await until(lambda: "both runs" in "".join(page.lines()))
        await page.ask("SELECT count(*) FROM s1.features JOIN s2.features USING (feature)")
        assert page._result.rows == [(12,)]
        sql = "SELECT count(*) AS n FROM features JOIN delta.features USING (feature)"
        await page.ask(sql)
        await until(lambda: page._result.rows == [(12,)])
        assert page.command_line() == f"sae-tui query alpha '{sql}' --with delta"
        for name in ("both.csv", "both.parquet"):
            await pilot.press("escape", "E")
            await until(lambda: isinstance(app.screen, AskText))
            app.screen.query_one("Input").value = str(tmp_path / name)
            await pilot.press("enter")
            await until((tmp_path / name).exists)
        import pyarrow.parquet as pq

        assert pq.read_table(tmp_path / "both.parquet").to_pylist() == [{"n": 12}]


@pytest.mark.asyncio
async def test_a_query_is_kept_under_a_name_listed_first_and_deleted(sessions_root, workbench, tmp_path):
    app = workbench(sessions_root, session="alpha", mode="sql")
    async with app.run_test(size=SIZE) as pilot:
        page = await Page(app, pilot).ready()
        for name, sql in (("mine", "SELECT 1"), ("mine", "SELECT 2"), ("[/x]\x1b", "SELECT 3")):
            page.editor.text = sql
            await pilot.press("escape", "w")
            await until(lambda: isinstance(app.screen, AskText))
            app.screen.query_one(TextLine).value = name
            await pilot.press("enter")
            await until(lambda name=name, sql=sql: Saved(tmp_path).queries().get(name) == sql)
        await until(lambda: "★ [/x]␛" in page.lines()[1] and "★ mine" in page.lines()[2])
        page.query_one("#rows").focus()
        await pilot.press("g", "D")
        await until(lambda: isinstance(app.screen, Ask))
        await pilot.press("d")
        await until(lambda: list(Saved(tmp_path).queries()) == ["mine"] and "★ mine" in page.lines()[1])
        await pilot.press("g", "enter")
        await until(lambda: page.editor.text == "SELECT 2")
        await page.ask("SELECT 4")
        await until(lambda: page._result is not None)
        await pilot.press("escape", "x")
        await until(lambda: page._result is None and "★ mine" in page.lines()[1])
    with (tmp_path / "sql_saved.jsonl").open("a") as file:
        file.write('{"name": 3}\n[]\n{"name": "torn')
    assert Saved(tmp_path).queries() == {"mine": "SELECT 2"}


@pytest.mark.asyncio
async def test_hostile_values_and_names_are_drawn_as_glyphs(sessions_root, workbench):
    app = workbench(sessions_root, session="alpha", mode="sql")
    async with app.run_test(size=SIZE) as pilot:
        page = await Page(app, pilot).ready()
        columns = ", ".join("'{0}' AS \"{0}\"".format(h.replace("'", "''").replace('"', '""')) for h in HOSTILE[:9])
        await page.ask(f"SELECT {columns}")
        assert page.wrong == ""
        drawn = "".join(page.lines())
        assert "[bold]" in drawn and "[/x]" in drawn and "␛]52" in drawn
        assert not any(c in drawn for h in HOSTILE for c in h if not c.isprintable())
        await pilot.press("escape", "l", "l", "space")
        await pilot.pause()
        assert app.screen._content.plain == "[@click=app.quit]q"


def test_a_torn_history_is_read_around(tmp_path):
    history = History(tmp_path / "new")
    assert history.entries() == []
    history.add("a", "s")
    history.add("b", "s")
    history.add("a", "s")
    with (tmp_path / "new" / "sql_history.jsonl").open("a") as file:
        file.write('{"sql": 3, "session": 1, "at": 2}\n{"odd": 1}\n[]\n{"torn')
    assert [e.sql for e in history.entries()] == ["a", "b"]


@pytest.mark.asyncio
@pytest.mark.parametrize(("remapped", "key"), [({}, "A"), ({"runs.analyze": "ctrl+y,A"}, "^Y")])
async def test_a_database_of_another_version_is_told_with_the_key_that_makes_it_anew(
    sessions_root, workbench, remapped, key
):
    path = sessions_root / "alpha" / "features.duckdb"
    path.chmod(0o644)
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE meta SET value = '3' WHERE key = 'schema'")
    app = workbench(sessions_root, mode="sql", session="alpha", keys=remapped)
    async with app.run_test(size=SIZE) as pilot:
        page = Page(app, pilot)
        await until(lambda: page.wrong)
        assert "alpha was made by another version" in page.wrong
        assert page.wrong.endswith(f"make it anew with `sae-tui analyze alpha` (here {key} on Runs)")


@pytest.mark.asyncio
async def test_a_session_without_a_database_is_told_with_the_key_that_makes_one(sessions_root, workbench):
    app = workbench(sessions_root, mode="sql", session="beta")
    async with app.run_test(size=SIZE) as pilot:
        page = Page(app, pilot)
        await until(lambda: page.told.endswith("`sae-tui analyze beta` (here A on Runs) makes one"))

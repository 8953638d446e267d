"""The console: what it lists, how it stops, what it makes of a text."""

import resource
import threading
import time

import pytest

from core.analysis.console import EXAMPLES, JOINED, Console, place_of, words
from core.errors import QueryError
from core.labels import Label, append
from core.session import Session

ENDLESS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"


@pytest.fixture
def analysed(case):
    return case.session


@pytest.fixture
def console():
    console = Console()
    yield console
    console.close()


def test_tables_come_with_rows_and_columns_and_those_of_the_same_one_again_under_its_alias(console, analysed):
    tables = {t.name: t for t in console.tables([analysed, analysed])}
    assert next(iter(tables)) == "features"
    assert ("feature", "INTEGER") in tables["features"].columns
    assert tables["features"].rows == console.ask([analysed], "SELECT count(*) FROM features", 1).rows[0][0]
    assert "labels" in tables and tables["s2.features"].columns == tables["features"].columns


def test_every_example_runs(console, analysed):
    for what, sql in EXAMPLES:
        assert console.ask([analysed], sql, 5).columns, what
    for what, sql in JOINED:
        assert console.ask([analysed, analysed], sql, 5).columns, what


def test_tables_of_another_session_go_by_its_name_as_a_query_writes_it(console, make_case):
    sessions = []
    for name in ("one", "two.k-32", "three"):
        made = make_case(name=name)
        made.build()
        sessions.append(made.session)
    tables = [t.name for t in console.tables(sessions)]
    assert tables[0] == "features" and '"two.k-32".features' in tables and "three.features" in tables
    assert tables.index("meta") < tables.index('"two.k-32".features') < tables.index("three.features")
    for name in tables:
        assert console.ask(sessions, f"SELECT count(*) FROM {name}", 1).rows


def test_numbers_that_are_none_are_not_null(console, analysed):
    (row,) = console.ask([analysed], "SELECT 'nan'::FLOAT, 1 / 0, NULL", 1).rows
    assert str(row[0]) == "nan" and row[1] == float("inf") and row[2] is None


def test_a_query_is_stopped_while_it_runs_and_the_next_one_is_answered(console, analysed):
    for wait in (0.0, 0.002, 0.2):
        ended = []

        def ask(ended: list[object] = ended) -> None:
            try:
                ended.append(console.ask([analysed], ENDLESS, 1))
            except QueryError as error:
                ended.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(wait)
        began = time.monotonic()
        console.stop()
        thread.join(2)
        assert not thread.is_alive() and time.monotonic() - began < 1
        assert isinstance(ended[0], QueryError) or wait == 0
        assert console.ask([analysed], "SELECT 1", 1).rows == [(1,)]


@pytest.mark.parametrize("sql", [
    "SELECT repeat('x', 3000000000)",
    "SELECT sum(length(repeat(repeat('x', 1000), 3000 + range::INTEGER % 2))) FROM range(2048)",
])  # fmt: skip
def test_a_query_whose_values_alone_pass_the_memory_is_refused_and_the_next_one_is_answered(console, analysed, sql):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(QueryError, match="more memory than it may use"):
        console.ask([analysed], sql, 1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 500_000  # KiB
    assert console.ask([analysed], "SELECT 1", 1).rows == [(1,)]


def test_an_answer_too_large_to_hold_is_refused(console, analysed):
    with pytest.raises(QueryError, match="the answer has 100 MB"):
        console.ask([analysed], "SELECT repeat(repeat('x', 100000), 1000)", 1)


def test_a_query_deaf_to_an_interrupt_is_stopped_within_0_3_s(console, analysed):
    console.ask([analysed], "SELECT 1", 1)
    deaf = "SELECT bitstring('1', 2000000000) IS NULL"
    told = []

    def ask():
        try:
            console.ask([analysed], deaf, 1)
        except QueryError as error:
            told.append(error.message)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.5)
    assert thread.is_alive()
    began = time.monotonic()
    console.stop()
    assert time.monotonic() - began < 0.3
    thread.join(1)
    assert told == ["the query was interrupted"]


def test_its_process_ends_with_whoever_asked(analysed):
    console = Console()
    console.ask([analysed], "SELECT 1", 1)
    process = console._process
    process.stdin.close()
    assert process.wait(5) == 0
    process.stdout.close()


def test_labels_given_in_between_are_seen(console, analysed):
    assert console.ask([analysed], "SELECT count(*) FROM labels WHERE label = 'new'", 1).rows == [(0,)]
    append(analysed, Label(feature=1, label="new"))
    assert console.ask([analysed], "SELECT count(*) FROM labels WHERE label = 'new'", 1).rows == [(1,)]


def test_a_session_that_was_not_analysed_is_told(console, tmp_path):
    with pytest.raises(QueryError, match="has not been analysed"):
        console.tables([Session(tmp_path / "none")])


def test_words_are_found_as_duckdb_finds_them():
    sql = "FROM é -- ü\nWHERE a.b = 'ß\nx' AND 1.5 < n"
    found = [(sql[start:end].strip(), kind) for start, end, kind in words(sql)]
    assert found == [
        ("FROM", "keyword"), ("é", "identifier"), ("-- ü", "comment"), ("WHERE", "keyword"), ("a", "identifier"),
        (".", "operator"), ("b", "identifier"), ("=", "operator"), ("'ß\nx'", "string_const"), ("AND", "keyword"),
        ("1.5", "numeric_const"), ("<", "operator"), ("n", "identifier"),
    ]  # fmt: skip
    for text in ("", "'", "\ud800 select", "/* x", "\x00\x1b", "$$a"):
        words(text)


def test_the_place_of_an_error_is_known_where_duckdb_knows_it(console, analysed):
    for sql, place in (("SELECT\n  foo FROM features", (2, 3)), ("SELECT * FRM features", (1, 14))):
        with pytest.raises(QueryError) as raised:
            console.ask([analysed], sql, 1)
        assert place_of(raised.value) == place
    assert place_of(QueryError("no place")) is None

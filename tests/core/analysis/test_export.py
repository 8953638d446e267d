"""Exports hold every row of a query, and nothing where one ends early."""

import csv
import io
import json
import threading

import duckdb
import pyarrow.parquet as pq
import pytest

from core.analysis import export
from core.analysis.export import Export, distinct, format_of
from core.analysis.store import Store
from core.errors import QueryError, SaeTuiError, UsageError

ROWS = "FROM activations ORDER BY feature, token_idx"


def exported(case, tmp_path, sql, form, **options):
    path = tmp_path / f"rows.{form}"
    with Export([case.session], sql, **options) as asked:
        progress = list(asked.to_file(path, form))
    return path, progress


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(export, "BATCH", 50)


def test_every_format_holds_the_rows_a_query_has(case, tmp_path, small_batches):
    with Store.open([case.session]) as store:
        expected = store.query(ROWS, 1_000_000).rows
    assert len(expected) > 200
    path, progress = exported(case, tmp_path, ROWS, "csv")
    read = list(csv.reader(path.open()))
    assert read[0] == ["feature", "token_idx", "value"]
    assert [(int(f), int(t), float(v)) for f, t, v in read[1:]] == expected
    assert [p.done for p in progress[:2]] == [50, 100] and progress[-1].done == len(expected)
    path, _ = exported(case, tmp_path, ROWS, "json")
    assert [tuple(row.values()) for row in json.loads(path.read_text())] == expected
    path, progress = exported(case, tmp_path, ROWS, "parquet")
    table = pq.read_table(path)
    assert list(zip(*(column.to_pylist() for column in table.columns), strict=True)) == expected
    assert len(progress) > 1 and progress[-1].done == len(expected)


def test_a_csv_with_every_kind_of_line_end_in_its_texts_is_read_as_it_was_written(case, tmp_path):
    texts = ["say\rthen", "a\r\nb", "a\nb", "\r", 'quote " and\r', "comma, here", "plain"]
    rows = ", ".join(f"({i}, '{text}')" for i, text in enumerate(texts))
    path, _ = exported(case, tmp_path, f"SELECT * FROM (VALUES {rows}) t(i, text)", "csv")
    written = path.read_bytes()
    assert written.startswith(b"i,text\n") and written.endswith(b"6,plain\n")
    assert [row[1] for row in csv.reader(path.open(newline=""))][1:] == texts
    read = duckdb.sql(f"FROM read_csv('{path}', all_varchar=true) ORDER BY i").fetchall()
    assert [text for _, text in read] == texts


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
@pytest.mark.parametrize("limit", [0, 50, 77])
def test_a_limit_cuts_within_a_batch(case, tmp_path, small_batches, form, limit):
    path, _ = exported(case, tmp_path, "SELECT * FROM range(200) t(i) ORDER BY i", form, limit=limit)
    if form == "csv":
        found = [int(i) for i in path.read_text().split()[1:]]
    else:
        found = (
            [r["i"] for r in json.loads(path.read_text())] if form == "json" else pq.read_table(path)["i"].to_pylist()
        )
    assert found == list(range(limit))


def test_nothing_but_one_select_is_exported(case, tmp_path):
    for sql in (
        "DROP TABLE features",
        "COPY features TO 'x.csv'",
        "SELECT 1; SELECT 2",
        "FROM read_csv('/etc/passwd')",
    ):
        with pytest.raises(QueryError):
            Export([case.session], sql)


def test_lists_and_what_is_no_number_keep_their_sense_in_text(case, tmp_path):
    sql = """SELECT ['a', 'b"c'] AS l, {'k': 1} AS s, 'nan'::DOUBLE AS n, 'x,"y' || chr(10) AS t, NULL AS z"""
    path, _ = exported(case, tmp_path, sql, "csv")
    [_, row] = csv.reader(io.StringIO(path.read_text(), newline=""))
    assert [json.loads(row[0]), json.loads(row[1]), *row[2:]] == [["a", 'b"c'], {"k": 1}, "", 'x,"y\n', ""]
    path, _ = exported(case, tmp_path, sql, "json")
    assert json.loads(path.read_text()) == [{"l": ["a", 'b"c'], "s": {"k": 1}, "n": None, "t": 'x,"y\n', "z": None}]


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_two_columns_of_one_name_are_both_there(case, tmp_path, form):
    path, _ = exported(case, tmp_path, "SELECT 1 AS a, 2 AS a, 3 AS a_1", form)
    if form == "parquet":
        assert pq.read_table(path).to_pylist() == [{"a": 1, "a_1": 2, "a_1_1": 3}]
    else:
        assert '"a_1": 2' in path.read_text() or path.read_text().startswith("a,a_1,a_1_1\n1,2,3")
    assert distinct(["a", "a", "a"]) == ["a", "a_1", "a_2"]


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_a_query_that_fails_half_way_leaves_what_was_there(case, tmp_path, small_batches, form):
    (tmp_path / f"rows.{form}").write_text("before")
    sql = "SELECT CASE WHEN i = 30000 THEN error('it broke') ELSE i END AS i FROM range(50000) t(i)"
    with pytest.raises(QueryError, match="it broke"):
        exported(case, tmp_path, sql, form)
    assert [p.name for p in tmp_path.glob("*") if p.is_file()] == [f"rows.{form}"]
    assert (tmp_path / f"rows.{form}").read_text() == "before"


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_export_that_is_let_go_of_or_stopped_leaves_no_file(case, tmp_path, form):
    with Export([case.session], "SELECT i FROM range(10_000_000_000) t(i)") as asked:
        writing = asked.to_file(tmp_path / "rows", form)
        next(writing)
        writing.close()
    with Export([case.session], "SELECT count(*) FROM range(10_000_000_000) a, range(1000) b") as asked:
        timer = threading.Timer(0.3, asked.stop)
        timer.start()
        with pytest.raises(QueryError, match="interrupted"):
            list(asked.to_file(tmp_path / "rows", form))
        timer.join()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith((".rows", "rows"))]


def test_what_parquet_has_no_type_for_is_said(case, tmp_path):
    with pytest.raises(QueryError, match="Parquet cannot hold this"):
        exported(case, tmp_path, "SELECT INTERVAL 3 DAYS AS i", "parquet")


def test_a_folder_that_cannot_be_written_is_said(case, tmp_path):
    (tmp_path / "file").write_text("")
    with Export([case.session], "SELECT 1") as asked, pytest.raises(SaeTuiError, match="cannot be written"):
        list(asked.to_file(tmp_path / "file" / "rows.csv", "csv"))


def test_a_name_says_its_format(tmp_path):
    assert format_of(tmp_path / "a.CSV") == "csv" and format_of(tmp_path / "a.b.parquet") == "parquet"
    with pytest.raises(UsageError, match="does not say its format"):
        format_of(tmp_path / "a.txt")

"""What a person's SQL may be, and that whatever it is, no file changes."""

import hashlib

import duckdb
import pytest

from core.analysis.guard import condition, explained, select_only
from core.analysis.store import Store
from core.errors import QueryError

ALLOWED = [
    "SELECT 1",
    "FROM features SELECT feature WHERE density > 0.1 ORDER BY ALL LIMIT 3;",
    "VALUES (1), (2)",
    "TABLE features",
    "DESCRIBE features",
    "SHOW TABLES",
    "SUMMARIZE features",
    "SELECT 1 -- ; DROP TABLE features",
    "/* a comment; DROP TABLE features */ SELECT 1",
    "WITH a AS (FROM features) SELECT count(*) FROM a UNION SELECT 2",
    "WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t WHERE i < 3) FROM t",
    "FROM features PIVOT (sum(density) FOR dead IN (true, false))",
    "FROM query_table('features')",
    "FROM s1.features a JOIN s1.features b USING (feature) LIMIT 1",
    'FROM "toy".features LIMIT 1',
    "SELECT * FROM range(3), unnest([1, 2])",
    "FROM duckdb_columns() LIMIT 1",
    "FROM labels",
    "EXPLAIN SELECT 1",
    "explain(SELECT 1)",
]
REFUSED = {
    "DETACH s1": "DETACH is refused",
    "ATTACH '{path}' AS w": "ATTACH is refused",
    "DETACH s1; ATTACH '{path}' AS s1; DROP TABLE s1.features": "3 statements",
    "SELECT 1; DROP VIEW features": "2 statements",
    "SELECT 1 /* x */; -- y\nDETACH s1": "2 statements",
    "DROP TABLE s1.features": "DROP is refused",
    "DROP TABLE memory.labels": "DROP is refused",
    "CREATE TABLE x AS SELECT 1": "CREATE is refused",
    "CREATE TEMP VIEW x AS SELECT 1": "CREATE is refused",
    "CREATE SECRET s (TYPE s3)": "is refused",
    "INSERT INTO labels SELECT * FROM labels": "INSERT is refused",
    "UPDATE labels SET label = ''": "UPDATE is refused",
    "DELETE FROM labels": "DELETE is refused",
    "TRUNCATE labels": "is refused",
    "ALTER TABLE s1.features ADD COLUMN x INT": "ALTER is refused",
    "WITH a AS (DELETE FROM labels RETURNING *) SELECT * FROM a": "DELETE is refused",
    "WITH a AS (DELETE FROM s1.features RETURNING *) SELECT * FROM a": "DELETE is refused",
    "WITH a AS (INSERT INTO labels FROM labels RETURNING *) FROM a": "INSERT is refused",
    "WITH a AS (UPDATE labels SET label = '' RETURNING *) FROM a": "UPDATE is refused",
    "WITH a AS (COPY (SELECT 1) TO '{path}.wal' (FORMAT csv)) FROM a": "COPY is refused",
    "WITH a AS (COPY (SELECT 1) TO '{path}' (FORMAT csv, USE_TMP_FILE false)) FROM a": "COPY is refused",
    "SELECT (WITH a AS (COPY (SELECT 1) TO '{path}.wal') SELECT 1)": "COPY is refused",
    "FROM features WHERE EXISTS (WITH a AS (DELETE FROM labels) FROM a)": "DELETE is refused",
    "COPY features TO '{path}.csv'": "COPY is refused",
    "EXPORT DATABASE '{path}.d'": "EXPORT is refused",
    "IMPORT DATABASE '{path}.d'": "is refused",
    "FROM read_csv('/etc/passwd')": "table function read_csv is refused",
    "FROM main.read_parquet('x')": "table function read_parquet is refused",
    "FROM system.main.\"READ_TEXT\"('/etc/passwd')": "table function read_text is refused",
    "SELECT (SELECT 1 FROM glob('/*'))": "table function glob is refused",
    "FROM read_duckdb('{path}')": "table function read_duckdb is refused",
    "FROM features WHERE feature IN (FROM read_blob('x') SELECT size)": "table function read_blob is refused",
    "SELECT * FROM query('DETACH s1')": "table function query is refused",
    "FROM query('FROM read_text(''/etc/passwd'')')": "table function query is refused",
    "FROM json_execute_serialized_sql('x')": "is refused",
    "FROM arrow_scan(1::POINTER, 1::POINTER, 1::POINTER)": "is refused",
    "FROM enable_logging(storage := 'file', storage_path := '{path}.log')": "is refused",
    "FROM enable_profiling(save_location := '{path}.json')": "is refused",
    "FROM checkpoint('s1')": "is refused",
    "FROM truncate_duckdb_logs()": "is refused",
    "FROM duckdb_secrets()": "is refused",
    "SELECT nextval('x')": "function nextval is refused",
    "INSTALL httpfs": "is refused",
    "LOAD httpfs": "LOAD is refused",
    "SET memory_limit = '1TB'": "SET is refused",
    "SET VARIABLE x = 1": "SET is refused",
    "RESET memory_limit": "is refused",
    "USE s1": "is refused",
    "PRAGMA database_list": "is refused",
    "CALL pragma_version()": "CALL is refused",
    "CHECKPOINT s1": "is refused",
    "VACUUM": "VACUUM is refused",
    "ANALYZE": "is refused",
    "BEGIN": "TRANSACTION is refused",
    "ROLLBACK": "TRANSACTION is refused",
    "PREPARE p AS SELECT 1": "PREPARE is refused",
    "EXECUTE p": "EXECUTE is refused",
    "PIVOT features ON dead USING sum(density)": "PIVOT without its values",
    "SELECT * FROM (PIVOT features ON dead USING sum(density))": "PIVOT without its values",
    "EXPLAIN ANALYZE SELECT 1": "EXPLAIN with ANALYZE",
    "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1": "EXPLAIN with ANALYZE",
    "EXPLAIN (ANALYZE) SELECT 1": "EXPLAIN with ANALYZE",
    "EXPLAIN /* */ ANALYZE SELECT 1": "syntax error",
    "/* EXPLAIN SELECT 1 -- */ EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1": "a comment stands before EXPLAIN",
    "EXPLAIN DROP TABLE s1.features": "DROP is refused",
    "EXPLAIN WITH a AS (COPY (SELECT 1) TO '{path}.wal') FROM a": "COPY is refused",
    "": "no query",
    " ;; ": "no query",
    "-- nothing": "no query",
    "SELECT '\udcff'": "not valid text",
    "SELECT " + "(" * 5_000 + "1" + ")" * 5_000: "depth",
}
UNKNOWN = {
    "SELECT getenv('HOME')": "getenv",
    "FROM '/etc/passwd'": "passwd",
    "FROM 'x.csv'": "x.csv",
    "FROM nowhere": "nowhere",
    "SELECT ?": "parameter",
}
"""What the guard lets by, and DuckDB itself refuses."""


def state(folder):
    """Names and contents of a folder's files."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("sql", ALLOWED)
def test_reading_is_allowed(case, sql):
    with Store.open([case.session]) as store:
        assert store.query(sql).columns


@pytest.mark.parametrize(("sql", "why"), [*REFUSED.items(), *UNKNOWN.items()], ids=lambda v: str(v)[:50])
def test_whatever_else_is_refused_in_one_sentence_and_changes_no_file(case, sql, why, monkeypatch):
    monkeypatch.chdir(case.session.path)  # a temporary file of DuckDB's would fall here
    before = state(case.session.path)
    with Store.open([case.session]) as store:
        labels = store.query("FROM labels").rows
        with pytest.raises(QueryError, match=why) as caught:
            store.query(sql.replace("{path}", str(case.session.database_path).replace("'", "''")))
        assert "\n" not in str(caught.value)
        assert store.query("FROM labels").rows == labels
    assert state(case.session.path) == before


@pytest.mark.parametrize("sql", [s for s in REFUSED if s.startswith("WITH") and "COPY" not in s])
def test_a_read_only_transaction_stands_behind_the_guard(case, sql, monkeypatch):
    monkeypatch.setattr("core.analysis.store.select_only", lambda connection, sql: sql)
    with Store.open([case.session]) as store, pytest.raises(QueryError, match="read-only"):
        store.query(sql)


CONDITIONS = [
    "density > 0.1",
    "NOT dead",
    "(dead)",
    "dead -- why\n OR n > 3",
    "feature IN (SELECT feature FROM labels)",
]
NO_CONDITIONS = [
    "",
    "true) UNION SELECT (1",
    "true) UNION ALL (SELECT * FROM features WHERE (true",
    "true) ORDER BY (1",
    "true) GROUP BY (feature",
    "true) LIMIT (1",
    "true) OR (true",
    "x) = (y",
    "true) --",
    "true /*",
    "true; DROP VIEW features",
    "true); DETACH s1; SELECT (1",
    "true LIMIT 1",
    "density >",
]


@pytest.mark.parametrize("where", CONDITIONS)
def test_a_condition_stays_one_expression(where):
    with duckdb.connect(":memory:") as connection:
        assert where in condition(connection, "features", where)


@pytest.mark.parametrize("where", NO_CONDITIONS)
def test_what_would_leave_its_parentheses_is_no_condition(where):
    with duckdb.connect(":memory:") as connection, pytest.raises(QueryError, match=r"density > 0\.001"):
        condition(connection, "features", where)


@pytest.mark.parametrize("prefix", ["EXPLAIN", "  explain\n"])
def test_what_runs_for_an_explain_is_what_was_checked(prefix):
    with duckdb.connect(":memory:") as connection:
        assert select_only(connection, f"{prefix} SELECT 1").split() == ["EXPLAIN", "SELECT", "1"]


def test_errors_keep_the_parsers_words_the_place_and_its_proposals():
    with duckdb.connect(":memory:") as connection:
        connection.execute("CREATE TABLE features AS SELECT 1 AS feature")
        with pytest.raises(QueryError) as caught:
            select_only(connection, "SELECT 1\nFORM features")
        assert str(caught.value) == 'syntax error at or near "features" at line 2, column 6'
        with pytest.raises(duckdb.Error) as wrong:
            connection.execute("SELECT 1\n  , fature FROM features")
        assert explained(wrong.value).message == (
            'Referenced column "fature" not found in FROM clause at line 2, column 5'
        )
        assert explained(wrong.value).hint == 'Candidate bindings: "feature"'
        with pytest.raises(duckdb.Error) as unknown:
            connection.execute("SELECT * FROM specialists")
        assert explained(unknown.value).hint == "SHOW TABLES lists the tables"
        with pytest.raises(duckdb.Error) as near:
            connection.execute("SELECT * FROM feature")
        assert explained(near.value).hint == 'Did you mean "features"?; SHOW TABLES lists the tables'

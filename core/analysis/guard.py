"""The one gate for SQL that a person writes: console, filter box, `--where`, `query`.

Alone decides what may run. Neither DuckDB's settings nor a statement's type protect the data: an attached file can be
detached and attached again for writing, and DuckDB 2 calls `WITH a AS (COPY … TO 'features.duckdb.wal') SELECT …` a
SELECT and runs it, though access to files is off. So the parser's tree of the whole text is judged: one SELECT, or a
plain EXPLAIN of one, all of whose parts are SELECTs too, and which calls no table function but those below.

Two more locks stand behind it, in `store`: a read-only transaction, and files attached read-only.
"""

import json
import re
from typing import Any

import duckdb

from core.errors import QueryError

QUERIES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
"""The kinds of query that only read; others are COPY, DELETE, INSERT and UPDATE inside WITH."""
TABLE_FUNCTIONS = frozenset({
    "range", "generate_series", "unnest", "repeat", "json_each", "json_tree", "query_table",
    "histogram", "histogram_values", "summary",
    "duckdb_columns", "duckdb_databases", "duckdb_functions", "duckdb_keywords", "duckdb_schemas", "duckdb_settings",
    "duckdb_tables", "duckdb_types", "duckdb_views",
    "pragma_database_size", "pragma_storage_info", "pragma_table_info", "pragma_version",
})  # fmt: skip
"""Those that make rows of their arguments or describe the tables. Others read files, take memory addresses, run text
as SQL or change how DuckDB works."""
SCALAR_FUNCTIONS_REFUSED = frozenset({"nextval", "setval", "setseed", "write_log"})
FORBIDDEN = "only one SELECT, or EXPLAIN of one, may run here"
CONDITION = "a condition reads like: density > 0.001 AND NOT dead"
SYSTEM = re.compile(r'"(pg_|duckdb_|sqlite_|information_schema)')
"""What DuckDB proposes for a name that it does not know, and is no table of features."""


def select_only(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The text to run in place of `sql`, which is exactly one SELECT or plain EXPLAIN of one.

    `connection` is only asked to parse. Raises QueryError for anything else, in the
    parser's own words where it has some.
    """
    kind = _kind(connection, sql)
    prefix = ""
    if kind == "EXPLAIN":
        # That it is ANALYZE, which runs what it explains, shows only in the text. So what follows the first word has
        # to be a SELECT by itself, and that is what runs.
        head = re.match(r"\s*explain\b", sql, re.IGNORECASE)
        if not head:
            raise QueryError("a comment stands before EXPLAIN", hint="begin with EXPLAIN")
        prefix, sql = "EXPLAIN ", sql[head.end() :]
        if re.match(r"\s*(analy[sz]e|\(\s*(analy[sz]e|format))\b", sql, re.IGNORECASE):
            raise QueryError("EXPLAIN with ANALYZE or other options is refused", hint=FORBIDDEN)
        kind = _kind(connection, sql)
    if kind == "MULTI":
        raise QueryError(
            "PIVOT without its values is several statements",
            hint="name them: FROM t PIVOT (sum(x) FOR column IN (1, 2))",
        )
    if kind != "SELECT":
        raise QueryError(f"{kind.replace('_', ' ')} is refused", hint=FORBIDDEN)
    _check(_tree(connection, sql))
    return prefix + sql


def condition(connection: duckdb.DuckDBPyConnection, table: str, where: str) -> str:
    """`where` as text that stands for one condition on the rows of `table` wherever it is put.

    Raises QueryError where it is more or less than one expression. What the expression itself may do is for
    `select_only` to judge, on the whole query.
    """
    # A cast binds tighter than any operator: it is the root of the tree only if the parentheses belong together.
    wrapped = f"(\n{where}\n)::BOOLEAN"
    try:
        _kind(connection, f"SELECT * FROM {table} WHERE {wrapped}")
        found = _tree(connection, f"SELECT * FROM {table} WHERE {wrapped}")
    except QueryError as error:
        place = re.search(r" at line (\d+)(?:, column \d+)?$", error.message)
        message = error.message[: place.start()] if place else error.message
        if place and int(place[1]) > where.count("\n") + 2:  # at the parenthesis behind it, which nobody typed
            message = "something is missing at the end"
        raise QueryError(f"{message} in {where.strip()!r}", hint=CONDITION) from None
    plain = _tree(connection, f"SELECT * FROM {table} WHERE true::BOOLEAN")
    root = found["node"].get("where_clause") or {}
    if root.get("class") != "CAST" or _around_where(found) != _around_where(plain) or not where.strip():
        raise QueryError(f"{where.strip()!r} is not one condition", hint=CONDITION)
    return wrapped


def explained(error: duckdb.Error) -> QueryError:
    """DuckDB's error as one sentence: its own words, where in the text, and what it proposes."""
    if isinstance(error, duckdb.InterruptException):
        return QueryError("the query was interrupted")
    if isinstance(error, duckdb.OutOfMemoryException):
        return QueryError("the query needs more memory than it may use", hint="narrow it, or add a LIMIT")
    message, _, excerpt = str(error).partition("\n\nLINE ")
    lines = [line.strip().rstrip("!.") for line in message.splitlines() if line.strip()] or [type(error).__name__]
    first = re.sub(r"^(?:[A-Z]\w+ )+Error: ", "", lines[0])
    place = ""
    if excerpt:
        shown, _, marks = excerpt.partition("\n")
        number, _, text = shown.partition(": ")
        column = marks.find("^") - len(f"LINE {number}: ")
        # a long line is shown from its middle: its columns would be wrong
        place = f" at line {number}" + ("" if text.startswith("...") or column < 0 else f", column {column + 1}")
    hints = [line for line in lines[1:] if not SYSTEM.search(line)]
    if first.startswith("Table with name"):
        hints.append("SHOW TABLES lists the tables")
    return QueryError(first + place, hint="; ".join(hints))


def _kind(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The type of the only statement in `sql`."""
    try:
        sql.encode()
        statements = connection.extract_statements(sql)
    except UnicodeEncodeError:
        raise QueryError("the query is not valid text", hint="it holds bytes that are not UTF-8") from None
    except duckdb.Error as error:
        raise explained(error) from None
    if not statements:
        raise QueryError("there is no query in the text", hint="for example: FROM features LIMIT 10")
    if len(statements) > 1:
        raise QueryError(f"these are {len(statements)} statements", hint=FORBIDDEN)
    return statements[0].type.name


def _tree(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    """What the parser makes of one SELECT."""
    try:
        row = connection.execute("SELECT json_serialize_sql($1::VARCHAR)", [sql]).fetchone()
        tree = json.loads(row[0]) if row else {}
    except duckdb.Error as error:
        raise explained(error) from None
    except RecursionError:
        raise QueryError("the query is nested too deeply", hint="make it flatter") from None
    if tree.get("error", True) or len(tree["statements"]) != 1:
        message = str(tree.get("error_message") or "the query cannot be checked").splitlines()[0]
        raise QueryError(message, hint=FORBIDDEN)
    return tree["statements"][0]


def _check(tree: dict[str, Any]) -> None:
    """Raise QueryError for a tree with a part that changes something or reaches outside the tables."""
    waiting: list[Any] = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            waiting += part.values()
            _check_part(part)


def _check_part(part: dict[str, Any]) -> None:
    kind = str(part.get("type", ""))
    if kind.endswith("_NODE") and kind not in QUERIES:
        raise QueryError(f"{kind.partition('_')[0]} is refused", hint=FORBIDDEN)
    if kind == "TABLE_FUNCTION":
        name = str(part["function"].get("function_name", "")).lower()
        if name not in TABLE_FUNCTIONS:
            raise QueryError(f"the table function {name or '?'} is refused", hint="only the tables may be read here")
    name = str(part.get("function_name", "")).lower()
    if name in SCALAR_FUNCTIONS_REFUSED:
        raise QueryError(f"the function {name} is refused", hint="it changes a state")


def _around_where(statement: dict[str, Any]) -> Any:
    """A statement's tree without its WHERE, and without the columns its parts stand at."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: bare(v) for k, v in value.items() if not k.startswith("query_location")}
        return [bare(v) for v in value] if isinstance(value, list) else value

    node = {k: v for k, v in statement["node"].items() if k != "where_clause"}
    return bare({**statement, "node": node})

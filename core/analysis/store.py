"""What is asked of feature databases: typed reads for the commands and the workbench, and a person's own SQL.

Every query of a person goes through the guard, in a transaction that may change nothing. Knows no torch and no screen.
Values are plain Python, ready for JSON: NaN and infinities are None.
"""

import contextlib
import datetime
import decimal
import math
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from core.analysis.connection import connected
from core.analysis.guard import condition, explained, select_only
from core.errors import QueryError, nearest
from core.records import ContextToken, Example
from core.session import Session
from core.steering.interventions import Intervention, Scales


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The answer to a person's query."""

    columns: list[str]
    types: list[str]
    """DuckDB's name of each column's type."""
    rows: list[tuple[Any, ...]]
    truncated: bool
    """There are more rows than were asked for."""
    elapsed_s: float
    """From the text to the last row here."""


class Store:
    """One or several sessions' databases, open for reading. Safe to use from several threads.

    In SQL the sessions are `s1`, `s2` and so on, and also go by their quoted names where those are free
    (`"gpt2-l6.topk".features`). Plain table names are those of the first. `labels` holds the labels of all.
    A database that is replaced later is not seen: open another Store.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._running: set[duckdb.DuckDBPyConnection] = set()
        self.columns = [str(row["column_name"]) for row in self._rows("DESCRIBE features")]
        """Of the table `features`, in order."""
        self.d_sae = int(self._rows("SELECT count(*) AS n FROM features")[0]["n"])

    @classmethod
    def open(cls, sessions: Sequence[Session]) -> "Store":
        """Open the sessions' databases. Raises QueryError where one has none, or it cannot be read."""
        connection = connected(sessions)
        try:
            return cls(connection)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Let go of the files. What still runs is interrupted."""
        self.interrupt()
        self._connection.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def meta(self) -> dict[str, str]:
        """What the analysis stands on: model, hook, corpus, `tokens_counted` and so on."""
        return {row["key"]: row["value"] for row in self._rows("FROM meta")}

    def features(
        self,
        sort: str = "density",
        descending: bool = True,
        where: str = "",
        limit: int = 20,
        offset: int = 0,
    ) -> list[dict[str, Any]]:
        """Rows of `features` that fulfil the SQL condition `where`, sorted by a column, what is NULL last.

        Raises QueryError: no such column, a condition that is none.
        """
        if sort not in self.columns:
            raise QueryError(f"features have no column {sort!r}", hint=nearest(sort, self.columns))
        with self._cursor() as cursor:
            filtered = f"WHERE {condition(cursor, 'features', where)}" if where.strip() else ""
            direction = "DESC" if descending else "ASC"
            sql = (
                f'SELECT * FROM features {filtered} ORDER BY "{sort}" {direction} NULLS LAST, feature '
                f"LIMIT {int(limit)} OFFSET {int(offset)}"
            )
            return _records(_execute_read_only(cursor, select_only(cursor, sql)))

    def count(self, where: str = "") -> int:
        """How many features fulfil the SQL condition `where`. Raises QueryError."""
        with self._cursor() as cursor:
            filtered = f"WHERE {condition(cursor, 'features', where)}" if where.strip() else ""
            sql = select_only(cursor, f"SELECT count(*) AS n FROM features {filtered}")
            return int(_records(_execute_read_only(cursor, sql))[0]["n"])

    def feature(self, feature: int) -> dict[str, Any]:
        """One row of `features`. Raises QueryError where there is no such feature."""
        self._check(feature)
        return self._rows("FROM features WHERE feature = $1", feature)[0]

    def logits(self, feature: int) -> list[dict[str, Any]]:
        """Its rows of `logits`: promoted first, then suppressed, each the strongest first."""
        self._check(feature)
        return self._rows("FROM logits WHERE feature = $1 ORDER BY sign DESC, rank", feature)

    def neighbours(self, feature: int) -> list[dict[str, Any]]:
        """Its rows of `neighbours`, the most alike first."""
        self._check(feature)
        return self._rows("FROM neighbours WHERE feature = $1 ORDER BY rank", feature)

    def top_tokens(self, feature: int) -> list[dict[str, Any]]:
        """Its rows of `feature_tokens`, the most frequent first."""
        self._check(feature)
        return self._rows("FROM feature_tokens WHERE feature = $1 ORDER BY n DESC, token_id", feature)

    def histogram(self, feature: int) -> list[dict[str, Any]]:
        """Its rows of `histogram`, from the weakest; none where it never fired."""
        self._check(feature)
        return self._rows("FROM histogram WHERE feature = $1 ORDER BY bin", feature)

    def scales(self, features: Iterable[int]) -> dict[int, dict[str, float | None]]:
        """`p99` and `max` of each feature's active values, in which steering counts; None where it never fired."""
        wanted = list(features)
        for feature in wanted:
            self._check(feature)
        rows = self._rows("SELECT feature, p99, max FROM features WHERE list_contains($1, feature)", wanted)
        return {row["feature"]: {"p99": row["p99"], "max": row["max"]} for row in rows}

    def examples(
        self, feature: int, band: int | None = None, limit: int | None = None, context: int = 16
    ) -> list[Example]:
        """Where a feature is active, by band and rank: `limit` of each band, or all there are.

        Each with up to `context` tokens of its document on both sides and the feature's activations on them.
        """
        self._check(feature)
        found = self._rows(
            """
            SELECT e.band, e.rank, e.token_idx, e.value, t.doc, d.source, d.category
            FROM examples e JOIN tokens t USING (token_idx) JOIN documents d USING (doc)
            WHERE feature = $1 AND ($2 IS NULL OR band = $2) AND ($3 IS NULL OR rank < $3)
            ORDER BY band, rank
            """,
            feature,
            band,
            limit,
        )
        windows = [range(e["token_idx"] - context, e["token_idx"] + context + 1) for e in found]
        places = self._rows(
            """
            SELECT t.token_idx, t.doc, t.doc_pos, t.text, coalesce(a.value, 0) AS value
            FROM tokens t
            LEFT JOIN (SELECT token_idx, value FROM activations WHERE feature = $1) a USING (token_idx)
            WHERE t.token_idx IN (SELECT unnest($2::INTEGER[]))
            """,
            feature,
            sorted({i for window in windows for i in window}),
        )
        by_idx = {p["token_idx"]: p for p in places}
        return [
            Example(
                **example,
                tokens=tuple(
                    ContextToken(token_idx=i, text=p["text"], value=p["value"])
                    for i in window
                    if (p := by_idx.get(i)) is not None
                    and p["doc"] == example["doc"]
                    and (p["doc_pos"] is not None or i == example["token_idx"])
                ),
            )
            for example, window in zip(found, windows, strict=True)
        ]

    def query(self, sql: str, limit: int = 1_000) -> Result:
        """The first `limit` rows of a person's query, which has to pass the guard. Raises QueryError."""
        began = time.perf_counter()
        if limit < 0:
            raise QueryError(f"a limit of {limit} rows", hint="give 0 or more")
        with self._cursor() as cursor:
            _execute_read_only(cursor, select_only(cursor, sql))
            described = cursor.description or []
            rows = cursor.fetchmany(limit + 1)
        return Result(
            columns=[str(d[0]) for d in described],
            types=[str(d[1]) for d in described],
            rows=[tuple(plain(v) for v in row) for row in rows[:limit]],
            truncated=len(rows) > limit,
            elapsed_s=time.perf_counter() - began,
        )

    def interrupt(self) -> None:
        """Stop what runs now, from another thread; it ends with a QueryError, as a rule within milliseconds."""
        with self._lock:
            for cursor in self._running:
                cursor.interrupt()

    def _check(self, feature: int) -> None:
        if not 0 <= feature < self.d_sae:
            raise QueryError(f"there is no feature {feature}", hint=f"they go from 0 to {self.d_sae - 1}")

    def _rows(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        with self._cursor() as cursor:
            return _records(cursor.execute(sql, parameters))

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor of its own for one query, which `interrupt` finds. DuckDB's errors leave as QueryErrors."""
        with self._lock:
            cursor = self._connection.cursor()
            self._running.add(cursor)
        try:
            yield cursor
        except duckdb.Error as error:
            raise explained(error) from error
        finally:
            with self._lock:
                self._running.discard(cursor)
            cursor.close()


def strengths(session: Session, interventions: Iterable[Intervention]) -> Scales | None:
    """What multiples of p99 and max stand for in `interventions`; None where none is used or nothing is analysed."""
    features = sorted({edit.feature for edit in interventions if edit.unit != "raw"})
    if not features or not session.database_path.is_file():
        return None
    with Store.open([session]) as store:
        return store.scales(features)


def plain(value: Any) -> Any:
    """A value of DuckDB's as JSON has it: numbers, text, booleans, lists, objects, None."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, decimal.Decimal)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {str(plain(k)): plain(v) for k, v in value.items()}
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)


def _records(cursor: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    names = [str(d[0]) for d in cursor.description or []]
    return [dict(zip(names, map(plain, row), strict=True)) for row in cursor.fetchall()]


def _execute_read_only(cursor: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyConnection:
    """Run checked SQL in a transaction that may change nothing; it ends with the cursor."""
    cursor.execute("BEGIN TRANSACTION READ ONLY")
    return cursor.execute(sql)

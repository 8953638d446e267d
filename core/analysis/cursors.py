"""Cursors over one connection, those at work known so that they can be stopped; and rows as plain Python.

Values are ready for JSON: NaN and infinities are None.
"""

import contextlib
import datetime
import decimal
import math
import threading
from collections.abc import Iterator
from typing import Any

import duckdb

from core.analysis.guard import explained
from core.errors import QueryError


class Cursors:
    """The cursors of a connection. Safe to use from several threads; one cursor is not."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._lock = threading.Condition()
        self._at_work: set[duckdb.DuckDBPyConnection] = set()
        self._closed = False

    def new(self) -> duckdb.DuckDBPyConnection:
        """A cursor: a transaction of its own. Whoever asked for it closes it. Raises QueryError after `close`."""
        with self._lock:
            self._require_open()
            return self._connection.cursor()

    def close(self) -> None:
        """Close the connection. What runs is interrupted, and waited for: DuckDB refuses while a cursor is at work."""
        with self._lock:
            self._closed = True
            while self._at_work:
                for one in self._at_work:
                    one.interrupt()  # again and again: one that had not begun yet did not hear it
                self._lock.wait(0.01)
            self._connection.close()

    @contextlib.contextmanager
    def at_work(self, cursor: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
        """While the block lasts `interrupt` finds the cursor. DuckDB's errors leave it as QueryErrors."""
        with self._lock:
            self._require_open()
            self._at_work.add(cursor)
        try:
            yield cursor
        except duckdb.Error as error:
            raise explained(error) from error
        finally:
            with self._lock:
                self._at_work.discard(cursor)
                self._lock.notify_all()

    @contextlib.contextmanager
    def one(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor for one query, at work."""
        cursor = self.new()
        try:
            with self.at_work(cursor):
                yield cursor
        finally:
            cursor.close()

    def interrupt(self, cursor: duckdb.DuckDBPyConnection | None = None) -> None:
        """Stop what runs on a cursor, or on all; it ends with a QueryError, as a rule within milliseconds."""
        with self._lock:
            for one in self._at_work:
                if cursor is None or one is cursor:
                    one.interrupt()

    def _require_open(self) -> None:
        if self._closed:
            raise QueryError("this feature database was closed", hint="ask again")


def begin_read_only(cursor: duckdb.DuckDBPyConnection) -> None:
    """Begin a transaction that may change nothing but the cursor's own temporary tables."""
    cursor.execute("BEGIN TRANSACTION READ ONLY")


def records(cursor: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """What was asked, a dictionary for each row."""
    names = [str(d[0]) for d in cursor.description or []]
    return [dict(zip(names, map(plain, row), strict=True)) for row in cursor.fetchall()]


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

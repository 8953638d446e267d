"""All rows of a person's query in a file: CSV, JSON or Parquet.

Has a connection of its own, so that a long export takes neither memory nor threads from who else asks. The query passes
the guard and runs in a transaction that may change nothing; rows come in batches and are never all in memory.
"""

import csv
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import duckdb

from core.analysis.connection import connected
from core.analysis.cursors import Cursors, begin_read_only, plain
from core.analysis.guard import explained, select_only
from core.errors import QueryError, SaeTuiError, UsageError
from core.records import Progress
from core.session import Session
from core.storage import replacing

Format = Literal["csv", "json", "parquet"]
BATCH = 10_000
"""Rows that are read at once."""


class Writes(Protocol):
    """What text can be written to."""

    def write(self, text: str, /) -> object:
        """Take some text."""


class Export:
    """One query, to be written once. `stop` may be called from another thread; all else belongs to one."""

    def __init__(self, sessions: Sequence[Session], sql: str, *, limit: int | None = None) -> None:
        """Check `sql`, of which the first `limit` rows are wanted, or all. Raises QueryError."""
        self._limit = limit
        self.more = False
        """Whether there were more rows than the limit; known once they are written as text."""
        self._connection = connected(sessions)
        self._cursors = Cursors(self._connection)
        try:
            with self._cursors.one() as cursor:
                self._sql = select_only(cursor, sql)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> "Export":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._connection.close()

    def stop(self) -> None:
        """Interrupt the query; whoever waits for its rows gets a QueryError, and no file is left."""
        self._cursors.interrupt()

    def to_file(self, path: Path, format: Format) -> Iterator[Progress]:  # noqa: A002
        """Write the rows, with how many there are after each batch; `path` is replaced once all are there.

        Where this ends early, by an error, `stop` or the generator's `close`, nothing at `path` changes.
        Raises QueryError: the query fails, or has a column that Parquet has no type for. SaeTuiError: the disk does.
        """
        try:
            with replacing(path) as beside:
                if format == "parquet":
                    yield from self._parquet(beside)
                else:
                    with beside.open("w", encoding="utf-8", errors="replace", newline="") as file:
                        yield from self.to_text(file, format)
        except OSError as error:
            raise SaeTuiError(f"{path} cannot be written", hint=str(error)) from error

    def to_text(self, file: Writes, format: Format) -> Iterator[Progress]:  # noqa: A002
        """Write the rows as CSV, with a header, or as one JSON array of an object a row.

        NaN and infinities are null or nothing; in CSV lists and structures are JSON. Raises QueryError.
        """
        with self._cursors.one() as cursor:
            begin_read_only(cursor)
            cursor.execute(self._sql)
            names = distinct([str(d[0]) for d in cursor.description or []])
            batches = self._batches(cursor)
            if format == "csv":
                writer = csv.writer(_Lines(file))
                writer.writerow(names)
                for done, rows in batches:
                    writer.writerows([_cell(value) for value in row] for row in rows)
                    yield done
                return
            between = "["
            for done, rows in batches:
                for row in rows:
                    file.write(between + "\n " + json.dumps(dict(zip(names, map(plain, row), strict=True))))
                    between = ","
                yield done
            file.write("\n]\n" if between == "," else "[]\n")

    def _parquet(self, path: Path) -> Iterator[Progress]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with self._cursors.one() as cursor:
            begin_read_only(cursor)
            reader = cursor.sql(self._sql).to_arrow_reader(BATCH)  # `execute` would copy every row once more
            schema = pa.schema(
                [
                    column.with_name(name)
                    for column, name in zip(reader.schema, distinct(reader.schema.names), strict=True)
                ]
            )
            done = 0
            try:
                with pq.ParquetWriter(path, schema, compression="zstd") as writer:
                    for batch in _read(reader):
                        taken = batch if self._limit is None else batch.slice(0, self._limit - done)
                        writer.write_batch(pa.RecordBatch.from_arrays(taken.columns, schema=schema))
                        done += taken.num_rows
                        yield _progress(done)
                        if done == self._limit:
                            break
            except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
                raise QueryError(
                    f"Parquet cannot hold this ({str(error).splitlines()[0]})", hint="cast the column: x::VARCHAR"
                ) from error

    def _batches(self, cursor: Any) -> Iterator[tuple[Progress, list[tuple[Any, ...]]]]:
        done = 0
        while rows := cursor.fetchmany(BATCH if self._limit is None else min(BATCH, self._limit - done)):
            done += len(rows)
            yield _progress(done), rows
        self.more = done == self._limit and cursor.fetchone() is not None


def format_of(path: Path) -> Format:
    """What a file's name ends with. Raises UsageError where that is no Format."""
    for one in get_args(Format):
        if path.suffix.lower() == f".{one}":
            return one
    raise UsageError(f"{path.name} does not say its format", hint="end it with .csv, .json or .parquet")


def distinct(names: Sequence[str]) -> list[str]:
    """The names with each that came before made another: a, a_1. Two columns of one name would be one in a file."""
    found: list[str] = []
    for name in names:
        others = (f"{name}_{i}" for i in itertools.count(1))
        found.append(next(one for one in itertools.chain([name], others) if one not in found))
    return found


class _Lines:
    """What takes csv's rows, which end as RFC 4180 has it, and ends them as lines do here.

    Told to end them so itself, csv leaves a text with a carriage return in it without quotes, and readers tear its row.
    """

    def __init__(self, file: Writes) -> None:
        self._file = file

    def write(self, row: str, /) -> object:
        return self._file.write(row.removesuffix("\r\n") + "\n")


def _read(reader: Any) -> Iterator[Any]:
    """The record batches of a reader. What DuckDB says while they come is a QueryError: Arrow makes it an OSError."""
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        except OSError as error:
            raise explained(duckdb.Error(str(error))) from error
        yield batch


def _progress(done: int) -> Progress:
    return Progress(phase="writing rows", done=done, unit="rows")


def _cell(value: Any) -> Any:
    value = plain(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value

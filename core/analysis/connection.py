"""A connection over one or several sessions' feature databases, locked down.

Alone opens `features.duckdb` for reading: attached read-only to a database in memory, under the names that queries use,
beside the labels; then limits on memory, threads and disk, no access to files, and no setting to be changed. That
does not make it safe for a person's SQL by itself: `guard` does.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict

import duckdb
import psutil

from core import explanations, labels
from core.errors import QueryError
from core.session import Session
from core.storage import stamp

MEMORY_BYTES = 2_000_000_000
"""What queries may take, at most; no more than a quarter of the machine's."""
THREADS = 4
LABELS = {
    "session": "VARCHAR", "feature": "INTEGER", "label": "VARCHAR", "note": "VARCHAR", "tags": "VARCHAR[]",
    "starred": "BOOLEAN", "source": "VARCHAR", "score": "DOUBLE", "at": "TIMESTAMP",
}  # fmt: skip
"""The table `labels`, of all sessions that are open: name and type of each column.

`source` is who gave the label, `score` how well it tells its feature, NULL where a person gave it or nothing tested it.
"""
SAID = (
    "nullif(label, '') AS label, nullif(note, '') AS note, tags, coalesce(starred, false) AS starred, "
    "CASE WHEN label <> '' THEN nullif(source, '') END AS label_source, score AS label_score"
)
"""What `browse` has besides a feature's own columns, made of those of `labels`."""
SCHEMA = "5"
"""Of the tables, kept in `meta`: a database with another was made by another version of this program."""
PIECES, PIECE = 16, 4096
"""How many pieces of a weights file tell it from others, and the bytes of each: read on every opening."""
RESERVED = {"main", "memory", "temp", "system", "information_schema", "pg_catalog"}
"""Names in DuckDB that no session may take."""


def connected(sessions: Sequence[Session]) -> duckdb.DuckDBPyConnection:
    """A connection to the sessions' databases, one at least, attached as `s1`, `s2` and so on.

    A session's quoted name works as well, where it is free; plain table names are those of the first session.
    Raises QueryError where a session has no database, or one that cannot be read.
    """
    connection = duckdb.connect(":memory:", config={"python_enable_replacements": False})
    try:
        _attach(connection, sessions)
        _create_labels(connection)
        load_labels(connection, sessions)
        _create_browse(connection, sessions[0])
        for setting in (
            f"memory_limit = '{memory_bytes() // 1_000_000}MB'",
            f"threads = {min(THREADS, os.cpu_count() or 1)}",
            "max_temp_directory_size = '0KiB'",
            "autoinstall_known_extensions = false",
            "autoload_known_extensions = false",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            connection.execute(f"SET {setting}")
    except BaseException:
        connection.close()
        raise
    return connection


def memory_bytes() -> int:
    """What queries may take on this machine, as far as DuckDB counts it."""
    return min(MEMORY_BYTES, psutil.virtual_memory().total // 4)


def fingerprint(session: Session) -> str | None:
    """Of the weights of the session's finished SAE, the same under any name and in any copy; None where it has none.

    A digest of the file's size and of PIECES pieces, its head first, as to read it all takes seconds. That of a
    checkpoint would say nothing: training goes on.
    """
    try:
        with (session.sae_dir / "sae_weights.safetensors").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            digest = hashlib.blake2b(str(size).encode(), digest_size=16)
            for i in range(PIECES):
                file.seek(max(0, size - PIECE) * i // (PIECES - 1))
                digest.update(file.read(PIECE))
    except OSError:
        return None
    return digest.hexdigest()


def _attach(connection: duckdb.DuckDBPyConnection, sessions: Sequence[Session]) -> None:
    taken = RESERVED | {f"s{i}" for i in range(1, len(sessions) + 1)}
    for number, session in enumerate(sessions, start=1):
        path = session.database_path
        if not path.is_file():
            raise QueryError(
                f"session {session.name} has not been analysed", hint=f"run `sae-tui analyze {session.name}`"
            )
        try:
            connection.execute(f"ATTACH {_quoted(str(path.resolve()), chr(39))} AS s{number} (READ_ONLY)")
            made = dict(connection.execute(f"SELECT key, value FROM s{number}.main.meta").fetchall())
            if made.get("schema") != SCHEMA:
                raise QueryError(
                    f"the feature database of session {session.name} was made by another version of sae-tui",
                    hint=f"make it anew with `sae-tui analyze {session.name}`",
                )
            # without `weights` it is of a checkpoint; without an SAE there is nothing it could contradict
            if session.trained and made.get("weights") not in (None, fingerprint(session)):
                raise QueryError(
                    f"the feature database of session {session.name} is of another SAE",
                    hint=f"make it anew with `sae-tui analyze {session.name}`",
                )
            schemas = [] if session.name in taken else [session.name]
            taken.add(session.name)
            tables = _tables(connection, number)
            for schema in schemas:
                connection.execute(f"CREATE SCHEMA {_quoted(schema)}")
            # plain names through views: a search path would hold for one cursor alone, and cannot be set once locked
            for schema in schemas if number > 1 else [*schemas, "main"]:
                for (table,) in tables:
                    connection.execute(
                        f"CREATE VIEW memory.{_quoted(schema)}.{_quoted(table)} AS FROM s{number}.main.{_quoted(table)}"
                    )
        except duckdb.Error as error:
            raise QueryError(
                f"the feature database of session {session.name} cannot be read ({str(error).splitlines()[0]})",
                hint=f"make it anew with `sae-tui analyze {session.name}`",
            ) from error


def _tables(connection: duckdb.DuckDBPyConnection, number: int) -> list[tuple[str]]:
    sql = "SELECT table_name FROM duckdb_tables() WHERE database_name = $1 ORDER BY table_name"
    return connection.execute(sql, [f"s{number}"]).fetchall()


def load_labels(connection: duckdb.DuckDBPyConnection, sessions: Sequence[Session]) -> None:
    """Put what is in the sessions' `labels.jsonl` now into the table `labels`, with scores, in one transaction."""
    rows = []
    for session in sessions:
        said = labels.read(session)
        tested = explanations.tested(session, said)
        for feature, label in said.items():
            score = tested[feature]["score"] if feature in tested else None
            rows.append({"session": session.name, **asdict(label), "score": score})
    shape = json.dumps([{name: "VARCHAR" if name == "at" else kind for name, kind in LABELS.items()}])
    columns = ", ".join(f'TRY_CAST("{name}" AS {kind}) AS "{name}"' for name, kind in LABELS.items())
    connection.execute("BEGIN TRANSACTION")
    connection.execute("DELETE FROM memory.main.labels")
    connection.execute(
        f"INSERT INTO memory.main.labels SELECT {columns} FROM (SELECT unnest(from_json($1, $2), max_depth := 2))",
        # A lone surrogate, which JSON may hold, is no text to DuckDB.
        [json.dumps(rows, ensure_ascii=False).encode("utf-8", "replace").decode(), shape],
    )
    connection.execute("COMMIT")


def label_stamps(sessions: Sequence[Session]) -> list[tuple[int, int, int]]:
    """What differs once `load_labels` would find others: the stamp of each file that it reads."""
    return [stamp(path) for session in sessions for path in (session.labels_path, session.explanations_path)]


def _create_labels(connection: duckdb.DuckDBPyConnection) -> None:
    columns = ", ".join(f'"{name}" {kind}' for name, kind in LABELS.items())
    connection.execute(f"CREATE TABLE memory.main.labels ({columns})")


def _create_browse(connection: duckdb.DuckDBPyConnection, session: Session) -> None:
    """The view `browse`: the features of the first session with what was said of each, NULL where nothing."""
    connection.execute(
        "CREATE VIEW memory.main.browse AS "
        f"SELECT f.*, {SAID} "
        "FROM s1.main.features f LEFT JOIN (SELECT feature, label, note, tags, starred, source, score "
        "FROM memory.main.labels "
        f"WHERE session = {_quoted(session.name, chr(39))} "
        # A row that joins nothing: DuckDB 2.0 loses a LIMIT over a join whose filtered right side is empty.
        "UNION ALL SELECT -1, '', '', NULL, false, '', NULL) USING (feature)"
    )


def _quoted(name: str, mark: str = '"') -> str:
    return mark + name.replace(mark, mark + mark) + mark

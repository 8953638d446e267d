"""Parquet shards -> `features.duckdb`, by the queries in `sql/`, in the order of their names.

Alone writes the feature database: beside its place, and renamed into it when complete and read-only, so that a reader
sees the old one or the new one and never half of either. Every statistic is in the SQL; here are only the limits it
runs under. Knows no torch.
"""

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from core.analysis import strong
from core.analysis.connection import SCHEMA, fingerprint
from core.errors import RunError
from core.options import AnalysisConfig
from core.records import Progress
from core.session import Session
from core.storage import replacing

SQL = Path(__file__).parent / "sql"
MEMORY = "1500MB"
"""What a sort or an aggregation may take before it spills to disk."""
THREADS = 4
"""At most: each needs its share of the memory."""


def build(session: Session, meta: Mapping[str, str], config: AnalysisConfig) -> Iterator[Progress]:
    """Make the session's database from its shards, with `meta` and what was counted as its table `meta`.

    The shards are deleted after, unless `config.keep_activations`. Closing the generator, or an error, leaves the
    database that was there before. Raises RunError where DuckDB fails, as on a full disk.
    """
    for left in session.path.glob(f".{session.database_path.name}.*"):
        shutil.rmtree(left, ignore_errors=True)
    files = sorted(SQL.glob("*.sql"))
    if (session.activations_dir / "images.parquet").is_file():
        files += sorted(SQL.glob("images/*.sql"))
    with replacing(session.database_path) as beside:
        try:
            with contextlib.closing(duckdb.connect(beside, config=_limits(beside.parent / "spill"))) as connection:
                # In an interactive Python it would draw one of its own over ours.
                connection.execute("SET enable_progress_bar = false")
                _set_variables(connection, session, config)
                for done, file in enumerate(files):
                    phase = f"computing {file.stem.partition('_')[2].replace('_', ' ')}"
                    yield Progress(phase=phase, done=done, total=len(files), unit="steps")
                    connection.execute(file.read_text(encoding="utf-8"))
                yield Progress(phase="writing the database", done=len(files), total=len(files), unit="steps")
                weights = fingerprint(session)
                _write_meta(connection, {**meta, "weights": weights} if weights else meta)
                connection.execute("CHECKPOINT")
        except duckdb.Error as error:
            message = str(error).splitlines()[0]
            raise RunError("the feature database could not be built", hint=message) from error
        beside.chmod(0o444)
    if not config.keep_activations:
        shutil.rmtree(session.activations_dir, ignore_errors=True)


def _limits(spill: Path) -> dict[str, str | bool | int | float | list[str]]:
    return {
        "memory_limit": MEMORY,
        "threads": _threads(),
        "temp_directory": str(spill),
    }


def _threads() -> int:
    return min(THREADS, os.cpu_count() or 1)


def _set_variables(connection: duckdb.DuckDBPyConnection, session: Session, config: AnalysisConfig) -> None:
    """What the queries read with `getvariable`."""
    number, by_p99 = strong.checked(config.strong)
    variables: dict[str, str | int | float | bool] = {
        "shards": glob.escape(str(session.activations_dir.resolve())),
        "snapshots": glob.escape(str(session.snapshots_path.resolve())) if session.snapshots_path.exists() else "",
        "top_examples": config.top_examples,
        "bands": config.bands,
        "band_examples": config.band_examples,
        "histogram_bins": config.histogram_bins,
        "top_tokens": config.top_tokens,
        "strong": number,
        "strong_by_p99": by_p99,
        "threads": _threads(),
    }
    for name, value in variables.items():
        connection.execute(f"SET VARIABLE {name} = $1", [value])


def _write_meta(connection: duckdb.DuckDBPyConnection, meta: Mapping[str, str]) -> None:
    """The table `meta(key, value)`: what is given, and what this analysis stands on."""
    connection.execute("CREATE TABLE meta (key VARCHAR PRIMARY KEY, value VARCHAR NOT NULL)")
    given = {
        **meta, "schema": SCHEMA, "analysed_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "duckdb": duckdb.__version__,
    }  # fmt: skip
    connection.executemany("INSERT INTO meta VALUES (?, ?)", [[k, v] for k, v in given.items()])
    connection.execute("""
        INSERT INTO meta
        SELECT 'tokens', count(*) FROM tokens
        UNION ALL SELECT 'tokens_counted', count(*) FROM tokens WHERE counted
        UNION ALL SELECT 'documents', count(*) FROM documents
        UNION ALL SELECT 'activations', count(*) FROM activations
        UNION ALL SELECT 'documents_md5', md5(string_agg(digest, '' ORDER BY doc)) FROM documents HAVING count(*) > 0
    """)

"""The queries a person has run, and those they keep under a name: a file of each for all sessions, append-only."""

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from core.storage import read_lines, tail

KEPT = 1_000
"""How many of the newest are read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One query that was run."""

    sql: str
    session: str
    """The session at hand then."""
    at: float
    """When, in seconds since 1970."""


class History:
    """`sql_history.jsonl` in the folder of the state. A torn or foreign line is passed over."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "sql_history.jsonl"

    def add(self, sql: str, session: str) -> None:
        """Keep a query, unless the newest is the same. A full or read-only disk is no matter here."""
        newest = next(iter(self.entries(1)), None)
        if newest is not None and newest.sql == sql:
            return
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(Entry(sql, session, time.time()))) + "\n")

    def entries(self, n: int = KEPT) -> list[Entry]:
        """The newest `n` lines, the newest first, each text once."""
        found: dict[str, Entry] = {}
        for line in reversed(tail(self._path, n)):
            with contextlib.suppress(ValueError, TypeError):
                entry = Entry(**json.loads(line))
                if isinstance(entry.sql, str) and isinstance(entry.at, (int, float)):
                    found.setdefault(entry.sql, entry)
        return list(found.values())


class Saved:
    """`sql_saved.jsonl` in the folder of the state: of each name the last line, which without a query deletes it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "sql_saved.jsonl"

    def keep(self, name: str, sql: str) -> None:
        """Keep a query under a name, in the place of the one that had it. Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, "sql": sql}) + "\n")

    def forget(self, name: str) -> None:
        """Delete the query of that name. Raises OSError."""
        self.keep(name, "")

    def queries(self) -> dict[str, str]:
        """The queries by name, the newest last. A torn or foreign line is passed over."""
        found: dict[str, str] = {}
        for line in read_lines(self._path):
            name, sql = (line.get("name"), line.get("sql")) if isinstance(line, dict) else (None, None)
            if isinstance(name, str) and isinstance(sql, str):
                found.pop(name, None)
                found |= {name: sql} if sql else {}
        return found

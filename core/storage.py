"""Files that survive a crash: replaced whole or appended to; readers that take torn ones.

Knows nothing of what is in them.
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def replace_file(path: Path, text: str) -> None:
    """Put `text` at `path` atomically: written beside, synced, renamed, folder synced."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file or a folder at; renamed over `path` when the block ends well.

    A folder that is replaced is moved aside first and removed after. On an error nothing changes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    beside = scratch / path.name
    try:
        yield beside
        for file in [beside, *beside.rglob("*")] if beside.is_dir() else [beside]:
            _sync(file)
        if path.is_dir():
            path.rename(scratch / "old")
        beside.replace(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def tail(path: Path, n: int) -> list[str]:
    """The last `n` lines of a text file that are not blank, read from its end; none without a file."""
    found: list[bytes] = []
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        start = file.seek(0, os.SEEK_END)
        text = b""
        while start > 0 and len(found) <= n:
            step = min(start, 65_536)
            start -= step
            file.seek(start)
            text = file.read(step) + text
            found = [line for line in text.splitlines() if line.strip()]
    return [line.decode("utf-8", errors="replace") for line in found[max(0, len(found) - n) :]]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty where the file is missing or torn."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; a torn line (the last, after a crash) is left out."""
    found = []
    with contextlib.suppress(FileNotFoundError), path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
    return found


def last_line(path: Path) -> dict[str, Any]:
    """The last whole object of a JSON-lines file, read from its end; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 65_536))
            lines = file.read().splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        with contextlib.suppress(ValueError):
            return json.loads(line)
    return {}

"""Files that survive a crash: replaced whole or appended to; readers that take torn ones.

Knows nothing of what is in them.
"""

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any


def replace_file(path: Path, text: str, *, sync: bool = True) -> None:
    """Put `text` at `path` atomically, as `replacing` does."""
    with replacing(path, sync=sync) as beside:
        beside.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """A path beside `path` to write a file or a folder at; synced and renamed over `path` when the block ends well.

    A folder that is replaced is moved aside first and removed after. On an error nothing changes. Without `sync`, which
    takes some 10 to 20 ms, a machine that loses its power may lose the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    beside = scratch / path.name
    try:
        yield beside
        for file in [beside, *beside.rglob("*")] if beside.is_dir() else [beside]:
            if sync:
                _sync(file)
        if path.is_dir():
            path.rename(scratch / "old")
        beside.replace(path)
        if sync:
            _sync(path.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def time_name(at: datetime) -> str:
    """A time as a file's name: names sort as the times do."""
    return at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def unused_path(folder: Path, at: datetime, ending: str) -> Path:
    """A path that nothing is at, named by this time or, where that is taken, by the next one that is not."""
    while (path := folder / f"{time_name(at)}{ending}").exists():
        at += timedelta(microseconds=1)
    return path


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


def stamp(path: Path) -> tuple[int, int, int]:
    """What differs once something else is at `path`: its number, its time in ns, its size; zeros for nothing there."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return found.st_ino, found.st_mtime_ns, found.st_size


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
                value = json.loads(line)
                if isinstance(value, dict):
                    found.append(value)
    return found


def keep_lines(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Leave of a JSON-lines file only the objects that are `wanted`, atomically. Torn lines go too."""
    if not path.exists():
        return
    with replacing(path) as beside, path.open("rb") as file, beside.open("wb") as kept:
        for line in file:
            with contextlib.suppress(ValueError):
                value = json.loads(line)
                if line.endswith(b"\n") and isinstance(value, dict) and wanted(value):
                    kept.write(line)


def append_line(path: Path, line: str) -> None:
    """Append a line in one write. On an error, as on a full disk, the file is as it was."""
    with path.open("ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        whole = f"{line}\n".encode()
        try:
            if file.write(whole) < len(whole):  # what fits is written before a disk is full
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            file.truncate(end)
            raise


def sample_lines(
    path: Path, n: int, *, start: int = 0, end: int | None = None, whole_bytes: int = 2**22
) -> list[tuple[int, dict[str, Any]]]:
    """Whole objects of a JSON-lines file that begin in bytes `start` to `end`, with where each begins, in order.

    All of them where the part has at most `whole_bytes` (by default some 14,000 steps, read in 40 ms), else about
    `n`, evenly spaced by bytes: a file of any length is sampled in the same time. None where there is no file.
    """
    found: list[tuple[int, dict[str, Any]]] = []
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        end = size if end is None else min(end, size)
        if end - start <= whole_bytes:
            file.seek(start)
            place = start
            for line in file.read(max(0, end - start)).splitlines(keepends=True):
                if line.endswith(b"\n"):
                    _add(found, place, line)
                place += len(line)
            return found
        for i in range(n):
            at = start + (end - start) * i // n
            file.seek(max(0, at - 1))
            if at > start:
                file.readline()  # to the next line's beginning
            place = file.tell()
            if place < end and (not found or place > found[-1][0]):
                line = file.readline()
                if line.endswith(b"\n"):
                    _add(found, place, line)
    return found


def _add(found: list[tuple[int, dict[str, Any]]], place: int, line: bytes) -> None:
    with contextlib.suppress(ValueError):
        value = json.loads(line)
        if isinstance(value, dict):
            found.append((place, value))


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
            value = json.loads(line)
            if isinstance(value, dict):
                return value
    return {}

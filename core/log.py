"""The lines of a log, and those that come: what jobs print goes to `log.txt`, which only grows while one looks.

And which of a job's records have a line there, so that the log of hours can be read. Knows nothing of jobs. A file that
was replaced or cut is read again from its beginning.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from core.records import Progress, StepReport

LAST_BYTES = 2**21
"""How much of what was there already is read: the end of a long log, some 25,000 lines."""
EVERY_S = 30.0
"""Least time between two lines of a phase, or of a training's steps: `metrics.jsonl` has them all."""


class Log:
    """A text file read line by line, as it grows."""

    def __init__(self, path: Path, *, last_bytes: int = LAST_BYTES) -> None:
        self._path, self._last_bytes = path, last_bytes
        self._place: int | None = None
        self._rest = b""
        self.cut = False
        """Whether the file's beginning was left out."""

    def read(self) -> list[str]:
        """The whole lines that came since the last call; the first gives those that are there. None without a file."""
        found = b""
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if self._place is None or size < self._place:
                self._place = max(0, size - self._last_bytes)
                self._rest, self.cut = b"", self._place > 0
                file.seek(self._place)
                if self.cut:
                    self._place += len(file.readline())
            file.seek(self._place)
            found = file.read()
            self._place += len(found)
        *lines, self._rest = (self._rest + found).split(b"\n")
        return [line.decode("utf-8", errors="replace") for line in lines]

    def rest(self) -> str:
        """What was written of a line that has not ended yet."""
        return self._rest.decode("utf-8", errors="replace")


class Sparing:
    """What of a job's records is written: of a phase, and of steps, the first, the last, and now and then one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._phase = ""
        self._due: dict[type, float] = {}
        self._written: dict[type, str] = {}
        self._held: dict[type, str] = {}

    def lines(self, record: object, line: str) -> Iterator[str]:
        """The lines to write once `record` came, of which `line` tells: it, later, or what was held back before it."""
        kind = type(record)
        if not isinstance(record, Progress | StepReport):
            yield from self.rest()
            yield line
            return
        if isinstance(record, Progress) and record.phase != self._phase:
            yield from self.rest()
            self._phase = record.phase
            self._due.pop(kind, None)
        self._held.pop(kind, None)
        if line == self._written.get(kind):
            return
        if self._clock() < self._due.get(kind, 0.0):
            self._held[kind] = line
            return
        self._due[kind], self._written[kind] = self._clock() + EVERY_S, line
        yield line

    def rest(self) -> Iterator[str]:
        """The newest lines that were held back, which are the last of what ends."""
        self._written |= self._held
        held, self._held = list(self._held.values()), {}
        yield from held

"""The lines of a log, and those that come: what jobs print goes to `log.txt`, which only grows while one looks.

Knows nothing of jobs. A file that was replaced or cut is read again from its beginning.
"""

import contextlib
import os
from pathlib import Path

LAST_BYTES = 2**21
"""How much of what was there already is read: the end of a long log, some 25,000 lines."""


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

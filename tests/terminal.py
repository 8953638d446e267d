"""A command in a terminal of its own, seen from outside: what it sends, when, and what then stands on the screen.

    with Terminal([sys.executable, "-m", "sae_tui"], size=(80, 24)) as terminal:
        terminal.wait_for("1 Runs")
        terminal.press("5")
        assert terminal.wait(1) == 0

Nothing is read by itself: who does not call anything here is a terminal that has stalled. It answers no question the
command asks it, as a plain terminal would not.
"""

import codecs
import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
from rich.cells import cell_len

KEYS = {
    "enter": "\r", "escape": "\x1b", "tab": "\t", "shift+tab": "\x1b[Z", "space": " ", "backspace": "\x7f",
    "up": "\x1b[A", "down": "\x1b[B", "right": "\x1b[C", "left": "\x1b[D", "home": "\x1b[H", "end": "\x1b[F",
    "pageup": "\x1b[5~", "pagedown": "\x1b[6~", "delete": "\x1b[3~",
}  # fmt: skip
"""What a terminal sends for a key that has a name. `ctrl+x` is computed; anything else is typed as it is."""
NOT_MINE = ("NO_COLOR", "COLORTERM", "TEXTUAL_COLOR_SYSTEM", "COLUMNS", "LINES", "TMUX")
"""Of the environment, what says how this process's terminal is."""
PART = re.compile(
    r"\x1b\[(?P<csi>[0-?]*[ -/]*[@-~])|\x1b\](?P<osc>[^\x07\x1b]*)(?:\x07|\x1b\\)|"
    r"\x1b(?P<esc>[^\[\]])|(?P<text>[^\x1b]+)",
    re.DOTALL,
)


TORN = re.compile(r"\x1b(\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?)?\Z")
"""The beginning of a sequence, at the end of what has come."""


class Part(NamedTuple):
    """A piece of what was sent: text, or a control sequence without its introducer."""

    kind: str
    """csi, osc, esc, text; or `torn` for an escape character that begins none of these."""
    text: str


def parts(text: str) -> Iterator[Part]:
    """What was sent, in pieces."""
    place = 0
    while place < len(text):
        found = PART.match(text, place)
        if found is None:
            yield Part("torn", text[place])
            place += 1
            continue
        place = found.end()
        yield Part(str(found.lastgroup), found[str(found.lastgroup)])


class Screen:
    """What the sequences that Textual sends leave on a screen: text by place, no colours."""

    def __init__(self, width: int, height: int) -> None:
        self._rows: list[list[str]] = []
        self._x = self._y = 0
        self.resize(width, height)

    def resize(self, width: int, height: int) -> None:
        """Another size; what stood there is gone, as the command draws all of it again."""
        self._width, self._height = width, height
        self._rows = [[" "] * width for _ in range(height)]

    def feed(self, text: str) -> None:
        """Take what was sent."""
        for part in parts(text):
            if part.kind == "text":
                for character in part.text:
                    self._put(character)
            elif part.kind == "csi" and part.text.endswith("H"):
                row, _, column = part.text[:-1].partition(";")
                self._y, self._x = int(row or 1) - 1, int(column or 1) - 1
            elif part.kind == "csi" and part.text in ("2J", "?1049h"):
                self.resize(self._width, self._height)

    @property
    def lines(self) -> list[str]:
        """Its lines, without the spaces at their ends."""
        return ["".join(row).rstrip() for row in self._rows]

    def _put(self, character: str) -> None:
        if character < " " and character not in "\r\n":
            return
        if character == "\r":
            self._x = 0
        elif character == "\n":
            self._y += 1
        elif 0 <= self._y < self._height and 0 <= self._x < self._width:
            row, width = self._rows[self._y], cell_len(character)
            if width == 0:
                row[max(0, self._x - 1)] += character
                return
            row[self._x] = character
            if width == 2 and self._x + 1 < self._width:
                row[self._x + 1] = ""
            self._x += width


class Terminal:
    """A command that runs in a pseudo-terminal, whose leader it is: it is hung up when this is closed."""

    def __init__(
        self, command: Sequence[str], *, size: tuple[int, int] = (120, 36), env: Mapping[str, str] | None = None,
        cwd: Path | None = None, term: str = "xterm-256color", colorterm: str = "truecolor",
    ) -> None:  # fmt: skip
        """`env` is added to this process's own, less what says how this one's terminal is."""
        mine = {k: v for k, v in os.environ.items() if k not in NOT_MINE}
        given = {**mine, "TERM": term, **({"COLORTERM": colorterm} if colorterm else {}), **(env or {})}
        self._master, slave = os.openpty()
        self.screen = Screen(*size)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._torn = ""
        self.received: list[tuple[float, bytes]] = []
        """Everything that came, with when it came (`time.perf_counter`)."""
        self._set_size(*size)
        self.attributes_before = termios.tcgetattr(self._master)
        self.began = time.perf_counter()
        self._process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=given, cwd=cwd, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)
        self.pid = self._process.pid

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def sent(self) -> bytes:
        """All bytes it has sent so far."""
        return b"".join(data for _, data in self.received)

    @property
    def text(self) -> str:
        """What stands on the screen."""
        return "\n".join(self.screen.lines)

    @property
    def last_words(self) -> str:
        """What it printed after it had left the alternate screen: a traceback, as a rule; without colours."""
        left = self.sent.decode("utf-8", "replace").rpartition("\x1b[?1049l")[2]
        return "".join(part.text for part in parts(left) if part.kind == "text")

    @property
    def attributes(self) -> list[object]:
        """The terminal's modes as they are now (`termios`)."""
        return termios.tcgetattr(self._master)

    def type(self, text: str) -> float:
        """Send `text` as typed; the answer is when."""
        os.write(self._master, text.encode())
        return time.perf_counter()

    def press(self, *keys: str) -> float:
        """Press keys by name, one after the other; the answer is when the last was.

        After esc it waits, for what follows at once would make another key of both.
        """
        for i, key in enumerate(keys):
            if i and keys[i - 1] == "escape":
                self.settle(0.15, 5)
            if key.startswith("ctrl+") and len(key) == 6:
                at = self.type(chr(ord(key[5]) & 31))
            else:
                at = self.type(KEYS.get(key, key))
        return at

    def resize(self, width: int, height: int) -> None:
        """Another size of the window."""
        self._set_size(width, height)
        self.screen.resize(width, height)
        os.kill(self.pid, signal.SIGWINCH)

    def read(self, within_s: float) -> bytes:
        """The next bytes; none where none come in that time, or it has hung up."""
        try:
            if not select.select([self._master], [], [], max(0.0, within_s))[0]:
                return b""
            data = os.read(self._master, 65_536)
        except OSError:  # the command's end of the line is closed
            time.sleep(min(within_s, 0.01))
            return b""
        self.received.append((time.perf_counter(), data))
        text = self._torn + self._decoder.decode(data)
        torn = TORN.search(text)  # waits for the rest
        self._torn = torn[0] if torn else ""
        self.screen.feed(text[: len(text) - len(self._torn)])
        return data

    def drain(self, seconds: float) -> bytes:
        """Read for so long; what came."""
        came, until = [], time.perf_counter() + seconds
        while (left := until - time.perf_counter()) > 0:
            came.append(self.read(left))
        return b"".join(came)

    def settle(self, quiet_s: float = 0.2, within_s: float = 20.0) -> bytes:
        """Read until nothing has come for `quiet_s` and the command has not worked meanwhile; what came.

        On a machine that others use a command can be silent because it was not let run.
        """
        came, until, worked = [], time.perf_counter() + within_s, self._worked()
        while time.perf_counter() < until:
            data, before, worked = self.read(quiet_s), worked, self._worked()
            if data:
                came.append(data)
            elif worked == before:
                break
        return b"".join(came)

    def _worked(self) -> float:
        """Seconds of a processor that it has had, another number at every call while it waits for one."""
        try:
            process = psutil.Process(self.pid)
            had = process.cpu_times()
            return time.perf_counter() if process.status() == psutil.STATUS_RUNNING else had.user + had.system
        except psutil.Error:  # it has ended
            return -1.0

    def wait_for(self, what: str | Callable[[str], bool], within_s: float = 20.0) -> float:
        """Read until the text stands on the screen; the answer is when. Raises TimeoutError with the screen."""
        until = time.perf_counter() + within_s
        while True:
            text = self.text
            if what in text if isinstance(what, str) else what(text):
                return self.received[-1][0] if self.received else time.perf_counter()
            if time.perf_counter() > until or (self._process.poll() is not None and not self.read(0.05)):
                raise TimeoutError(f"{what!r} did not come in {within_s} s (exit code {self._process.poll()}):\n{text}")
            self.read(0.05)

    def latency(self, key: str, within_s: float = 2.0) -> float:
        """Seconds from a key to the first byte that answers it. Raises TimeoutError where none comes."""
        self.settle(0.03, 1.0)
        at = self.press(key)
        if not self.read(within_s):
            raise TimeoutError(f"nothing came {within_s} s after {key!r}:\n{self.text}")
        return self.received[-1][0] - at

    def signal(self, number: int) -> None:
        """Send it a signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, within_s: float = 20.0) -> int:
        """Its exit code, read on until it ends; that of a signal is negative. Raises TimeoutError."""
        until = time.perf_counter() + within_s
        while self._process.poll() is None:
            if time.perf_counter() > until:
                raise TimeoutError(f"it did not end within {within_s} s:\n{self.text}")
            self.read(0.01)
        self.settle(0.02)
        return int(self._process.returncode)

    def hang_up(self) -> None:
        """Close the line, as a dropped link does."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    def close(self) -> None:
        """Hang up, and end what does not end by that."""
        self.hang_up()
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _set_size(self, width: int, height: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

"""Lines of a log, wrapped, with what is looked for marked. Only lines of the view that changed are sent.

Made for logs that grow while one looks: `add` costs what the new lines cost, and the end stays in view where it was.
"""

from collections.abc import Iterable

from rich.cells import cell_len, chop_cells
from rich.segment import Segment
from rich.style import Style as RichStyle
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.style import Style

from core.session import LOG_HEAD
from sae_tui.text import safe

KEPT = 50_000
"""Lines held; older ones are let go."""


class LogView(ScrollView, can_focus=True, inherit_bindings=False):
    """The lines. `following`: whether its end stays in view as it grows."""

    DEFAULT_CSS = "LogView { overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; }"

    class Changed(Message):
        """What is in view, or what was found, is something else."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._lines: list[str] = []
        self._rows: list[tuple[int, str]] = []
        self._wanted = ""
        self._found: list[int] = []
        self._at = -1
        self._drawn: dict[int, Strip] = {}
        self._styles: dict[str, RichStyle] = {}
        self._following = True

    @property
    def count(self) -> int:
        """Lines there are."""
        return len(self._lines)

    @property
    def following(self) -> bool:
        """Whether the end stays in view."""
        return self._following

    @property
    def found(self) -> tuple[int, int]:
        """Which of the lines that hold what is looked for is at hand, from 1, and how many there are; 0 for none."""
        return self._at + 1, len(self._found)

    @property
    def line(self) -> str:
        """The line that was found, or else the first in view."""
        if not self._lines:
            return ""
        number = self._found[self._at] if self._at >= 0 else self._rows[min(self._top, len(self._rows) - 1)][0]
        return self._lines[number]

    def clear(self) -> None:
        """No lines."""
        self._lines, self._rows, self._found, self._at = [], [], [], -1
        self._see()

    def add(self, lines: Iterable[str]) -> None:
        """More lines, not safe yet."""
        new = [safe(line) for line in lines]
        if not new:
            return
        if len(self._lines) + len(new) > KEPT:
            self._lines = [*self._lines, *new][-KEPT // 2 :]
            self._wrap()
            self.search(self._wanted)
        else:
            first = len(self._lines)
            self._lines += new
            self._rows += self._wrapped(first)
            self._found += self._matching(first)
        self._see()

    def follow(self, following: bool) -> None:
        """Keep the end in view, or stay where it is."""
        self._following = following
        self._see()

    def search(self, wanted: str, *, jump: bool = False) -> None:
        """Mark what is looked for, in small and capital letters alike; with `jump`, go to the next place of it."""
        self._wanted = wanted.lower()
        self._found, self._at = self._matching(0), -1
        if jump and self._found:
            first = self._rows[min(self._top, len(self._rows) - 1)][0]
            self._go_to(next((i for i, line in enumerate(self._found) if line >= first), len(self._found) - 1))
        self._see()

    def next_found(self, step: int) -> None:
        """Go to the next line that was found, or with -1 to the one before, round the ends."""
        if self._found:
            start = self._at if self._at >= 0 else (-1 if step > 0 else 0)
            self._go_to((start + step) % len(self._found))
            self._see()

    def move(self, rows: float) -> None:
        """Move the view by so many rows; to the end by infinity. Following ends, or begins at the end."""
        last = max(0, len(self._rows) - self.size.height)
        top = max(0, min(self._top + rows, last))
        self._following = top >= last and rows > 0
        self.scroll_to(y=top, animate=False, force=True)
        self._see()

    @property
    def _top(self) -> int:
        return round(self.scroll_y)

    def _go_to(self, place: int) -> None:
        self._at = place
        row = next((i for i, (line, _) in enumerate(self._rows) if line == self._found[place]), 0)
        self._following = False
        if not self._top <= row < self._top + self.size.height:
            self.scroll_to(y=max(0, row - self.size.height // 2), animate=False, force=True)

    def _matching(self, first: int) -> list[int]:
        if not self._wanted:
            return []
        return [i for i in range(first, len(self._lines)) if self._wanted in self._lines[i].lower()]

    def _wrapped(self, first: int) -> list[tuple[int, str]]:
        """The rows that the lines from number `first` on take: each with its line's number."""
        width = max(1, self.scrollable_content_region.width)
        rows: list[tuple[int, str]] = []
        for number in range(first, len(self._lines)):
            line = self._lines[number]
            short = len(line) <= width and cell_len(line) <= width
            rows += [(number, line)] if short else [(number, part) for part in chop_cells(line, width)]
        return rows

    def _wrap(self) -> None:
        self._rows = self._wrapped(0)

    def _see(self) -> None:
        """Show what there is now."""
        self.virtual_size = Size(0, len(self._rows))
        if self._following:
            self.scroll_to(y=max(0, len(self._rows) - self.size.height), animate=False, force=True)
        self._send()
        self.post_message(self.Changed())

    def _send(self) -> None:
        if not self.is_attached or not self.size:
            return
        regions = []
        for y in range(self.size.height):
            line = self._line(y)
            if self._drawn.get(y) != line:
                self._drawn[y] = line
                regions.append(Region(0, y, self.size.width, 1))
        if regions:
            self.refresh(*regions)

    def on_resize(self) -> None:
        """Another width: lines are wrapped anew, the first one in view stays."""
        self._drawn.clear()
        line = self._rows[min(self._top, len(self._rows) - 1)][0] if self._rows else 0
        self._wrap()
        row = next((i for i, (number, _) in enumerate(self._rows) if number == line), 0)
        self.scroll_to(y=row, animate=False, force=True)
        self._see()

    def notify_style_update(self) -> None:
        """Other colours."""
        self._drawn.clear()
        self._styles.clear()
        super().notify_style_update()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Other rows are in view."""
        if self.show_vertical_scrollbar:
            self.vertical_scrollbar.position = new_value
        if round(old_value) != round(new_value):
            self._send()

    def render_line(self, y: int) -> Strip:
        """One row of the view."""
        line = self._drawn.get(y)
        if line is None:
            line = self._drawn[y] = self._line(y)
        return line

    def _line(self, y: int) -> Strip:
        index = self._top + y
        if index >= len(self._rows):
            return Strip.blank(self.size.width, self._style(""))
        number, text = self._rows[index]
        base = self._style(_ink(self._lines[number]))
        here = self._at >= 0 and number == self._found[self._at]
        segments = [Segment(part, self._style(self._mark(here)) if lit else base) for part, lit in self._parts(text)]
        return Strip(segments).adjust_cell_length(self.size.width, base)

    def _mark(self, here: bool) -> str:
        return "bold $background on $accent" if here else "bold underline $accent"

    def _parts(self, text: str) -> Iterable[tuple[str, bool]]:
        """The text in pieces, those that are looked for told apart."""
        small, size, start = text.lower(), len(self._wanted), 0
        if not self._wanted or len(small) != len(text):
            yield text, False
            return
        while (at := small.find(self._wanted, start)) >= 0:
            yield text[start:at], False
            yield text[at : at + size], True
            start = at + size
        yield text[start:], False

    def _style(self, name: str) -> RichStyle:
        found = self._styles.get(name)
        if found is None:
            style = self.visual_style + Style.parse(name) if name else self.visual_style
            found = self._styles[name] = style.rich_style
        return found


def _ink(line: str) -> str:
    """How a line is drawn: a job's beginning, an error, a note, or what libraries and steps print."""
    if line.startswith(LOG_HEAD):
        return "bold $primary"
    if line.startswith(("error:", "Traceback ")):
        return "bold $error"
    return "$warning" if line.startswith("note:") else ""

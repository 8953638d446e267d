"""How far two texts are apart on each token, one cell a token on one line: the KL as bars, a mark where the texts part.

Only cells that changed are sent to the terminal. A text too long for the line is shown by half lines, that with the
cursor, or else its end.
"""

from collections.abc import Sequence
from itertools import groupby
from math import log10

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

LEVELS = ("▁▂▃▄▅▆▇█", "_.-:=+*#")
MARKS = ("┃", "|")
"""Where the texts part."""
MORE = ("…", "<")
LABEL = " KL "
QUIET, BAR, MARK, HERE = range(4)
Cell = tuple[str, int]
"""A character and its ink."""


class KlStrip(Widget):
    """One line."""

    DEFAULT_CSS = "KlStrip { height: 1; }"

    def __init__(self, *, ascii_only: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self._ascii = ascii_only
        self._told: tuple[Sequence[float], int | None, int | None] = (), None, None
        self._cells: list[Cell] = []

    @property
    def plain(self) -> str:
        """What it shows."""
        return "".join(character for character, _ in self._cells)

    def show(self, kls: Sequence[float], parted: int | None, cursor: int | None) -> None:
        """The KL of each token in nats, the index of the first token that differs, that of the one at the cursor."""
        self._told = kls, parted, cursor
        before, self._cells = self._cells, _cells(*self._told, self.size.width, ascii_only=self._ascii)
        n = max(len(before), len(self._cells))
        old, new = ([*cells, *[(" ", QUIET)] * (n - len(cells))] for cells in (before, self._cells))
        differ = [x for x in range(n) if old[x] != new[x]]
        if differ:
            self.refresh(Region(differ[0], 0, differ[-1] + 1 - differ[0], 1))

    def on_resize(self) -> None:
        """As many as there is room for."""
        self._cells = []
        self.show(*self._told)

    def notify_style_update(self) -> None:
        """Another theme."""
        super().notify_style_update()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """The line."""
        base, width = self.rich_style, self.size.width
        segments = [
            Segment("".join(character for character, _ in cells), base + self._style(ink))
            for ink, cells in groupby(self._cells, lambda cell: cell[1])
        ]
        return Strip(segments).adjust_cell_length(width, base)

    def _style(self, ink: int) -> Style:
        if ink == MARK:
            return Style(bold=True)
        colour = self.app.theme_variables["foreground-darken-3" if ink == QUIET else "accent"]
        return Style(
            color=colour.removeprefix("ansi_") if colour.startswith("ansi") else colour[:7], reverse=ink == HERE
        )


def level(kl: float) -> int:
    """The bar of a KL, 0 to 7: from a thousandth of a nat to thirty, by its logarithm."""
    return 0 if kl <= 1e-3 else min(7, int((log10(kl) + 3) * 16 / 9))


def _cells(
    kls: Sequence[float], parted: int | None, cursor: int | None, width: int, *, ascii_only: bool
) -> list[Cell]:  # fmt: skip
    """The line, at most `width` cells: its name, then what there is room for."""
    room = width - len(LABEL) - 1
    if not kls or room < 4:
        return []
    cells = [(LEVELS[ascii_only][level(kl)], HERE if i == cursor else BAR) for i, kl in enumerate(kls)]
    at = len(cells) - 1 if cursor is None else min(cursor, len(cells) - 1)
    if parted is not None:
        cells.insert(parted, (MARKS[ascii_only], MARK))
        at += at >= parted
    half = room // 2
    begin = max(0, -((room - at - 1) // half) * half)
    shown = cells[begin : begin + room]
    if begin:
        shown[0] = MORE[ascii_only], QUIET
    return [*((character, QUIET) for character in LABEL), *shown]

"""What a feature reads from the pixels, as a heat map with its scale."""

import textwrap

from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from core.analysis.gallery import SIDE
from sae_tui.pictures import Grid, scaled
from sae_tui.widgets.picture import heat_map, kind_of

BESIDE = 26
"""Cells beside the heat map from which on there is room for words."""
STEPS = 16
"""Cells of the scale."""
TOLD = (
    "How its activation changes with each pixel from black to white, the mean over its top images.",
    "",
    "{up}: brighter there, more active",
    "{down}: brighter there, less active",
)
INKS = {True: {"up": "# and +", "down": "= and -"}, False: {"up": "orange", "down": "blue"}}
"""What stands for both signs in marks, and in colours."""


class Pattern(Widget, can_focus=True):
    """The heat map, the scale below it, and words beside it where there is room."""

    def __init__(self, *, ascii_only: bool, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes)
        self._ascii = ascii_only
        self._grid: Grid = ()
        self._lines: list[Strip] = []

    def tell(self, grid: Grid) -> None:
        """Show another one."""
        self._grid = grid
        self._draw()

    def on_resize(self) -> None:
        """There may be room for other words."""
        self._draw()

    def notify_style_update(self) -> None:
        """Other colours."""
        super().notify_style_update()
        self._draw()

    def render_line(self, y: int) -> Strip:
        """One line."""
        line = self._lines[y] if y < len(self._lines) else Strip([])
        return line.adjust_cell_length(self.size.width, self.rich_style)

    def _draw(self) -> None:
        base, kind = self.rich_style, kind_of(self.app, ascii_only=self._ascii)
        most = max((abs(value) for row in self._grid for value in row), default=0.0)
        self._lines = heat_map(scaled(self._grid), kind)
        room = self.size.width - SIDE - 3
        if self._lines and room >= BESIDE:
            words = [
                line for told in TOLD for line in textwrap.wrap(told.format(**INKS[kind == "plain"]), room) or [""]
            ]
            for y, line in enumerate(words[: len(self._lines)]):
                self._lines[y] = Strip.join([self._lines[y], Strip([Segment(f"   {line}", base)])])
        if self._lines:
            ramp = [[2 * step / (STEPS - 1) - 1 for step in range(STEPS)]] * 2
            ends = [Strip([Segment(f"{end:>5} ", base)]) for end in (f"{-most:.2g}", f"{most:+.2g}")]
            self._lines.append(Strip.join([ends[0], *heat_map(ramp, kind), Strip([Segment(" ", base)]), ends[1]]))
        self.refresh()

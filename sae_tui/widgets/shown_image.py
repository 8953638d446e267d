"""An image, or two beside each other, as large as they fit."""

from collections.abc import Sequence
from typing import Any

from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from sae_tui.pictures import Grid
from sae_tui.widgets.picture import image, kind_of

GAP = 2
"""Cells between two images."""


class ShownImage(Widget):
    """Pixels from 0 to 1 in half blocks; twice as wide and high where there is room for all of them so."""

    def __init__(self, *, ascii_only: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._ascii = ascii_only
        self._grids: tuple[Grid, ...] = ()
        self._lines: list[Strip] = []

    def tell(self, *grids: Grid) -> None:
        """Show these; the same ones cost nothing."""
        if grids != self._grids:
            self._grids = grids
            self._draw()

    def on_resize(self) -> None:
        """They may be drawn larger, or must be smaller."""
        self._draw()

    def notify_style_update(self) -> None:
        """Other colours."""
        super().notify_style_update()
        self._draw()

    def render_line(self, y: int) -> Strip:
        """One line."""
        width = self.size.width
        line = self._lines[y] if y < len(self._lines) else Strip.blank(width)
        return line.adjust_cell_length(width).apply_style(self.rich_style)

    def _draw(self) -> None:
        if not self.is_attached:
            return
        grids = self._grids
        wide = sum(2 * len(grid[0]) for grid in grids) + GAP * (len(grids) - 1)
        if grids and wide <= self.size.width and len(grids[0]) <= self.size.height:
            grids = [doubled(grid) for grid in grids]
        kind = kind_of(self.app, ascii_only=self._ascii)
        drawn = [image(grid, kind) for grid in grids]
        gap = Strip.blank(GAP)
        lines = [_beside(strips, gap) for strips in zip(*drawn, strict=True)]
        before, self._lines = self._lines, lines
        changed = [y for y in range(max(len(before), len(lines))) if before[y : y + 1] != lines[y : y + 1]]
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))


def doubled(grid: Grid) -> Grid:
    """Each pixel as two by two."""
    return [[value for value in row for _ in range(2)] for row in grid for _ in range(2)]


def _beside(strips: Sequence[Strip], gap: Strip) -> Strip:
    first, *rest = strips
    return Strip.join([first, *(part for strip in rest for part in (gap, strip))])

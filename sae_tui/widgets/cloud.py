"""Features as a cloud of points, counted in a grid: density across, on a log scale, and a figure up.

What is drawn is one of the clouds that `sae-tui study frequency --json` answers.
"""

import math
from collections.abc import Mapping
from typing import Any

from textual.content import Content

from sae_tui.dots import braille, quarters
from sae_tui.text import figure

DOTS_X, DOTS_Y = 2, 4
ASCII = ".:*#"
INKS = ("$text-muted", "$primary 70%", "$primary", "bold $accent")
"""By how many features lie in a cell, on a log scale."""
GUTTER = 6
"""Cells of the labels at the left, and of the axis."""


def lines(cloud: Mapping[str, Any], width: int, height: int, graph: str) -> list[Content]:
    """The cloud in `width` by `height` cells, the limits of both axes beside it."""
    columns, rows = width - GUTTER, height - 2
    if columns < 8 or rows < 3 or not cloud["cells"]:
        return [Content("too few features were measured" if not cloud["cells"] else "")]
    dots, counts = _placed(cloud, columns, rows)
    most = math.log1p(max(3, *counts.values()))
    up = [figure(y) for y in cloud["y"]]
    found: list[Content] = []
    for row in range(rows):
        label = up[1] if not row else up[0] if row == rows - 1 else ""
        parts: list[Any] = [(f"{label:>{GUTTER - 1}}" + ("|" if graph == "ascii" else "│"), "$text-muted")]
        for column in range(columns):
            n = counts.get((column, row), 0)
            level = min(3, int(4 * math.log1p(n) / most - 1e-9))
            drawn = (braille if graph == "braille" else quarters)(dots.get((column, row), 0))
            glyph = " " if not n else ASCII[level] if graph == "ascii" else drawn
            parts.append((glyph, INKS[level]) if n else glyph)
        found.append(Content.assemble(*parts))
    line = "+" + "-" * columns if graph == "ascii" else "└" + "─" * columns
    left, right = (f"{figure(100 * 10**x)}%" for x in cloud["x"])
    middle = "density, log scale".center(max(0, columns - len(left) - len(right)))
    return [
        *found,
        Content.styled(" " * (GUTTER - 1) + line, "$text-muted"),
        Content.styled(" " * GUTTER + (left + middle + right)[:columns], "$text-muted"),
    ]


def _placed(
    cloud: Mapping[str, Any], columns: int, rows: int
) -> tuple[dict[tuple[int, int], int], dict[tuple[int, int], int]]:  # fmt: skip
    """For each cell that holds features its dots, bit `DOTS_X * y + x` of each, and how many features they are."""
    dots: dict[tuple[int, int], int] = {}
    counts: dict[tuple[int, int], int] = {}
    for column, row, n in cloud["cells"]:
        x = column * columns * DOTS_X // cloud["columns"]
        y = rows * DOTS_Y - 1 - row * rows * DOTS_Y // cloud["rows"]
        cell = x // DOTS_X, y // DOTS_Y
        dots[cell] = dots.get(cell, 0) | 1 << (DOTS_X * (y % DOTS_Y) + x % DOTS_X)
        counts[cell] = counts.get(cell, 0) + n
    return dots, counts

"""Images and heat maps as lines of text: two pixels a cell where there are colours, else a mark.

    24 bit, 256    upper half blocks: the colour of the letter is the upper pixel, that of the ground the lower one
    plain          a mark of ten for its strength; of a heat map + and - for its sign, weak ones small

Pure functions: what a terminal can do is the caller's to know.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

Depth = Literal["24 bit", "256", "plain"]
Grid = Sequence[Sequence[float]]
"""Rows of numbers, all of one length."""
Colour = tuple[int, int, int]

HALF = "▀"
MARKS = " .:-=+*#%@"
RESET = "\x1b[0m"
STEPS = (0, 95, 135, 175, 215, 255)
"""Levels of the colour cube of 256 colours."""


class Cell(NamedTuple):
    """Two pixels, one above the other."""

    upper: Colour
    lower: Colour


def depth(environment: Mapping[str, str] = os.environ, *, terminal: bool) -> Depth:
    """What can be drawn: nothing but text where there is no terminal, or no colours are wanted."""
    if not terminal or environment.get("NO_COLOR") or environment.get("TERM") in (None, "dumb"):
        return "plain"
    return "24 bit" if environment.get("COLORTERM") in ("truecolor", "24bit") else "256"


def grey(value: float) -> Colour:
    """A pixel from 0 (black) to 1 (white)."""
    level = round(255 * min(1.0, max(0.0, value)))
    return level, level, level


def signed(value: float) -> Colour:
    """A number from -1 (blue) over 0 (black) to 1 (orange), which differ in lightness too."""
    strength = min(1.0, abs(value))
    full = (255, 170, 60) if value > 0 else (70, 130, 255)
    return (round(full[0] * strength), round(full[1] * strength), round(full[2] * strength))


def unpacked(pixels: str) -> list[list[float]]:
    """A square image from 0 to 1, of its pixels as a byte each in hexadecimal digits."""
    values = bytes.fromhex(pixels)
    edge = math.isqrt(len(values))
    return [[byte / 255 for byte in values[row * edge : (row + 1) * edge]] for row in range(edge)]


def scaled(grid: Grid) -> list[list[float]]:
    """A grid divided by its largest absolute value; as it is where all are 0."""
    most = max((abs(value) for row in grid for value in row), default=0.0) or 1.0
    return [[value / most for value in row] for row in grid]


def halved(grid: Grid) -> list[list[float]]:
    """A grid with half as many rows and columns: the means of four each. Both are even."""
    return [
        [(a + b + c + d) / 4 for a, b, c, d in zip(upper[::2], upper[1::2], lower[::2], lower[1::2], strict=True)]
        for upper, lower in zip(grid[::2], grid[1::2], strict=True)
    ]  # fmt: skip


def cells(grid: Grid, colour: Callable[[float], Colour]) -> list[list[Cell]]:
    """Two rows of a grid in one of cells; a last odd row stands on black."""
    found = []
    for row in range(0, len(grid), 2):
        below = grid[row + 1] if row + 1 < len(grid) else None
        found.append([
            Cell(colour(value), (0, 0, 0) if below is None else colour(below[column]))
            for column, value in enumerate(grid[row])
        ])  # fmt: skip
    return found


def lines(grid: Grid, kind: Depth, *, heat: bool = False) -> list[str]:
    """A grid as lines with ANSI colours, or without any: from 0 to 1, or from -1 to 1 for `heat`.

    A picture of h rows takes ⌈h / 2⌉ lines at any depth: in plain text a line has the stronger of two rows.
    """
    if kind == "plain":
        return [_plain(grid[row : row + 2], heat) for row in range(0, len(grid), 2)]
    drawn = []
    for row in cells(grid, signed if heat else grey):
        text, last = "", ""
        for upper, lower in row:
            code = _code(38, upper, kind) + _code(48, lower, kind)
            text += (code if code != last else "") + HALF
            last = code
        drawn.append(text + RESET)
    return drawn


def beside(pictures: Sequence[Sequence[str]], gap: str = "  ") -> list[str]:
    """Pictures of as many lines each next to one another."""
    return [gap.join(parts) for parts in zip(*pictures, strict=True)]


def nearest_256(colour: Colour) -> int:
    """The number, of 256, of the colour that is nearest: of the cube, or of the greys."""
    cube = [min(range(6), key=lambda step, part=part: abs(STEPS[step] - part)) for part in colour]
    level = min(range(24), key=lambda step: abs(8 + 10 * step - sum(colour) / 3))
    in_cube = tuple(STEPS[step] for step in cube)
    in_greys = (8 + 10 * level,) * 3

    def far(other: Sequence[int]) -> int:
        return sum((a - b) ** 2 for a, b in zip(colour, other, strict=True))

    return 232 + level if far(in_greys) < far(in_cube) else 16 + 36 * cube[0] + 6 * cube[1] + cube[2]


def _code(ground: int, colour: Colour, kind: Depth) -> str:
    if kind == "256":
        return f"\x1b[{ground};5;{nearest_256(colour)}m"
    return f"\x1b[{ground};2;{colour[0]};{colour[1]};{colour[2]}m"


def _plain(rows: Grid, heat: bool) -> str:
    strongest = [max(column, key=abs) for column in zip(*rows, strict=True)]
    if heat:
        return "".join(
            " " if abs(v) < 0.1 else ("+" if v > 0 else "-") if abs(v) < 0.5 else "#" if v > 0 else "="
            for v in strongest
        )
    return "".join(MARKS[min(9, int(10 * min(1.0, max(0.0, v))))] for v in strongest)

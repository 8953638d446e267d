"""Images and heat maps as strips of a widget: half blocks where the terminal has colours, else marks.

Each run of cells of other colours is forty bytes at a terminal. So there are few shades, that neighbours be alike more
often, and the widget's own style is not to be laid under them, which would add a colour to each blank.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Literal

from rich.segment import Segment
from rich.style import Style
from textual.app import App
from textual.strip import Strip

from sae_tui import pictures
from sae_tui.pictures import HALF, Colour, Grid

Kind = Literal["colours", "16", "plain"]
"""What a terminal can draw: any colour, or the nearest of 256; sixteen; none."""

GREYS, SIGNED, LIT = 8, 5, 4
"""Shades of a pixel between black and white; of a heat map's number on each side of 0; of what lights an image."""
GAMMA = 2.2
"""A pixel's light is its number to this power."""
LIGHT = 0.6
"""How much of a pixel's colour is that of the light, where a feature fires most."""
FEW_GREYS = ("#000000", "#555555", "#aaaaaa", "#ffffff")
FEW_SIGNED = {True: ("#000000", "#aa5500", "#ffff55"), False: ("#000000", "#0000aa", "#5555ff")}
"""For numbers above 0 and below it, by their strength; as the greys of the sixteen colours that are usual."""


def kind_of(app: App[object], *, ascii_only: bool) -> Kind:
    """What can be drawn there."""
    system = app.console.color_system
    if ascii_only or app.no_color or system is None:
        return "plain"
    return "colours" if system in ("256", "truecolor") else "16"


def image(grid: Grid, kind: Kind, fires: Grid = ()) -> list[Strip]:
    """Pixels from 0 to 1. `fires`, from 0 to 1 too, is a coarser grid over them: where it is not 0 the image is lit."""
    if kind == "plain":
        return _marks(grid, heat=False)
    if not fires:
        return _strips([[_pixel(round(value * GREYS), 0, kind) for value in row] for row in grid])
    edge = len(grid) // len(fires)
    return _strips([
        [
            _pixel(round(value * GREYS), round(fires[y // edge][x // edge] * LIT), kind)
            for x, value in enumerate(row)
        ]
        for y, row in enumerate(grid)
    ])  # fmt: skip


def heat_map(grid: Grid, kind: Kind) -> list[Strip]:
    """Numbers from -1 to 1."""
    if kind == "plain":
        return _marks(grid, heat=True)
    return _strips([[_number(round(value * SIGNED), kind) for value in row] for row in grid])


def smaller(grid: Grid) -> Grid:
    """Pixels, half as many each way: means of the light they give, or thin strokes would fade."""
    light = pictures.halved([[value**GAMMA for value in row] for row in grid])
    return [[value ** (1 / GAMMA) for value in row] for row in light]


def _marks(grid: Grid, *, heat: bool) -> list[Strip]:
    return [Strip([Segment(line)]) for line in pictures.lines(grid, "plain", heat=heat)]


def _strips(colours: Sequence[Sequence[str]]) -> list[Strip]:
    return [_strip(zip(*pair, strict=True)) for pair in zip(colours[::2], colours[1::2], strict=True)]


def _strip(cells: Iterable[tuple[str, str]]) -> Strip:
    segments = []
    for (upper, lower), run in groupby(cells):
        n = len(list(run))
        segments.append(Segment((" " if upper == lower else HALF) * n, _style(upper, lower)))
    return Strip(segments)


@lru_cache(1024)
def _pixel(shade: int, light: int, kind: Kind) -> str:
    if kind == "16":
        few = FEW_SIGNED[True][1:] if light > LIT // 2 else FEW_GREYS
        return few[shade * (len(few) - 1) // GREYS]
    grey, full = pictures.grey(shade / GREYS), pictures.signed(1.0)
    share = LIGHT * light / LIT
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(grey, full, strict=True))
    return _hex((red, green, blue))


@lru_cache(64)
def _number(step: int, kind: Kind) -> str:
    if kind == "16":
        return FEW_SIGNED[step > 0][(abs(step) > 1) + (abs(step) > SIGNED // 2 + 1)]
    return _hex(pictures.signed(step / SIGNED))


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


@lru_cache(4096)
def _style(upper: str, lower: str) -> Style:
    return Style(bgcolor=lower) if upper == lower else Style(color=upper, bgcolor=lower)

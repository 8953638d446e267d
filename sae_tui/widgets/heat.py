"""How strongly a token is lit: a background that grows with the activation; where that cannot be seen, brackets."""

import math
from functools import lru_cache

from rich.style import Style
from textual.app import App
from textual.color import Color

LEVELS = 12
"""Steps of the heat: few enough that neighbours of nearly the same strength share a style, and bytes."""
STRONG = 0.25
"""The strength from which on a token is strong."""


def heat(app: App[object], strength: float, *, bold: bool = False) -> Style:
    """The style of text lit with `strength` from 0 (not at all) to 1 (the strongest there is).

    What has two sides is lit in another colour below 0, down to −1.
    """
    variables = app.theme_variables
    level = min(LEVELS, round(abs(strength) * LEVELS))
    ink = variables["accent" if strength >= 0 else "primary"]
    return _style(variables["background"], ink, variables["foreground"], level, bold)


def brackets_from(app: App[object]) -> float:
    """The strength from which on a token stands in brackets: STRONG where there are few colours or none, else none do.

    Brackets between most of its tokens keep a text from being read.
    """
    few = app.no_color or app.console.color_system not in ("256", "truecolor")
    return STRONG if few or app.theme_variables["accent"].startswith("ansi") else math.inf


@lru_cache(256)
def _style(background: str, accent: str, foreground: str, level: int, bold: bool) -> Style:
    if not level:
        return Style(color=_hex(foreground), bold=bold or None)
    if accent.startswith("ansi"):  # the terminal's own colours do not mix: two steps
        name = accent.removeprefix("ansi_")
        strong = 2 * level > LEVELS
        return Style(color="black" if strong else name, bgcolor=name if strong else None, bold=bold or None)
    paper, ink = Color.parse(background), Color.parse(foreground)
    ground = paper.blend(Color.parse(accent), 0.12 + 0.75 * level / LEVELS)
    if abs(paper.brightness - ground.brightness) > abs(ink.brightness - ground.brightness):
        ink = paper
    return Style(color=ink.hex6, bgcolor=ground.hex6, bold=bold or None)


def _hex(colour: str) -> str | None:
    return None if colour.startswith("ansi") else Color.parse(colour).hex6

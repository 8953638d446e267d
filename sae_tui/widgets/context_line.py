"""One context on one line: its activation, its band, and its text around the token it is about.

That token begins in the same column of every line, in brackets. Active tokens are lit and bold, and in brackets too
where they are strong and the terminal has few colours.
"""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.app import App
from textual.strip import Strip

from core.records import ContextToken, Example
from sae_tui.text import safe
from sae_tui.widgets.heat import brackets_from, heat

PREFIX = 12
"""Cells before the text: the cursor, the activation in eight, the band's mark, and a space beside each."""
LEAST = PREFIX + 8
"""Cells below which nothing can be drawn."""
BEFORE = 0.55
"""The share of the text's cells that lie before the token a line is about: it is what came before that lit it."""
FAINTEST = 0.05
"""The heat of the weakest activation: enough to be seen."""
GLYPHS = re.compile("([␀-␡↵→·\ufffd]+)")
"""Characters that stand for others, drawn paler than text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a feature's contexts are drawn."""

    app: App[object]
    most: float
    """Its largest activation."""
    ids: bool
    """Tokens as their ids."""
    muted: Style
    after: Style
    """Of text after the token."""


def drawn(example: Example, width: int, look: Look, *, at_cursor: bool) -> Strip:
    """The line, in exactly `width` cells, at least LEAST."""
    room = width - PREFIX
    column = int(room * BEFORE)
    tokens = example.tokens
    place = next((i for i, t in enumerate(tokens) if t.token_idx == example.token_idx), 0)
    before = _as_fit(reversed(tokens[:place]), column, look)[::-1]
    after = _as_fit(tokens[place + 1 :], room - column, look)
    at_hand = [segment for t in tokens[place : place + 1] for segment in _lit(t, look, brackets=True)]
    cut = Segment("…", look.muted)
    return Strip.join([
        Strip([
            Segment("▸" if at_cursor else " ", Style(bold=True)),
            Segment(f"{decimal(example.value, look.most):>8}", Style(bold=True)),
            Segment(f" {'▲' if example.band == 0 else example.band} ", look.muted),
        ]),
        _last(Strip(_segments(before, None, look)), column, cut),
        _first(Strip([*at_hand, *_segments(after, look.after, look)]), room - column, cut),
    ])  # fmt: skip


def decimal(value: float, most: float) -> str:
    """An activation with the digits of all whose largest is `most`: their points stand below each other."""
    digits = 2 - math.floor(math.log10(most)) if most > 0 else 0
    return f"{value:.{max(1, min(5, digits))}f}"


def _shown(token: ContextToken, look: Look) -> str:
    return f"{token.token_id} " if look.ids else safe(token.text)


def _as_fit(tokens: Iterable[ContextToken], width: int, look: Look) -> list[ContextToken]:
    """The first tokens, until they are wider than `width`."""
    found: list[ContextToken] = []
    for token in tokens:
        found.append(token)
        width -= cell_len(_shown(token, look))
        if width < 0:
            break
    return found


def _segments(tokens: Iterable[ContextToken], plain: Style | None, look: Look) -> Iterator[Segment]:
    """Tokens as they are drawn; runs of silent ones together."""
    for silent, run in groupby(tokens, lambda token: token.value <= 0):
        if not silent:
            least = brackets_from(look.app) * look.most
            for token in run:
                yield from _lit(token, look, brackets=token.value >= least)
            continue
        for part in GLYPHS.split("".join(_shown(token, look) for token in run)):
            if part:
                yield Segment(part, look.muted if GLYPHS.match(part) else plain)


def _lit(token: ContextToken, look: Look, *, brackets: bool) -> Iterator[Segment]:
    shown = _shown(token, look)
    text = shown.rstrip() if look.ids else shown
    style = heat(look.app, max(token.value / look.most, FAINTEST), bold=True)
    yield Segment(f"[{text}]" if brackets else text, style)
    yield Segment(shown[len(text) :])


def _last(strip: Strip, width: int, cut: Segment) -> Strip:
    """The last `width` cells, blank before its beginning."""
    length = strip.cell_length
    if length <= width:
        return Strip.join([Strip.blank(width - length), strip])
    return Strip.join([Strip([cut]), strip.crop(length - width + 1, length)])


def _first(strip: Strip, width: int, cut: Segment) -> Strip:
    """The first `width` cells, blank after its end."""
    if strip.cell_length <= width:
        return strip.adjust_cell_length(width)
    return Strip.join([strip.crop(0, width - 1), Strip([cut])])

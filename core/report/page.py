"""A report as one page: HTML that asks for no other file, no network and no script.

Whatever is put into `page.html` passes `safe` and is escaped on its way, by the environment; no template has to think
of it. Besides, the page's own policy lets no script run and loads nothing.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from core.records import Example
from core.report import png
from core.report.facts import LOWER, TOP, Report, contexts, headline
from core.report.figures import Drawing, cluster_colour, svg
from core.shown import figure, safe, token

LEVELS = 9
"""Shades of a lit token."""


def html(report: Report, drawings: Sequence[Drawing]) -> str:
    """The page."""
    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=folder, autoescape=True, finalize=_shown, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "grey": png.grey,
        "heat": png.signed,
        "figure": figure,
        "token": token,
        "percent": _percent,
        "count": _count,
    }
    return environment.get_template("page.html").render(
        report=report,
        summary=report.summary,
        told=report.told,
        drawn=[(one, Markup(svg(one))) for one in drawings],
        here={one.card.feature for one in report.told},
        lit=lit,
        contexts=lambda one: contexts(one.card, TOP, LOWER),
        bars=bars,
        levels=LEVELS,
        cluster_colour=cluster_colour,
        headline=headline(report),
    )


def lit(example: Example, most: float) -> Iterator[tuple[str, int, float, bool]]:
    """A context as runs: text, shade from 1 to LEVELS (0: silent), activation, and whether it is the place itself."""
    quiet = ""
    for one in example.tokens:
        if one.value <= 0:
            quiet += one.text
            continue
        if quiet:
            yield quiet, 0, 0.0, False
            quiet = ""
        shade = min(LEVELS, max(1, round(LEVELS * one.value / most)))
        yield one.text, shade, one.value, one.token_idx == example.token_idx
    if quiet:
        yield quiet, 0, 0.0, False


def bars(counts: Sequence[int], width: int = 220, height: int = 44) -> Markup:
    """Bars of equal width as the `d` of an SVG path, the highest as high as there is room."""
    most, step = max(counts, default=0) or 1, width / max(1, len(counts))
    parts = (
        f"M{i * step:.1f} {height}v-{height * n / most:.1f}h{0.88 * step:.1f}V{height}z"
        for i, n in enumerate(counts)
        if n
    )
    return Markup("".join(parts))


def _shown(value: Any) -> Any:
    """What an expression of the template becomes before it is escaped."""
    if isinstance(value, Markup):
        return value
    return "-" if value is None else safe(value) if isinstance(value, str) else value


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{figure(100 * share)}%"


def _count(n: float | None) -> str:
    return "-" if n is None else f"{n:,.0f}"

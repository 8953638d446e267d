"""A search for a concept as a person makes it: the texts, what came of it, and how that is shown."""

from collections.abc import Callable
from dataclasses import dataclass

from textual.content import Content

from core.records import ConceptFound, ConceptRow, ConceptSide
from sae_tui.text import figure, safe
from sae_tui.widgets.columns import Column
from sae_tui.widgets.feature_columns import percent
from sae_tui.widgets.scales import bar

BAR = 8
"""Cells of a bar."""


@dataclass(slots=True)
class Searched:
    """What stands in the two boxes, and what was found with it."""

    texts: str = ""
    contrast: str = ""
    found: ConceptFound | None = None
    session: str = ""
    """Where it was found."""


def lines_of(text: str) -> list[str]:
    """The texts in a box: its lines that are not blank."""
    return [line for line in text.splitlines() if line.strip()]


def concept_columns(
    called: Callable[[int], Content], density: Callable[[int], float | None], *, contrast: bool, most: float = 0.0,
    wide: bool = True, ascii_only: bool = False,
) -> list[Column]:  # fmt: skip
    """A feature's figures on the texts and, with `contrast`, on the contrast texts beside them.

    A bar shows by what they are ranked, whose largest is `most`; `density` is how often it fires in the corpus. What it
    stands for takes the width that is left, and is the last where there is room for all: `wide`.
    """

    def on(side: Callable[[ConceptRow], ConceptSide | None], mark: str) -> list[Column]:
        def cell(row: ConceptRow, shown: Callable[[ConceptSide], str]) -> str:
            found = side(row)
            return "" if found is None else shown(found)

        style = "$text-muted" if mark else ""
        told: list[tuple[str, int, Callable[[ConceptSide], str]]] = [
            ("composite", 9, lambda one: figure(one.composite)),
            ("strong", 6, lambda one: f"{one.strong_share:.0%}"),
            ("active", 6, lambda one: f"{one.active_share:.0%}"),
            ("mean", 6, lambda one: figure(one.mean)),
        ]
        return [
            Column(
                mark + name, mark + name, width + len(mark), lambda row, f=shown: cell(row, f), right=True, style=style
            )
            for name, width, shown in told
        ]

    outside = on(lambda row: row.outside, "c.") if contrast else []
    score = [Column("score", "score", 7, lambda row: figure(row.score), right=True)] if contrast else []
    ends = [
        Column("density", "in corpus", 9, lambda row: percent(density(row.feature)), right=True, style="$text-muted"),
        Column("called", "stands for", 16, lambda row: called(row.feature), weight=1),
    ]
    return [
        Column("feature", "feature", 7, lambda row: str(row.feature), right=True),
        Column("rank", "", BAR, lambda row: bar(row.score / most, BAR, ascii_only=ascii_only) if row.score > 0 else "",
               style="$accent"),
        *score, *on(lambda row: row.inside, ""), *outside,
        *(ends if wide else reversed(ends)),
    ]  # fmt: skip


def why_empty(found: ConceptFound | None) -> str:
    """What stands in the place of a list without a feature: why that is, and what to do; "" where there are some."""
    if found is None:
        return (
            "Nothing was searched for yet.\n\nType some texts that have something in common, one a line: three or more "
            "tell it from what only one of them has. Then ^J searches: features that are strong on them stand here."
        )
    if found.rows:
        return ""
    which = "these texts more than on the contrast texts" if found.contrast else "any of these texts"
    others = ", or contrast texts that are further from them" if found.contrast else ""
    return (
        f"No feature is strong on {which} (strong: {safe(found.rule)}).\n\nTry longer "
        f"texts or more of them{others}. What counts as strong is `analysis.strong` of the session; `sae-tui concept` "
        "takes another with --strong."
    )


def told(found: ConceptFound) -> Content:
    """What was searched with, in a line."""
    against = f" against {found.contrast}" if found.contrast else ""
    texts = "1 text" if found.texts == 1 else f"{found.texts} texts"
    parts = [f"{len(found.rows)} features of {texts}{against}"]
    return Content(" · ".join([*parts, *map(safe, found.notes)]))

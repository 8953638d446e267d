"""The columns in which features are browsed, in sets of which one is shown at a time."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from textual.content import Content

from sae_tui.text import figure, safe, token
from sae_tui.widgets.columns import Column

Row = Mapping[str, Any]
BARS = 10
"""Cells of the small histogram in a row."""
SETS = {
    "overview": ("feature", "density", "max", "label", "top_token", "histogram", "mean"),
    "activation": ("feature", "n", "density", "dense", "mean", "std", "p50", "p90", "p99", "max", "label"),
    "specialisation": (
        "feature", "specialist_category", "specialist_score", "category_entropy", "token_entropy", "token_stability",
        "density_a", "density_b", "label",
    ),
    "emergence": ("feature", "birth", "death", "stability", "density", "dead", "max", "label", "top_token"),
    "weights": (
        "feature", "decoder_norm", "encoder_norm", "encoder_cosine", "bias", "threshold", "duplicate", "cluster", "x",
        "y", "label",
    ),
    "notes": ("feature", "starred", "label", "label_source", "label_score", "note", "tags"),
}  # fmt: skip
"""Each set's columns, by their names in the database; what is in none makes a set of its own, `more`."""
OF_TOKENS = ("token_entropy", "token_stability")
"""Columns that say nothing else of images than others do."""
ASCENDING = (
    "feature", "label", "label_source", "note", "top_token", "token_entropy", "category_entropy",
    "specialist_category", "cluster", "birth", "death",
)  # fmt: skip
"""Columns one looks at from the smallest on."""


def sets(columns: Sequence[str], unit: str = "tokens") -> dict[str, list[str]]:
    """The sets that a database with these columns has, whose figures are counted in a `unit`."""
    there = {*columns, "histogram"} - ({*OF_TOKENS} if unit != "tokens" else set())
    found = {name: [c for c in names if c in there] for name, names in SETS.items()}
    known = {c for names in SETS.values() for c in names}
    more = [c for c in columns if c not in known]
    return found | ({"more": ["feature", *more, "label"]} if more else {})


def table_columns(names: Sequence[str], *, ascii_only: bool, unit: str = "tokens") -> list[Column]:
    """Columns of a table by their names in the database, whose figures are counted in a `unit`."""
    return [_column(name, ascii_only, unit, stars="starred" not in names) for name in names]


def cells(counts: Sequence[int], width: int = BARS, *, ascii_only: bool = False) -> str:
    """Counts as bars of seven levels, neighbours added up to `width` of them at most; heights are square roots.

    A count of 0 is blank, and nothing else is. The eighth level would touch the bars of the row above.
    """
    levels = "_.-=*#" if ascii_only else "▁▂▃▄▅▆▇"
    merged = max(1, math.ceil(len(counts) / width))
    sums = [sum(counts[i : i + merged]) for i in range(0, len(counts), merged)]
    most = math.sqrt(max(sums, default=0)) or 1.0
    return "".join(levels[math.ceil(math.sqrt(n) / most * len(levels)) - 1] if n else " " for n in sums)


def _column(name: str, ascii_only: bool, unit: str, *, stars: bool) -> Column:
    """`stars`: whether the label says that a feature is starred."""
    match name:
        case "feature":
            return Column(name, "id", 7, lambda row: str(row["feature"]), right=True)
        case "density" | "density_a" | "density_b":
            return Column(name, name.replace("density_", "in half "), 9, lambda row: percent(row[name]), right=True)
        case "label":
            return Column(name, "label", 12, _label if stars else _text(name), weight=2)
        case "specialist_category":
            return Column(name, "strong most in", 16, _strong_in, weight=1)
        case "label_source":
            return Column(name, "by", 10, _text(name), style="$text-muted")
        case "label_score":
            return Column(name, "score", 7, _score, right=True)
        case "note" | "tags":
            return Column(name, name, 14, _text(name), weight=2, style="$text-muted")
        case "starred":
            return Column(name, "star", 6, lambda row: "★" if row["starred"] else "")
        case "top_token":
            words = "top tokens" if unit == "tokens" else "top classes"
            return Column(name, words, 12, _tokens, weight=3)
        case "histogram":
            return Column(
                name, "histogram", 10, lambda row: cells(row.get("histogram") or (), ascii_only=ascii_only),
                style="$primary",
            )  # fmt: skip
        case _:
            return Column(name, name, max(7, len(name) + 2), _number(name), right=True)


def percent(share: float | None) -> str:
    """A share as a person reads it: 0.413%."""
    return "-" if share is None else f"{figure(100 * share)}%"


def _number(name: str) -> Callable[[Row], str]:
    def shown(row: Row) -> str:
        value = row.get(name)
        if isinstance(value, bool) or value is None:
            return {True: "yes", False: "no", None: "-"}[value]
        if isinstance(value, int):
            return f"{value:,}"
        return figure(value) if isinstance(value, float) else str(value)

    return shown


def _text(name: str) -> Callable[[Row], str]:
    def shown(row: Row) -> str:
        value = row.get(name)
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")

    return shown


def _score(row: Row) -> str:
    score = row["label_score"]
    return "" if score is None else f"{score:.2f}"


def _strong_in(row: Row) -> str | Content:
    """A category, in bold where it has most of the documents: a specialist's."""
    name = row.get("specialist_category") or ""
    return Content.styled(safe(name), "bold") if (row.get("specialist_score") or 0) > 0 else name


def _label(row: Row) -> str | Content:
    label = row.get("label") or ""
    return Content.assemble(("★ ", "$accent"), safe(label)) if row.get("starred") else label


def _tokens(row: Row) -> str:
    tokens = row.get("tokens") or ([row["top_token"]] if row.get("top_token") is not None else [])
    return "  ".join(token(t) for t in tokens)

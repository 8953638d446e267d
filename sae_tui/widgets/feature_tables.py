"""The columns of the tables beside a feature's contexts: what it fires on and with, what it writes, what is like it."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from textual.content import Content

from core.analysis.card import Card
from sae_tui.text import called, figure, safe, token
from sae_tui.widgets.columns import Column

Row = Mapping[str, Any]
BAR_CELLS = 6


def bar(share: float, style: str = "$accent", *, ascii_only: bool = False) -> Content:
    """A line of up to six cells for a share from 0 to 1; the smallest is still seen."""
    halves = min(BAR_CELLS * 2, max(1, round(share * BAR_CELLS * 2)))
    if ascii_only:
        return Content.styled("=" * (halves // 2) + "-" * (halves % 2), style)
    return Content.styled("━" * (halves // 2) + "╸" * (halves % 2), style)


def fires_on(*, ascii_only: bool, ids: bool = False) -> list[Column]:
    """Tokens it fires on: rows of `shares`."""
    return [
        Column("text", "token", 7, lambda row: _token(row, ids), weight=1),
        Column(
            "share", "share", 12, lambda row: _measured(row["share"] / row["most"], f"{row['share']:.1%}", ascii_only)
        ),
        Column("n", "times", 6, lambda row: f"{row['n']:,}", right=True),
        Column("lift", "lift", 6, lambda row: f"×{figure(row['lift'])}", right=True),
        Column("mean", "mean", 6, lambda row: figure(row["mean"]), right=True),
    ]


def shares(card: Card) -> list[dict[str, Any]]:
    """Its tokens, each with `share`: of its firings, those that fall on the token; and `most`, the largest of these."""
    most = max((row["n"] for row in card.tokens), default=0) or 1
    return [{**row, "share": row["n"] / card.row["n"], "most": most / card.row["n"]} for row in card.tokens]


def effects(*, ascii_only: bool, ids: bool = False) -> list[Column]:
    """What it does to the next token's logits: rows of `paired`."""

    def text(sign: int) -> Any:
        return lambda row: _token(row[sign], ids) if row[sign] else ""

    def value(sign: int) -> Any:
        style = "$success" if sign > 0 else "$error"

        def cell(row: Any) -> str | Content:
            effect = row[sign]
            if not effect:
                return ""
            return _measured(abs(effect["value"]) / row["most"], f"{effect['value']:+.2f}", ascii_only, style)

        return cell

    return [
        Column("promotes", "promotes", 8, text(1), weight=1),
        Column("promoted", "logit", 12, value(1)),
        Column("suppresses", "suppresses", 10, text(-1), weight=1),
        Column("suppressed", "logit", 12, value(-1)),
    ]


def paired(logits: Sequence[Row]) -> list[dict[Any, Any]]:
    """The rows of `logits` of a feature side by side: the promoted under 1, the suppressed under -1; `most` of all."""
    most = max((abs(row["value"]) for row in logits), default=0.0) or 1.0
    sides = ([row for row in logits if row["sign"] == sign] for sign in (1, -1))
    return [{1: up, -1: down, "most": most} for up, down in zip_longest(*sides)]


def beside(rows: Sequence[Row], name: str) -> list[dict[str, Any]]:
    """Rows of other features, each with `most`: the largest `name` of them, whatever its sign."""
    most = max((abs(row[name]) for row in rows), default=0.0) or 1.0
    return [{**row, "most": most} for row in rows]


def neighbours(*, ascii_only: bool, of: str = "token") -> list[Column]:
    """Features whose decoder directions are alike: rows of `beside`. `of` is what one without a label goes by."""
    return [
        Column("other", "feature", 7, lambda row: str(row["other"]), right=True),
        Column(
            "cosine", "cosine", 11,
            lambda row: _measured(abs(row["cosine"]) / row["most"], f"{row['cosine']:.2f}", ascii_only),
        ),
        Column("label", f"label or {of}", 12, lambda row: _called(row["row"]), weight=1),
        Column("density", "density", 7, lambda row: f"{figure(100 * row['row']['density'])}%", right=True),
    ]  # fmt: skip


def together(*, ascii_only: bool, of: str = "token") -> list[Column]:
    """Features it fires together with: rows of `beside`."""
    return [
        Column("other", "feature", 7, lambda row: str(row["other"]), right=True),
        Column(
            "jaccard", "Jaccard", 11,
            lambda row: _measured(row["jaccard"] / row["most"], f"{row['jaccard']:.2f}", ascii_only),
        ),
        Column("label", f"label or {of}", 12, lambda row: _called(row["row"]), weight=1),
        Column("n", "times", 6, lambda row: f"{row['n']:,}", right=True),
        Column("pmi", "PMI", 5, lambda row: f"{row['pmi']:+.1f}", right=True),
        Column("pearson", "r", 5, lambda row: "-" if row["pearson"] is None else f"{row['pearson']:.2f}", right=True),
    ]  # fmt: skip


def categories(*, ascii_only: bool) -> list[Column]:
    """How it splits over categories: rows of `densest`."""
    return [
        Column("category", "category", 10, lambda row: safe(row["category"]), weight=1),
        Column(
            "density", "density", 14,
            lambda row: _measured(row["density"] / row["most"], f"{figure(100 * row['density'])}%", ascii_only),
        ),
        Column("n", "times", 6, lambda row: f"{row['n']:,}", right=True),
        Column("mean", "mean", 6, lambda row: figure(row["mean"]), right=True),
        Column("strong_docs", "strong in", 9, lambda row: f"{row['strong_docs']:,}", right=True),
    ]  # fmt: skip


def densest(card: Card) -> list[dict[str, Any]]:
    """Its categories, each with `most`: the density in the first of them."""
    most = max((row["density"] for row in card.categories), default=0.0) or 1.0
    return [{**row, "most": most} for row in card.categories]


def _token(row: Row, ids: bool) -> str:
    return str(row["token_id"]) if ids else token(row["text"])


def _called(row: Row) -> Content:
    return Content.styled(called(row), "" if row["label"] else "$text-muted")


def _measured(share: float, text: str, ascii_only: bool, style: str = "$accent") -> Content:
    """A bar and its number after it."""
    drawn = bar(share, style, ascii_only=ascii_only)
    return Content.assemble(drawn, " " * (BAR_CELLS + 1 - drawn.cell_length), text)

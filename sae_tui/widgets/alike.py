"""SAEs beside each other: their figures with bars, how alike their features are, one feature's way through all.

What is drawn is what `sae-tui compare --json` answers.
"""

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from textual.content import Content

from sae_tui.text import figure, safe, shortened
from sae_tui.widgets.columns import GAP, PREFIX, Column
from sae_tui.widgets.scales import bar

Found = Mapping[str, Any]
FIGURES: dict[str, tuple[str, float]] = {
    "fvu": ("FVU", 1), "l0": ("L0", 1), "d_sae": ("features", 1), "alive": ("alive", 1),
    "dense_share": ("dense %", 100), "duplicate_share": ("duplicates %", 100), "token_entropy": ("token entropy", 1),
    "category_entropy": ("category entropy", 1), "token_stability": ("token stability", 1),
    "specialists": ("specialists", 1), "label_score": ("label score", 1),
}  # fmt: skip
"""Rows of the table, where any session has them: what each is called, and what its number is multiplied by."""
WORDS = ("architecture", "hook")
SCORES = {"direction": "cosine", "firing": "correlation", "documents": "documents' r"}
BASELINES = {"sae": "this SAE", "neurons": "raw neurons", "pca": "principal components", "random": "random directions"}
"""What writes activations with as many active features as an SAE, that itself among them."""
MEASURED = {"fvu": "FVU", "l0": "L0", "token_entropy": "token entropy", "recon_acc": "accuracy"}
"""What is measured of each; the accuracy only where the model classifies."""
LISTS = ("pairs", "only", "only_back")
BAR, NUMBER, NAME, METHOD = 8, 7, 18, 22


def figures(sessions: Sequence[Found]) -> list[tuple[str, list[Any]]]:
    """The rows: a name, and the value of each session; those of categories last, the most specialised first."""
    rows: list[tuple[str, list[Any]]] = [(name, [one["about"].get(name) for one in sessions]) for name in WORDS]
    for name, (said, times) in FIGURES.items():
        values = [{**one["about"], **one["figures"]}.get(name) for one in sessions]
        if any(value is not None for value in values):
            rows.append((said, [None if value is None else times * value for value in values]))
    counts = [one["specialists"] for one in sessions]
    categories = sorted({c for one in counts for c in one}, key=lambda c: (-max(one.get(c, 0) for one in counts), c))
    return rows + [(f"  {safe(category)}", [one.get(category, 0) for one in counts]) for category in categories]


def figure_columns(names: Sequence[str], width: int, *, ascii_only: bool) -> list[Column]:
    """A column for what is told, and one for each session, with a bar of its share of the row's largest."""
    room = (width - PREFIX - 2 - NAME) // max(1, len(names)) - GAP
    wide = max(BAR + 1 + NUMBER, min(40, room))

    def cell(place: int) -> Callable[[tuple[str, list[Any]]], Content]:
        def shown(row: tuple[str, list[Any]]) -> Content:
            value = row[1][place]
            if isinstance(value, str):
                return Content(shortened(safe(value), wide))
            most = max((v for v in row[1] if isinstance(v, int | float)), default=0)
            text = f"{value:,}" if isinstance(value, int) else figure(value)
            share = value / most if value and most > 0 else 0.0
            cells = min(16, wide - NUMBER - 1)
            return Content.assemble(f"{text:>{NUMBER}} ", (bar(share, cells, ascii_only=ascii_only), "$accent"))

        return shown

    columns = [Column("what", "", NAME, lambda row: row[0], style="$text-muted")]
    return columns + [Column(name, name, wide, cell(i)) for i, name in enumerate(names)]


def baselines(names: Sequence[str], beaten: Mapping[str, Sequence[Found]]) -> list[tuple[str, str, str, Found]]:
    """A row for each session and for what it has to beat: a key, the session, what is measured, its figures.

    Of a session that is not in `beaten` there is one row, without figures.
    """
    rows: list[tuple[str, str, str, Found]] = []
    for name in names:
        for one in beaten.get(name) or ({"name": "sae"},):
            words = safe(name) if one["name"] == "sae" else f"  {BASELINES[one['name']]}"
            rows.append((f"{name} {one['name']}", name, words, one))
    return rows


def baseline_columns(rows: Sequence[tuple[str, str, str, Found]], width: int, *, ascii_only: bool) -> list[Column]:
    """What is measured, and a column for each figure that any has, with a bar of its share of the column's largest."""
    figures = [name for name in MEASURED if any(one.get(name) is not None for *_, one in rows)]
    wide = max(BAR + 1 + NUMBER, min(40, (width - PREFIX - 2 - METHOD) // max(1, len(figures)) - GAP))

    def cell(name: str) -> Callable[[tuple[str, str, str, Found]], Content]:
        most = max((one.get(name) or 0.0 for *_, one in rows), default=0.0)

        def shown(row: tuple[str, str, str, Found]) -> Content:
            value = row[3].get(name)
            drawn = bar(value / most if value and most > 0 else 0.0, min(16, wide - NUMBER - 1), ascii_only=ascii_only)
            return Content.assemble(f"{figure(value):>{NUMBER}} ", (drawn, "$accent"))

        return shown

    return [
        Column("what", "", METHOD, lambda row: Content(row[2])),
        *(Column(name, MEASURED[name], wide, cell(name)) for name in figures),
    ]


def pair_columns(match: Found, which: str, *, ascii_only: bool) -> list[Column]:
    """The columns of a list: feature and name of one, and of the other where they are pairs."""

    def named(name: str) -> Callable[[Found], str]:
        return lambda row: next((step["called"] for step in row["way"] if step["session"] == name), "")

    def scored(row: Found) -> Content:
        drawn = bar(max(0.0, row["score"]), BAR, ascii_only=ascii_only)
        return Content.assemble(f"{row['score']:.2f} ", (drawn, "$accent"))

    first = match["other"] if which == "only_back" else match["one"]
    columns = [
        Column(first, shortened(safe(first), 12), 7, lambda row: str(row["feature"]), right=True),
        Column(first, "stands for", 10, named(first), weight=1),
    ]
    if which == "pairs":
        other = match["other"]
        columns += [
            Column(other, shortened(safe(other), 12), 7, lambda row: str(row["other"]), right=True),
            Column(other, "stands for", 10, named(other), weight=1),
            Column("score", SCORES[match["by"]], 5 + BAR, scored),
        ]
    return columns


def match_lines(match: Found, width: int, height: int, *, ascii_only: bool) -> list[Content]:
    """How many features have their like in the other, and where the best scores lie, a bar for each side."""
    by, one, other = SCORES[match["by"]], safe(match["one"]), safe(match["other"])
    sides = ((one, other, "matched", "features"), (other, one, "matched_back", "features_back"))
    lines = [
        Content.assemble(
            (f"{match[n]:,}", "bold"), shortened(f" of {match[of]:,} of {a} have their like in {b}", width - 6)
        )
        for a, b, n, of in sides
    ]
    on = "".join(f" · on {match[of]:,} {of}" for of in ("tokens", "documents") if match[of])
    lines.append(Content(shortened(f"alike: {by} of {match['alike']:g} or more{on}", width)))
    lines.append(Content.assemble((f"{match['mutual']:,}", "bold"), " are each other's best"))
    lines += [Content.styled(line, "$warning") for line in textwrap.wrap(safe(match["warning"]), max(8, width))]
    rows = height - len(lines) - 2
    return [*lines, Content(""), *_histogram(match, width, rows, ascii_only=ascii_only)] if rows > 3 else lines


def _histogram(match: Found, width: int, rows: int, *, ascii_only: bool) -> Iterator[Content]:
    scores = match["scores"]
    counts = scores["counts"], scores["counts_back"]
    each = next(n for n in (2, 4, 5, 8, 10, 16, 20, 40, 80) if -(-len(counts[0]) // n) <= rows - 1 or n == 80)
    merged = [[sum(side[i : i + each]) for i in range(0, len(side), each)] for side in counts]
    most = max(map(max, merged)) or 1
    wide = max(4, (width - 6) // 2 - 9)
    heads = (f"{safe(match['one'])}'s best", f"{safe(match['other'])}'s best")
    yield Content.styled(
        f"{'':6}" + "".join(shortened(head, wide + 8).ljust(wide + 9) for head in heads), "$text-muted"
    )
    step = each * (scores["high"] - scores["low"]) / len(counts[0])
    for i, pair in enumerate(zip(*merged, strict=True)):
        low = scores["low"] + i * step
        alike = low <= match["alike"] < low + step - 1e-9
        parts: list[Any] = [
            (f"{low:5.2f}", "$text-muted"),
            (":" if ascii_only else "┄" if alike else " ") if alike else " ",
        ]
        for n in pair:
            drawn = bar(n / most, wide, ascii_only=ascii_only) if n else " " * wide
            parts += [(drawn, "$success" if low >= match["alike"] else "$accent"), f" {n or '':<7} "]
        yield Content.assemble(*parts)


def way_lines(way: Sequence[Found], sessions: Sequence[str], width: int, *, ascii_only: bool) -> list[Content]:
    """A feature from one SAE to the next, a line each, and between them how alike the two are."""
    steps = {step["session"]: step for step in way}
    wide = max(map(cell_len, sessions), default=0)
    link, room = ("|", "#") if ascii_only else ("│", "━"), max(4, width - wide - 12)
    lines: list[Content] = []
    for name in sessions:
        step = steps.get(name)
        if step is None:
            lines.append(Content.styled(f"{safe(name).ljust(wide)}  {'nothing':>7}  is like it here", "$text-muted"))
            continue
        if step["score"] is not None:
            drawn = link[1] * round(10 * max(0.0, step["score"]))
            lines.append(
                Content.assemble(
                    (" " * wide + f"  {link[0]:>7}  ", "$text-muted"), (drawn, "$accent"), f" {step['score']:.2f}"
                )
            )
        words = (f"{step['feature']:>7}", "bold"), f"  {shortened(safe(step['called']), room)}"
        lines.append(Content.assemble((safe(name).ljust(wide), "$text-muted"), "  ", *words))
    return lines

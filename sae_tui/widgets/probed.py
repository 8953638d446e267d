"""What a probe found, as lists, bars and words: features on texts. Names are what `Names` knows of features."""

from collections.abc import Callable, Sequence
from typing import Any

from textual.content import Content

from core.analysis.given import Given
from core.analysis.probed import Probed
from sae_tui.text import figure, safe, shortened, token
from sae_tui.widgets.columns import Column
from sae_tui.widgets.scales import bar

Called = Callable[[int], Content]
LISTS = ("frequent", "selective", "specialists", "texts")


def rows(found: Probed, which: str) -> list[Any]:
    """The rows of a list."""
    if which == "specialists":
        return [(category, one) for category in found.categories for one in category.best]
    if which == "texts":
        return [(i, *one) for i, top in enumerate(found.top) for one in top[:1]]
    return list(found.frequent if which == "frequent" else found.selective)


def feature(row: Any, which: str) -> int:
    """The feature of a row."""
    return row[1].feature if which == "specialists" else row[1] if which == "texts" else row.feature


def columns(found: Probed, which: str, called: Called, *, ascii_only: bool) -> list[Column]:
    """The columns of a list."""
    n = len(found.texts)
    number = Column("feature", "feature", 7, lambda row: str(feature(row, which)), right=True)
    name = Column("name", "stands for", 8, lambda row: called(feature(row, which)), weight=1)
    if which == "frequent":
        return [
            number, name, Column("n", "texts", 5, lambda row: str(row.n), right=True),
            Column("share", "of all", 8, lambda row: bar(row.share, 8, ascii_only=ascii_only), style="$accent"),
            Column("max", "max", 6, lambda row: figure(row.max), right=True),
        ]  # fmt: skip
    if which == "selective":
        return [
            number, name, Column("strong", "strong on", 9, lambda row: f"{row.strong} of {n}", right=True),
            Column("max", "max", 6, lambda row: figure(row.max), right=True),
            Column("text", "strongest on", 14, lambda row: shortened(where(found.texts[row.text], row.text), 14)),
        ]  # fmt: skip
    if which == "specialists":
        return [
            Column("category", "category", 12, lambda row: row[0].name), number, name,
            Column("score", "score", 5, lambda row: f"{row[1].score:+d}", right=True),
            Column("inside", "in", 5, lambda row: f"{row[1].inside}/{row[0].texts}", right=True),
            Column("outside", "out", 5, lambda row: f"{row[1].outside}/{n - row[0].texts}", right=True),
            Column("max", "max", 6, lambda row: figure(row[1].max), right=True),
        ]  # fmt: skip
    return [
        Column("text", "text", 16, lambda row: where(found.texts[row[0]], row[0])), number, name,
        Column("value", "value", 6, lambda row: figure(row[2]), right=True),
    ]  # fmt: skip


def title(found: Probed, which: str) -> str:
    """What a list is of."""
    if which == "frequent":
        return "most frequent: fire on the most texts"
    if which == "selective":
        return "most selective: strong on the fewest"
    if which == "texts":
        return "strongest on each text"
    if found.specialists is None:
        return "no specialists: the texts are not of two categories"
    if not found.specialists:
        return "specialists: none"
    return f"specialists {found.specialists:,}, in {found.specialised} of {len(found.categories)} categories"


def where(text: Given, place: int) -> str:
    """A text's number, and what it is of. Safe."""
    return " ".join([str(place + 1), *(safe(part) for part in (text.category, text.source) if part)])


def groups(found: Probed) -> list[tuple[str, range]]:
    """Safe names of categories and the places in `heat.texts` that are theirs; those of no category last."""
    at, start = [], 0
    for category in found.categories:
        at.append((safe(category.name), range(start, start + category.texts)))
        start += category.texts
    return at + ([("", range(start, len(found.heat.texts)))] if start < len(found.heat.texts) else [])


def head(found: Probed, called: Called) -> Content:
    """The set, how many fire, the strongest value there is, what counts as strong."""
    texts = f"{len(found.texts)} texts ({safe(found.name)}), {found.pool} of each"
    said = f"{texts} · {found.active:,} of {found.d_sae:,} fire"
    rule = f" · strong: {safe(found.rule)}"
    if found.strongest is None:
        return Content(said + rule)
    peak = found.strongest
    on = f" on {token(peak.token)} of text {where(found.texts[peak.text], peak.text)}"
    value = f" {figure(peak.value)}"
    return Content.assemble(
        said, " · strongest ", (str(peak.feature), "bold"), " ", called(peak.feature), value, on, rule
    )


def bars(found: Probed, width: int, *, ascii_only: bool) -> list[Content]:
    """Of each category the mean of its texts' activations, and how many features fire on one."""
    if not found.categories:
        return [Content("no text has a category: a .jsonl with `category` in each row tells them apart")]
    most = max(category.mean for category in found.categories) or 1.0
    names = min(14, max(len(safe(category.name)) for category in found.categories))
    wide = max(4, width - names - 22)
    lines = []
    for category in found.categories:
        drawn = bar(category.mean / most, wide, ascii_only=ascii_only)
        name = shortened(safe(category.name), names).ljust(names)
        lines.append(
            Content.assemble(
                (name, "$text-muted"),
                " ",
                (drawn, "$accent"),
                f" {figure(category.mean):>6}  {category.active:5,.0f} fire",
            )
        )
    return lines


def cell(found: Probed, row: int, column: int, called: Called, width: int, height: int) -> list[Content]:
    """The feature, the value and the text of a cell of the heat map, and the feature's mean in each category."""
    if not found.heat.features:
        return [Content("no feature fires on a text")]
    number, place = found.heat.features[row], found.heat.texts[column]
    text, value = found.texts[place], found.heat.values[row][column]
    first = Content.assemble(
        (str(number), "bold"),
        " ",
        called(number),
        "  ",
        (figure(value), "bold $accent"),
        " on text ",
        where(text, place),
    )
    shown, lines = safe(text.text), [first]
    if found.categories:
        means = zip(found.categories, found.heat.means[row], strict=False)
        said = " · ".join(f"{safe(category.name)} {figure(mean)}" for category, mean in means)
        lines.append(Content.styled(shortened(f"mean {said}", width), "$text-muted"))
    while shown and len(lines) < height:
        cut = shortened(shown, width) if len(lines) == height - 1 else Content(shown).truncate(width).plain
        lines.append(Content(cut))
        shown = shown[len(cut) :]
    return lines


def mentioned(found: Probed) -> Sequence[int]:
    """Every feature that is shown."""
    listed = {feature(row, which) for which in LISTS for row in rows(found, which)}
    return sorted(listed | set(found.heat.features) | ({found.strongest.feature} if found.strongest else set()))

"""A feature at a glance, beside the list one moves in: what it is, how strongly it fires, on what, and where.

It changes whenever the cursor rests, so it is drawn in few colours and its frame never: that is what costs bytes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from core.analysis.gallery import Gallery as Pictured
from core.records import Example
from sae_tui.text import facts, figure, safe, token
from sae_tui.widgets.bars import Line
from sae_tui.widgets.contexts import Contexts
from sae_tui.widgets.gallery import Gallery

Row = Mapping[str, Any]
LINES = {"head": 1, "note": 1, "facts": 2, "bars": 4, "fires": 2, "promotes": 2, "suppresses": 2, "alike": 4}
"""Each part above the contexts and its rows where there is room."""
AT_TIMES = ("note", "promotes", "suppresses")
"""Parts that take no room where they are empty; were it all of them, all would move at each feature."""
NAME = 11
"""Cells of a part's name before what it holds."""
BETWEEN = "   "
CLASSES = 3
"""Classes whose logits a feature changes most, either way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """What is shown of a feature."""

    row: Row
    """Of the view `browse`."""
    unit: str
    """What its figures are counted in."""
    gallery: Pictured | None
    """Of images, in the place of contexts."""
    examples: Sequence[Example]
    histogram: Sequence[Row]
    tokens: Sequence[Row]
    """Rows of `feature_tokens`."""
    logits: Sequence[Row]
    neighbours: Sequence[Row]
    """Rows of `browse`, each with the `cosine` between its direction and this one's."""


class Preview(Vertical):
    """One feature, in a frame; nothing until one is shown."""

    ALLOW_MAXIMIZE = True
    DEFAULT_CSS = """
    Preview {
        Contexts, Gallery { height: 1fr; }
        Gallery, &.-images Contexts { display: none; }
        &.-images Gallery { display: block; }
        .-empty { display: none; }
        &.-blank > * { display: none; }
        #glance-note { color: $text-muted; }
        #glance-bars { color: $primary; margin: 1 0; }
        #glance-alike { margin: 0 0 1 0; }
    }
    """

    def __init__(self, *, ascii_only: bool, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.add_class("-blank")
        self.border_title = Content("feature")
        self._ascii = ascii_only
        self._glance: Glance | None = None
        self._examples: Sequence[Example] | None = None
        self._pictured: Pictured | None = None

    def compose(self) -> ComposeResult:
        """The parts, and the contexts or images."""
        for name in LINES:
            yield Line(id=f"glance-{name}")
        yield Contexts()
        yield Gallery(ascii_only=self._ascii, small=True)

    @property
    def contexts(self) -> Contexts:
        """Where it fires."""
        return self.query_one(Contexts)

    @property
    def gallery(self) -> Gallery:
        """The images on which it fires, after what it reads from them."""
        return self.query_one(Gallery)

    @property
    def keys(self) -> Contexts | Gallery:
        """Which of them takes the keys."""
        return self.gallery if self.has_class("-images") else self.contexts

    @property
    def feature(self) -> int | None:
        """The number of the feature that is shown."""
        return None if self._glance is None else self._glance.row["feature"]

    def show(self, glance: Glance | None) -> None:
        """Show a feature, or none; what stands there already costs nothing."""
        self._glance = glance
        self.set_class(glance is None, "-blank")
        if glance is not None:
            self.set_class(glance.gallery is not None, "-images")
            self._write(glance)
            if glance.gallery is not None and glance.gallery != self._pictured:
                self._pictured = glance.gallery
                tiles = [glance.gallery.pattern, *glance.gallery.images] if glance.gallery.images else []
                self.gallery.show(tiles)
            elif glance.gallery is None and glance.examples != self._examples:
                self._examples = glance.examples
                self.contexts.show(glance.examples, most=glance.row["max"] or 0.0, bands=0)

    def on_resize(self) -> None:
        """As much as fits the new size."""
        if self._glance is not None:
            self._write(self._glance)

    def _write(self, glance: Glance) -> None:
        low = self.screen.has_class("-short")
        for name, most in LINES.items():
            short = (low and name != "facts") or (glance.gallery is not None and name in AT_TIMES)
            rows = 1 if short else most
            lines = getattr(self, f"_{name}")(glance, rows)
            widget = self.query_one(f"#glance-{name}", Line)
            widget.set_class(low if name == "bars" else name in AT_TIMES and not lines, "-empty")
            widget.styles.height = rows
            widget.show(Content("\n").join(lines))

    def _head(self, glance: Glance, rows: int) -> list[Content]:
        row = glance.row
        number = (f"{row['feature']} ", "bold $primary")
        star = ("★ " if row["starred"] else "", "$accent")
        if row["label"]:
            return [Content.assemble(number, star, (safe(row["label"]), "bold"))]
        return [Content.assemble(number, star, ("no label yet: e gives it one", "$text-disabled"))]

    def _note(self, glance: Glance, rows: int) -> list[Content]:
        return [Content(safe(glance.row["note"]))] if glance.row["note"] else []

    def _facts(self, glance: Glance, rows: int) -> list[Content]:
        known = [
            Content.assemble((name, "$text-muted"), " ", value) for name, value in facts(glance.row, unit=glance.unit)
        ]
        if glance.row["dead"]:
            known.insert(0, Content(f"it fired on none of the analysed {glance.unit}"))
        return [Content(BETWEEN).join(line) for line in _packed(known, rows, self._room, len(BETWEEN))]

    def _bars(self, glance: Glance, rows: int) -> list[Content]:
        counts = [row["n"] for row in glance.histogram]
        if not counts or rows < 2 or self._room < len(counts):
            return []
        wide = max(1, self._room // len(counts))
        width = wide * len(counts)
        ends = ("0 ", f" {figure(glance.row['max'])}")
        axis = f" {glance.unit} by activation, log ".center(
            max(0, width - len(ends[0]) - len(ends[1])), "-" if self._ascii else "─"
        )
        drawn = [Content(line) for line in bars(counts, wide, rows - 1, ascii_only=self._ascii)]
        return [*drawn, Content.styled(ends[0] + axis + ends[1], "$text-muted")]

    def _fires(self, glance: Glance, rows: int) -> list[Content]:
        number = "{:,}" if glance.gallery is None else "({:,})"  # a class reads as a number too
        return self._named("fires on", [f"{token(t['text'])} {number.format(t['n'])}" for t in glance.tokens], rows)

    def _promotes(self, glance: Glance, rows: int) -> list[Content]:
        return self._named("promotes", _written(glance, 1), rows)

    def _suppresses(self, glance: Glance, rows: int) -> list[Content]:
        return self._named("suppresses", _written(glance, -1), rows)

    def _alike(self, glance: Glance, rows: int) -> list[Content]:
        near = glance.neighbours
        if rows == 1:
            return self._named("alike", [f"{n['feature']} {figure(n['cosine'])}" for n in near], rows)
        called = [safe(n["label"]) if n["label"] else token(n["top_token"] or "") for n in near]
        lines = [f"{n['feature']:>7}  {n['cosine']:.2f}  {name}" for n, name in zip(near, called, strict=True)]
        return [
            Content.assemble((f"{'' if i else 'alike':<{NAME - 3}}", "$text-muted"), line)
            for i, line in enumerate(lines[:rows])
        ]

    @property
    def _room(self) -> int:
        return self.size.width

    def _named(self, name: str, parts: Sequence[str], rows: int) -> list[Content]:
        lines = _packed([Content(part) for part in parts], rows, self._room - NAME, 2)
        return [
            Content.assemble((f"{'' if i else name:<{NAME}}", "$text-muted"), Content("  ").join(line))
            for i, line in enumerate(lines)
        ]


def _written(glance: Glance, sign: int) -> list[str]:
    """The tokens, or classes, whose logits it raises, or with -1 lowers: the most first."""
    if glance.gallery is None:
        return [token(x["text"]) for x in glance.logits if x["sign"] == sign]
    effects = [(on * sign, label) for label, on, _ in glance.gallery.effects if on is not None]
    return [f"{label} {sign * by:+.2f}" for by, label in sorted(effects, reverse=True)[:CLASSES] if by > 0]


def bars(counts: Sequence[int], wide: int, rows: int, *, ascii_only: bool = False) -> list[str]:
    """Counts as bars `wide` cells wide over some rows, heights by their logarithm; all but 0 are seen."""
    levels = " .:#" if ascii_only else " ▁▂▃▄▅▆▇█"
    steps = len(levels) - 1
    most = math.log1p(max(counts)) or 1.0
    heights = [math.ceil(math.log1p(n) / most * rows * steps) for n in counts]
    gap = " " if wide > 2 else ""
    return [
        "".join(levels[min(steps, max(0, h - row * steps))] * (wide - len(gap)) + gap for h in heights)
        for row in reversed(range(rows))
    ]


def _packed(parts: Sequence[Content], rows: int, room: int, gap: int) -> list[list[Content]]:
    """The first of the parts, as many as fit on so many rows."""
    lines: list[list[Content]] = []
    left = 0
    for part in parts:
        if lines and part.cell_length + gap <= left:
            lines[-1].append(part)
            left -= part.cell_length + gap
        elif len(lines) < rows:
            lines.append([part])
            left = room - part.cell_length
        else:
            break
    return lines

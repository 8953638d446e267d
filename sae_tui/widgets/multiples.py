"""Small multiples: how features came to be in training, a picture for each snapshot, and bars for one without pictures.

What is drawn is what `sae-tui study emergence --json` tells of `features`. Above what a feature read from the pixels,
all of its snapshots on one scale; below the image that it was strongest on.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.segment import Segment
from textual.events import Resize
from textual.message import Message
from textual.strip import Strip

from sae_tui import keys
from sae_tui.pictures import Grid, halved
from sae_tui.text import figure, safe, shortened, token
from sae_tui.widgets.line_view import LineView, Part
from sae_tui.widgets.picture import heat_map, image, kind_of, smaller
from sae_tui.widgets.scales import trend

SIDE, HALF, GAP = 28, 14, 2
"""Pixels of a picture's edge, of one that is drawn smaller, and cells between two."""
LABEL = 20
"""Cells of what a feature is called."""
Feature = Mapping[str, Any]


class Column(NamedTuple):
    """One snapshot of one feature."""

    caption: str
    pattern: Grid
    """From -1 to 1; all 0 where it fired on nothing."""
    image: Grid


def title(one: Feature) -> str:
    """What it is called, and why it is told. Safe."""
    born = "never fired" if one["birth"] is None else f"since step {one['birth']:,}"
    top = "" if one["top_token"] is None else token(one["top_token"])
    name = shortened(f'"{safe(one["label"])}"' if one["label"] else top and f"fires on {top}", LABEL)
    return " · ".join(part for part in (f"feature {one['feature']}", name, one["why"], born) if part)


def bars(one: Feature, *, ascii_only: bool) -> str:
    """How its density grew, on a line."""
    first, last = (figure(100 * one["density"][place]) for place in (0, -1))
    return f"{trend(one['density'], ascii_only=ascii_only)}  {first:>5}% to {last:>5}%"


def columns(one: Feature, steps: Sequence[int], width: int) -> list[Column]:
    """As many snapshots as `width` cells hold, in the size they allow; the first and the last among them."""
    edge = SIDE if len(steps) * (SIDE + GAP) - GAP <= width else HALF
    most = max(1, (width + GAP) // (edge + GAP))
    shown = range(len(steps))
    if most < len(steps):
        shown = [round(i * (len(steps) - 1) / max(1, most - 1)) for i in range(most)]
    none = [[0.0] * SIDE] * SIDE
    pictures = [one["pictures"][place] or {"pattern": none, "pixels": none} for place in shown]
    patterns: list[Grid] = [picture["pattern"] for picture in pictures]
    images: list[Grid] = [picture["pixels"] for picture in pictures]
    if edge == HALF:
        patterns, images = [halved(grid) for grid in patterns], [smaller(grid) for grid in images]
    largest = max((abs(v) for grid in patterns for row in grid for v in row), default=0.0) or 1.0
    found = []
    for place, pattern, pixels in zip(shown, patterns, images, strict=True):
        density = one["density"][place]
        said = f"{figure(100 * density)}%" if density else "silent"
        caption = f"step {steps[place]:,}  density {said}" if edge == SIDE else f"{steps[place]:,}  {said}"
        scaled = [[v / largest for v in row] for row in pattern]
        found.append(Column(shortened(caption, edge).ljust(edge), scaled, pixels))
    return found


class Multiples(LineView):
    """Features one below the other, with a cursor on one."""

    BINDINGS = [*keys.bindings("multiples")]
    DEFAULT_CSS = "Multiples { height: 1fr; width: 1fr; overflow: hidden; }"

    class Opened(Message):
        """The feature at the cursor is to be opened."""

        def __init__(self, feature: int) -> None:
            super().__init__()
            self.feature = feature

    def __init__(self, *, ascii_only: bool, id: str, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._ascii_only = ascii_only
        self._features: Sequence[Feature] = ()
        self._steps: Sequence[int] = ()
        self._said = ""
        self._blocks: dict[int, list[list[Part] | Strip]] = {}
        """What was drawn of each feature."""
        self._top = self._at = 0

    def show(self, features: Sequence[Feature], steps: Sequence[int], said: str = "") -> None:
        """These features with snapshots at these steps; `said`, which is safe, where there is none."""
        if (features, said) != (self._features, self._said):
            self._features, self._steps, self._said = features, steps, said
            self._top = self._at = 0
            self._again()

    @property
    def _height(self) -> int:
        """Lines of a feature."""
        return len(self._block(0)) if self._features else 1

    def parts(self, y: int) -> tuple[Sequence[Part], bool]:
        """A line of words."""
        if not self._features:
            return [(self._said, "$text-muted")] if not y else [], False
        line = self._at_line(y)
        return [] if isinstance(line, Strip) else line, (self._top + y) == self._at * self._height

    def _line(self, y: int) -> Strip:
        """A line of words or of pictures."""
        line = self._at_line(y)
        return (
            line.adjust_cell_length(self.line_width, self.rich_style) if isinstance(line, Strip) else super()._line(y)
        )

    def _at_line(self, y: int) -> list[Part] | Strip:
        """What stands at a line of the view."""
        block, line = divmod(self._top + y, self._height)
        return self._block(block)[line] if block < len(self._features) else []

    def _block(self, number: int) -> list[list[Part] | Strip]:
        """The lines of a feature."""
        found = self._blocks.get(number)
        if found is None:
            found = self._blocks[number] = self._told(self._features[number])
        return found

    def _told(self, one: Feature) -> list[list[Part] | Strip]:
        head: list[Part] = [(title(one), "bold")]
        if not one["pictures"]:
            return [[(bars(one, ascii_only=self._ascii_only) + "  ", "$text-muted"), *head]]
        there = columns(one, self._steps, self.line_width)
        captions: list[Part] = [((" " * GAP).join(column.caption for column in there), "$text-muted")]
        kind = kind_of(self.app, ascii_only=self._ascii_only)
        pictures = (
            [heat_map(column.pattern, kind) for column in there],
            [image(column.image, kind) for column in there],
        )
        lines = [line.apply_style(self.rich_style) for row in pictures for line in _beside(row)]
        return [head, captions, *lines, []]

    def _again(self) -> None:
        self._blocks.clear()
        self.forget()
        self._see()

    def _see(self) -> None:
        """Keep the feature at the cursor in view, and draw."""
        height, room = self._height, max(1, self.size.height)
        start = self._at * height
        self._top = max(0, min(max(self._top, start + height - room), start))
        self.changed()

    def _go(self, place: int) -> None:
        self._at = max(0, min(place, len(self._features) - 1))
        self._see()

    def on_resize(self, event: Resize) -> None:
        """Other pictures fit."""
        self._again()

    def action_open(self) -> None:
        """Open it."""
        if self._features:
            self.post_message(self.Opened(self._features[self._at]["feature"]))

    def action_down(self) -> None:
        """The next."""
        self._go(self._at + 1)

    def action_up(self) -> None:
        """The one before."""
        self._go(self._at - 1)

    def action_first(self) -> None:
        """The first."""
        self._go(0)

    def action_last(self) -> None:
        """The last."""
        self._go(len(self._features) - 1)


def _beside(pictures: Sequence[Sequence[Strip]]) -> list[Strip]:
    """The lines of pictures next to one another."""
    gap = Strip([Segment(" " * GAP)])
    return [Strip.join([part for piece in line for part in (piece, gap)]) for line in zip(*pictures, strict=True)]

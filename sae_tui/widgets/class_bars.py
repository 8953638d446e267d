"""What a feature of an image model has to do with each class: how often it fires on it, what it does to its logit."""

from collections.abc import Mapping, Sequence
from typing import Any

from textual.message import Message

from core.analysis.card import Card
from core.analysis.gallery import Gallery
from core.image_facts import CLASSES
from sae_tui import keys
from sae_tui.text import figure
from sae_tui.widgets.feature_facts import specialist
from sae_tui.widgets.line_view import LineView, Part

SWITCHED_ON, ABLATED = 1, 2
"""Of a row of `Gallery.effects`, where each effect stands."""
MEASURED = "on: to its mean where silent · ablated: to 0"
MIRRORED = str.maketrans("╸", "╺")
LABEL = 4
"""Cells before a class's bars: the cursor, the class."""


class ClassBars(LineView):
    """A line for each class under lines that say what they are. `cursor` is the class at the cursor."""

    DEFAULT_CSS = """
    ClassBars { overflow: hidden; }
    """
    BINDINGS = [*keys.bindings("classes")]

    class Opened(Message):
        """Images of this class are wanted."""

        def __init__(self, label: int) -> None:
            super().__init__()
            self.label = label

    def __init__(self, *, ascii_only: bool, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes)
        self._ascii = ascii_only
        self.cursor = 0

    def heads(self) -> Sequence[Sequence[Part]]:
        """The lines above those of the classes."""
        return ()

    def bars(self, label: int) -> Sequence[Part]:
        """What is drawn for a class."""
        raise NotImplementedError

    def action_open(self) -> None:
        """Ask for images of the class."""
        self.post_message(self.Opened(self.cursor))

    def action_down(self) -> None:
        """The next class."""
        self._go(self.cursor + 1)

    def action_up(self) -> None:
        """The class before."""
        self._go(self.cursor - 1)

    def action_first(self) -> None:
        """The first class."""
        self._go(0)

    def action_last(self) -> None:
        """The last class."""
        self._go(CLASSES - 1)

    def _go(self, label: int) -> None:
        self.cursor = max(0, min(label, CLASSES - 1))
        self.changed()

    def on_resize(self) -> None:
        """Bars of another length."""
        self.forget()

    def parts(self, y: int) -> tuple[Sequence[Part], bool]:
        """A head, or a class; as many lines are out of view at the top as the cursor needs."""
        heads = self.heads()
        at = y + max(0, len(heads) + self.cursor + 1 - self.size.height)
        if at < len(heads):
            return heads[at], False
        label = at - len(heads)
        if label >= CLASSES:
            return (), False
        here = label == self.cursor
        mark = (">" if self._ascii else "▸") if here else " "
        return [(f"{mark}{label}  ", ""), *self.bars(label)], here

    def bar(self, share: float, width: int) -> str:
        """A share from 0 to 1 as a line from the left, at most `width` cells long; the smallest is still seen."""
        halves = 0 if share <= 0 else max(1, round(share * width * 2))
        if self._ascii:
            return "=" * -(-halves // 2)
        return "━" * (halves // 2) + "╸" * (halves % 2)


class Labels(ClassBars):
    """On how many images, or places, of each class a feature is active."""

    def __init__(self, *, ascii_only: bool, id: str, classes: str) -> None:
        super().__init__(ascii_only=ascii_only, id=id, classes=classes)
        self._rows: Mapping[int, Mapping[str, Any]] = {}
        self._of = ""

    def tell(self, card: Card) -> None:
        """Show those of a feature."""
        self._rows = {int(row["category"]): row for row in card.categories}
        self._of = specialist(card.row)
        self.changed()

    def heads(self) -> Sequence[Sequence[Part]]:
        """Whether it is a specialist, and a blank line."""
        return [[(f" {self._of}", "$text-muted")], ()]

    def bars(self, label: int) -> Sequence[Part]:
        """The bar, how many, and their share of all on which it is active."""
        row = self._rows.get(label)
        if row is None:
            return [("-", "$text-disabled")]
        total = sum(one["n"] for one in self._rows.values())
        most = max(one["n"] for one in self._rows.values())
        words = f"{row['n']:>6,} {100 * row['n'] / total:>4.0f}%"
        room = max(4, self.line_width - LABEL - len(words))
        return [(self.bar(row["n"] / most, room).ljust(room), "$accent"), (words, "")]


class ClassEffects(ClassBars):
    """What a feature does to the logit of each class: where it is switched on, and where it is ablated."""

    def __init__(self, *, ascii_only: bool, id: str, classes: str) -> None:
        super().__init__(ascii_only=ascii_only, id=id, classes=classes)
        self._effects: dict[int, tuple[int, float | None, float | None]] = {}
        self._why = ""

    def tell(self, gallery: Gallery, why: str) -> None:
        """Show those of a feature; `why` there are none, where there are none."""
        self._effects, self._why = {effect[0]: effect for effect in gallery.effects}, why
        self.border_subtitle = MEASURED if self._effects else None
        self.changed()

    def parts(self, y: int) -> tuple[Sequence[Part], bool]:
        """Why there are none, or as of any classes."""
        if self._effects:
            return super().parts(y)
        middle = y == self.size.height // 2
        return ([(self._why.center(self.line_width), "$text-muted")] if middle else ()), False

    def heads(self) -> Sequence[Sequence[Part]]:
        """Which classes it promotes and suppresses most, and what the two columns of bars are."""
        columns = f"{'switched on':<{self._side}}ablated"
        return [
            self._told("switched on", SWITCHED_ON),
            self._told("ablated", ABLATED),
            [(" " * LABEL + columns, "$text-muted")],
        ]

    def _told(self, name: str, which: int) -> Sequence[Part]:
        known = [(value, label) for label, effect in self._effects.items() if (value := effect[which]) is not None]
        parts: list[Part] = [(f" {name:<12}", "$text-muted")]
        if not known:
            return [*parts, ("on no image that was measured", "")]
        (low, down), (high, up) = min(known), max(known)
        if high > 0:
            parts += [("promotes ", ""), (f"{up}", "bold $success"), (f" {high:+.2f}  ", "")]
        if low < 0:
            parts += [("suppresses ", ""), (f"{down}", "bold $error"), (f" {low:+.2f}", "")]
        return parts if len(parts) > 1 else [*parts, ("changes nothing", "")]

    @property
    def _side(self) -> int:
        """Cells of one effect: its number, the bars below and above 0, a gap."""
        return max(14, (self.line_width - LABEL) // 2)

    def bars(self, label: int) -> Sequence[Part]:
        """Two numbers, each with a bar from the middle to the left below 0, to the right above."""
        most = max(abs(v) for effect in self._effects.values() for v in effect[1:] if v is not None) or 1.0
        half = (self._side - 9) // 2
        parts: list[Part] = []
        for value in self._effects[label][1:]:
            if value is None:
                parts.append((f"{'-':>6}".ljust(self._side), "$text-disabled"))
                continue
            drawn = self.bar(abs(value) / most, half)
            parts += [
                (f"{value:>+6.2f} " if abs(value) < 100 else f"{figure(value):>6} ", ""),
                ((drawn[::-1].translate(MIRRORED) if value < 0 else "").rjust(half), "$error"),
                ("|" if self._ascii else "│", "$text-muted"),
                ((drawn if value > 0 else "").ljust(half), "$success"),
                (" " * (self._side - 8 - 2 * half), ""),
            ]
        return parts

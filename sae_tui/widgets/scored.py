"""What a classifier says of an image, class by class: baseline and steered probabilities as bars beside each other."""

from collections.abc import Sequence
from typing import Any

from core.image_facts import CLASSES
from core.image_records import ClassifiedImage, Scores
from sae_tui.text import share
from sae_tui.widgets.line_view import LineView, Part
from sae_tui.widgets.scales import bar

HEAD = 3
"""Cells before the bars: the label's mark, the class."""
SHARE = 8
"""Cells behind a bar: the probability, the mark of the class that is predicted."""
GAIN = 9
"""Cells of what an intervention adds to a logit."""
ROOMY = 64
"""Cells from which on there is room for that."""


class Scored(LineView, can_focus=False):
    """A line that says what is what, and one for each class. `▸` is the label, `◂` what is predicted."""

    DEFAULT_CSS = """
    Scored { overflow: hidden; }
    """

    def __init__(self, *, ascii_only: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._ascii = ascii_only
        self._label, self._scores = 0, (None, None)

    def tell(self, image: ClassifiedImage | None) -> None:
        """Show those of an image, or none."""
        self._label, self._scores = (image.label, (image.baseline, image.steered)) if image else (0, (None, None))
        self.changed()

    def on_resize(self) -> None:
        """Bars of another length."""
        self.forget()

    def parts(self, y: int) -> tuple[Sequence[Part], bool]:
        """One line."""
        baseline, steered = self._scores
        gain = GAIN if self.line_width >= ROOMY else 0
        width = max(2, (self.line_width - HEAD - gain) // 2 - SHARE)
        if y == 0:
            words = " " * HEAD + "baseline".ljust(width + SHARE) + "steered".ljust(width + SHARE)
            return [(words + "Δ logit".rjust(gain) * bool(gain), "$text-muted")], False
        at = y - 1
        if at >= CLASSES or baseline is None or steered is None:
            return (), False
        here = at == self._label
        parts: list[Part] = [(self._mark("▸", ">") if here else " ", "$primary"), (f"{at} ", "bold" if here else "")]
        parts += self._bar(baseline, at, width, "$text-muted")
        parts += self._bar(steered, at, width, "$accent")
        if gain:
            change = steered.logits[at] - baseline.logits[at]
            said = f"{change:+.2f}" if abs(change) < 1e4 else f"{change:+.1e}"
            parts.append((("" if abs(change) < 0.005 else said).rjust(GAIN), "$error" if change < 0 else "$success"))
        return parts, False

    def _bar(self, scores: Scores, at: int, width: int, colour: str) -> list[Part]:
        p, here = scores.probabilities[at], at == scores.predicted
        mark = self._mark("◂", "<") if here else " "
        return [
            (bar(p, width, ascii_only=self._ascii), colour),
            (f" {share(p):>5}", "bold" if here else ""),
            (f"{mark} ", "$primary"),
        ]

    def _mark(self, glyph: str, plain: str) -> str:
        return plain if self._ascii else glyph

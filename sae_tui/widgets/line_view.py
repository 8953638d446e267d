"""A view made of lines, which sends a line to the terminal only when it has changed: the ground of tables."""

from collections.abc import Sequence
from typing import Any

from textual.content import Content
from textual.geometry import Region
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.style import Style

from sae_tui.widgets.columns import runs

Part = tuple[str | Content, str]
"""A piece of a line, safe, and its style in Textual's words; `Content` has its own besides."""


class LineView(ScrollView, can_focus=True, inherit_bindings=False):
    """Lines in view, by their number from the top. A subclass says what is in each, and calls `changed`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._drawn: dict[int, Strip] = {}
        self._styles: dict[tuple[str, bool], Style] = {}

    def parts(self, y: int) -> tuple[Sequence[Part], bool]:
        """What is in a line of the view, and whether the cursor is on it."""
        raise NotImplementedError

    @property
    def line_width(self) -> int:
        """Cells of a line."""
        return self.scrollable_content_region.width

    def changed(self) -> None:
        """Send the lines again that are not as they were sent last."""
        if not self.is_attached:
            return
        regions = []
        for y in range(self.size.height):
            line = self._line(y)
            if self._drawn.get(y) != line:
                self._drawn[y] = line
                regions.append(Region(0, y, self.line_width, 1))
        if regions:
            self.refresh(*regions)

    def forget(self) -> None:
        """All lines are other ones."""
        self._drawn.clear()

    def on_focus(self) -> None:
        """The cursor shows that keys go here."""
        self.forget()

    def on_blur(self) -> None:
        """The cursor shows that keys go elsewhere."""
        self.forget()

    def notify_style_update(self) -> None:
        """Other colours."""
        self.forget()
        self._styles.clear()
        super().notify_style_update()

    def render_line(self, y: int) -> Strip:
        """One line of the view."""
        line = self._drawn.get(y)
        if line is None:
            line = self._drawn[y] = self._line(y)
        return line

    def _line(self, y: int) -> Strip:
        parts, cursor = self.parts(y)
        drawn = Strip(runs(parts, lambda name: self._style(name, cursor)))
        return drawn.adjust_cell_length(self.line_width, self._style("", cursor).rich_style)

    def _style(self, name: str, cursor: bool) -> Style:
        found = self._styles.get((name, cursor))
        if found is None:
            found = self.visual_style
            if cursor:
                found += Style.parse("bold on $panel" if self.has_focus else "bold")
            if name:
                found += Style.parse(name)
            self._styles[name, cursor] = found
        return found

"""Where a feature fires: its contexts in a list, one a row, under a heading for each band of activation."""

from collections.abc import Iterator, Sequence

from rich.segment import Segment
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from core.records import Example
from sae_tui import keys
from sae_tui.text import band_name, figure
from sae_tui.widgets.context_line import LEAST, Look, drawn


class Contexts(ScrollView, can_focus=True, inherit_bindings=False):
    """The list. `cursor` is the index of the context at hand, or None. What moves it sends two rows, no more."""

    DEFAULT_CSS = """
    Contexts { overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    Contexts > .contexts--cursor { background: $panel; }
    Contexts > .contexts--heading { color: $primary; text-style: bold; }
    Contexts > .contexts--muted { color: $text-disabled; }
    Contexts > .contexts--after { color: $text-muted; }
    """
    COMPONENT_CLASSES = {"contexts--cursor", "contexts--heading", "contexts--muted", "contexts--after"}
    BINDINGS = [b for b in keys.bindings("table") if b.id not in ("table.left", "table.right")]

    class Moved(Message):
        """The cursor is on another context, or on none any more."""

        def __init__(self, example: Example | None) -> None:
            super().__init__()
            self.example = example

    class Opened(Message):
        """The document of the context at hand is wanted."""

        def __init__(self, example: Example) -> None:
            super().__init__()
            self.example = example

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._examples: list[Example] = []
        self._rows: list[int | str] = []
        """A heading, or the index of an example."""
        self._most = 1.0
        self._ids = False
        self._row = 0
        self._drawn: dict[int, Strip] = {}

    @property
    def cursor(self) -> int | None:
        """The index of the context at hand among those shown."""
        row = self._rows[self._row] if self._row < len(self._rows) else ""
        return row if isinstance(row, int) else None

    @property
    def count(self) -> int:
        """How many contexts are shown."""
        return len(self._examples)

    @property
    def example(self) -> Example | None:
        """The context at hand."""
        return None if self.cursor is None else self._examples[self.cursor]

    @property
    def ids(self) -> bool:
        """Whether tokens show as their ids."""
        return self._ids

    @ids.setter
    def ids(self, ids: bool) -> None:
        self._ids = ids
        self._repaint()

    def show(self, examples: Sequence[Example], *, most: float, bands: int) -> None:
        """Show these, which are sorted by band; `most` is the feature's largest activation, `bands` how many there are.

        The cursor goes to the first.
        """
        self._examples, self._most = list(examples), most or 1.0
        self._rows = list(self._headed(bands))
        self._row = next((i for i, row in enumerate(self._rows) if isinstance(row, int)), 0)
        self.virtual_size = Size(0, len(self._rows))
        self.scroll_to(y=0, animate=False, force=True)
        self._repaint()
        self.post_message(self.Moved(self.example))

    def seek(self, wanted: Sequence[Example]) -> bool:
        """Put the cursor on the first of these that comes after it, or else on the first; whether there is one."""
        rows = [i for i, row in enumerate(self._rows) if isinstance(row, int) and self._examples[row] in wanted]
        if rows:
            self._go(next((i for i in rows if i > self._row), rows[0]))
        return bool(rows)

    def _headed(self, bands: int) -> Iterator[int | str]:
        band = None
        for index, example in enumerate(self._examples):
            if example.band != band:
                band = example.band
                shown = sum(e.band == band for e in self._examples)
                yield f"{band_name(band)}: {interval(band, bands, self._most, shown)}"
            yield index

    def action_open(self) -> None:
        """Ask for the document."""
        if self.example is not None:
            self.post_message(self.Opened(self.example))

    def action_down(self) -> None:
        """To the next."""
        self._go(self._row + 1)

    def action_up(self) -> None:
        """To the one before."""
        self._go(self._row - 1, up=True)

    def action_first(self) -> None:
        """To the first."""
        self._go(0)

    def action_last(self) -> None:
        """To the last."""
        self._go(len(self._rows) - 1, up=True)

    def action_half_down(self) -> None:
        """Half a view further."""
        self._go(self._row + self._height // 2)

    def action_half_up(self) -> None:
        """Half a view back."""
        self._go(self._row - self._height // 2, up=True)

    def action_page_down(self) -> None:
        """A view further."""
        self._go(self._row + self._height)

    def action_page_up(self) -> None:
        """A view back."""
        self._go(self._row - self._height, up=True)

    @property
    def _width(self) -> int:
        return self.scrollable_content_region.width

    @property
    def _height(self) -> int:
        return max(1, self.size.height)

    def _go(self, row: int, *, up: bool = False) -> None:
        """To a row; from a heading on to the next context, or `up` to the one before, or back where there is none."""
        if not self._rows:
            return
        row = max(0, min(row, len(self._rows) - 1))
        onward = range(row, -1, -1) if up else range(row, len(self._rows))
        back = range(row, len(self._rows)) if up else range(row, -1, -1)
        found = next((i for i in [*onward, *back] if isinstance(self._rows[i], int)), None)
        if found is None or found == self._row:
            return
        before, self._row = self._row, found
        top = round(self.scroll_y)
        first = found - isinstance(self._rows[found - 1], str)  # its heading comes along
        if first < top or found >= top + self._height:
            # half a view at once: a row at a time would send the whole view again each time
            self.scroll_to(y=first - self._height // 2, animate=False, force=True)
        self._redraw(before)
        self._redraw(found)
        self.post_message(self.Moved(self.example))

    def _redraw(self, row: int) -> None:
        self._drawn.pop(row, None)
        self.refresh(Region(0, row - round(self.scroll_y), self._width, 1))

    def _repaint(self) -> None:
        self._drawn.clear()
        self.refresh()

    def on_resize(self) -> None:
        """Cut anew."""
        self._drawn.clear()
        top = round(self.scroll_y)
        if not top <= self._row < top + self._height:
            self.scroll_to(y=self._row - self._height // 2, animate=False, force=True)

    def on_focus(self) -> None:
        """The cursor's row shows that keys go here."""
        self._redraw(self._row)

    def on_blur(self) -> None:
        """The cursor's row shows that keys go elsewhere."""
        self._redraw(self._row)

    def notify_style_update(self) -> None:
        """Other colours."""
        self._drawn.clear()
        super().notify_style_update()

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor; one on the row at hand opens it."""
        offset = event.get_content_offset(self)
        row = -1 if offset is None else offset.y + round(self.scroll_y)
        if row == self._row:
            self.action_open()
        elif 0 <= row < len(self._rows):
            self._go(row)

    def render_line(self, y: int) -> Strip:
        """One row of the view."""
        row = y + round(self.scroll_y)
        if row >= len(self._rows) or self._width < LEAST:
            return Strip.blank(self._width, self.rich_style)
        if row not in self._drawn:
            what = self._rows[row]
            line = self._heading(what) if isinstance(what, str) else self._line(self._examples[what], row == self._row)
            line = line.adjust_cell_length(self._width)
            base = self.rich_style
            if row == self._row and self.has_focus:
                base += self.get_component_rich_style("contexts--cursor", partial=True)
            self._drawn[row] = line.apply_style(base).simplify()
        return self._drawn[row]

    def _line(self, example: Example, at_cursor: bool) -> Strip:
        look = Look(
            app=self.app,
            most=self._most,
            ids=self._ids,
            muted=self.get_component_rich_style("contexts--muted", partial=True),
            after=self.get_component_rich_style("contexts--after", partial=True),
        )
        return drawn(example, self._width, look, at_cursor=at_cursor)

    def _heading(self, text: str) -> Strip:
        rule = "─" * max(0, self._width - len(text) - 6)
        name, colon, rest = text.partition(":")
        muted = self.get_component_rich_style("contexts--muted", partial=True)
        heading = self.get_component_rich_style("contexts--heading", partial=True)
        return Strip([
            Segment("── ", muted), Segment(name, heading), Segment(f"{colon}{rest} {rule}", muted),
        ])  # fmt: skip


def interval(band: int, bands: int, most: float, shown: int) -> str:
    """What a band holds: `the 20 strongest`, or `30.2 to 40.1 of 40.1`."""
    if band == 0:
        return f"the {shown} strongest" if shown > 1 else "the strongest"
    if band > bands:
        return f"{shown} places"
    low, high = most * (bands - band) / bands, most * (bands - band + 1) / bands
    return f"activation {figure(low)} to {figure(high)} of {figure(most)}"

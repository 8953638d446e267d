"""Images on which a feature is active, side by side under a heading for each band of activation.

Each stands under its label, what the classifier takes it for where that is another class, and the activation. Whole
images where four of them are in view, else (or with `-`) each at half its size.
"""

from collections.abc import Callable, Sequence

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from core.analysis.gallery import SIDE, Seen
from sae_tui import keys
from sae_tui.pictures import Grid, halved, scaled
from sae_tui.text import band_name, figure
from sae_tui.widgets.contexts import interval
from sae_tui.widgets.picture import heat_map, image, kind_of, smaller
from sae_tui.widgets.shelves import Shelves

GAP = 2
"""Cells between two pictures."""
ENOUGH = 4
"""With fewer whole images in view they are drawn at half their size."""
Tile = Seen | Grid
"""An image, or a heat map of what is read from images."""


class Gallery(ScrollView, can_focus=True, inherit_bindings=False):
    """The pictures. A move of the cursor sends two captions, no more."""

    DEFAULT_CSS = """
    Gallery { overflow-x: hidden; overflow-y: scroll; scrollbar-size-vertical: 1; }
    Gallery > .gallery--cursor { background: $panel; text-style: bold; }
    Gallery > .gallery--heading { color: $primary; text-style: bold; }
    Gallery > .gallery--muted { color: $text-muted; }
    Gallery > .gallery--wrong { color: $error; }
    """
    COMPONENT_CLASSES = {"gallery--cursor", "gallery--heading", "gallery--muted", "gallery--wrong"}
    BINDINGS = [*keys.bindings("gallery")]

    class Moved(Message):
        """The cursor is on another image, or on none."""

        def __init__(self, seen: Seen | None) -> None:
            super().__init__()
            self.seen = seen

    class Opened(Moved):
        """What is known of the image at the cursor is wanted."""

    def __init__(self, *, ascii_only: bool, small: bool | None = None, id: str | None = None) -> None:
        """`small`: at half their size or not; None: as there is room."""
        super().__init__(id=id)
        self._ascii, self.small = ascii_only, small
        self._tiles: list[Tile] = []
        self._shelves = Shelves((), None, 1, 1)
        self._heading_of: Callable[[int, int], str] | None = None
        self._laid_out = (0, 0)
        self._cursor = 0
        self._pictures: dict[int, list[Strip]] = {}
        self._drawn: dict[int, Strip] = {}

    @property
    def images(self) -> list[Seen]:
        """What it shows, heat maps aside."""
        return [tile for tile in self._tiles if isinstance(tile, Seen)]

    @property
    def seen(self) -> Seen | None:
        """The image at the cursor."""
        tile = self._tiles[self._cursor] if self._tiles else None
        return tile if isinstance(tile, Seen) else None

    def show(self, tiles: Sequence[Tile], *, most: float | None = None, bands: int = 0) -> None:
        """Show these, images sorted by band; under headings, where a feature's largest activation `most` is given."""
        self._tiles, self._cursor = list(tiles), 0
        self._heading_of = None
        if most is not None:
            self._heading_of = lambda band, shown: f"{band_name(band)}: {interval(band, bands, most or 1.0, shown)}"
        self._lay_out()
        self.post_message(self.Moved(self.seen))

    def seek(self, fits: Callable[[Seen], bool]) -> bool:
        """Put the cursor on the next image that `fits`, from the first again after the last; whether there is one."""
        order = [*range(self._cursor + 1, len(self._tiles)), *range(self._cursor + 1)][: len(self._tiles)]
        for index in order:
            tile = self._tiles[index]
            if isinstance(tile, Seen) and fits(tile):
                self._go(index)
                return True
        return False

    def action_open(self) -> None:
        """Ask what is known of it."""
        if self.seen is not None:
            self.post_message(self.Opened(self.seen))

    def action_left(self) -> None:
        """To the one before."""
        self._go(self._cursor - 1)

    def action_right(self) -> None:
        """To the next."""
        self._go(self._cursor + 1)

    def action_down(self) -> None:
        """To the one below."""
        self._row(1)

    def action_up(self) -> None:
        """To the one above."""
        self._row(-1)

    def action_page_down(self) -> None:
        """A view further."""
        self._row(max(1, self._height // (self._high + 1)))

    def action_page_up(self) -> None:
        """A view back."""
        self._row(-max(1, self._height // (self._high + 1)))

    def action_first(self) -> None:
        """To the first."""
        self._go(0)

    def action_last(self) -> None:
        """To the last."""
        self._go(len(self._tiles) - 1)

    def action_larger(self) -> None:
        """Whole images."""
        self._draw_small(False)

    def action_smaller(self) -> None:
        """Images of half the size."""
        self._draw_small(True)

    def _draw_small(self, small: bool) -> None:
        if small != self._is_small:
            self.small = small
            self._lay_out()

    @property
    def _is_small(self) -> bool:
        if self.small is not None:
            return self.small
        return (self._width + GAP) // (SIDE + GAP) * ((self._height - 1) // (SIDE // 2 + 1)) < ENOUGH

    @property
    def _wide(self) -> int:
        return SIDE // 2 if self._is_small else SIDE

    @property
    def _high(self) -> int:
        return self._wide // 2

    @property
    def _width(self) -> int:
        return self.scrollable_content_region.width

    @property
    def _height(self) -> int:
        return max(1, self.size.height)

    def _lay_out(self) -> None:
        """Cut into rows anew, the cursor in view."""
        self._pictures.clear()
        self._laid_out = self._width, self._height
        groups = [tile.band if isinstance(tile, Seen) else 0 for tile in self._tiles]
        columns = max(1, (self._width + GAP) // (self._wide + GAP))
        self._shelves = Shelves(groups, self._heading_of, columns, self._high + 1)
        self.virtual_size = Size(0, self._shelves.height)
        self._drawn.clear()
        self._keep_in_view()
        self.refresh()

    def _row(self, by: int) -> None:
        if self._tiles:
            self._go(self._shelves.further(self._cursor, by))

    def _go(self, index: int) -> None:
        index = max(0, min(index, len(self._tiles) - 1))
        if not self._tiles or index == self._cursor:
            return
        before, self._cursor = self._cursor, index
        self._keep_in_view()
        for changed in (before, index):
            self._redraw(changed)
        self.post_message(self.Moved(self.seen))

    def _keep_in_view(self) -> None:
        """All of the tile at the cursor, with the heading above it; from there on, where it was not."""
        if self._tiles:
            first, end = self._shelves.span(self._cursor)
            top = round(self.scroll_y)
            if first < top or end > top + self._height:
                self.scroll_to(y=first, animate=False, force=True)

    def _redraw(self, index: int) -> None:
        """The caption of a tile."""
        if self._tiles:
            y, column = self._shelves.place(index)
            self._drawn.pop(y, None)
            self.refresh(Region(column * (self._wide + GAP), y - round(self.scroll_y), self._wide, 1))

    def on_resize(self) -> None:
        """Another size has room for other rows."""
        if (self._width, self._height) != self._laid_out:
            self._lay_out()

    def on_focus(self) -> None:
        """The cursor shows that keys go here."""
        self._redraw(self._cursor)

    def on_blur(self) -> None:
        """The cursor shows that keys go elsewhere."""
        self._redraw(self._cursor)

    def notify_style_update(self) -> None:
        """Other colours."""
        self._drawn.clear()
        super().notify_style_update()

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor; one on the image at hand opens it."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        y, column = offset.y + round(self.scroll_y), offset.x // (self._wide + GAP)
        if y < self._shelves.height:
            block, _ = self._shelves.at(y)
            if not isinstance(block, str) and column < len(block):
                if block[column] == self._cursor:
                    self.action_open()
                self._go(block[column])

    def render_line(self, y: int) -> Strip:
        """One line of the view."""
        y += round(self.scroll_y)
        if y not in self._drawn:
            self._drawn[y] = self._line(y).adjust_cell_length(self._width, self.rich_style)
        return self._drawn[y]

    def _line(self, y: int) -> Strip:
        base = self.rich_style
        if y >= self._shelves.height:
            return Strip.blank(self._width, base)
        block, line = self._shelves.at(y)
        if isinstance(block, str):
            return self._heading(block).apply_style(base)
        parts = [self._picture(tile)[line - 1] if line else self._caption(tile).apply_style(base) for tile in block]
        return Strip.join([part for one in parts for part in (one, Strip.blank(GAP, base))])

    def _picture(self, index: int) -> list[Strip]:
        if index not in self._pictures:
            tile, kind = self._tiles[index], kind_of(self.app, ascii_only=self._ascii)
            if isinstance(tile, Seen):
                grid = smaller(tile.pixels) if self._is_small else tile.pixels
                self._pictures[index] = image(grid, kind, scaled(tile.fires))
            else:
                self._pictures[index] = heat_map(scaled(halved(tile) if self._is_small else tile), kind)
        return self._pictures[index]

    def _caption(self, index: int) -> Strip:
        tile = self._tiles[index]
        style = self._styled("cursor") if index == self._cursor and self.has_focus else Style()
        parts = [Segment((">" if self._ascii else "▸") if index == self._cursor else " ", style + Style(bold=True))]
        if isinstance(tile, Seen):
            parts += [
                Segment(str(tile.label), style + Style(bold=True)),
                Segment(self._wrong(tile), self._styled("wrong") + style),
            ]
            value = figure(tile.value)
        else:
            parts, value = [*parts, Segment("reads", self._styled("muted") + style)], ""
        room = self._wide - sum(part.cell_length for part in parts) - len(value)
        return Strip([*parts, Segment(" " * room, style), Segment(value, self._styled("muted") + style)])

    def _wrong(self, seen: Seen) -> str:
        """What the classifier takes it for, where that is not what it is."""
        if seen.predicted in (None, seen.label):
            return ""
        return f"{'>' if self._ascii else '→'}{seen.predicted}" if self._is_small else f", taken for {seen.predicted}"

    def _styled(self, name: str) -> Style:
        return self.get_component_rich_style(f"gallery--{name}", partial=True)

    def _heading(self, text: str) -> Strip:
        rule = ("-" if self._ascii else "─") * 2
        name, colon, rest = text.partition(":")
        muted = self._styled("muted")
        return Strip([
            Segment(rule + " ", muted), Segment(name, self._styled("heading")), Segment(f"{colon}{rest} ", muted),
            Segment(rule[0] * max(0, self._width - len(text) - 4), muted),
        ])  # fmt: skip

"""A form: rows of a name, something to type in or to choose from, and what is to be said of it.

Knows no configuration: a row is told its name, its choices and its help, and what is wrong with it is put beside it by
whoever knows. A text keeps what was typed, right or wrong. One widget for all of it, which sends only the lines that
changed: fifty widgets would take the event loop most of a second to set up, and each key a layout.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style as RichStyle
from textual.events import Click, Key, Paste
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.style import Style

from sae_tui import keys
from sae_tui.text import safe, shortened

LABEL = 28
"""Cells of a row's name."""
LEAST_NOTE = 20
"""Cells without which a note is left out; what is wrong never is."""
FIELD = 36, 28
"""Cells of what is typed or chosen, in a form of 90 cells and more, and in a narrower one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row, as a form is asked for it."""

    name: str
    label: str
    choices: Sequence[str] = ()
    """Where it is not empty, one of these is chosen; else text is typed."""
    note: str = ""
    """Said beside it while nothing is wrong."""
    help: str = ""
    """Said in full, by whoever has the form, while one is in the row."""
    placeholder: str = ""
    """What empty means."""
    only: Sequence[str] = ()
    """The architectures that have a use for it; empty: all."""


class Row:
    """One row as it stands."""

    def __init__(self, entry: Entry, value: str, *, group: str = "") -> None:
        """`group`: rows of one are shown and hidden together, under a heading."""
        self.entry, self.value, self.group = entry, value, group
        self.wrong = self.doubt = ""
        self.place = len(value)
        """Where one types, in characters."""


class Form(ScrollView, can_focus=True, inherit_bindings=False):
    """The rows. Posts Changed as one types or chooses, and Entered where one comes to another row."""

    BINDINGS = [*keys.bindings("choice")]
    DEFAULT_CSS = "Form { overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }"

    class Changed(Message):
        """A row's value is another one, by a person's hand."""

        def __init__(self, row: Row) -> None:
            super().__init__()
            self.row = row

    class Entered(Message):
        """One is in another row."""

        def __init__(self, row: Row) -> None:
            super().__init__()
            self.row = row

    def __init__(self, rows: Iterable[Row], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows = {row.entry.name: row for row in rows}
        self._headings: dict[str, str] = {}
        self._wanted: Callable[[Row], bool] = lambda _: True
        self._shown: list[Row | str] = list(self._rows.values())
        self._at = next(iter(self._rows.values()))
        self._drawn: dict[int, Strip] = {}
        self._styles: dict[str, RichStyle] = {}

    # What stands in it.

    @property
    def at(self) -> Row:
        """The row one is in."""
        return self._at

    def row(self, name: str) -> Row | None:
        """The row of that name."""
        return self._rows.get(name)

    def value(self, name: str) -> str:
        """What stands in a row; nothing where there is none."""
        row = self._rows.get(name)
        return row.value if row else ""

    def shown(self) -> list[Row]:
        """The rows that are shown, in order."""
        return [item for item in self._shown if isinstance(item, Row)]

    def add(self, rows: Iterable[Row], headings: Mapping[str, str]) -> None:
        """More rows at the end, and what stands above the first of each group."""
        self._rows |= {row.entry.name: row for row in rows}
        self._headings |= headings
        self.filter(self._wanted)

    def filter(self, wanted: Callable[[Row], bool]) -> None:
        """Show the rows that are wanted."""
        self._wanted = wanted
        shown: list[Row | str] = []
        group = ""
        for row in self._rows.values():
            if wanted(row):
                if row.group != group and row.group in self._headings:
                    shown += ["", self._headings[row.group]]
                group = row.group
                shown.append(row)
        if shown != self._shown:
            self._shown = shown
            self.virtual_size = Size(0, len(shown))
            if self._at not in shown and shown:
                self.go_to(next(item for item in shown if isinstance(item, Row)))
        self._send()

    def put(self, texts: Mapping[str, str]) -> None:
        """Other values in these rows."""
        for name, text in texts.items():
            row = self._rows.get(name)
            if row is not None and row.value != text:
                row.value, row.place = text, len(text)
        self._send()

    def say(self, wrong: Mapping[str, str], doubts: Mapping[str, str]) -> None:
        """What is wrong, and what is doubtful, by the names of rows."""
        for name, row in self._rows.items():
            row.wrong, row.doubt = wrong.get(name, ""), doubts.get(name, "")
        self._send()

    def step(self, rows: int) -> None:
        """So many rows on, or back."""
        shown = self.shown()
        self.go_to(shown[max(0, min(shown.index(self._at) + rows, len(shown) - 1))])

    def go_to(self, row: Row) -> None:
        """To a row."""
        self._at = row
        y, height = self._shown.index(row), self.size.height
        if not self._top <= y < self._top + height:  # half a view at once: a scroll sends all of it
            self.scroll_to(y=max(0, y - height // 2), animate=False, force=True)
        self._send()
        self.post_message(self.Entered(row))

    # Typing and choosing.

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """Whether a key is typed, and so none of those that do something."""
        return not self._at.entry.choices and character is not None and character.isprintable()

    def on_key(self, event: Key) -> None:
        """What is typed, and the keys that every line of text has."""
        row = self._at
        if row.entry.choices:
            return
        if event.is_printable and event.character:
            self._type(event.character)
        elif event.key == "enter":
            self.step(1)
        elif (edit := EDITS.get(event.key)) is not None:
            before = row.value
            row.value, row.place = edit(row.value, row.place)
            self._edited(row, before)
        else:
            return
        event.stop()
        event.prevent_default()

    def on_paste(self, event: Paste) -> None:
        """The first line of what is pasted, made safe."""
        event.stop()
        if not self._at.entry.choices and event.text:
            self._type(event.text.splitlines()[0])

    def on_click(self, event: Click) -> None:
        """To the row; in a choice that one is in already, the next one."""
        y = self._top + event.y - self.content_offset.y
        item = self._shown[y] if 0 <= y < len(self._shown) else None
        if isinstance(item, Row):
            if item is self._at and item.entry.choices:
                self._choose(1)
            self.go_to(item)

    def action_next(self) -> None:
        """The next choice."""
        self._choose(1)

    def action_previous(self) -> None:
        """The choice before."""
        self._choose(-1)

    def _type(self, text: str) -> None:
        row, before, text = self._at, self._at.value, safe(text)
        row.value = before[: row.place] + text + before[row.place :]
        row.place += len(text)
        self._edited(row, before)

    def _choose(self, step: int) -> None:
        row, choices = self._at, list(self._at.entry.choices)
        if choices:
            before = row.value
            at = choices.index(before) if before in choices else -1 if step > 0 else 0
            row.value = choices[(at + step) % len(choices)]
            self._edited(row, before)

    def _edited(self, row: Row, before: str) -> None:
        self._send()
        if row.value != before:
            self.post_message(self.Changed(row))

    # Drawing.

    @property
    def _top(self) -> int:
        return round(self.scroll_y)

    def on_resize(self) -> None:
        """Another size; one stays in the row."""
        self._drawn.clear()
        self.virtual_size = Size(0, len(self._shown))
        if self._at in self._shown:
            self.go_to(self._at)

    def on_focus(self) -> None:
        """The row one is in is marked."""
        self._drawn.clear()

    def on_blur(self) -> None:
        """No row is."""
        self._drawn.clear()

    def notify_style_update(self) -> None:
        """Other colours."""
        self._drawn.clear()
        self._styles.clear()
        super().notify_style_update()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Other rows are in view."""
        if self.show_vertical_scrollbar:
            self.vertical_scrollbar.position = new_value
        if round(old_value) != round(new_value):
            self._send()

    def _send(self) -> None:
        if not self.is_attached or not self.size:
            return
        regions = []
        for y in range(self.size.height):
            line = self._line(y)
            if self._drawn.get(y) != line:
                self._drawn[y] = line
                regions.append(Region(0, y, self.size.width, 1))
        if regions:
            self.refresh(*regions)

    def render_line(self, y: int) -> Strip:
        """One line of the view."""
        line = self._drawn.get(y)
        if line is None:
            line = self._drawn[y] = self._line(y)
        return line

    def _line(self, y: int) -> Strip:
        index, width = self._top + y, self.scrollable_content_region.width
        item = self._shown[index] if index < len(self._shown) else ""
        if isinstance(item, str):
            name, _, about = item.partition("  ")
            parts = [(name, "bold"), (f"  {about}", "$text-muted")]
        else:
            parts = self._row_parts(item, width)
        strip = Strip([Segment(text, self._style(style)) for text, style in parts if text])
        return strip.adjust_cell_length(self.size.width, self._style(""))

    def _row_parts(self, row: Row, width: int) -> list[tuple[str, str]]:
        here = row is self._at and self.has_focus
        ink = "bold $primary" if here else "$error" if row.wrong else "$text-muted"
        field = FIELD[width < 90]
        room = max(0, width - LABEL - field - 2)
        if row.wrong:
            note = (f"✗ {safe(row.wrong)}", "$error")
        elif row.doubt:
            note = (f"? {safe(row.doubt)}", "$warning")
        else:
            note = (safe(row.entry.note) if room >= LEAST_NOTE else "", "$text-disabled")
        value = _choice_parts(row, here) if row.entry.choices else _text_parts(row, here, field - 3)
        filled = field - sum(cell_len(text) for text, _ in value)
        ground = "" if row.entry.choices else "on $boost" if here else "on $panel"
        return [
            (_fit(safe(row.entry.label), LABEL), ink), *value, (" " * filled, ground),
            ("  ", ""), (shortened(note[0], room), note[1]),
        ]  # fmt: skip

    def _style(self, name: str) -> RichStyle:
        found = self._styles.get(name)
        if found is None:
            style = self.visual_style + Style.parse(name) if name else self.visual_style
            found = self._styles[name] = style.rich_style
        return found


def _choice_parts(row: Row, here: bool) -> list[tuple[str, str]]:
    arrow = "$accent" if here else "$text-disabled"
    return [("‹ ", arrow), (safe(row.value), "bold" if here else ""), (" ›", arrow)]


def _text_parts(row: Row, here: bool, room: int) -> list[tuple[str, str]]:
    """The text, as much of it as there is room for about the place where one types."""
    ground = "on $boost" if here else "on $panel"
    text, place = safe(row.value), row.place
    if not text and not here:
        return [("  ", ground), (shortened(safe(row.entry.placeholder), room), f"$text-disabled {ground}")]
    start = 0
    while cell_len(text[start : place + 1]) > room:
        start += 1
    if not here:
        return [("  ", ground), (shortened(text, room), ground)]
    under = text[place : place + 1] or " "
    after = text[place + 1 :]
    while cell_len(text[start:place] + under + after) > room + 1:
        after = after[:-1]
    return [("  ", ground), (text[start:place], ground), (under, f"reverse {ground}"), (after, ground)]


def _fit(text: str, width: int) -> str:
    cut = shortened(text, width - 1)
    return cut + " " * (width - cell_len(cut))


def _word_before(text: str, place: int) -> tuple[str, int]:
    kept = text[:place].rstrip(" ./-_")
    cut = max((kept.rfind(c) for c in " ./-_"), default=-1) + 1
    return text[:cut] + text[place:], cut


EDITS: Mapping[str, Callable[[str, int], tuple[str, int]]] = {
    "left": lambda text, place: (text, max(0, place - 1)),
    "right": lambda text, place: (text, min(len(text), place + 1)),
    "home": lambda text, place: (text, 0),
    "end": lambda text, place: (text, len(text)),
    "backspace": lambda text, place: (text[: max(0, place - 1)] + text[place:], max(0, place - 1)),
    "delete": lambda text, place: (text[:place] + text[place + 1 :], place),
    "ctrl+u": lambda text, place: (text[place:], 0),
    "ctrl+k": lambda text, place: (text[:place], place),
    "ctrl+w": _word_before,
}
"""Keys of a line of text: from what stands there and the place where one types to what stands there then."""

"""The first and the last line of every screen: where one is, and which keys work here."""

from collections.abc import Callable
from typing import Any

from rich.cells import cell_len
from textual.binding import ActiveBinding
from textual.content import Content
from textual.events import Click
from textual.widget import Widget

from sae_tui import keys
from sae_tui.text import STATES, safe, shortened

MODES = ("runs", "train", "features", "steer", "sql")


def state(name: str, *, word: bool = True) -> Content:
    """A session's state as glyph and word."""
    glyph, colour = STATES.get(name, ("·", "text-muted"))
    return Content.styled(f"{glyph} {safe(name)}" if word else glyph, f"${colour}")


class Line(Widget):
    """One line of text, or several where its style lets it grow; sent to the terminal only when it changes."""

    DEFAULT_CSS = "Line { height: 1; }"

    def __init__(self, content: Content | str = "", *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._content = content if isinstance(content, Content) else Content(content)

    @property
    def content(self) -> Content:
        """What it shows."""
        return self._content

    def show(self, content: Content | str) -> None:
        """Show another line; the same one costs nothing. A plain string is made safe."""
        content = content if isinstance(content, Content) else Content(safe(content))
        if not content.is_same(self._content):
            self._content = content
            self.refresh(layout=self.styles.auto_dimensions)

    def render(self) -> Content:
        """The line."""
        return self._content


class Ends(Line):
    """Words at both ends of a line; those at the left are shortened to the room there is."""

    _ends = "", ""

    def tell(self, left: str, right: str) -> None:
        """Show these, both safe."""
        self._ends = left, right
        self.on_resize()

    def on_resize(self) -> None:
        """Another width has room for other words."""
        left, right = self._ends
        left = shortened(left, max(0, self.size.width - cell_len(right) - 2))
        gap = max(1, self.size.width - cell_len(left) - cell_len(right))
        self.show(Content(f"{left}{' ' * gap}{right}"))


class TitleBar(Line):
    """The modes, the one at hand marked; at the right the session and what runs."""

    def __init__(self, mode: str) -> None:
        super().__init__(id="title")
        self._mode = mode
        self._session = ""
        self._jobs = 0

    def tell(self, session: str, running: int) -> None:
        """Which session is at hand, and how many jobs run."""
        self._session, self._jobs = session, running
        self._draw()

    def on_resize(self) -> None:
        """Another width."""
        self._draw()

    def on_click(self, event: Click) -> None:
        """A click on a mode's name goes there."""
        place = 0
        for number, mode in enumerate(MODES, 1):
            width = len(f" {number} {mode.title()} ")
            if place <= event.x < place + width:
                self.app.call_later(self.app.run_action, f"app.{mode}")
            place += width

    def _draw(self) -> None:
        parts: list[Any] = []
        for number, mode in enumerate(MODES, 1):
            name = mode.upper() if mode == "sql" else mode.title()
            here = mode == self._mode
            parts.append((f" {number} {name} ", "bold $background on $primary" if here else "$text-muted"))
        left = Content.assemble(*parts)
        running = f"● {self._jobs} running" if self._jobs else ""
        room = self.size.width - left.cell_length - len(running) - 3
        session = shortened(safe(self._session), max(0, room))
        right = Content.assemble(
            (session, "bold"), "  " if running else " ", (running, "$success"), " " if running else ""
        )
        gap = max(1, self.size.width - left.cell_length - right.cell_length)
        self.show(Content.assemble(left, " " * gap, right))


class KeyBar(Line):
    """The keys that work here, as many as fit, and always that of the help, which is another where one types."""

    def __init__(self, unsuited: Callable[[], frozenset[str]]) -> None:
        """`unsuited` gives the ids of actions to leave out."""
        super().__init__(id="keys")
        self._unsuited = unsuited

    def on_mount(self) -> None:
        """Follow what is bound."""
        self.screen.bindings_updated_signal.subscribe(self, lambda _screen: self._draw())
        self._draw()

    def on_resize(self) -> None:
        """Another width."""
        self._draw()

    def _draw(self) -> None:
        if not self.is_attached:
            return
        active = self.screen.active_bindings
        drawn: list[Content] = []
        help_ = _one(_help(active), "help")
        room = self.size.width - help_.cell_length - 1
        for keys_, label in _shown(active, self._unsuited()):
            item = _one(keys_, label)
            if item.cell_length > room:
                break
            room -= item.cell_length
            drawn.append(item)
        self.show(Content.assemble(*drawn, help_))


class DialogKeys(Line):
    """The keys of a dialog over those of the screen behind it, none of which works meanwhile."""

    def __init__(self, *shown: tuple[str, str]) -> None:
        """`shown` are keys as a person reads them, each with a word or two."""
        super().__init__(Content.assemble(*(_one(key, label) for key, label in shown)), id="keys")


def _one(key: str, label: str) -> Content:
    return Content.assemble(" ", (key, "bold $accent"), " ", (label, "$text-muted"), " ")


def _help(active: dict[str, ActiveBinding]) -> str:
    """The first of the keys of the help that is not taken as text."""
    return keys.shown_keys([key for key, bound in active.items() if bound.binding.id == "app.help"][:1])


def _shown(active: dict[str, ActiveBinding], unsuited: frozenset[str]) -> list[tuple[str, str]]:
    """Keys and label of each action that is active and shown, in the registry's order, of the focus first."""
    found: dict[str, list[str]] = {}
    for key, (_node, binding, enabled, _tooltip) in active.items():
        if binding.id and binding.show and enabled and binding.id not in unsuited:
            found.setdefault(binding.id, []).append(key)
    order = {action.id: place for place, action in enumerate(keys.ACTIONS)}
    ids = sorted((i for i in found if i in order and not i.startswith("app.")), key=lambda i: order[i])
    actions = {action.id: action for action in keys.ACTIONS}
    # The first of the registry's: `tab`, which every screen has, comes before a screen's own keys.
    first = {i: next((key for key in actions[i].keys.split(",") if key in found[i]), found[i][0]) for i in ids}
    return [(keys.shown_keys([first[i]]), actions[i].label) for i in ids]

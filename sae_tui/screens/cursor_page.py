"""What the map and the heat map share: a page over Features with a cursor that moves over cells, and rests."""

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from textual.timer import Timer

from sae_tui.screens.page import Page

QUIET_S = 0.12
"""How long moving or resizing rests before the database is asked."""


class Cells(Protocol):
    """A widget with a cursor."""

    def move(self, across: int, down: int) -> None:
        """The cursor so many cells on."""
        ...

    def step(self, by: int) -> None:
        """The cursor so many on, in the widget's own order."""
        ...


class CursorPage(Page):
    """Left with what was chosen, or None."""

    FAR: ClassVar[tuple[int, int]]
    """Cells across, and down, of a long way."""

    def __init__(self) -> None:
        super().__init__()
        self._put_off: dict[str, Timer] = {}

    @property
    def _map(self) -> Cells:
        raise NotImplementedError

    def _later(self, name: str, act: Callable[[], Any]) -> None:
        """Do it once nothing of that name was asked for in a while."""
        if name in self._put_off:
            self._put_off[name].stop()
        self._put_off[name] = self.set_timer(QUIET_S, act)

    def action_leave(self) -> None:
        """Back, to what was listed."""
        self.minimize() if self.maximized is not None else self.dismiss(None)

    def action_next(self) -> None:
        """The next in order."""
        self._map.step(1)

    def action_previous(self) -> None:
        """The one before."""
        self._map.step(-1)

    def action_left(self) -> None:
        """A cell to the left."""
        self._map.move(-1, 0)

    def action_right(self) -> None:
        """A cell to the right."""
        self._map.move(1, 0)

    def action_up(self) -> None:
        """A row up."""
        self._map.move(0, -1)

    def action_down(self) -> None:
        """A row down."""
        self._map.move(0, 1)

    def action_far_left(self) -> None:
        """Far to the left."""
        self._map.move(-self.FAR[0], 0)

    def action_far_right(self) -> None:
        """Far to the right."""
        self._map.move(self.FAR[0], 0)

    def action_far_up(self) -> None:
        """Far up."""
        self._map.move(0, -self.FAR[1])

    def action_far_down(self) -> None:
        """Far down."""
        self._map.move(0, self.FAR[1])

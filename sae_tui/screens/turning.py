"""A screen of panes that are all seen where there is room, and one after another where there is not.

A subclass names them in PANES, by their ids; its stylesheet shows in a narrow terminal that with the class `-here`, for
which the screen has a class too, `-at-NAME`.
"""

from textual.content import Content
from textual.events import DescendantFocus
from textual.message import Message
from textual.widget import Widget

from sae_tui.screens.page import Page
from sae_tui.widgets.rows import Rows


class Told(Rows, can_focus=True):
    """Lines in a pane, which can have the focus so that it can be zoomed."""

    class Sized(Message):
        """It has another size."""

    def on_resize(self) -> None:
        """Say so."""
        self.post_message(self.Sized())


class Turning(Page):
    """`pane` and `pane_before` go from one to the next; so does whatever else moves the focus."""

    AUTO_FOCUS = ""
    PANES: dict[str, str] = {}
    """Ids, in their order, and what each is called in the frame of the others."""

    def __init__(self) -> None:
        super().__init__()
        self.here = next(iter(self.PANES))
        """The pane at hand."""
        self._going = ""

    def mounted(self) -> None:
        """The first is at hand."""
        self.to(self.here)

    def to(self, name: str) -> None:
        """Go to a pane."""
        self._mark(name)
        self._going = name
        # After the layout, without which one that was hidden cannot have it.
        self.call_after_refresh(self._focus, name)

    def _focus(self, name: str) -> None:
        if name == self._going:
            pane = self.query_one(f"#{name}")
            self._going = "" if pane.has_focus else name
            pane.focus(False)

    def action_pane(self) -> None:
        """The next."""
        self._step(1)

    def action_pane_before(self) -> None:
        """The one before."""
        self._step(-1)

    def _step(self, by: int) -> None:
        if self.maximized is not None:
            self.minimize()
        names = list(self.PANES)
        self.to(names[(names.index(self.here) + by) % len(names)])

    def turned(self) -> None:
        """A pane has another size, as one has that comes into sight: what fits in it may be another thing."""

    def on_told_sized(self) -> None:
        """Draw it."""
        self.turned()

    def _mark(self, name: str) -> None:
        self.here = name
        others = " ".join(f"·{words}·" if other == name else words for other, words in self.PANES.items())
        for other in self.PANES:
            pane = self.query_one(f"#{other}", Widget)
            pane.set_class(other == name, "-here")
            self.set_class(other == name, f"-at-{other}")
            if self.has_class("-narrow"):
                pane.border_subtitle = Content(f"tab: {others}")

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """Which pane is at hand; while it is gone to one, what is told of others is past."""
        if self._going:
            self._going = "" if event.widget.id == self._going else self._going
        elif event.widget.id in self.PANES and event.widget.id != self.here:
            self._mark(event.widget.id)

    def on_resize(self) -> None:
        """The frames may say less, or more."""
        self.call_after_refresh(self._again)

    def _again(self) -> None:
        for other in self.PANES:
            self.query_one(f"#{other}", Widget).border_subtitle = None
        self._mark(self.here)

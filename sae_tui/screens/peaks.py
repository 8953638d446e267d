"""The heat map of all features: how strong each gets, and which one is in the cell at the cursor."""

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget

from core.session import Session
from sae_tui.screens.names import Names, called
from sae_tui.screens.page import Page
from sae_tui.text import figure
from sae_tui.widgets.bars import Line
from sae_tui.widgets.peaks import Peaks, Picture
from sae_tui.widgets.titles import entitle

QUIET_S = 0.12
"""How long resizing or moving rests before the database is asked."""
FAR = 10


class PeaksPage(Page):
    """Over the Features screen, whose features are lit. Left with the number of a feature to open, or None."""

    SECTION, MODE = "peaks", "features"
    CSS_PATH = "peaks.tcss"
    AUTO_FOCUS = "Peaks"

    def __init__(self, session: Session, conditions: Sequence[str], feature: int | None = None) -> None:
        """`conditions` say which features are lit; `feature` is where the cursor begins."""
        super().__init__()
        self._session, self._feature = session, feature
        self._where = " AND ".join(f"({one})" for one in conditions)
        self._names = Names(self, session, self._tell)
        self._resting: dict[str, Timer] = {}

    def body(self) -> Iterator[Widget]:
        """The map, and what is under the cursor."""
        yield Peaks(ascii_only=self.app.settings.graph == "ascii", id="peaks", classes="pane")
        yield Line(id="cell")

    def opened(self, session: Session | None) -> None:
        """It belongs to its session."""
        if session is None or session.path != self._session.path:
            self.call_later(self.action_back)
            return

        def read() -> tuple[int, int]:
            store = self.app.stores.get(session)
            return store.d_sae, store.count(self._where)

        self.background(read, self._begin, group="count", failed=self._failed)

    def _begin(self, found: tuple[int, int]) -> None:
        n, listed = found
        lit = f" · {listed:,} listed ({figure(100 * listed / max(1, n))}%)" if self._where else ""
        entitle(self._map, Content(f"heat map · max of {n:,} features{lit}"))
        self._map.begin(n)

    @property
    def _map(self) -> Peaks:
        return self.query_one(Peaks)

    def _failed(self, error: Exception) -> None:
        self.query_one("#cell", Line).show(self.app.told(error))

    def _later(self, name: str, act: Any) -> None:
        if name in self._resting:
            self._resting[name].stop()
        self._resting[name] = self.set_timer(QUIET_S, act)

    def on_peaks_wanted(self) -> None:
        """Other cells: the last ones asked for, once that rests."""
        self._later("cells", self._ask)

    def _ask(self) -> None:
        each, paint = self._map.grid.each, self._map.paint()

        def find() -> Picture:
            return paint(self.app.stores.get(self._session).peaks(each, self._where))

        self.background(find, lambda found: self._map.show(found, self._feature), group="cells", failed=self._failed)

    def on_peaks_moved(self) -> None:
        """Another cell; what its feature is called follows when the cursor rests."""
        if at := self._map.at:
            self._feature = at["feature"]
        self._tell()
        self._later("names", self._look_up)

    def _look_up(self) -> None:
        if at := self._map.at:
            self._names.need([at["feature"]])

    def _tell(self) -> None:
        shown, each = self._map, self._map.grid.each
        at, first = shown.at, shown.place * shown.grid.each
        among = f"  strongest of {first} to {first + each - 1}" if each > 1 else ""
        if at is None:
            none = "no feature that is listed" if each > 1 else "not among those that are listed"
            told = Content.assemble((str(first), "bold"), (f"{among}  {none}", "$text-muted"))
        else:
            known = self._names.known.get(at["feature"])
            peak = "" if at["peak"] is None else f"  max {figure(at['peak'])}"
            density = "" if not known or not known.density else f"  density {figure(100 * known.density)}%"
            told = Content.assemble(
                (str(at["feature"]), "bold"), " ", called(known), (peak, "bold $accent"),
                (density + among, "$text-muted"),
            )  # fmt: skip
        self.query_one("#cell", Line).show(told)

    def copied(self) -> tuple[str, str] | None:
        """The number of the feature at the cursor."""
        at = self._map.at
        return None if at is None else (f"the number {at['feature']}", str(at["feature"]))

    def command_line(self) -> str:
        """`sae-tui features --heat`."""
        words = ["sae-tui", "features", self._session.name, "--heat"]
        return shlex.join([*words, "--where", self._where] if self._where else words)

    # Actions.

    def action_open(self) -> None:
        """Back, and to the feature."""
        if at := self._map.at:
            self.dismiss(at["feature"])

    def action_leave(self) -> None:
        """Back, to what was listed."""
        self.minimize() if self.maximized is not None else self.dismiss(None)

    def action_next(self) -> None:
        """The next by strength."""
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
        """Ten cells to the left."""
        self._map.move(-FAR, 0)

    def action_far_right(self) -> None:
        """Ten cells to the right."""
        self._map.move(FAR, 0)

    def action_far_up(self) -> None:
        """Ten rows up."""
        self._map.move(0, -FAR)

    def action_far_down(self) -> None:
        """Ten rows down."""
        self._map.move(0, FAR)

    def action_first(self) -> None:
        """The first cell."""
        self._map.go(0)

    def action_last(self) -> None:
        """The last."""
        self._map.go(10**9)

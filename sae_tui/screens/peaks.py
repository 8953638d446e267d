"""The heat map of all features: how strong each gets, and which one is in the cell at the cursor."""

import shlex
from collections.abc import Iterator, Sequence

from textual.content import Content
from textual.widget import Widget

from core.session import Session
from sae_tui.screens.cursor_page import CursorPage
from sae_tui.screens.names import Names, called
from sae_tui.text import figure
from sae_tui.widgets.bars import Line
from sae_tui.widgets.peaks import Peaks, Picture
from sae_tui.widgets.titles import entitle


class PeaksPage(CursorPage):
    """Over the Features screen, whose features are lit. Left with the number of a feature to open, or None."""

    SECTION, MODE = "peaks", "features"
    FAR = (10, 10)
    CSS_PATH = "peaks.tcss"
    AUTO_FOCUS = "Peaks"

    def __init__(self, session: Session, conditions: Sequence[str], feature: int | None = None) -> None:
        """`conditions` say which features are lit; `feature` is where the cursor begins."""
        super().__init__()
        self._session, self._feature = session, feature
        self._where = " AND ".join(f"({one})" for one in conditions)
        self._names = Names(self, session, self._tell)

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

    def action_first(self) -> None:
        """The first cell."""
        self._map.go(0)

    def action_last(self) -> None:
        """The last."""
        self._map.go(10**9)

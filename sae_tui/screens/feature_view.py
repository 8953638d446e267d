"""Which feature is shown: reading it in the background, going on to others."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import ClassVar

from textual.widget import Widget

from core.analysis.card import Card
from core.session import Session
from sae_tui.screens import ahead
from sae_tui.screens.ahead import Ahead
from sae_tui.screens.features import FeaturesPage
from sae_tui.screens.page import Page
from sae_tui.text import safe
from sae_tui.widgets.feature_head import FeatureHead
from sae_tui.widgets.pane_set import Known, PaneSet

HOLD_S = 0.25
"""At most so long the screen before it stays."""
DRAWN_S = 0.1
"""By then a feature is drawn, and the next can be read without being in the way of that."""


class FeatureView(Page):
    """One feature. What a person does with it is for the screen that this becomes."""

    PANES: ClassVar[type[PaneSet]]
    """What shows it."""
    CSS_PATH = "feature.tcss"

    def __init__(self) -> None:
        super().__init__()
        self._wanted = 0
        self._begun = False
        """Whether the feature that it was begun with is still to be loaded."""
        self._loading = False
        self._card: Card | None = None
        self._session: Session | None = None
        self._earlier: list[int] = []
        self._link: str | None = None
        """Its page on Neuronpedia."""
        self._taken = 1
        """The last step through the features."""
        self._unseen: ExitStack | None = None
        """Updates of the terminal are suspended until it is closed."""

    def begin(self, feature: int) -> None:
        """Be about this feature, as if nothing had been shown before. Called before it is pushed, each time.

        The feature is read while the screen comes, which is shown once it has been read, or after HOLD_S: to draw it
        empty first takes as long as all the rest.
        """
        if self.is_mounted:
            self.workers.cancel_node(self)
            self.maximized = None
        self._wanted, self._session, self._card, self._link = feature, None, None, None
        self._earlier, self._loading, self._begun = [], False, True
        if self._ahead is not None:
            self._ahead.known(feature)
        if self._unseen is not None:
            self._unseen.close()
        self._unseen = ExitStack()
        self._unseen.enter_context(self.app.batch_update())
        self._unseen.callback(self.app.set_timer(HOLD_S, self._held).stop)

    def _held(self) -> None:
        self._say("")
        self._show()

    def _show(self) -> None:
        if self._unseen is not None:
            self._unseen.close()
            self._unseen = None
            self.app.screen.refresh()  # another one, if somebody went on meanwhile

    def _say(self, words: str) -> None:
        """Show words in the place of a feature."""
        if self.is_mounted:
            self.query_one(FeatureHead).clear(self._wanted)
            self._panes.say(words)

    @property
    def feature(self) -> int:
        """The number of the feature that is shown, or is on its way."""
        return self._wanted

    def body(self) -> Iterator[Widget]:
        """What it is, and the panes."""
        yield FeatureHead(self._wanted)
        yield self.PANES(graph=self.app.settings.graph)

    def opened(self, session: Session | None) -> None:
        """A feature belongs to its session: of another one there is nothing to show here."""
        super().opened(session)
        if self._session is not None and (session is None or session.path != self._session.path):
            self.call_later(super().action_back)
        elif not self._begun:
            self._session = session
            self._load()

    def resumed(self) -> None:
        """Show what it was begun with."""
        super().resumed()
        if self._begun:
            self._begun, self._session = False, self.app.session
            self._load()

    @property
    def _panes(self) -> PaneSet:
        return self.query_one(PaneSet)

    @property
    def _browser(self) -> FeaturesPage | None:
        """The Features screen below, whose order this one follows."""
        return next((s for s in self.app.screen_stack if isinstance(s, FeaturesPage)), None)

    def _go(self, feature: int) -> None:
        """Show another feature; while one is on its way, the last that was asked for comes after it."""
        self._wanted = feature
        if not self._loading:
            self._load()

    def _load(self) -> None:
        if self._session is None:
            self._say("There is no session: press 1, and n for a first one.")
            return
        known = self._ahead.known(self._wanted) if self._ahead is not None else None
        if known is not None and known.done() and not known.exception():
            self._came(known.result())
            return
        self._loading = True
        read = partial(ahead.read, self.app.stores, self._session, self._wanted) if known is None else known.result
        self.background(read, self._came, group="card", failed=self._failed)

    @property
    def _ahead(self) -> Ahead | None:
        """The features that the screen below has read, where it is of this session."""
        found, session = self._browser.ahead if self._browser else None, self._session or self.app.session
        return found if found is not None and session is not None and found.session.path == session.path else None

    def _came(self, known: Known) -> None:
        self._loading = False
        self._card, self._link = known.card, known.link
        if self._card.feature != self._wanted:
            self._load()
        self._show_head()
        self._panes.show(known)
        self._show()
        self.set_timer(DRAWN_S, self._read_on)

    def _read_on(self) -> None:
        """Read the one that a person may go to next."""
        following = self._beside(self._taken)
        if self.is_current and self._ahead is not None and following is not None:
            self._ahead.known(following)

    def _failed(self, error: Exception) -> None:
        self._loading = False
        if self._card is None:
            self._say(self.app.told(error))
        else:
            self._wanted = self._card.feature
            self.app.complain(error)
        self._show()

    def _step(self, step: int) -> None:
        """So many features on."""
        self._taken, following = step, self._beside(step)
        if following is None:
            self.app.say("this is the last one" if step > 0 else "this is the first one")
        else:
            self._go(following)

    def _beside(self, step: int) -> int | None:
        """The feature so many places further: by number, where the order below does not hold the one at hand."""
        if self._browser is not None and self._browser.place(self._wanted) is not None:
            return self._browser.neighbour(self._wanted, step)
        there = self._card is not None and 0 <= self._wanted + step < self._card.d_sae
        return self._wanted + step if there else None

    def _show_head(self) -> None:
        if self._card is None:
            return
        meta, place = self._card.meta, self._browser.place(self._card.feature) if self._browser else None
        rank = (f"{place[0] + 1:,} of {place[1]:,}",) if place else ()
        beside = (*rank, safe(meta.get("hook", "")), safe(meta.get("model", "")))
        self.query_one(FeatureHead).show(self._card, beside)

"""Which feature is shown: reading it in the background, going on to others."""

import shlex
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import ClassVar

from textual.widget import Widget

from core.analysis import card, gallery
from core.analysis.card import Card
from core.errors import QueryError, SaeTuiError
from core.sae.provenance import neuronpedia_page
from core.session import Session
from sae_tui.screens.features import FeaturesPage
from sae_tui.screens.page import Page
from sae_tui.text import safe
from sae_tui.widgets.feature_head import FeatureHead
from sae_tui.widgets.pane_set import Known, PaneSet

REACH = 48
"""Tokens of a context on each side: more than a wide screen holds."""
HOLD_S = 0.25
"""At most so long the screen before it stays."""
MANY = 100
"""Images of each band: more than an analysis keeps by default."""
Place = tuple[int, int] | None
"""Where a feature stands in the order of the Features screen, from 0, and how many there are in it."""

Shown = tuple[Known, Place]
"""What is known of it, and where it stands."""


class FeatureView(Page):
    """One feature. What a person does with it is for the screen that this becomes."""

    PANES: ClassVar[type[PaneSet]]
    """What shows it."""
    CSS_PATH = "feature.tcss"

    def __init__(self, feature: int) -> None:
        super().__init__()
        self._wanted = feature
        self._loading = False
        self._card: Card | None = None
        self._session: Session | None = None
        self._earlier: list[int] = []
        self._place: Place = None
        self._link: str | None = None
        """Its page on Neuronpedia."""
        self._steps = 0
        """To be taken, or being looked up."""
        self._unseen: ExitStack | None = None
        """Updates of the terminal are suspended until it is closed."""
        self._ahead: Future[Shown] | None = None
        """What the first reading comes to, where that was begun before the screen was there."""

    def begin(self) -> None:
        """Read the feature while the screen is made, which is shown once it has come, or after HOLD_S: to draw it empty
        first takes as long as all the rest. Called before it is pushed."""
        if self.app.session is not None:
            pool = ThreadPoolExecutor(1)
            self._ahead = pool.submit(self._reading(self.app.session, self._wanted))
            pool.shutdown(wait=False)
        self._unseen = ExitStack()
        self._unseen.enter_context(self.app.batch_update())
        self.app.set_timer(HOLD_S, self._show)

    def _show(self) -> None:
        if self._unseen is not None:
            self._unseen.close()
            self._unseen = None
            self.app.screen.refresh()  # another one, if somebody went on meanwhile

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
            return
        self._session = session
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
            self._panes.say("There is no session: press 1, and n for a first one.")
            return
        read, self._ahead = self._ahead.result if self._ahead else self._reading(self._session, self._wanted), None
        self._loading = True
        self.background(read, self._came, group="card", failed=self._failed)

    def _reading(self, session: Session, feature: int) -> Callable[[], Shown]:
        stores, browser = self.app.stores, self._browser

        def read() -> Shown:
            store = stores.get(session)
            images = gallery.read(store, feature, limit=MANY, band=None) if session.reads_images else None
            found = card.read(store, feature, context=REACH if images is None else 0)
            known = Known(card=found, gallery=images, link=_link(session, feature), why=_why_dead(found, session.name))
            return known, _place(browser, feature)

        return read

    def _came(self, answer: Shown) -> None:
        self._loading = False
        known, self._place = answer
        self._card, self._link = known.card, known.link
        if self._card.feature != self._wanted:
            self._load()
        self._show_head()
        self._panes.show(known)
        self._show()

    def _failed(self, error: Exception) -> None:
        self._loading = False
        self._show()
        if self._card is None:
            self._panes.say(self.app.told(error))
        else:
            self._wanted = self._card.feature
            self.app.complain(error)

    def _step(self, step: int) -> None:
        """So many features on; steps that come while one is looked up are added up."""
        self._steps += step
        if self._steps == step:
            self._look_up(step)

    def _look_up(self, steps: int) -> None:
        browser, feature, known = self._browser, self._wanted, self._card

        def find() -> int | None:
            """By number, where the browser's order does not hold it."""
            if browser is not None and _place(browser, feature) is not None:
                return browser.neighbour(feature, steps)
            return feature + steps if known is not None and 0 <= feature + steps < known.d_sae else None

        def found(number: int | None) -> None:
            self._steps -= steps
            if number is None:
                self._steps = 0
                self.app.say("this is the last one" if steps > 0 else "this is the first one")
                return
            self._go(number)
            if self._steps:
                self._look_up(self._steps)

        self.background(find, found, group="step", failed=self._not_found)

    def _not_found(self, error: Exception) -> None:
        self._steps = 0
        self.app.complain(error)

    def _show_head(self) -> None:
        if self._card is None:
            return
        meta, place = self._card.meta, self._place
        rank = (f"{place[0] + 1:,} of {place[1]:,}",) if place else ()
        beside = (*rank, safe(meta.get("hook", "")), safe(meta.get("model", "")))
        self.query_one(FeatureHead).show(self._card, beside)


def _place(browser: FeaturesPage | None, feature: int) -> Place:
    """Where it stands in the browser's order, if it does. Blocks."""
    try:
        return browser.place(feature) if browser else None
    except QueryError:  # the order was left for another one meanwhile
        return None


def _link(session: Session, feature: int) -> str | None:
    """Its page on Neuronpedia, where `cfg.json` knows one. Blocks."""
    try:
        config = session.weights_config()
    except SaeTuiError:  # what is known of the feature is shown without its weights
        return None
    return neuronpedia_page(config, feature) if config else None


def _why_dead(found: Card, session: str) -> str:
    silent = f"It fired on none of the {found.counted:,} analysed {found.unit}"
    if found.unit != "tokens":
        return (
            f"{silent}: there is no image to show, nothing it reads from the pixels, and no effect.\n\n"
            "Its weights, and which features are like it, stand in the other panes."
        )
    return (
        f"{silent}, so there is no place to show.\n\n"
        "What it would write if it fired, and which features are like it, stands in the other panes.\n\n"
        f"More text may find it: sae-tui analyze {shlex.quote(session)} --tokens {10 * found.counted}"
    )

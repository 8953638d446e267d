"""What the screen of a feature shows, read once, and as a rule before anybody asks for it.

The list reads the feature at its cursor when that rests, the screen of one feature the next of the list: what opens
then waits for nothing but its drawing.
"""

import shlex
from concurrent.futures import Future, ThreadPoolExecutor

from core.analysis import card, gallery
from core.analysis.card import Card
from core.analysis.connection import label_stamps
from core.analysis.stores import Stores
from core.errors import SaeTuiError
from core.sae.provenance import neuronpedia_page
from core.session import Session
from core.storage import stamp
from sae_tui.widgets.pane_set import Known

CONTEXT = 48
"""Tokens of a context on each side: more than a wide screen holds."""
MANY = 100
"""Images of each band: more than an analysis keeps by default."""
KEPT = 4
"""Features that are kept, of those that were read."""


class Ahead:
    """Features of a session, as its files are now."""

    def __init__(self, stores: Stores, session: Session) -> None:
        self.session, self._stores = session, stores
        self._pool = ThreadPoolExecutor(2)
        self._known: dict[int, tuple[object, Future[Known]]] = {}
        """By feature, with what it was read from; the one asked for last last."""

    def known(self, feature: int) -> Future[Known]:
        """What is known of it, read by now or soon: see `read`."""
        stands_on = self._stamps()
        before, found = self._known.pop(feature, (None, None))
        if found is None or before != stands_on or (found.done() and found.exception()):
            found = self._pool.submit(read, self._stores, self.session, feature)
        self._known = dict([*self._known.items(), (feature, (stands_on, found))][-KEPT:])
        return found

    def _stamps(self) -> list[tuple[int, int, int]]:
        """What differs once something else would be read."""
        files = self.session.database_path, self.session.sae_dir / "cfg.json"
        return [*map(stamp, files), *label_stamps([self.session])]

    def close(self) -> None:
        """Read no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def read(stores: Stores, session: Session, feature: int) -> Known:
    """All that is shown of a feature. Blocks. Raises QueryError where it is not there, or nothing was analysed."""
    store = stores.get(session)
    images = gallery.read(store, feature, limit=MANY, band=None) if session.reads_images else None
    found = card.read(store, feature, context=CONTEXT if images is None else 0)
    return Known(card=found, gallery=images, link=_link(session, feature), why=_why_dead(found, session.name))


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

"""What the Features screen asks of a database, apart from how it shows it. Everything here that asks blocks."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from core.analysis import gallery
from core.analysis.browse import FACETS, MATCH, Kind
from core.analysis.order import GLANCE, Order
from core.analysis.store import Store
from core.analysis.stores import Stores
from core.errors import QueryError
from core.image_facts import Unit, unit
from core.session import Session
from sae_tui.widgets.feature_columns import sets
from sae_tui.widgets.preview import Glance
from sae_tui.widgets.source import Source

CONTEXTS = 12
"""Contexts of a glance: each costs half a kilobyte to send."""
IMAGES = 5
"""Images of a glance."""
NEIGHBOURS = 8
REACH = 40
"""Tokens of a context on each side of the one it is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which features, in which order, and what of them."""

    text: str = ""
    """What stands in the filter box."""
    kind: Kind = field(default_factory=Kind)
    sort: str = MATCH
    """A column, or what they are sorted by as long as nobody chose one."""
    descending: bool = True
    columns: str = "overview"
    """The set of columns."""

    @classmethod
    def of(cls, memory: dict[str, Any]) -> "Wanted":
        """What was kept of one, by the names of its fields; whatever is wrong there is as by default."""
        default = {one.name: getattr(cls(), one.name) for one in fields(cls)}
        kept: dict[str, Any] = {name: memory[name] for name in default if type(memory.get(name)) is type(default[name])}
        return cls(**{**default, **kept, "kind": _kind(memory.get("kind"))})


def _kind(memory: Any) -> Kind:
    if not isinstance(memory, dict):
        return Kind()
    facet, category, cluster = (memory.get(name) for name in ("facet", "category", "cluster"))
    return Kind(
        facet=facet if isinstance(facet, str) and facet in FACETS else "all",
        category=category if isinstance(category, str) else None,
        cluster=cluster if type(cluster) is int else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of it."""

    store: Store
    labelled: int
    """`Store.labelled` when it was asked."""
    order: Order
    source: Source
    at: int
    """The place of the feature that the cursor should be on; 0 where that is not in it."""
    columns: Sequence[str]
    unit: Unit
    """What figures are counted in."""


class Asking:
    """One look for features, in a thread, that can be given up from another."""

    def __init__(self, stores: Stores, session: Session, wanted: Wanted, *, anchor: int | None, around: int) -> None:
        """`anchor`: the feature that the rows fetched at once are about; so many of them on each side."""
        self._stores, self._session, self._wanted = stores, session, wanted
        self._anchor, self._around = anchor, around
        self._order: Order | None = None
        self._given_up = False

    def give_up(self) -> None:
        """Whatever it is at ends with a QueryError."""
        self._given_up = True
        if self._order is not None:
            self._order.interrupt()

    def find(self) -> Found:
        """Build the order and fetch the rows about the cursor. Raises QueryError."""
        wanted, store = self._wanted, self._stores.get(self._session)
        store.relabel()
        labelled = store.labelled
        known = sets(list(store.browsed), unit(store.meta()))
        columns = known.get(wanted.columns, known["overview"])
        order = self._order = store.order(
            wanted.sort if wanted.sort in store.browsed else MATCH,
            wanted.descending,
            [wanted.kind.condition],
            text=wanted.text,
        )
        if order.sort == MATCH:
            columns = ["feature", MATCH, *(name for name in columns if name != "feature")]
        try:
            if self._given_up:
                raise QueryError("the features were left")
            order.build()
            source = Source(lambda first, n: order.rows(first, n, [*columns, "starred", *GLANCE]), order.count)
            at = (None if self._anchor is None else order.place(self._anchor)) or 0
            source.load(at, self._around)
        except BaseException:
            order.close()
            raise
        return Found(
            store=store, labelled=labelled, order=order, source=source, at=at, columns=columns,
            unit=unit(store.meta()),
        )  # fmt: skip


def glance(store: Store, feature: int) -> Glance:
    """A feature for the preview. Raises QueryError."""
    pictured = gallery.read(store, feature, limit=IMAGES) if gallery.there(store) else None
    near = {n["other"]: n["cosine"] for n in store.neighbours(feature)[:NEIGHBOURS]}
    beside = store.beside(near)
    return Glance(
        row=store.browsed_row(feature),
        unit=unit(store.meta()),
        gallery=pictured,
        examples=[] if pictured else store.examples(feature, band=0, limit=CONTEXTS, context=REACH),
        histogram=store.histogram(feature),
        tokens=store.top_tokens(feature),
        logits=store.logits(feature),
        neighbours=[{**beside[other], "cosine": cosine} for other, cosine in near.items()],
    )

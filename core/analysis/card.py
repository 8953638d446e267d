"""Everything the database tells of one feature, read at once: what the command line prints and the workbench shows."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from core.analysis.store import Store
from core.image_facts import Unit, unit
from core.records import Example

Row = dict[str, Any]
PIECES = (
    "examples", "logits", "logit_histogram", "neighbours", "coactivations", "histogram", "tokens", "categories",
    "emergence", "alignment", "correlations",
)  # fmt: skip
"""What a card holds besides a feature's row, as it is in JSON."""
QUERIES = 3
"""How many are asked at once for one card, besides that of the thread which wants it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One feature."""

    row: Row
    """Its row of `browse`: figures, label, note, tags and star."""
    examples: list[Example]
    bands: int
    """How many bands there are below the top examples."""
    histogram: list[Row]
    tokens: list[Row]
    """Those it fires on most often: rows of `feature_tokens`."""
    logits: list[Row]
    logit_histogram: list[Row]
    neighbours: list[Row]
    """Rows of `neighbours`, each with some columns of the neighbour's row of `browse` under `row`."""
    coactivations: list[Row]
    """Rows of `coactivations`, each with those of the other feature under `row`."""
    categories: list[Row]
    """Rows of `feature_categories`, the densest first."""
    emergence: list[Row]
    """Rows of `snapshots`."""
    alignment: list[Row]
    correlations: list[Row]
    cluster: Row | None
    """The row of `clusters` of the one it is in."""
    meta: Mapping[str, str]
    d_sae: int

    @property
    def feature(self) -> int:
        """Its number."""
        return self.row["feature"]

    @property
    def counted(self) -> int:
        """How many tokens, or images, it could have fired on."""
        return int(self.meta["tokens_counted"])

    @property
    def unit(self) -> Unit:
        """What its figures are counted in."""
        return unit(self.meta)

    @property
    def double(self) -> Row | None:
        """The neighbour it is a duplicate of, the most alike; None where it is none."""
        return self.neighbours[0] if self.row["duplicate"] and self.neighbours else None

    def to_json(self) -> Row:
        """The feature's row, and the rows of each of `PIECES` as the tables have them."""
        return {**self.row, **{name: [_bare(one) for one in getattr(self, name)] for name in PIECES}}


def read(store: Store, feature: int, *, limit: int | None = None, context: int = 16) -> Card:
    """Ask for all of it: `limit` examples of each band, or all, with `context` tokens on both sides.

    Blocks for some ten milliseconds. Raises QueryError where there is no such feature.
    """
    store.relabel()
    row = store.browsed_row(feature)
    lists: dict[str, Callable[[int], list[Row]]] = {
        "histogram": store.histogram, "tokens": store.top_tokens, "logits": store.logits,
        "logit_histogram": store.logit_histogram, "categories": store.categories, "emergence": store.emergence,
        "alignment": store.alignment, "correlations": store.correlations,
    }  # fmt: skip
    # To plan such a query takes one thread longer than to find the rows: several at once take half as long.
    pool = ThreadPoolExecutor(QUERIES)
    try:
        examples = pool.submit(store.examples, feature, limit=limit, context=context)
        found = {name: pool.submit(ask, feature) for name, ask in lists.items()}
        near, together = store.neighbours(feature), store.coactivations(feature)
        others = store.beside({other["other"] for other in (*near, *together)})
        return Card(
            row=row,
            examples=examples.result(),
            bands=store.bands(),
            neighbours=[{**other, "row": others[other["other"]]} for other in near],
            coactivations=[{**other, "row": others[other["other"]]} for other in together],
            cluster=None if row["cluster"] is None else store.cluster(row["cluster"]),
            meta=store.meta(),
            d_sae=store.d_sae,
            **{name: rows.result() for name, rows in found.items()},
        )
    finally:
        pool.shutdown(cancel_futures=True)  # after an interrupt nothing more is asked


def _bare(one: Row | Example) -> Row:
    """Without what is told of another feature beside it."""
    return {k: v for k, v in one.items() if k != "row"} if isinstance(one, dict) else asdict(one)

"""Everything the database tells of one feature, read at once: what the command line prints and the workbench shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.analysis.store import Store
from core.records import Example

Row = dict[str, Any]


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
    neighbours: list[Row]
    """Rows of `neighbours`, each with the neighbour's own row of `browse` under `row`."""
    meta: Mapping[str, str]
    d_sae: int

    @property
    def feature(self) -> int:
        """Its number."""
        return self.row["feature"]

    @property
    def counted(self) -> int:
        """How many tokens it could have fired on."""
        return int(self.meta["tokens_counted"])


def read(store: Store, feature: int, *, limit: int | None = None, context: int = 16) -> Card:
    """Ask for all of it: `limit` examples of each band, or all, with `context` tokens on both sides.

    Blocks for some ten milliseconds. Raises QueryError where there is no such feature.
    """
    store.relabel()
    near = store.neighbours(feature)
    numbers = [feature, *(n["other"] for n in near)]
    found = store.features(where=f"feature IN ({', '.join(map(str, numbers))})", limit=len(numbers))
    rows = {row["feature"]: row for row in found}
    return Card(
        row=rows[feature],
        examples=store.examples(feature, limit=limit, context=context),
        bands=store.bands(),
        histogram=store.histogram(feature),
        tokens=store.top_tokens(feature),
        logits=store.logits(feature),
        neighbours=[{**n, "row": rows[n["other"]]} for n in near],
        meta=store.meta(),
        d_sae=store.d_sae,
    )

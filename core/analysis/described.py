"""What a feature is called where there is room for a line: its label or top token, and how strong it gets.

Features are looked up by number, and found by number, label or token. Blocks as the database does.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from core.analysis.store import Store
from core.labels import Label
from core.steering.interventions import Scales


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One feature. What an analysis would tell is None where there is none, or the feature never fired."""

    feature: int
    label: str = ""
    top_token: str | None = None
    max: float | None = None
    p99: float | None = None
    mean: float | None = None
    """Over all counted tokens, 0 where it is silent."""
    density: float | None = None


def described(store: Store | None, labels: Mapping[int, Label], features: Iterable[int]) -> dict[int, Described]:
    """Those of the features that the store has; without a store, all of them, by their labels alone."""
    wanted = sorted(set(features))
    if store is None:
        return {f: Described(feature=f, label=_label(labels, f)) for f in wanted}
    if not wanted:
        return {}
    where = f"feature IN ({', '.join(map(str, wanted))})"
    return {one.feature: one for one in _described(store, labels, where, len(wanted), descending=False)}


def found(store: Store | None, labels: Mapping[int, Label], text: str, limit: int) -> list[Described]:
    """Features whose number begins with `text`, then those with it in their label, then in their top token."""
    wanted = text.strip().lower()
    number = wanted.isdecimal() and wanted.isascii()
    labelled = [f for f, label in labels.items() if label.label and wanted in label.label.lower()]
    rows: list[Described] = []
    if store is not None and number:
        where = f"starts_with(CAST(feature AS VARCHAR), '{wanted}')"
        rows += _described(store, labels, where, limit, descending=False)
    elif number:
        labelled = [f for f, label in labels.items() if label.label and str(f).startswith(wanted)] + labelled
    rows += described(store, labels, labelled[:limit]).values()
    if store is not None and wanted:
        quoted = wanted.replace("'", "''")
        rows += _described(store, labels, f"contains(lower(top_token), '{quoted}')", limit, sort="max")
    return list({one.feature: one for one in rows}.values())[:limit]


def scales(features: Mapping[int, Described]) -> Scales:
    """What p99, max and mean stand for."""
    return {f: {"p99": one.p99, "max": one.max, "mean": one.mean} for f, one in features.items()}


def _described(
    store: Store, labels: Mapping[int, Label], where: str, limit: int, *, sort: str = "feature", descending: bool = True
) -> list[Described]:
    return [
        Described(
            feature=row["feature"],
            label=_label(labels, row["feature"]),
            top_token=row["top_token"],
            max=row["max"],
            p99=row["p99"],
            mean=(row["density"] or 0) * (row["mean"] or 0),
            density=row["density"],
        )
        for row in store.features(sort=sort, descending=descending, where=where, limit=limit)
    ]


def _label(labels: Mapping[int, Label], feature: int) -> str:
    return labels[feature].label if feature in labels else ""

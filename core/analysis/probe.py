"""An SAE's features on a set of texts in categories: which are frequent, selective, or specialists of one category.

Everything is computed from P, the matrix of texts × features that `core.analysis.coded.pooled` makes, and from the
threshold of each feature above which it is strong. Knows no model.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from core.analysis.coded import CodedText
from core.analysis.given import Given
from core.analysis.probed import Category, Frequent, Heat, Peak, Probed, Selective, Specialist
from core.analysis.strong import Thresholds

Matrix = Float[np.ndarray, "n d_sae"]

MOST = 20
"""Features in a list, where nothing else is said."""
FEW = 5
"""Features listed for each category, and for each text."""
HEAT = 10
"""Features in the heat map."""


def probe(
    texts: Sequence[Given],
    coded: Sequence[CodedText],
    pooled: Matrix,
    thresholds: Thresholds,
    *,
    session: str,
    name: str,
    pool: str,
    top: int = MOST,
    notes: Sequence[str] = (),
) -> Probed:
    """Ask all there is to ask. Row i of `pooled` and `coded[i]` are of `texts[i]`.

    strongest     the highest single value
    frequent      the most texts with a value > 0
    selective     the fewest texts on which it is strong, and at least one; ties by maximum
    specialist    strong on more texts of a category than outside it: score = inside − outside > 0
    l0            mean over the counted tokens of the number of features active on one, before pooling
    entropy       of category, `−Σ_c p_c ln p_c` with `p_c = m_c / Σ_c' m_c'` and m_c the mean over the texts of
                  category c of the feature's value: 0 for a feature of one, ln 7 for one that seven have equally
    """
    names = tuple(dict.fromkeys(text.category for text in texts if text.category))
    inside = {c: np.array([text.category == c for text in texts], dtype=np.bool_) for c in names}
    strong = pooled > thresholds.values
    best = {c: _specialists(c, inside, pooled, strong, thresholds) for c in names} if len(names) > 1 else {}
    counts = (pooled > 0).sum(axis=0)
    frequent = _frequent(counts, pooled.max(axis=0), len(texts), top)
    return Probed(
        session=session,
        name=name,
        pool=pool,
        rule=thresholds.rule,
        texts=tuple(texts),
        d_sae=pooled.shape[1],
        active=int((counts > 0).sum()),
        strongest=_strongest(coded, pooled),
        frequent=frequent,
        selective=_selective(pooled, strong, thresholds, top),
        specialists=sum(map(len, best.values())) if best else None,
        specialised=sum(map(bool, best.values())),
        entropy=entropy(pooled, list(inside.values())) if best else None,
        categories=tuple(_category(c, pooled[inside[c]], best.get(c, [])) for c in names),
        top=tuple(_row_top(row) for row in pooled),
        heat=_heat([one.feature for one in _frequent(counts, pooled.max(axis=0), len(texts), HEAT)], pooled, inside),
        notes=tuple(notes),
        l0=_l0(coded),
    )


def entropy(pooled: Matrix, categories: Sequence[Bool[np.ndarray, " n"]]) -> float | None:
    """The median entropy of category over the features that fire, in nats; None where none does."""
    means = np.stack([pooled[inside].mean(axis=0, dtype=np.float64) for inside in categories])
    means = means[:, means.sum(axis=0) > 0]
    if not means.shape[1]:
        return None
    shares = means / means.sum(axis=0)
    logs = np.log(shares, where=shares > 0, out=np.zeros_like(shares))
    return float(np.median(-(shares * logs).sum(axis=0)))


def _l0(coded: Sequence[CodedText]) -> float | None:
    counted = sum(int(text.counted.sum()) for text in coded)
    return sum(len(text.value) for text in coded) / counted if counted else None


def _strongest(coded: Sequence[CodedText], pooled: Matrix) -> Peak | None:
    text, feature = (int(i) for i in np.unravel_index(pooled.argmax(), pooled.shape))
    if pooled[text, feature] <= 0:
        return None
    token = coded[text].words[int(coded[text].on(feature).argmax())]
    return Peak(feature=feature, value=float(pooled[text, feature]), text=text, token=token)


def _frequent(counts: Int[np.ndarray, " d"], most: Float[np.ndarray, " d"], n: int, top: int) -> tuple[Frequent, ...]:
    """Those that fire on most of n texts; ties by maximum."""
    order = np.lexsort((-most, -counts))[:top]
    return tuple(
        Frequent(feature=int(f), n=int(counts[f]), share=int(counts[f]) / n, max=float(most[f]))
        for f in order
        if counts[f]
    )


def _selective(
    pooled: Matrix, strong: Bool[np.ndarray, "n d_sae"], thresholds: Thresholds, top: int
) -> tuple[Selective, ...]:
    counts, most = strong.sum(axis=0), pooled.max(axis=0)
    order = np.lexsort((-most, np.where(counts > 0, counts, len(pooled) + 1)))[:top]
    return tuple(
        Selective(
            feature=int(f),
            strong=int(counts[f]),
            max=float(most[f]),
            text=int(pooled[:, f].argmax()),
            threshold=float(thresholds.values[f]),
        )
        for f in order
        if counts[f]
    )


def _specialists(
    category: str,
    inside: dict[str, Bool[np.ndarray, " n"]],
    pooled: Matrix,
    strong: Bool[np.ndarray, "n d_sae"],
    thresholds: Thresholds,
) -> list[Specialist]:
    """All of one category, the highest score first, ties by maximum. Texts without a category are outside of each."""
    here = inside[category]
    within, without = strong[here].sum(axis=0), strong[~here].sum(axis=0)
    most = pooled[here].max(axis=0)
    found = np.flatnonzero(within > without)
    return [
        Specialist(
            feature=int(f),
            score=int(within[f] - without[f]),
            inside=int(within[f]),
            outside=int(without[f]),
            max=float(most[f]),
            threshold=float(thresholds.values[f]),
        )
        for f in found[np.lexsort((-most[found], without[found] - within[found]))]
    ]


def _category(name: str, rows: Matrix, specialists: Sequence[Specialist]) -> Category:
    active = (rows > 0).sum(axis=1)
    return Category(
        name=name,
        texts=len(rows),
        specialists=len(specialists),
        best=tuple(specialists[:FEW]),
        common=_frequent((rows > 0).sum(axis=0), rows.max(axis=0), len(rows), FEW),
        mean=float((rows.sum(axis=1, dtype=np.float64) / np.maximum(active, 1)).mean()),
        active=float(active.mean()),
    )


def _row_top(row: Float[np.ndarray, " d_sae"]) -> tuple[tuple[int, float], ...]:
    order = np.argsort(-row, kind="stable")[:FEW]
    return tuple((int(f), float(row[f])) for f in order if row[f] > 0)


def _heat(features: list[int], pooled: Matrix, inside: dict[str, Bool[np.ndarray, " n"]]) -> Heat:
    ordered = [int(i) for here in inside.values() for i in np.flatnonzero(here)]
    texts = ordered + [i for i in range(len(pooled)) if i not in set(ordered)]
    return Heat(
        features=tuple(features),
        texts=tuple(texts),
        values=tuple(tuple(map(float, pooled[texts, f])) for f in features),
        means=tuple(tuple(float(pooled[here, f].mean(dtype=np.float64)) for here in inside.values()) for f in features),
    )

"""Which features stand for what some texts have in common. Numbers, no torch.

    composite = 100 · (share of the texts on which it is strong) · (mean activation over all the texts)
    score     = composite(texts) − composite(contrast texts), where there are any

Of each text counts the feature's largest activation. So a feature that is strong on all of five texts, with a mean of
9.92, has a composite of 992.
"""

import numpy as np
from jaxtyping import Float

from core.analysis.strong import Thresholds
from core.records import ConceptRow, ConceptSide

Matrix = Float[np.ndarray, "n d_sae"]

TOP = 5
"""Features listed, where nothing else is said."""


def search(texts: Matrix, contrast: Matrix | None, thresholds: Thresholds, top: int = TOP) -> tuple[ConceptRow, ...]:
    """The features with the highest scores, of those whose score is positive; ties by mean, then by number.

    Rows of the matrices are texts, as `core.analysis.coded.pooled` makes them with `max`.
    """
    inside = _composites(texts, thresholds)
    score = inside if contrast is None else inside - _composites(contrast, thresholds)
    order = np.lexsort((-texts.mean(axis=0), -score))[:top]
    return tuple(
        ConceptRow(
            feature=int(f),
            score=float(score[f]),
            threshold=float(thresholds.values[f]),
            inside=_side(texts, thresholds, f),
            outside=None if contrast is None else _side(contrast, thresholds, f),
        )
        for f in order
        if score[f] > 0
    )


def _composites(texts: Matrix, thresholds: Thresholds) -> Float[np.ndarray, " d_sae"]:
    return 100 * (texts > thresholds.values).mean(axis=0) * texts.mean(axis=0, dtype=np.float64)


def _side(texts: Matrix, thresholds: Thresholds, feature: int) -> ConceptSide:
    column = texts[:, feature]
    strong = float((column > thresholds.values[feature]).mean())
    mean = float(column.mean(dtype=np.float64))
    return ConceptSide(
        strong_share=strong, active_share=float((column > 0).mean()), mean=mean, composite=100 * strong * mean
    )

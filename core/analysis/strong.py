"""From where on an activation is strong: what a person writes, and what it is for each feature.

`5` is that value in raw units for all features; `0.5x` is half of each feature's own p99 in the feature database. Knows
no torch.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from core.analysis.coded import CodedText
from core.analysis.store import Store
from core.errors import UsageError
from core.session import Session

_RULE = re.compile(r"(\d+\.?\d*|\.\d+)(x?)", re.ASCII)


class Thresholds(NamedTuple):
    """A feature is strong where it is above its value."""

    values: Float[np.ndarray, " d_sae"]
    rule: str
    """The same in words, for whoever reads a score."""


def p99s(session: Session) -> dict[int, float] | None:
    """Each feature's p99 in the session's database, without those that never fired there; None without a database."""
    if not session.database_path.is_file():
        return None
    with Store.open([session]) as store:
        rows = store.query("SELECT feature, p99 FROM features WHERE p99 IS NOT NULL", store.d_sae).rows
    return {int(feature): float(p99) for feature, p99 in rows}


def checked(written: str) -> tuple[float, bool]:
    """The number in a rule, and whether it is a multiple of p99. Raises UsageError."""
    found = _RULE.fullmatch(written.strip())
    if not found:
        raise UsageError(
            f"{written!r} says not what is strong", hint="give 5 (raw units), or 0.5x (times the feature's own p99)"
        )
    return float(found[1]), found[2] == "x"


def thresholds(written: str, known: Mapping[int, float] | None, texts: Sequence[CodedText], d_sae: int) -> Thresholds:
    """The thresholds that `written` stands for; `known` is what `p99s` finds. Raises UsageError.

    A feature without a p99 takes the 99th percentile of all activations on `texts`, of all features together, in its
    place: a fraction of its own maximum on the texts would be passed by every feature that fires on one of them.
    """
    number, multiple = checked(written)
    if not multiple:
        return Thresholds(np.full(d_sae, number, dtype=np.float32), f"above {number:g}")
    values = np.full(d_sae, np.nan, dtype=np.float32)
    for feature, p99 in (known or {}).items():
        if feature < d_sae:
            values[feature] = number * p99
    everything = np.concatenate([t.value for t in texts]) if texts else np.zeros(0, dtype=np.float32)
    common = float(np.percentile(everything, 99)) if len(everything) else 0.0
    firing = np.unique(np.concatenate([t.feature for t in texts])) if texts else np.zeros(0, dtype=np.int64)
    unknown = int(np.isnan(values[firing]).sum())
    values[np.isnan(values)] = number * common
    instead = f"above {number * common:.3g}, {number:g} × the 99th percentile of all activations on these texts"
    if known is None:
        return Thresholds(values, f"{instead} (there is no feature database, which would tell each feature's own p99)")
    rule = f"above {number:g} × the feature's p99 in the database"
    if unknown:
        rule += f"; for {unknown:,} that fire here and never did there, {instead}"
    return Thresholds(values, rule)

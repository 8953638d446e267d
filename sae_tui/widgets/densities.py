"""How often features fire in training, as bars: the histogram in a session's `densities.json`, whatever is in it."""

from collections.abc import Mapping
from typing import Any

from sae_tui.widgets.plots import Plot, Series

TITLE = "density, log10"
DENSE_FROM = -1.0
"""A feature active on more than a tenth of the activations is dense."""


def plot(values: Mapping[str, Any], *, label: str, log: bool, live: bool) -> Plot:
    """The histogram of the run `label`; one that says so where the file is missing, torn or another thing."""
    read = _read(values)
    if read is None:
        empty = "nothing yet" if live else "not recorded in this run"
        return Plot(name=TITLE, series=(), low=0, high=1, x_name=TITLE, empty=empty)
    low, high, counts, rarer = read
    width = (high - low) / len(counts)
    middles = [low + width * (i + 0.5) for i in range(len(counts))]
    dense = sum(n for n, middle in zip(counts, middles, strict=True) if middle > DENSE_FROM)
    step = (f"step {values['step']:,}",) if _count(values.get("step")) else ()
    return Plot(
        name=TITLE, series=(Series(label, middles, [float(n) for n in counts]),), low=low, high=high, x_name=TITLE,
        x_kind="number", y_kind="count", log=log, bars=True, notes=("y = features",),
        line=(f"{dense:,} dense", f"{rarer:,} below 1e{low:g}", *step), empty="no feature fires as often",
    )  # fmt: skip


def _read(values: Mapping[str, Any]) -> tuple[float, float, list[int], int] | None:
    low, high, counts, rarer = (values.get(name) for name in ("low", "high", "counts", "rarer"))
    if not (isinstance(low, int | float) and isinstance(high, int | float) and -99 < low < high < 99):
        return None
    if not (isinstance(counts, list) and 0 < len(counts) <= 1000 and all(map(_count, [*counts, rarer]))):
        return None
    return float(low), float(high), [int(n) for n in counts], int(rarer) if isinstance(rarer, int) else 0


def _count(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < 1e12

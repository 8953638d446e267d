"""Numbers for a person, and the axes they stand on: round limits and ticks, which stay while a run grows."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400)
"""Steps between two ticks of a time axis, up to a day."""
UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True, slots=True)
class Axis:
    """Where an axis begins and ends, in what is drawn (the decimal logarithm where it is one), and its ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]


def linear(low: float, high: float, kind: str, n: int) -> Axis:
    """Round limits around `low` and `high` with about `n` ticks; a constant has its line in the middle."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        around = abs(low) * 0.05 or (0.01 if kind == "share" else 1.0)
        low, high = (low - around if low else 0.0), high + around
    step = _step(high - low, kind, n)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(step * i for i in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks, _labels(ticks, step, kind))


def logarithmic(low: float, high: float, kind: str, n: int) -> Axis:
    """The same for logarithms; `low` is above 0. The finest of these ticks that there is room for: each limit that can
    be, 1, 2 and 5, powers of ten."""
    exponents = range(math.floor(math.log10(low) - 1e-9) - 1, math.ceil(math.log10(high) + 1e-9) + 1)
    limits = _around([m * 10.0**e for e in exponents for m in (1, 1.5, 2, 3, 4, 5, 6, 8)], low, high)
    if len(limits) < 5:  # less than half a decade: the round steps of a linear axis say more
        axis = linear(low, high, kind, max(2, n))
        above = [(math.log10(tick), label) for tick, label in zip(axis.ticks, axis.labels, strict=True) if tick > 0]
        first = min(above[0][0], math.log10(low))
        return Axis(first, above[-1][0], tuple(tick for tick, _ in above), tuple(label for _, label in above))
    shown = [m * 10.0**e for e in exponents for m in (1, 2, 5) if limits[0] <= m * 10.0**e * 1.0001]
    shown = [tick for tick in shown if tick <= limits[-1] * 1.0001]
    if len(limits) <= n or (len(shown) < 2 and len(limits) <= 2 * n):
        shown = limits
    if len(shown) > 2 * n:
        tens = [tick for tick in shown if abs(math.log10(tick) - round(math.log10(tick))) < 1e-9]
        shown = tens[:: max(1, math.ceil(len(tens) / max(2, n)))]
    labels = tuple(_fitting(value, kind) for value in shown)
    return Axis(math.log10(limits[0]), math.log10(limits[-1]), tuple(map(math.log10, shown)), labels)


def between(low: float, high: float, kind: str, n: int) -> Axis:
    """An axis from exactly `low` to `high`, with about `n` round ticks in it."""
    step = _step(high - low, kind, max(2, n))
    ticks = tuple(step * i for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1))
    return Axis(low, high, ticks, _labels(ticks, step, kind))


def reach(last: float, total: float | None) -> float:
    """Where the x axis of a run that goes on ends: the smallest half, quarter, … of `total` beyond `last`.

    Without a total, the smallest power of two. So rows of a chart stay as they are until it doubles.
    """
    if last <= 0:
        return total or 1.0
    if total and total >= last:
        return total / 2 ** math.floor(math.log2(total / last))
    return 2.0 ** math.ceil(math.log2(last))


def number(value: float, kind: str = "number") -> str:
    """A value in a few characters: a share as percent, seconds as a time, counts with k, M, G."""
    return _KINDS[kind](value)


def duration(seconds: float) -> str:
    """`45s`, `12m`, `1h07m`, `3d04h`."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds}s"
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes}m{seconds % 60:02d}s" if minutes < 10 and seconds % 60 else f"{minutes}m"
    hours = minutes // 60
    return f"{hours}h{minutes % 60:02d}m" if hours < 24 else f"{hours // 24}d{hours % 24:02d}h"


def count(value: float) -> str:
    """`950`, `12.4k`, `410k`, `1.23M`."""
    for limit, unit in UNITS:
        if abs(value) >= 0.9995 * limit:
            return f"{_digits(value / limit, 3)}{unit}"
    return f"{value:.0f}" if value == round(value) else _digits(value, 3)


def memory(n: float) -> str:
    """Bytes: `512 MB`, `1.3 GB`."""
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if n >= 0.9995 * limit:
            return f"{_digits(n / limit, 2 if limit < 1e9 else 3)} {unit}"
    return f"{n:.0f} B"


def bar(share: float, width: int, *, ascii_only: bool = False) -> str:
    """A progress bar of `width` cells, in eighths of a cell where the terminal can."""
    share = min(1.0, max(0.0, share))
    if ascii_only:
        full = int(share * width)
        return "#" * full + "-" * (width - full)
    eighths = int(share * width * 8)
    part = " ▏▎▍▌▋▊▉"[eighths % 8] if eighths < width * 8 else ""
    return ("█" * (eighths // 8) + part).ljust(width)[:width]


def bins(counts: Sequence[int], n: int) -> list[tuple[str, int]]:
    """Whole numbers in at most `n` equal parts, from the least on: `12`, or `12-15`, and how many are there."""
    low, high = min(counts), max(counts)
    width = -(-(high - low + 1) // n)
    firsts = range(low, high + 1, width)
    return [
        (f"{first}" if width == 1 else f"{first}-{first + width - 1}", sum(first <= c < first + width for c in counts))
        for first in firsts
    ]


def trend(values: list[float], *, ascii_only: bool = False) -> str:
    """A bar a value, from the least to the greatest of them; a gap is blank."""
    levels = "_.-=*#" if ascii_only else "▁▂▃▄▅▆▇█"
    known = [v for v in values if v == v]
    if not known:
        return " " * len(values)
    low, high = min(known), max(known)
    scale = (len(levels) - 1) / (high - low) if high > low else 0.0
    middle = levels[len(levels) // 2 - 1]
    return "".join(" " if v != v else levels[round((v - low) * scale)] if scale else middle for v in values)


def profile(values: Sequence[float], *, ascii_only: bool = False) -> str:
    """A bar a value, from 0 to the greatest of them; what is 0 is blank, and nothing else is."""
    levels = "_.-=*#" if ascii_only else "▁▂▃▄▅▆▇█"
    most = max(values, default=0.0)
    return "".join(levels[max(0, math.ceil(v / most * len(levels)) - 1)] if v > 0 else " " for v in values)


def _digits(value: float, n: int) -> str:
    """`n` digits that say something, whole ones never cut."""
    whole = len(str(int(abs(value))))
    return f"{value:.{max(0, n - whole)}f}"


def _plain(value: float) -> str:
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e4:
        return count(value)
    if size < 1e-3:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.4f}" if size < 1 else f"{value:.3f}" if size < 9.9995 else f"{value:.1f}"


_KINDS: dict[str, Callable[[float], str]] = {
    "number": _plain,
    "share": lambda value: f"{_digits(100 * value, 3)}%" if value else "0%",
    "count": count,
    "step": lambda value: f"{value:,.0f}",
    "time": duration,
    "bytes": memory,
}


def _step(width: float, kind: str, n: int) -> float:
    """A round distance that divides `width` into about `n` parts, never more than `n` by far."""
    least = width / max(1, n)
    if kind == "time":
        for seconds in SECONDS:
            if seconds >= least:
                return float(seconds)
        return 86_400 * _step(width / 86_400, "count", n)
    ten = 10.0 ** math.floor(math.log10(least))
    return next((m * ten for m in (1, 2, 2.5, 5) if m * ten >= least * (1 - 1e-9)), 10 * ten)


def _labels(ticks: tuple[float, ...], step: float, kind: str) -> tuple[str, ...]:
    if kind == "time":
        return tuple(_short_time(tick) for tick in ticks)
    largest = max(map(abs, ticks), default=0.0)
    if kind == "share":
        return tuple(f"{100 * tick:.{_decimals(100 * step)}f}%" if tick else "0" for tick in ticks)
    if largest >= 1e4:
        scale, unit = next((s, u) for s, u in UNITS if largest >= s)
        return tuple(f"{tick / scale:.{_decimals(step / scale)}f}{unit}" if tick else "0" for tick in ticks)
    if _decimals(step) > 4:
        return tuple(_plain(tick) for tick in ticks)
    return tuple(f"{tick:.{_decimals(step)}f}" if tick else "0" for tick in ticks)


def _decimals(step: float) -> int:
    """Decimals that tell multiples of `step` apart."""
    for n in range(10):
        if abs(step * 10**n - round(step * 10**n)) < 1e-6:
            return n
    return 10


def _fitting(value: float, kind: str) -> str:
    """A tick of a logarithmic axis: as short as it can be said."""
    if kind == "share":
        return f"{100 * value:.3g}%"
    if kind == "time":
        return _short_time(value)
    for limit, unit in UNITS:
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.4g}" if value >= 1e-3 else _plain(value).replace(".0", "")


def _short_time(seconds: float) -> str:
    if seconds == 0:
        return "0"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}" if rest and minutes else f"{minutes}m" if minutes else f"{rest}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h{minutes:02d}" if minutes else f"{hours}h"
    return f"{hours / 24:.3g}d" if hours < 24_000 else f"{hours / 24:.0f}d"


def _around(marks: list[float], low: float, high: float) -> list[float]:
    """The marks from the last at or below `low` to the first at or above `high`."""
    below = [m for m in marks if m <= low * (1 + 1e-9)]
    above = [m for m in marks if m >= high * (1 - 1e-9)]
    first, last = (below[-1] if below else marks[0]), (above[0] if above else marks[-1])
    return [m for m in marks if first <= m <= last]

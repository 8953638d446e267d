"""Words, figures and contexts as a terminal has room for them.

`safe` (`core.shown`) stands between every such string and the screen: a token can neither restyle the screen nor send
the terminal an escape sequence. What is printed as JSON or CSV into a pipe is data and does not pass here.
"""

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size

from core.shown import figure, safe, token

if TYPE_CHECKING:
    from core.records import ContextToken
    from core.sweep import Place

STATES = {
    "queued": ("◌", "warning"),
    "running": ("●", "success"),
    "paused": ("‖", "warning"),
    "done": ("✓", "success"),
    "failed": ("✗", "error"),
    "stopped": ("■", "warning"),
    "interrupted": ("✗", "error"),
    "silent": ("?", "warning"),
    "new": ("○", "text-muted"),
}
"""Each state's glyph and colour: the glyph says it without the colour."""


def fitting(value: float | None, cells: int) -> str:
    """A figure in so many cells, five or more, with fewer digits where it must: 0.0048, <0.001, 1e+05."""
    shown = figure(value)
    if value is None or len(shown) <= cells:
        return shown
    if abs(value) >= 1:
        return f"{value:.0e}"
    least = cells - 3
    return f"{value:.{cells - 2}f}" if abs(value) >= 10**-least else f"<{10**-least:.{least}f}"


def share(p: float) -> str:
    """A probability in at most five cells: `99.8%`, `100%`, `<.1%`."""
    return "100%" if p >= 0.9995 else f"{100 * p:.1f}%" if p >= 0.0005 else "<.1%"


def shortened(text: str, width: int) -> str:
    """`text`, which is safe, in at most `width` cells, its end cut with an ellipsis where it must be."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + "…" if width > 0 else ""


def compact(n: float) -> str:
    """A count in at most four cells: 999, 1.2k, 48k, 3.1M."""
    for unit in ("", "k", "M", "G"):
        if n < 999.5 or unit == "G":
            return f"{n:.1f}{unit}" if unit and n < 9.95 else f"{n:.0f}{unit}"
        n /= 1000
    raise AssertionError


def size(n: float) -> str:
    """Bytes, for a person: 640 B, 12.3 MB."""
    for unit in ("B", "KB", "MB", "GB"):
        if n < 1000 or unit == "GB":
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    raise AssertionError


def age(since: float) -> str:
    """How long ago, in seconds since the epoch: coarse, so that it seldom changes; empty for 0, which is never."""
    if not since:
        return ""
    minutes = (time.time() - since) / 60
    for limit, unit, length in ((1, "now", 0), (120, "m", 1), (2_880, "h", 60)):
        if minutes < limit:
            return f"{minutes // length:.0f}{unit}" if length else unit
    return f"{minutes // 1440:.0f}d"


def span(seconds: float) -> str:
    """A length of time, for a person: 45 s, 12 min, 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60:,} h {minutes % 60} min"


def sweep_line(place: "Place | None") -> str:
    """How far a sweep is, as one of its members sees it, safe; empty where there is none."""
    if place is None:
        return ""
    words = f"run {place.number} of {place.of} of a sweep, {place.done} finished"
    words += f", {safe(place.at_work)} is at work" if place.at_work else ""
    return words + (f", about {span(place.seconds_left)} of training left" if place.seconds_left else "")


def band_name(band: int) -> str:
    """A band of examples: the top ones, or an interval of activation, 1 the highest."""
    return "top" if band == 0 else f"band {band}"


def called(row: Mapping[str, Any]) -> str:
    """What a feature goes by on a line: its star and label, or else its top token. Safe."""
    top = row["top_token"]
    name = safe(row["label"]) if row["label"] else "never fired" if top is None else token(top)
    return "★ " * bool(row["starred"]) + name


def facts(row: Mapping[str, Any], counted: int | None = None, unit: str = "tokens") -> list[tuple[str, str]]:
    """Names and figures of a feature, the most telling first; on `counted` of a `unit`, where that is given.

    Those of its activations only where it fired.
    """
    of = f" of {counted:,}" if counted is not None else ""
    fired = [] if row["dead"] else [
        ("density", f"{figure(100 * row['density'])}% ({row['n']:,}{of} {unit})"),
        ("mean", figure(row["mean"])),
        ("max", figure(row["max"])),
        ("p99", figure(row["p99"])),
        ("token entropy" if unit == "tokens" else "label entropy", f"{row['token_entropy']:.2f} nats"),
        ("p50", figure(row["p50"])),
        ("std", figure(row["std"])),
    ]  # fmt: skip
    weights = ("bias", "threshold", "encoder_norm", "decoder_norm")
    return fired + [(name.replace("_", " "), figure(row[name])) for name in weights if row[name] is not None]


def lit(tokens: "Iterable[ContextToken]", *, at: int, width: int) -> str:
    """A context on one line of at most `width` characters: active tokens in brackets, cut around `at`.

    `at` is the `token_idx` of the example itself. Readable without colour.
    """
    parts: list[str] = []
    centre = 0
    for t in tokens:
        shown = safe(t.text)
        if t.token_idx == at:
            centre = sum(map(len, parts)) + len(shown) // 2
            shown = f"[[{shown}]]"
        elif t.value > 0:
            shown = f"[{shown}]"
        parts.append(shown)
    line = "".join(parts)
    if len(line) <= width:
        return line
    start = min(max(0, centre - width // 2), len(line) - width)
    cut = line[start : start + width]
    return ("…" + cut[1:] if start else cut[:-1] + "…") if start + width >= len(line) or not start else f"…{cut[1:-1]}…"

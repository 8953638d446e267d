"""Sessions as rows of a table, and one session told in full: what the Runs screen shows of each."""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from textual.content import Content

from core import recorded
from core.architectures import SPARSITY, reads_images
from core.overview import Seen
from sae_tui.text import age, compact, figure, safe, size
from sae_tui.widgets.bars import state
from sae_tui.widgets.columns import Column

BARS = "▁▂▃▄▅▆▇█"
TREND = 8
"""Cells of a trend."""
HEADLINES = (
    ("baseline_acc", "accuracy"), ("recon_acc", "with SAE"), ("fidelity", "fidelity"), ("fvu", "FVU"), ("l0", "L0"),
    ("dead_share", "dead"), ("ce_loss_score", "CE score"),
)  # fmt: skip
SHARES = ("baseline_acc", "recon_acc", "dead_share")
"""Of these, what is told in percent."""
NAME = 9
"""Cells of the names at the left of the side pane."""


def columns(rows: Sequence[Seen], at_hand: str = "") -> list[Column]:
    """The columns, as wide as these sessions need; those at the right go first where there is no room.

    `at_hand` is the name of the session that the other screens are about.
    """
    words = max((cell_len(standing(seen).plain) for seen in rows), default=6)
    names = max((cell_len(safe(seen.name)) for seen in rows), default=4)
    steps = max((cell_len(doing(seen)) for seen in rows), default=4)

    def name(seen: Seen) -> Content:
        here = seen.name == at_hand
        return Content.assemble((safe(seen.name), "bold" if here else ""), (" ◂", "$primary") if here else "")

    return [
        Column("state", "state", words, standing),
        Column("name", "name", min(30, max(8, names + 2)), name, weight=1),
        Column("step", "step", min(22, max(6, steps)), doing, right=True),
        Column("fvu", "FVU", 5, lambda seen: share(seen.figure("fvu")), right=True),
        Column("l0", "L0", 5, lambda seen: figure(seen.figure("l0")), right=True),
        Column("ce_loss_score", "CE", 5, lambda seen: share(seen.figure("ce_loss_score")), right=True),
        Column("trend", "trend", TREND, lambda seen: trend(seen.trend), style="$secondary"),
        Column("size", "size", 7, lambda seen: size(seen.size_bytes).replace(" ", "") if seen.size_bytes else "",
               right=True, style="$text-muted"),
        Column("dead_share", "dead", 5, lambda seen: percent(seen.figure("dead_share")), right=True),
        Column("speed", "tok/s", 5, lambda seen: compact(speed(seen)) if speed(seen) else "", right=True,
               style="$text-muted"),
        Column("age", "age", 4, lambda seen: age(seen.status.started), right=True, style="$text-muted"),
    ]  # fmt: skip


def sort_key(column: str, seen: Seen) -> Any:
    """What a session is sorted by; None where it has none."""
    match column:
        case "state":
            return seen.observed.state
        case "name":
            return seen.name
        case "step":
            return _number(seen.latest.get("step")) or None
        case "size":
            return seen.size_bytes
        case "speed":
            return speed(seen) or None
        case "age":
            return -seen.status.started or None
        case "trend":
            return seen.trend[-1] if seen.trend else None
        case _:
            return seen.figure(column)


def standing(seen: Seen) -> Content:
    """A session's state; of the member of a sweep that runs, the sweep's place too."""
    told = state(seen.observed.state)
    if not seen.observed.active or seen.place is None:
        return told
    number, of = seen.place
    return Content.assemble(told, (f" {number} of {of}", "$text-muted"))


def doing(seen: Seen) -> str:
    """How far the training is, or what the job does now."""
    status, latest = seen.status, seen.latest
    step, steps = latest.get("step"), latest.get("steps")
    if seen.observed.active and status.phase not in ("training", ""):
        done = f" {status.done / status.total:.0%}" if status.total and status.done else ""
        return f"{status.phase.split(' (')[0]}{done}"
    if not isinstance(step, int):
        return ""
    return compact(step) if step == steps or not isinstance(steps, int) else f"{compact(step)}/{compact(steps)}"


def share(value: float | None) -> str:
    """A figure that is at most about 1, in three digits behind the point."""
    return "-" if value is None else f"{value:.3f}".removeprefix("0") if 0 <= value < 0.9995 else f"{value:.2f}"


def percent(value: float | None) -> str:
    """A share as a percentage."""
    return "-" if value is None else f"{100 * value:.1f}%"


def speed(seen: Seen) -> float:
    """Activations a second: of the last step while it trains, else of all of the training; 0 where there is none."""
    if seen.observed.active and seen.status.job == "train":
        return _number(seen.latest.get("activations_per_s"))
    seconds = _number(seen.latest.get("elapsed_s"))
    return _number(seen.latest.get("activations")) / seconds if seconds > 0 else 0.0


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


def trend(values: Sequence[float]) -> str:
    """FVU over the training, as bars from 0 to its largest."""
    top = max(values, default=0)
    if top <= 0:
        return ""
    n = min(TREND, len(values))
    picked = [values[i * (len(values) - 1) // max(1, n - 1)] for i in range(n)]
    return "".join(BARS[min(7, max(0, int(8 * v / top)))] for v in picked)


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values, each with its dotted name."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Fields in which two configurations differ: name, theirs, ours, safe; the order is that of the fields."""
    a, b = dict(flat(theirs)), dict(flat(ours))
    return [(safe(k), value_text(a.get(k)), value_text(b.get(k))) for k in {**a, **b} if a.get(k) != b.get(k)]


def told(
    seen: Seen,
    values: Mapping[str, Any],
    marked: Sequence[tuple[str, Mapping[str, Any]]],
    log: Sequence[str],
    width: int,
    sweep: str = "",
) -> list[Content]:
    """One session in full: its state, configuration, figures, what exists, how it differs from the marked ones.

    `values` are those of its configuration, as read from TOML; `marked` the names and values of the marked others;
    `log` the last lines that were printed; `sweep` says how far the sweep is that it is of, safe.
    """
    lines = [Content.styled(safe(seen.name), "bold"), _state_line(seen)]
    if seen.observed.note:
        ink = "$error" if seen.observed.state in ("failed", "interrupted") else "$warning"
        lines += [Content.styled(line, ink) for line in _wrapped(safe(seen.observed.note), width)]
    elif seen.observed.active and seen.status.phase:
        lines += [Content(line) for line in _wrapped(safe(_phase(seen)), width)]
    lines += [Content(line) for line in _wrapped(sweep, width) if line]
    unit = "images" if reads_images(values) else "tokens"
    lines += [Content(""), *_configured(dict(flat(values)), width, unit), Content(""), *_figures(seen, unit)]
    if seen.recorded:
        lines += _row("recorded", recorded.words(seen.recorded), width)
        told = recorded.warning(seen.recorded, seen.evaluation)
        lines += [Content.styled(line, "$warning") for line in _wrapped(told, width) if told]
    lines += [Content(""), *_row("has", _has(seen), width)]
    for name, theirs in marked:
        found = differences(values, theirs)
        lines += [Content(""), Content.assemble(("differs from ", "$text-muted"), (safe(name), "bold"))]
        lines += [_change(*one) for one in found] or [Content.styled("  in nothing", "$text-muted")]
    if log:
        lines += [Content(""), Content.styled("last printed", "$text-muted")]
        lines += [Content.styled(f"  {safe(line)}", "$text-muted") for line in log]
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(8, width)) or [""]


def _state_line(seen: Seen) -> Content:
    job = f" · {seen.status.job}" if seen.status.job else ""
    when = f" · {age(seen.status.started)}" if seen.status.started else ""
    return Content.assemble(state(seen.observed.state), (f"{safe(job)}{when}", "$text-muted"))


def _phase(seen: Seen) -> str:
    status = seen.status
    if not status.total:
        return status.phase
    return f"{status.phase}: {status.done:,.0f} of {status.total:,.0f} {status.unit} ({status.done / status.total:.0%})"


def _configured(values: Mapping[str, Any], width: int, unit: str) -> list[Content]:
    def get(name: str) -> str:
        return value_text(values.get(name))

    if not values:
        return [Content.styled("its config.toml cannot be read", "$error")]
    symbol, field = SPARSITY.get(str(values.get("sae.architecture")), ("k", "k"))
    if symbol != "k" and values.get("sae.target_l0") is not None:
        symbol, field = "L0", "target_l0"
    features = get("sae.d_sae") if values.get("sae.d_sae") else f"{get('sae.expansion') or '8'} × d_in"
    sparsity = f"{symbol} {get(f'sae.{field}')}"
    read, text = _row("source", get("training.source"), width), []
    if not values.get("training.source"):
        read = [
            *_row("model", f"{get('model.name')} {get('model.dtype')}", width),
            *_row("hook", get("model.hook"), width),
        ]
        context = "" if unit == "images" else f", context {get('tokens.context')}"
        text = _row("corpus", get("corpus.name") + context, width)
    return [
        *read,
        *_row("SAE", f"{get('sae.architecture')} {sparsity}, {features} features", width),
        *text,
        *_row("budget", f"{get('budget.activations')} activations", width),
    ]


def _figures(seen: Seen, unit: str) -> list[Content]:
    tokens = seen.evaluation.get("tokens")
    lines = []
    for name, word in HEADLINES:
        value = seen.figure(name)
        if value is None:
            continue
        shown = percent(value) if name in SHARES else figure(value)
        on = tokens.get(name) if isinstance(tokens, Mapping) and name in seen.evaluation else None
        note = f"on {on:,} test {unit}" if isinstance(on, int) else "last batch"
        lines.append(Content.assemble((f"{word:<{NAME}}", "$text-muted"), f"{shown:<8}", (note, "$text-muted")))
    return lines or [Content.styled("no figures yet", "$text-muted")]


def _has(seen: Seen) -> str:
    found = [("SAE", seen.has_sae), ("evaluation", bool(seen.evaluation)), ("features", seen.has_features)]
    there = ", ".join(word for word, is_there in found if is_there) or "nothing yet"
    return there + (f" ({size(seen.size_bytes)})" if seen.size_bytes else "")


def _row(name: str, value: str, width: int) -> list[Content]:
    """A value beside its name, over as many lines as it needs."""
    first, *rest = _wrapped(value, width - NAME)
    head = Content.assemble((f"{name:<{NAME}}", "$text-muted"), first)
    return [head, *(Content(" " * NAME + line) for line in rest)]


def _change(name: str, theirs: str, ours: str) -> Content:
    return Content.assemble(f"  {name}  ", (theirs or "-", "$text-muted"), " → ", (ours or "-", "bold"))


def value_text(value: Any) -> str:
    """A value of a configuration, safe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else safe(f"{value:g}" if isinstance(value, float) else str(value))

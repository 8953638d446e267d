"""What a session's job does and what to do about it, above and below the charts. No widgets: lines of content."""

import math
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from textual.content import Content

from core.overview import Seen
from sae_tui.text import figure, safe
from sae_tui.widgets.bars import state
from sae_tui.widgets.scales import bar, count, duration, number, trend
from sae_tui.widgets.traces import CHARTS, TREND, Found, means

MAIN = ("loss", "fvu", "l0", "dead", "dense")
"""Figures that are always in sight; those of charts with their trends."""
BAR = 48
"""Cells of the bar of a job's progress, at most."""
Pair = tuple[str, str]
"""A name and a value."""


def progress(seen: Seen, left_s: float | None, width: int, *, ascii_only: bool) -> Content:
    """State, phase, bar, share and time left, on a line of `width` cells."""
    status, observed = seen.status, seen.observed
    active = observed.state in ("queued", "running", "paused")
    doing = f" {safe(status.job)}" if status.job and observed.state != "new" else ""
    if active and status.phase:
        doing += f" · {safe(status.phase)}"
    first = Content.assemble(" ", state(observed.state), (f" {doing}", "bold"))
    if not active or not status.total:
        return first
    share = min(1.0, status.done / status.total)
    rest = f" {share:4.0%}" + (f"   ETA {eta(left_s)}" if observed.state == "running" else "")
    room = width - first.cell_length - len(rest) - 4
    drawn = bar(share, min(room, BAR), ascii_only=ascii_only) if room >= 8 else ""
    return Content.assemble(first, "  ", (drawn, "$primary on $panel"), (rest, "bold"))


def beside(line: Content, words: Sequence[str], width: int) -> Content:
    """A line with words at its right end: those that there is room for, the most important first."""
    told = ""
    for word in words:
        longer = f"{told} · {word}" if told else word
        if line.cell_length + len(longer) + 3 > width:
            break
        told = longer
    return Content.assemble(line.pad_right(width - line.cell_length - len(told) - 1), (told, "$text-muted"))


def steps(seen: Seen) -> list[Pair]:
    """How far it is, and for how long it goes on or since when it has ended."""
    status, pairs = seen.status, list[Pair]()
    active = seen.observed.state in ("queued", "running", "paused")
    step, planned = seen.latest.get("step"), seen.latest.get("steps")
    if active and status.phase == "training" and status.steps:
        pairs.append(("step", f"{status.step:,} of {status.steps:,}"))
    elif active and status.total and status.unit:
        pairs.append((safe(status.unit), f"{status.done:,.0f} of {status.total:,.0f}"))
    elif isinstance(step, int):
        pairs.append(("step", f"{step:,}" + (f" of {planned:,}" if isinstance(planned, int) else "")))
    if active and status.started:
        pairs.append(("elapsed", duration(time.time() - status.started)))
    elif status.heartbeat and seen.observed.state != "new":
        pairs.append(("ended", time.strftime("%Y-%m-%d %H:%M", time.localtime(status.heartbeat))))
    return pairs


def line(pairs: Sequence[Pair], width: int) -> Content:
    """Names and values, as many as `width` cells hold. What is between belongs to the name: each style is bytes."""
    found = Content("")
    for i, (name, value) in enumerate(pairs):
        longer = Content.assemble(found, (f"{'   ' if i else ' '}{name} ", "$text-muted"), (value, "bold"))
        if longer.cell_length > width:
            break
        found = longer
    return found


def eta(left_s: float | None) -> str:
    """The time left, for a person: no finer than it is known."""
    if left_s is None:
        return "soon known"
    if math.isinf(left_s):
        return "it stands still"
    step = 5 if left_s < 60 else 10
    return duration(math.ceil(left_s / step) * step)


def numbers(seen: Seen, found: Found, names: Sequence[str]) -> list[Pair]:
    """Fidelity or the CE-loss score where it was measured, and the newest figures of some charts."""
    named = (("fidelity", "fidelity"), ("CE-loss score", "ce_loss_score"))
    scores = ((said, finite(seen.evaluation.get(name))) for said, name in named)
    first = [(said, number(score)) for said, score in scores if score is not None][:1]
    return [*first, *((_short(found, name), _newest(found, name)) for name in names if _newest(found, name))]


def calibrated(values: Mapping[str, Any], width: int) -> Content | None:
    """What moving the thresholds did, on a line; None where they were not moved, or `values` are no such thing."""
    names = ("target_l0", "l0", "moved_by", "coefficient", "fvu_before", "fvu")
    target, l0, by, coefficient, before, after = (finite(values.get(name)) for name in names)
    if target is None or l0 is None or by is None:
        return None
    parts = [f"target {target:g}", f"achieved {number(l0)}", *([f"λ {figure(coefficient)}"] if coefficient else [])]
    moved = f"thresholds moved by {'−' if by < 0 else '+'}{figure(abs(by))}"
    if before is not None and after is not None:
        moved += f": FVU {number(before)} → {number(after)}"
    said = " · ".join([*parts, moved])
    if len(said) + 1 > width:
        said = said.replace("thresholds moved", "moved")
    return Content.styled(f" {said}", "$text-muted")


def strip(found: Found, width: int, *, ascii_only: bool) -> Content:
    """The main figures with their trends over the whole run, which are as long as there is room for."""
    said = [
        (name, f"{_short(found, name)} {value} ") for name in MAIN if (value := _newest(found, name).partition(" (")[0])
    ]
    charts = sum(name in found.trends for name, _ in said)
    room = (width - sum(len(text) + 2 for _, text in said)) // max(1, charts)
    cells = max(4, min(TREND, room))
    parts: list[Content | str | tuple[str, str]] = []
    for i, (name, text) in enumerate(said):
        parts.append(("  " if i else " ") + text)
        if name in found.trends:
            parts.append((trend(means(found.trends[name], cells), ascii_only=ascii_only), "$primary"))
    return Content.assemble(*parts)


def kept(seen: Seen, saved: Collection[int]) -> str:
    """What of its work a job leaves that is stopped. `saved` are the steps of its checkpoints."""
    status = seen.status
    if status.job == "analyze":
        return "What it has read is kept: an analysis goes on from there."
    if status.job != "train":
        return "What it has done so far is not kept."
    if status.step or (status.phase == "training" and status.done):
        return "A checkpoint is written first."
    return f"Checkpoint {max(saved):,} is kept." if saved else "No step was made yet: there is nothing to keep."


def trouble(seen: Seen, saved: Mapping[int, float]) -> Content | None:
    """What is wrong, or waited for, and what to do about it; None where all goes well. `saved` as for `panel`."""
    name, what, note = seen.observed.state, safe(seen.status.job), safe(seen.observed.note)
    if name == "failed":
        return Content.assemble((f"✗ {what} failed: {note}", "$error"), _do(seen, saved))
    if name == "interrupted":
        return Content.assemble((f"✗ {what} interrupted: {note}", "$error"), _do(seen, saved))
    if name == "silent":
        return Content.styled(f"? {note}: look there, or press x to ask it to stop", "$warning")
    if name == "paused":
        return Content.styled("‖ the job waits, with all it has in memory: p lets it go on, x stops it", "$warning")
    if name == "running" and note.startswith("hung"):
        return Content.styled(f"? {note}: v shows what it printed, x stops it", "$warning")
    return None


def _do(seen: Seen, saved: Mapping[int, float]) -> str:
    """What helps after an end that nobody wanted."""
    kept = f"checkpoint {max(saved)} is kept" if saved else ""
    kept += ", r: train on from it" if seen.resumable else ""
    again = "1, then c: the same run again, changed" if seen.status.job == "train" else ""
    return "\n  " + "  ·  ".join(part for part in (kept, "v: what it printed", again) if part)


def waiting(seen: Seen | None, width: int, *, ascii_only: bool) -> list[Content]:
    """What stands where curves will be: what is being waited for, for how long, or what to do."""
    if seen is None:
        return [
            Content.styled("no session yet", "bold"),
            Content(""),
            Content.assemble("press ", ("1", "bold $accent"), ", then ", ("n", "bold $accent"), " for a first run"),
            Content.styled("sae-tui demo trains one on the model that comes with it, in a few minutes", "$text-muted"),
        ]
    status, now = seen.status, seen.observed.state
    if now in ("queued", "running", "paused"):
        phase = safe(status.phase) or "waiting for its process"
        lines = [Content.styled(phase, "bold $primary"), Content("")]
        if status.total:
            drawn = bar(status.done / status.total, min(BAR, max(8, width - 16)), ascii_only=ascii_only)
            done = f"{status.done:,.0f} of {status.total:,.0f} {safe(status.unit)}"
            lines += [
                Content.assemble((drawn, "$primary on $panel"), f" {status.done / status.total:4.0%}"),
                Content.styled(done, "$text-muted"), Content(""),
            ]  # fmt: skip
        lines.append(Content(f"{duration(time.time() - status.started)} since the job began"))
        curves = "the curves come with the first step" if status.job == "train" else "this session has no curves"
        return [*lines, Content.styled(f"{curves} · v: what the job prints · x: stop it", "$text-muted")]
    if now in ("failed", "interrupted"):
        words = "it ended before its first step"
    elif seen.has_sae:
        words = "no curves: its SAE was not trained here"
    else:
        words = "nothing was trained here yet"
    hint = "3: its features" if seen.has_features else "1: all runs"
    return [Content.styled(words, "bold"), Content(""), Content.styled(f"{hint} · v: the log", "$text-muted")]


def _short(found: Found, name: str) -> str:
    if name in ("dead", "dense", "lr"):
        return name
    return found.plots[name].name if name in found.plots else CHARTS[name][0]


def _newest(found: Found, name: str) -> str:
    """A chart's newest figure as it is written; empty where it has none."""
    if name == "speed" and found.rate is not None:
        return count(found.rate)
    if name in ("dead", "dense"):
        share = found.latest.get(f"{name}_share")
        of_all = "" if share is None else f" ({number(share, 'share')})"
        return f"{found.latest[name]:,.0f}{of_all}" if name in found.latest else ""
    _, kind, columns = CHARTS[name]
    for column in columns:
        if column in found.latest:
            return number(found.latest[column], kind)
    return ""


def finite(value: Any) -> float | None:
    """A number of a file that can be shown as one; None for what is no number, or beyond all reason."""
    return value if isinstance(value, int | float) and abs(value) < 1e12 else None

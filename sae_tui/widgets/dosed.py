"""A dose–response as curves and a table, what each experiment is about, and the command line that asks for one."""

import shlex
from typing import Any

from textual.content import Content

from core.experiments.records import Curve, Dose, Interval, Point
from core.experiments.requests import BEGINNING, SAMPLED, DoseRequest, PairRequest, Request
from core.steering.interventions import written
from core.steering.request import Sampling
from sae_tui.text import figure, safe
from sae_tui.widgets.columns import Column
from sae_tui.widgets.measured import signed
from sae_tui.widgets.plots import Plot, Series

DAMAGE = ("kl", "perplexity", "repetition")
"""Figures of damage, the first shown first."""
NAMES = {"kl": "KL, nats a token", "perplexity": "perplexity of the text", "repetition": "4-grams seen before"}
ABOUT = {
    "dose": "Texts are written at every strength, all in one batch, by several seeds. Does the target gain: a phrase's "
    "log-probability behind the prompt, or the feature's own activation on the text? What does it cost: KL, "
    "perplexity, repetition? Strengths of use have gained and stay within the limits.",
    "pair": "Two features are edited, apart and together, over texts: what both do to logits and loss beyond what each "
    "does, beside the cosine of their directions and how they fire together.",
    "effect": "A feature is edited over texts: what changes in loss, logits and a token's log-probability, where it "
    "fires and on all tokens, beside the same edit of another feature of like density.",
}
"""What an experiment is, told before there is one."""
WIDTHS = (8, 6, 12, 8, 14, 11, 7, 6)
COLUMNS = ("strength", "of use", "target", "gain", "KL", "perplexity", "repeats", "raw")
"""Of the table."""


def plot(found: Dose | None, which: str) -> Plot:
    """A figure over the strength, a curve for each feature; strengths of use are a line at the foot of their curve."""
    if found is None:
        return Plot(name=which, series=(), low=0, high=1)
    nothing = 1.0 if found.request.kind == "scale" else 0.0

    def at(point: Point) -> float:
        return nothing if point.strength is None else point.strength

    series: list[Series] = []
    several = len(found.curves) > 1
    ends = [_mean(getattr(point, which)) for curve in found.curves for point in curve.points]
    foot = min((end for end in ends if end == end), default=0.0)
    for curve in found.curves:
        points = sorted(curve.points, key=at)
        name = str(curve.feature) if several else which
        series.append(Series(name, [at(point) for point in points], [_mean(getattr(p, which)) for p in points]))
    for curve in found.curves:
        if curve.window is not None:
            name = f"of use{f' {curve.feature}' if several else ''}"
            series.append(Series(name, [curve.window.low, curve.window.high], [foot, foot]))
    xs = [at(point) for curve in found.curves for point in curve.points]
    limit = found.request.limits.kl if which == "kl" else None
    shown = limit is not None and any(end > limit / 2 for end in ends if end == end)
    low, high = min(xs), max(xs)
    return Plot(
        name=_title(found, which), series=tuple(series), low=low, high=high if high > low else low + 1,
        x_name=found.request.unit_words, x_kind="number", level=limit if shown else None,
        log=which == "perplexity", empty="no figures yet",
    )  # fmt: skip


def _title(found: Dose, which: str) -> str:
    if which != "target":
        return f"{NAMES[which]} over strength"
    of = "its own activation" if found.request.target is None else f"ln p of {safe(repr(found.request.target))}"
    return f"{of} over strength"


def _mean(interval: Interval | None) -> float:
    return float("nan") if interval is None else interval.mean


def columns() -> list[Column]:
    """Of the table, whose rows are curves with a point."""

    def column(place: int) -> Column:
        return Column(
            COLUMNS[place], COLUMNS[place], WIDTHS[place],
            lambda row: cells(row[1])[place], right=True,
        )  # fmt: skip

    feature = Column("feature", "feature", 7, lambda row: str(row[0].feature), right=True)
    return [feature, *map(column, range(len(COLUMNS)))]


def text(curve: Curve, point: Point) -> list[Content]:
    """What was written at a strength."""
    at = "nothing done" if point.strength is None else f"feature {curve.feature} at {point.strength:g}"
    return [Content.styled(f"written by the first seed, {at}", "$text-muted"), Content(safe(point.text))]


def command_line(request: Request, session: str) -> str:
    """The shell command that measures the same."""
    words = ["sae-tui", "experiment", type(request).__name__.removesuffix("Request").lower(), session]
    if isinstance(request, DoseRequest):
        for feature in request.features:
            words += ["--feature", str(feature)]
        values: dict[str, Any] = {
            "prompt": request.prompt, "kind": request.kind, "unit": request.unit, "where": request.where,
            "strengths": ",".join(f"{s:g}" for s in request.strengths), "tokens": request.tokens,
            "seeds": len(request.seeds), **_sampled(request.sampling),
        }  # fmt: skip
        if request.target is not None:
            values["target"] = request.target
    else:
        edits = [request.one, request.other] if isinstance(request, PairRequest) else [request.edit]
        for edit in edits:
            words += edit.to_option()
        values = {}
        for given in request.texts:
            words += ["--text", given]
        if not isinstance(request, PairRequest):
            values = {"seed": request.seed} | ({"target": request.target} if request.target else {})
    return shlex.join([*words, *(word for name, value in values.items() for word in (f"--{name}", str(value)))])


def _sampled(sampling: Sampling) -> dict[str, str]:
    """What tokens are chosen by, where it is not as it begins."""
    changed = {name: getattr(sampling, name) for name in SAMPLED if getattr(sampling, name) != getattr(BEGINNING, name)}
    return {name.replace("_", "-"): written(value) for name, value in changed.items()}


def cells(point: Point) -> tuple[str, ...]:
    """A point's row of that table."""
    if point.broken:
        return (_strength(point), "", "not a number", *[""] * 4, figure(point.raw))
    gain = "" if point.gain is None else signed(point.gain.mean)
    return (
        _strength(point), "yes" if point.usable else "", spread(point.target), gain, spread(point.kl),
        spread(point.perplexity), "" if point.repetition is None else f"{point.repetition.mean:.0%}",
        figure(point.raw),
    )  # fmt: skip


def _strength(point: Point) -> str:
    return "none" if point.strength is None else f"{point.strength:g}"


def spread(interval: Interval | None) -> str:
    """A mean with half its interval: `0.42 ±0.05`."""
    if interval is None:
        return ""
    if interval.low is None or interval.high is None or interval.high == interval.low:
        return figure(interval.mean)
    half = (interval.high - interval.low) / 2
    return f"{figure(interval.mean)} ±{half:.{1 if half < 1 else 2}g}"

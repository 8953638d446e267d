"""From the sums of many texts to curves with intervals, and the strengths that are of use.

The window is made of the strengths of use that are neighbours among those tried, the longest such run, and where two
are as long the one with the larger gain. A strength is of use where

    the target has gained: a phrase by `limits.gain` nats or more; an activation with an interval of the gain above 0
    kl ≤ limits.kl,   perplexity ≤ limits.perplexity × that of nothing done,
    repetition ≤ that of nothing done + limits.repetition

and the best of the window is that with the largest gain.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from core.experiments.intervals import Bootstrap
from core.experiments.records import Curve, Dose, Interval, Point, Window
from core.experiments.requests import DoseRequest
from core.steering.interventions import Resolved


class Row:
    """One strength: its edit, and of the text of each seed the sums that the figures are made of."""

    def __init__(self, edit: Resolved | None, strength: float | None) -> None:
        self.edits = None if edit is None else [edit]
        """None: it is left alone, whatever the mode."""
        self.strength, self.raw = strength, 0.0 if edit is None else edit.value
        self.phrase = 0.0
        self.broken = False
        self.text = ""
        self.n: list[int] = []
        """Tokens."""
        self.nll: list[float] = []
        """−ln p of each."""
        self.kl: list[float] = []
        """KL behind each."""
        self.grams: list[int] = []
        self.repeats: list[int] = []
        """4-grams that were there before."""
        self.counted: list[int] = []
        """Tokens on which the SAE is defined."""
        self.activations: list[np.ndarray] = []
        """`[d_sae]`, on these."""


def found(request: DoseRequest, session: str, baseline: Row, features: Sequence[Sequence[Row]], seeds: int) -> Dose:
    """The record of the seeds that are whole."""
    samples = Bootstrap(seeds)
    curves = []
    for feature, rows in zip(request.features, features, strict=True):
        nothing = _point(baseline, baseline, feature, request, samples)
        points = [judged(_point(row, baseline, feature, request, samples), nothing, request) for row in rows]
        curves.append(Curve(feature=feature, points=(nothing, *points), window=window(points)))
    target = "the feature's own activation on what is generated, in units of the code"
    if request.target is not None:
        target = f"ln p of {request.target!r} behind the prompt, in nats"
    return Dose(request=request, session=session, target=target, curves=tuple(curves), seeds=seeds)


def _point(row: Row, baseline: Row, feature: int, request: DoseRequest, samples: Bootstrap) -> Point:
    if row.broken or baseline.broken:
        return Point(strength=row.strength, raw=row.raw, broken=True)
    gain = None
    if request.target is not None:
        target = Interval(mean=row.phrase, low=None, high=None, n=1)
        if row is not baseline:
            gain = Interval(mean=row.phrase - baseline.phrase, low=None, high=None, n=1)
    else:
        own, before = (
            (np.array([a[feature] for a in one.activations]), np.array(one.counted)) for one in (row, baseline)
        )
        target = samples.mean(*own)
        gain = None if row is baseline else samples.difference(own, before)
    nll = samples.mean(np.array(row.nll), np.array(row.n))
    return Point(
        strength=row.strength, raw=row.raw, target=target, gain=gain, text=row.text,
        kl=samples.mean(np.array(row.kl), np.array(row.n)), perplexity=None if nll is None else _exponent(nll),
        repetition=samples.mean(np.array(row.repeats), np.array(row.grams)),
    )  # fmt: skip


def _exponent(interval: Interval) -> Interval:
    mean, low, high = (None if end is None else math.exp(end) for end in (interval.mean, interval.low, interval.high))
    assert mean is not None
    return Interval(mean=mean, low=low, high=high, n=interval.n)


def judged(point: Point, nothing: Point, request: DoseRequest) -> Point:
    """The point, and whether its strength is of use; see the module."""
    limits, gain = request.limits, point.gain
    if gain is None or point.kl is None or point.perplexity is None or nothing.perplexity is None:
        return point
    gained = gain.mean >= limits.gain
    if request.target is None:
        gained = (gain.mean if gain.low is None else gain.low) > 0
    repeats = (point.repetition.mean if point.repetition else 0) - (
        nothing.repetition.mean if nothing.repetition else 0
    )
    harmless = (
        point.kl.mean <= limits.kl
        and point.perplexity.mean <= limits.perplexity * nothing.perplexity.mean
        and repeats <= limits.repetition
    )
    return replace(point, usable=gained and harmless)


def window(points: Sequence[Point]) -> Window | None:
    """The longest run of neighbours that are of use, the earlier where two gain alike; None where none is."""
    runs = [list(run) for usable, run in groupby(points, key=lambda point: point.usable) if usable]
    if not runs:
        return None
    best = [max(run, key=_gain) for run in runs]
    run, top = max(zip(runs, best, strict=True), key=lambda pair: (len(pair[0]), _gain(pair[1])))
    low, high = run[0].strength, run[-1].strength
    assert low is not None and high is not None and top.strength is not None
    return Window(low=low, high=high, best=top.strength)


def _gain(point: Point) -> float:
    return point.gain.mean if point.gain else -math.inf

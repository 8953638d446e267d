"""From the metrics files of some runs to what the charts draw: reading, smoothing, windows, overlays.

Blocks on files: for the background, one call at a time. Keeps what it read, so that a second without news costs a stat
for each run.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from core.curves import COLUMNS, Curves, changes
from sae_tui.widgets.plots import LETTERS, Plot, Series
from sae_tui.widgets.scales import number, reach

AXES = {"step": ("step", "count"), "activations": ("tokens", "count"), "elapsed_s": ("time", "time")}
"""The columns to draw over: each one's name for a person, and how its numbers are written."""
CHARTS = {
    "loss": ("loss", "number", ("loss",)),
    "terms": ("parts of the loss", "number", ("mse", "sparsity_loss", "aux_loss")),
    "fvu": ("FVU", "number", ("fvu",)),
    "ce": ("CE-loss score", "number", ("ce_loss_score",)),
    "l0": ("L0", "number", ("l0",)),
    "dead": ("dead features", "share", ("dead_share", "dead")),
    "coefficient": ("λ", "number", ("coefficient",)),
    "cosine": ("max cosine", "number", ("decoder_cosine_max",)),
    "lr": ("learning rate", "number", ("lr",)),
    "speed": ("tokens/s", "count", ("activations_per_s",)),
    "memory": ("memory", "bytes", ("memory_bytes", "gpu_memory_bytes")),
}
"""Each chart's title, how its numbers are written, and the columns it shows: the first that the file has."""
PARTS = {"terms": ("error", "sparsity", "auxiliary"), "memory": ("process", "GPU")}
"""Charts of the run at hand alone, with a curve for each of their columns that is not 0: those columns' names."""
NOISY = frozenset({"loss", "terms", "fvu", "l0", "speed"})
"""Charts of figures that vary from batch to batch; the others are exact, and never smoothed."""
SELDOM = frozenset({"ce", "cosine"})
"""Charts of what is measured now and then, and held between: drawn from one measurement to the next."""
DENSITY = "density"
"""The chart beside those: how often features fire, which is no curve."""
WEIGHTS = (0.0, 0.6, 0.9, 0.99)
TREND = 10
RATE_S = 60.0
TAIL = 4
"""Following the end shows this part of the whole: a quarter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How a person wants the curves."""

    axis: str = "step"
    weight: float = 0.0
    follow: bool = False
    window: tuple[float, float] | None = None
    """The part of the x axis to show; None: all."""
    log: frozenset[str] = frozenset({"loss", "terms"})
    """Charts with a logarithmic y axis."""

    def to_json(self) -> dict[str, Any]:
        """What of it outlives the session at hand: all but the window."""
        return {"axis": self.axis, "smoothing": self.weight, "follow": self.follow, "log": sorted(self.log)}

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> "View":
        """The view that `to_json` told of; what is not right in it is as it is by default."""
        view, log = cls(), values.get("log")
        return cls(
            axis=str(values["axis"]) if values.get("axis") in tuple(AXES) else view.axis,
            weight=float(values["smoothing"]) if values.get("smoothing") in WEIGHTS else view.weight,
            follow=values.get("follow") is True,
            log=frozenset(name for name in log if name in (*CHARTS, DENSITY)) if isinstance(log, list) else view.log,
        )

    def next_axis(self) -> "View":
        """The next x axis, all of it: a part of the one before is no part of this."""
        names = tuple(AXES)
        return replace(self, axis=names[(names.index(self.axis) + 1) % len(names)], window=None)

    def next_weight(self) -> "View":
        """The next smoothing."""
        return replace(self, weight=WEIGHTS[(WEIGHTS.index(self.weight) + 1) % len(WEIGHTS)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run to draw."""

    label: str
    path: Path
    """Its `metrics.jsonl`."""
    live: bool
    """Whether it goes on: then the x axis ends where it still will be a while."""
    aim: float | None = None
    """The number of active features that it is to have."""
    unit: str = "tokens"
    """What is counted as it goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the first of the runs has come to, and the plots of all."""

    lines: int = 0
    """Lines held; 0: nothing was trained yet."""
    plots: Mapping[str, Plot] = field(default_factory=dict)
    latest: Mapping[str, float] = field(default_factory=dict)
    """The newest figures, by their columns' names; what is not a number is missing."""
    trends: Mapping[str, list[float]] = field(default_factory=dict)
    """The whole run in TREND values, by chart."""
    rate: float | None = None
    """Tokens a second over the last minute trained."""
    last: float = 0.0
    """The newest x."""
    absent: frozenset[str] = frozenset()
    """Charts that would say nothing of this run."""
    drawn: tuple[str, ...] = ()
    """How all of the charts are drawn, in words."""


class Traces:
    """The curves of some runs, kept between two looks at their files."""

    def __init__(self) -> None:
        self._curves: dict[Path, Curves] = {}
        self._parts: dict[Path, tuple[tuple[object, ...], Curves]] = {}
        self._seen: object = None

    def read(self, runs: Sequence[Run], view: View) -> Found | None:
        """Look at the files and make the plots; None where neither files nor wishes are other ones than before."""
        runs = runs[: len(LETTERS)]
        self._curves = {run.path: self._curves.get(run.path) or Curves(run.path) for run in runs}
        self._parts = {path: part for path, part in self._parts.items() if path in self._curves}
        for curves in self._curves.values():
            curves.read()
        if not runs:
            return None if self._seen == () else self._remember((), Found())
        low, high = self._limits(runs, view)
        shown = [self._shown(run.path, view, low, high) for run in runs]
        stamp = (tuple(runs), view, low, high, tuple((id(curves), curves.version) for curves in shown))
        if stamp == self._seen:
            return None
        first = self._curves[runs[0].path]
        plots = {name: self._plot(name, runs, shown, view, low, high) for name in CHARTS}
        found = Found(
            lines=len(first),
            plots=plots,
            latest={name: value for name in COLUMNS if (value := first.latest(name)) is not None},
            trends={name: means(first.series("step", _column(name, first))[1], TREND) for name in CHARTS},
            rate=first.rate(RATE_S),
            last=first.latest(view.axis) or 0.0,
            absent=self._absent(runs, plots),
            drawn=(
                f"x = {plots['loss'].x_name}",
                *((f"EMA {view.weight:g}".replace("0.", "."),) if view.weight else ()),
                *(("tail",) if view.follow else ()),
                *((f"1 line in {shown[0].every:.0f}",) if shown[0].every >= 1.5 else ()),
            ),
        )
        return self._remember(stamp, found)

    def _remember(self, stamp: object, found: Found) -> Found:
        self._seen = stamp
        return found

    def _limits(self, runs: Sequence[Run], view: View) -> tuple[float, float]:
        """The part of the x axis to show."""
        ends = []
        for run in runs:
            curves = self._curves[run.path]
            last = curves.latest(view.axis) or 0.0
            ends.append(reach(last, curves.planned(view.axis)) if run.live else last)
        whole = max(ends)
        if view.follow:
            last = self._curves[runs[0].path].latest(view.axis) or 0.0
            span = view.window[1] - view.window[0] if view.window else whole / TAIL
            step = span / TAIL
            high = math.ceil(last / step) * step if step > 0 else whole
            return max(0.0, high - span), max(high, span)
        return view.window or (0.0, whole)

    def _shown(self, path: Path, view: View, low: float, high: float) -> Curves:
        """What to draw of a run: a part in more detail, where only a part is seen of one that is not held whole."""
        whole = self._curves[path]
        if not view.follow and view.window is None:
            return whole
        key = (view.axis, low, high, whole.restarts)
        before = self._parts.get(path)
        if before is None or before[0] != key:
            before = (key, whole.part(view.axis, low, high))
            self._parts[path] = before
        if before[1] is not whole:
            before[1].read()
        return before[1]

    def _absent(self, runs: Sequence[Run], plots: Mapping[str, Plot]) -> frozenset[str]:
        """Those nothing was recorded for, parts of a loss of one, the L0 of runs that always have k."""
        first, aim = self._curves[runs[0].path], runs[0].aim
        nothing = {name for name in ("coefficient", "cosine", "ce", "memory") if not first.has(_column(name, first))}
        of_one = {"terms"} if len(plots["terms"].series) < 2 else set[str]()
        l0s = (l0 for run in runs for l0 in self._curves[run.path].series("step", "l0")[1])
        constant = {"l0"} if aim is not None and all(l0 == aim for l0 in l0s) else set[str]()
        return frozenset(nothing | of_one | constant)

    def _plot(
        self, name: str, runs: Sequence[Run], shown: Sequence[Curves], view: View, low: float, high: float
    ) -> Plot:
        title, kind, columns = CHARTS[name]
        column, (x_name, x_kind) = _column(name, shown[0]), AXES[view.axis]
        title, x_name = (text.replace("tokens", runs[0].unit) for text in (title, x_name))
        kind = "count" if column == "dead" else kind
        if name in PARTS:
            parts = zip(PARTS[name], columns, strict=True)
            series = [_series(label, shown[0], name, part, view) for label, part in parts]
            series = [part for part in series if any(y > 0 for y in part.ys)]
        else:
            # What is seldom measured has no more detail than the whole, and no first value in a part of it.
            of_all = [self._curves[run.path] for run in runs] if name in SELDOM else shown
            series = [
                _series(run.label, curves, name, _column(name, curves), view)
                for run, curves in zip(runs, of_all, strict=True)
            ]
        several = name in PARTS and len(series) > 1
        names = tuple(f"{LETTERS[i]} {part.label}" for i, part in enumerate(series)) if several else ()
        newest = self._curves[runs[0].path].latest(column)
        gaps = shown[0].gaps(column) + (sum(y <= 0 for y in series[0].ys) if name in view.log and series else 0)
        aim = runs[0].aim if name == "l0" else None
        notes = (
            *((f"target {aim:g}",) if aim is not None else ()),
            *((f"{gaps} gap{'s' * (gaps > 1)}",) if gaps else ()),
        )
        recorded = len(shown[0]) == 0 or shown[0].has(column)
        return Plot(
            name=title, series=tuple(series), low=low, high=high, x_name=x_name, x_kind=x_kind, y_kind=kind,
            log=name in view.log, value="" if newest is None or several else number(newest, kind), notes=notes,
            line=names, level=aim,
            empty="nothing to draw" if recorded else "not recorded in this run",
        )  # fmt: skip


def _series(label: str, curves: Curves, name: str, column: str, view: View) -> Series:
    """A column of some curves as the chart `name` draws it."""
    xs, ys = curves.series(view.axis, column, view.weight if name in NOISY else 0.0)
    return Series(label, *(changes(xs, ys) if name in SELDOM else (xs, ys)))


def _column(name: str, curves: Curves) -> str:
    columns = CHARTS[name][2]
    return next((column for column in columns if curves.has(column)), columns[0])


def means(values: Sequence[float], n: int) -> list[float]:
    """The mean of each of `n` parts of some values, or of fewer; nan for a part with nothing but gaps."""
    found, n = [], min(n, len(values))
    for i in range(n):
        part = [v for v in values[i * len(values) // n : (i + 1) * len(values) // n] if v == v]
        found.append(sum(part) / len(part) if part else math.nan)
    return found

"""A training's curves: `metrics.jsonl` as columns, read from where one left off.

Holds at most HELD lines, evenly spaced in the file, so that a run of any length opens in the same time, is drawn in the
same time and never grows in memory. Knows no terminal and no torch.
"""

import contextlib
import json
import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from core.storage import sample_lines

AXES = ("step", "activations", "elapsed_s")
"""What a curve can be drawn over: optimiser steps, tokens, seconds since training began."""
COLUMNS = (
    *AXES, "loss", "mse", "fvu", "l0", "l1", "sparsity_loss", "aux_loss", "dead", "dead_share", "lr",
    "coefficient", "dense", "decoder_cosine_mean", "decoder_cosine_max", "ce_loss_score",
    "activations_per_s", "memory_bytes", "gpu_memory_bytes",
)  # fmt: skip
HELD = 8_192
"""Lines held at most; then every second one is let go."""
SAMPLED = 2_048
"""Lines taken of a file that is too long to be read whole: 70 ms."""
WHOLE_BYTES = 2**21
"""A file, or what was appended to it, is read whole up to here: some 7,000 lines, 20 ms."""
HEAD_BYTES = 256
GAP = math.nan


class Curves:
    """One `metrics.jsonl`, or a part of it. Not to be read from two threads at once."""

    def __init__(self, path: Path, *, start: int = 0, end: int | None = None) -> None:
        """`start` and `end` are places in bytes where lines begin; without `end` it follows what is appended."""
        self._path, self._start, self._end = path, start, end
        self.version = 0
        """Another number after every change."""
        self.restarts = 0
        """How often the file turned out to be another one than before."""
        self._stamp: tuple[int, ...] = ()
        self._forget()

    def __len__(self) -> int:
        return len(self._places)

    @property
    def steps(self) -> int | None:
        """The steps that the budget makes, as the newest line says; None in files that do not say."""
        return self._steps

    @property
    def every(self) -> float:
        """Lines of the file for each that is held: 1 where all are."""
        return max(1.0, self._spacing / self._line_bytes)

    def has(self, name: str) -> bool:
        """Whether any line held says `name`."""
        return any(not math.isnan(value) for value in self._columns[name])

    def gaps(self, name: str) -> int:
        """Lines held whose `name` is not a finite number, where others have one."""
        return sum(map(math.isnan, self._columns[name])) if self.has(name) else 0

    def latest(self, name: str) -> float | None:
        """The newest line's `name`; None where it has none."""
        column = self._columns[name]
        return column[-1] if column and not math.isnan(column[-1]) else None

    def planned(self, axis: str) -> float | None:
        """Where on `axis` the budget ends; None where that is not known, as for the time."""
        step, value = self.latest("step"), self.latest(axis)
        if not self._steps or not step or value is None or axis == "elapsed_s":
            return None
        return float(self._steps) if axis == "step" else float(round(value / step * self._steps))

    def rate(self, seconds: float) -> float | None:
        """Activations a second over the last `seconds` of training; None until there are two lines that say so."""
        elapsed, done = self._columns["elapsed_s"], self._columns["activations"]
        if not elapsed:
            return None
        first = bisect_left(elapsed, elapsed[-1] - seconds)
        first = min(first, max(0, len(elapsed) - 2))
        took, made = elapsed[-1] - elapsed[first], done[-1] - done[first]
        return made / took if took > 0 and made >= 0 else None

    def read(self) -> bool:
        """Take what was appended since, or all anew where the file is another one; whether anything changed."""
        try:
            found = self._path.stat()
        except OSError:
            return self._emptied()
        stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
        if stamp == self._stamp or (self._end is not None and self._consumed >= self._end):
            return False
        before, self._stamp = self._stamp, stamp
        try:
            with self._path.open("rb") as file:
                if before and (found.st_ino != before[0] or not self._goes_on(file, found.st_size)):
                    self._forget()
                    self.restarts += 1
                self._head = self._head or _at(file, self._start, HEAD_BYTES)
                size = found.st_size if self._end is None else min(self._end, found.st_size)
                if size - self._consumed > WHOLE_BYTES:
                    self._sample(size)
                changed = self._append(file, size)
        except OSError:
            return self._emptied()
        if changed:
            self.version += 1
        return changed

    def series(self, axis: str, name: str, weight: float = 0.0) -> tuple[Sequence[float], Sequence[float]]:
        """`name` over `axis`, smoothed with `weight`: x, which only grows, and as many y; a gap is nan."""
        if axis == "step":  # each line's is greater than that of the line before
            return self._columns["step"][:], smoothed(self._columns[name], weight)
        xs, ys, last = array("d"), array("d"), -math.inf
        for x, y in zip(self._columns[axis], self._columns[name], strict=True):
            if x > last:
                last = x
                xs.append(x)
                ys.append(y)
        return xs, smoothed(ys, weight)

    def part(self, axis: str, low: float, high: float) -> "Curves":
        """The lines between two values of `axis`, in more detail, with some before them for the smoothing to start on.

        Follows what is appended where the newest line is among them. Unread; itself where there is no more detail.
        """
        xs = self._columns[axis]
        first, last = bisect_left(xs, low), bisect_right(xs, high)
        if self.every <= 1 or first >= len(xs):
            return self
        first = max(0, first - 1 - (last - first) // 5)
        end = self._places[last] if last < len(xs) else None
        return Curves(self._path, start=self._places[first], end=end)

    def _forget(self) -> None:
        self._columns = {name: array("d") for name in COLUMNS}
        self._places = array("q")
        self._consumed = self._start
        self._head = b""
        self._spacing, self._line_bytes = 0.0, 1.0
        self._due = 0.0
        self._steps: int | None = None
        self._provisional = False

    def _emptied(self) -> bool:
        had = bool(self._places)
        self._stamp = ()
        self._forget()
        self.version += had
        self.restarts += had
        return had

    def _goes_on(self, file: BinaryIO, size: int) -> bool:
        """Whether the file is the one that was read, only longer."""
        return size >= self._consumed and _at(file, self._start, len(self._head)) == self._head

    def _sample(self, size: int) -> None:
        """Begin anew with lines from all over the file."""
        head = self._head
        self._forget()
        self._head = head
        for place, line in sample_lines(self._path, SAMPLED, start=self._start, end=size, whole_bytes=WHOLE_BYTES):
            self._add(place, line)
        self._spacing = (size - self._start) / SAMPLED
        if self._places:
            self._consumed = self._places[-1]
            self._drop(len(self._places) - 1)
            self._due = self._consumed

    def _append(self, file: BinaryIO, size: int) -> bool:
        """Take the whole lines up to `size`: those that are due, and always the last, until a newer one comes."""
        file.seek(self._consumed)
        data = file.read(max(0, size - self._consumed))
        data = data[: data.rfind(b"\n") + 1]
        if not data:
            return False
        if self._provisional:
            self._drop(len(self._places) - 1)
        lines = data.splitlines(keepends=True)
        self._line_bytes = len(data) / len(lines)
        place = self._consumed
        for n, line in enumerate(lines, 1):
            due = place >= self._due
            if due or n == len(lines):
                values: Any = None
                with contextlib.suppress(ValueError):
                    values = json.loads(line)
                self._provisional = self._add(place, values) and not due
                if due and self._spacing:
                    self._due += self._spacing * math.ceil((place + 1 - self._due) / self._spacing)
            place += len(line)
            if len(self._places) > HELD:
                self._thin()
        self._consumed = place
        return True

    def _add(self, place: int, values: Any) -> bool:
        """Hold a line; False for one that says no step. A run that was taken up again replaces what it does anew."""
        step = _number(values.get("step")) if isinstance(values, dict) else GAP
        if math.isnan(step):
            return False
        steps = self._columns["step"]
        if steps and step <= steps[-1]:
            self._drop(bisect_left(steps, step))
        for name, column in self._columns.items():
            column.append(_number(values.get(name)))
        self._places.append(place)
        planned = values.get("steps")
        self._steps = planned if isinstance(planned, int) and planned > 0 else self._steps
        return True

    def _drop(self, first: int) -> None:
        """Let go of the lines from the `first`-th on."""
        for column in self._columns.values():
            del column[first:]
        del self._places[first:]

    def _thin(self) -> None:
        """Let go of every second line."""
        self._columns = {name: column[::2] for name, column in self._columns.items()}
        self._places = self._places[::2]
        self._spacing = 2 * (self._spacing or self._line_bytes)
        self._due = self._places[-1] + self._spacing


def _at(file: BinaryIO, place: int, n: int) -> bytes:
    file.seek(place)
    return file.read(n)


def _number(value: Any) -> float:
    """A finite number as a float; what is not one is a gap."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return GAP
    try:
        return float(value) if math.isfinite(value) else GAP
    except OverflowError:
        return GAP


def smoothed(values: Sequence[float], weight: float) -> Sequence[float]:
    """The exponential moving average with `weight` for what came before, without its bias to 0 at the beginning.

    `s_t = Σ_i w^(t-i) v_i / Σ_i w^(t-i)`. A gap (nan) stays one and counts for nothing after it.
    """
    if weight <= 0:
        return array("d", values)
    found, total, norm = array("d"), 0.0, 0.0
    for value in values:
        if value == value:
            total, norm = weight * total + value, weight * norm + 1.0
            found.append(total / norm)
        else:
            found.append(GAP)
    return found


def changes(xs: Sequence[float], ys: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """The points whose y is another one than the y before: of a figure that is held between, where it was measured."""
    kept = [i for i, y in enumerate(ys) if y == y and (not i or y != ys[i - 1])]
    return array("d", (xs[i] for i in kept)), array("d", (ys[i] for i in kept))


def bucketed(
    xs: Sequence[float], ys: Sequence[float], low: float, high: float, columns: int
) -> tuple[list[float], list[float]]:
    """What of a curve `columns` columns from `low` to `high` can show: the least and the greatest of each, in order.

    A column with nothing but gaps is one gap. Where the curve comes from or goes beyond, its edge is on the line.
    """
    first, last = bisect_left(xs, low), bisect_right(xs, high)
    kept: list[tuple[float, float]] = []
    if 0 < first < len(xs) and xs[first] > low:
        kept += _edge(xs, ys, first, low)
    start = first
    for column in range(1, columns + 1):
        end = bisect_left(xs, low + column * (high - low) / columns, start, last) if column < columns else last
        if end > start:
            part = ys[start:end]
            if math.isnan(sum(part)):  # min and max are right only without gaps
                part = [value for value in part if value == value] or [GAP]
            places = {_place(ys, min(part), start), _place(ys, max(part), start)}
            kept += [(xs[i], ys[i]) for i in sorted(places)]
            start = end
    if 0 < last < len(xs) and xs[last - 1] < high:
        kept += _edge(xs, ys, last, high)
    return [x for x, _ in kept], [y for _, y in kept]


def _place(values: Sequence[float], value: float, start: int) -> int:
    """Where `value` stands from `start` on; a gap stands for nothing but gaps, and its place is the first."""
    return start if value != value else values.index(value, start)


def _edge(xs: Sequence[float], ys: Sequence[float], i: int, x: float) -> list[tuple[float, float]]:
    """Where the line from the point before the `i`-th to the `i`-th crosses `x`; nothing beside a gap."""
    share = (x - xs[i - 1]) / (xs[i] - xs[i - 1])
    y = ys[i - 1] + share * (ys[i] - ys[i - 1])
    return [(x, y)] if y == y else []

"""What verbs share: progress on stderr, results on stdout, tables, JSON."""

import argparse
import json
import math
import sys
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from core import records
from core.session import Session
from sae_tui.text import safe

T = TypeVar("T")
GAP = 2
"""Cells between two columns of a table."""
NUMBER, WORDS, HEADER = 10, 6, 3
"""Cells that a column of a table keeps: a number is whole in ten; of words, and of a header, some letters tell them."""
PLAIN_EVERY_S = 10.0
"""Seconds between two lines of progress where stderr is no terminal."""


def as_json(value: Any) -> None:
    """Print a value as JSON, in ASCII, so that no character in it reaches a terminal raw; NaN becomes null."""
    print(json.dumps(_finite(value), indent=1, ensure_ascii=True, allow_nan=False))


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value


def session_of(args: argparse.Namespace) -> Session:
    """The session named on the command line. Raises SessionError."""
    return Session.open(args.sessions, args.name)


def add_set(verb: argparse.ArgumentParser) -> None:
    """The option --set, which may be repeated."""
    verb.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
        help="change one field of the configuration, e.g. sae.k=16; may be repeated",
    )  # fmt: skip


def watched(stream: Iterable[Any]) -> Iterator[Any]:
    """Hand records on, showing Progress (with an ETA), Notice and StepReport on stderr as they come."""
    view = _Bars() if sys.stderr.isatty() else _Lines()
    with view:
        for record in stream:
            view.show(record)
            yield record


def finished(work: Generator[Any, None, T]) -> T:
    """Run work to its end, shown as it goes, and return what it returns."""
    result: list[T] = []

    def records() -> Iterator[Any]:
        result.append((yield from work))

    for _ in watched(records()):
        pass
    return result[0]


def step_line(report: records.StepReport) -> str:
    """The figures of a step on one line."""
    return (
        f"step {report.step}  loss {report.loss:.4g}  FVU {cell(report.fvu)}  L0 {report.l0:.1f}  "
        f"dead {report.dead}  {report.activations_per_s:,.0f} act/s"
    )


class _Bars:
    """A bar for each phase, on a terminal."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            console=Console(stderr=True),
        )
        self._phase = ""
        self._figures = ""
        self._task: Any = None

    def __enter__(self) -> None:
        self._progress.start()

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, record: Any) -> None:
        if isinstance(record, records.Notice):
            self._progress.console.print(Text(safe(record.message)))
        elif isinstance(record, records.StepReport):
            self._figures = f"FVU {cell(record.fvu)} L0 {record.l0:.0f} dead {record.dead}"
        elif isinstance(record, records.Progress):
            if record.phase != self._phase:
                self._phase, self._figures = record.phase, ""
                self._task = self._progress.add_task(safe(record.phase), unit=record.unit, figures="")
            self._progress.update(
                self._task, completed=int(record.done), figures=self._figures,
                total=None if record.total is None else int(record.total),
            )  # fmt: skip


class _Lines:
    """A line for each phase and one now and then, in a log."""

    def __init__(self) -> None:
        self._phase = ""
        self._began = self._printed = 0.0
        self._step: records.StepReport | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, record: Any) -> None:
        if isinstance(record, records.Notice):
            sys.stderr.write(safe(record.message) + "\n")
        elif isinstance(record, records.StepReport):
            self._step = record
        elif isinstance(record, records.Progress):
            now = time.monotonic()
            if record.phase != self._phase:
                self._phase, self._began, self._step = record.phase, now, None
            elif now - self._printed < PLAIN_EVERY_S:
                return
            self._printed = now
            sys.stderr.write(self._line(record, now - self._began) + "\n")
            sys.stderr.flush()

    def _line(self, record: records.Progress, elapsed_s: float) -> str:
        line = safe(record.phase)
        if record.total and record.done:
            left = elapsed_s / record.done * (record.total - record.done)
            line += f" {record.done / record.total:.0%}, {record.done:,.0f} of {record.total:,.0f} {record.unit}"
            line += f", ETA {left:.0f} s" if elapsed_s > 1 else ""
        elif record.done:
            line += f" {record.done:,.0f} {record.unit}"
        return line + (f"  {step_line(self._step)}" if self._step else "")


def figures(values: Mapping[str, Any], unit: str = "tokens") -> Iterator[str]:
    """A line for each metric, with the number of tokens, or of what `unit` says, it stands on where that is known."""
    tokens = values.get("tokens", {})
    for name, value in values.items():
        if name != "tokens":
            yield f"{name:<30}{cell(value):>12}" + (f"  on {tokens[name]:,} {unit}" if name in tokens else "")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, left: Iterable[str] = ()) -> None:
    """Print rows under a header, numbers to the right; every cell made safe.

    Where they are too wide together, the widest are cut; columns for which that is not enough are named below.
    """
    # A pipe has no width: rich would assume 80 columns and cut.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False, soft_wrap=False)
    kept, names = set(left), [safe(column) for column in columns]
    cells = [[cell(value) for value in row] for row in rows]
    wide = [max(map(cell_len, of), default=0) for of in zip(*cells, strict=True)] or [0] * len(names)
    natural = [max(cell_len(name), width) for name, width in zip(names, wide, strict=True)]
    least = [
        min(whole, max(HEADER, min(width, WORDS if column in kept else NUMBER)))
        for column, whole, width in zip(columns, natural, wide, strict=True)
    ]
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    widths = _fitted(natural, least, console.width)
    for column, name, width in zip(columns, names, widths, strict=False):
        justify = "left" if column in kept else "right"
        drawn.add_column(Text(name), justify=justify, width=width, no_wrap=True, overflow="ellipsis")
    for row in cells:
        drawn.add_row(*map(Text, row[: len(widths)]))
    console.print(drawn)
    if hidden := names[len(widths) :]:
        print(f"{len(hidden)} more column{'s' * (len(hidden) > 1)}: {', '.join(hidden)} · --json has all")


def _fitted(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Widths of as many columns as have room, one at least: the widest are cut, none below its least width."""
    n = len(natural)
    while n > 1 and sum(least[:n]) + GAP * (n - 1) > room:
        n -= 1

    def cut(most: int) -> list[int]:
        return [min(whole, max(floor, most)) for whole, floor in zip(natural[:n], least[:n], strict=True)]

    most = min(room, max(natural[:n], default=0))
    while most > 1 and sum(cut(most)) + GAP * (n - 1) > room:
        most -= 1
    return cut(most)


def cell(value: Any) -> str:
    """One value for a person: numbers short, text safe, nothing for None."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case Mapping() | list() | tuple():
            return safe(json.dumps(value))
        case _:
            return safe(str(value))

"""Runs beside each other: what differs between their configurations, and what came of each."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from textual.content import Content

from core.architectures import SPARSITY
from core.overview import Seen
from core.pareto import front
from sae_tui.text import figure, safe
from sae_tui.widgets.columns import GAP, PREFIX, Column
from sae_tui.widgets.run_rows import differences, flat, percent, share, value_text
from sae_tui.widgets.scatter import ASCII, STYLES, Point

AXES = {"fvu": ("FVU", 1), "ce_loss_score": ("CE-loss score", -1), "fidelity": ("fidelity", -1)}
"""What stands against L0: its name for a person, and 1 where less of it is better, −1 where more is."""
FIRST = ("sae.architecture", "sae.target_l0", "sae.k", "sae.l1_coefficient", "sae.l0_coefficient", "sae.d_sae")
"""Differences that are told first."""
UNSET = {"sae.target_l0", "sae.d_sae", "sae.expansion"}
"""Fields that a file leaves out to say something; others that are missing are of another version."""
NARROW = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A row: a run, its letter, what sets it apart, and its figures. Those of the last batch where none are measured.

    The loss is of the last batch that was logged, always.
    """

    letter: str
    seen: Seen
    differs: str
    """Safe."""
    loss: float | None
    fvu: float | None
    l0: float | None
    sparsity: float | None
    dead_share: float | None
    ce_loss_score: float | None
    fidelity: float | None
    """None where the model does not classify."""

    @property
    def name(self) -> str:
        """The session's name."""
        return self.seen.name

    @property
    def empty(self) -> bool:
        """Whether there are no figures yet."""
        return self.loss is None and self.fvu is None and self.l0 is None

    @property
    def measured(self) -> bool:
        """Whether its figures are of the test split."""
        return _number(self.seen.evaluation.get("fvu")) is not None


def runs(seen: Sequence[Seen], letters: Mapping[str, str], configs: Sequence[Mapping[str, Any]]) -> list[Run]:
    """A row for each; `letters` are by the sessions' names."""
    return [
        Run(
            letter=letters[one.name], seen=one, differs=told, loss=_number(one.latest.get("loss")),
            **{
                name: _number(one.evaluation.get(name) if name in one.evaluation else one.latest.get(name))
                for name in ("fvu", "l0", "sparsity", "dead_share", "ce_loss_score", "fidelity")
            },
        )
        for one, told in zip(seen, differing(configs), strict=True)
    ]  # fmt: skip


def axes(found: Sequence[Run]) -> list[str]:
    """Those of `AXES` that these runs have figures for."""
    return [name for name in AXES if name != "fidelity" or any(run.fidelity is not None for run in found)]


def points(found: Sequence[Run], axis: str) -> list[Point]:
    """The runs as points, the Pareto front of those that were measured among them."""
    _, sign = AXES[axis]
    known = [(run, getattr(run, axis)) for run in found]
    costs = [(run.l0, sign * y) if run.measured and run.l0 is not None and y is not None else None for run, y in known]
    return [
        Point(run.letter, run.l0, y, best, run.measured)
        for (run, y), best in zip(known, front(costs), strict=True)
    ]  # fmt: skip


def differing(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of each configuration what it has otherwise than another one, in words that are safe.

    What all but one share tells but that one apart, and is last.
    """
    flats = [_used(dict(flat(values))) for values in configs]
    names = list(dict.fromkeys([*FIRST, *(name for values in flats for name in values)]))
    apart = []
    for name in names:
        there = [values.get(name) for values in flats if name in values or (name in UNSET and values)]
        if any(value != there[0] for value in there):
            apart.append(name)
    rows = [values for values in flats if values]

    def alone(name: str) -> bool:
        [(_, most)] = Counter(repr(values.get(name)) for values in rows).most_common(1)
        return len(rows) > 2 and most == len(rows) - 1

    apart.sort(key=alone)
    lasts = Counter(name.rpartition(".")[2] for name in names)
    said = {name: last if lasts[last := name.rpartition(".")[2]] == 1 else name for name in apart}
    return [
        " · ".join(_word(name, said[name], values[name]) for name in apart if name in values)
        if values else "its config.toml cannot be read"
        for values in flats
    ]  # fmt: skip


def _used(values: dict[str, Any]) -> dict[str, Any]:
    """Without the settings of sparsity that are another architecture's."""
    mine = SPARSITY.get(str(values.get("sae.architecture")), ("", ""))[1]
    others = {f"sae.{field}" for _, field in SPARSITY.values() if field != mine} if mine else set[str]()
    if mine == "k":
        others.add("sae.target_l0")
    return {name: value for name, value in values.items() if name not in others}


def _word(name: str, said: str, value: Any) -> str:
    return value_text(value) if name == "sae.architecture" else f"{safe(said)} {value_text(value)}"


def columns(found: Sequence[Run], marks: Mapping[str, Point], width: int, *, ascii_only: bool) -> list[Column]:
    """The columns in `width` cells; `marks` are the points by their letters."""

    def mark(run: Run) -> Content:
        point = marks.get(run.letter)
        if point is None or point.x is None or point.y is None:
            return Content(f"  {run.letter}")
        glyph = point.glyph.translate(ASCII) if ascii_only else point.glyph
        return Content.styled(f"{glyph} {run.letter}", STYLES[point.kind])

    def shown(text: str, run: Run) -> str:
        return text if run.measured or text == "-" else f"~{text}"

    figures = [
        Column("loss", "loss", 6, lambda run: figure(run.loss), right=True),
        Column("fvu", "FVU", 5, lambda run: shown(share(run.fvu), run), right=True),
        Column("l0", "L0", 6, lambda run: shown(figure(run.l0), run), right=True),
        Column("sparsity", "spars%", 6, lambda run: "-" if run.sparsity is None else f"{100 * run.sparsity:.4g}",
               right=True),
        Column("dead_share", "dead", 5, lambda run: shown(percent(run.dead_share), run), right=True),
        Column("ce_loss_score", "CE", 5, lambda run: share(run.ce_loss_score), right=True),
    ]  # fmt: skip
    if any(run.fidelity is not None for run in found):
        figures.append(Column("fidelity", "fid.", 5, lambda run: share(run.fidelity), right=True))
    letter = Column("letter", "", 2 + max((len(run.letter) for run in found), default=1), mark)
    room = width - PREFIX - letter.width - sum(GAP + column.width for column in figures) - 2 * GAP - 1
    longest = max((cell_len(safe(run.name)) for run in found), default=4)
    words = max((cell_len(run.differs) for run in found), default=0)
    narrow = width < NARROW
    name = Column("name", "name", max(8, min(longest, room if narrow else room // 2)), lambda run: run.name)
    differs = Column(
        "differs", "differs in", max(10, min(words, 60 if narrow else room - name.width)),
        lambda run: Content(run.differs), weight=1, style="$text-muted",
    )  # fmt: skip
    return [letter, name, *figures, differs] if narrow else [letter, name, differs, *figures]


def difference(run: Run, values: Mapping[str, Any], other: Run, theirs: Mapping[str, Any]) -> Content:
    """A table of all that differs between two runs: configuration, then figures."""
    rows = differences(values, theirs)
    for name in ("fvu", "l0", "dead_share", "ce_loss_score", "fidelity"):
        a, b = getattr(other, name), getattr(run, name)
        if a is not None and b is not None and a != b:
            rows.append((name, f"{a:.4g}", f"{b:.4g}"))
    wide = max((len(row[0]) for row in rows), default=0)
    left = max((len(row[1]) for row in rows), default=0)
    lines = [Content.assemble((f"{safe(other.name)} → {safe(run.name)}", "bold $primary"))]
    lines += [
        Content.assemble((f"  {name:<{wide}}  ", "$text-muted"), f"{a or '-':>{left}} → ", (b or "-", "bold"))
        for name, a, b in rows
    ] or [Content("  in nothing")]
    return Content("\n").join(lines)


def letter(n: int) -> str:
    """The n-th: A to Z, then AA, AB, …"""
    found = ""
    while n >= 0:
        found = chr(ord("A") + n % 26) + found
        n = n // 26 - 1
    return found


def _number(value: Any) -> float | None:
    """A finite number of a size that a figure has; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        return None
    return float(value) if math.isfinite(value) else None

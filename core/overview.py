"""All sessions at a glance, read again only where something changed: what a list of runs polls.

Knows no terminal. Reading costs a few stats a session where nothing moves.
"""

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core import recorded
from core.session import Session, listing
from core.status import ACTIVE, Observed, Status
from core.storage import last_line, sample_lines, stamp

TREND_POINTS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One session as it is now."""

    session: Session
    status: Status
    observed: Observed
    latest: Mapping[str, Any]
    """The newest line of `metrics.jsonl`; empty where nothing was trained here."""
    evaluation: Mapping[str, Any]
    recorded: Mapping[str, float]
    """What the files of an imported SAE say of it; see `core.recorded`."""
    has_sae: bool
    has_features: bool
    trend: tuple[float, ...]
    """FVU over the whole training so far, at most 16 values, all finite."""
    place: tuple[int, int] | None
    """Which member of its sweep it is, from 1, and of how many; None where it is of none."""
    resumable: bool
    """Whether its training can go on from a checkpoint."""
    size_bytes: int | None
    """None until it was measured, which takes longest."""

    @property
    def name(self) -> str:
        """The session's name."""
        return self.session.name

    def figure(self, name: str) -> float | None:
        """A metric: of the evaluation, else as the training told it last."""
        value = self.evaluation.get(name, self.latest.get(name))
        return value if isinstance(value, (int, float)) and math.isfinite(value) else None


class Overview:
    """The sessions in one folder. Not to be read from two threads at once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, tuple[tuple[object, ...], Seen]] = {}

    def read(self, *, sizes: bool = True) -> list[Seen]:
        """Every session, newest first. Without `sizes` those not measured before stay unmeasured."""
        found: list[Seen] = []
        for session in listing(self._root):
            with contextlib.suppress(OSError):  # deleted this very moment
                found.append(self._seen(session, sizes))
        self._known = {name: self._known[name] for name in (seen.name for seen in found)}
        return found

    def _seen(self, session: Session, sizes: bool) -> Seen:
        now = tuple(stamp(path) for path in (
            session.status_path, session.metrics_path, session.evaluation_path, session.database_path, session.sae_dir,
            session.steering_dir, session.config_path, session.checkpoints_dir, session.sweep_path,
        ))  # fmt: skip
        before = self._known.get(session.name)
        if before and before[0] == now and (before[1].size_bytes is not None or not sizes):
            if before[1].status.state not in ACTIVE:
                return before[1]
            return replace(before[1], observed=session.observed())
        lines = sample_lines(session.metrics_path, TREND_POINTS, whole_bytes=2**14)
        fvu = [line.get("fvu") for _, line in _spread(lines)]
        seen = Seen(
            session=session,
            status=session.status(),
            observed=session.observed(),
            latest=last_line(session.metrics_path),
            evaluation=session.evaluation(),
            recorded=recorded.read(session.sae_dir),
            has_sae=(session.sae_dir / "sae_weights.safetensors").is_file(),
            has_features=session.database_path.is_file(),
            trend=tuple(float(v) for v in fvu if isinstance(v, (int, float)) and math.isfinite(v)),
            place=_place(session),
            resumable=session.resumable() is not None,
            size_bytes=session.size_bytes() if sizes else before[1].size_bytes if before else None,
        )
        self._known[session.name] = (now, seen)
        return seen


def _place(session: Session) -> tuple[int, int] | None:
    names = list(session.sweep())
    return (names.index(session.name) + 1, len(names)) if session.name in names else None


def _spread(lines: list[Any]) -> list[Any]:
    """At most TREND_POINTS of the lines, the first and the last among them."""
    if len(lines) <= TREND_POINTS:
        return lines
    return [lines[i * (len(lines) - 1) // (TREND_POINTS - 1)] for i in range(TREND_POINTS)]

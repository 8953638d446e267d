"""One look at a session's files and its job: what the Train screen shows of them. Blocks: for the background."""

import contextlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.machine import Usage, usage
from core.overview import Seen
from core.session import Session
from sae_tui.widgets.traces import Found, Run, Traces, View


@dataclass(frozen=True, slots=True)
class Look:
    """What a look found."""

    found: Found | None
    """The curves; None where there is nothing new."""
    usage: Usage | None
    """None where no job runs."""
    saved: Mapping[int, float]
    """Checkpoints by their steps, with the time each was written."""
    config: Mapping[str, Any]
    """`config.toml` as it stands there."""


class Watch:
    """Looks, and keeps what need not be read twice. Not to be used from two threads at once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._traces = Traces()
        self._config: dict[str, Any] = {}

    def look(self, seen: Seen, runs: Sequence[Run], view: View) -> Look:
        """The curves of `runs`, the session's own first; and the rest, of the session alone."""
        self._config = self._config or _config(self._session)
        return Look(
            found=self._traces.read(runs, view),
            usage=usage(seen.status) if seen.observed.active else None,
            saved=_checkpoints(self._session),
            config=self._config,
        )


def _config(session: Session) -> dict[str, Any]:
    """The run as configured, unchecked: pydantic takes longer to import than a frame may."""
    with contextlib.suppress(OSError, ValueError):
        return tomllib.loads(session.config_path.read_text(encoding="utf-8"))
    return {}


def _checkpoints(session: Session) -> dict[int, float]:
    found: dict[int, float] = {}
    with contextlib.suppress(OSError):  # one that is being replaced
        for path in session.checkpoints_dir.glob("*"):
            if path.name.isdigit():
                found[int(path.name)] = path.stat().st_mtime
    return found

"""One look at a session's files and its job: what the Train screen shows of them. Blocks: for the background."""

import contextlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.architectures import aim, reads_images
from core.machine import Usage, usage
from core.overview import Seen
from core.session import Session
from core.storage import read_json, stamp
from sae_tui.widgets import densities
from sae_tui.widgets.plots import Plot
from sae_tui.widgets.traces import DENSITY, Found, Run, Traces, View


@dataclass(frozen=True, slots=True)
class Look:
    """What a look found."""

    found: Found | None
    """The curves; None where there is nothing new."""
    density: Plot | None
    """How often features fire; None where there is nothing new."""
    usage: Usage | None
    """None where no job runs."""
    saved: Mapping[int, float]
    """Checkpoints by their steps, with the time each was written."""
    config: Mapping[str, Any]
    """`config.toml` as it stands there."""
    calibration: Mapping[str, Any]
    """`calibration.json` as it stands there; empty where no thresholds were moved."""


class Watch:
    """Looks, and keeps what need not be read twice. Not to be used from two threads at once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._traces = Traces()
        self._config: dict[str, Any] = {}
        self._densities = _Kept(session.densities_path)
        self._calibration = _Kept(session.calibration_path)
        self._drawn: tuple[object, ...] = ()

    def look(self, seen: Seen, runs: Sequence[Run], view: View) -> Look:
        """The curves of `runs`, the session's own first; and the rest, of the session alone."""
        self._config = self._config or _config(self._session)
        sae = self._config.get("sae")
        unit = "activations" if reads_images(self._config) else "tokens"
        own = replace(runs[0], aim=aim(sae) if isinstance(sae, dict) else None, unit=unit)
        return Look(
            found=self._traces.read([own, *runs[1:]], view),
            density=self._density(own, log=DENSITY in view.log),
            usage=usage(seen.status) if seen.observed.active else None,
            saved=_checkpoints(self._session),
            config=self._config,
            calibration=self._calibration.read(),
        )

    def _density(self, run: Run, *, log: bool) -> Plot | None:
        values = self._densities.read()
        drawn = (id(values), log, run.live)
        if drawn == self._drawn:
            return None
        self._drawn = drawn
        return densities.plot(values, label=run.label, log=log, live=run.live)


class _Kept:
    """A file of JSON, read again only where it is another one; a torn one is as it was before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, ...] = ()
        self._values: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        """Its values; the same object while it is the same."""
        if (now := stamp(self._path)) != self._stamp:
            self._stamp = now
            self._values = read_json(self._path) or self._values
        return self._values


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

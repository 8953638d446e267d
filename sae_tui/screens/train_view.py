"""What the Train screen shows: read from the session's files by the clock, and told its widgets."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.overview import Seen
from core.pace import Pace
from core.session import Session
from sae_tui.screens.page import Page
from sae_tui.text import safe
from sae_tui.widgets import job, job_panel
from sae_tui.widgets.chart import Chart
from sae_tui.widgets.panes import PANES, Figures, Panes
from sae_tui.widgets.rows import Rows
from sae_tui.widgets.traces import DENSITY, Found, Run, View
from sae_tui.widgets.watch import Look, Watch

STRIP_CLASSES = ("-short", "-narrow")
"""Screens with room for one chart, and for a line of figures with their trends instead of the others."""
NEWEST = ("loss", "fvu", "dead", "dense", "l0", "coefficient", "speed", "lr")
"""The order of the newest figures: those that change most first, for what is behind them need not be sent."""


class TrainView(Page):
    """The curves of the session at hand. Files are looked at by the clock, in the background."""

    CSS_PATH = "train.tcss"

    def __init__(self) -> None:
        super().__init__()
        self._view = View()
        self._overlay = False
        self._pace = Pace()
        self._watch: Watch | None = None
        self._found = Found()
        self._look: Look | None = None
        self._looking = self._again = False
        self._asked = False
        """Whether a person waits for the curves; while they only grow they come in turn."""
        self._trouble: Content | None = None
        self._at_work = self._resumable = False
        """Whether a job works on the session; whether none does, and its training did not end."""

    def body(self) -> Iterator[Widget]:
        """Progress, the charts and the panel, the line of figures."""
        with Vertical(id="head"):
            yield Rows(id="status")
            yield Rows(id="calibration")
            yield Static(id="trouble")
        yield Panes(graph=self.app.settings.graph, id="panes")
        yield Rows(id="waiting")
        yield Rows(id="strip")

    def recall(self, memory: dict[str, Any]) -> None:
        """The chart, the axis, the smoothing and the rest as they were."""
        self._view = View.of_json(memory)
        self._overlay = memory.get("overlay") is True
        self._panes.select(memory["chart"] if memory.get("chart") in PANES else PANES[0])

    def memory(self) -> dict[str, Any]:
        """The chart, the axis, the smoothing and the rest."""
        return {**self._view.to_json(), "chart": self._panes.current, "overlay": self._overlay}

    def opened(self, session: Session | None) -> None:
        """Another run: all of its x axis, and nothing of the one before."""
        self._pace.forget()
        self._view = replace(self._view, window=None)
        self._watch = Watch(session) if session else None
        self._found, self._look = Found(), None
        self._panes.look_at(None)
        self.query_one(Figures).border_title = Content(safe(session.name) if session else "no session")

    def clock(self) -> None:
        """Look at the files; what is above the charts is told when they were read, so that it is sent once a second."""
        seen = self._seen
        if seen is not None and seen.observed.state == "running":
            status = seen.status
            self._pace.note(time.time(), (status.pid, status.job, status.phase), status.done)
        else:
            self._pace.forget()
        active = seen is not None and seen.observed.active
        resumable = seen is not None and seen.resumable and not active
        if (active, resumable) != (self._at_work, self._resumable):
            self._at_work, self._resumable = active, resumable
            self.refresh_bindings()
        if seen is None or self._looking:  # there is nothing to read, or that takes long
            self._tell()
        self._look_again()

    def on_resize(self) -> None:
        """Another width for the lines."""
        self.call_after_refresh(self._tell)

    @property
    def _seen(self) -> Seen | None:
        return self.app.seen_of(self.app.session)

    @property
    def _panes(self) -> Panes:
        return self.query_one(Panes)

    @property
    def _chart(self) -> Chart | None:
        return self._panes.chart

    @property
    def _zoomed(self) -> bool:
        """Whether the pane at hand has all the room there is: Textual's own way would move the lines above it."""
        return self.has_class("-zoomed")

    def _see(self, view: View) -> None:
        """See the curves in another way, and all of them at once."""
        self._view, self._asked = view, True
        self._look_again()

    def _look_again(self) -> None:
        """Read what is new in the background; one look at a time, and one more where something was asked meanwhile."""
        if self._looking:
            self._again = True
            return
        seen, watch = self._seen, self._watch
        if seen is None or watch is None:
            return
        self._looking = True
        view, runs = self._view, self._runs(seen)
        self.background(
            lambda: watch.look(seen, runs, view), lambda look: self._looked(watch, look),
            group="look", failed=self._not_looked,
        )  # fmt: skip

    def _runs(self, seen: Seen) -> list[Run]:
        """The run at hand, then those laid over it."""
        marked = self.app.marked - {seen.name} if self._overlay else set[str]()
        return [
            Run(label=one.name, path=one.session.metrics_path, live=one.observed.active and one.status.job == "train")
            for one in (seen, *(other for other in self.app.seen if other.name in marked))
        ]

    def _looked(self, watch: Watch, look: Look) -> None:
        """Show what was found, if it is still this session that is at hand."""
        self._looking = False
        mine = watch is self._watch
        if mine:
            self._look = look
            plots = {DENSITY: look.density} if look.density else {}
            at_once = self._asked or not self._found.lines
            if look.found is not None:
                self._found, self._asked = look.found, False
                plots = {**look.found.plots, **plots}
                self._panes.without(look.found.absent)
            self._panes.show(plots, at_once=at_once) if plots else self._panes.go_on()
            self._tell()
        if self._again or not mine:
            self._again = False
            self._look_again()

    def _not_looked(self, error: Exception) -> None:
        self._looking = self._again = False
        self.app.complain(error)

    def _tell(self) -> None:
        """Everything but the charts; what is as it was is not sent again."""
        if not self.query(Figures):  # a size comes before all is there, and an answer after it has gone
            return
        seen, look, width = self._seen, self._look, self.size.width
        ascii_only = self.app.settings.graph == "ascii"
        waits = seen is None or (look is not None and not self._found.lines)
        if waits != self.has_class("-waiting"):
            self.set_class(waits, "-waiting")
            self._panes.select(self._panes.current)
        lines = [Content(""), Content(""), Content("")]
        if seen is not None:
            room = width - sum(len(word) + 3 for word in self._drawn)
            progress = job.progress(seen, self._left(seen), room, ascii_only=ascii_only)
            names = ("speed", "lr") if any(map(self.has_class, STRIP_CLASSES)) else NEWEST
            figures = job.line([*job.steps(seen), *job.numbers(seen, self._found, names)], width)
            progress = job.beside(progress, self._drawn, width)
            lines = [progress, figures, job.strip(self._found, width, ascii_only=ascii_only)]
            self.query_one(Figures).tell(
                job_panel.panel(seen, self._found, look.usage, look.saved, look.config) if look is not None else []
            )
        self.query_one("#status", Rows).show(lines[:2])
        self.query_one("#strip", Rows).show(lines[2:])
        self._tell_calibration(look, width)
        self._tell_trouble(job.trouble(seen, look.saved if look else {}) if seen else None)
        if waits:
            pane = self.query_one("#waiting", Rows)
            said = job.waiting(seen, width, ascii_only=ascii_only)
            above = [Content("")] * max(0, (pane.size.height - len(said)) // 2 - 1)
            pane.show([*above, *(line.pad_left((width - line.cell_length) // 2) for line in said)])

    @property
    def _drawn(self) -> tuple[str, ...]:
        """Which of the panes is seen where only one is, and how all charts are drawn; nothing where there are none."""
        if not self._found.lines:
            return ()
        there, alone = self._panes.there, self._zoomed or any(map(self.has_class, STRIP_CLASSES))
        place = (f"{there.index(self._panes.current) + 1} of {len(there)}",) if alone else ()
        return (*place, *self._found.drawn)

    def _tell_calibration(self, look: Look | None, width: int) -> None:
        """What moving the thresholds did; no line where none were moved."""
        line = job.calibrated(look.calibration, width) if look else None
        rows = self.query_one("#calibration", Rows)
        rows.display = line is not None
        rows.show([line] if line else [])

    def _tell_trouble(self, trouble: Content | None) -> None:
        """What is wrong, over as many lines as it takes; no line where nothing is."""
        if trouble != self._trouble:
            self._trouble = trouble
            static = self.query_one("#trouble", Static)
            static.update(trouble or "")
            static.display = trouble is not None

    def _left(self, seen: Seen) -> float | None:
        """Seconds until the phase is over: as watched, or at first as the training's own lines say."""
        status, rate = seen.status, self._found.rate
        left = self._pace.left(status.total)
        if left is None and rate and status.total and status.phase == "training" and status.unit == "activations":
            return (status.total - status.done) / rate
        return left

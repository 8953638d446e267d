"""Train: a run's curves as they grow, what its job does, and what it came to."""

import shlex
import time
from collections.abc import Iterator
from dataclasses import replace
from subprocess import Popen
from typing import Any

from textual import on
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core import jobs
from core.overview import Seen
from core.pace import Pace
from core.session import Session
from sae_tui.screens.dialogs import Ask
from sae_tui.screens.log import LogReader
from sae_tui.screens.page import Page
from sae_tui.text import safe
from sae_tui.widgets import job
from sae_tui.widgets.chart import Chart
from sae_tui.widgets.panes import PANES, Figures, Panes
from sae_tui.widgets.plots import LETTERS
from sae_tui.widgets.rows import Rows
from sae_tui.widgets.traces import DENSITY, Found, Run, View
from sae_tui.widgets.watch import Look, Watch

STRIP_CLASSES = ("-short", "-narrow")
"""Screens with room for one chart, and for a line of figures with their trends instead of the others."""
NEWEST = ("loss", "fvu", "dead", "dense", "l0", "coefficient", "speed", "lr")
"""The order of the newest figures: those that change most first, for what is behind them need not be sent."""


class TrainPage(Page):
    """The curves of the session at hand. Files are looked at by the clock, in the background."""

    SECTION = MODE = "train"
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

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A job can be paused and stopped while there is one, and a training that did not end resumed while not."""
        if action == "resume":
            return self._resumable
        return self._at_work if action in ("pause", "stop") else super().check_action(action, parameters)

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

    @on(Chart.Window)
    def _window(self, event: Chart.Window) -> None:
        """A part of the x axis, or all of it, for all charts."""
        window = event.window
        if window and window[0] <= 0 and self._found.last <= window[1]:
            window = None  # wider than all there is
        self._see(replace(self._view, window=window, follow=self._view.follow and window is not None))

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
                job.panel(seen, self._found, look.usage, look.saved, look.config) if look is not None else []
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

    def action_open(self) -> None:
        """The chart at hand on the whole screen, with its crosshair; or back."""
        if self._zoomed:
            self.action_back_out()
        elif self.has_class("-waiting"):
            self.app.say("there are no curves yet")
        else:
            self.add_class("-zoomed")
            if self._chart is not None and self._chart.cursor is None:
                self._chart.action_last()
            self._tell()

    def action_zoom(self) -> None:
        """The same as enter."""
        self.action_open()

    def action_back_out(self) -> None:
        """Out of the zoom, and the crosshairs away."""
        self.remove_class("-zoomed")
        self._panes.look_at(None)
        self._tell()

    def action_log(self) -> None:
        """A logarithmic y axis, or a linear one."""
        if self._chart is not None:
            self._see(replace(self._view, log=self._view.log ^ {self._panes.current}))

    def action_axis(self) -> None:
        """The next x axis."""
        self._panes.look_at(None)
        self._see(self._view.next_axis())

    def action_smooth(self) -> None:
        """The next smoothing."""
        self._see(self._view.next_weight())

    def action_tail(self) -> None:
        """Follow the end, or show all again."""
        follow = not self._view.follow
        self._see(replace(self._view, follow=follow, window=self._view.window if follow else None))

    def action_overlay(self) -> None:
        """The marked runs' curves, or only this one's."""
        others = self.app.marked - {self._seen.name if self._seen else ""}
        if not others and not self._overlay:
            self.app.say("no other run is marked: press 1, then space on the runs to compare")
            return
        self._overlay = not self._overlay
        if self._overlay and len(others) >= len(LETTERS):
            self.app.say(f"the first {len(LETTERS) - 1} of the {len(others)} runs marked")
        self._see(self._view)

    def action_show_log(self) -> None:
        """What the jobs printed."""
        if self.app.session is not None:
            self.app.push_screen(LogReader(self.app.session))

    def action_pause(self) -> None:
        """Have the job wait, or go on."""
        seen = self._seen
        if seen is None:
            return
        session, job_ = seen.session, f"the {seen.status.job} job of {seen.name}"

        def asked(want: str) -> None:
            waits = f"{job_} waits after this step; it keeps its memory, and p lets it go on"
            self.app.say(waits if want == "pause" else f"{job_} goes on")
            self.app.tick()

        self.background(lambda: _paused_or_not(session), asked, group="want")

    def action_stop(self) -> None:
        """Ask, then have the job stop."""
        seen = self._seen
        if seen is None:
            return
        session, what = seen.session, seen.status.job

        def answered(letter: str | None) -> None:
            if letter == "s":
                self.app.say(f"{session.name}: stopping")
                self.background(lambda: _stop(session), lambda _: self.app.tick(), group="stop")

        kept = job.kept(seen, self._look.saved if self._look else {})
        self.app.push_screen(
            Ask(f"Stop {what} of {session.name}?", (("s", "stop it"), ("c", "let it run")), detail=kept), answered
        )

    def action_resume(self) -> None:
        """Go on with a training that did not end, then evaluate and analyse it; and with the sweep that it is of."""
        seen = self._seen
        if seen is None or not self._resumable:
            return
        session = seen.session

        def started(process: Popen[bytes]) -> None:
            self.app.started.append(process)
            self.app.say(f"{session.name} goes on from its checkpoint")
            self.app.tick()

        words = (*jobs.THEN, jobs.SWEEP) if session.sweep() else jobs.THEN
        self.background(lambda: jobs.start(session, "train", words), started, group=f"start {session.name}")

    def action_next(self) -> None:
        """The next pane."""
        self._turn(1)

    def action_previous(self) -> None:
        """The pane before."""
        self._turn(-1)

    def action_left(self) -> None:
        """The pane at the left, or the crosshair."""
        if self._zoomed and self._chart is not None:
            self._chart.action_left()
        else:
            self._turn(-1)

    def action_right(self) -> None:
        """The pane at the right, or the crosshair."""
        if self._zoomed and self._chart is not None:
            self._chart.action_right()
        else:
            self._turn(1)

    def action_up(self) -> None:
        """To the row of charts above; in the panel, a line up."""
        if not self._zoomed or self._chart is None:
            self._panes.up()
            self._tell()

    def action_down(self) -> None:
        """To the row of charts below; in the panel, a line down."""
        if not self._zoomed or self._chart is None:
            self._panes.down()
            self._tell()

    def _turn(self, by: int) -> None:
        self._panes.turn(by)
        self._tell()

    def copied(self) -> tuple[str, str] | None:
        """What the crosshair reads, or the newest value."""
        chart = self._chart
        if self._seen is None or chart is None or not chart.plot.series:
            return None
        read = [("chart", chart.plot.name), *chart.readings()]
        return f"the values of {chart.plot.name}", "\n".join(f"{name}\t{value}" for name, value in read)

    def command_line(self) -> str | None:
        """The session's figures on the command line."""
        if self.app.session is None:
            return None
        return f"sae-tui --sessions {shlex.quote(str(self.app.root))} show {shlex.quote(self.app.session.name)}"


def _paused_or_not(session: Session) -> str:
    """Turn what is wanted of the job round, and say what it is now."""
    want = "run" if session.wanted() == "pause" else "pause"
    session.want(want)
    return want


def _stop(session: Session) -> None:
    """Stop the job; one that ended by itself meanwhile is stopped too."""
    if session.observed().active:
        jobs.stop(session)

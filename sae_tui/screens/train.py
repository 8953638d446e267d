"""Train: a run's curves as they grow, what its job does, and what it came to."""

import shlex
from dataclasses import replace
from subprocess import Popen

from textual import on

from core import jobs
from core.session import Session
from sae_tui.screens.dialogs import Ask
from sae_tui.screens.log import LogReader
from sae_tui.screens.train_view import TrainView
from sae_tui.widgets import job
from sae_tui.widgets.chart import Chart
from sae_tui.widgets.plots import LETTERS


class TrainPage(TrainView):
    """What a person does with the curves, and with the job that makes them."""

    SECTION = MODE = "train"

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A job can be paused and stopped while there is one, and a training that did not end resumed while not."""
        if action == "resume":
            return self._resumable
        return self._at_work if action in ("pause", "stop") else super().check_action(action, parameters)

    @on(Chart.Window)
    def _window(self, event: Chart.Window) -> None:
        """A part of the x axis, or all of it, for all charts."""
        window = event.window
        if window and window[0] <= 0 and self._found.last <= window[1]:
            window = None  # wider than all there is
        self._see(replace(self._view, window=window, follow=self._view.follow and window is not None))

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

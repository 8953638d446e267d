"""The workbench: five modes over one folder of sessions, and one clock. Draws and queries; computes nothing."""

import asyncio
import contextlib
import gc
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import SystemCommand
from textual.binding import Binding
from textual.filter import Monochrome, NoColor
from textual.screen import Screen

from core.analysis.stores import Stores
from core.errors import SaeTuiError, SessionError
from core.overview import Overview, Seen
from core.session import Session
from sae_tui import keys, mended, modes, themes
from sae_tui.screens.page import Bench, Page
from sae_tui.settings import Settings
from sae_tui.state import State
from sae_tui.stylesheet import ParsedOnce
from sae_tui.widgets.bars import MODES

if TYPE_CHECKING:
    from subprocess import Popen

TICK_S = 1.0
"""The one clock: how often files are looked at."""
QUIET_S = 3.0
"""After so long without a key nobody sees a collection of garbage, which takes 30 to 120 ms."""
COLLECT_AFTER = 20
"""Collections of the second generation, after which there is garbage worth one of the third."""
WARM_S = 0.1
"""After this the first frame is there, and a person looks at it."""


def _commands() -> Any:
    from sae_tui.palette import Commands  # here: not needed for the first frame

    return Commands


class Workbench(Bench):
    """The application."""

    MODES: ClassVar[dict[str, Any]] = modes.screens()

    CSS_PATH = "app.tcss"
    TITLE = "sae-tui"
    COMMANDS = {_commands}
    COMMAND_PALETTE_BINDING = "ctrl+p"
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (70, "-narrow"), (100, "-normal"), (140, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-low"), (18, "-short"), (30, "-tall")]
    ESCAPE_TO_MINIMIZE = True
    BINDINGS = [
        *keys.bindings("app"),
        Binding("ctrl+c", "help_quit", show=False, system=True),
    ]

    def __init__(
        self, root: Path, settings: Settings, state: State, *, session: Session | None = None, mode: str | None = None,
        started: Iterable["Popen[bytes]"] = (), overview: Overview | None = None,
    ) -> None:  # fmt: skip
        """`session` and `mode`, where given, go before those of the state. `started` are jobs just started; `overview`
        is one of `root` that was read already.
        """
        kept = state.part("app")
        last = str(kept.get("mode"))
        overview = overview or Overview(root)
        seen = overview.read(sizes=False)
        names = {one.name: one.session for one in seen}
        session = session or names.get(str(kept.get("session"))) or next(iter(names.values()), None)
        # Not by a switch in `on_mount`, which would draw an empty screen and the first mode's twice.
        first = modes.screen_of(mode or (last if last in MODES else "runs"), session)
        self.DEFAULT_MODE = first  # pyright: ignore[reportAttributeAccessIssue]
        mended.forget_closed_widgets()
        super().__init__()
        self.root, self.settings, self.state = root, settings, state
        self.stores = Stores()
        self.to_steer = []
        self.started = list(started)
        self._overview, self.seen, self.session = overview, seen, session
        self._looking = False
        self._states = {seen.name: seen.observed.state for seen in self.seen}
        self.marked = {str(name) for name in kept.get("marked") or () if str(name) in names}
        # Before anything is styled: a theme that comes later styles and draws all of it again.
        self.register_theme(themes.DARK)
        self.register_theme(themes.LIGHT)
        self.stylesheet = ParsedOnce()
        self.theme = self.settings.theme
        self.stylesheet.set_variables(self.get_css_variables())
        self.animation_level = "none"
        # Textual's own NO_COLOR turns colours to greys; a terminal that is asked for none should get none.
        self._filters = [NoColor() if isinstance(f, Monochrome) else f for f in self._filters]

    def on_mount(self) -> None:
        """Start the clock."""
        self.set_keymap(self.settings.keys)
        self.set_interval(TICK_S, self.tick)
        self.call_after_refresh(self.tick)
        self.set_timer(WARM_S, self._warm)

    def _warm(self) -> None:
        if not self.pressed_at:  # who types already is not to wait for what may not be wanted
            self.run_worker(asyncio.to_thread(self._warm_up), group="warm up")

    def _warm_up(self) -> None:
        """Import what the other modes need and open the database at hand, so that a first visit waits for neither."""
        modes.warm(self.session)
        if self.session is not None:
            self._warm_database(self.session)

    def _warm_database(self, session: Session) -> None:
        if session.database_path.is_file():
            with contextlib.suppress(SaeTuiError):
                self.stores.get(session)

    def tick(self) -> None:
        """Look at the sessions, in a thread; only one look at a time."""
        if not self.is_running:  # the screens are being taken apart
            return
        self.remember()
        self.started = [process for process in self.started if process.poll() is None]
        if time.monotonic() - self.pressed_at > QUIET_S and gc.get_count()[2] > COLLECT_AFTER:
            gc.collect()
        if self._looking:
            return
        self._looking = True

        async def look() -> None:
            try:
                seen = await asyncio.to_thread(self._overview.read)
            finally:
                self._looking = False
            self._looked(seen)

        self.run_worker(look(), group="overview")

    def _looked(self, seen: list[Seen]) -> None:
        self.seen = seen
        if self.session is not None and self.seen_of(self.session) is None:
            self.stores.forget(self.session)
            self.session = seen[0].session if seen else None
            self._show(self._mode)
        elif self.session is None and seen:
            self.session = seen[0].session
        for one in seen:
            before, now = self._states.get(one.name), one.observed.state
            if before in ("queued", "running", "paused") and now not in ("queued", "running", "paused"):
                self._ended(one)
        self._states = {one.name: one.observed.state for one in seen}
        if page := self._page():
            page.ticked()

    def _ended(self, seen: Seen) -> None:
        """A job has ended: say how."""
        job, state = seen.status.job, seen.observed.state
        if state in ("failed", "interrupted"):
            self.say(f"{seen.name}: {job} {state}. {seen.observed.note}", "error")
            self.bell()
        elif state in ("done", "stopped"):
            next_ = {"train": "", "analyze": ": press 3 for its features"}.get(job, "")
            self.say(f"{seen.name}: {job} {state}{next_ if state == 'done' else ''}")
            self.bell()

    def remember(self) -> None:
        """Keep the state of every screen, where it changed."""
        values = dict(self.state.values)
        values["app"] = {
            "session": self.session.name if self.session else None,
            "mode": self._mode,
            "marked": sorted(self.marked),
        }
        for stack in self._screen_stacks.values():
            for screen in stack:
                if isinstance(screen, Page) and screen.is_mounted and screen.SECTION:
                    values[screen.SECTION] = screen.memory()
        self.state.keep(values)

    async def on_unmount(self) -> None:
        """The last state is kept, and nothing goes on in the databases."""
        self.stores.interrupt()

    def exit(self, *args: Any, **kwargs: Any) -> None:
        """Leave, with everything as it is now kept for the next time."""
        self.remember()
        super().exit(*args, **kwargs)

    def open_session(self, session: Session, mode: str | None = None) -> None:
        """Make it the session at hand, and go to one of the five modes with it."""
        self.session = session
        self._show(mode or self._mode)
        self.run_worker(asyncio.to_thread(self._warm_database, session), group="warm up")

    @property
    def _mode(self) -> str:
        """Which of the five modes is at hand."""
        return modes.mode_of(self.current_mode) or "runs"

    def _show(self, mode: str) -> None:
        """Go to a mode; where one is there, its screen looks at the session at hand."""
        if modes.screen_of(mode, self.session) != self.current_mode:
            self.run_worker(self._to(mode))
        elif page := self._page():
            page.on_screen_resume()

    def _page(self) -> Page | None:
        """The page at hand; None under a dialog, and while the application ends."""
        screens = self._screen_stacks.get(self.current_mode) or ()
        return screens[-1] if screens and isinstance(screens[-1], Page) else None

    def open_feature(self, feature: int) -> None:
        """Show one feature of the session at hand, over the Features screen."""

        async def go() -> None:
            await self._to("features")
            kind = ImageFeaturePage if self.session is not None and self.session.reads_images else FeaturePage
            name = kind.__name__
            if not self.is_screen_installed(name):  # then it stays: to make it anew takes longer than all the rest
                self.install_screen(kind(), name)
            while any(isinstance(screen, FeatureView) for screen in self.screen_stack):
                await self.pop_screen()
            page = self.get_screen(name, kind)
            page.begin(feature)
            await self.push_screen(page)

        from sae_tui.screens.feature import FeaturePage
        from sae_tui.screens.feature_images import ImageFeaturePage
        from sae_tui.screens.feature_view import FeatureView

        self.run_worker(go())

    async def _to(self, mode: str) -> None:
        if mode not in MODES:
            raise SessionError(f"there is no mode {mode!r}")
        await self.switch_mode(modes.screen_of(mode, self.session))

    async def _on_mode(self, mode: str) -> None:
        if self.screen.is_modal:
            return
        await self._to(mode)

    async def action_runs(self) -> None:
        """Mode 1."""
        await self._on_mode("runs")

    async def action_train(self) -> None:
        """Mode 2."""
        await self._on_mode("train")

    async def action_features(self) -> None:
        """Mode 3."""
        await self._on_mode("features")

    async def action_steer(self) -> None:
        """Mode 4."""
        await self._on_mode("steer")

    async def action_sql(self) -> None:
        """Mode 5."""
        await self._on_mode("sql")

    def action_palette(self) -> None:
        """The command palette."""
        self.action_command_palette()

    def action_help(self) -> None:
        """Every key that works here."""
        if self.screen.is_modal:
            return
        active = {b.binding.id.partition(".")[0] for b in self.screen.active_bindings.values() if b.binding.id}
        from sae_tui.screens.dialogs import Reader, help_text

        page = self._page()
        section = page.SECTION if page else ""
        order = [section, *(s for s in keys.SECTIONS if s in active and s not in (section, "app")), "app"]
        self.push_screen(Reader("Keys", help_text(order, dict(self.settings.keys))))

    def action_copy(self) -> None:
        """Copy what is under the cursor."""
        page = self._page()
        found = page.copied() if page else None
        self.copy(*found) if found else self.say("there is nothing to copy here")

    def action_copy_command(self) -> None:
        """Copy the command line that does the same."""
        page = self._page()
        line = page.command_line() if page else None
        self.copy(line, line) if line else self.say("no command gives what is shown here")

    def action_zoom(self) -> None:
        """The pane at hand on the whole screen."""
        if page := self._page():
            page.action_zoom()

    def action_reload(self) -> None:
        """Read everything again."""
        if page := self._page():
            page.opened(self.session)
        self.tick()

    def action_redraw(self) -> None:
        """Draw all of the screen again."""
        self.screen.refresh(layout=True)

    async def action_back(self) -> None:
        """Leave a pushed screen; on a main one ask whether to quit while jobs run."""
        page = self._page()
        if page and len(self.screen_stack) > 1:
            page.action_back()
            return
        running = [s.name for s in self.seen if s.observed.state in ("running", "queued")]
        if not running:
            self.exit(0)
            return
        from sae_tui.screens.dialogs import Ask

        def answered(letter: str | None) -> None:
            if letter == "d":
                self.exit(0)
            elif letter == "s":
                self.run_worker(self._stop_and_quit(running))

        detail = f"{', '.join(running)}: running in a process of its own, which goes on without this window"
        self.push_screen(
            Ask("Quit?", (("d", "detach: jobs go on"), ("s", "stop them and quit"), ("c", "cancel")), detail=detail),
            answered,
        )

    async def _stop_and_quit(self, names: list[str]) -> None:
        for name in names:
            Session(self.root / name).want("stop")
        self.exit(0)

    def get_system_commands(self, screen: Screen[Any]) -> Any:
        """None besides our own."""
        return iter(list[SystemCommand]())

    def copy_to_clipboard(self, text: str) -> None:
        """OSC 52. Base64 keeps whatever is in the text from being more than text."""
        super().copy_to_clipboard(text.encode("utf-8", "replace").decode("utf-8"))


def open_workbench(
    root: Path, state: State, overview: Overview, *, session: Session | None = None, mode: str | None = None,
    started: Iterable["Popen[bytes]"] = (),
) -> int:  # fmt: skip
    """Run the workbench in this terminal and return its exit code. Raises ConfigError for settings that are wrong.

    `state` and `overview` are of `root`, where all is; `session` and `mode` are where it opens; `started` are jobs that
    this process has just started. Ends the process by itself where threads still work: a query that does not hear must
    not hold the prompt.
    """
    from sae_tui import leaving, settings

    app = Workbench(
        root, settings.read(settings.settings_path()), state, session=session, mode=mode, started=started,
        overview=overview,
    )  # fmt: skip
    # A collection walks all that lives, for tens of ms: what was imported by now stays, so none need walk it again.
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], 1_000_000)  # the clock collects the rest, while nobody types
    gc.enable()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    leaving.watch(app, loop, app.remember)
    code = loop.run_until_complete(app.run_async())
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # Not asyncio.run, which waits for threads; the engine ends with its pipe, jobs are processes of their own.
    leaving.end(code if isinstance(code, int) else 1 if app.return_code else 0)

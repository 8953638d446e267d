"""What every screen shares: the bars, work in the background, the clock, copying, coming back as it was.

`Bench` is the application as screens know it; `Page` is a screen. Where something happens to a screen, what it does is
a method without `on_`: Textual calls the `on_…` of every class above by itself, so that `super()` there calls twice.
Work that may take longer than a key press runs in a thread by `Page.background`, whose answer comes back to the event
loop: threads never touch a widget.
"""

import asyncio
import contextvars
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from textual import getters
from textual.app import ComposeResult
from textual.content import Content
from textual.reactive import Reactive
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from core.analysis.stores import Stores
from core.errors import SaeTuiError, sentence
from core.overview import Seen
from core.session import Session
from sae_tui import keys
from sae_tui.in_order import InOrder
from sae_tui.settings import Settings
from sae_tui.state import State
from sae_tui.text import safe
from sae_tui.widgets.bars import KeyBar, TitleBar

if TYPE_CHECKING:
    import subprocess

    from core.engine.shared import Engines

T = TypeVar("T")
Severity = Literal["information", "warning", "error"]
ANALYSE = re.compile(r"`sae-tui analyze [^` ]+`")
"""The command that builds a session's feature database, as errors name it, who know of no keys."""


class Bench(InOrder[int]):
    """The application as its screens know it."""

    root: Path
    """The folder of all sessions."""
    settings: Settings
    state: State
    stores: Stores
    """Open feature databases; `get` blocks, so in the background only."""
    session: Session | None = None
    """The session at hand; Train, Features, Steer and SQL are about it."""
    marked: set[str]
    """Names of the sessions marked on Runs: Train lays their curves over those of the one at hand."""
    started: list["subprocess.Popen[bytes]"]
    """Jobs this process started; looked at every second, so that none that ended stays a zombie."""
    to_steer: list[str]
    """Commands such as `/add 12 1max` that wait for the Steer screen to take them."""
    seen: list[Seen]
    """All sessions as they were at the last tick of the clock, newest first."""

    @cached_property
    def engines(self) -> "Engines":
        """The engines that screens ask, each of which several may share."""
        from core.engine.shared import Engines  # here: not needed for the first frame

        return Engines()

    def open_session(self, session: Session, mode: str | None = None) -> None:
        """Make it the session at hand, and go to one of the five modes with it."""
        raise NotImplementedError

    def open_feature(self, feature: int) -> None:
        """Show one feature of the session at hand, over the Features screen."""
        raise NotImplementedError

    def tick(self) -> None:
        """Look at the sessions now rather than at the next second."""
        raise NotImplementedError

    def seen_of(self, session: Session | None) -> Seen | None:
        """The session as it was at the last tick; None where it is not there any more."""
        return next((s for s in self.seen if session is not None and s.name == session.name), None)

    def say(self, message: str, severity: Severity = "information") -> None:
        """A short notice that goes away by itself."""
        self.notify(safe(message), severity=severity, markup=False, timeout=4 if severity == "information" else 8)

    def told(self, error: Exception) -> str:
        """What went wrong and what to do, in one sentence. Not safe."""
        return self.keyed(sentence(error))

    def keyed(self, words: str) -> str:
        """The words, with the key that analyses a session after the command that they name for it."""
        action = next(action for action in keys.actions("runs") if action.name == "analyze")
        key = keys.shown_keys(self.settings.keys.get(action.id, action.keys).split(",")[:1])
        return ANALYSE.sub(lambda command: f"{command[0]} (here {key} on Runs)", words)

    def complain(self, error: Exception) -> None:
        """What went wrong and what to do, as a notice."""
        self.say(self.told(error), "error")

    def copy(self, what: str, text: str) -> None:
        """Copy `text` to the terminal's clipboard, also through SSH, and say that `what` was copied."""
        self.copy_to_clipboard(text)
        self.say(f"copied {what}")


class Page(Screen[Any]):
    """A screen. A subclass says its section of the actions table, composes `body` and does the actions."""

    SECTION: ClassVar[str] = ""
    """Its actions in `keys`, and its part of the state that is kept."""
    MODE: str = ""
    """Which of the five modes it shows in the title bar."""
    AUTO_FOCUS = "*"
    ALLOW_IN_MAXIMIZED_VIEW = "TitleBar, KeyBar"
    # Textual's own draws the whole screen again whenever the focus moves; the widgets it moves between do anyway.
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)
    app = getters.app(Bench)  # pyright: ignore[reportAssignmentType]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        cls.BINDINGS = [*keys.bindings(cls.SECTION)]
        super().__init_subclass__(**kwargs)

    def __init__(self) -> None:
        super().__init__()
        self._shown_session: Session | None = None
        # Textual gives a screen the classes of its size after its first frame, which is then drawn again.
        width, height = self.app.size
        for classes, size in ((self.app.HORIZONTAL_BREAKPOINTS, width), (self.app.VERTICAL_BREAKPOINTS, height)):
            self.add_class(max((at, name) for at, name in classes or () if at <= size)[1])

    def _compositor_refresh(self) -> None:
        # While updates are suspended Textual draws all the same, and throws away what it drew.
        if not self.app._batch_count:
            super()._compositor_refresh()

    def compose(self) -> ComposeResult:
        """The title, the body, the keys."""
        yield TitleBar(self.MODE)
        yield from self.body()
        yield KeyBar(lambda: self.unsuited)
        yield Static(id="too-small")

    def body(self) -> Iterator[Widget]:
        """What stands between the two bars."""
        raise NotImplementedError

    @property
    def unsuited(self) -> frozenset[str]:
        """Ids of actions that what is shown has no use for: their keys say so, and the last line leaves them out."""
        return frozenset()

    def mounted(self) -> None:
        """It is there, and as it was left. Called once, before `opened`."""

    def resumed(self) -> None:
        """It is the screen at hand, first or again. Called after `opened` and `clock`."""

    def clock(self) -> None:
        """Called every second, and on every return to it, while this is the screen at hand."""

    def opened(self, session: Session | None) -> None:
        """The session at hand is another one since this screen was last seen; None: there is none."""

    def copied(self) -> tuple[str, str] | None:
        """What `y` copies: its name for a person, and the text."""
        return None

    def command_line(self) -> str | None:
        """The shell command that gives what is shown here."""
        return None

    def memory(self) -> dict[str, Any]:
        """What should be here again after quitting: plain JSON. `recall` takes it back."""
        return {}

    def recall(self, memory: dict[str, Any]) -> None:
        """Be as `memory` says, which may be anything a file can hold. Called once, before `opened`."""

    def background(
        self, work: Callable[[], T], then: Callable[[T], object], *, group: str,
        failed: Callable[[Exception], object] | None = None,
    ) -> None:  # fmt: skip
        """Run `work` in a thread, then `then` with its result in the event loop, or `failed` with its error.

        A newer call of the same group takes the place of an older one, whose answer is then dropped, as one is that
        comes while the screen goes. `failed` is by default a notice.
        """

        # Begun at once: a worker begins when the event loop comes to it, which a screen that opens keeps busy for long.
        answer = asyncio.get_running_loop().run_in_executor(None, contextvars.copy_context().run, work)
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may wait for it any more

        async def run() -> None:
            try:
                result = await answer
            except Exception as error:
                if not isinstance(error, SaeTuiError):
                    self.log.error(error)
                if not self._goes:
                    (failed or self.app.complain)(error)
                return
            if not self._goes:
                then(result)

        self.run_worker(run, group=f"{self.SECTION}.{group}", exclusive=True)

    @property
    def _goes(self) -> bool:
        """Whether what it was made of is gone already."""
        return not self.app.is_running or (self.is_mounted and not self.query(TitleBar))

    def on_mount(self) -> None:
        """Be as it was."""
        self.recall(self.app.state.part(self.SECTION))
        self.mounted()

    def on_screen_resume(self) -> None:
        """It is the screen at hand, first or again."""
        if self._shown_session is not self.app.session:
            self._shown_session = self.app.session
            self.opened(self.app.session)
        self.ticked()
        self.resumed()

    def ticked(self) -> None:
        """The sessions were looked at."""
        if not self.is_mounted or self._goes:
            return
        running = sum(seen.observed.state in ("running", "queued") for seen in self.app.seen)
        self.query_one(TitleBar).tell(self.app.session.name if self.app.session else "", running)
        self.clock()

    def on_resize(self) -> None:
        """Say what a terminal that is too small needs."""
        size = f"needs 70x18, have {self.app.size.width}x{self.app.size.height}"
        self.query_one("#too-small", Static).update(Content(size), layout=False)

    def action_zoom(self) -> None:
        """Give the pane with the focus the whole screen, or give it back."""
        if self.maximized is not None:
            self.minimize()
        elif self.focused is not None:
            pane = next(
                (w for w in self.focused.ancestors_with_self if isinstance(w, Widget) and w.has_class("pane")), None
            )
            self.maximized = pane or self.focused  # not by `maximize`, which takes only what can have the focus

    def action_back(self) -> None:
        """Leave a pushed screen."""
        self.dismiss()

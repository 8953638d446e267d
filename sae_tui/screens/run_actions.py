"""What can be done with a session in the list: configured anew, compared, stopped, deleted, worked on."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import SessionError
from core.overview import Seen
from core.session import Session
from sae_tui.screens import opening
from sae_tui.screens.dialogs import Ask
from sae_tui.screens.page import Page
from sae_tui.text import size
from sae_tui.widgets.configurations import Configurations

if TYPE_CHECKING:
    from subprocess import Popen

    from sae_tui.screens.compare import ComparePage
    from sae_tui.screens.configure import ConfigurePage
    from sae_tui.screens.foreign import ForeignPage


class RunActions(Page):
    """A screen with a session at its cursor. Long work, and what imports much, is done in the background."""

    def __init__(self) -> None:
        super().__init__()
        self.configurations = Configurations()

    @property
    def at(self) -> Seen | None:
        """The session at the cursor."""
        raise NotImplementedError

    @property
    def listed(self) -> Callable[[Seen], bool]:
        """Whether a session is in the list as it is filtered now."""
        raise NotImplementedError

    def action_new(self) -> None:
        """The form, with a preset in it."""
        self._configure(None)

    def action_clone(self) -> None:
        """The form, with this one's configuration in it."""
        if self.at:
            self._configure(self.at.session)

    def _configure(self, source: Session | None) -> None:
        """Open the form; what it imports the first time takes longer than a key press may."""

        def load() -> "type[ConfigurePage]":
            from sae_tui.screens.configure import ConfigurePage

            return ConfigurePage

        self.background(load, lambda page: self.app.push_screen(page(source)), group="form")

    def action_foreign(self) -> None:
        """The form for an SAE from elsewhere."""

        def load() -> "type[ForeignPage]":
            from sae_tui.screens.foreign import ForeignPage

            return ForeignPage

        self.background(load, lambda page: self.app.push_screen(page()), group="foreign")

    def action_compare(self) -> None:
        """The marked sessions, this one with a single marked one, or else all of the list, as points and in a table."""
        seen = self.at
        if seen is None:
            return
        names = {one.name for one in self.app.seen if one.name in self.app.marked}
        if len(names) == 1:
            names.add(seen.name)
        listed = self.listed

        def wanted(one: Seen) -> bool:
            return one.name in names if len(names) > 1 else listed(one)

        def load() -> "type[ComparePage]":
            from sae_tui.screens.compare import ComparePage

            return ComparePage

        self.background(
            load, lambda page: self.app.push_screen(page(wanted, self.configurations, seen.name)), group="compare"
        )

    def action_features(self) -> None:
        """Match the features of the marked sessions, with this one where a single one is marked; else of all listed."""
        if self.at is None:
            return
        marked, listed = {one.name for one in self.app.seen if one.name in self.app.marked}, self.listed
        wanted = marked if len(marked) != 1 else {*marked, self.at.name}
        opening.match(self, (one for one in self.app.seen if (one.name in wanted if wanted else listed(one))))

    def action_study(self) -> None:
        """Its studies."""
        if self.at is not None:
            opening.study(self, self.at.session)

    def action_probe(self) -> None:
        """Its probes."""
        if self.at is not None:
            opening.probe(self, self.at.session)

    def action_log(self) -> None:
        """Its log."""
        from sae_tui.screens.log import LogReader

        if self.at:
            self.app.push_screen(LogReader(self.at.session))

    def action_stop(self) -> None:
        """Stop its job."""
        seen = self.at
        if seen is None or not seen.observed.active:
            return
        from sae_tui.widgets import job  # here: not needed for the first frame

        def answered(letter: str | None) -> None:
            if letter == "s":
                from core import jobs

                self.app.say(f"{seen.name} is told to stop")
                self.background(lambda: jobs.stop(seen.session), lambda _: self.app.tick(), group=f"stop {seen.name}")

        kept = job.kept(seen, seen.session.checkpoint_steps())
        answers = (("s", "stop it"), ("c", "cancel"))
        self.app.push_screen(Ask(f"Stop {seen.status.job} of {seen.name}?", answers, detail=kept), answered)

    def action_delete(self) -> None:
        """Delete it."""
        seen = self.at
        if seen is None or seen.observed.active:
            return

        def delete() -> None:
            self.app.stores.forget(seen.session)
            seen.session.delete()

        def gone(_: None) -> None:
            self.app.marked.discard(seen.name)
            self.app.say(f"{seen.name} is deleted")
            self.app.tick()

        def answered(letter: str | None) -> None:
            if letter == "d":
                self.background(delete, gone, group=f"delete {seen.name}")

        bytes_ = size(seen.size_bytes) if seen.size_bytes is not None else "all of it"
        detail = f"{bytes_}: its SAE, features, labels and transcripts. There is no way back."
        self.app.push_screen(Ask(f"Delete {seen.name}?", (("c", "cancel"), ("d", "delete")), detail=detail), answered)

    def action_train(self) -> None:
        """Train one that waits, then evaluate and analyse it."""
        self._train()

    def action_resume(self) -> None:
        """Go on with a training that did not end, and with the sweep that it is of."""
        from core import jobs

        if self.at:
            self._train(*(jobs.SWEEP,) * bool(self.at.session.sweep()))

    def _train(self, *more: str) -> None:

        def start(session: Session) -> "Popen[bytes]":
            from core import jobs

            if session.finished:
                raise SessionError(f"{session.name} has been trained already", hint="clone it, with c, to train anew")
            return jobs.start(session, "train", (*jobs.THEN, *more))

        self._start(start, "train")

    def action_evaluate(self) -> None:
        """Measure it."""
        self._start(_job("evaluate"))

    def action_analyze(self) -> None:
        """Build its feature database."""
        self._start(_job("analyze"))

    def _start(self, start: "Callable[[Session], Popen[bytes]]", mode: str | None = None) -> None:
        seen = self.at
        if seen is None or seen.observed.active:
            return

        def started(process: "Popen[bytes]") -> None:
            self.app.started.append(process)
            self.app.tick()
            if mode:
                self.app.open_session(seen.session, mode)

        self.background(lambda: start(seen.session), started, group=f"start {seen.name}")

    def action_demo(self) -> None:
        """Make and train the demo, or go to it."""
        root: Path = self.app.root

        def begin() -> tuple[Session, "Popen[bytes] | None"]:
            from core import demo

            return demo.begin(root)

        def begun(found: tuple[Session, "Popen[bytes] | None"]) -> None:
            session, process = found
            self.app.started += [process] if process else []
            self.app.tick()
            self.app.open_session(session, "features" if session.database_path.is_file() else "train")

        self.background(begin, begun, group="demo")


def _job(verb: Any) -> "Callable[[Session], Popen[bytes]]":
    def start(session: Session) -> "Popen[bytes]":
        from core import jobs

        session.weights_dir()  # says what is missing before a process finds it out
        return jobs.start(session, verb)

    return start

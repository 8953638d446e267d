"""Questions of a screen to the engine of the session at hand, which Steer asks too: one process with one model."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from core.errors import EngineError
from core.records import Progress
from core.session import Session
from sae_tui.screens.page import Page
from sae_tui.text import safe

if TYPE_CHECKING:
    from core.engine.operator import AnyEngine, Operator, Told
    from sae_tui.messages import EngineSaid

LET_GO_S = 2.0
"""How often it is looked whether the engine's session is still the one at hand."""


class Question:
    """One question, from when it is asked to its end. `changed(question)` is called whenever more is known."""

    def __init__(self, changed: "Callable[[Question], object]") -> None:
        self._changed = changed
        self.phase = "waiting for the engine"
        """What goes on, in safe words."""
        self.share: float | None = None
        """How far that is, where it is known."""
        self.answer: Any = None
        self.error: Exception | None = None
        self.ended = False

    def hear(self, told: "Told", *, loading: bool) -> None:
        """Take in what was told of it, or of the loading before it."""
        from core.engine import protocol
        from core.engine.operator import Ended

        if self.ended:
            return
        match told:
            case protocol.Loading():
                self.phase, self.share = _words(told.progress), _share(told.progress)
            case Ended() if loading:
                self.error, self.phase = told.error, "reading the texts"
            case Ended():
                self.error, self.ended = self.error or told.error, True
            case protocol.Started() | protocol.Done():
                return
            case _:
                self.answer = told
        self._changed(self)


def _share(progress: Progress) -> float | None:
    return progress.done / progress.total if progress.total else None


def _words(progress: Progress) -> str:
    share = _share(progress)
    return safe(progress.phase) + ("" if share is None else f" {share:.0%}")


class Questions(Page):
    """A screen that asks. The engine stays, for itself and for what is pushed over it, while its session is at hand."""

    @staticmethod
    def make_engine(session: Session) -> "AnyEngine":
        """What makes a session's engine, where Steer has not made it."""
        from core.engine.client import Engine  # here: not needed for the first frame

        return Engine(session)

    def __init__(self) -> None:
        super().__init__()
        self._operator: Operator | None = None
        self._engine_of: Session | None = None

    def mounted(self) -> None:
        """See to it that the engine of a session that was left ends."""
        self.set_interval(LET_GO_S, self._let_go)

    def ask_engine(
        self, begin: "Callable[[Operator, Any], object]", changed: Callable[[Question], object]
    ) -> Question | None:
        """Ask: `begin(operator, key)` puts the question, after what was asked before. None without a session."""
        self._let_go()
        session = self.app.session
        if session is None:
            return None
        if self._operator is None:
            self._operator, self._engine_of = self._operated(session), session
        question = Question(changed)
        self._operator.load((question, True))  # by itself, so that its phases are told
        begin(self._operator, (question, False))
        return question

    def stop_asking_engine(self) -> None:
        """End what is asked or loaded."""
        if self._operator is not None:
            self._operator.stop()

    def on_engine_said(self, event: "EngineSaid") -> None:
        """What comes of it."""
        question, loading = event.key
        question.hear(event.told, loading=loading)
        if loading and question.error is not None and self._operator is not None:
            self._operator.drop()
        if question.ended and isinstance(question.error, EngineError):
            self._close_engine()

    def on_unmount(self) -> None:
        """Nobody hears it."""
        self._close_engine()

    def _operated(self, session: Session) -> "Operator":
        from core.engine.operator import Operator
        from sae_tui.messages import EngineSaid

        engine = self.app.engines.share(session, self.make_engine)
        return Operator(engine, lambda key, told: self.post_message(EngineSaid(key, told)))

    def _let_go(self) -> None:
        there = self.app.session
        if self._engine_of is not None and (there is None or there.path != self._engine_of.path):
            self._close_engine()

    def _close_engine(self) -> None:
        if self._operator is not None:
            self._operator.close()
        self._operator = self._engine_of = None

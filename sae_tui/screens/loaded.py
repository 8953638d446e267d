"""An engine as a screen of Steer has it: loaded when it is needed, and what is wrong with it. Waits for nothing."""

from collections.abc import Callable
from typing import Any

from core.engine import protocol
from core.engine.operator import AnyEngine, Ended, Operator, Told
from core.errors import EngineError, SaeTuiError, sentence
from core.records import Progress
from core.session import Session
from core.steering.transcript import MadeWith

LOAD = "load"
"""Key of the request to load."""


class Loaded:
    """One session's engine."""

    def __init__(self, engine: AnyEngine, tell: Callable[[Any, Told], object]) -> None:
        """`tell(key, told)` is called in a thread, and has `hear` called with the same in the event loop."""
        self._operator = Operator(engine, tell)
        self.phase: Progress | None = None
        """What is being loaded."""
        self.loading = False
        self.made_with: MadeWith | None = None
        """What the engine computes with; None while it is not loaded."""
        self.fault = ""
        """What the engine last said is wrong, in a sentence."""

    @property
    def starting(self) -> bool:
        """Whether it is not known yet what the engine computes with."""
        return self.loading

    def load(self) -> None:
        """Load model and SAE where they are not: by itself, so that its phases are told."""
        if not (self.loading or self.made_with):
            self.loading = True
            self._operator.load(LOAD)

    def stop(self) -> None:
        """End what is asked or loaded."""
        self._operator.stop()

    def close(self) -> None:
        """End the engine; nothing is told after this."""
        self._operator.close()

    def hear(self, key: Any, told: Told) -> object:
        """Take in what was told; a phase is over with whatever comes behind it."""
        self.phase = told.progress if isinstance(told, protocol.Loading) else None
        match told:
            case protocol.Started():
                self.made_with, self.loading = told.made_with, False
            case Ended():
                self.heard_end(key, told)

    def heard_end(self, key: Any, ended: Ended) -> None:
        """A request is over."""
        if key == LOAD:
            self.loading, self.phase = False, None
        if ended.error is None:
            return
        if not self.tells(key):
            self.fault = sentence(ended.error, "steering/engine.log")
        if isinstance(ended.error, EngineError):
            self.made_with, self.phase, self.loading = None, None, False
        if key == LOAD:
            self._operator.drop()

    def tells(self, key: Any) -> bool:
        """Whether what is wrong with this request is told elsewhere than as the engine's fault."""
        return False


def site_of(session: Session) -> tuple[str, str]:
    """Model and hook point, and what keeps one from steering, if something does. Blocks."""
    try:
        model = session.config().model
        found = f"{model.name} {model.hook}"
        session.weights_dir()
    except SaeTuiError as error:
        return "", sentence(error)
    return found, ""

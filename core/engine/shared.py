"""One engine a session for several who ask it, each as if it were alone: who comes second waits for its turn."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from core.engine import protocol
from core.engine.operator import AnyEngine
from core.experiments.requests import Request as Wanted
from core.image_records import ClassifiedImage, ImageList
from core.records import Attribution, ConceptFound, FiringToken, TextReading
from core.session import Session
from core.steering.interventions import Intervention, Mode
from core.steering.request import GenerationRequest
from core.steering.transcript import Change, Past

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Used:
    """An engine, and who has a share of it."""

    engine: AnyEngine
    shares: list["Share"] = field(default_factory=list)
    turn: "Share | None" = None
    """Whose request runs."""
    free: threading.Condition = field(default_factory=threading.Condition)


class Engines:
    """The engines there are, by session."""

    def __init__(self) -> None:
        self._used: dict[Path, _Used] = {}
        self._lock = threading.Lock()

    def share(self, session: Session, make: Callable[[Session], AnyEngine]) -> "Share":
        """A share of the session's engine, which is made where there is none. The last share that is closed ends it."""
        with self._lock:
            used = self._used.get(session.path)
            if used is None:
                used = self._used[session.path] = _Used(make(session))
            share = Share(used, lambda share: self._left(session.path, share))
            used.shares.append(share)
            return share

    def _left(self, path: Path, share: "Share") -> None:
        with self._lock:
            used = self._used.get(path)
            if used is None or share not in used.shares:
                return
            used.shares.remove(share)
            if used.shares:
                return
            del self._used[path]
        used.engine.close()


class Share:
    """What is asked of an engine by one of those who use it; an AnyEngine."""

    def __init__(self, used: _Used, left: Callable[["Share"], object]) -> None:
        self._used, self._left = used, left
        self._waits = False

    def load(self) -> Iterator[protocol.Event]:
        """As Engine.load, when its turn comes."""
        return self._streamed(self._used.engine.load)

    def generate(
        self, request: GenerationRequest, changes: Sequence[Change] = (), *, past: Past = (), steps: int | None = None,
        threads: int | None = None,
    ) -> Iterator[protocol.Event]:  # fmt: skip
        """As Engine.generate, when its turn comes."""
        engine = self._used.engine
        return self._streamed(lambda: engine.generate(request, changes, past=past, steps=steps, threads=threads))

    def firing(
        self, text: str, top: int = 10, then: Sequence[int] = (), *, interventions: Sequence[Intervention] = (),
        changes: Sequence[Change] = (), mode: Mode = "error-kept", chat: bool = False, system: str = "",
    ) -> tuple[FiringToken, ...]:  # fmt: skip
        """As Engine.firing, when its turn comes."""
        engine = self._used.engine
        return self._answered(
            lambda: engine.firing(
                text, top, then, interventions=interventions, changes=changes, mode=mode, chat=chat, system=system
            ),
            (),
        )

    def concept(
        self, texts: Sequence[str], contrast: Sequence[str] = (), *, strong: str | None = None, top: int = 20
    ) -> ConceptFound | None:
        """As Engine.concept, when its turn comes."""
        return self._answered(lambda: self._used.engine.concept(texts, contrast, strong=strong, top=top), None)

    def attribution(
        self, text: str, target: str | None = None, *, position: int | None = None, rank: str = "gradient",
        top: int = 20, then: Sequence[int] = (), chat: bool = False, system: str = "",
    ) -> Attribution | None:  # fmt: skip
        """As Engine.attribution, when its turn comes."""
        engine = self._used.engine
        return self._answered(
            lambda: engine.attribution(
                text, target, position=position, rank=rank, top=top, then=then, chat=chat, system=system
            ),
            None,
        )

    def reading(self, texts: Sequence[str], feature: int) -> tuple[TextReading, ...]:
        """As Engine.reading, when its turn comes."""
        return self._answered(lambda: self._used.engine.reading(texts, feature), ())

    def listing(self) -> ImageList | None:
        """As Engine.listing, when its turn comes."""
        return self._answered(self._used.engine.listing, None)

    def classified(
        self, images: Sequence[int], interventions: Sequence[Intervention] = (), *, mode: Mode = "error-kept",
        top: int = 256,
    ) -> tuple[ClassifiedImage, ...]:  # fmt: skip
        """As Engine.classified, when its turn comes."""
        return self._answered(lambda: self._used.engine.classified(images, interventions, mode=mode, top=top), ())

    def experiment(self, request: Wanted) -> Iterator[protocol.Event]:
        """As Engine.experiment, when its turn comes."""
        return self._streamed(lambda: self._used.engine.experiment(request))

    def change(self, interventions: Sequence[Intervention]) -> bool:
        """As Engine.change, of a generation of one's own."""
        return self._used.turn is self and self._used.engine.change(interventions)

    def stop(self) -> None:
        """End one's own request, whether it runs or waits. Others' go on."""
        with self._used.free:
            mine, self._waits = self._used.turn is self, False
            self._used.free.notify_all()
        if mine:
            self._used.engine.stop()

    def close(self) -> None:
        """Give the share back."""
        self.stop()
        self._left(self)

    def _streamed(self, ask: Callable[[], Iterator[protocol.Event]]) -> Iterator[protocol.Event]:
        with self._turn() as mine:
            if mine:
                yield from ask()
            else:
                yield protocol.Done(id=0, stopped=True)

    def _answered(self, ask: Callable[[], T], stopped: T) -> T:
        with self._turn() as mine:
            return ask() if mine else stopped

    @contextlib.contextmanager
    def _turn(self) -> Iterator[bool]:
        """Wait until no request of another runs; False where that was stopped."""
        used = self._used
        with used.free:
            self._waits = True
            used.free.wait_for(lambda: used.turn is None or not self._waits)
            mine, self._waits = self._waits, False
            if mine:
                used.turn = self
        try:
            yield mine
        finally:
            if mine:
                with used.free:
                    used.turn = None
                    used.free.notify_all()

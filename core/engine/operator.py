"""Works an engine for who must not wait: requests go to a thread, what comes of them is told as it comes.

One request after another, in the order they were asked for. Knows no screen.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from core.engine import protocol
from core.experiments.requests import Request as Wanted
from core.image_records import ClassifiedImage, ImageList
from core.records import Attribution, ConceptFound, FiringToken, TextReading
from core.steering.interventions import Intervention, Mode
from core.steering.request import GenerationRequest
from core.steering.transcript import Change, Past


class AnyEngine(Protocol):
    """What is needed of core.engine.client.Engine."""

    def load(self) -> Iterator[protocol.Event]: ...  # noqa: D102
    def generate(  # noqa: D102
        self, request: GenerationRequest, changes: Sequence[Change] = (), *, past: Past = (), steps: int | None = None,
        threads: int | None = None,
    ) -> Iterator[protocol.Event]: ...  # fmt: skip
    def firing(  # noqa: D102
        self, text: str, top: int = 10, then: Sequence[int] = (), *, interventions: Sequence[Intervention] = (),
        changes: Sequence[Change] = (), mode: Mode = "error-kept", chat: bool = False, system: str = "",
    ) -> tuple[FiringToken, ...]: ...  # fmt: skip
    def concept(  # noqa: D102
        self, texts: Sequence[str], contrast: Sequence[str] = (), *, strong: str | None = None, top: int = 20
    ) -> ConceptFound | None: ...
    def attribution(  # noqa: D102
        self,
        text: str,
        target: str | None = None,
        *,
        position: int | None = None,
        rank: str = "gradient",
        top: int = 20,
        then: Sequence[int] = (),
        chat: bool = False,
        system: str = "",
    ) -> Attribution | None: ...
    def reading(self, texts: Sequence[str], feature: int) -> tuple[TextReading, ...]: ...  # noqa: D102
    def listing(self) -> ImageList | None: ...  # noqa: D102
    def classified(  # noqa: D102
        self, images: Sequence[int], interventions: Sequence[Intervention] = (), *, mode: Mode = "error-kept",
        top: int = 256,
    ) -> tuple[ClassifiedImage, ...]: ...  # fmt: skip
    def experiment(self, request: Wanted) -> Iterator[protocol.Event]: ...  # noqa: D102
    def change(self, interventions: Sequence[Intervention]) -> bool: ...  # noqa: D102
    def stop(self) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Ended:
    """A request is over."""

    stopped: bool = False
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Readings:
    """One feature on some texts, in their order."""

    feature: int
    texts: tuple[TextReading, ...]


Told = (
    protocol.Event
    | tuple[FiringToken, ...]
    | ConceptFound
    | Attribution
    | Readings
    | ImageList
    | ClassifiedImage
    | Ended
)


class Operator:
    """One engine and the thread that asks it. `tell(key, told)` is called in that thread, last with Ended.

    No method blocks; `key` is what a request was asked with.
    """

    def __init__(self, engine: AnyEngine, tell: Callable[[Any, Told], object]) -> None:
        self._engine, self._tell = engine, tell
        self._asked: queue.SimpleQueue[tuple[Any, Callable[[], Iterator[Told]]] | None] = queue.SimpleQueue()
        self._said: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._closed = False
        for work in (self._ask, self._speak):
            threading.Thread(target=work, daemon=True, name=f"engine{work.__name__}").start()

    def load(self, key: Any) -> None:
        """Load model and SAE ahead of need."""
        self._asked.put((key, self._engine.load))

    def generate(
        self, key: Any, request: GenerationRequest, changes: Sequence[Change] = (), *, past: Past = (),
        steps: int | None = None, threads: int | None = None,
    ) -> None:  # fmt: skip
        """Generate; its events are told one by one."""
        engine = self._engine
        self._asked.put((key, lambda: engine.generate(request, changes, past=past, steps=steps, threads=threads)))

    def firing(
        self, key: Any, text: str, top: int, then: Sequence[int] = (), *, interventions: Sequence[Intervention] = (),
        changes: Sequence[Change] = (), mode: Mode = "error-kept", chat: bool = False, system: str = "",
    ) -> None:  # fmt: skip
        """The tokens of a text and what fires on them, told as one tuple."""
        self._question(
            key,
            lambda: self._engine.firing(
                text, top, then, interventions=interventions, changes=changes, mode=mode, chat=chat, system=system
            ),
        )

    def concept(
        self, key: Any, texts: Sequence[str], contrast: Sequence[str], *, strong: str | None = None, top: int = 20
    ) -> None:
        """The features that stand for what texts have in common, told as one ConceptFound; as nothing where stopped."""
        self._question(key, lambda: self._engine.concept(texts, contrast, strong=strong, top=top))

    def attribution(
        self, key: Any, text: str, target: str | None = None, *, position: int | None = None, rank: str = "gradient",
        top: int = 20, then: Sequence[int] = (), chat: bool = False, system: str = "",
    ) -> None:  # fmt: skip
        """What a prediction rests on, told as one Attribution; as nothing where stopped."""
        self._question(
            key,
            lambda: self._engine.attribution(
                text, target, position=position, rank=rank, top=top, then=then, chat=chat, system=system
            ),
        )

    def reading(self, key: Any, texts: Sequence[str], feature: int) -> None:
        """One feature on each token of each text, told as one Readings, which is empty where stopped."""
        self._question(key, lambda: Readings(feature, self._engine.reading(texts, feature)))

    def listing(self, key: Any) -> None:
        """The images one may walk through, told as one ImageList; as nothing where stopped."""
        self._question(key, self._engine.listing)

    def classified(self, key: Any, image: int, interventions: Sequence[Intervention], mode: Mode) -> None:
        """What interventions make of an image, told as one ClassifiedImage; as nothing where stopped."""
        self._question(key, lambda: next(iter(self._engine.classified([image], interventions, mode=mode)), None))

    def experiment(self, key: Any, request: Wanted) -> None:
        """Measure what steering does; its events are told one by one."""
        self._asked.put((key, lambda: self._engine.experiment(request)))

    def change(self, interventions: Sequence[Intervention]) -> None:
        """Other interventions for the generation that runs."""
        self._said.put(lambda: self._engine.change(interventions))

    def stop(self) -> None:
        """Stop the request that runs, and drop those that wait."""
        self.drop()
        self._said.put(self._engine.stop)

    def drop(self) -> None:
        """Let go of the requests that wait: they end at once, as stopped."""
        with contextlib.suppress(queue.Empty):
            while waiting := self._asked.get_nowait():
                self._tell(waiting[0], Ended(stopped=True))

    def close(self) -> None:
        """End the engine and the threads; nothing is told after this."""
        self._closed = True
        self._asked.put(None)
        self._said.put(self._engine.close)
        self._said.put(None)

    def _question(self, key: Any, ask: Callable[[], Told | None]) -> None:
        """Ask for one value, when its turn comes."""

        def begin() -> Iterator[Told]:
            answer = ask()
            if answer is not None:
                yield answer

        self._asked.put((key, begin))

    def _ask(self) -> None:
        while asked := self._asked.get():
            key, begin = asked
            ended = Ended()
            try:
                for told in begin():
                    if isinstance(told, protocol.Done):
                        ended = Ended(stopped=told.stopped)
                    elif not self._closed:
                        self._tell(key, told)
            except Exception as error:
                ended = Ended(error=error)
            if not self._closed:
                self._tell(key, ended)

    def _speak(self) -> None:
        while say := self._said.get():
            say()

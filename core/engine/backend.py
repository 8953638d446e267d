"""The work of an engine: a session's model and SAE, and what is asked of them. Knows no pipe."""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Protocol

from core.engine import protocol
from core.experiments.records import Outcome
from core.experiments.requests import Request as Wanted
from core.records import Progress, TokenReport
from core.session import Session
from core.steering.interventions import Intervention, resolve
from core.steering.transcript import MadeWith

Loader = Generator[Progress, None, tuple[Any, Any]]
"""Its return value: the model, of text or of images, and the SAE."""


class Backend(Protocol):
    """The work. Whatever may take long yields, and ends when it is closed."""

    def load(self) -> Generator[Progress, None, None]:
        """protocol.Load all there is to load."""
        ...

    def made_with(self, threads: int | None) -> MadeWith:
        """What a transcript must record of what it computes with, from here on with so many threads (None: its own)."""
        ...

    def generate(
        self, message: protocol.Generate, now: Callable[[], Sequence[Intervention]]
    ) -> Generator[TokenReport | Progress, None, None]:
        """A report for each new token; `now`, called once before each, are the interventions that hold for it."""
        ...

    def check(self, interventions: Sequence[Intervention]) -> None:
        """Raise what keeps the generation that runs from taking these, from any thread; after it, it can."""
        ...

    def answer(self, question: protocol.Question) -> protocol.Answer:
        """The answer, whole."""
        ...

    def experiment(self, request: Wanted) -> Generator[Progress | Outcome, None, Any]:
        """How far it is, and what it has found, whenever more of it is whole."""
        ...


class ModelBackend:
    """A session's model and SAE, and the scales of its features where they were analysed."""

    def __init__(self, session: Session, load: Callable[[Session], Loader]) -> None:
        # torch and duckdb: here and not on demand, for an import that a stop interrupts cannot be taken up again.
        import torch

        from core.analysis.store import strengths
        from core.analysis.stores import Stores
        from core.engine import answers
        from core.experiments import run as experiments
        from core.steering import generate

        self._session = session
        self._load = load
        self._scales: dict[int, Mapping[str, float | None]] = {}
        self._steering, self._strengths, self._answers = generate, strengths, answers
        self._experiments = experiments
        self._stores = Stores()
        self._config = session.config().tokens
        self._live = generate.Live()
        self._torch, self._threads = torch, torch.get_num_threads()
        self._chat = False

    def load(self) -> Generator[Progress, None, None]:
        """Model and SAE, from the session's configuration and folder."""
        self._model, self._sae = yield from self._load(self._session)
        self._digest = self._steering.digest(self._sae)

    def made_with(self, threads: int | None) -> MadeWith:
        """What this process computes with."""
        self._torch.set_num_threads(threads or self._threads)
        return self._steering.made_with(self._model, self._session.name, self._digest)

    def generate(
        self, message: protocol.Generate, now: Callable[[], Sequence[Intervention]]
    ) -> Generator[TokenReport | Progress, None, None]:
        """Baseline and steered text. Raises SessionError where the model knows none."""
        self._session.require(images=False)
        self._scales = {}  # as the database has them now
        self._chat = message.request.chat
        for edits in (message.request, *message.changes):
            self.check(edits.interventions)
        return self._steering.generate(
            self._model, self._sae, message.request, self._config, self._scales, now,
            changes=message.changes, past=message.past, live=self._live,
        )  # fmt: skip

    def check(self, interventions: Sequence[Intervention]) -> None:
        """Look up what their units stand for, where it is not known yet, and see that each can be resolved."""
        new = [edit for edit in interventions if edit.feature not in self._scales]
        self._scales.update(self._strengths(self._session, new, self._stores.get) or {})
        scales = self._scales if self._session.database_path.is_file() else None
        resolve(interventions, scales, self._sae.d_sae, chat=self._chat)

    def answer(self, question: protocol.Question) -> protocol.Answer:
        """What is asked about texts or images."""
        return self._answers.answer(self._model, self._sae, self._session, question, self._stores)

    def experiment(self, request: Wanted) -> Generator[Progress | Outcome, None, Any]:
        """What steering does, measured. Raises SessionError where the model knows no text."""
        self._session.require(images=False)
        return self._experiments.run(self._model, self._sae, self._session, request)

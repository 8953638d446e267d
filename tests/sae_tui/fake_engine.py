"""An engine without a model: words from a list, at the pace a test gives, everything that was asked noted."""

import threading
import time
from collections.abc import Iterator, Sequence

from core.engine import protocol
from core.experiments.requests import Request
from core.records import (
    AttributedFeature,
    Attribution,
    ConceptFound,
    ConceptRow,
    ConceptSide,
    ContextToken,
    FiringToken,
    NextToken,
    Progress,
    TextReading,
    TokenChoice,
    TokenReport,
)
from core.steering.interventions import Intervention, Mode
from core.steering.request import GenerationRequest
from core.steering.transcript import Change, MadeWith, Past
from core.steering.transcript import held as held_at
from tests.sae_tui.experiments import measured

TEXT = (
    "that it is not going to be what we think it is , but what we make of it when the time comes .\n"
    "There are many reasons why this is so , and the first of them is that nobody knows"
)
WORDS = TEXT.split(" ")
TOKENS_MADE = MadeWith(model="smollm2", session="alpha", dtype="float32", device="cpu", threads=2, torch="2")


class FakeEngine:
    """Answers as `core.engine.client.Engine` does. Steered words are in capitals while an intervention is on."""

    def __init__(self, pace_s: float = 0.0, words: Sequence[str] = WORDS) -> None:
        self.pace_s, self.words = pace_s, words
        self.asked: list[object] = []
        self.pasts: list[tuple[object, ...]] = []
        """Of each generation its changes, its past and its steps."""
        self.threads: list[int | None] = []
        self.error: Exception | None = None
        self.closed = self._loaded = False
        self._stopped = threading.Event()
        self._changed: Sequence[Intervention] | None = None
        self._generating = False

    def load(self) -> Iterator[protocol.Event]:
        self.asked.append("load")
        self._stopped.clear()
        yield protocol.Loading(id=1, progress=Progress(phase="loading smollm2", done=1, total=2, unit="tensors"))
        if self.error:
            raise self.error
        self._loaded = True
        yield protocol.Started(id=1, made_with=TOKENS_MADE)
        yield protocol.Done(id=1, stopped=False)

    def generate(
        self, request: GenerationRequest, changes: Sequence[Change] = (), *, past: Past = (), steps: int | None = None,
        threads: int | None = None,
    ) -> Iterator[protocol.Event]:  # fmt: skip
        """A capital stands for a token of its own: the texts part at the first word that an intervention changed."""
        self.asked.append(request)
        self.pasts.append((tuple(changes), tuple(past), steps))
        self.threads.append(threads)
        self._stopped.clear()
        begin = len(past)
        self._generating, self._changed, held = True, None, held_at(request, changes, begin)[0]
        if self.error and not self._loaded:
            raise self.error  # nothing is begun with what does not load
        yield protocol.Started(id=2, made_with=TOKENS_MADE)
        if past:
            reading = Progress(phase="reading what was written", done=1, total=2, unit="tokens")
            yield protocol.Loading(id=2, progress=reading)
        same = all(one == other for one, other in past)
        end = min(request.tokens, len(self.words), begin + (request.tokens if steps is None else steps))
        for index in range(begin, end):
            if self._stopped.wait(self.pace_s):
                break
            if self.error:
                raise self.error
            asked = [change.interventions for change in changes if change.index == index > begin]
            if asked and asked[-1] != held:
                held, self._changed = asked[-1], None
                yield protocol.Changed(id=2, index=index, interventions=held)
            if self._changed is not None and tuple(self._changed) != held:
                held = tuple(self._changed)
                if any(edit.feature > 90 for edit in held):
                    yield protocol.Refused(id=2, kind="QueryError", message="there is no feature 99", hint="0 to 11")
                else:
                    yield protocol.Changed(id=2, index=index, interventions=held)
            on = any(edit.enabled for edit in held)
            one = " " + self.words[index]
            other = one.upper() if on and index % 3 == 2 else one
            n = 2 * index
            steered = TokenChoice(token_id=n + (one != other), text=other, logprob_baseline=-2.0, logprob_steered=-0.5)
            baseline = TokenChoice(token_id=n, text=one, logprob_baseline=-0.5, logprob_steered=-2.0)
            top = (
                NextToken(token_id=n, text=one, logprob_baseline=-0.5, logprob_steered=-2.0),
                NextToken(token_id=n + 1, text=one.upper(), logprob_baseline=-2.0, logprob_steered=-0.5),
            )
            yield protocol.Step(
                id=2,
                report=TokenReport(
                    index=index, baseline=baseline, steered=steered, kl=0.4, same_context=same, top=top
                ),
            )  # fmt: skip
            same = same and one == other
        self._generating = False
        yield protocol.Done(id=2, stopped=self._stopped.is_set())

    def firing(
        self, text: str, top: int = 10, then: Sequence[int] = (), *, interventions: Sequence[Intervention] = (),
        changes: Sequence[Change] = (), mode: Mode = "error-kept", chat: bool = False, system: str = "",
    ) -> tuple[FiringToken, ...]:  # fmt: skip
        """Behind interventions, a feature that is steered is 4 everywhere."""
        self.asked.append(("firing", text, len(then)))
        edits = [edit for held in (interventions, *(c.interventions for c in changes)) for edit in held if edit.enabled]
        tokens = [FiringToken(token_id=0, text="<s>", counted=False)]
        for i, word in enumerate([*text.split(), *(self.words[i // 2] for i in then)]):
            features = ((3, 9.0 - i % 7), (5, 2.5)) if i % 2 else ((3, 1.0),)
            after = dict(features) | {edit.feature: 4.0 for edit in edits} if edits else {}
            strongest = tuple(sorted(after.items(), key=lambda pair: -pair[1]))
            tokens.append(
                FiringToken(
                    token_id=i,
                    text=f" {word}",
                    counted=True,
                    features=features,
                    after=strongest,
                    logprob=-1.0 - i % 2,
                    active=len(features),
                    x_nonzero=0.75,
                    z_nonzero=len(features) / 8,
                    x_ranked=(2.0, 1.0, 0.5, 0.0),
                    z_ranked=(9.0, 0.0, 0.0, 0.0),
                )
            )
        return tuple(tokens)

    def concept(
        self, texts: Sequence[str], contrast: Sequence[str] = (), *, strong: str | None = None, top: int = 20
    ) -> ConceptFound | None:
        self.asked.append(("concept", tuple(texts), tuple(contrast), strong, top))
        if self.error:
            raise self.error
        side = ConceptSide(strong_share=0.5, active_share=1.0, mean=2.0, composite=100.0)
        rows = tuple(
            ConceptRow(feature=f, score=100.0 - f, threshold=1.0, inside=side, outside=side if contrast else None)
            for f in (3, 5)
        )
        return ConceptFound(
            texts=len(texts), contrast=len(contrast), rule=strong or "0.5x", rows=rows[:top], notes=()
        )  # fmt: skip

    def attribution(
        self, text: str, target: str | None = None, *, position: int | None = None, rank: str = "gradient",
        top: int = 20, then: Sequence[int] = (), chat: bool = False, system: str = "",
    ) -> Attribution | None:  # fmt: skip
        """Feature 3 speaks for the target on each token, feature 5 against it on the last, whose effect is direct."""
        self.asked.append(("attribution", text, target, position, tuple(then), chat, system))
        self._stopped.clear()
        if self._stopped.wait(self.pace_s):
            return None
        if self.error:
            raise self.error
        words = ["<s>", *(f" {word}" for word in text.split()), *(f" t{token}" for token in then)]
        last = len(words) - 1 if position is None else position
        rows = [
            AttributedFeature(
                position=i, token=words[i], feature=3, activation=1.0 + i, direct=0.25 if i == last else 0.0,
                gradient=0.1 * i, ablation=0.1 * i + 0.01,
            )
            for i in range(1, last + 1)
        ]  # fmt: skip
        against = AttributedFeature(
            position=last, token=words[last], feature=5, activation=2.5, direct=-0.75, gradient=-0.05, ablation=None
        )
        return Attribution(
            tokens=tuple(
                ContextToken(token_idx=i, token_id=i, text=words[i], value=0.1 * i) for i in range(last + 1)
            ),
            position=last, target_id=7, target=target or " likeliest", score=1.5, probability=0.25,
            likeliest=((target or " likeliest", 0.25), (" other", 0.125)), pairs=last + 1, rows=(*rows, against)[:top],
            ablated=last, pearson=0.97, spearman=0.93,
        )  # fmt: skip

    def reading(self, texts: Sequence[str], feature: int) -> tuple[TextReading, ...]:
        self.asked.append(("reading", tuple(texts), feature))
        if self.error:
            raise self.error
        found = []
        for text in texts:
            values = [float(i % 3) for i, _ in enumerate(text.split(), 1)]
            tokens = tuple(
                ContextToken(token_idx=i, token_id=i, text=f" {word}", value=value)
                for i, (word, value) in enumerate(zip(text.split(), values, strict=True), 1)
            )
            most = max(values, default=0.0)
            found.append(
                TextReading(
                    text=text, category="", source="", tokens=tokens, max=most,
                    at=values.index(most) + 1 if most else None, x_nonzero=1.0, z_nonzero=0.1,
                    active=tuple(1 + i % 3 for i, _ in enumerate(tokens)), cut=0,
                )
            )  # fmt: skip
        return tuple(found)

    def experiment(self, request: Request) -> Iterator[protocol.Event]:
        """One that is half whole, then whole; a dose is of use from its second strength on but the last."""
        self.asked.append(request)
        self._stopped.clear()
        yield protocol.Started(id=3, made_with=TOKENS_MADE)
        for half in (False, True):
            yield protocol.Loading(
                id=3, progress=Progress(phase="writing texts", done=1 + half, total=2, unit="tokens")
            )
            if self._stopped.wait(self.pace_s):
                break
            if self.error:
                raise self.error
            yield protocol.Measured(id=3, outcome=measured(request, whole=half))
        yield protocol.Done(id=3, stopped=self._stopped.is_set())

    def change(self, interventions: Sequence[Intervention]) -> bool:
        self.asked.append(tuple(interventions))
        self._changed = interventions
        return self._generating

    def stop(self) -> None:
        self.asked.append("stop")
        self._stopped.set()

    def close(self) -> None:
        self.closed = True
        self._stopped.set()


def paced(seconds: float) -> FakeEngine:
    """One that is to be stopped or changed while its text comes."""
    return FakeEngine(pace_s=seconds, words=WORDS * 50)


def wait_for(holds, timeout_s: float = 5.0) -> None:
    """Wait, without an event loop."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)

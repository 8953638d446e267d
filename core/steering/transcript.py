"""Transcripts: what was generated under which interventions, saved so that it can be generated again.

Owns the file in `steering/` and all that a replay needs to come to the same tokens. Does not generate; a
replay is `generate(model, sae, transcript.request(), config, transcript.scales, transcript.replay())`.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import SaeTuiError, SessionError, UsageError
from core.records import TokenChoice, TokenReport
from core.session import Session
from core.steering.interventions import GenerationRequest, Intervention, Mode, Scales
from core.storage import replace_file

ROWS = 2
"""Rows in a batch: baseline and steered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeWith:
    """What the last bits of a logit depend on: where all of this is the same, so are a replay's tokens."""

    model: str
    session: str
    dtype: str
    device: str
    threads: int
    torch: str
    rows: int = ROWS
    """Rows in the batch: their number decides how products are rounded."""
    cache: bool = True
    """Whether keys and values were kept, rather than computed again for each token."""


@dataclass(frozen=True, slots=True)
class Change:
    """Interventions that hold from the token of this index on."""

    index: int
    interventions: tuple[Intervention, ...]


class Row(NamedTuple):
    """One generated text, and its token ids, a closing end token included."""

    text: str
    tokens: tuple[int, ...]


class Recorder:
    """Stands between `generate` and whoever changes interventions while it streams, and notes each change.

    Give it to `generate` as `interventions_now`, and its `changes` to `collect`.
    """

    def __init__(self, now: Callable[[], Sequence[Intervention]]) -> None:
        self._now = now
        self._calls = 0
        self.changes: list[Change] = []
        """The first is what generation began with."""

    def __call__(self) -> tuple[Intervention, ...]:
        """The interventions as they are now; `generate` calls this once for each token."""
        interventions = tuple(self._now())
        if not self.changes or self.changes[-1].interventions != interventions:
            self.changes.append(Change(self._calls, interventions))
        self._calls += 1
        return interventions


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """One generation: what was asked, what came, and what it was made with."""

    prompt: str
    seed: int
    temperature: float
    mode: Mode
    interventions: tuple[Intervention, ...]
    """Those it began with."""
    reports: tuple[TokenReport, ...]
    made_with: MadeWith
    changes: tuple[Change, ...] = ()
    """What replaced them while it streamed."""
    scales: Scales | None = None
    """p99 and max of the features that were steered, as they were then: a new analysis may change them."""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def baseline(self) -> Row:
        """The text without interventions."""
        return _row([r.baseline for r in self.reports])

    @property
    def steered(self) -> Row:
        """The text under interventions."""
        return _row([r.steered for r in self.reports])

    @property
    def mean_kl(self) -> float | None:
        """Mean of `kl`, in nats, over the tokens at which both rows were still going; None without any."""
        kls = [r.kl for r in self.reports if r.baseline and r.steered]
        return sum(kls) / len(kls) if kls else None

    def request(self) -> GenerationRequest:
        """What to ask for to get these tokens again, and no more of them."""
        return GenerationRequest(
            prompt=self.prompt, interventions=self.interventions, mode=self.mode,
            tokens=max(1, len(self.reports)), temperature=self.temperature, seed=self.seed,
        )  # fmt: skip

    def replay(self) -> Callable[[], tuple[Intervention, ...]]:
        """The `interventions_now` for one replay: each change comes at its token again."""
        index = -1

        def now() -> tuple[Intervention, ...]:
            nonlocal index
            index += 1
            held = [c.interventions for c in self.changes if c.index <= index]
            return held[-1] if held else self.interventions

        return now

    def to_json(self) -> dict[str, Any]:
        """`{prompt, seed, interventions, baseline: {text, tokens}, steered: …, mean_kl}` and the rest."""
        return {
            "prompt": self.prompt,
            "seed": self.seed,
            "temperature": self.temperature,
            "mode": self.mode,
            "interventions": [i.to_json() for i in self.interventions],
            "changes": [
                {"index": c.index, "interventions": [i.to_json() for i in c.interventions]} for c in self.changes
            ],
            "baseline": {"text": self.baseline.text, "tokens": list(self.baseline.tokens)},
            "steered": {"text": self.steered.text, "tokens": list(self.steered.tokens)},
            "mean_kl": self.mean_kl,
            "scales": None if self.scales is None else {str(k): dict(v) for k, v in self.scales.items()},
            "made_with": asdict(self.made_with),
            "at": self.at.isoformat(),
            "reports": [asdict(r) for r in self.reports],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Transcript":
        """The inverse of `to_json`. Raises UsageError."""
        try:
            scales = values["scales"]
            return cls(
                prompt=values["prompt"],
                seed=values["seed"],
                temperature=values["temperature"],
                mode=values["mode"],
                interventions=_interventions(values["interventions"]),
                changes=tuple(Change(c["index"], _interventions(c["interventions"])) for c in values["changes"]),
                reports=tuple(_report(r) for r in values["reports"]),
                made_with=MadeWith(**values["made_with"]),
                scales=None if scales is None else {int(k): v for k, v in scales.items()},
                at=datetime.fromisoformat(values["at"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UsageError("not a transcript", hint=repr(error)) from None

    def save(self, session: Session) -> Path:
        """Write it into the session's `steering/`, atomically, under a name that sorts by time; its path."""
        at, path = self.at, None
        while path is None or path.exists():
            path = session.steering_dir / at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ.json")
            at += timedelta(microseconds=1)
        replace_file(path, json.dumps(self.to_json(), indent=1, allow_nan=False))
        return path

    @classmethod
    def load(cls, path: Path) -> "Transcript":
        """A saved transcript. Raises SessionError where the file is missing or torn."""
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise SessionError(f"there is no transcript {path.name!r}", hint=f"see {path.parent}") from None
        except (OSError, ValueError, SaeTuiError) as error:
            raise SessionError(f"transcript {path.name!r} cannot be read", hint=str(error)) from None


def collect(
    reports: Iterable[TokenReport],
    request: GenerationRequest,
    made_with: MadeWith,
    *,
    scales: Scales | None = None,
    changes: Sequence[Change] = (),
) -> Transcript:
    """The transcript of a generation, `reports` read to their end.

    `scales` are those given to `generate`; `changes` replaced the request's interventions, each from its index on,
    as a Recorder or the engine has them.
    """
    came = tuple(reports)
    changes = [c for c in changes if c.index < len(came)]
    began_with = changes.pop(0).interventions if changes and changes[0].index == 0 else request.interventions
    steered = {i.feature for edits in (began_with, *(c.interventions for c in changes)) for i in edits}
    return Transcript(
        prompt=request.prompt,
        seed=request.seed,
        temperature=request.temperature,
        mode=request.mode,
        interventions=began_with,
        changes=tuple(changes),
        reports=came,
        made_with=made_with,
        scales=None if scales is None else {k: dict(v) for k, v in scales.items() if k in steered},
    )


def _row(choices: Iterable[TokenChoice | None]) -> Row:
    taken = [c for c in choices if c]
    return Row("".join(c.text for c in taken), tuple(c.token_id for c in taken))


def _interventions(values: Iterable[Mapping[str, Any]]) -> tuple[Intervention, ...]:
    return tuple(Intervention.from_json(v) for v in values)


def _report(values: Mapping[str, Any]) -> TokenReport:
    rows = {k: TokenChoice(**values[k]) if values[k] else None for k in ("baseline", "steered")}
    return TokenReport(**{**values, **rows})

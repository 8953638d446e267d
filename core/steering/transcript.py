"""Transcripts: what was generated under which interventions, saved so that it can be generated again.

Owns the file in `steering/`, all that a replay needs to come to the same tokens, and the figures that sum one up. Does
not generate; a replay is `generate(model, sae, t.request(), config, t.scales, changes=t.changes)`.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import SaeTuiError, SessionError, UsageError
from core.plain import made
from core.records import TokenChoice, TokenReport
from core.session import Session
from core.steering.interventions import Intervention, Mode, Scales
from core.steering.request import SAMPLING, GenerationRequest, Sampling
from core.storage import replace_file, time_name, unused_path

ENDING = ".json"
ROWS = 2
"""Rows in a batch: baseline and steered."""
Past = Sequence[tuple[int | None, int | None]]
"""Tokens chosen already, (baseline, steered), from the end of the prompt on; None for a row that has ended."""


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
    transformers: str = ""
    transformer_lens: str = ""
    sae: str = ""
    """A digest of the SAE's weights. Empty, like a library's version, in transcripts that did not record it."""

    def differences(self, now: "MadeWith") -> list[str]:
        """In words, which of these are not the same now, those left out that were not recorded."""
        return [
            f"{NAMES[name]} was {was!r}, is {value!r}"
            for (name, was), value in zip(asdict(self).items(), asdict(now).values(), strict=True)
            if was not in (value, "")
        ]


NAMES = {
    "model": "the model", "session": "the session", "dtype": "the precision", "device": "the device",
    "threads": "the number of threads", "torch": "torch's version", "rows": "the number of rows",
    "cache": "the use of a cache", "transformers": "transformers' version",
    "transformer_lens": "TransformerLens' version", "sae": "the SAE (a digest of its weights)",
}  # fmt: skip
"""What MadeWith's fields are, in words."""


@dataclass(frozen=True, slots=True)
class Change:
    """What holds from the token of this index on."""

    index: int
    interventions: tuple[Intervention, ...]
    sampling: Sampling | None = None
    """How tokens are chosen from there on; None: as before. Step t takes the t-th draw of whatever seed holds."""


def as_past(reports: Iterable[TokenReport]) -> Past:
    """The tokens of these reports."""
    return tuple(
        (r.baseline.token_id if r.baseline else None, r.steered.token_id if r.steered else None) for r in reports
    )


def held(
    request: GenerationRequest, changes: Sequence[Change], index: int
) -> tuple[tuple[Intervention, ...], Sampling]:
    """The interventions and the sampling that hold for the token of an index."""
    interventions, sampling = request.interventions, request.sampling
    for change in changes:
        if change.index <= index:
            interventions, sampling = change.interventions, change.sampling or sampling
    return interventions, sampling


class Row(NamedTuple):
    """One generated text, and its token ids, a closing end token included."""

    text: str
    tokens: tuple[int, ...]


class Recorder:
    """Stands between `generate` and whoever changes interventions while it streams, and notes each change.

    Give it to `generate` as `now`, and its `changes` to `collect`.
    """

    def __init__(self, now: Callable[[], Sequence[Intervention]], begin: int = 0) -> None:
        """`begin` is the index of the first token that it is asked about."""
        self._now = now
        self._index = begin
        self.changes: list[Change] = []
        """The first is what generation began with."""

    def __call__(self) -> tuple[Intervention, ...]:
        """The interventions as they are now; `generate` calls this once for each token."""
        interventions = tuple(self._now())
        if not self.changes or self.changes[-1].interventions != interventions:
            self.changes.append(Change(self._index, interventions))
        self._index += 1
        return interventions


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One generation in a few figures."""

    mean_kl: float | None
    """Mean of `kl`, in nats, over the tokens at which both rows were still going; None without any."""
    perplexity: float | None
    """`exp(−mean ln p)` of the steered tokens under the model without interventions; None where not measured."""
    distinct: tuple[float | None, ...]
    """Of the steered tokens' n-grams the share that are different ones, n from 1 to 4; None where there is none."""
    tokens_per_s: float | None
    """Of each row, from the first token on; None where not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """One generation: what was asked, what came, and what it was made with."""

    prompt: str
    sampling: Sampling
    mode: Mode
    interventions: tuple[Intervention, ...]
    """Those it began with."""
    reports: tuple[TokenReport, ...]
    made_with: MadeWith
    chat: bool = False
    system: str = ""
    changes: tuple[Change, ...] = ()
    """What replaced interventions and sampling while it streamed."""
    scales: Scales | None = None
    """Figures of the features that were steered, as they were then: a new analysis may change them."""
    logprobs: tuple[float, ...] | None = None
    """ln p of each steered token under the model without interventions; None where not measured."""
    seconds: float | None = None
    """From the first token to the last; None where not measured."""
    parent: str = ""
    """The file of the transcript that it parts from; empty where it is no branch."""
    parted: int = 0
    """The index of the first token that is not the parent's."""
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
        """As Summary has it."""
        kls = [r.kl for r in self.reports if r.baseline and r.steered]
        return sum(kls) / len(kls) if kls else None

    def summary(self) -> Summary:
        """The figures."""
        tokens, logprobs, n = self.steered.tokens, self.logprobs, len(self.reports)
        return Summary(
            mean_kl=self.mean_kl,
            perplexity=math.exp(-sum(logprobs) / len(logprobs)) if logprobs else None,
            distinct=tuple(distinct(tokens, length) for length in range(1, 5)),
            tokens_per_s=(n - 1) / self.seconds if self.seconds and n > 1 else None,
        )

    def request(self) -> GenerationRequest:
        """What to ask for to get these tokens again, and no more of them."""
        return GenerationRequest(
            prompt=self.prompt, interventions=self.interventions, mode=self.mode,
            tokens=max(1, len(self.reports)), sampling=self.sampling, chat=self.chat, system=self.system,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """`{prompt, seed, interventions, baseline: {text, tokens}, steered: …, mean_kl}` and the rest."""
        return {
            "prompt": self.prompt,
            "chat": self.chat,
            "system": self.system,
            **asdict(self.sampling),
            "mode": self.mode,
            "interventions": [i.to_json() for i in self.interventions],
            "changes": [asdict(c) for c in self.changes],
            "baseline": {"text": self.baseline.text, "tokens": list(self.baseline.tokens)},
            "steered": {"text": self.steered.text, "tokens": list(self.steered.tokens)},
            **asdict(self.summary()),
            "logprobs": None if self.logprobs is None else list(self.logprobs),
            "seconds": self.seconds,
            "scales": None if self.scales is None else {str(k): dict(v) for k, v in self.scales.items()},
            "made_with": asdict(self.made_with),
            "parent": self.parent,
            "parted": self.parted,
            "at": self.at.isoformat(),
            "reports": [asdict(r) for r in self.reports],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Transcript":
        """The inverse of `to_json`; what an older transcript does not have is as it was then. Raises UsageError."""
        try:
            fields = {name: value for name, value in values.items() if name in cls.__slots__}
            sampling = {name: values[name] for name in SAMPLING if name in values}
            scales = values["scales"]
            fields |= {
                "scales": None if scales is None else {int(k): v for k, v in scales.items()},
                "at": datetime.fromisoformat(values["at"]),
            }
            return made(cls, fields | {"sampling": sampling})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UsageError("not a transcript", hint=repr(error)) from None

    def save(self, session: Session, *, again: bool = False) -> Path:
        """Write it into the session's `steering/`, atomically, under a name that sorts by time; its path.

        `again`: in the place of one of the same time, of which this is more.
        """
        folder = session.steering_dir
        path = folder / file_name(self.at) if again else unused_path(folder, self.at, ENDING)
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
    logprobs: Sequence[float] | None = None,
    seconds: float | None = None,
    parent: str = "",
    parted: int = 0,
) -> Transcript:
    """The transcript of a generation, `reports` read to their end.

    `scales` are those given to `generate`; `changes` replaced the request's interventions and sampling, each from its
    index on, as the engine and a Recorder have them. The rest is as Transcript has it.
    """
    came = tuple(reports)
    interventions, sampling = held(request, changes, 0)
    changes = tuple(c for c in changes if 0 < c.index < len(came))
    steered = {i.feature for edits in (interventions, *(c.interventions for c in changes)) for i in edits}
    return Transcript(
        prompt=request.prompt, chat=request.chat, system=request.system, sampling=sampling, mode=request.mode,
        interventions=interventions, changes=changes, reports=came, made_with=made_with,
        scales=None if scales is None else {k: dict(v) for k, v in scales.items() if k in steered},
        logprobs=None if logprobs is None else tuple(logprobs), seconds=seconds, parent=parent, parted=parted,
    )  # fmt: skip


def file_name(at: datetime) -> str:
    """The name in `steering/` of what was made at a time."""
    return f"{time_name(at)}{ENDING}"


def distinct(tokens: Sequence[int], n: int) -> float | None:
    """Distinct-n: of the n-grams the share that are different ones; None where there is none."""
    grams = list(zip(*(tokens[i:] for i in range(n)), strict=False))
    return len(set(grams)) / len(grams) if grams else None


def _row(choices: Iterable[TokenChoice | None]) -> Row:
    taken = [c for c in choices if c]
    return Row("".join(c.text for c in taken), tuple(c.token_id for c in taken))

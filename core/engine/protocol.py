"""What the engine is asked and what it answers: one JSON object a line, ASCII, in both directions.

Every request has an id, higher than those before it; every event says which request it answers. A request
ends with exactly one Done or Failed. Requests are served one after another, but for Stop, Change and Ping, which
are heard at once; Stop and Change bear the id of the request they are about. Does not know processes or pipes.
"""

import json
from dataclasses import asdict, dataclass
from typing import get_args

from core.experiments.records import Outcome
from core.experiments.requests import Request as Wanted
from core.image_records import ClassifiedImage, ImageList
from core.plain import made
from core.records import Attribution, ConceptFound, FiringToken, Progress, TextReading, TokenReport
from core.steering.interventions import Intervention, Mode
from core.steering.request import GenerationRequest
from core.steering.transcript import Change as Held
from core.steering.transcript import MadeWith


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Load model and SAE, so that the next request need not wait."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """Answered by a Step for each token that is not in `past`."""

    id: int
    request: GenerationRequest
    changes: tuple[Held, ...] = ()
    """What replaces its interventions and sampling, by index: those that held in the past, and a replay's."""
    past: tuple[tuple[int | None, int | None], ...] = ()
    """Tokens chosen already: as transcripts have a Past."""
    steps: int | None = None
    """New tokens at most; None: up to `request.tokens`, the past included."""
    threads: int | None = None
    """With how many threads to compute, as a transcript has it; None: as this machine does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Other interventions for the generation of this id, from its next token on; answered by Changed or Refused.

    Where another Change comes before that token, only the last is answered by Changed; one that changes nothing, or
    comes after the last token, by nothing.
    """

    id: int
    interventions: tuple[Intervention, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Which features fire on a text, and what interventions make of them; answered by Firing."""

    id: int
    text: str
    top: int
    """Features for each token."""
    then: tuple[int, ...] = ()
    """Token ids that come after the text, such as those that were generated."""
    interventions: tuple[Intervention, ...] = ()
    """With these each token has `after` too."""
    changes: tuple[Held, ...] = ()
    """What replaced them while `then` was generated."""
    mode: Mode = "error-kept"
    chat: bool = False
    """The text is a user's turn in the model's chat template, as GenerationRequest has it."""
    system: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concept:
    """Which features stand for what some texts have in common; answered by Found."""

    id: int
    texts: tuple[str, ...]
    contrast: tuple[str, ...]
    """Texts that have it not; there may be none."""
    strong: str | None
    """From where on an activation is: `5` or `0.5x`; None is as the session is configured."""
    top: int
    """Features at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """Which features on which tokens a prediction rests on; answered by Attributed."""

    id: int
    text: str
    target: str | None
    """One token; None is what the model finds most likely."""
    position: int | None
    """Behind which token, as Firing counts them; None is the last."""
    rank: str
    """`activation`, `direct`, `gradient` or `ablation`."""
    top: int
    """Features at most."""
    then: tuple[int, ...] = ()
    """As Tokens has them, and what follows."""
    chat: bool = False
    system: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """How strongly one feature fires on each token of some texts; answered by WasRead."""

    id: int
    texts: tuple[str, ...]
    feature: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListImages:
    """Which images one may walk through; answered by Listed."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Classify:
    """What interventions make of images; answered by Classified."""

    id: int
    images: tuple[int, ...]
    """By their numbers in the data set."""
    top: int
    """Features of each, at most."""
    interventions: tuple[Intervention, ...] = ()
    mode: Mode = "error-kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Measure what steering does; answered by Loadings and by a Measured whenever more of it is whole."""

    id: int
    request: Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End the request of this id, and any before it, as soon as can be."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """Answered by Pong, also in the middle of work."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """How far loading is."""

    id: int
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """All is loaded and the request is begun."""

    id: int
    made_with: MadeWith
    """What a transcript must record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One token of each row."""

    id: int
    report: TokenReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """Other interventions hold from the token of this index on, whose Step comes next."""

    id: int
    index: int
    interventions: tuple[Intervention, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A Change that cannot be; the generation goes on as it was."""

    id: int
    kind: str
    """As Failed has them."""
    message: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """The tokens of a text, each with what fires on it."""

    id: int
    tokens: tuple[FiringToken, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The features that stand for a concept."""

    id: int
    concept: ConceptFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributed:
    """What a prediction rests on."""

    id: int
    attribution: Attribution


@dataclass(frozen=True, slots=True, kw_only=True)
class WasRead:
    """One feature on each of the texts, in their order."""

    id: int
    readings: tuple[TextReading, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The images of the test split."""

    id: int
    images: ImageList


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """The images that were asked for, in their order."""

    id: int
    images: tuple[ClassifiedImage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What an experiment has found so far; the last is all of it."""

    id: int
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The request has ended: by itself, or because it was stopped."""

    id: int
    stopped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The request has ended with an error."""

    id: int
    kind: str
    """The class in `core.errors`, or another error's class."""
    message: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong:
    """The engine hears."""

    id: int


Question = Tokens | Concept | Attribute | Read | ListImages | Classify
"""A request that is answered by one event."""
Request = Load | Generate | Change | Question | Experiment | Stop | Ping
Answer = Firing | Found | Attributed | WasRead | Listed | Classified
Event = Loading | Started | Step | Changed | Refused | Answer | Measured | Done | Failed | Pong

_KINDS: dict[str, type[Request | Event]] = {kind.__name__: kind for kind in (*get_args(Request), *get_args(Event))}


def encode(message: Request | Event) -> bytes:
    """The message as a line."""
    return json.dumps({"is": type(message).__name__, **asdict(message)}).encode("ascii") + b"\n"


def decode(line: bytes) -> Request | Event:
    """The message in a line. Raises ValueError where there is none, UsageError for impossible values."""
    values = json.loads(line)
    try:
        return made(_KINDS[values.pop("is")], values)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not a message of the engine: {line[:200]!r}") from error

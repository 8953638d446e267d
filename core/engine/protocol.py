"""What the engine is asked and what it answers: one JSON object a line, ASCII, in both directions.

Every request has an id, higher than those before it; every event says which request it answers. A request
ends with exactly one Done or Failed. Requests are served one after another, but for Stop, Change and Ping, which
are heard at once; Stop and Change bear the id of the request they are about. Does not know processes or pipes.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, get_args

from core.records import FiringToken, Progress, TokenChoice, TokenReport
from core.steering.interventions import GenerationRequest, Intervention
from core.steering.transcript import Change as Held
from core.steering.transcript import MadeWith


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Load model and SAE, so that the next request need not wait."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """Answered by a Step for each token."""

    id: int
    request: GenerationRequest
    changes: tuple[Held, ...] = ()
    """What replaces its interventions while it streams: a replay's."""


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
    """Which features fire on a text; answered by Firing."""

    id: int
    text: str
    top: int
    """Features for each token."""
    then: tuple[int, ...] = ()
    """Token ids that come after the text, such as those that were generated."""


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


Request = Load | Generate | Change | Tokens | Stop | Ping
Event = Loading | Started | Step | Changed | Refused | Firing | Done | Failed | Pong

_KINDS: dict[str, Callable[..., Any]] = {kind.__name__: kind for kind in (*get_args(Request), *get_args(Event))}


def encode(message: Request | Event) -> bytes:
    """The message as a line."""
    return json.dumps({"is": type(message).__name__, **asdict(message)}).encode("ascii") + b"\n"


def decode(line: bytes) -> Request | Event:
    """The message in a line. Raises ValueError where there is none, UsageError for impossible values."""
    values = json.loads(line)
    try:
        kind = _KINDS[values.pop("is")]
        return kind(**{name: _READ.get(name, _as_is)(value) for name, value in values.items()})
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not a message of the engine: {line[:200]!r}") from error


def _as_is(value: Any) -> Any:
    return value


def _report(values: dict[str, Any]) -> TokenReport:
    rows = {row: values[row] and TokenChoice(**values[row]) for row in ("baseline", "steered")}
    return TokenReport(**{**values, **rows})


def _interventions(values: list[dict[str, Any]]) -> tuple[Intervention, ...]:
    return tuple(Intervention.from_json(intervention) for intervention in values)


def _changes(values: list[dict[str, Any]]) -> tuple[Held, ...]:
    return tuple(Held(int(held["index"]), _interventions(held["interventions"])) for held in values)


def _firing(values: list[dict[str, Any]]) -> tuple[FiringToken, ...]:
    return tuple(
        FiringToken(**{**token, "features": tuple((int(f), float(z)) for f, z in token["features"])})
        for token in values
    )


_READ: dict[str, Callable[[Any], Any]] = {
    "progress": lambda values: Progress(**values),
    "made_with": lambda values: MadeWith(**values),
    "report": _report,
    "tokens": _firing,
    "request": GenerationRequest.from_json,
    "interventions": _interventions,
    "changes": _changes,
    "then": tuple,
}

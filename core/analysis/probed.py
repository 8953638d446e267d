"""What a probe found: plain values, and the files they are kept in. Knows no numbers beyond these.

    probes/DIGEST.json       the result
    probes/DIGEST.parquet    text, feature, value: one vector a text, its positive entries

The digest is that of texts, pooling and rule: the same question again takes the place of its earlier answer.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.analysis.given import Given
from core.plain import made
from core.session import Session
from core.storage import read_json, replace_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The highest single value there is."""

    feature: int
    value: float
    text: int
    token: str
    """The token of that text on which the feature is strongest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frequent:
    """A feature and how many texts it fires on."""

    feature: int
    n: int
    share: float
    """Of the texts that were asked about: all, or those of a category."""
    max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Selective:
    """A feature that is strong on few texts."""

    feature: int
    strong: int
    """On how many it is."""
    max: float
    text: int
    """That on which it is strongest."""
    threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Specialist:
    """A feature that is strong on more texts of one category than of all others together."""

    feature: int
    score: int
    """`inside − outside`"""
    inside: int
    """Texts of the category on which it is strong."""
    outside: int
    """Texts of other categories on which it is."""
    max: float
    """On a text of the category."""
    threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """The texts of one category, and what fires on them."""

    name: str
    texts: int
    specialists: int
    best: tuple[Specialist, ...]
    """The first of these, by score, then by maximum."""
    common: tuple[Frequent, ...]
    """The features that fire on most of its texts."""
    mean: float
    """Mean over its texts of the mean of the text's positive entries."""
    active: float
    """Mean number of features active on a text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """The most frequent features on all texts."""

    features: tuple[int, ...]
    texts: tuple[int, ...]
    """By category, in the order of `Probed.categories`."""
    values: tuple[tuple[float, ...], ...]
    """For each feature, its value on each of `texts`."""
    means: tuple[tuple[float, ...], ...]
    """For each feature, the mean over the texts of each category."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """One SAE on a set of texts. Texts go by their place in `texts`."""

    session: str
    name: str
    """Of the set: `standard`, or the file's."""
    pool: str
    """How a text's tokens became one vector: `max`, `last` or `mean`."""
    rule: str
    """From where on a value is strong, in words."""
    texts: tuple[Given, ...]
    d_sae: int
    active: int
    """Features that fire on a text at all."""
    strongest: Peak | None
    """None where nothing fires."""
    frequent: tuple[Frequent, ...]
    selective: tuple[Selective, ...]
    specialists: int | None
    """Of all categories together; None where there are not two."""
    specialised: int
    """Categories that have one."""
    entropy: float | None
    """Median over the active features of the entropy of category, in nats; None as `specialists`."""
    categories: tuple[Category, ...]
    """Without those of texts that have none, in the order of their first texts."""
    top: tuple[tuple[tuple[int, float], ...], ...]
    """For each text its strongest features and their values."""
    heat: Heat
    notes: tuple[str, ...] = ()
    """What else a person should know."""
    l0: float | None = None
    """Mean number of features active on a counted token, before pooling; None where no token counts."""

    def to_json(self) -> dict[str, Any]:
        """Every field by its name."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Probed":
        """The inverse. Raises as `core.plain.made`."""
        return made(cls, values)


def path_of(session: Session, texts: Sequence[Given], pool: str, strong: str) -> Path:
    """Where the answer to this question is kept; that beside it which ends in `.parquet` holds its vectors."""
    question = json.dumps([[asdict(text) for text in texts], pool, strong])
    return session.probes_dir / f"{hashlib.blake2b(question.encode(), digest_size=6).hexdigest()}.json"


def keep(path: Path, found: Probed) -> None:
    """Write it, in the place of an earlier one."""
    path.parent.mkdir(exist_ok=True)
    replace_file(path, json.dumps(found.to_json(), indent=1))


def kept(session: Session) -> list[Probed]:
    """What the session's probes found, newest first; what is torn is left out."""
    found = []
    for path in sorted(session.probes_dir.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            found.append(Probed.from_json(read_json(path)))
        except (AttributeError, KeyError, TypeError, ValueError):
            continue
    return found

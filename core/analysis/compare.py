"""Several SAEs beside each other: which features of one are those of another, and what each is like as a whole.

Features are matched by where their decoder directions point, for SAEs of one model and width of activation; and by
where they fire, for SAEs of any models that were analysed on some of the same text: token by token, or by how strong
they get in each document. Knows no torch.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError
from safetensors.numpy import load_file

from core import explanations, labels
from core.analysis import together
from core.analysis.connection import connected
from core.analysis.together import Code, Pairs, correlated, largest
from core.errors import QueryError
from core.records import Progress
from core.session import Session

By = Literal["direction", "firing", "documents"]
ALIKE: dict[By, float] = {"direction": 0.7, "firing": 0.5, "documents": 0.5}
"""From what cosine, or correlation, on two features are called the same."""
FEW = 50
"""Documents below which a correlation over them says next to nothing: where both features fire in one alone it is 1."""
ROWS = 2**24
"""Cosines held in memory at a time."""
SUMMARY = """
    SELECT count(*) AS d_sae, count(*) FILTER (NOT dead) AS alive, avg(dense::INTEGER) AS dense_share,
        avg(duplicate::INTEGER) AS duplicate_share, median(token_entropy) AS token_entropy,
        median(category_entropy) AS category_entropy, count(*) FILTER (specialist_score > 0) AS specialists,
        median(token_stability) AS token_stability
    FROM features
"""
SPECIALISTS = """
    SELECT specialist_category, count(*) FROM features WHERE specialist_score > 0 GROUP BY ALL ORDER BY ALL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One SAE."""

    name: str
    about: dict[str, Any]
    """architecture, hook, model, d_sae; fvu and l0 where it was evaluated."""
    figures: dict[str, Any]
    """alive, dense_share, duplicate_share, specialists; medians over features of token_entropy, category_entropy and
    token_stability. label_score is the mean detection score of the labels that were tested, None without one."""
    specialists: dict[str, int]
    """How many features are specialists of each category."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matches:
    """The feature of `other` that is most like each feature of `one`, and the other way round."""

    one: str
    other: str
    by: By
    best: Int[np.ndarray, " f"]
    """-1 where there is none."""
    score: Float[np.ndarray, " f"]
    """Cosine of decoder directions, or Pearson correlation: of activations over `tokens` positions, or of the largest
    in each of `documents`; NaN without one."""
    back: Int[np.ndarray, " g"]
    back_score: Float[np.ndarray, " g"]
    tokens: int = 0
    documents: int = 0
    mutual: Bool[np.ndarray, " f"] = field(init=False)
    """Whether each is the other's best."""

    def __post_init__(self) -> None:
        there = self.best >= 0
        own = np.arange(len(self.best))
        object.__setattr__(self, "mutual", there & (self.back[np.where(there, self.best, 0)] == own))

    @property
    def warning(self) -> str:
        """Why its scores say little; empty where they do not."""
        if self.by != "documents" or self.documents >= FEW:
            return ""
        return (
            f"only {self.documents} documents are in common: features that fire in the same few of them count as "
            f"alike; analyse text of {FEW} or more"
        )

    def turned(self) -> "Matches":
        """The same from where `other` stands."""
        return Matches(
            one=self.other, other=self.one, by=self.by, best=self.back, score=self.back_score, back=self.best,
            back_score=self.score, tokens=self.tokens, documents=self.documents,
        )  # fmt: skip

    def unmatched(self) -> Int[np.ndarray, " n"]:
        """Features of `one` that are like none of `other`."""
        return np.flatnonzero(~(np.nan_to_num(self.score, nan=-1.0) >= ALIKE[self.by]))

    def unmatched_back(self) -> Int[np.ndarray, " n"]:
        """Features of `other` that are like none of `one`."""
        return np.flatnonzero(~(np.nan_to_num(self.back_score, nan=-1.0) >= ALIKE[self.by]))


def summary(session: Session) -> Summary:
    """What its database and evaluation tell. Raises QueryError where it was not analysed."""
    with connected([session]) as connection:
        cursor = connection.execute(SUMMARY)
        names = [str(d[0]) for d in cursor.description or []]
        figures = dict(zip(names, cursor.fetchall()[0], strict=True))
        meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        specialists = dict(connection.execute(SPECIALISTS).fetchall())
    figures["label_score"] = _label_score(session)
    evaluation = session.evaluation()
    about = {name: meta.get(name) for name in ("architecture", "model", "hook")} | {"d_sae": figures.pop("d_sae")}
    about |= {name: evaluation.get(name) for name in ("fvu", "l0")}
    return Summary(name=session.name, about=about, figures=figures, specialists=specialists)


def by_direction(one: Session, other: Session) -> Matches:
    """Matched by the cosine of decoder directions.

    Raises QueryError where they are not of the same space, or the weights of one cannot be read.
    """
    rows = [_unit(session) for session in (one, other)]
    models = [session.config().model.name for session in (one, other)]
    if rows[0].shape[1] != rows[1].shape[1] or models[0] != models[1]:
        raise QueryError(
            f"the decoder directions of {one.name} and {other.name} lie in different spaces",
            hint="features of different models are matched by where they fire: --by firing",
        )
    best, score = _nearest(rows[0], rows[1])
    back, back_score = _nearest(rows[1], rows[0])
    return Matches(
        one=one.name, other=other.name, by="direction", best=best, score=score, back=back, back_score=back_score
    )


def by_firing(one: Session, other: Session) -> Generator[Progress, None, Matches]:
    """Matched by the correlation of activations on the text that both were analysed on; returns the matches.

    Positions are held against each other as `together.codes` does. Raises QueryError where there are none.
    """
    yield Progress(phase=f"reading {one.name} and {other.name}")
    codes = together.codes(one, other)
    matches = yield from _correlated(one, other, codes, "firing")
    return replace(matches, tokens=codes[0].tokens)


def by_documents(one: Session, other: Session) -> Generator[Progress, None, Matches]:
    """Matched by the correlation, over the documents that both were analysed on, of the largest activation in each.

    Documents are those of `together.strongest`. Coarser than `by_firing`: two features that fire in one and the same
    document alone have a correlation of 1. Returns the matches; raises QueryError where no document is in common.
    """
    yield Progress(phase=f"reading {one.name} and {other.name}")
    codes = together.strongest(one, other)
    matches = yield from _correlated(one, other, codes, "documents")
    return replace(matches, documents=codes[0].tokens)


def _correlated(one: Session, other: Session, codes: tuple[Code, Code], by: By) -> Generator[Progress, None, Matches]:
    """For each feature of either code the one of the other with the largest correlation."""
    found: list[tuple[np.ndarray, np.ndarray]] = []
    names = (one.name, other.name)
    for mine, its in (codes, codes[::-1]):
        best, score = np.full(len(mine.n), -1), np.full(len(mine.n), np.nan)
        for upto, feature, other_feature, correlation in correlated(mine, its, _best):
            phase = f"matching {names[0]} to {names[1]}"
            yield Progress(phase=phase, done=upto, total=len(mine.n), unit="features")
            best[feature], score[feature] = other_feature, correlation
        found.append((best, score))
        names = names[::-1]
    (best, score), (back, back_score) = found
    return Matches(one=one.name, other=other.name, by=by, best=best, score=score, back=back, back_score=back_score)


def _best(pairs: Pairs) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """Up to which feature these pairs go, those that have one, and of each the best and its value."""
    at, _ = largest(pairs, 1)
    return pairs.upto, pairs.feature[at], pairs.other[at], pairs.value[at]


def followed(feature: int, chain: Sequence[Matches]) -> list[tuple[int, float]]:
    """A feature of the first SAE through those after it, each time to the best match, with its score; up to the first
    SAE in which it has none.
    """
    found: list[tuple[int, float]] = []
    for matches in chain:
        if matches.best[feature] < 0:
            break
        score = float(matches.score[feature])
        feature = int(matches.best[feature])
        found.append((feature, score))
    return found


def _label_score(session: Session) -> float | None:
    """The mean score of the labels at hand, of those that were tested (`core.explanations`)."""
    scores = [line["score"] for line in explanations.tested(session, labels.read(session)).values()]
    return float(np.mean(scores)) if scores else None


def _unit(session: Session) -> Float[np.ndarray, "f d_in"]:
    try:
        rows = load_file(session.weights_dir() / "sae_weights.safetensors")["W_dec"].astype(np.float32)
    except (OSError, KeyError, SafetensorError) as error:
        raise QueryError(
            f"the weights of {session.name} cannot be read ({error})", hint="--by firing needs none"
        ) from error
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def _nearest(one: Float[np.ndarray, "f d"], other: Float[np.ndarray, "g d"]) -> tuple[np.ndarray, np.ndarray]:
    step = max(1, ROWS // len(other))
    best, score = np.empty(len(one), dtype=np.int64), np.empty(len(one))
    for first in range(0, len(one), step):
        cosines = one[first : first + step] @ other.T
        best[first : first + step] = cosines.argmax(axis=1)
        score[first : first + step] = cosines.max(axis=1)
    return best, score

"""Several SAEs beside each other: which features of one are those of another, and what each is like as a whole.

Features are matched by where their decoder directions point, for SAEs of one model and width of activation; and by
where they fire, for SAEs of any models that were analysed on some of the same text. Knows no torch.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import duckdb
import numpy as np
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError
from safetensors.numpy import load_file
from scipy import sparse

from core.analysis.connection import connected
from core.analysis.together import Code, blocks, paired
from core.errors import QueryError
from core.records import Progress
from core.session import Session

By = Literal["direction", "firing"]
ALIKE: dict[By, float] = {"direction": 0.7, "firing": 0.5}
"""From what cosine, or correlation, on two features are called the same."""
ROWS = 2**24
"""Cosines held in memory at a time."""
LONGEST = 2**40
"""Characters of a document, at most."""
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
SPANS = """
    WITH ends AS (
        SELECT token_idx, doc, counted, sum(length(text)) OVER (PARTITION BY doc ORDER BY doc_pos) AS upto
        FROM tokens WHERE doc_pos IS NOT NULL
    )
    SELECT token_idx, doc, counted, upto, digest FROM ends JOIN documents USING (doc) ORDER BY token_idx
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One SAE."""

    name: str
    about: dict[str, Any]
    """architecture, hook, model, d_sae; fvu and l0 where it was evaluated."""
    figures: dict[str, Any]
    """alive, dense_share, duplicate_share, specialists; medians over features of token_entropy, category_entropy and
    token_stability."""
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
    """Cosine of decoder directions, or Pearson correlation of activations over `tokens` positions; NaN without one."""
    back: Int[np.ndarray, " g"]
    back_score: Float[np.ndarray, " g"]
    tokens: int = 0
    mutual: Bool[np.ndarray, " f"] = field(init=False)
    """Whether each is the other's best."""

    def __post_init__(self) -> None:
        there = self.best >= 0
        own = np.arange(len(self.best))
        object.__setattr__(self, "mutual", there & (self.back[np.where(there, self.best, 0)] == own))

    def turned(self) -> "Matches":
        """The same from where `other` stands."""
        return Matches(
            one=self.other, other=self.one, by=self.by, best=self.back, score=self.back_score, back=self.best,
            back_score=self.score, tokens=self.tokens,
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

    Each position of `one` is held against that of `other` in which its last character lies, so that both have read the
    same text up to there: of documents with the same digest, by the lengths of their tokens' texts. Raises QueryError
    where they have no text in common.
    """
    yield Progress(phase=f"reading {one.name} and {other.name}")
    codes = _codes(one, other)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for number, (mine, its) in enumerate((codes, codes[::-1])):
        best, score = np.full(len(mine.n), -1), np.full(len(mine.n), np.nan)
        for first, last in blocks(mine, its):
            names = (one.name, other.name)[:: -1 if number else 1]
            yield Progress(phase=f"matching {names[0]} to {names[1]}", done=first, total=len(mine.n), unit="features")
            for feature, pairs in paired(mine, its, first, last):
                if len(pairs.other):
                    at = np.lexsort((pairs.other, -pairs.pearson))[0]
                    best[feature], score[feature] = pairs.other[at], pairs.pearson[at]
        found.append((best, score))
    (best, score), (back, back_score) = found
    return Matches(
        one=one.name, other=other.name, by="firing", best=best, score=score, back=back, back_score=back_score,
        tokens=codes[0].tokens,
    )  # fmt: skip


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


def _codes(one: Session, other: Session) -> tuple[Code, Code]:
    """Both codes over the positions that they have in common, numbered alike."""
    with connected([one]) as first, connected([other]) as second:
        places = _common(first, second)
        if not len(places[0]):
            raise QueryError(
                f"{one.name} and {other.name} were analysed on no common text",
                hint=f"analyse both on one corpus with one seed: `sae-tui analyze {other.name} --set seed=...`",
            )
        return _code(first, places[0]), _code(second, places[1])


def _common(
    one: duckdb.DuckDBPyConnection, other: duckdb.DuckDBPyConnection
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Counted positions of `one`, and of each that of `other` in which its last character lies: `token_idx` of both."""
    mine, its = (_arrays(connection, SPANS) for connection in (one, other))
    numbers = {digest: i for i, digest in enumerate(dict.fromkeys(its["digest"]))}
    end_its, end_mine = _ends(its, numbers), _ends(mine, numbers)
    order = np.argsort(end_its, kind="stable")
    at = np.searchsorted(end_its[order], end_mine, side="left")
    lies = order[np.minimum(at, len(order) - 1)]
    same = (at < len(order)) & (end_its[lies] // LONGEST == end_mine // LONGEST) & (end_mine >= 0)
    kept = np.flatnonzero(same & mine["counted"] & its["counted"][lies])
    return mine["token_idx"][kept], its["token_idx"][lies[kept]]


def _ends(tokens: dict[str, np.ndarray], numbers: dict[str, int]) -> Int[np.ndarray, " n"]:
    """Where each token ends, as one number: that of its document and the character; negative in others' documents."""
    number = np.array([numbers.get(digest, -1) for digest in tokens["digest"]], dtype=np.int64)
    return number * LONGEST + tokens["upto"].astype(np.int64)


def _arrays(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, np.ndarray]:
    return {name: np.asarray(column) for name, column in connection.execute(sql).fetchnumpy().items()}


def _code(connection: duckdb.DuckDBPyConnection, positions: Int[np.ndarray, " n"]) -> Code:
    """The code at these positions, in their order; a position may come several times."""
    d_sae = connection.execute("SELECT count(*) FROM features").fetchall()[0][0]
    entries = _arrays(connection, "SELECT feature, token_idx, value FROM activations")
    places = (entries["token_idx"], entries["feature"])
    rows = 1 + max(int(column.max(initial=0)) for column in (positions, entries["token_idx"]))
    there = sparse.csr_matrix((entries["value"], places), shape=(rows, d_sae))[positions].tocoo()
    return Code(there.col, there.row, there.data, d_sae=d_sae, tokens=len(positions))

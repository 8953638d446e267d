"""What is asked of feature databases: typed reads for the commands and the workbench, and a person's own SQL.

Every query of a person goes through the guard, in a transaction that may change nothing. Knows no torch and no screen.
Values are plain Python, ready for JSON: NaN and infinities are None.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from core import labels
from core.analysis.browse import RICH, Order, about, filtered
from core.analysis.connection import connected, load_labels
from core.analysis.cursors import Cursors, begin_read_only, plain, records
from core.analysis.guard import select_only
from core.errors import QueryError, nearest
from core.records import ContextToken, Example
from core.session import Session
from core.steering.interventions import Intervention, Scales


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The answer to a person's query."""

    columns: list[str]
    types: list[str]
    """DuckDB's name of each column's type."""
    rows: list[tuple[Any, ...]]
    truncated: bool
    """There are more rows than were asked for."""
    elapsed_s: float
    """From the text to the last row here."""


class Store:
    """One or several sessions' databases, open for reading. Safe to use from several threads.

    In SQL the sessions are `s1`, `s2` and so on, and also go by their quoted names where those are free
    (`"gpt2-l6.topk".features`). Plain table names are those of the first. `labels` holds the labels of all.
    A database that is replaced later is not seen: open another Store.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, sessions: Sequence[Session], stamps: list[Any]) -> None:
        """`stamps`: `labels.stamps` of before the labels were loaded."""
        self._connection = connection
        self._sessions = sessions
        self._cursors = Cursors(connection)
        self._labelling = threading.Lock()
        self._labels_seen = stamps
        self.labelled = 0
        """How often labels were read again."""
        self.columns = [str(row["column_name"]) for row in self._rows("DESCRIBE features")]
        """Of the table `features`, in order."""
        self.browsed = {str(row["column_name"]): str(row["column_type"]) for row in self._rows("DESCRIBE browse")}
        """The columns of the view `browse`, in order, and DuckDB's name of each one's type: `features` and labels."""
        self.d_sae = int(self._rows("SELECT count(*) AS n FROM features")[0]["n"])

    @classmethod
    def open(cls, sessions: Sequence[Session]) -> "Store":
        """Open the sessions' databases. Raises QueryError where one has none, or it cannot be read."""
        stamps = labels.stamps(sessions)
        connection = connected(sessions)
        try:
            return cls(connection, sessions, stamps)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Let go of the files. What still runs is interrupted."""
        self.interrupt()
        self._connection.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def meta(self) -> dict[str, str]:
        """What the analysis stands on: model, hook, corpus, `tokens_counted` and so on."""
        return {row["key"]: row["value"] for row in self._rows("FROM meta")}

    def features(
        self,
        sort: str = "density",
        descending: bool = True,
        where: str = "",
        limit: int = 20,
        offset: int = 0,
    ) -> list[dict[str, Any]]:
        """Rows of `browse` that fulfil the SQL condition `where`, sorted by a column, what is NULL last.

        Raises QueryError: no such column, a condition that is none.
        """
        if sort not in self.browsed:
            raise QueryError(f"features have no column {sort!r}", hint=nearest(sort, self.browsed))
        direction = "DESC" if descending else "ASC"
        tail = f'ORDER BY "{sort}" {direction} NULLS LAST, feature LIMIT {int(limit)} OFFSET {int(offset)}'
        return self._browse("*", where, tail)

    def count(self, where: str = "") -> int:
        """How many features fulfil the SQL condition `where`. Raises QueryError."""
        return int(self._browse("count(*) AS n", where)[0]["n"])

    def order(self, sort: str = "density", descending: bool = True, conditions: Iterable[str] = ()) -> Order:
        """Features that fulfil all of some SQL conditions, to be browsed; its `build` has to come first, and blocks.

        Raises QueryError: no such column.
        """
        return Order(
            self._cursors, list(self.browsed), sort=sort, descending=descending, conditions=conditions,
            rich=self.d_sae <= RICH,
        )  # fmt: skip

    def relabel(self) -> None:
        """Read the labels again, if someone has written some. An order keeps what it was built with."""
        with self._labelling:
            stamps = labels.stamps(self._sessions)
            if stamps != self._labels_seen:
                with self._cursors.one() as cursor:
                    load_labels(cursor, self._sessions)
                self._labels_seen = stamps
                self.labelled += 1

    def feature(self, feature: int) -> dict[str, Any]:
        """One row of `features`. Raises QueryError where there is no such feature."""
        self._check(feature)
        return self._rows("FROM features WHERE feature = $1", feature)[0]

    def logits(self, feature: int) -> list[dict[str, Any]]:
        """Its rows of `logits`: promoted first, then suppressed, each the strongest first."""
        self._check(feature)
        return self._rows("FROM logits WHERE feature = $1 ORDER BY sign DESC, rank", feature)

    def neighbours(self, feature: int) -> list[dict[str, Any]]:
        """Its rows of `neighbours`, the most alike first."""
        self._check(feature)
        return self._rows("FROM neighbours WHERE feature = $1 ORDER BY rank", feature)

    def top_tokens(self, feature: int) -> list[dict[str, Any]]:
        """Its rows of `feature_tokens`, the most frequent first."""
        self._check(feature)
        return self._rows("FROM feature_tokens WHERE feature = $1 ORDER BY n DESC, token_id", feature)

    def histogram(self, feature: int) -> list[dict[str, Any]]:
        """Its rows of `histogram`, from the weakest; none where it never fired."""
        self._check(feature)
        return self._rows("FROM histogram WHERE feature = $1 ORDER BY bin", feature)

    def scales(self, features: Iterable[int]) -> dict[int, dict[str, float | None]]:
        """`p99` and `max` of each feature's active values, in which steering counts; None where it never fired."""
        wanted = list(features)
        for feature in wanted:
            self._check(feature)
        rows = self._rows("SELECT feature, p99, max FROM features WHERE list_contains($1, feature)", wanted)
        return {row["feature"]: {"p99": row["p99"], "max": row["max"]} for row in rows}

    def examples(
        self, feature: int, band: int | None = None, limit: int | None = None, context: int = 16
    ) -> list[Example]:
        """Where a feature is active, by band and rank: `limit` of each band, or all there are.

        Each with up to `context` tokens of its document on both sides and the feature's activations on them.
        """
        self._check(feature)
        found = self._rows(
            """
            SELECT e.band, e.rank, e.token_idx, e.value, t.doc, d.source, d.category
            FROM examples e JOIN tokens t USING (token_idx) JOIN documents d USING (doc)
            WHERE feature = $1 AND ($2 IS NULL OR band = $2) AND ($3 IS NULL OR rank < $3)
            ORDER BY band, rank
            """,
            feature,
            band,
            limit,
        )
        windows = [range(e["token_idx"] - context, e["token_idx"] + context + 1) for e in found]
        places = self._rows(
            """
            SELECT t.token_idx, t.token_id, t.doc, t.doc_pos, t.text, coalesce(a.value, 0) AS value
            FROM tokens t
            LEFT JOIN (SELECT token_idx, value FROM activations WHERE feature = $1) a USING (token_idx)
            WHERE t.token_idx IN (SELECT unnest($2::INTEGER[]))
            """,
            feature,
            sorted({i for window in windows for i in window}),
        )
        by_idx = {p["token_idx"]: p for p in places}
        return [
            Example(
                **example,
                tokens=tuple(
                    ContextToken(token_idx=i, token_id=p["token_id"], text=p["text"], value=p["value"])
                    for i in window
                    if (p := by_idx.get(i)) is not None
                    and p["doc"] == example["doc"]
                    and (p["doc_pos"] is not None or i == example["token_idx"])
                ),
            )
            for example, window in zip(found, windows, strict=True)
        ]

    def passage(self, feature: int, token_idx: int, reach: int = 1_000) -> list[dict[str, Any]]:
        """The document around a token, up to `reach` tokens on both sides, with the feature's activation on each.

        `token_idx`, `doc_pos`, `token_id`, `text`, `counted` (the SAE is defined there), `value` (0 where silent).
        """
        self._check(feature)
        return self._rows(
            """
            SELECT t.token_idx, t.doc_pos, t.token_id, t.text, t.counted, coalesce(a.value, 0) AS value
            FROM tokens t
            LEFT JOIN (SELECT token_idx, value FROM activations WHERE feature = $1) a USING (token_idx)
            WHERE t.token_idx BETWEEN $2 - $3 AND $2 + $3
                AND t.doc = (SELECT doc FROM tokens WHERE token_idx = $2)
                AND (t.doc_pos IS NOT NULL OR t.token_idx = $2)
            ORDER BY t.token_idx
            """,
            feature,
            token_idx,
            reach,
        )

    def firing(self, token_idx: int, limit: int = 100) -> list[dict[str, Any]]:
        """The features that fire on a token, the strongest first: rows of `browse`, each with its `value` there."""
        return self._rows(
            """
            WITH strongest AS (FROM activations WHERE token_idx = $1 ORDER BY value DESC, feature LIMIT $2)
            SELECT b.*, value FROM strongest JOIN browse b USING (feature) ORDER BY value DESC, feature
            """,
            token_idx,
            limit,
        )

    def bands(self) -> int:
        """How many bands below the top `examples` has: equal intervals of (0, max], numbered from the highest."""
        return int(self._rows("SELECT coalesce(max(band), 0) AS n FROM examples")[0]["n"])

    def query(self, sql: str, limit: int = 1_000, *, value: Callable[[Any], Any] | None = None) -> Result:
        """The first `limit` rows of a person's query, which has to pass the guard. Raises QueryError.

        `value` makes what stands in a row of a value of DuckDB's; by default it is `plain`.
        """
        began = time.perf_counter()
        if limit < 0:
            raise QueryError(f"a limit of {limit} rows", hint="give 0 or more")
        with self._cursors.one() as cursor:
            checked = select_only(cursor, sql)
            begin_read_only(cursor)
            cursor.execute(checked)
            described = cursor.description or []
            rows = cursor.fetchmany(limit + 1)
        return Result(
            columns=[str(d[0]) for d in described],
            types=[str(d[1]) for d in described],
            rows=[tuple(map(value or plain, row)) for row in rows[:limit]],
            truncated=len(rows) > limit,
            elapsed_s=time.perf_counter() - began,
        )

    def interrupt(self) -> None:
        """Stop what runs now, from another thread; it ends with a QueryError, as a rule within milliseconds."""
        self._cursors.interrupt()

    def _browse(self, shown: str, where: str, tail: str = "") -> list[dict[str, Any]]:
        """A person's condition on `browse`, through the guard."""
        with about(self.browsed), self._cursors.one() as cursor:
            sql = select_only(cursor, f"SELECT {shown} FROM browse {filtered(cursor, [where])} {tail}")
            begin_read_only(cursor)
            return records(cursor.execute(sql))

    def _check(self, feature: int) -> None:
        if not 0 <= feature < self.d_sae:
            raise QueryError(f"there is no feature {feature}", hint=f"they go from 0 to {self.d_sae - 1}")

    def _rows(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        with self._cursors.one() as cursor:
            return records(cursor.execute(sql, parameters))


def strengths(session: Session, interventions: Iterable[Intervention]) -> Scales | None:
    """What multiples of p99 and max stand for in `interventions`; None where none is used or nothing is analysed."""
    features = sorted({edit.feature for edit in interventions if edit.unit != "raw"})
    if not features or not session.database_path.is_file():
        return None
    with Store.open([session]) as store:
        return store.scales(features)

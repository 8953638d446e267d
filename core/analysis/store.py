"""What is asked of feature databases: typed reads for the commands and the workbench, and a person's own SQL.

Every query of a person goes through the guard, in a transaction that may change nothing. Knows no torch and no screen.
Values are plain Python, ready for JSON: NaN and infinities are None.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from core.analysis.browse import FACETS, MATCH, Kind, about, filtered
from core.analysis.connection import connected, label_stamps, load_labels
from core.analysis.cursors import Cursors, begin_read_only, plain, records
from core.analysis.guard import select_only
from core.analysis.map import Cell, Window, drawn
from core.analysis.reads import Reads
from core.errors import QueryError
from core.session import Session
from core.steering.interventions import Intervention, Scales

if TYPE_CHECKING:
    from core.analysis.order import Order


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


class Store(Reads):
    """One or several sessions' databases, open for reading. Safe to use from several threads.

    In SQL the sessions are `s1`, `s2` and so on, and also go by their quoted names where those are free
    (`"gpt2-l6.topk".features`). Plain table names are those of the first. `labels` holds the labels of all.
    A database that is replaced later is not seen: open another Store.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, sessions: Sequence[Session], stamps: list[Any]) -> None:
        """`stamps`: `label_stamps` of before the labels were loaded."""
        self._connection = connection
        self._sessions = sessions
        super().__init__(Cursors(connection), sessions[0].name)
        self._labelling = threading.Lock()
        self._labels_seen = stamps
        self.labelled = 0
        """How often labels were read again."""
        self.columns = [str(row["column_name"]) for row in self._rows("DESCRIBE features")]
        """Of the table `features`, in order."""
        self.browsed = {str(row["column_name"]): str(row["column_type"]) for row in self._rows("DESCRIBE browse")}
        """The columns of the view `browse`, in order, and DuckDB's name of each one's type: `features` and labels."""

    @classmethod
    def open(cls, sessions: Sequence[Session]) -> "Store":
        """Open the sessions' databases. Raises QueryError where one has none, or it cannot be read."""
        stamps = label_stamps(sessions)
        connection = connected(sessions)
        try:
            return cls(connection, sessions, stamps)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Let go of the files. What still runs is interrupted."""
        self._cursors.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def features(
        self,
        sort: str = MATCH,
        descending: bool = True,
        where: str = "",
        limit: int = 20,
        offset: int = 0,
        *,
        text: str = "",
    ) -> list[dict[str, Any]]:
        """Rows of `browse` that fulfil the SQL condition `where`, in an order as `order` makes it.

        Raises QueryError: no such column, a condition that is none.
        """
        with contextlib.closing(self.order(sort, descending, [where], text=text)) as order:
            return order.build().rows(offset, limit)

    def count(self, where: str = "") -> int:
        """How many features fulfil the SQL condition `where`. Raises QueryError."""
        return int(self._browse("count(*) AS n", where)[0]["n"])

    def order(
        self, sort: str = MATCH, descending: bool = True, conditions: Iterable[str] = (), *, text: str = ""
    ) -> "Order":  # fmt: skip
        """Features that fulfil all of some SQL conditions, to be browsed; its `build` has to come first, and blocks.

        `text` is a filter box's, words or one more condition: see `browse.as_condition`. They are sorted by a column,
        what is NULL last, or by `browse.MATCH`. Raises QueryError: no such column.
        """
        # That module sorts with numpy, which takes 0.15 s to import: a query needs none.
        from core.analysis.order import MANY, Order

        return Order(
            self._cursors, self.browsed, sort=sort, descending=descending, text=text, conditions=conditions,
            many=self.d_sae > MANY,
        )  # fmt: skip

    def kinds(self) -> list[tuple[Kind, int]]:
        """The kinds of features there are, each with how many: the facets, then the specialists of each category."""
        counted = ", ".join(f"count(*) FILTER ({condition or 'true'})" for condition in FACETS.values())
        with self._cursors.one() as cursor:
            numbers = cursor.execute(f"SELECT {counted} FROM browse").fetchone() or ()
            of = cursor.execute(
                "SELECT specialist_category, count(*) AS n FROM features WHERE specialist_score > 0 "
                "GROUP BY ALL ORDER BY n DESC, specialist_category"
            ).fetchall()
        facets = [(Kind(facet=name), n) for name, n in zip(FACETS, numbers, strict=True)]
        return [*facets, *((Kind(category=category), n) for category, n in of)]

    def on_map(self, window: Window, columns: int, rows: int, conditions: Iterable[str] = ()) -> list[Cell]:
        """What lies in the cells of a map of `columns` by `rows`; those that fulfil all `conditions` are lit.

        Raises QueryError: a condition that is none.
        """
        with about(self.browsed), self._cursors.one() as cursor:
            sql = drawn(window, columns, rows, filtered(cursor, conditions))
            begin_read_only(cursor)
            return [Cell(*row) for row in cursor.execute(select_only(cursor, sql)).fetchall()]

    def in_clusters(self, where: str = "") -> dict[int, int]:
        """How many features of each cluster fulfil the SQL condition `where`. Raises QueryError."""
        rows = self._browse("cluster, count(*) AS n", where, "GROUP BY cluster ORDER BY cluster")
        return {row["cluster"]: row["n"] for row in rows if row["cluster"] is not None}

    def peaks(self, each: int, where: str = "") -> list[dict[str, Any]]:
        """Of every `each` features by number, such as fulfil `where`, the strongest: `place`, `feature`, `peak`.

        The place is that among the groups, from 0; groups without such a feature are left out, and the peak, the
        largest activation, is None where none of them fired. Raises QueryError.
        """
        shown = f"feature // {each:d} AS place, coalesce(arg_max(feature, max), min(feature)) AS strongest"
        rows = self._browse(f"{shown}, max(max) AS peak", where, "GROUP BY place ORDER BY place")
        return [{"place": row["place"], "feature": row["strongest"], "peak": row["peak"]} for row in rows]

    def map_window(self) -> Window | None:
        """The part of the plane that holds every feature; None where there is none on it."""
        [found] = self._rows("SELECT min(x) AS x0, max(x) AS x1, min(y) AS y0, max(y) AS y1 FROM features")
        return None if None in found.values() else Window.around(**found)

    def relabel(self) -> None:
        """Read labels and scores again, if someone has written some. An order keeps what it was built with."""
        with self._labelling:
            stamps = label_stamps(self._sessions)
            if stamps != self._labels_seen:
                with self._cursors.one() as cursor:
                    load_labels(cursor, self._sessions)
                self._labels_seen = stamps
                self.labelled += 1

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


def strengths(
    session: Session, interventions: Iterable[Intervention], opened: Callable[[Session], Store] | None = None
) -> Scales | None:
    """p99, max and mean of the features whose interventions need one; None where none does, or nothing is analysed.

    `opened` gives a store that stays open: opening one takes longer than many a question.
    """
    features = sorted({edit.feature for edit in interventions if edit.needs})
    if not features or not session.database_path.is_file():
        return None
    if opened is not None:
        return opened(session).scales(features)
    with Store.open([session]) as store:
        return store.scales(features)

"""Features that fulfil conditions, in an order that is computed once: from then on any part of it takes milliseconds,
wherever it lies."""

import json
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from core.analysis.browse import MATCH, about, as_condition, filtered, found_by, words_of
from core.analysis.cursors import Cursors, begin_read_only, records
from core.analysis.guard import select_only
from core.errors import QueryError, nearest

SAID = ("label", "note", "tags", "starred", "label_source", "label_score")
"""The columns of the view `browse` besides those of `features`."""
BY_DENSITY = "s1.main.by_density"
"""The order one begins with, which the analysis has computed: the densest first, ties by number."""
GLANCE = ("tokens", "histogram")
"""What a row may have besides the columns of `browse`: texts a feature fires on most, and how many activations lie in
each bin. Those of the table `glances`."""
NUMBERS = frozenset({"BOOLEAN", "INTEGER", "BIGINT", "UBIGINT", "FLOAT", "DOUBLE"})
"""Types of columns whose values are sorted here unless there are MANY, in some half of the time the database takes."""
MANY = 300_000
"""With more features than this the database, which sorts in several threads then, is the faster one; and rows come
without GLANCE, for which all of a table as long would be looked through."""


def in_order(features: np.ndarray, keys: Sequence[np.ndarray], descending: bool) -> np.ndarray:
    """The places of features sorted by one key after the other, those whose value is masked last, and ties by number.

    As DuckDB has it NaN is more than any number. `features` are distinct; there is one key at least, and each is of the
    same length and of a type that numpy sorts by itself.
    """
    places, n = np.argsort(features, kind="stable"), len(features)
    bits = n.bit_length()
    for key in reversed(keys):
        values = np.ma.getdata(key)[places]
        if not np.ma.is_masked(key) and np.all(values == values[:1]):
            continue  # it orders nothing, as where none of the words was looked for is in a label
        by_value = np.argsort(values)
        before, after = values[by_value[:-1]], values[by_value[1:]]
        both_nan = (before != before) & (after != after)
        rank = np.zeros(n, np.int64)
        np.cumsum((before != after) & ~both_nan, out=rank[1:])
        rank = n - rank if descending else rank
        rank[np.ma.getmaskarray(key)[places[by_value]]] = n + 1
        # The rank of a value and the place so far make one integer: to sort by two keys takes longer.
        places = places[np.sort(rank << bits | by_value) & (1 << bits) - 1]
    return places


class Order:
    """Features that fulfil conditions, sorted by a column or by `MATCH`, NULL last and ties by number.

    Made by `Store.order`. Safe to use from several threads; every method that asks the database blocks.
    """

    def __init__(
        self, cursors: Cursors, columns: Mapping[str, str], *, sort: str, descending: bool, text: str,
        conditions: Iterable[str], many: bool,
    ) -> None:  # fmt: skip
        """`columns`: of `browse`, with their types; `many`: there are more than MANY features, before any condition.

        Raises QueryError where `sort` is no column, nor MATCH.
        """
        if sort not in columns and sort != MATCH:
            raise QueryError(f"features have no column {sort!r}", hint=nearest(sort, columns))
        self._words = words_of(text, columns)
        self.sort = sort if sort != MATCH or self._words else "density"
        """The column it is sorted by; MATCH where there are words and no column was named."""
        self.descending = descending
        self.text = text.strip()
        self.besides = [one.strip() for one in conditions if one.strip()]
        """The conditions that hold besides the text."""
        self.conditions = [*self.besides, *([as_condition(text, columns)] if self.text else [])]
        """All of them in SQL, the text's the last."""
        self.count = 0
        """How many features are in it, once it is built."""
        self._features: np.ndarray = np.empty(0, np.int64)
        self._match = np.empty(0)
        """That of each, where words are looked for."""
        self.elapsed_s = 0.0
        """What it took to build."""
        self._columns, self._many = columns, many
        self._cursors = cursors
        self._cursor = cursors.new()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def where(self) -> str:
        """The whole condition, as `--where` takes it."""
        return self.conditions[0] if len(self.conditions) == 1 else " AND ".join(f"({c})" for c in self.conditions)

    def build(self) -> "Order":
        """Compute it, and return it. Raises QueryError: a condition that is none, or that failed, or an interrupt."""
        began = time.perf_counter()
        with self._lock, about(self._columns), self._cursors.at_work(self._cursor) as cursor:
            self._require_open()
            if (self.sort, self.descending, self.conditions) == ("density", True, []):
                self._features = np.asarray(cursor.execute(f"FROM {BY_DENSITY}").fetchnumpy()["feature"])
            else:
                self._sort(cursor)
            self.count = len(self._features)
        self.elapsed_s = time.perf_counter() - began
        return self

    def rows(self, first: int, n: int, columns: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Rows from the place `first` on, with those columns of `browse` and of GLANCE, or all of `browse`.

        `feature` is among them always; where words are looked for, each has `match` too: the best lift of a token they
        were found in, or None. Of more than MANY features none has what is of GLANCE. Raises QueryError.
        """
        part = slice(max(0, first), max(0, first + n))
        chosen = self._features[part]
        names = ["feature", *(c for c in columns or self._columns if c in self._columns and c != "feature")]
        drawn = [name for name in GLANCE if name in columns and not self._many]
        with self._lock, self._cursors.at_work(self._cursor) as cursor:
            self._require_open()
            if not len(chosen):
                return []

            def ask(table: str, shown: Sequence[str]) -> dict[int, dict[str, Any]]:
                quoted = ", ".join(f'"{name}"' for name in shown)
                among = "SEMI JOIN (SELECT unnest($1) AS feature) USING (feature)"
                found = records(cursor.execute(f"SELECT {quoted} FROM {table} {among}", [chosen]))
                return {row["feature"]: row for row in found}

            told = ask("browse", names)
            glances = ask("glances", ["feature", *drawn]) if drawn else {}
        rows = [told[feature] for feature in chosen.tolist()]
        for row, match in zip(rows, self._match[part].tolist(), strict=False):  # as a list what is masked is None
            row[MATCH] = match
        for row in rows if drawn else []:
            row.update({name: json.loads(glances[row["feature"]][name]) for name in drawn})
        return rows

    def place(self, feature: int) -> int | None:
        """Where a feature stands, from 0; None where it is not in it. Raises QueryError where it was closed."""
        self._require_open()
        found = np.flatnonzero(self._features == feature)
        return int(found[0]) if len(found) else None

    def feature_at(self, place: int) -> int | None:
        """The feature at a place; None where there is no such place. Raises QueryError where it was closed."""
        self._require_open()
        return int(self._features[place]) if 0 <= place < len(self._features) else None

    def interrupt(self) -> None:
        """Stop what the database does for it now, from another thread; that ends with a QueryError."""
        self._cursors.interrupt(self._cursor)

    def close(self) -> None:
        """Drop it: the memory it takes is free. What the database does for it now is interrupted."""
        self._closed = True
        self.interrupt()
        with self._lock:
            self._cursor.close()
            self._features = self._match = np.empty(0, np.int64)

    def _sort(self, cursor: Any) -> None:
        by = ["said", MATCH, "density"] if self.sort == MATCH else [self.sort]
        here = not self._many and all(self._columns.get(name, "DOUBLE") in NUMBERS for name in by)
        keys = [f'"{name}" AS key_{i}' for i, name in enumerate(by if here else [])]
        shown = ", ".join(["feature", *keys, *([MATCH] if self._words else [])])
        conditions = self.besides if self._words else self.conditions
        # Where nothing of a person's is asked for, or by words alone, the join is saved: a fifth of the time.
        table = "browse" if conditions or self.sort in SAID else "features"
        # Inside, so that no condition sees another column than those.
        sql = f"SELECT {shown} FROM (FROM {table} {filtered(cursor, conditions)})"
        if self._words:
            sql += f" JOIN ({found_by(self._words)}) USING (feature)"
        if not here:
            direction = ("DESC" if self.descending else "ASC") + " NULLS LAST"
            sql += " ORDER BY " + "".join(f'"{name}" {direction}, ' for name in by) + "feature"
        sql = select_only(cursor, sql)
        begin_read_only(cursor)
        found: dict[str, Any] = cursor.execute(sql).fetchnumpy()
        cursor.execute("COMMIT")
        features, values = found["feature"], [found[f"key_{i}"] for i in range(len(keys))]
        order = in_order(features, values, self.descending) if here else slice(None)
        self._features = features[order]
        self._match = np.ma.asarray(found[MATCH])[order] if self._words else np.empty(0)

    def _require_open(self) -> None:
        if self._closed:
            raise QueryError("these features were left", hint="ask for them again")

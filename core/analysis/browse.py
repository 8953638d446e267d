"""Browsing features by the million: what a filter box may say, and an order of features that is computed once.

Features are browsed in the view `browse`: `features` with label, note, tags and star beside them, the label's source
and score too. An
`Order` keeps the numbers of the features that fulfil some conditions, sorted, in a temporary table of its own; from
then on any part of it takes milliseconds, wherever it lies.
"""

import contextlib
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.analysis.cursors import Cursors, begin_read_only, records
from core.analysis.guard import condition, select_only
from core.errors import QueryError, nearest

FACETS = {
    "all": "",
    "alive": "NOT dead",
    "dead": "dead",
    "dense": "dense",
    "specialists": "specialist_score > 0",
    "duplicates": "duplicate",
    "starred": "starred",
    "labelled": "label IS NOT NULL",
    "unlabelled": "label IS NULL AND NOT dead",
}
"""Kinds of features one looks at, and the condition of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of features: a facet, the specialists of a category, a cluster; what is given of these, all of it."""

    facet: str = "all"
    category: str | None = None
    cluster: int | None = None

    @property
    def condition(self) -> str:
        """In SQL, on rows of `browse`; "" where it is all of them."""
        quoted = "" if self.category is None else self.category.replace("'", "''")
        parts = [
            FACETS[self.facet],
            "" if self.category is None else f"specialist_category = '{quoted}' AND specialist_score > 0",
            "" if self.cluster is None else f"cluster = {self.cluster:d}",
        ]
        return " AND ".join(part for part in parts if part)

    @property
    def words(self) -> str:
        """For a person; "" where it is all of them. Not safe: a category is the corpus's word."""
        parts = [
            "" if self.facet == "all" else self.facet,
            "" if self.category is None else f"specialists of {self.category or 'no category'}",
            "" if self.cluster is None else f"cluster {self.cluster}",
        ]
        return " · ".join(part for part in parts if part)


SAID = ("label", "note", "tags", "starred", "label_source", "label_score")
"""The columns of the view `browse` besides those of `features`."""
MATCH = "match"
"""What features are sorted by unless a column is named: how well the words match that are looked for, else by density.

First come those of whose words all are in label or note; then, and among those, the larger lift goes first, that is
the best lift of a token the feature fires on in which one of the words occurs; where that is the same the denser one.
"""
BY_DENSITY = "s1.main.by_density"
"""The order one begins with, which the analysis has computed: the densest first, ties by number."""
RICH = 300_000
"""With more features than this, rows come without their tokens and histogram: to find those in tables ten times as
long would take longer than a page may."""
TOKENS = 4
"""Of the tokens a feature fires on, how many are in its row."""
KEYWORD = re.compile(r"\b(and|or|not|in|is|like|ilike|between|null|true|false)\b", re.IGNORECASE)
PLACE = re.compile(r" at line \d+(, column \d+)?$")
OPERATOR = re.compile(r"[=<>()]|'.*'|\".*\"|::")


def words_of(text: str, columns: Mapping[str, str]) -> list[str]:
    """The words of a filter box's text; none where it is SQL.

    `columns` are those of `browse` with their types. The text is SQL where it has an operator, a parenthesis or a pair
    of quotes beside some letter or digit, or a keyword beside a column's name, or is the name of a boolean column.
    """
    text = text.strip()
    names = {name.lower() for name in columns}
    spelled = re.findall(r"\w+", text.lower())
    boolean = columns.get(text.lower()) == "BOOLEAN"
    spoken = KEYWORD.search(text) is not None and any(word in names for word in spelled)
    return [] if boolean or spoken or (OPERATOR.search(text) and spelled) else text.split()


def as_condition(text: str, columns: Mapping[str, str]) -> str:
    """The SQL condition that a filter box's text stands for; "" where there is no text.

    Of words, every one must occur in the label, the note or a token the feature fires on, whatever its case; `␣` in a
    word is a space.
    """
    words = words_of(text, columns)
    on = "feature IN (SELECT feature FROM feature_tokens WHERE text {})"
    return " AND ".join(f"({_said(word)} OR {on.format(_like(word))})" for word in words) or text.strip()


def _like(word: str) -> str:
    found = word.replace("␣", " ").replace("'", "''")
    escaped = re.sub(r"([\\%_])", r"\\\1", found)
    return f"ILIKE '%{escaped}%'" + (" ESCAPE '\\'" if escaped != found else "")


def _said(word: str) -> str:
    return f"label {_like(word)} OR note {_like(word)}"


def _matches(words: Sequence[str]) -> str:
    """For each feature some word was found on by its tokens: `match`, the best lift, and whether it was `word_i`.

    All in one pass: to read the texts is nearly all that looking for words costs.
    """
    likes = [f"text {_like(word)}" for word in words]
    found = ", ".join(f"bool_or({like}) AS word_{i}" for i, like in enumerate(likes))
    any_of = " OR ".join(likes)
    return f"SELECT feature, max(lift) AS {MATCH}, {found} FROM feature_tokens WHERE {any_of} GROUP BY feature"


def filtered(cursor: Any, conditions: Iterable[str]) -> str:
    """A WHERE clause on `browse` for conditions that must all hold; "" for none. Raises QueryError."""
    wrapped = [condition(cursor, "browse", one) for one in conditions if one.strip()]
    return "WHERE " + " AND ".join(wrapped) if wrapped else ""


@contextlib.contextmanager
def about(columns: Iterable[str]) -> Iterator[None]:
    """What goes wrong with a condition, without places in a text nobody wrote, and with the nearest column's name."""
    try:
        yield
    except QueryError as error:
        unknown = re.match(r'Referenced column "(.+)" not found', error.message)
        if unknown:
            raise QueryError(f"features have no column {unknown[1]!r}", hint=nearest(unknown[1], columns)) from error
        raise QueryError(PLACE.sub("", error.message), hint=error.hint) from error


class Order:
    """Features that fulfil conditions, sorted by a column or by `MATCH`, NULL last and ties by number.

    Made by `Store.order`. Safe to use from several threads; every method blocks but `interrupt`.
    """

    def __init__(
        self, cursors: Cursors, columns: Mapping[str, str], *, sort: str, descending: bool, text: str,
        conditions: Iterable[str], rich: bool,
    ) -> None:  # fmt: skip
        """`columns`: of `browse`, with their types; `rich`: rows hold tokens and histogram.

        Raises QueryError where `sort` is no column, nor MATCH.
        """
        if sort not in columns and sort != MATCH:
            raise QueryError(f"features have no column {sort!r}", hint=nearest(sort, columns))
        self._words = words_of(text, columns)
        self.sort = sort if sort != MATCH or self._words else "density"
        """The column it is sorted by; MATCH where there are words and no column was named."""
        self.descending, self.rich = descending, rich
        self.text = text.strip()
        self.besides = [one.strip() for one in conditions if one.strip()]
        """The conditions that hold besides the text."""
        self.conditions = [*self.besides, *([as_condition(text, columns)] if self.text else [])]
        """All of them in SQL, the text's the last."""
        self.count = 0
        """How many features are in it, once it is built."""
        self._table = "ordered"
        self.elapsed_s = 0.0
        """What it took to build."""
        self._columns = columns
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
                self._table = BY_DENSITY
            else:
                self._sorted(cursor)
            self.count = int(records(cursor.execute(f"SELECT count(*) AS n FROM {self._table}"))[0]["n"])
        self.elapsed_s = time.perf_counter() - began
        return self

    def rows(self, first: int, n: int, columns: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Rows of `browse` from the place `first` on, with those columns, or all; `feature` is among them always.

        Where words are looked for, each has `match` too: the best lift of a token they were found in, or None. A rich
        order's have besides `tokens`, texts it fires on most, and `histogram`, how many activations lie in each bin.
        Raises QueryError.
        """
        match = f", {MATCH}" if self._words else ""
        names = ["feature", *(c for c in columns or self._columns if c in self._columns and c != "feature")]
        shown = ", ".join(f'b."{name}"' for name in names)
        chosen = (
            "WITH chosen AS MATERIALIZED "
            f"(SELECT feature, rowid AS place{match} FROM {self._table} WHERE rowid >= $1 AND rowid < $1 + $2) "
        )
        with self._lock, self._cursors.at_work(self._cursor) as cursor:
            self._require_open()

            def ask(sql: str) -> list[dict[str, Any]]:
                return records(cursor.execute(chosen + sql, [first, n]))

            found = ask(f"SELECT {shown}{match} FROM chosen JOIN browse b USING (feature) ORDER BY place")
            if self.rich:
                tokens = ask(
                    f"SELECT feature, list(text ORDER BY n DESC, token_id)[:{TOKENS}] AS tokens "
                    "FROM feature_tokens SEMI JOIN chosen USING (feature) GROUP BY feature"
                )
                bars = ask(
                    "SELECT feature, list(n ORDER BY bin) AS bars "
                    "FROM histogram SEMI JOIN chosen USING (feature) GROUP BY feature"
                )
                by_tokens = {row["feature"]: row["tokens"] for row in tokens}
                by_bars = {row["feature"]: row["bars"] for row in bars}
                for row in found:
                    row["tokens"] = by_tokens.get(row["feature"], [])
                    row["histogram"] = by_bars.get(row["feature"], [])
        return found

    def place(self, feature: int) -> int | None:
        """Where a feature stands, from 0; None where it is not in it."""
        found = self._one(f"SELECT rowid AS found FROM {self._table} WHERE feature = $1", feature)
        return None if found is None else int(found)

    def feature_at(self, place: int) -> int | None:
        """The feature at a place; None where there is no such place."""
        return self._one(f"SELECT feature AS found FROM {self._table} WHERE rowid = $1", place)

    def interrupt(self) -> None:
        """Stop what it does now, from another thread; that ends with a QueryError."""
        self._cursors.interrupt(self._cursor)

    def close(self) -> None:
        """Drop it: the memory it takes is free. What it does now is interrupted."""
        self._closed = True
        self.interrupt()
        with self._lock:
            self._cursor.close()

    def _sorted(self, cursor: Any) -> None:
        direction = ("DESC" if self.descending else "ASC") + " NULLS LAST"
        if self._words:
            table, shown = f"browse LEFT JOIN ({_matches(self._words)}) USING (feature)", f"feature, {MATCH}"
            found = (f"{_said(word)} OR word_{i}" for i, word in enumerate(self._words))
            conditions = [*self.besides, *found]
        else:
            # Where nothing of a person's is asked for, the join is saved: a fifth of the time.
            table = "browse" if self.conditions or self.sort in SAID else "features"
            shown, conditions = "feature", self.conditions
        by = [f'"{self.sort}"']
        if self.sort == MATCH:
            all_said = " AND ".join(f"({_said(word)})" for word in self._words)
            by = [f"coalesce({all_said}, false)", MATCH, "density"]
        keys = "".join(f"{one} {direction}, " for one in by)
        where = filtered(cursor, conditions)
        sql = select_only(cursor, f"SELECT {shown} FROM {table} {where} ORDER BY {keys}feature")
        # A read-only transaction lets a cursor write its own temporary tables, and nothing else.
        begin_read_only(cursor)
        cursor.execute(f"CREATE OR REPLACE TEMP TABLE ordered AS {sql}")
        cursor.execute("COMMIT")

    def _one(self, sql: str, value: int) -> Any:
        with self._lock, self._cursors.at_work(self._cursor) as cursor:
            self._require_open()
            found = records(cursor.execute(sql, [value]))
        return found[0]["found"] if found else None

    def _require_open(self) -> None:
        if self._closed:
            raise QueryError("these features were left", hint="ask for them again")

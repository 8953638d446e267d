"""What may be asked of features when they are browsed: kinds of them, words, conditions; and what that is in SQL.

Features are browsed in the view `browse`: `features` with label, note, tags and star beside them, the label's source
and score too.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.analysis.guard import condition
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


MATCH = "match"
"""What features are sorted by unless a column is named: how well the words match that are looked for, else by density.

First come those of whose words all are in label or note; then, and among those, the larger lift goes first, that is
the best lift of a token the feature fires on in which one of the words occurs; where that is the same the denser one.
"""
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


def found_by(words: Sequence[str]) -> str:
    """The features all the words were found of, each in label, note or a token, with `match` and `said`.

    `match` is the best lift of a token of the feature's with one of the words, `said` is true where all are in label or
    note. The tokens are read in one pass: that is nearly all that looking for words costs.
    """
    on = [f"text {_like(word)}" for word in words]
    said = [f"coalesce({_said(word)}, false)" for word in words]

    def each(shown: str, table: str, tests: Sequence[str]) -> str:
        columns = "".join(f", {test} AS word_{i}" for i, test in enumerate(tests))
        return f"SELECT feature, {shown}{columns} FROM {table} WHERE {' OR '.join(tests)}"

    by_token = each("lift, false AS said", "feature_tokens", on)
    by_label = each("NULL AS lift, " + " AND ".join(said) + " AS said", "browse", said)
    return (
        f"SELECT feature, max(lift) AS {MATCH}, bool_or(said) AS said FROM ({by_token} UNION ALL {by_label}) "
        f"GROUP BY feature HAVING {' AND '.join(f'bool_or(word_{i})' for i in range(len(words)))}"
    )


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

"""A person's queries over sessions' feature databases: one at a time, each of which can be stopped.

Alone ends a query. Each runs in a process of `answering`, so that the memory and the threads it takes, and ending it,
touch nobody else. Knows no screen.
"""

import contextlib
import pickle
import re
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.analysis import answering
from core.errors import QueryError
from core.session import Session

if TYPE_CHECKING:
    from core.analysis.store import Result

ORDER = (
    "features", "feature_tokens", "feature_categories", "examples", "activations", "tokens", "documents", "logits",
    "neighbours", "coactivations", "clusters", "snapshots",
)  # fmt: skip
"""Tables that come first in a list of all, in this order."""
ONE_ROW = {
    "features": "a feature and its statistics",
    "feature_tokens": "a token a feature fires on",
    "examples": "a place where a feature fires",
    "activations": "one non-zero entry of the code",
    "tokens": "a position of the text",
    "documents": "a document of the corpus",
    "logits": "a token a feature promotes (+1) or suppresses (-1)",
    "neighbours": "another feature that points the same way",
    "histogram": "one bar of a feature's histogram",
    "feature_categories": "a feature in one category",
    "coactivations": "two features that fire together",
    "clusters": "a cluster of decoder directions, or two joined",
    "alignment": "a large entry of a decoder direction",
    "correlations": "a dimension of the activation that goes with a feature",
    "logit_histogram": "one bar of a feature's logit effects",
    "snapshots": "a feature at a step of training",
    "labels": "what was said of a feature, by whom, and how well it tells it",
    "meta": "a fact about the analysis",
    "by_density": "a feature: the densest first",
    "glances": "what the list of features shows of one, as JSON",
}
"""What a row of a table is."""
EXAMPLES = (
    (
        "the most active features",
        "SELECT feature, density, max, top_token\nFROM features\nORDER BY density DESC\nLIMIT 20",
    ),
    (
        "how many specialists each category has",
        "SELECT specialist_category, count(*) AS specialists, max(specialist_score) AS best,\n"
        "    arg_max(feature, specialist_score) AS feature\nFROM features\nWHERE specialist_score > 0\n"
        "GROUP BY ALL\nORDER BY specialists DESC",
    ),
    (
        "the best specialists",
        "SELECT feature, specialist_category, specialist_score, category_entropy, top_token\nFROM features\n"
        "WHERE specialist_score > 0\nORDER BY specialist_score DESC, category_entropy\nLIMIT 50",
    ),
    (
        "features that fire on one token only",
        "SELECT feature, n, top_token, token_entropy\nFROM features\nWHERE n >= 20\nORDER BY token_entropy\nLIMIT 50",
    ),
    (
        "which features fire on a word",
        "SELECT feature, text, n, lift\nFROM feature_tokens\nWHERE text ILIKE '%return%'\nORDER BY lift DESC\nLIMIT 50",
    ),
    (
        "tokens that a feature picks out: the highest lift",
        "SELECT feature, text, n, lift, mean\nFROM feature_tokens\nWHERE n >= 10\nORDER BY lift DESC\nLIMIT 50",
    ),
    (
        "where a feature fires, with the text around it",
        "SELECT e.rank, e.value, d.source, string_agg(near.text, '' ORDER BY near.token_idx) AS context\n"
        "FROM examples e\nJOIN tokens t USING (token_idx)\nJOIN documents d USING (doc)\n"
        "JOIN tokens near ON near.doc = t.doc AND near.token_idx BETWEEN e.token_idx - 8 AND e.token_idx + 8\n"
        "WHERE e.feature = 0 AND e.band = 0\nGROUP BY ALL\nORDER BY e.rank",
    ),
    (
        "what fires together",
        "SELECT c.feature, other, c.n, jaccard, pmi, f.top_token, g.top_token AS other_token\nFROM coactivations c\n"
        "JOIN features f USING (feature)\nJOIN features g ON g.feature = other\n"
        "WHERE c.feature < other AND c.n >= 10\nORDER BY jaccard DESC\nLIMIT 50",
    ),
    (
        "pairs of features that point the same way",
        "SELECT n.feature, other, cosine, f.top_token, g.top_token AS other_token\nFROM neighbours n\n"
        "JOIN features f USING (feature)\nJOIN features g ON g.feature = other\n"
        "WHERE n.feature < other\nORDER BY cosine DESC\nLIMIT 50",
    ),
    (
        "duplicates: a cosine above 0.9",
        "SELECT n.feature, other, cosine, f.density, g.density AS other_density\nFROM neighbours n\n"
        "JOIN features f USING (feature)\nJOIN features g ON g.feature = other\n"
        "WHERE f.duplicate AND rank = 0\nORDER BY cosine DESC",
    ),
    (
        "how far densities can be trusted: both halves of the text",
        "SELECT corr(density_a, density_b) AS densities_agree, avg(token_stability) AS tokens_agree,\n"
        "    count(*) FILTER (density_a = 0 OR density_b = 0) AS in_one_half_only, count(*) AS features\n"
        "FROM features\nWHERE NOT dead",
    ),
    (
        "features whose halves disagree most",
        "SELECT feature, n, density_a, density_b, ln(density_a / density_b) AS log_ratio, token_stability, top_token\n"
        "FROM features\nWHERE n >= 50 AND density_a > 0 AND density_b > 0\nORDER BY abs(log_ratio) DESC\nLIMIT 50",
    ),
    (
        "how features emerged: what was active at each step",
        "SELECT step, count(*) FILTER (density > 0) AS active, avg(density) AS density, avg(drift) AS drift,\n"
        "    avg(drift_final) AS to_go\nFROM snapshots\nGROUP BY step\nORDER BY step",
    ),
    (
        "features born late, and those that died in training",
        "SELECT feature, birth, death, density, top_token\nFROM features\n"
        "WHERE death IS NOT NULL OR birth > (SELECT min(step) FROM snapshots)\nORDER BY birth DESC, feature",
    ),
    (
        "clusters of decoder directions",
        "SELECT cluster, n, array_to_string(tokens, ' ') AS fires_on\nFROM clusters\n"
        "WHERE cluster NOT IN (SELECT parent FROM clusters WHERE parent IS NOT NULL)\nORDER BY n DESC",
    ),
    (
        "where in the text the SAE works hardest",
        "SELECT source, doc_pos, text, count(*) AS l0, max(value) AS strongest\nFROM activations\n"
        "JOIN tokens USING (token_idx)\nJOIN documents USING (doc)\nGROUP BY ALL\nORDER BY l0 DESC\nLIMIT 50",
    ),
    (
        "my labels beside their statistics",
        "SELECT feature, label, note, density, max\nFROM labels JOIN features USING (feature)\nORDER BY labels.at DESC",
    ),
)
"""Queries to begin with: what each tells, and its text."""
JOINED = (
    (
        "both runs: features for the same token, the purest first",
        "SELECT a.top_token, a.feature, b.feature AS other, a.token_entropy, b.token_entropy AS other_entropy\n"
        "FROM s1.features a JOIN s2.features b USING (top_token)\nWHERE a.n >= 20 AND b.n >= 20\n"
        "ORDER BY a.token_entropy + b.token_entropy\nLIMIT 50",
    ),
    (
        "both runs: how many features, how alive, how specialised",
        "SELECT 1 AS run, count(*) AS features, count(*) FILTER (dead) AS dead, avg(token_entropy) AS token_entropy,\n"
        "    count(*) FILTER (specialist_score > 0) AS specialists\nFROM s1.features\nUNION ALL\n"
        "SELECT 2, count(*), count(*) FILTER (dead), avg(token_entropy), count(*) FILTER (specialist_score > 0)\n"
        "FROM s2.features",
    ),
)
"""The same where another session is open as `s2`: marked on Runs."""
PLACE = re.compile(r" at line (\d+), column (\d+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table that queries may read."""

    name: str
    """As one writes it in a query."""
    rows: int
    columns: tuple[tuple[str, str], ...]
    """Name and DuckDB's type of each."""


class Console:
    """Asks and is stopped. `ask`, `tables` and `stop` block: from a thread, each its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._asking: set[object] = set()
        self._opened = answering.Opened()

    def ask(self, sessions: Sequence[Session], sql: str, limit: int) -> "Result":
        """The first `limit` rows of a query; NaN and infinities stay what they are. Raises QueryError."""
        turn = object()
        self._asking.add(turn)
        try:
            with self._turn:
                answer = self._answer(pickle.dumps(([str(s.path.resolve()) for s in sessions], sql, limit)))
        finally:
            self._asking.discard(turn)
        if isinstance(answer, QueryError):
            raise answer
        return answer

    def _answer(self, request: bytes) -> "Result | QueryError":
        process = self._started()
        assert process.stdin and process.stdout
        try:
            process.stdin.write(request)
            process.stdin.flush()
            return pickle.load(process.stdout)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):  # the process has ended
            with self._lock:
                stopped, self._process = self._process is not process, None
            answering.end(process)
        if stopped:
            return QueryError("the query was interrupted")
        return QueryError("the query needs more memory than it may use", hint="narrow it, or add a LIMIT")

    def _started(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._process is None:
                self._process = answering.start()
            return self._process

    def tables(self, sessions: Sequence[Session]) -> list[Table]:
        """What can be asked: the tables, those of interest first. Raises QueryError where nothing was analysed."""
        self._started()  # it takes a while, and a query will come
        store = self._opened.get(sessions)
        sizes = store.query(
            "SELECT database_name, table_name, estimated_size FROM duckdb_tables() WHERE NOT internal"
        ).rows
        columns = store.query(
            "SELECT database_name, table_name, column_name, data_type FROM duckdb_columns() "
            "WHERE NOT internal AND database_name <> 'memory' OR table_name = 'labels' ORDER BY column_index",
            100_000,
        ).rows
        schemas = {row[0] for row in store.query("SELECT schema_name FROM duckdb_schemas()").rows} - {sessions[0].name}
        prefixes = {"s1": "", "memory": ""} | {
            f"s{number}": f"{quoted(session.name)}." if session.name in schemas else f"s{number}."
            for number, session in enumerate(sessions[1:], start=2)
        }
        places = {name: place for place, name in enumerate(ORDER)}
        own = ("s1", "memory")
        sizes.sort(key=lambda row: (row[0] if row[0] not in own else "", places.get(row[1], len(places)), row[1]))
        return [
            Table(
                name=prefixes[database] + table,
                rows=rows,
                columns=tuple((str(c[2]), str(c[3])) for c in columns if c[:2] == (database, table)),
            )
            for database, table, rows in sizes
        ]

    def stop(self) -> None:
        """End what is asked now, and wait for that: its process is killed, and the next query starts another."""
        asked = set(self._asking)
        while asked & self._asking:
            self._kill()  # again and again: it may be about to begin
            time.sleep(0.005)

    def close(self) -> None:
        """Let go of the databases, of a query that runs too."""
        self._kill()
        store = self._opened.forget()
        if store is not None:
            with contextlib.suppress(Exception):  # it refuses while the tables are listed, and goes with them
                store.close()

    def _kill(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            if not self._asking:  # else whoever reads its answer clears up
                answering.end(process)


def quoted(name: str) -> str:
    """A name as one writes it in a query."""
    return name if name.isidentifier() and name.isascii() else '"' + name.replace('"', '""') + '"'


def place_of(error: QueryError) -> tuple[int, int] | None:
    """Line and column in the text, from 1, that an error is about; None where it does not say."""
    found = PLACE.search(error.message)
    return (int(found[1]), int(found[2])) if found else None


def words(sql: str) -> list[tuple[int, int, str]]:
    """What the text is made of, in DuckDB's eyes: where each word begins and ends, and its kind.

    Kinds are keyword, identifier, numeric_const, string_const, operator and comment.
    """
    import duckdb

    text = sql.encode("utf-8", "replace")
    found = duckdb.tokenize(text.decode())
    starts = [*(start for start, _ in found), len(text)]
    if not text.isascii():
        starts = [len(text[:start].decode("utf-8", "ignore")) for start in starts]
    return [
        (start, end, "operator" if sql[start:end].strip() == "." else kind.name)  # a number, to DuckDB
        for start, end, (_, kind) in zip(starts, starts[1:], found, strict=False)
    ]

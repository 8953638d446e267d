"""Typed reads of a feature database: all there is about one feature, its places in the text, the clusters.

Each is a query on tables that are sorted by feature, and takes milliseconds however long they are. A few rows are
sorted and joined here: to plan a sort or a join takes DuckDB longer than to find them.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any

from core.analysis.connection import SAID
from core.analysis.cursors import Cursors, records
from core.errors import QueryError
from core.records import ContextToken, Example

Row = dict[str, Any]
BESIDE = ("feature", "label", "starred", "top_token", "density", "dead")
"""What is told of a feature that is beside another one: columns of `browse`."""
UNSAID: Row = {
    "label": None, "note": None, "tags": None, "starred": False, "label_source": None, "label_score": None,
}  # fmt: skip
"""Of a feature of which nobody said anything."""


class Reads:
    """What is asked of the first session's tables. Every method raises QueryError where there is no such feature."""

    def __init__(self, cursors: Cursors, session: str) -> None:
        """`session` is the name under which the first session's labels are kept."""
        self._cursors = cursors
        self._first = session
        self.d_sae = int(self._rows("SELECT count(*) AS n FROM features")[0]["n"])

    def meta(self) -> dict[str, str]:
        """What the analysis stands on: model, hook, corpus, `tokens_counted` and so on."""
        return self._meta

    @cached_property
    def _meta(self) -> dict[str, str]:
        return {row["key"]: row["value"] for row in self._rows("FROM meta")}

    def feature(self, feature: int) -> Row:
        """One row of `features`."""
        return self._of("FROM features WHERE feature = $1", feature)[0]

    def browsed_row(self, feature: int) -> Row:
        """One row of `browse`: of `features`, with what was said of it."""
        return {**self.feature(feature), **self.said([feature])[feature]}

    def beside(self, features: Iterable[int]) -> dict[int, Row]:
        """A few features by their numbers: the columns BESIDE of each."""
        wanted = sorted({int(feature) for feature in features})
        if not wanted:
            return {}
        said = self.said(wanted)
        columns = ", ".join(name for name in BESIDE if name not in UNSAID)
        rows = self._rows(
            f"SELECT {columns} FROM features SEMI JOIN (SELECT unnest($1) AS feature) USING (feature)", wanted
        )
        return {row["feature"]: {k: {**row, **said[row["feature"]]}[k] for k in BESIDE} for row in rows}

    def said(self, features: Sequence[int]) -> dict[int, Row]:
        """What was said of each feature, one at least, as `browse` has it: the columns of UNSAID."""
        rows = self._rows(
            f"SELECT feature, {SAID} "
            f"FROM memory.main.labels WHERE session = $1 AND feature IN ({', '.join(map(str, features))})",
            self._first,
        )
        found = {row.pop("feature"): row for row in rows}
        return {feature: found.get(feature, UNSAID) for feature in features}

    def logits(self, feature: int) -> list[Row]:
        """Its rows of `logits`: promoted first, then suppressed, each the strongest first."""
        return self._in("logits", feature, lambda row: (-row["sign"], row["rank"]))

    def logit_histogram(self, feature: int) -> list[Row]:
        """Its rows of `logit_histogram`, from the least; none where the hook point is not in the residual stream."""
        return self._in("logit_histogram", feature, itemgetter("bin"))

    def neighbours(self, feature: int) -> list[Row]:
        """Its rows of `neighbours`, the most alike first."""
        return self._in("neighbours", feature, itemgetter("rank"))

    def coactivations(self, feature: int) -> list[Row]:
        """Its rows of `coactivations`, the largest Jaccard index first."""
        return self._in("coactivations", feature, itemgetter("rank"))

    def together(self, feature: int, other: int) -> Row:
        """On how many tokens each of two features fires, `n_one` and `n_other`, and on how many both do, `n`.

        Of any two, of which `coactivations` has only those that fire together most.
        """
        self._check(other)
        return self._of(
            """
            SELECT
                (SELECT count(*) FROM activations WHERE feature = $1) AS n_one,
                (SELECT count(*) FROM activations WHERE feature = $2) AS n_other,
                (SELECT count(*) FROM activations a JOIN activations b USING (token_idx)
                 WHERE a.feature = $1 AND b.feature = $2) AS n
            """,
            feature,
            other,
        )[0]

    def alike_in_density(self, feature: int, factor: float) -> list[int]:
        """The other features whose density is within a factor of its; none where it never fired."""
        rows = self._of(
            """
            SELECT o.feature FROM features f JOIN features o
            ON o.density BETWEEN f.density / $2 AND f.density * $2 AND o.feature <> f.feature AND NOT o.dead
            WHERE f.feature = $1 ORDER BY o.feature
            """,
            feature,
            factor,
        )
        return [row["feature"] for row in rows]

    def categories(self, feature: int) -> list[Row]:
        """Its rows of `feature_categories`, the densest first; none where the text has no categories."""
        return self._in("feature_categories", feature, lambda row: (-row["density"], row["category"]))

    def emergence(self, feature: int) -> list[Row]:
        """Its rows of `snapshots`, the first step first; none where the training took none."""
        return self._in("snapshots", feature, itemgetter("step"))

    def alignment(self, feature: int) -> list[Row]:
        """Its rows of `alignment`, the largest entry of its decoder direction first."""
        return self._in("alignment", feature, itemgetter("rank"))

    def correlations(self, feature: int) -> list[Row]:
        """Its rows of `correlations`, the strongest first."""
        return self._in("correlations", feature, itemgetter("rank"))

    def top_tokens(self, feature: int) -> list[Row]:
        """Its rows of `feature_tokens`, the most frequent first."""
        return self._in("feature_tokens", feature, lambda row: (-row["n"], row["token_id"]))

    def histogram(self, feature: int) -> list[Row]:
        """Its rows of `histogram`, from the weakest; none where it never fired."""
        return self._in("histogram", feature, itemgetter("bin"))

    def clusters(self) -> list[Row]:
        """The rows of `clusters` by number: the clusters themselves, the largest first, then the pairs of the tree."""
        return self._rows("FROM clusters ORDER BY cluster")

    def cluster(self, cluster: int) -> Row | None:
        """One row of `clusters`; None where there is no such cluster."""
        return next(iter(self._rows("FROM clusters WHERE cluster = $1", cluster)), None)

    def scales(self, features: Iterable[int]) -> dict[int, dict[str, float | None]]:
        """`p99` and `max` of each feature's active values, in which steering counts; None where it never fired.

        `mean` is over all counted tokens, those where it is silent included: `density · mean of its active values`.
        """
        wanted = list(features)
        for feature in wanted:
            self._check(feature)
        rows = self._rows(
            """
            SELECT feature, p99, max, density * coalesce(mean, 0) AS mean
            FROM features WHERE list_contains($1, feature)
            """,
            wanted,
        )
        return {row["feature"]: {name: row[name] for name in ("p99", "max", "mean")} for row in rows}

    def examples(
        self, feature: int, band: int | None = None, limit: int | None = None, context: int = 16
    ) -> list[Example]:
        """Where a feature is active, by band and rank: `limit` of each band, or all there are.

        Each with up to `context` tokens of its document on both sides and the feature's activations on them.
        """
        found = [
            row
            for row in self._in("examples", feature, lambda row: (row["band"], row["rank"]))
            if (band is None or row["band"] == band) and (limit is None or row["rank"] < limit)
        ]
        wanted = sorted({i for e in found for i in range(e["token_idx"] - context, e["token_idx"] + context + 1)})
        with self._cursors.one() as cursor:
            fires = dict(
                cursor.execute(
                    "SELECT token_idx, value FROM activations SEMI JOIN (SELECT unnest($2) AS token_idx) "
                    "USING (token_idx) WHERE feature = $1",
                    [feature, wanted],
                ).fetchall()
            )
            cursor.execute(
                "SELECT token_idx, doc, doc_pos, token_id, text FROM tokens "
                "SEMI JOIN (SELECT unnest($1) AS token_idx) USING (token_idx)",
                [wanted],
            )
            # A place stands in many contexts, so each is made once: this is most of the time a card takes.
            places = {
                at: (doc, doc_pos, ContextToken(token_idx=at, token_id=token, text=text, value=fires.get(at, 0.0)))
                for at, doc, doc_pos, token, text in cursor.fetchall()
            }
            docs = {places[e["token_idx"]][0] for e in found}
            cursor.execute("SELECT doc, source, category FROM documents WHERE list_contains($1, doc)", [sorted(docs)])
            told = {
                doc: {"doc": doc, "source": source, "category": category} for doc, source, category in cursor.fetchall()
            }
        return [
            Example(
                **{k: v for k, v in example.items() if k != "feature"},
                **told[places[example["token_idx"]][0]],
                tokens=tuple(
                    place[2]
                    for i in range(example["token_idx"] - context, example["token_idx"] + context + 1)
                    if (place := places.get(i)) is not None
                    and place[0] == places[example["token_idx"]][0]
                    and (place[1] is not None or i == example["token_idx"])
                ),
            )
            for example in found
        ]

    def passage(self, feature: int, token_idx: int, reach: int = 1_000) -> list[Row]:
        """The document around a token, up to `reach` tokens on both sides, with the feature's activation on each.

        `token_idx`, `doc_pos`, `token_id`, `text`, `counted` (the SAE is defined there), `value` (0 where silent).
        """
        return self._of(
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

    def silent(self, feature: int, n: int, *, reach: int = 16, seed: int = 0) -> list[tuple[ContextToken, ...]]:
        """Up to `n` places drawn from those with no activation of the feature within `reach` tokens, and these."""
        self._check(feature)
        found = self._rows(
            """
            WITH drawn AS (
                SELECT token_idx, doc FROM tokens WHERE counted AND doc_pos IS NOT NULL
                ORDER BY hash(token_idx, $1, $4) LIMIT 50 * $2
            ),
            quiet AS (
                SELECT token_idx AS place, doc FROM drawn d
                WHERE NOT EXISTS (
                    FROM activations a WHERE feature = $1 AND a.token_idx BETWEEN d.token_idx - $3 AND d.token_idx + $3
                )
                ORDER BY hash(token_idx, $1, $4) LIMIT $2
            )
            SELECT place, t.token_idx, token_id, text FROM quiet q JOIN tokens t
            ON t.doc = q.doc AND t.token_idx BETWEEN place - $3 AND place + $3 AND doc_pos IS NOT NULL
            ORDER BY place, t.token_idx
            """,
            feature, n, reach, seed,
        )  # fmt: skip
        places: dict[int, list[ContextToken]] = {}
        for row in found:
            token = ContextToken(token_idx=row["token_idx"], token_id=row["token_id"], text=row["text"], value=0.0)
            places.setdefault(row["place"], []).append(token)
        return [tuple(tokens) for tokens in places.values()]

    def firing(self, token_idx: int, limit: int = 100) -> list[Row]:
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
        return self._bands

    @cached_property
    def _bands(self) -> int:
        return int(self._rows("SELECT coalesce(max(band), 0) AS n FROM examples")[0]["n"])

    def _in(self, table: str, feature: int, order: Callable[[Row], Any]) -> list[Row]:
        return sorted(self._of(f"FROM {table} WHERE feature = $1", feature), key=order)

    def _of(self, sql: str, feature: int, *parameters: Any) -> list[Row]:
        self._check(feature)
        return self._rows(sql, feature, *parameters)

    def _check(self, feature: int) -> None:
        if not 0 <= feature < self.d_sae:
            raise QueryError(f"there is no feature {feature}", hint=f"they go from 0 to {self.d_sae - 1}")

    def _rows(self, sql: str, *parameters: Any) -> list[Row]:
        with self._cursors.one() as cursor:
            return records(cursor.execute(sql, parameters))

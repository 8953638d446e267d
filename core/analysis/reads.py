"""Typed reads of a feature database: all there is about one feature, its places in the text, the clusters.

Each is a query on tables that are sorted by feature, and takes milliseconds however long they are.
"""

from collections.abc import Iterable
from typing import Any

from core.analysis.cursors import Cursors, records
from core.errors import QueryError
from core.records import ContextToken, Example

Row = dict[str, Any]
BESIDE = ("feature", "label", "starred", "top_token", "density", "dead")
"""What is told of a feature that is beside another one: columns of `browse`."""


class Reads:
    """What is asked of the first session's tables. Every method raises QueryError where there is no such feature."""

    def __init__(self, cursors: Cursors) -> None:
        self._cursors = cursors
        self.d_sae = int(self._rows("SELECT count(*) AS n FROM features")[0]["n"])

    def meta(self) -> dict[str, str]:
        """What the analysis stands on: model, hook, corpus, `tokens_counted` and so on."""
        return {row["key"]: row["value"] for row in self._rows("FROM meta")}

    def feature(self, feature: int) -> Row:
        """One row of `features`."""
        return self._of("FROM features WHERE feature = $1", feature)[0]

    def browsed_row(self, feature: int) -> Row:
        """One row of `browse`: of `features`, with what a person said of it."""
        return self._of("FROM browse WHERE feature = $1", feature)[0]

    def beside(self, features: Iterable[int]) -> dict[int, Row]:
        """A few features by their numbers: the columns BESIDE of each."""
        wanted = ", ".join(str(int(feature)) for feature in features)
        rows = self._rows(f"SELECT {', '.join(BESIDE)} FROM browse WHERE feature IN ({wanted})") if wanted else []
        return {row["feature"]: row for row in rows}

    def logits(self, feature: int) -> list[Row]:
        """Its rows of `logits`: promoted first, then suppressed, each the strongest first."""
        return self._of("FROM logits WHERE feature = $1 ORDER BY sign DESC, rank", feature)

    def logit_histogram(self, feature: int) -> list[Row]:
        """Its rows of `logit_histogram`, from the least; none where the hook point is not in the residual stream."""
        return self._of("FROM logit_histogram WHERE feature = $1 ORDER BY bin", feature)

    def neighbours(self, feature: int) -> list[Row]:
        """Its rows of `neighbours`, the most alike first."""
        return self._of("FROM neighbours WHERE feature = $1 ORDER BY rank", feature)

    def coactivations(self, feature: int) -> list[Row]:
        """Its rows of `coactivations`, the largest Jaccard index first."""
        return self._of("FROM coactivations WHERE feature = $1 ORDER BY rank", feature)

    def categories(self, feature: int) -> list[Row]:
        """Its rows of `feature_categories`, the densest first; none where the text has no categories."""
        return self._of("FROM feature_categories WHERE feature = $1 ORDER BY density DESC, category", feature)

    def emergence(self, feature: int) -> list[Row]:
        """Its rows of `snapshots`, the first step first; none where the training took none."""
        return self._of("FROM snapshots WHERE feature = $1 ORDER BY step", feature)

    def alignment(self, feature: int) -> list[Row]:
        """Its rows of `alignment`, the largest entry of its decoder direction first."""
        return self._of("FROM alignment WHERE feature = $1 ORDER BY rank", feature)

    def correlations(self, feature: int) -> list[Row]:
        """Its rows of `correlations`, the strongest first."""
        return self._of("FROM correlations WHERE feature = $1 ORDER BY rank", feature)

    def top_tokens(self, feature: int) -> list[Row]:
        """Its rows of `feature_tokens`, the most frequent first."""
        return self._of("FROM feature_tokens WHERE feature = $1 ORDER BY n DESC, token_id", feature)

    def histogram(self, feature: int) -> list[Row]:
        """Its rows of `histogram`, from the weakest; none where it never fired."""
        return self._of("FROM histogram WHERE feature = $1 ORDER BY bin", feature)

    def clusters(self) -> list[Row]:
        """The rows of `clusters` by number: the clusters themselves, the largest first, then the pairs of the tree."""
        return self._rows("FROM clusters ORDER BY cluster")

    def cluster(self, cluster: int) -> Row | None:
        """One row of `clusters`; None where there is no such cluster."""
        return next(iter(self._rows("FROM clusters WHERE cluster = $1", cluster)), None)

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
        found = self._of(
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
        with self._cursors.one() as cursor:
            cursor.execute(
                """
                WITH near AS (
                    SELECT DISTINCT unnest(range(token_idx - $4, token_idx + $4 + 1)) AS token_idx
                    FROM examples
                    WHERE feature = $1 AND ($2 IS NULL OR band = $2) AND ($3 IS NULL OR rank < $3)
                )
                SELECT t.token_idx, t.doc, t.doc_pos, t.token_id, t.text, coalesce(a.value, 0)
                FROM tokens t JOIN near USING (token_idx)
                LEFT JOIN (SELECT token_idx, value FROM activations WHERE feature = $1) a USING (token_idx)
                """,
                [feature, band, limit, context],
            )
            # A place stands in many contexts, so each is made once: this is most of the time a card takes.
            places = {
                at: (doc, doc_pos, ContextToken(token_idx=at, token_id=token_id, text=text, value=value))
                for at, doc, doc_pos, token_id, text, value in cursor.fetchall()
            }
        return [
            Example(
                **example,
                tokens=tuple(
                    place[2]
                    for i in range(example["token_idx"] - context, example["token_idx"] + context + 1)
                    if (place := places.get(i)) is not None
                    and place[0] == example["doc"]
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
        return int(self._rows("SELECT coalesce(max(band), 0) AS n FROM examples")[0]["n"])

    def _of(self, sql: str, feature: int, *parameters: Any) -> list[Row]:
        self._check(feature)
        return self._rows(sql, feature, *parameters)

    def _check(self, feature: int) -> None:
        if not 0 <= feature < self.d_sae:
            raise QueryError(f"there is no feature {feature}", hint=f"they go from 0 to {self.d_sae - 1}")

    def _rows(self, sql: str, *parameters: Any) -> list[Row]:
        with self._cursors.one() as cursor:
            return records(cursor.execute(sql, parameters))

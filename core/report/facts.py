"""What a report says, read from a session's files and its database as plain values.

`summary.json`, of which the pages are made too; a figure that was not measured is null:

    session, made_at   the session's name, and when the report was made, in UTC
    versions           of this program, and of DuckDB when the database was made
    sae                model, hook, architecture, d_in, d_sae, dtype
    training           corpus, budget, activations, steps, elapsed_s; the last three null where it was imported
    config             the session's configuration, every field by its name
    evaluation         `evaluation.json` as it is: metrics, and beneath `tokens` how many each stands on
    transfers          `transfers.json` likewise, a list
    analysis           what the database says of itself: corpus, tokens_counted, documents, analysed_at and so on
    features           how many there are by kind: all, alive, dead, dense, specialists, duplicates, starred, ...
    densities          low, width: bins of log10(density); counts: features in each; never: features that did not fire
    categories         of each: specialists, and `best`, the strongest of these, with its score
    clusters           the largest: cluster, n, x, y, tokens
    emergence          of each snapshot: step, active, born, died (none where training took none)
    probes             of each probe: name, pool, rule, texts, active, l0, specialists, entropy, categories
    best               rule, and features: those told in full, in order

`feature_report.json` is a list, in that order: the columns of `features` with label, its source and score, note, tags,
star, `url` on Neuronpedia or null, and under the names of their tables the rows of each.
"""

from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np

from core import explanations, labels
from core.analysis import card, gallery, probed
from core.analysis.gallery import Gallery
from core.analysis.probed import Probed
from core.analysis.store import Store
from core.curves import Curves
from core.labels import Label
from core.records import Example, Progress
from core.sae.provenance import neuronpedia_page
from core.session import Session
from core.shown import figure
from core.storage import last_line

RULE = (
    "starred, then labelled features; then specialists, the best of each category in turn; then those with a density "
    "between 0.0001 and 0.1; each by their largest activation"
)
"""Which features are told in full, for a person; `CHOSEN` in SQL."""
CHOSEN = """
    SELECT feature, CASE
        WHEN starred THEN 0 WHEN label IS NOT NULL THEN 1 WHEN specialist_score > 0 THEN 2
        WHEN density > 1e-4 AND density < 0.1 THEN 3
    END AS kind, CASE WHEN kind = 2 THEN specialist_score END AS score,
    CASE WHEN kind = 2 THEN
        row_number() OVER (PARTITION BY kind, specialist_category ORDER BY specialist_score DESC, max DESC, feature)
    END AS turn
    FROM browse WHERE kind IS NOT NULL
    ORDER BY kind, turn, score DESC, max DESC NULLS LAST, feature
"""
CATEGORIES = """
    SELECT specialist_category AS category, count(*) AS specialists,
        arg_min(feature, (-specialist_score, -max, feature)) AS best, max(specialist_score) AS score
    FROM features WHERE specialist_score > 0 GROUP BY ALL ORDER BY specialists DESC, category
"""
EMERGENCE = """
    WITH born AS (SELECT birth AS step, count(*) AS n FROM features GROUP BY ALL),
        died AS (SELECT death AS step, count(*) AS n FROM features GROUP BY ALL),
        taken AS (SELECT step, count(*) FILTER (density > 0) AS active FROM snapshots GROUP BY step)
    SELECT step, active, coalesce(born.n, 0) AS born, coalesce(died.n, 0) AS died
    FROM taken LEFT JOIN born USING (step) LEFT JOIN died USING (step) ORDER BY step
"""
CLUSTERS = 16
"""The largest, which are listed."""
BINS = 8
"""Of the histogram of densities, to a factor of ten."""
TOP, LOWER = 8, 2
"""Contexts of a feature: of the strongest, and of each band below."""
SAE = ("model", "hook", "architecture", "d_in", "d_sae", "dtype")
COUNTS = ("d_in", "d_sae", "tokens", "tokens_counted", "documents", "activations")
"""Of the table `meta`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One feature as the report tells it."""

    card: card.Card
    label: Label | None
    check: dict[str, Any] | None
    """How a model's label was tested: the last line of `explanations.jsonl` for the label it has."""
    url: str | None
    """On Neuronpedia."""
    gallery: Gallery | None
    """Of a feature of images."""

    def to_json(self) -> dict[str, Any]:
        """As in `feature_report.json`."""
        return {**self.card.to_json(), "url": self.url}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that a report says."""

    summary: dict[str, Any]
    told: list[Told]
    curves: Curves
    probes: list[Probed]
    columns: dict[str, np.ndarray]
    """`max`, `density`, `x`, `y`, `cluster`: each `[d_sae]`, float64, nan where there is none."""


def read(session: Session, n: int) -> Generator[Progress, None, Report]:
    """Read all of it, with the `n` best features. Raises QueryError where the session was not analysed."""
    with Store.open([session]) as store:
        yield Progress(phase="reading the database")
        columns = _columns(store)
        chosen = [row[0] for row in store.query(CHOSEN, n).rows]
        said = labels.read(session)
        checks = explanations.tested(session, said)
        config = session.weights_config()
        told, pictured = [], gallery.there(store)
        for i, feature in enumerate(chosen):
            yield Progress(phase="reading features", done=i, total=n, unit="features")
            found, label, check = card.read(store, feature, limit=TOP), said.get(feature), checks.get(feature)
            url = neuronpedia_page(config, feature)
            shown = gallery.read(store, feature, limit=TOP) if pictured else None
            told.append(Told(card=found, label=label, check=check, url=url, gallery=shown))
        probes = probed.kept(session)
        curves = Curves(session.metrics_path)
        curves.read()
        summary = _summary(session, store, columns)
    summary["probes"] = [_probe(one) for one in probes]
    summary["best"] = {"rule": RULE, "features": chosen}
    return Report(summary=summary, told=told, curves=curves, probes=probes, columns=columns)


def headline(report: Report) -> list[tuple[str, str, str]]:
    """Name, figure and number of tokens of each metric of the evaluation."""
    found = report.summary["evaluation"]
    tokens = found.get("tokens", {})
    return [
        (name, figure(value) if isinstance(value, float | int) else "-", f"{tokens[name]:,}" if name in tokens else "")
        for name, value in found.items()
        if name != "tokens"
    ]


def contexts(found: card.Card, top: int, lower: int) -> list[Example]:
    """The `top` strongest contexts of a feature and `lower` of each band below, no place twice."""
    seen = {e.token_idx: e for e in found.examples if e.band == 0 and e.rank < top}
    for example in found.examples:
        if example.band > 0 and example.rank < lower:
            seen.setdefault(example.token_idx, example)
    return list(seen.values())


def _summary(session: Session, store: Store, columns: dict[str, np.ndarray]) -> dict[str, Any]:
    config, meta = session.config(), store.meta()
    trained = last_line(session.metrics_path)
    clusters = store.clusters()
    pairs = {row["parent"] for row in clusters}
    return {
        "session": session.name,
        "made_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "versions": {"sae_tui": version("sae-tui"), "duckdb": meta["duckdb"]},
        "sae": {name: _number(name, meta.get(name)) for name in SAE},
        "training": {
            "corpus": config.corpus.name,
            "budget": config.budget.total,
            "activations": trained.get("activations"),
            "steps": trained.get("step"),
            "elapsed_s": trained.get("elapsed_s"),
        },
        "config": config.model_dump(mode="json"),
        "evaluation": session.evaluation(),
        "transfers": session.transfers(),
        "analysis": {name: _number(name, value) for name, value in meta.items()},
        "features": {kind.facet: n for kind, n in store.kinds() if kind.category is None},
        "densities": _densities(columns["density"]),
        "categories": _rows(store, CATEGORIES),
        "clusters": [
            {name: row[name] for name in ("cluster", "n", "x", "y", "tokens")}
            for row in clusters
            if row["cluster"] not in pairs
        ][:CLUSTERS],
        "emergence": _rows(store, EMERGENCE),
    }


def _columns(store: Store) -> dict[str, np.ndarray]:
    names = ("max", "density", "x", "y", "cluster")
    sql = f"SELECT {', '.join(names)} FROM features ORDER BY feature"
    values = np.array(store.query(sql, store.d_sae, value=lambda value: value).rows, dtype=np.float64)
    return dict(zip(names, values.reshape(-1, len(names)).T, strict=True))


def _densities(density: np.ndarray) -> dict[str, Any]:
    """A histogram of log10(density) from the whole power of ten below the least to 0, the last bin with both ends."""
    fired = np.log10(density[density > 0])
    low = float(np.floor(fired.min())) if len(fired) else -1.0
    low = min(low, -1.0)
    counts, _ = np.histogram(fired, bins=round(-low * BINS), range=(low, 0.0))
    return {"low": low, "width": 1 / BINS, "counts": counts.tolist(), "never": int((density == 0).sum())}


def _rows(store: Store, sql: str) -> list[dict[str, Any]]:
    found = store.query(sql, store.d_sae)
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


def _probe(found: Probed) -> dict[str, Any]:
    names = ("name", "pool", "rule", "active", "l0", "specialists", "entropy")
    kinds = [{"name": one.name, "texts": one.texts, "specialists": one.specialists} for one in found.categories]
    return {**{name: getattr(found, name) for name in names}, "texts": len(found.texts), "categories": kinds}


def _number(name: str, value: str | None) -> Any:
    """Counts as such: the table `meta` has only text."""
    return int(value) if value is not None and name in COUNTS else value

"""The SQL against naive counts over the same numbers, and what a reader sees while a database is built."""

import hashlib

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core.analysis import build
from core.errors import RunError
from core.options import AnalysisConfig
from tests.core.analysis.conftest import ALIKE, ALWAYS, CLUSTERS, EQUAL, N_FEATURES, N_IDS, ONCE, SILENT


def table(case, sql):
    """The rows of a query on the case's database, as dicts."""
    with duckdb.connect(case.session.database_path, read_only=True) as connection:
        cursor = connection.execute(sql)
        names = [d[0] for d in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def entropy(labels):
    _, n = np.unique(labels, return_counts=True)
    p = n / n.sum()
    return float(-(p * np.log(p)).sum())


def strong_docs(case, f, strong):
    """Of each category, in how many documents the feature is strong: `strong` as the configuration says it."""
    values = case.code[:, f].astype(np.float64)
    bound = float(strong.removesuffix("x"))
    if strong.endswith("x"):
        bound *= np.percentile(values[values > 0], 99)
    found = dict.fromkeys(sorted(set(case.categories)), 0)
    for d in np.unique(case.doc):
        found[case.categories[d]] += int(values[case.doc == d].max() > bound)
    return found


def naive_features(case, strong="0.5x"):
    """One dict a feature, each statistic as its definition reads."""
    rows = []
    even = np.unique(case.doc, return_inverse=True)[1] % 2 == 0
    for f in range(N_FEATURES):
        fires = case.code[:, f] > 0
        at = np.flatnonzero(fires)
        values = case.code[at, f].astype(np.float64)
        row = {"feature": f, "n": len(at), "density": len(at) / case.counted.sum(), "dead": len(at) == 0}
        row |= dict.fromkeys(
            ["mean", "std", "max", "p50", "p90", "p99", "top_token", "token_entropy", "category_entropy"]
        )
        row |= dict.fromkeys(["specialist_category", "specialist_score", "token_stability"])
        row |= {"dense": row["density"] > 0.1, "duplicate": f == ALIKE, "encoder_cosine": 0.25}
        for half, where in (("density_a", even), ("density_b", ~even)):
            row[half] = (fires & where).sum() / (case.counted & where).sum()
        if len(at):
            counts = [np.bincount(case.token_id[fires & half], minlength=N_IDS) for half in (even, ~even)]
            lengths = np.linalg.norm(counts[0]) * np.linalg.norm(counts[1])
            row["token_stability"] = float(counts[0] @ counts[1] / lengths) if lengths else 0.0
            docs = strong_docs(case, f, strong) if any(case.categories) else {}
            if any(docs.values()):
                row["specialist_category"] = max(docs, key=lambda category: docs[category])
                row["specialist_score"] = 2 * max(docs.values()) - sum(docs.values())
        if len(at):
            ids, n = np.unique(case.token_id[at], return_counts=True)
            row |= {"mean": values.mean(), "std": values.std(), "max": values.max()}
            row |= {f"p{q}": np.percentile(values, q) for q in (50, 90, 99)}
            row |= {"top_token": f" t{ids[n.argmax()]}", "token_entropy": entropy(case.token_id[at])}
            if any(case.categories):
                row["category_entropy"] = entropy([case.categories[d] for d in case.doc[at]])
        row |= {"decoder_norm": 1.0, "encoder_norm": 2.0, "bias": np.float32(-f / 10), "threshold": None}
        row |= {"cluster": CLUSTERS[f], "x": f / 2, "y": -f / 2}
        rows.append(row)
    return rows


def check_features(case, strong):
    """All that is said of a feature, but for its life in training."""
    found = table(case, "SELECT * EXCLUDE (birth, death, stability) FROM features")
    assert [r["feature"] for r in found] == list(range(N_FEATURES))
    for row, expected in zip(found, naive_features(case, strong), strict=True):
        assert row.keys() == expected.keys()
        for key, value in expected.items():
            assert row[key] == (pytest.approx(value, rel=1e-6, abs=1e-9) if isinstance(value, float) else value), key


def test_features_that_never_fire_once_or_always_alike_have_the_values_their_definitions_give(case):
    rows = table(case, "FROM features")
    assert (rows[SILENT]["n"], rows[SILENT]["density"], rows[SILENT]["dead"]) == (0, 0.0, True)
    assert all(
        rows[SILENT][k] is None for k in ("mean", "std", "max", "p50", "p90", "p99", "top_token", "token_entropy")
    )
    assert (rows[ONCE]["n"], rows[ONCE]["std"], rows[ONCE]["p50"], rows[ONCE]["p99"]) == (1, 0.0, 2.5, 2.5)
    assert (rows[ONCE]["token_entropy"], rows[ONCE]["category_entropy"]) == (0.0, 0.0)
    assert {rows[EQUAL][k] for k in ("mean", "max", "p50", "p90", "p99")} == {1.25}
    assert rows[ALWAYS]["density"] == 1.0


def test_a_corpus_without_categories_has_no_specialists(make_case):
    case = make_case(categories=False)
    case.build()
    rows = table(case, "FROM features")
    assert {(r["category_entropy"], r["specialist_category"], r["specialist_score"]) for r in rows} == {(None,) * 3}
    assert table(case, "FROM feature_categories") == []


def check_categories(case, strong):
    """Counts of each category, and who is a specialist of one."""
    found = {(r["feature"], r["category"]): r for r in table(case, "FROM feature_categories")}
    category = np.array([case.categories[d] for d in case.doc])
    expected = set()
    for f in range(N_FEATURES):
        for name in set(case.categories) - {""}:
            values = case.code[(category == name) & (case.code[:, f] > 0), f].astype(np.float64)
            if len(values):
                expected.add((f, name))
                row = found[f, name]
                assert row["n"] == len(values)
                assert row["density"] == pytest.approx(len(values) / (case.counted & (category == name)).sum())
                assert row["mean"] == pytest.approx(values.mean())
                assert row["strong_docs"] == strong_docs(case, f, strong)[name]
    assert found.keys() == expected
    scores = [(r["specialist_category"], r["specialist_score"]) for r in table(case, "FROM features")]
    assert scores == [(r["specialist_category"], r["specialist_score"]) for r in naive_features(case, strong)]


@pytest.mark.parametrize("strong", ["0.5x", "0.9x", "5.0", "1000"])
def test_categories_are_counted_as_their_definitions_read(make_case, strong):
    case = make_case(1)
    case.build(strong=strong)
    check_categories(case, strong)
    scores = {r["specialist_score"] for r in table(case, "FROM features")}
    assert (scores == {None}) == (strong == "1000")


def check_coactivations(case):
    """Pairs, by their Jaccard index."""
    rows = table(case, "FROM coactivations")
    fires = case.code[case.counted] > 0
    values = case.code[case.counted].astype(np.float64)
    for f in range(N_FEATURES):
        expected = []
        for g in range(N_FEATURES):
            both = int((fires[:, f] & fires[:, g]).sum())
            if g != f and both:
                n = fires[:, f].sum(), fires[:, g].sum()
                constant = values[:, f].std() * values[:, g].std() == 0
                pearson = 0.0 if constant else np.corrcoef(values[:, f], values[:, g])[0, 1]
                jaccard = both / (n[0] + n[1] - both)
                expected.append((-jaccard, g, both, np.log(both * len(fires) / (n[0] * n[1])), pearson))
        expected = sorted(expected)[:5]
        mine = [r for r in rows if r["feature"] == f]
        assert [(r["rank"], r["other"], r["n"]) for r in mine] == [(i, e[1], e[2]) for i, e in enumerate(expected)]
        for row, (jaccard, _, _, pmi, pearson) in zip(mine, expected, strict=True):
            assert [row[k] for k in ("jaccard", "pmi", "pearson")] == pytest.approx([-jaccard, pmi, pearson], abs=1e-5)


def test_clusters_are_a_tree_described_by_the_tokens_of_its_features(case):
    rows = table(case, "FROM clusters")
    assert [(r["cluster"], r["parent"], r["n"]) for r in rows] == [
        (0, 3, 6), (1, 3, 4), (2, 4, 2), (3, 4, 10), (4, None, 12),
    ]  # fmt: skip
    shares = {}
    sql = "SELECT cluster, text, t.n / f.n AS p, lift FROM feature_tokens t JOIN features f USING (feature)"
    for r in table(case, sql):
        for node in {0: (0, 3, 4), 1: (1, 3, 4), 2: (2, 4)}[r["cluster"]]:
            sums = shares.setdefault(node, {})
            if r["lift"] > 1:
                sums[r["text"]] = sums.get(r["text"], 0) + r["p"] * np.log(r["lift"])
    for row in rows:
        sums = shares[row["cluster"]]
        assert row["tokens"] == sorted(sums, key=lambda text: (-sums[text], text))


def test_what_was_written_of_the_weights_is_kept_as_it_is(case):
    assert table(case, "FROM alignment WHERE feature = 2")[0] == {
        "feature": 2, "rank": 0, "neuron": 5, "weight": pytest.approx(-0.1), "share": pytest.approx(0.1),
    }  # fmt: skip
    assert [r["neuron"] for r in table(case, "FROM correlations")] == [f + 2 for f in range(N_FEATURES)]
    assert table(case, "FROM logit_histogram WHERE feature = 3") == [
        {"feature": 3, "bin": 0, "lo": 2.0, "hi": 4.0, "n": N_IDS}
    ]


SNAPSHOTS = pa.schema([
    *((k, pa.int32()) for k in ("step", "feature")),
    *((k, pa.float32()) for k in ("density", "mean", "drift", "drift_final", "jaccard")),
])  # fmt: skip


def random_snapshots(case, seed, n):
    """Write `n` snapshots in which features come and go, without a value here and there; returns their rows."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "step": 10 * i + 1, "feature": f, "density": max(0, rng.integers(-4, 5)) / 8,
            **{k: None if rng.random() < 0.3 else rng.integers(0, 9) / 8 for k in SNAPSHOTS.names[3:]},
        }
        for i in range(n) for f in range(N_FEATURES)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, SNAPSHOTS), case.session.snapshots_path)
    return rows


def check_lives(case, rows):
    """The snapshots as they were written, and birth, death and stability of each feature."""
    assert table(case, "FROM snapshots ORDER BY step, feature") == rows
    steps = sorted({r["step"] for r in rows})
    for f, found in enumerate(table(case, "SELECT birth, death, stability FROM features ORDER BY feature")):
        mine = [r for r in rows if r["feature"] == f]
        active = [steps.index(r["step"]) for r in mine if r["density"] > 0]
        jaccards = [r["jaccard"] for r in mine if active and r["jaccard"] is not None]
        assert found == {
            "birth": steps[active[0]] if active else None,
            "death": steps[active[-1] + 1] if active and active[-1] + 1 < len(steps) else None,
            "stability": pytest.approx(np.mean(jaccards)) if jaccards else None,
        }


def test_snapshots_of_the_training_tell_when_each_feature_lived(case):
    assert table(case, "FROM snapshots") == []
    lives = {0: "0000", 1: "1111", 2: "0110", 3: "1010", 4: "0001", 5: "1000"}
    """For each feature, at steps 1, 10, 20 and 25: whether it was active."""
    rows = [
        {
            "step": step, "feature": f, "density": int(lives.get(f, "0000")[i]) / 8, "mean": 2.5,
            "drift": None if i == 0 else 0.25, "drift_final": 0.5, "jaccard": None if i == 0 or f == 2 else f / 16 * i,
        }
        for i, step in enumerate((1, 10, 20, 25)) for f in range(N_FEATURES)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, SNAPSHOTS), case.session.snapshots_path)
    before = table(case, "SELECT * EXCLUDE (birth, death, stability) FROM features")
    case.build()
    assert table(case, "FROM snapshots ORDER BY step, feature") == rows
    found = table(case, "SELECT feature, birth, death FROM features LIMIT 7")
    assert [(r["birth"], r["death"]) for r in found] == [
        (None, None), (1, None), (10, 25), (1, 25), (25, None), (1, 10), (None, None),
    ]  # fmt: skip
    stable = [r["stability"] for r in table(case, "SELECT stability FROM features LIMIT 7")]
    assert stable == [None, 1 / 8, None, 3 / 8, 4 / 8, 5 / 8, None]  # of one that never fired there is none
    assert table(case, "SELECT * EXCLUDE (birth, death, stability) FROM features") == before
    old = pa.Table.from_pylist(rows, SNAPSHOTS).drop_columns("jaccard")  # as of a training before it was measured
    pq.write_table(old, case.session.snapshots_path)
    case.build()
    assert table(case, "SELECT birth, stability FROM features LIMIT 2 OFFSET 1") == [
        {"birth": 1, "stability": None}, {"birth": 10, "stability": None},
    ]  # fmt: skip
    assert {r["jaccard"] for r in table(case, "FROM snapshots")} == {None}


def check_activations(case):
    """Sorted by feature, then strength, then place."""
    found = [tuple(r.values()) for r in table(case, "FROM activations")]
    rows, features = np.nonzero(case.code)
    assert found == sorted(
        ((int(f), int(t), float(case.code[t, f])) for t, f in zip(rows, features, strict=True)),
        key=lambda r: (r[0], -r[2], r[1]),
    )


def check_top_examples(case):
    """Band 0: the strongest place of each block."""
    found = table(case, "FROM examples WHERE band = 0")
    for f in range(N_FEATURES):
        at = np.flatnonzero(case.code[:, f])
        best = {}
        for t in sorted(at, key=lambda t: (-case.code[t, f], t)):
            best.setdefault(case.block[t], (int(t), float(case.code[t, f])))
        expected = sorted(best.values(), key=lambda e: (-e[1], e[0]))[:20]
        mine = [(r["token_idx"], r["value"]) for r in found if r["feature"] == f]
        assert mine == expected
        assert [r["rank"] for r in found if r["feature"] == f] == list(range(len(mine)))


def check_bands(case, bands, band_examples):
    """As many blocks as there may be, from equal intervals of value."""
    found = table(case, "FROM examples WHERE band > 0")
    for f in range(N_FEATURES):
        top = float(case.code[:, f].max())
        for band in range(1, bands + 1):
            low, high = top * (bands - band) / bands, top * (bands + 1 - band) / bands
            inside = np.flatnonzero((case.code[:, f] > low) & (case.code[:, f] <= high)) if top else []
            mine = [r for r in found if (r["feature"], r["band"]) == (f, band)]
            blocks = [case.block[r["token_idx"]] for r in mine]
            assert len(mine) == min(band_examples, len({case.block[t] for t in inside}))
            assert len(set(blocks)) == len(blocks)
            assert {r["token_idx"] for r in mine} <= set(inside)
            assert [r["value"] for r in mine] == sorted((r["value"] for r in mine), reverse=True)


def test_the_order_one_begins_with_is_there(make_case):
    case = make_case()
    case.build()
    density = {r["feature"]: r["density"] for r in table(case, "FROM features")}
    wanted = sorted(density, key=lambda f: (-density[f], f))
    assert [r["feature"] for r in table(case, "FROM by_density ORDER BY rowid")] == wanted


def test_building_twice_gives_the_same_tables(make_case):
    case = make_case()
    names = ["features", "examples", "histogram", "feature_tokens", "tokens", "documents", "feature_categories"]
    names += ["clusters", "coactivations", "by_density", "glances"]
    case.build()
    first = [table(case, f"FROM {n}") for n in names]
    case.build()
    assert [table(case, f"FROM {n}") for n in names] == first


def test_no_bands_can_be_asked_for(make_case):
    case = make_case()
    case.build(bands=0)
    assert {r["band"] for r in table(case, "FROM examples")} == {0}


def check_histogram(case):
    """What lies in each bin; they sum to n."""
    found = table(case, "FROM histogram")
    for f, row in enumerate(table(case, "FROM features")):
        bins = [r for r in found if r["feature"] == f]
        assert sum(b["n"] for b in bins) == row["n"]
        assert len(bins) == (0 if row["dead"] else 20)
        for b in bins:
            values = case.code[:, f].astype(np.float64)
            assert b["n"] == ((values > b["lo"]) & (values <= b["hi"])).sum() or f == 5  # round values lie on edges
        if bins:
            assert (bins[0]["lo"], bins[-1]["hi"]) == (0.0, row["max"])


def check_feature_tokens(case):
    """Tokens by count, and their share in the text."""
    found = table(case, "FROM feature_tokens")
    for f in range(N_FEATURES):
        at = np.flatnonzero(case.code[:, f])
        expected = []
        for i in range(N_IDS):
            on = at[case.token_id[at] == i]
            if len(on):
                share = (case.token_id[case.counted] == i).mean()
                expected.append(
                    (i, f" t{i}", len(on), case.code[on, f].mean(dtype=np.float64), len(on) / len(at) / share)
                )
        expected.sort(key=lambda e: (-e[2], e[0]))
        mine = [tuple(r.values())[1:] for r in found if r["feature"] == f]
        assert [m[:3] for m in mine] == [e[:3] for e in expected]
        assert np.allclose([m[3:] for m in mine], [e[3:] for e in expected])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1), categories=st.booleans(), dead=st.sampled_from([False, False, False, True]),
    strong=st.sampled_from(["0.5x", "1x", "3", "0.25"]), bands=st.integers(1, 4), snapshots=st.integers(0, 5),
)  # fmt: skip
@example(seed=0, categories=True, dead=False, strong="0.5x", bands=3, snapshots=4)
@example(seed=0, categories=True, dead=True, strong="0.5x", bands=3, snapshots=1)
def test_every_statistic_equals_a_naive_count(make_case, seed, categories, dead, strong, bands, snapshots):
    name = f"h{seed}-{categories}-{dead}-{strong}-{bands}-{snapshots}"
    case = make_case(seed, name=name, categories=categories, dead=dead)
    rows = random_snapshots(case, seed, snapshots)
    case.build(strong=strong, bands=bands, band_examples=4)
    check_features(case, strong)
    check_activations(case)
    check_top_examples(case)
    check_bands(case, bands, 4)
    check_histogram(case)
    check_feature_tokens(case)
    check_categories(case, strong)
    check_coactivations(case)
    check_lives(case, rows)


def test_only_as_many_tokens_are_kept_as_asked_for(make_case):
    case = make_case()
    case.build(top_tokens=2)
    assert max(r["n"] for r in table(case, "SELECT count(*) AS n FROM feature_tokens GROUP BY feature")) == 2


def test_tokens_and_documents_are_those_that_were_read(case):
    found = table(case, "FROM tokens")
    assert [r["token_idx"] for r in found] == list(range(len(case.token_id)))
    assert [r["text"] for r in found] == [f" t{i}" for i in case.token_id]
    assert [r["doc_pos"] for r in found] == [None if p < 0 else p for p in case.doc_pos]
    documents = table(case, "FROM documents")
    assert [r["doc"] for r in documents] == sorted(set(case.doc.tolist()))
    assert all(r["n_tokens"] == ((case.doc == r["doc"]) & (case.doc_pos >= 0)).sum() for r in documents)


def test_meta_says_what_the_numbers_stand_on(case):
    meta = {r["key"]: r["value"] for r in table(case, "FROM meta")}
    assert meta["model"] == "none"
    assert int(meta["tokens_counted"]) == case.counted.sum()
    assert int(meta["activations"]) == np.count_nonzero(case.code)


def test_the_database_is_read_only_and_alone_when_done(case):
    assert case.session.database_path.stat().st_mode & 0o777 == 0o444
    assert {p.name for p in case.session.path.iterdir()} == {"features.duckdb", "activations"}


def test_shards_are_deleted_unless_they_are_to_be_kept(make_case):
    case = make_case()
    case.build(keep_activations=False)
    assert not case.session.activations_dir.exists()
    assert case.session.database_path.is_file()


def test_a_code_without_one_entry_makes_a_database_of_dead_features(make_case):
    case = make_case()
    for shard in sorted(case.session.activations_dir.glob("codes-*"))[1:]:
        shard.unlink()
    import pyarrow.parquet as pq

    shard = case.session.activations_dir / "codes-0000.parquet"
    pq.write_table(pq.read_table(shard).slice(0, 0), shard)
    case.build()
    assert all(r["dead"] and r["max"] is None for r in table(case, "FROM features"))
    assert table(case, "FROM examples") == table(case, "FROM histogram") == []


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_build_that_fails_leaves_the_old_database_as_it_was(case, tmp_path, monkeypatch):
    before = digest(case.session.database_path)
    (tmp_path / "10_broken.sql").write_text("CREATE TABLE a AS SELECT 1 AS x; SELECT nonsense FROM a;")
    monkeypatch.setattr(build, "SQL", tmp_path)
    with pytest.raises(RunError, match=r"could not be built.*nonsense"):
        case.build()
    assert digest(case.session.database_path) == before
    assert {p.name for p in case.session.path.iterdir()} == {"features.duckdb", "activations"}


def test_closing_a_build_midway_leaves_the_old_database_and_no_scratch(case):
    before = digest(case.session.database_path)
    generator = build.build(case.session, {}, AnalysisConfig())
    for _ in range(4):
        next(generator)
    generator.close()
    assert digest(case.session.database_path) == before
    assert {p.name for p in case.session.path.iterdir()} == {"features.duckdb", "activations"}


def test_what_a_killed_build_left_is_cleared_by_the_next(case):
    left = case.session.path / ".features.duckdb.abc"
    left.mkdir()
    (left / "features.duckdb").write_text("half")
    case.build()
    assert not left.exists()


def test_a_reader_keeps_its_database_while_it_is_replaced(case):
    with duckdb.connect(":memory:") as reader:
        reader.execute(f"ATTACH '{str(case.session.database_path).replace(chr(39), chr(39) * 2)}' AS old (READ_ONLY)")
        before = reader.execute("FROM old.examples").fetchall()
        case.build(top_examples=1, bands=0)
        assert reader.execute("FROM old.examples").fetchall() == before
    assert len(table(case, "FROM examples")) < len(before)

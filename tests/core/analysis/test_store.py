"""Typed reads against the case they were built from; names, labels, limits and what is said when it goes wrong."""

import json
import math
import threading
import time

import numpy as np
import pytest

from core import labels
from core.analysis.browse import Kind
from core.analysis.store import Store, plain, strengths
from core.errors import QueryError
from core.records import Example
from core.session import Session
from core.steering.interventions import Intervention
from tests.core.analysis.conftest import ALWAYS, N_FEATURES, ONCE, SILENT


@pytest.fixture
def store(case):
    with Store.open([case.session]) as opened:
        yield opened


def test_features_come_sorted_with_null_last_and_the_feature_as_tie_break(store, case):
    n = np.count_nonzero(case.code, axis=0)
    expected = sorted(range(N_FEATURES), key=lambda f: (-n[f], f))
    assert [r["feature"] for r in store.features(limit=99)] == expected
    assert [r["feature"] for r in store.features(limit=3, offset=2)] == expected[2:5]
    assert store.features("max", limit=99)[-1]["feature"] == SILENT
    assert store.features("max", descending=False, limit=99)[-1]["feature"] == SILENT


def test_features_are_filtered_by_a_condition_and_counted(store):
    assert [r["feature"] for r in store.features(where="dead")] == [SILENT]
    assert store.count("dead") == 1
    assert store.count() == N_FEATURES
    assert store.features(where="feature IN (SELECT feature FROM labels)") == []


def test_a_limit_holds_where_nothing_is_labelled(store):
    assert len(store.query("SELECT feature FROM browse LIMIT 3").rows) == 3


def test_an_unknown_column_names_the_nearest(store):
    with pytest.raises(QueryError, match=r"'densty'.*did you mean 'density'"):
        store.features(sort="densty")
    with pytest.raises(QueryError, match="'fature'.*did you mean 'feature'"):
        store.features(where="fature = 1")


@pytest.mark.parametrize(
    "where",
    [
        "true) UNION SELECT * FROM features WHERE (true",
        "true) LIMIT (1",
        "feature IN (FROM read_csv('x'))",
        "1;2",
        "n, 2",
    ],
)
@pytest.mark.parametrize("ask", ["features", "count"])
def test_a_condition_cannot_become_another_query(store, where, ask):
    with pytest.raises(QueryError):
        getattr(store, ask)(where=where)


def test_one_feature_is_its_row_and_goes_to_json(store, case):
    row = store.feature(ALWAYS)
    assert (row["feature"], row["n"], row["threshold"]) == (ALWAYS, case.counted.sum(), None)
    assert list(row) == store.columns
    parts = [
        store.logits(1),
        store.neighbours(1),
        store.top_tokens(1),
        store.histogram(1),
        store.meta(),
        store.scales([1]),
    ]
    assert json.loads(json.dumps([row, *parts], allow_nan=False))
    assert [r["sign"] for r in store.logits(1)] == [1, -1]
    assert store.neighbours(1)[0]["other"] == 2
    assert store.histogram(SILENT) == store.top_tokens(SILENT) == []


@pytest.mark.parametrize("feature", [-1, N_FEATURES, 10**12])
@pytest.mark.parametrize(
    "ask",
    [
        "feature", "browsed_row", "examples", "logits", "logit_histogram", "neighbours", "coactivations", "categories",
        "emergence", "alignment", "correlations", "top_tokens", "histogram",
    ],
)  # fmt: skip
def test_a_feature_that_does_not_exist_is_told_the_range(store, ask, feature):
    with pytest.raises(QueryError, match=f"no feature {feature}: they go from 0 to {N_FEATURES - 1}"):
        getattr(store, ask)(feature)
    with pytest.raises(QueryError, match="no feature"):
        store.scales([0, feature])


def test_categories_count_where_a_feature_fires_and_in_how_many_documents_it_is_strong(store, case):
    named = np.array([case.categories[d] for d in case.doc])
    for feature in (ALWAYS, ONCE, 5):
        values = case.code[:, feature].astype(float)
        strong = 0.5 * np.percentile(values[values > 0], 99)
        expected = {}
        for category in set(named[values > 0]):
            inside = (named == category) & case.counted
            fires = inside & (values > 0)
            docs = {d for d in case.doc[inside] if values[case.doc == d].max() > strong}
            expected[category] = (fires.sum(), fires.sum() / inside.sum(), values[fires].mean(), len(docs))
        found = store.categories(feature)
        assert {row["category"]: (row["n"], row["density"], row["mean"], row["strong_docs"]) for row in found} == {
            category: pytest.approx(row) for category, row in expected.items()
        }  # fmt: skip
        assert [row["density"] for row in found] == sorted((row["density"] for row in found), reverse=True)
    assert store.categories(SILENT) == []


def test_what_fires_with_a_feature_is_counted_over_the_same_tokens(store, case):
    fires = case.code[case.counted] > 0
    found = store.coactivations(5)
    assert found and [row["rank"] for row in found] == list(range(len(found)))
    for row in found:
        both = (fires[:, 5] & fires[:, row["other"]]).sum()
        either = (fires[:, 5] | fires[:, row["other"]]).sum()
        assert row["n"] == both and row["jaccard"] == pytest.approx(both / either)
        chance = fires[:, 5].mean() * fires[:, row["other"]].mean()
        assert row["pmi"] == pytest.approx(np.log(both / len(fires) / chance), abs=1e-5)


def test_weights_clusters_and_the_vocabulary_are_as_they_were_written(store):
    assert [(r["neuron"], r["weight"]) for r in store.alignment(5)] == [(8, pytest.approx(-0.25))]
    assert [(r["neuron"], r["pearson"]) for r in store.correlations(5)] == [(7, pytest.approx(0.25))]
    assert [(r["lo"], r["hi"], r["n"]) for r in store.logit_histogram(5)] == [(4.0, 6.0, 6)]
    assert [(r["cluster"], r["parent"], r["n"]) for r in store.clusters()] == [
        (0, 3, 6), (1, 3, 4), (2, 4, 2), (3, 4, 10), (4, None, 12),
    ]  # fmt: skip
    assert store.cluster(1)["n"] == 4 and store.cluster(99) is None
    assert store.emergence(5) == []


def test_features_beside_others_are_told_briefly_and_none_is_none(store):
    assert {f: row["feature"] for f, row in store.beside([3, 5, 3]).items()} == {3: 3, 5: 5}
    assert store.beside([]) == {}


def test_kinds_are_counted_and_each_has_a_condition_that_finds_as_many(store, case):
    labels.append(case.session, labels.Label(feature=3, label="x", starred=True))
    store.relabel()
    kinds = store.kinds()
    assert [kind.words for kind, _ in kinds][:3] == ["", "alive", "dead"]
    assert {kind.words: n for kind, n in kinds}["starred"] == 1
    for kind, n in kinds:
        assert store.count(kind.condition) == n
    assert store.count(Kind(cluster=1).condition) == 4
    assert store.in_clusters("feature < 7") == {0: 6, 1: 1}


@pytest.mark.parametrize("each", [1, 5, 100])
def test_the_strongest_of_every_so_many_features(store, case, each):
    peaks = case.code.max(axis=0)
    for where, listed in (("", range(N_FEATURES)), ("feature < 5 OR feature = 11", [*range(5), 11])):
        found = store.peaks(each, where)
        assert [row["place"] for row in found] == sorted({f // each for f in listed})
        for row in found:
            among = {f: peaks[f] for f in listed if f // each == row["place"]}
            most = max(among.values())
            assert row["feature"] == min(f for f, peak in among.items() if peak == most)
            assert row["peak"] == (pytest.approx(most) if most > 0 else None)
    with pytest.raises(QueryError, match="no column 'densty'"):
        store.peaks(each, "densty > 1")


def test_a_category_with_quotes_in_it_stays_one_word_of_a_condition(store):
    kind = Kind(category="it's'); DROP TABLE features; --", cluster=2)
    assert store.count(kind.condition) == 0
    assert kind.words == "specialists of it's'); DROP TABLE features; -- · cluster 2"


def test_scales_are_p99_and_max_or_none_and_the_mean(store, case):
    found = store.scales([ALWAYS, SILENT])
    assert found[ALWAYS]["max"] == case.code[:, ALWAYS].max()
    assert found[ALWAYS]["p99"] == pytest.approx(np.percentile(case.code[case.counted, ALWAYS].astype(float), 99))
    assert found[SILENT] == {"p99": None, "max": None, "mean": 0.0}
    assert store.scales([]) == {}


def test_the_mean_that_is_steered_to_is_over_all_counted_tokens_zeros_included(store, case):
    found = store.scales(range(store.d_sae))
    means = case.code[case.counted].astype(float).mean(axis=0)
    assert [found[f]["mean"] for f in range(store.d_sae)] == pytest.approx(list(means), rel=1e-6)


def test_strengths_are_looked_up_for_what_needs_them_alone(store, case, tmp_path):
    plain, unit, mean = Intervention("ablate", 1), Intervention("cap", 2, 1.0, "max"), Intervention("mean-ablate", 3)
    assert strengths(case.session, [plain]) is None
    assert strengths(case.session, [plain, unit, mean]) == store.scales([2, 3])
    assert strengths(Session(tmp_path / "toy"), [unit]) is None


def test_an_examples_context_is_its_document_around_it_with_every_activation_lit(store, case):
    found = store.examples(ALWAYS, context=5)
    assert len({(e.band, e.rank) for e in found}) == len(found) > 10
    for example in found:
        assert isinstance(example, Example)
        assert example.value == case.code[example.token_idx, ALWAYS]
        assert (example.doc, example.source) == (case.doc[example.token_idx], f"file{example.doc}")
        assert example.category == case.categories[example.doc]
        expected = [
            t
            for t in range(max(0, example.token_idx - 5), min(len(case.doc), example.token_idx + 6))
            if case.doc[t] == example.doc and case.counted[t]
        ]
        assert [t.token_idx for t in example.tokens] == expected
        assert [t.value for t in example.tokens] == [float(case.code[t, ALWAYS]) for t in expected]
        assert [t.text for t in example.tokens] == [f" t{case.token_id[t]}" for t in expected]


def test_examples_are_limited_by_band(store):
    assert {e.band for e in store.examples(ALWAYS, band=2)} == {2}
    assert [e.rank for e in store.examples(ALWAYS, band=0, limit=3)] == [0, 1, 2]
    limited = store.examples(ALWAYS, limit=1)
    assert [e.band for e in limited] == sorted({e.band for e in store.examples(ALWAYS)})
    assert len(store.examples(ONCE)) == 2  # the top example, and the same place in its band
    assert store.examples(SILENT) == []


def test_a_query_gives_columns_types_plain_values_and_whether_there_is_more(store):
    result = store.query(
        "SELECT i, i / 0 AS nan, [i::DOUBLE, 'inf'] AS l, DATE '2026-01-31' AS d FROM range(10) t(i)", 4
    )
    assert result.columns == ["i", "nan", "l", "d"]
    assert result.types[0] == "BIGINT"
    assert len(result.rows) == 4
    assert result.truncated
    assert result.elapsed_s > 0
    assert json.dumps(result.rows, allow_nan=False)
    assert not store.query("SELECT 1", 1).truncated
    assert store.query("SELECT 1 AS a, 2 AS a").columns == ["a", "a"]


def test_values_that_are_no_json_become_plain():
    import datetime
    from decimal import Decimal

    assert plain(math.nan) is plain(-math.inf) is plain(Decimal("NaN")) is None
    assert plain(Decimal("1.5")) == 1.5
    assert plain({1: (b"\xff", datetime.date(2026, 1, 31))}) == {"1": ["ff", "2026-01-31"]}


def test_an_interrupt_from_another_thread_ends_a_query_and_the_store_goes_on(store):
    timer = threading.Timer(0.2, store.interrupt)
    timer.start()
    began = time.perf_counter()
    with pytest.raises(QueryError, match="interrupted"):
        store.query("SELECT count(*) FROM range(100_000) a, range(1_000_000) b WHERE (a.range * b.range) % 7 = 3")
    assert time.perf_counter() - began < 5
    assert store.query("SELECT 1").rows == [(1,)]


def test_a_query_that_needs_too_much_memory_ends_and_nothing_spills(case, monkeypatch):
    monkeypatch.setattr("core.analysis.connection.MEMORY_BYTES", 100_000_000)
    monkeypatch.chdir(case.session.path)
    files = sorted(case.session.path.rglob("*"))
    with Store.open([case.session]) as store:
        with pytest.raises(QueryError, match="more memory"):
            store.query("SELECT list(i) FROM (SELECT a.range * b.range AS i FROM range(10_000) a, range(10_000) b)")
        with pytest.raises(QueryError, match="more memory"):
            store.query("FROM range(100_000_000) t(i) ORDER BY hash(i)")
        assert store.query("SELECT 1").rows == [(1,)]
    assert sorted(case.session.path.rglob("*")) == files


def test_two_sessions_are_joined_by_alias_and_by_quoted_name(make_case):
    first, second = make_case(0, name="gpt2-l6.topk32"), make_case(1, name="s1")
    for c in (first, second):
        c.build()
    labels.append(first.session, labels.Label(feature=3, label="of the first"))
    labels.append(second.session, labels.Label(feature=3, label="of the second", tags=("a", "b"), starred=True))
    with Store.open([first.session, second.session]) as store:
        assert store.query('SELECT sum(n) FROM "gpt2-l6.topk32".features').rows == [(np.count_nonzero(first.code),)]
        assert store.query("SELECT sum(n) FROM s2.features").rows == [(np.count_nonzero(second.code),)]
        # the name of a session that is another's alias means the alias
        assert store.query("SELECT sum(n) FROM s1.features").rows == [(np.count_nonzero(first.code),)]
        assert store.query("SELECT count(*) FROM s1.features JOIN s2.features USING (feature)").rows == [(N_FEATURES,)]
        sql = "SELECT session, label, tags, starred FROM labels ORDER BY session"
        assert store.query(sql).rows == [
            ("gpt2-l6.topk32", "of the first", [], False),
            ("s1", "of the second", ["a", "b"], True),
        ]


def test_the_last_label_of_a_feature_wins_and_torn_lines_are_left_out(case):
    labels.append(case.session, labels.Label(feature=3, label="first", at="2026-01-31T12:00:00Z"))
    with case.session.labels_path.open("a") as file:
        file.write('[1]\n{"feature": "x"}\n{"feature": 4, "lab')
    labels.append(case.session, labels.Label(feature=3, label='second "\n;', at="2026-01-31T12:00:00Z"))
    labels.append(case.session, labels.Label(feature=5, at="not a time"))
    assert {f: label.label for f, label in labels.read(case.session).items()} == {3: 'second "\n;', 5: ""}
    with Store.open([case.session]) as store:
        rows = store.query('SELECT session, feature, label, source, "at" FROM labels ORDER BY feature').rows
        assert rows == [("toy", 3, 'second "\n;', "person", "2026-01-31T12:00:00"), ("toy", 5, "", "person", None)]
        assert [r["feature"] for r in store.features(where="feature IN (SELECT feature FROM labels)")] != []


def test_a_session_without_a_database_is_told_how_to_make_one(tmp_path):
    with pytest.raises(QueryError, match="toy has not been analysed: run `sae-tui analyze toy`"):
        Store.open([Session(tmp_path / "toy")])


@pytest.mark.parametrize(
    "tear", [lambda b: b"", lambda b: b[:5_000], lambda b: b"x" * 20_000, lambda b: b[:4096] + b"\0" * 9000]
)
def test_a_torn_database_is_told_in_one_sentence(case, tear):
    path = case.session.database_path
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(tear(whole))
    with pytest.raises(QueryError, match="of session toy cannot be read") as caught:
        Store.open([case.session])
    assert "analyze toy" in caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_database_that_lost_its_end_is_told_when_it_is_read(case):
    path = case.session.database_path
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(QueryError), Store.open([case.session]) as store:
        store.query("SELECT sum(value) FROM activations")
        store.query("SELECT sum(n) FROM histogram")


def test_an_open_store_keeps_what_it_has_while_the_database_is_replaced(case):
    with Store.open([case.session]) as old:
        before = old.examples(ALWAYS)
        case.build(top_examples=1, bands=0)
        assert old.examples(ALWAYS) == before
        with Store.open([case.session]) as new:
            assert new.examples(ALWAYS) == before[:1]


def test_queries_run_side_by_side_from_threads(store):
    answers = []

    def ask(i):
        answers.append((i, store.feature(i % N_FEATURES)["feature"], store.query(f"SELECT {i}").rows))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(24)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(answers) == [(i, i % N_FEATURES, [(i,)]) for i in range(24)]


def test_reading_needs_no_torch_and_no_pyarrow():
    import subprocess
    import sys

    code = "import sys, core.analysis.store; print({'torch', 'pyarrow', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_store_is_closed_while_it_is_asked_and_whoever_asked_gets_a_query_error(case):
    from concurrent.futures import ThreadPoolExecutor

    from core.analysis import card

    def ask(store):
        for _ in range(100):
            card.read(store, 0)

    for wait_s in np.linspace(0, 0.05, 11):
        store = Store.open([case.session])
        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(ask, store) for _ in range(2)]
            time.sleep(wait_s)
            store.close()
            for one in asked:
                with pytest.raises(QueryError):
                    one.result()
        store.close()

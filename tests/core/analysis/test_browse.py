"""Browsing: what a filter box's text stands for, and orders of features against the database they were made of."""

import contextlib
import hashlib
import json
import math
import threading
import time

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import labels
from core.analysis import order as orders
from core.analysis.browse import FACETS, as_condition
from core.analysis.order import GLANCE
from core.analysis.store import Store
from core.errors import QueryError
from core.storage import append_line
from tests.core.analysis.conftest import ALWAYS, N_FEATURES, SILENT

COLUMNS = {"feature": "INTEGER", "density": "DOUBLE", "max": "DOUBLE", "dead": "BOOLEAN", "label": "VARCHAR"}


@pytest.fixture
def store(case):
    labels.append(case.session, labels.Label(feature=3, label="years in Dates", starred=True))
    labels.append(case.session, labels.Label(feature=5, note="50% of_it isn't \\ dates"))
    labels.append(case.session, labels.Label(feature=7, label="gone"))
    labels.append(case.session, labels.Label(feature=7))
    with Store.open([case.session]) as opened:
        yield opened


def found(store, *conditions, sort="feature", descending=False):
    order = store.order(sort, descending, conditions).build()
    return [row["feature"] for row in order.rows(0, order.count)]


@pytest.mark.parametrize(
    "text",
    [
        "density > 0.1", "max>=5", "label = 'x'", "(dead)", "dead", "DEAD", "not dead", "NOT dead AND max > 2",
        "label is null", "label ilike '%x%'", "feature in (1,2)", "max between 1 and 2", "density::INT = 0",
        "nothing = 'known'", "a <> b", "'a' 'b'",
    ],
)  # fmt: skip
def test_text_with_operators_or_keywords_beside_columns_is_a_condition(text):
    assert as_condition(text, COLUMNS) == text


@pytest.mark.parametrize(
    "text",
    [
        "years", "years in dates", "not now", "or", "==", "(", "<>", "'", "don't", "max", "density", "50%", "a_b",
        "␣the", "日本", "<= >=", "[/b]", "a.b", "--", ";",
    ],
)  # fmt: skip
def test_other_text_is_words_all_of_which_must_occur(text):
    assert as_condition(text, COLUMNS).count("ILIKE") == 3 * len(text.split())


def test_no_text_is_no_condition():
    assert as_condition("  ", COLUMNS) == ""


def test_words_are_looked_for_in_labels_notes_and_all_top_tokens_whatever_their_case(store, case):
    def words(text):
        return found(store, as_condition(text, store.browsed))

    assert words("DATES years") == [3]
    assert words("dates") == [3, 5]
    assert words("50% of_it ISN'T \\") == [5]
    assert words("of%it") == words("50_") == words("gone") == []
    on_t4 = {int(f) for f in range(N_FEATURES) if np.any((case.token_id == 4) & case.counted & (case.code[:, f] > 0))}
    assert set(words("␣T4")) == on_t4
    assert set(words("t4 years")) == on_t4 & {3}
    assert words("4t") == []


@pytest.mark.parametrize(
    "text", ["it's", "'; DROP TABLE labels; --", "%' OR true OR '%", "\\", "\\'", "\x00", "[", "\ud800"]
)
def test_no_word_is_more_than_a_word(store, text):
    with contextlib.suppress(QueryError):
        assert found(store, as_condition(text, store.browsed)) in ([], [5])
    with contextlib.suppress(QueryError):
        assert [feature for feature, _ in matching(store, text)] in ([], [5])
    assert store.count("label IS NOT NULL") == 1


def matching(store, text, **options):
    order = store.order(text=text, **options).build()
    return [(row["feature"], row["match"]) for row in order.rows(0, order.count, ["feature"])]


def naive(store, *words):
    """How features are sorted by words: what is said of them, the best lift, the density."""
    texts = store.query("SELECT feature, text, lift FROM feature_tokens", 10**6).rows
    places = []
    for row in store.features("feature", False, limit=99):
        said = [any(word in (row[name] or "").lower() for name in ("label", "note")) for word in words]
        on = [[lift for f, text, lift in texts if f == row["feature"] and word in text.lower()] for word in words]
        if all(s or o for s, o in zip(said, on, strict=True)):
            best = max((lift for lifts in on for lift in lifts), default=None)
            places.append((not all(said), -(best or 0.0), -row["density"], row["feature"], best))
    return [(feature, best) for *_, feature, best in sorted(places)]


def test_of_very_many_features_the_orders_are_the_same_and_rows_come_without_what_is_dear(case, store, monkeypatch):
    monkeypatch.setattr("core.analysis.order.MANY", N_FEATURES - 1)
    with Store.open([case.session]) as many:
        [row] = many.order().build().rows(0, 1, ["n", *GLANCE])
        assert list(row) == ["feature", "n"]
        for text in ("", "t", "t1 t2", "dates", "max > 2"):
            for column in ("match", *store.browsed):
                for down in (True, False):
                    orders_ = [one.order(column, down, ["feature <> 3"], text=text).build() for one in (store, many)]
                    first, second = (order.rows(0, 99, ["feature"]) for order in orders_)
                    assert first == second, (text, column, down)


@pytest.mark.parametrize("words", [("dates",), ("t",), ("t4",), (" t4",), ("t4", "years"), ("t1", "t2"), ("nowhere",)])
def test_words_sort_by_what_is_said_then_by_the_best_lift_of_a_token_they_are_in(store, case, words):
    text = " ".join(word.replace(" ", "␣") for word in words)
    expected = naive(store, *words)
    assert matching(store, text) == expected
    assert {f for f, _ in expected} == set(found(store, as_condition(text, store.browsed)))
    assert [(row["feature"], row["match"]) for row in store.features(text=text, limit=99)] == expected
    fewer = matching(store, text, conditions=["feature > 3"])
    assert fewer == [(feature, lift) for feature, lift in expected if feature > 3]


def test_a_label_that_has_all_words_is_before_every_token(store, case):
    labels.append(case.session, labels.Label(feature=SILENT, label="T it is"))
    store.relabel()
    assert matching(store, "t")[0] == (5, naive(store, "t")[0][1])  # the note of 5 has a t; 3 is less specific
    assert {feature for feature, _ in matching(store, "t")[:3]} == {3, 5, SILENT}
    assert matching(store, "t")[2] == (SILENT, None)


def test_words_leave_a_column_that_was_named_alone_and_no_words_are_sorted_by_density(store):
    lifts = dict(matching(store, "t4"))
    for sort, descending in (("max", True), ("density", True), ("feature", False)):
        expected = [f for f in found(store, sort=sort, descending=descending) if f in lifts]
        assert matching(store, "t4", sort=sort, descending=descending) == [(f, lifts[f]) for f in expected]
        assert store.order(sort, descending, text="t4").sort == sort
    assert matching(store, "t4", descending=False) != matching(store, "t4")
    by_density = found(store, sort="density", descending=True)
    for text in ("", "  ", "feature < 99"):
        order = store.order(text=text).build()
        assert [row["feature"] for row in order.rows(0, 99)] == by_density
        assert (order.sort, "match" in order.rows(0, 1)[0]) == ("density", False)
    order = store.order(text=" t4 ", conditions=["", "NOT dead"])
    assert (order.sort, order.text, order.besides) == ("match", "t4", ["NOT dead"])
    assert order.where == f"(NOT dead) AND ({as_condition('t4', COLUMNS)})"


def test_an_order_is_sorted_with_null_last_and_ties_by_number(store, case):
    n = np.count_nonzero(case.code, axis=0)
    assert found(store, sort="n", descending=True) == sorted(range(N_FEATURES), key=lambda f: (-n[f], f))
    assert found(store, sort="max", descending=True)[-1] == SILENT
    assert found(store, sort="max")[-1] == SILENT
    assert found(store, sort="label")[0] == 3
    order = store.order("n", True).build()
    assert order.count == N_FEATURES
    assert order.elapsed_s > 0
    everything = order.rows(0, 99)
    assert [row["n"] for row in everything] == sorted(n.tolist(), reverse=True)
    for first in range(0, N_FEATURES, 5):
        assert order.rows(first, 5) == everything[first : first + 5]
    places = {row["feature"]: place for place, row in enumerate(everything)}
    assert [order.place(f) for f in range(N_FEATURES)] == [places[f] for f in range(N_FEATURES)]
    assert [order.feature_at(p) for p in (-1, 0, N_FEATURES)] == [None, everything[0]["feature"], None]
    assert order.place(99) is None


def test_conditions_hold_together_each_for_itself(store):
    assert found(store, "feature < 5 OR feature > 9", "feature > 3") == [4, 10, 11]
    assert store.order(conditions=["feature < 5 OR true", "", "dead"]).where == "(feature < 5 OR true) AND (dead)"
    assert store.order(conditions=["", "dead -- so"]).where == "dead -- so"
    assert found(store, "dead -- so", "true") == [SILENT]
    counts = {facet: len(found(store, condition)) for facet, condition in FACETS.items()}
    assert counts["all"] == counts["alive"] + counts["dead"] == N_FEATURES
    assert (counts["dead"], counts["starred"], counts["labelled"]) == (1, 1, 1)
    assert found(store, FACETS["dense"]) == [
        row["feature"] for row in store.features("feature", False, limit=99) if row["density"] > 0.1
    ]
    order = store.order(conditions=["dead", "NOT dead"]).build()
    assert (order.count, order.rows(0, 5), order.place(0), order.feature_at(0)) == (0, [], None, None)


def test_rows_have_the_columns_asked_for_and_what_a_feature_fires_on(store):
    order = store.order("feature", False).build()
    row = order.rows(ALWAYS, 1, ["max", "label", "no such", *GLANCE])[0]
    assert list(row) == ["feature", "max", "label", "tokens", "histogram"]
    assert row["label"] == "years in Dates"
    assert row["tokens"] == [t["text"] for t in store.top_tokens(ALWAYS)[:4]]
    assert row["histogram"] == [b["n"] for b in store.histogram(ALWAYS)]
    [silent] = order.rows(SILENT, 1, [*store.browsed, *GLANCE])
    assert (silent["tokens"], silent["histogram"], silent["label"], silent["starred"]) == ([], [], None, False)
    assert list(silent) == [*store.browsed, *GLANCE]
    assert list(order.rows(SILENT, 1)[0]) == list(store.browsed)
    assert list(order.rows(SILENT, 1, ["n"])[0]) == ["feature", "n"]


def test_orders_by_any_column_are_the_databases_own(store):
    for column, kind in store.browsed.items():
        for direction in ("ASC", "DESC"):
            wanted = store.query(f'SELECT feature FROM browse ORDER BY "{column}" {direction} NULLS LAST, feature').rows
            assert found(store, sort=column, descending=direction == "DESC") == [f for (f,) in wanted], (column, kind)


@given(
    st.lists(
        st.tuples(
            st.booleans() | st.none(), st.sampled_from([None, 0.0, -0.0, 1.5, math.inf, -math.inf, math.nan]),
            st.integers(-2, 2) | st.none(),
        ),
        max_size=30,
    ),
    st.booleans(),
)  # fmt: skip
def test_features_are_sorted_by_several_keys_as_the_database_sorts_them(rows, descending):
    connection = duckdb.connect()
    connection.execute("CREATE TABLE t (feature INTEGER, a BOOLEAN, b DOUBLE, c BIGINT)")
    numbered = [(7 * i % 31, *row) for i, row in enumerate(rows)]
    if numbered:
        connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", numbered)
    arrays = connection.execute("FROM t").fetchnumpy()
    direction = "DESC" if descending else "ASC"
    by = ", ".join(f"{key} {direction} NULLS LAST" for key in "abc")
    wanted = [f for (f,) in connection.execute(f"SELECT feature FROM t ORDER BY {by}, feature").fetchall()]
    ours = orders.in_order(arrays["feature"], [arrays[key] for key in "abc"], descending)
    assert arrays["feature"][ours].tolist() == wanted


def test_labels_written_later_are_seen_once_they_are_read_again(store, case):
    order = store.order("feature", False, ["starred"]).build()
    labels.change(case.session, 8, label="[bold]new", starred=True)
    assert (order.count, store.labelled) == (1, 0)
    store.relabel()
    store.relabel()
    assert store.labelled == 1
    assert found(store, "starred") == [3, 8]
    assert store.features(where="label ILIKE '%NEW'")[0]["feature"] == 8
    assert order.rows(0, 9)[0]["feature"] == 3
    assert store.query("SELECT count(*) FROM labels").rows == [(4,)]
    labels.change(case.session, 8, label="", starred=False)
    store.relabel()
    assert found(store, "starred") == [3]


def test_features_are_sorted_and_filtered_by_who_gave_the_label_and_its_score(store, case):
    for feature, label, source in ((3, "years", "m"), (5, "", "m"), (8, "days", "m"), (9, "mine", "person")):
        labels.append(case.session, labels.Label(feature=feature, label=label, source=source))
        line = {"feature": feature, "label": label, "model": "m", "score": feature / 10}
        append_line(case.session.explanations_path, json.dumps(line))
    store.relabel()
    rows = {row["feature"]: (row["label_source"], row["label_score"]) for row in store.features(limit=99)}
    assert {feature: said for feature, said in rows.items() if said != (None, None)} == {
        3: ("m", 0.3), 8: ("m", 0.8), 9: ("person", None),
    }  # fmt: skip
    assert found(store, sort="label_score", descending=True)[:2] == [8, 3]
    assert found(store, "label_source = 'm' AND label_score > 0.5") == [8]
    assert {name: store.browsed_row(8)[name] for name in orders.SAID} == store.said([8])[8]
    append_line(case.session.explanations_path, '{"feature": 8, "label": "days", "model": "m", "score": 0.5}')
    store.relabel()
    assert (store.browsed_row(8)["label_score"], store.labelled) == (0.5, 2)
    labels.change(case.session, 8, label="days")
    store.relabel()
    assert store.browsed_row(8)["label_source"] == "person" and store.browsed_row(8)["label_score"] is None


def test_labels_of_other_sessions_are_not_browsed(make_case):
    first, second = make_case(0, name="first"), make_case(1, name="it's second")
    for c in (first, second):
        c.build()
    labels.append(second.session, labels.Label(feature=3, label="of the second"))
    with Store.open([first.session, second.session]) as store:
        assert store.count("label IS NOT NULL") == 0
    with Store.open([second.session, first.session]) as store:
        assert store.count("label IS NOT NULL") == 1


@pytest.mark.parametrize(
    "condition",
    [
        "true) UNION SELECT feature FROM features WHERE (true", "1;2", "feature IN (FROM read_csv('x'))",
        "nextval('x') = 1", "true); DROP TABLE memory.main.labels; --",
        "feature IN (WITH a AS (DELETE FROM labels) SELECT 1)",
        "true LIMIT 1", "sum(n) > 1", "",
    ],
)  # fmt: skip
def test_an_order_runs_nothing_but_a_condition(store, case, condition):
    digest = hashlib.md5(case.session.database_path.read_bytes()).hexdigest()
    order = store.order(conditions=[condition or "  ;  "])
    with pytest.raises(QueryError):
        order.build()
    order.close()
    assert store.query("SELECT count(*) FROM labels").rows == [(3,)]
    assert hashlib.md5(case.session.database_path.read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("condition", ["key_0 > 1", "said", "match > 1", "word_0", "lift > 1"])
def test_a_condition_sees_the_columns_of_features_alone(store, condition):
    for text in ("", "t4"):
        for sort in ("match", "max", "label"):
            with pytest.raises(QueryError, match="no column"):
                store.order(sort, True, [condition], text=text).build()


def test_what_is_wrong_with_a_condition_is_said_of_the_condition(store):
    with pytest.raises(QueryError, match=r"no column 'densty': did you mean 'density'"):
        store.order(conditions=["densty > 1"]).build()
    for ask in (lambda: store.order(conditions=["max > 'x'"]).build(), lambda: store.count("max > 'x'")):
        with pytest.raises(QueryError) as caught:
            ask()
        assert "line" not in caught.value.message
    with pytest.raises(QueryError, match=r"no column 'densty'"):
        store.order("densty")


@pytest.mark.parametrize("condition", ["density >", "(density > 3", "density > 0.1 AND\nn >"])
def test_a_condition_without_its_end_is_told_so_and_not_of_a_parenthesis_nobody_typed(store, condition):
    with pytest.raises(QueryError, match="something is missing at the end"):
        store.order("density", True, [condition]).build()
    with pytest.raises(QueryError, match='at or near "\\)"'):
        store.order("density", True, ["density > ) 3"]).build()


def test_an_order_that_takes_too_long_is_stopped_and_what_is_closed_is_closed(store):
    slow = "(SELECT count(*) FROM range(100_000) a, range(1_000_000) b WHERE (a.range * b.range + feature) % 7 = 3) > 0"
    order = store.order(conditions=[slow])
    threading.Timer(0.2, order.interrupt).start()
    began = time.perf_counter()
    with pytest.raises(QueryError, match="interrupted"):
        order.build()
    assert time.perf_counter() - began < 5
    order.close()
    for ask in (order.build, lambda: order.rows(0, 1), lambda: order.place(0)):
        with pytest.raises(QueryError, match="left"):
            ask()
    assert found(store) == list(range(N_FEATURES))


def test_orders_are_used_from_several_threads_and_leave_nothing_behind(store):
    order = store.order("n", True).build()
    expected, answers = order.rows(0, 99), []

    def ask(i):
        answers.append(order.rows(i % N_FEATURES, 1) == expected[i % N_FEATURES : i % N_FEATURES + 1])
        other = store.order("max", True).build()
        answers.append(other.count == N_FEATURES)
        other.close()

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert answers == [True] * 24
    order.close()


@pytest.mark.parametrize("many", [False, True])
def test_an_order_keeps_the_order_of_very_many_rows(store, many):
    for view in ("browse", "features"):
        store._connection.execute(
            f"CREATE OR REPLACE VIEW memory.main.{view} AS SELECT (i * {N_FEATURES} + feature)::INTEGER AS feature, "
            "hash(i, feature) % 1000 AS max FROM s1.main.features CROSS JOIN range(30_000) r(i)"
        )
    columns = {"feature": "INTEGER", "max": "UBIGINT"}
    order = orders.Order(
        store._cursors, columns, sort="max", descending=True, text="", conditions=[], many=many
    )  # fmt: skip
    order.build()
    assert order.count == 30_000 * N_FEATURES
    rows = [(-row["max"], row["feature"]) for row in order.rows(0, order.count)]
    assert rows == sorted(rows)
    assert order.feature_at(order.place(123_456)) == 123_456

"""Stores that are kept open, and opened anew where the database was replaced."""

import shutil

import pytest

from core.analysis import build
from core.analysis.store import Store
from core.analysis.stores import Stores
from core.errors import QueryError
from core.options import AnalysisConfig


def with_weights(session, folder, text):
    """The session, its SAE's folder with these bytes for weights."""
    path = session.path / folder / "sae_weights.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    return session


def test_a_store_is_kept_until_its_database_is_replaced(case):
    stores = Stores()
    first = stores.get(case.session)
    assert stores.get(case.session) is first
    case.build(top_examples=1)
    second = stores.get(case.session)
    assert second is not first and second.count() == first.d_sae
    stores.interrupt()
    stores.forget(case.session)
    assert stores.get(case.session) is not second


def test_what_was_not_analysed_has_no_store(make_case):
    with pytest.raises(QueryError, match="has not been analysed"):
        Stores().get(make_case().session)


def test_two_workbenches_go_on_while_an_analysis_is_made_and_see_it_when_they_ask(case):
    benches = Stores(), Stores()
    before = [stores.get(case.session) for stores in benches]
    answers = [store.query("SELECT * EXCLUDE (token_idx) FROM examples ORDER BY ALL").rows for store in before]
    config = AnalysisConfig(top_examples=1)
    for record in build.build(case.session, {}, config):
        for stores, store in zip(benches, before, strict=True):  # while it is made: the old one
            assert stores.get(case.session) is store and store.count() == store.d_sae, record
    for store, answer in zip(before, answers, strict=True):  # a store that is open keeps its own
        assert store.query("SELECT * EXCLUDE (token_idx) FROM examples ORDER BY ALL").rows == answer
    for stores, store in zip(benches, before, strict=True):
        new = stores.get(case.session)
        assert new is not store
        assert new.query("SELECT max(rank) FROM examples WHERE band = 0").rows == [(0,)]
        stores.forget(case.session)


def test_a_database_of_another_sae_is_told_and_one_of_the_same_opens_under_any_name(make_case):
    mine, other, twin = (
        with_weights(case.session, "sae", text)
        for case, text in ((make_case(name="mine"), b"a" * 9000), (make_case(name="other"), b"a" * 8999 + b"b"),
                           (make_case(name="twin"), b"a" * 9000))
    )  # fmt: skip
    for _ in build.build(mine, {}, AnalysisConfig()):
        pass
    for session in (other, twin):
        shutil.copyfile(mine.database_path, session.database_path)
    for session in (mine, twin):
        Store.open([session]).close()
    with pytest.raises(QueryError, match="of session other is of another SAE.*anew with `sae-tui analyze other`"):
        Store.open([other])
    with pytest.raises(QueryError, match="of session other is of another SAE"):
        Store.open([mine, other])


def test_a_database_of_a_checkpoint_opens_when_training_has_gone_on(make_case):
    session = with_weights(make_case().session, "checkpoints/10", b"early")
    for _ in build.build(session, {}, AnalysisConfig()):
        pass
    Store.open([with_weights(session, "sae", b"late")]).close()


def test_a_finished_sae_s_database_is_not_that_of_one_in_training(make_case):
    finished, training = make_case(name="finished").session, make_case(name="training").session
    for _ in build.build(with_weights(finished, "sae", b"done"), {}, AnalysisConfig()):
        pass
    shutil.copyfile(finished.database_path, with_weights(training, "checkpoints/10", b"early").database_path)
    with pytest.raises(QueryError, match="of another SAE"):
        Store.open([training])

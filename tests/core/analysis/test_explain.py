"""Labels from a language model: a stub behind a real address, and how its labels are scored."""

import json
import re

import pytest

from core import explanations
from core.analysis import explain
from core.analysis.store import Store
from core.errors import RunError, UsageError
from tests.core.analysis.conftest import ALWAYS, ONCE, SILENT


def knowing(store, feature):
    """A model that names the tokens it is shown, and knows where the feature fires."""
    firing = {re.sub(r"\s+", " ", "".join(t.text for t in e.tokens)) for e in store.examples(feature, context=16)}

    def answer(prompt):
        if prompt.startswith("Below"):
            assert "<<" in prompt
            return 'Sure! {"label": "  some  tokens "}'
        assert "<<" not in prompt
        contexts = re.findall(r"^(\d+)\. (.*)$", prompt, re.MULTILINE)
        return json.dumps({"active": [int(n) for n, text in contexts if re.sub(r"\s+", " ", text) in firing]})

    return answer


def test_a_label_is_asked_for_and_tested_on_other_contexts(case, server):
    url, asked, answer = server
    with Store.open([case.session]) as store:
        feature = next(row["feature"] for row in store.features(sort="n", descending=False, where="n >= 5", limit=1))
        answer[0] = knowing(store, feature)
        found = explain.explained(store, explain.Address(url, "stub", key="secret"), feature)
    assert found.label == "some tokens"
    assert found.model == "stub"
    [path, headers, body] = asked[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert (body["model"], body["temperature"]) == ("stub", 0)
    assert found.score is None or found.score == 1.0
    explanations.keep(case.session, found)
    [kept] = map(json.loads, case.session.explanations_path.read_text().splitlines())
    assert kept["prompt"] == body["messages"][0]["content"]
    assert "secret" not in json.dumps(kept)


def test_a_feature_that_is_silent_nowhere_or_fires_once_gets_a_label_without_a_score(case, server):
    url, _, answer = server
    answer[0] = lambda prompt: '{"label": "all"}'
    with Store.open([case.session]) as store:
        for feature in (ALWAYS, ONCE):
            found = explain.explained(store, explain.Address(url, "stub"), feature)
            assert (found.label, found.score, found.test_prompt) == ("all", None, "")
        with pytest.raises(UsageError, match="fires nowhere"):
            explain.explained(store, explain.Address(url, "stub"), SILENT)


def test_places_where_a_feature_is_silent_hold_none_of_its_activations(case):
    with Store.open([case.session]) as store:
        for tokens in store.silent(ONCE, 5, reach=3):
            assert not case.code[[t.token_idx for t in tokens], ONCE].any()
            assert 1 <= len(tokens) <= 7
        assert store.silent(ONCE, 5, reach=3) == store.silent(ONCE, 5, reach=3)
        assert len(store.silent(ONCE, 5, reach=3)) == 5
        assert store.silent(ALWAYS, 5) == []


@pytest.mark.parametrize(
    ("said", "fires", "score"),
    [
        ({1, 2}, [True, True, False, False], 1.0),
        ({3, 4}, [True, True, False, False], 0.0),
        ({1, 2, 3, 4}, [True, True, False, False], 0.5),
        (set(), [True, False], 0.5),
        ({1, 9}, [True, True, True, False], (1 / 3 + 1) / 2),
    ],
)
def test_the_score_is_the_mean_of_both_shares(said, fires, score):
    assert explain.balanced(said, fires) == pytest.approx(score)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ((401, "no"), "refused with 401"),
        ((500, "a\x1b[31m bug"), "refused with 500"),
        ("no JSON here", "gave no label"),
        ('{"label": 7}', "gave no label"),
    ],
)
def test_what_goes_wrong_there_is_one_sentence(case, server, said, why):
    url, _, answer = server
    answer[0] = lambda prompt: said
    with Store.open([case.session]) as store, pytest.raises(RunError, match=why):
        explain.explained(store, explain.Address(url, "stub"), ALWAYS)


def test_an_address_that_is_none_or_where_nobody_answers_is_told(case):
    with pytest.raises(UsageError, match="no address"):
        explain.Address("localhost:8000", "m")
    with Store.open([case.session]) as store, pytest.raises(RunError, match="cannot be reached"):
        explain.explained(store, explain.Address("http://127.0.0.1:9/v1", "m"), ALWAYS)

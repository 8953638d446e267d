"""`sae-tui compare` and `sae-tui study` on analysed sessions, as a person calls them."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from core import config
from sae_tui.cli import run
from tests.core.analysis.conftest import N_FEATURES, make_case  # noqa: F401 # a fixture


@pytest.fixture
def root(make_case):  # noqa: F811
    rng = np.random.default_rng(0)
    for name, shape in (("one", {}), ("other", {"turned": True})):
        case = make_case(0, name=name, **shape)
        case.build()
        case.session.config_path.write_text(config.example())
        case.session.sae_dir.mkdir()
        rows = rng.normal(size=(N_FEATURES, 6)).astype(np.float32)
        save_file({"W_dec": rows}, case.session.sae_dir / "sae_weights.safetensors")
    return case.session.path.parent


def called(root, capsys, *words):
    assert run(["--sessions", str(root), *words]) == 0
    return capsys.readouterr().out


def test_two_saes_stand_beside_each_other_with_their_matches(root, capsys):
    out = called(root, capsys, "compare", "one", "other", "--by", "firing")
    assert "token entropy" in out and "of rivers" in out
    assert "features of one have their like in other" in out and "only in one" in out
    found = json.loads(called(root, capsys, "compare", "one", "other", "--by", "firing", "--json"))
    [matches] = found["matches"]
    assert matches["matched"] + len(matches["unmatched"]) == N_FEATURES
    assert found["sessions"][0]["figures"]["alive"] == N_FEATURES - 1


def test_directions_are_what_is_compared_on_one_hook_if_nothing_is_said(root, capsys):
    assert "by cosine" in called(root, capsys, "compare", "one", "other")


def test_a_feature_is_followed_from_one_to_the_next(root, capsys):
    words = ("compare", "one", "other", "--by", "firing", "--follow", "4")
    way = json.loads(called(root, capsys, *words, "--json"))["followed"]
    assert [step["session"] for step in way] == ["one", "other"]
    assert f"other  {way[1]['feature']}" in called(root, capsys, *words)


def test_what_cannot_be_compared_is_told(root, capsys):
    assert run(["--sessions", str(root), "compare", "one", "--follow", "3"]) == 2
    assert "two sessions" in capsys.readouterr().err


def test_studies_of_finished_runs_answer_in_words_and_in_json(root, capsys):
    assert "token_entropy" in called(root, capsys, "study", "frequency", "one", "other")
    found = json.loads(called(root, capsys, "study", "frequency", "one", "--json"))
    assert found[0]["density_against"][0]["of"] == "token_entropy"
    assert run(["--sessions", str(root), "study", "emergence", "one"]) == 2
    assert "took no snapshots" in capsys.readouterr().err
    assert run(["--sessions", str(root), "study", "frequency"]) == 2

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


def test_documents_are_what_is_compared_where_they_are_asked_for(root, capsys):
    words = ("compare", "one", "other", "--by", "documents")
    [matches] = json.loads(called(root, capsys, *words, "--json"))["matches"]
    assert (matches["by"], matches["tokens"]) == ("documents", 0) and matches["documents"] > 1
    out = called(root, capsys, *words)
    assert f"by correlation on {matches['documents']} documents" in out
    assert matches["documents"] < 50 and matches["warning"] in out and "analyse text of 50 or more" in out
    assert not json.loads(called(root, capsys, "compare", "one", "other", "--json"))["matches"][0]["warning"]


def test_a_feature_is_followed_from_one_to_the_next(root, capsys):
    words = ("compare", "one", "other", "--by", "firing", "--follow", "4")
    way = json.loads(called(root, capsys, *words, "--json"))["followed"]
    assert [step["session"] for step in way] == ["one", "other"]
    assert f"other  {way[1]['feature']}" in called(root, capsys, *words)


def test_json_has_each_pairs_way_through_all_and_where_scores_lie(root, capsys):
    words = ("compare", "one", "other", "one", "--by", "firing", "--limit", "99", "--json")
    first, second = json.loads(called(root, capsys, *words))["matches"]
    assert len(first["pairs"]) == first["mutual"] and len(first["only"]) == len(first["unmatched"])
    assert sum(first["scores"]["counts"]) + first["unmatched"].count(None) <= N_FEATURES
    assert sum(first["scores"]["counts_back"]) == sum(second["scores"]["counts"])
    for matches, at in ((first, 0), (second, 1)):
        for pair in matches["pairs"]:
            way = pair["way"]
            assert [step["session"] for step in way] == ["one", "other", "one"][: len(way)]
            assert (way[at]["feature"], way[at + 1]["feature"]) == (pair["feature"], pair["other"])
            assert way[0]["score"] is None and way[at + 1]["score"] == pytest.approx(pair["score"])
            if at:  # found backwards: the best of `one` for the feature of `other`
                back = {p["other"]: p["feature"] for p in first["pairs"]}
                assert way[0]["feature"] == back.get(pair["feature"], way[0]["feature"])
    for name, place in (("only", 0), ("only_back", 1)):
        for row in first[name]:
            step = next(step for step in row["way"] if step["session"] == ("one", "other")[place])
            assert row["feature"] == step["feature"] or place == 0


def test_the_points_of_a_study_are_counted_in_cells(root, capsys):
    [found] = json.loads(called(root, capsys, "study", "frequency", "one", "--json"))
    for cloud, against in zip(found["clouds"], found["density_against"], strict=True):
        assert cloud["of"] == against["of"]
        assert sum(n for _, _, n in cloud["cells"]) == against["n"]
        assert all(0 <= c < cloud["columns"] and 0 <= r < cloud["rows"] for c, r, _ in cloud["cells"])


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

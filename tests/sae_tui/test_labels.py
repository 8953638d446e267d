"""`sae-tui labels`: what is exported can be imported, and what a person said stays."""

import json

import pytest

from core import config, explanations, labels
from core.analysis.store import Store
from core.labels import Label
from core.storage import read_lines
from sae_tui.cli import run
from tests.core.analysis.conftest import ALWAYS, EQUAL, make_case, server  # noqa: F401 # fixtures


@pytest.fixture
def case(make_case):  # noqa: F811
    case = make_case()
    case.build()
    case.session.config_path.write_text(config.example())
    return case


def called(case, capsys, *words, code=0):
    assert run(["--sessions", str(case.session.path.parent), "labels", case.session.name, *words]) == code
    return capsys.readouterr()


@pytest.fixture
def other(make_case):  # noqa: F811
    """Another session, of as many features as `case`."""
    case = make_case(1, name="other")
    case.build()
    case.session.config_path.write_text(config.example())
    return case


def test_what_is_exported_can_be_imported_elsewhere(case, other, capsys, tmp_path):
    labels.append(case.session, Label(feature=3, label="a → b", note="n", tags=("x", "y"), at="2020-01-31T12:00:00Z"))
    labels.change(case.session, 4, label="gone")
    labels.change(case.session, 4, label="")
    labels.change(case.session, 5, starred=True)
    file = tmp_path / "labels.jsonl"
    assert "2 labels are in" in called(case, capsys, "--export", str(file)).out
    assert "2 labels imported" in called(other, capsys, "--import", str(file)).out
    kept = labels.read(case.session)
    assert labels.read(other.session) == {feature: kept[feature] for feature in (3, 5)}
    said = json.loads(called(case, capsys, "--export", str(file), "--json").out)
    assert said == {"file": str(file), "labels": 2}
    assert "cannot be written" in called(case, capsys, "--export", str(tmp_path / "none" / "file"), code=1).err


def test_whatever_a_label_holds_comes_through_a_file_and_reaches_no_terminal_raw(case, other, capsys, tmp_path):
    text = '日本 \u2028 \x85 \n \r "q" \x1b[2J \x9b \u202e \ud800 \x00'
    labels.change(case.session, 3, label=text, note=text, tags=(text,))
    file = tmp_path / "labels.jsonl"
    called(case, capsys, "--export", str(file))
    called(other, capsys, "--import", str(file))
    assert labels.read(other.session) == labels.read(case.session)
    assert called(case, capsys, "--export", "-").out.removesuffix("\n").isprintable()


def test_labels_of_features_that_cannot_be_are_refused_whole(case, capsys, tmp_path):
    file = tmp_path / "labels.jsonl"
    for feature in ("-1", "2.5", "true", "Infinity", "NaN", "null"):
        file.write_text(f'{{"feature": 1, "label": "x"}}\n{{"feature": {feature}, "label": "y"}}\n')
        assert "line 2 is no label" in called(case, capsys, "--import", str(file), code=2).err
    assert not labels.read(case.session)


def test_labels_of_features_beyond_the_saes_width_are_refused_whole(case, capsys, tmp_path):
    with Store.open([case.session]) as store:
        width = store.d_sae
    file = tmp_path / "labels.jsonl"
    file.write_text(f'{{"feature": {width - 1}, "label": "x"}}\n\n{{"index": {width}, "label": "y"}}\n')
    said = called(case, capsys, "--import", str(file), code=2).err
    assert f"line 3 is of feature {width}, and the SAE has {width}: their numbers go from 0 to {width - 1}" in said
    assert not labels.read(case.session)
    case.session.sae_dir.mkdir()
    (case.session.sae_dir / "sae_weights.safetensors").touch()
    (case.session.sae_dir / "cfg.json").write_text('{"d_sae": 4608}')
    assert "2 labels imported" in called(case, capsys, "--import", str(file)).out
    file.write_text('{"feature": 4608, "label": "x"}\n')
    said = called(case, capsys, "--import", str(file), code=2).err
    assert "line 1 is of feature 4,608, and the SAE has 4,608" in said


def test_labels_are_taken_where_the_width_is_not_known_yet(case, capsys, tmp_path):
    case.session.database_path.unlink()
    file = tmp_path / "labels.jsonl"
    file.write_text('{"feature": 70000, "label": "x"}\n')
    assert "1 labels imported" in called(case, capsys, "--import", str(file)).out


def test_explanations_of_neuronpedia_are_labels(case, capsys, tmp_path):
    file = tmp_path / "explanations.jsonl"
    file.write_text('{"index": "5", "description": "months"}\n\n{"index": 6, "description": "names"}\n')
    called(case, capsys, "--import", str(file))
    found = labels.read(case.session)
    assert (found[5].label, found[6].label, found[5].source) == ("months", "names", "explanations.jsonl")


def test_a_label_that_is_there_stays_unless_it_is_to_be_replaced(case, capsys, tmp_path):
    labels.change(case.session, 5, label="mine", note="kept", starred=True)
    file = tmp_path / "new.jsonl"
    file.write_text('{"feature": 5, "label": "theirs"}\n')
    assert "keep the label they had" in called(case, capsys, "--import", str(file)).out
    assert labels.read(case.session)[5].label == "mine"
    called(case, capsys, "--import", str(file), "--replace")
    now = labels.read(case.session)[5]
    assert (now.label, now.note, now.starred) == ("theirs", "kept", True)


def test_labels_are_proposed_for_features_without_one(case, capsys):
    labels.change(case.session, 3, label="mine")
    found = json.loads(called(case, capsys, "--propose", "--where", "n > 1", "--json").out)
    assert found["left"] == 0
    now = labels.read(case.session)
    assert now[3].label == "mine"
    assert {label.source for label in now.values()} == {"person", "tokens"}
    assert "tokens" in called(case, capsys).out


def test_a_file_that_holds_no_labels_is_told(case, capsys, tmp_path):
    file = tmp_path / "bad.jsonl"
    file.write_text('{"label": "without a feature"}\n')
    assert "line 1 is no label" in called(case, capsys, "--import", str(file), code=2).err
    assert "cannot be read" in called(case, capsys, "--import", str(tmp_path / "none"), code=2).err


def test_a_label_from_elsewhere_keeps_what_a_person_said_besides(case):
    labels.change(case.session, 2, note="look again", tags=("odd",))
    assert labels.add(case.session, [Label(feature=2, label="new", source="m")]) == (1, 0)
    now = labels.read(case.session)[2]
    assert (now.label, now.note, now.tags, now.source) == ("new", "look again", ("odd",), "m")


def test_a_model_is_named_by_flags_or_in_the_environment(case, capsys, monkeypatch):
    for name in (explanations.URL, explanations.MODEL):
        monkeypatch.delenv(name, raising=False)
    assert "no language model is configured: set SAE_TUI_LLM_URL" in called(case, capsys, "--ask", code=2).err
    told = "the language model has no name: set SAE_TUI_LLM_URL"
    assert told in called(case, capsys, "--ask", "http://localhost:1/v1", code=2).err
    monkeypatch.setenv(explanations.URL, "http://127.0.0.1:9/v1")
    monkeypatch.setenv(explanations.MODEL, "stub")
    assert "http://127.0.0.1:9/v1/chat/completions cannot be reached" in called(case, capsys, "--ask", code=1).err
    assert "'ftp' is no address" in called(case, capsys, "--ask", "ftp", code=2).err


def test_what_a_model_says_is_written_or_only_shown(case, capsys, server):  # noqa: F811
    url, _, answer = server
    answer[0] = lambda prompt: '{"label": "some tokens", "active": [1]}'
    labels.change(case.session, ALWAYS, label="mine")
    asked = ("--ask", url, "--model", "stub", "--where", f"feature IN ({ALWAYS}, {EQUAL})", "--json")
    found = {one["feature"]: one for one in json.loads(called(case, capsys, *asked, "--offer").out)}
    assert found.keys() == {ALWAYS, EQUAL} and found[EQUAL]["label"] == "some tokens"
    assert labels.read(case.session).keys() == {ALWAYS}
    assert len(json.loads(called(case, capsys, *asked).out)) == 1
    kept = labels.read(case.session)
    assert (kept[EQUAL].label, kept[EQUAL].source, kept[ALWAYS].label) == ("some tokens", "stub", "mine")
    assert [line["feature"] for line in read_lines(case.session.explanations_path)].count(EQUAL) == 2

"""`sae-tui labels`: what is exported can be imported, and what a person said stays."""

import json

import pytest

from core import config, labels
from core.labels import Label
from sae_tui.cli import run
from tests.core.analysis.conftest import make_case  # noqa: F401 # a fixture


@pytest.fixture
def case(make_case):  # noqa: F811
    case = make_case()
    case.build()
    case.session.config_path.write_text(config.example())
    return case


def called(case, capsys, *words, code=0):
    assert run(["--sessions", str(case.session.path.parent), "labels", case.session.name, *words]) == code
    return capsys.readouterr()


def test_what_is_exported_can_be_imported_elsewhere(case, make_case, capsys, tmp_path):  # noqa: F811
    labels.change(case.session, 3, label="a → b", note="n", tags=("x", "y"), starred=True)
    labels.change(case.session, 4, label="gone")
    labels.change(case.session, 4, label="")
    file = tmp_path / "labels.jsonl"
    assert "1 labels are in" in called(case, capsys, "--export", str(file)).out
    other = make_case(1, name="other")
    other.build()
    other.session.config_path.write_text(config.example())
    assert "1 labels imported" in called(other, capsys, "--import", str(file)).out
    assert labels.read(other.session)[3] == labels.read(case.session)[3] or (
        labels.read(other.session)[3].label == "a → b" and labels.read(other.session)[3].tags == ("x", "y")
    )
    assert json.loads(called(case, capsys, "--export", "-").out)["label"] == "a → b"


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
    assert "needs --model" in called(case, capsys, "--ask", "http://localhost:1/v1", code=2).err


def test_a_label_from_elsewhere_keeps_what_a_person_said_besides(case):
    labels.change(case.session, 2, note="look again", tags=("odd",))
    assert labels.add(case.session, [Label(feature=2, label="new", source="m")]) == (1, 0)
    now = labels.read(case.session)[2]
    assert (now.label, now.note, now.tags, now.source) == ("new", "look again", ("odd",), "m")

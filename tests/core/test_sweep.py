"""Which runs a grid makes, what they are called, and what came of them."""

import json

import pytest

from core import config, study, sweep
from core.architectures import SPARSITY
from core.errors import ConfigError, SessionError
from core.session import Session

BASE = {"sae": {"d_sae": 64}}


def names(*grid, base=BASE):
    return [member.name for member in sweep.members("study", base, sweep.grid(grid))]


def varied(found):
    return {member.name: member.varied for member in found}


def test_every_combination_is_a_run_with_a_name_of_its_own():
    assert names("sae.k=4,8", "training.lr=0.001,3e-3") == [
        "study-k4-lr0.001", "study-k4-lr3e3", "study-k8-lr0.001", "study-k8-lr3e3",
    ]  # fmt: skip


def test_a_value_stands_apart_from_a_field_that_ends_in_a_digit():
    assert names("sae.architecture=relu", "sae.target_l0=5,20") == ["study-relu-targetl0-5", "study-relu-targetl0-20"]


def test_a_field_that_an_architecture_has_no_use_for_does_not_vary_it():
    found = sweep.members("study", BASE, sweep.grid(["sae.architecture=relu,topk", "sae.k=4,8", "seed=0,1"]))
    assert [m.name for m in found] == [
        "study-relu-seed0", "study-relu-seed1",
        "study-topk-k4-seed0", "study-topk-k4-seed1", "study-topk-k8-seed0", "study-topk-k8-seed1",
    ]  # fmt: skip
    assert found[0].varied == {"sae.architecture": "relu", "seed": "0"}
    assert found[2].config.sae.k == 4 and found[2].config.sae.architecture == "topk"


def test_activations_are_kept_unless_it_says_how():
    [one] = sweep.members("study", BASE, sweep.grid(["sae.k=4"]))
    assert one.config.training.cache == "float16"
    [other] = sweep.members("study", {**BASE, "training": {"cache": "float32"}}, sweep.grid(["sae.k=4"]))
    assert other.config.training.cache == "float32"
    [own] = sweep.members("study", {**BASE, "training": {"source": "x.npy"}}, sweep.grid(["sae.k=4"]))
    assert own.config.training.cache == "off"


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        ("sae.kk=4", "no field 'sae.kk'.*did you mean 'sae.k'"),
        ("sae.k=", "gives no value"),
        ("sae.k=4,1000", "k = 1000 is larger"),
        ("sae.architecture=topk,tpok", "tpok"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_before_anything_runs(grid, says):
    with pytest.raises(ConfigError, match=says):
        names(grid)


def test_a_session_is_made_once_and_another_configuration_is_not_taken_for_it(tmp_path):
    [member] = sweep.members("study", BASE, sweep.grid(["sae.k=4"]))
    made = sweep.session(tmp_path, member)
    assert sweep.session(tmp_path, member).path == made.path
    [other] = sweep.members("study", {"sae": {"d_sae": 32}}, sweep.grid(["sae.k=4"]))
    with pytest.raises(SessionError, match="another configuration.*--name"):
        sweep.session(tmp_path, other)


def test_where_the_model_classifies_the_accuracies_are_told_too(tmp_path):
    found = sweep.members("study", BASE, sweep.grid(["sae.k=4,8"]))
    sweep.session(tmp_path, found[1])
    figures = {"fvu": 0.1, "l0": 8, "baseline_acc": 0.9, "recon_acc": 0.81, "delta_acc": 0.09, "fidelity": 0.9}
    sweep.session(tmp_path, found[0]).evaluation_path.write_text(json.dumps(figures))
    rows = sweep.results(tmp_path, varied(found))
    names = ["baseline_acc", "recon_acc", "delta_acc", "fidelity"]
    assert [rows[0][name] for name in names] == [0.9, 0.81, 0.09, 0.9]
    assert [rows[1][name] for name in names] == [None] * 4


@pytest.mark.parametrize(("preset", "wanted"), [("mnist", 20), ("demo", 32)])
def test_architectures_are_compared_at_as_many_active_features_as_the_configuration_aims_at(preset, wanted):
    found = study.activation("acts", config.preset(preset))
    assert [m.config.sae.aim for m in found] == [wanted] * len(SPARSITY)
    assert [m.config.sae.architecture for m in found] == list(SPARSITY)


def test_the_best_are_those_that_none_beats_in_both(tmp_path):
    found = sweep.members("study", BASE, sweep.grid(["sae.k=4,8,16,32"]))
    figures = [(4, 0.5), (8, 0.3), (16, 0.35), None]
    for member, figure in zip(found, figures, strict=True):
        session = sweep.session(tmp_path, member)
        if figure:
            values = {"l0": figure[0], "fvu": figure[1], "ce_loss_score": 0.9}
            session.evaluation_path.write_text(json.dumps(values))
            session.append_metrics({"step": 1, "loss": 1.5, "elapsed_s": 7.0})
    rows = sweep.results(tmp_path, varied(found))
    assert [row["best"] for row in rows] == [True, True, False, False]
    assert rows[0] == {
        "name": "study-k4", "sae.k": "4", "loss": 1.5, "fvu": 0.5, "l0": 4, "sparsity": None, "dead_share": None,
        "ce_loss_score": 0.9, "seconds": 7.0, "best": True,
    }  # fmt: skip
    assert config.parse(found[0].config.model_dump()) == found[0].config


def test_a_member_knows_its_place_and_what_is_left_is_told_by_those_that_have_begun(tmp_path):
    a, b, c = sweep.begin(tmp_path, sweep.members("study", BASE, sweep.grid(["sae.k=4,8,16"])))
    assert sweep.place(b) == sweep.Place(number=2, of=3, done=0, at_work="", seconds_left=None)
    a.append_metrics({"step": 10, "steps": 10, "elapsed_s": 20.0})
    a.sae_dir.mkdir()
    a.evaluation_path.write_text('{"fvu": 0.1}')
    b.append_metrics({"step": 5, "steps": 20, "elapsed_s": 10.0})
    assert sweep.place(c) == sweep.Place(number=3, of=3, done=1, at_work="", seconds_left=30.0 + 30.0)
    c.delete()
    assert sweep.place(b).of == 2
    alone = Session.create(tmp_path, "alone", b.config())
    assert sweep.place(alone) is None
    alone.sweep_path.write_text(json.dumps({"members": {"../study-k4": {}, "study-k4": 3, "alone": {}}}))
    assert alone.sweep() == {"alone": {}}


def test_activations_without_a_text_are_not_analysed(tmp_path):
    own = {**BASE, "training": {"source": "x.npy"}}
    one, other = (
        sweep.begin(tmp_path, sweep.members(name, values, sweep.grid(["sae.k=4"])))[0]
        for name, values in (("own", own), ("text", BASE))
    )
    assert sweep.missing(one, analyze=True) == ["train", "evaluate"]
    assert sweep.missing(other, analyze=True) == ["train", "evaluate", "analyze"]

"""Which runs answer a study together."""

import tomllib

from core import config, study
from core.studied import together


def files(*members):
    """The configurations of members as their files have them."""
    return {member.name: tomllib.loads(config.to_toml(member.config)) for member in members}


def test_the_members_of_a_study_find_each_other():
    activation, fidelity = study.activation("acts", {}), study.fidelity("k", {})
    for members, question in ((activation, "activation"), (fidelity, "fidelity")):
        configs = files(*members)
        for member in members:
            assert together(member.name, configs) == ([one.name for one in members], [question])
    both = files(*activation, *fidelity)
    assert together("k-k8", both) == (list(both), ["activation", "fidelity"])


def test_fidelity_of_a_penalty_is_a_matter_of_its_weight_or_of_its_aim():
    relu = {"sae": {"architecture": "relu", "l1_coefficient": 1.0}}
    for other in ({"l1_coefficient": 2.0}, {"target_l0": 32}):
        configs = {"a": relu, "b": {"sae": {**relu["sae"], **other}}}
        assert together("a", configs) == (["a", "b"], ["fidelity"])


def test_what_differs_in_anything_else_or_in_nothing_is_no_study():
    base, *_ = study.fidelity("k", {})
    mine = files(base)[base.name]
    configs = {
        "a": mine, "same": mine, "k of another use": {**mine, "sae": {**mine["sae"], "target_l0": 4.0}},
        "wider": {**mine, "sae": {**mine["sae"], "d_sae": 64, "k": 4}}, "seed": {**mine, "seed": 7},
        "torn": {}, "odd": {"sae": 3}, "odder": {"sae": {"architecture": [1], "k": "x"}},
    }  # fmt: skip
    assert together("a", configs) == (["a", "same", "k of another use"], [])
    for odd in ("odd", "odder"):
        assert together(odd, configs) == ([odd], [])

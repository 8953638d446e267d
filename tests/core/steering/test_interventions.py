"""Interventions in words, on the command line, in JSON and in raw units."""

import json

import pytest

from core.errors import QueryError, UsageError
from core.steering.interventions import (
    GenerationRequest,
    Intervention,
    Resolved,
    from_command,
    from_option,
    resolve,
    span,
)

SCALES = {9: {"p99": 2.5, "max": 10.0}, 4: {"p99": None, "max": None}}


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("ablate", "88", Intervention("ablate", 88)),
        ("scale", "12=4", Intervention("scale", 12, 4.0)),
        ("scale", "12=4x", Intervention("scale", 12, 4.0)),
        ("amplify", "12=-0.5", Intervention("scale", 12, -0.5)),
        ("set", "3=8", Intervention("set", 3, 8.0)),
        ("add", "9=2x", Intervention("add", 9, 2.0, "p99")),
        ("add", "9 = -.5max", Intervention("add", 9, -0.5, "max")),
        ("set", "0=1e2", Intervention("set", 0, 100.0)),
    ],
)
def test_an_option_is_read(kind, text, expected):
    assert from_option(kind, text) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/amplify 12 4", Intervention("scale", 12, 4.0)),
        ("/scale 12 4x", Intervention("scale", 12, 4.0)),
        ("  /ablate 7 ", Intervention("ablate", 7)),
        ("/set 3 8", Intervention("set", 3, 8.0)),
        ("/add 9 2x", Intervention("add", 9, 2.0, "p99")),
        ("/add 9 1.5max", Intervention("add", 9, 1.5, "max")),
    ],
)
def test_a_command_is_read(line, expected):
    assert from_command(line) == expected


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "is no command"),
        ("amplify 12 4", "/amplify 12 4"),
        ("/", "there is no intervention ''"),
        ("/ampify 12 4", "did you mean 'amplify'?"),
        ("/ablate", "ablate takes a feature, not '/ablate'"),
        ("/ablate 7 3", "for example /ablate 12"),
        ("/set 3", "set takes a feature and a strength"),
        ("/set 3 8 9", "for example /set 12 4"),
        ("/set three 8", "'three' is no feature"),
        ("/set -3 8", "'-3' is no feature"),
        ("/set ３ 8", "is no feature"),
        ("/add 9 2y", "'2y' is no strength"),
        ("/add 9 nan", "4max"),
        ("/add 9 1e999", "is no strength"),
        ("/scale 9 2max", "scale takes no unit"),
    ],
)
def test_a_command_that_cannot_be_read_is_answered_with_a_sentence(line, says):
    with pytest.raises(UsageError) as error:
        from_command(line)
    assert says in str(error.value)
    assert error.value.hint


def test_an_option_without_a_strength_is_answered_with_an_example():
    with pytest.raises(UsageError, match="--scale 12=4"):
        from_option("scale", "12")
    with pytest.raises(UsageError, match="--ablate 12"):
        from_option("ablate", "12=3")


def test_a_place_is_checked_and_becomes_positions():
    assert from_option("ablate", "8", where="from:12").where == "from:12"
    assert span("everywhere", 5) == (0, None)
    assert span("prompt", 5) == (0, 5)
    assert span("generated", 5) == (5, None)
    assert span("from:12", 5) == (12, None)
    with pytest.raises(UsageError, match="did you mean 'generated'"):
        from_option("ablate", "8", where="generate")
    with pytest.raises(UsageError, match="from:-1"):
        Intervention("ablate", 8, where="from:-1")


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (Intervention("ablate", 7), "ablate feature 7: z' = 0"),
        (Intervention("scale", 12, 4.0), "scale feature 12 by 4: z' = 4 z"),
        (Intervention("set", 3, 8.0, where="prompt"), "set feature 3 to 8 in the prompt: z' = 8"),
        (Intervention("set", 3, 2.0, "max"), "set feature 3 to 2 × its max: z' = 2 max"),
        (
            Intervention("add", 9, -2.5, "p99", "from:4", False),
            "add -2.5 × its p99 to feature 9 from token 4 on: z' = z - 2.5 p99 (off)",
        ),
        (
            Intervention("add", 9, 1.0, where="generated"),
            "add 1 to feature 9 in the generated text: z' = z + 1",
        ),
    ],
)
def test_an_intervention_describes_itself_in_words_and_as_a_formula(item, words):
    assert item.describe() == words


def test_units_become_raw_numbers_in_the_order_of_the_list_without_what_is_off():
    items = [
        Intervention("add", 9, 2.0, "p99"),
        Intervention("ablate", 1, enabled=False),
        Intervention("set", 9, -0.5, "max", "prompt"),
        Intervention("scale", 4, 3.0),
    ]
    assert resolve(items, SCALES, 10) == [
        Resolved("add", 9, 5.0, "everywhere"),
        Resolved("set", 9, -5.0, "prompt"),
        Resolved("scale", 4, 3.0, "everywhere"),
    ]


def test_a_feature_that_does_not_exist_is_refused_with_the_range():
    with pytest.raises(QueryError, match="no feature 10: this SAE has features 0 to 9"):
        resolve([Intervention("ablate", 10)], None, 10)


@pytest.mark.parametrize(("feature", "scales"), [(4, SCALES), (5, SCALES), (9, None)])
def test_a_unit_of_a_feature_without_one_is_refused_with_a_way_out(feature, scales):
    with pytest.raises(QueryError, match=f"feature {feature}.*raw units"):
        resolve([Intervention("add", feature, 2.0, "p99")], scales, 10)
    assert resolve([Intervention("add", feature, 2.0)], scales, 10)[0].value == 2.0


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "boost"},
        {"kind": "set", "feature": -1},
        {"kind": "set", "feature": True},
        {"kind": "set", "feature": 1, "value": float("nan")},
        {"kind": "set", "feature": 1, "value": "8"},
        {"kind": "set", "feature": 1, "unit": "p50"},
        {"kind": "ablate", "feature": 1, "unit": "p99"},
        {"kind": "set", "feature": 1, "strength": 3},
        {"kind": "set"},
    ],
)
def test_values_that_make_no_intervention_are_refused(values):
    with pytest.raises(UsageError):
        Intervention.from_json({"feature": 1, **values} if values == {"kind": "boost"} else values)


def test_a_request_comes_back_from_json():
    request = GenerationRequest(
        prompt='line\n"two" \x1b[0m',
        interventions=(
            Intervention("add", 9, 2.0, "p99", "from:3"),
            Intervention("ablate", 1, enabled=False),
        ),
        mode="replace",
        tokens=12,
        temperature=0.0,
        seed=2**63 - 1,
    )
    assert GenerationRequest.from_json(json.loads(json.dumps(request.to_json()))) == request


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mode": "replaced"}, "'replace'"),
        ({"tokens": 0}, "0 tokens"),
        ({"tokens": 1.5}, "1.5"),
        ({"temperature": -0.1}, "-0.1"),
        ({"temperature": float("inf")}, "inf"),
        ({"seed": -1}, "-1"),
        ({"prompt": None}, "None"),
        ({"interventions": [3]}, "not an intervention|not a request"),
        ({"sead": 1}, "sead"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(change, says):
    with pytest.raises(UsageError, match=says):
        GenerationRequest.from_json({"prompt": "a", **change})

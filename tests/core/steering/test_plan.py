"""What a person puts together to steer with, by commands and by single steps."""

import shlex

import pytest

from core.errors import UsageError
from core.steering.commands import COMMANDS, completion, parsed
from core.steering.interventions import Intervention
from core.steering.plan import Plan, in_max, nudged

SCALES = {12: {"p99": 10.0, "max": 40.0}, 13: {"p99": None, "max": None}}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/amplify 12 4", "scale feature 12 by 4"),
        ("/add 9 2x", "add 2 × its p99 to feature 9"),
        ("/seed 3", "seed 3"),
        ("/temperature 0.5", "temperature 0.5"),
        ("/where from:4", "where from:4"),
        ("/mode replace", "mode replace"),
        ("/clear", "all interventions are gone"),
    ],
)
def test_a_line_is_done_and_told(line, told):
    assert told in Plan().do(line)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("amplify 12 4", "no command"),
        ("/", "no command"),
        ("/amplfy 12 4", "there is no command '/amplfy': did you mean 'amplify'"),
        ("/amplify 12", "a feature and a strength"),
        ("/seed", "/seed NUMBER"),
        ("/seed x", "'x' is no seed"),
        ("/seed -1", "no seed"),
        ("/tokens 0", "cannot generate 0"),
        ("/where nowhere", "no place"),
        ("/mode x", "there is no mode"),
        ("/clear 3", "takes nothing"),
    ],
)
def test_a_line_that_cannot_be_says_why_and_changes_nothing(line, message):
    plan = Plan()
    with pytest.raises(UsageError, match=".") as error:
        plan.do(line)
    assert message in str(error.value)
    assert plan == Plan()


def test_one_intervention_a_feature_and_each_change_can_be_undone():
    plan = Plan()
    for line in ("/amplify 12 4", "/ablate 7", "/set 12 8"):
        plan.do(line)
    assert [i.feature for i in plan.interventions] == [12, 7] and plan.interventions[0].kind == "set"
    plan.toggle(1)
    assert not plan.interventions[1].enabled
    plan.remove(0)
    plan.do("/clear")
    seen = []
    while plan.undo():
        seen.append([(i.kind, i.enabled) for i in plan.interventions])
    assert seen == [
        [("ablate", False)],
        [("set", True), ("ablate", False)],
        [("set", True), ("ablate", True)],
        [("scale", True), ("ablate", True)],
        [("scale", True)],
        [],
    ]


def test_where_is_for_all_interventions_those_to_come_and_those_undone():
    plan = Plan()
    plan.do("/ablate 7")
    plan.do("/clear")
    plan.do("/where prompt")
    plan.undo()
    plan.do("/ablate 8")
    assert {i.where for i in plan.interventions} == {"prompt"}
    plan.do("/where generated")
    assert {i.where for i in plan.request("x").interventions} == {"generated"}


@pytest.mark.parametrize(
    ("edit", "steps", "value"),
    [
        (Intervention("scale", 12, 4.0), 1, 5.0),
        (Intervention("ablate", 12), 2, 2.0),
        (Intervention("ablate", 12), -1, -1.0),
        (Intervention("add", 12, 0.5, "max"), 1, 0.75),
        (Intervention("set", 12, 1.0, "p99"), -1, 0.75),
        (Intervention("add", 12, 5.0), 1, 15.0),
        (Intervention("add", 13, 5.0), 1, 6.0),
        (Intervention("add", 99, 0.1), 2, 2.1),
    ],
)
def test_strength_goes_in_steps_of_a_kind(edit, steps, value):
    assert nudged(edit, steps, SCALES).value == value
    assert nudged(edit, steps, SCALES).kind != "ablate"


def test_strength_in_units_of_the_maximum():
    assert in_max(Intervention("add", 12, 20.0), SCALES) == 0.5
    assert in_max(Intervention("set", 12, 2.0, "p99"), SCALES) == 0.5
    assert in_max(Intervention("add", 99, 2.0, "max"), SCALES) == 2.0
    assert in_max(Intervention("add", 99, 2.0), SCALES) is None
    assert in_max(Intervention("add", 13, 2.0, "p99"), SCALES) is None


def test_the_command_line_asks_for_the_same():
    plan = Plan()
    for line in ("/amplify 12 4", "/ablate 7", "/set 3 0.5max", "/add 9 -2x", "/ablate 5", "/seed 3", "/where prompt"):
        plan.do(line)
    plan.toggle(4)
    assert shlex.split(plan.command_line("demo", "it's")) == [
        "sae-tui", "steer", "demo", "--prompt", "it's", "--scale", "12=4", "--ablate", "7", "--set", "3=0.5max",
        "--add", "9=-2x", "--seed", "3", "--temperature", "0.7", "--tokens", "60", "--where", "prompt",
        "--mode", "error-kept",
    ]  # fmt: skip


def test_a_plan_comes_back_and_what_is_torn_is_left_out():
    plan = Plan()
    for line in ("/amplify 12 4", "/add 9 2x", "/seed 3", "/where prompt", "/temperature 0"):
        plan.do(line)
    again = Plan.from_json(plan.to_json())
    assert (again.interventions, again.settings, again.past) == (plan.interventions, plan.settings, [])
    torn = {"settings": {"seed": "x y", "clear": 1, "tokens": 5}, "interventions": [3, {"kind": "eat"}, {"feature": 1}]}
    assert Plan.from_json(torn).to_json() == {**Plan().to_json(), "settings": {**Plan().settings, "tokens": 5}}
    assert Plan.from_json({"settings": 3, "interventions": 4}) == Plan()


def words(line):
    return [c.word for c in completion(line).candidates]


def test_a_line_is_completed_word_by_word():
    assert words("/") == [f"/{name}" for name in COMMANDS]
    assert words("/am") == ["/amplify"] and words("/perat") == ["/temperature"] and words("/q") == []
    assert words("/where ") == ["everywhere", "prompt", "generated", "from:"]
    assert words("/mode r") == ["replace"]
    assert words("/add 12 ")[0] == "0.5max" and words("/add 12 1") == ["1max", "1x"] and words("/amplify 12 ")[0] == "2"
    assert words("/seed ") == words("/add 12 4 ") == words("/nothing 3") == []
    wanted = completion("/amplify  da")
    assert wanted.feature and (wanted.begin, wanted.word) == (10, "da")
    assert not completion("/amplify 12 4").feature


def test_every_command_is_parsed_as_it_is_completed():
    for name, command in COMMANDS.items():
        samples = {"feature": "3", "strength": "2", "where": "prompt", "mode": "replace", "number": "1"}
        assert parsed(" ".join([f"/{name}", *(samples[a] for a in command.arguments)]))
        assert command.usage(name).startswith(f"/{name}")

"""What a person puts together to steer with, by commands and by single steps."""

import json
import shlex
from dataclasses import replace

import pytest

from core.errors import UsageError
from core.steering.commands import Action
from core.steering.interventions import Intervention
from core.steering.plan import Plan, in_max, nudged
from core.steering.request import GenerationRequest, Sampling

SCALES = {12: {"p99": 10.0, "max": 40.0, "mean": 0.5}, 13: {"p99": None, "max": None, "mean": 0.0}}


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


@pytest.mark.parametrize("line", ["amplify 12 4", "/seed x", "/tokens 0", "/mode x", "/where 12 prompt", "/clear 3"])
def test_a_line_that_cannot_be_changes_nothing(line):
    plan = Plan()
    with pytest.raises(UsageError, match="."):
        plan.do(line)
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


def test_settings_are_undone_and_done_again_as_interventions_are():
    plan = Plan()
    states = [plan.to_json()]
    for line in ("/ablate 7", "/top-p 0.9", "/where prompt", "/chat on", "/amplify 8 2", "/where 8 firing", "/clear"):
        plan.do(line)
        states.append(plan.to_json())
    for state in reversed(states[:-1]):
        assert plan.undo() and plan.to_json() == state
    assert not plan.undo()
    for state in states[1:]:
        assert plan.do("/redo") == "done again" and plan.to_json() == state
    assert not plan.redo() and plan.do("/redo") == "there is nothing to do again"


def test_after_something_new_there_is_nothing_to_do_again():
    plan = Plan()
    plan.do("/ablate 7")
    assert plan.do("/undo") == "undone" and plan.do("/undo") == "there is nothing to undo"
    plan.do("/seed 4")
    assert not plan.redo() and plan.interventions == ()


def test_where_is_for_all_interventions_and_those_to_come_or_for_one():
    plan = Plan()
    for line in ("/ablate 7", "/where prompt", "/ablate 8"):
        plan.do(line)
    assert {i.where for i in plan.interventions} == {"prompt"}
    assert "feature 8 where it fires" in plan.do("/where 8 firing")
    plan.do("/ablate 9")
    assert [i.where for i in plan.interventions] == ["prompt", "firing", "prompt"]
    plan.do("/where generated")
    assert {i.where for i in plan.request("x").interventions} == {"generated"}
    with pytest.raises(UsageError, match="feature 12 is not steered"):
        plan.do("/where 12 prompt")


def test_another_strength_keeps_the_place_of_its_feature_unless_it_names_one():
    plan = Plan()
    for line in ("/add 7 2@firing", "/set 7 3"):
        plan.do(line)
    assert plan.interventions == (Intervention("set", 7, 3.0, where="firing"),)
    plan.do("/set 7 3@prompt")
    assert plan.interventions == (Intervention("set", 7, 3.0, where="prompt"),)


def test_what_is_not_the_plans_to_do_is_handed_back():
    plan = Plan()
    for line, action in (("/find a date", Action("find", "a date")), ("/rewind 2", Action("rewind", 2))):
        assert plan.do(line) == action
    assert plan == Plan()


def test_a_system_prompt_makes_it_a_chat_and_is_kept_where_it_is_none():
    plan = Plan()
    assert plan.do("/system Be kind.") == "system Be kind."
    assert (plan.request("x").chat, plan.request("x").system) == (True, "Be kind.")
    plan.do("/chat off")
    assert (plan.request("x").chat, plan.request("x").system) == (False, "")
    plan.do("/chat on")
    assert plan.request("x").system == "Be kind."
    assert plan.do("/system") == "no system prompt" and plan.request("x").system == ""


def test_a_request_has_all_that_was_set():
    plan = Plan()
    lines = ("/top-p 0.9", "/top-k 40", "/min-p 0.05", "/repetition-penalty 1.1", "/temperature 0.5", "/seed 3")
    for line in (*lines, "/tokens 9", "/mode replace", "/cap 12 1@until:4"):
        plan.do(line)
    sampling = Sampling(temperature=0.5, top_p=0.9, top_k=40, min_p=0.05, repetition_penalty=1.1, seed=3)
    assert plan.sampling == sampling
    assert plan.request("x") == GenerationRequest(
        prompt="x", interventions=(Intervention("cap", 12, 1.0, where="until:4"),), mode="replace", tokens=9,
        sampling=sampling,
    )  # fmt: skip


def test_a_request_is_taken_over_as_one_change():
    plan = Plan()
    for line in ("/ablate 7", "/where prompt"):
        plan.do(line)
    before = plan.to_json()
    edits = (Intervention("set", 3, 1.0), Intervention("add", 3, 2.0, where="firing"), Intervention("ablate", 4))
    request = GenerationRequest(
        prompt="its own", interventions=edits, tokens=5, sampling=Sampling(top_k=3), chat=True, system="s"
    )
    plan.take(request)
    assert plan.request("its own") == replace(request, interventions=edits[1:])
    plan.undo()
    assert plan.to_json() == before


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
        (Intervention("cap", 12, 0.5, "max"), -1, 0.25),
        (Intervention("mean-ablate", 12), 1, 10.5),
        (Intervention("mean-ablate", 99), 1, 1.0),
    ],
)
def test_strength_goes_in_steps_of_a_kind(edit, steps, value):
    assert nudged(edit, steps, SCALES).value == value
    assert nudged(edit, steps, SCALES).kind not in ("ablate", "mean-ablate")


def test_strength_in_units_of_the_maximum():
    assert in_max(Intervention("add", 12, 20.0), SCALES) == 0.5
    assert in_max(Intervention("set", 12, 2.0, "p99"), SCALES) == 0.5
    assert in_max(Intervention("add", 99, 2.0, "max"), SCALES) == 2.0
    assert in_max(Intervention("add", 99, 2.0), SCALES) is None
    assert in_max(Intervention("add", 13, 2.0, "p99"), SCALES) is None
    assert in_max(Intervention("cap", 12, 20.0), SCALES) == 0.5
    assert in_max(Intervention("scale", 12, 20.0), SCALES) is in_max(Intervention("mean-ablate", 12), SCALES) is None


def test_the_command_line_asks_for_the_same():
    plan = Plan()
    for line in ("/amplify 12 4", "/ablate 7", "/set 3 0.5max", "/add 9 -2x", "/ablate 5", "/seed 3", "/where prompt"):
        plan.do(line)
    plan.toggle(4)
    assert shlex.split(plan.command_line("demo", "it's")) == [
        "sae-tui", "steer", "demo", "--prompt", "it's", "--scale", "12=4@prompt", "--ablate", "7@prompt",
        "--set", "3=0.5max@prompt", "--add", "9=-2x@prompt", "--seed", "3", "--temperature", "0.7", "--tokens", "60",
    ]  # fmt: skip


def test_the_command_line_tells_every_setting_that_is_not_as_it_begins():
    plan = Plan()
    for line in ("/top-p 0.9", "/top-k 40", "/min-p 0.05", "/repetition-penalty 1.1", "/mode replace", "/system a b"):
        plan.do(line)
    assert shlex.split(plan.command_line("demo", "x"))[5:] == [
        "--seed", "0", "--temperature", "0.7", "--tokens", "60", "--top-p", "0.9", "--top-k", "40", "--min-p", "0.05",
        "--repetition-penalty", "1.1", "--mode", "replace", "--chat", "--system", "a b",
    ]  # fmt: skip
    plan.do("/chat off")
    assert not {"--chat", "--system"} & set(shlex.split(plan.command_line("demo", "x")))


def test_a_plan_comes_back_and_what_is_torn_is_left_out():
    plan = Plan()
    lines = (
        "/amplify 12 4",
        "/add 9 2x@firing",
        "/seed 3",
        "/where 12 prompt",
        "/temperature 0",
        "/chat on",
        "/top-k 3",
    )
    for line in lines:
        plan.do(line)
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert (again.interventions, again.settings) == (plan.interventions, plan.settings)
    assert not again.undo() and not again.redo()
    torn = {
        "settings": {
            "seed": "x y",
            "clear": 1,
            "tokens": 5,
            "chat": "on",
            "system": 3,
            "top_p": [],
            3: 4,
            "mode": None,
        },
        "interventions": [3, {"kind": "eat"}, {"feature": 1}],
    }
    assert Plan.from_json(torn).to_json() == {**Plan().to_json(), "settings": {**Plan().settings, "tokens": 5}}
    assert Plan.from_json({"settings": 3, "interventions": 4}) == Plan()


def test_a_plan_of_an_older_version_comes_back():
    old = {
        "interventions": [
            {"kind": "scale", "feature": 12, "value": 4.0, "unit": "raw", "where": "prompt", "enabled": False}
        ],
        "settings": {"seed": 3, "temperature": 0.5, "tokens": 40, "where": "prompt", "mode": "error-kept"},
    }
    plan = Plan.from_json(old)
    assert plan.interventions == (Intervention("scale", 12, 4.0, where="prompt", enabled=False),)
    assert plan.settings == {**Plan().settings, **old["settings"]}


def test_a_plan_for_images_knows_no_places_in_a_text_and_no_sampling():
    plan = Plan(images=True)
    plan.do("/add 12 2@firing")
    for line in ("/where prompt", "/ablate 7@generated", "/where 12 role:user"):
        with pytest.raises(UsageError, match="is a place in a text, not in an image"):
            plan.do(line)
    with pytest.raises(UsageError, match="is for text"):
        plan.do("/seed 3")
    with pytest.raises(UsageError, match="not in an image"):
        plan.take(GenerationRequest(prompt="", interventions=(Intervention("ablate", 3, where="from:2"),)))
    assert [edit.where for edit in plan.interventions] == ["firing"] and plan.undo() and not plan.undo()
    torn = {"interventions": [Intervention("ablate", 3, where="prompt").to_json()], "settings": {"where": "prompt"}}
    again = Plan.from_json(torn, images=True)
    assert again.interventions == () and again.settings["where"] == "everywhere"


def test_the_command_line_for_an_image_asks_for_the_same():
    plan = Plan(images=True)
    for line in ("/amplify 12 4", "/ablate 7", "/ablate 5", "/mode replace"):
        plan.do(line)
    plan.toggle(2)
    assert shlex.split(plan.on_image("it's", 123)) == [
        "sae-tui", "steer", "it's", "--image", "123", "--scale", "12=4", "--ablate", "7", "--mode", "replace",
    ]  # fmt: skip

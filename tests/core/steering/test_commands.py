"""The lines people type to steer: what they ask for, what is wrong with them, how they may go on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from core.steering.commands import (
    ACTIONS,
    COMMANDS,
    OF_IMAGES,
    OF_TEXT,
    SETTINGS,
    Action,
    Placed,
    Setting,
    commands_for,
    completion,
    parsed,
)
from core.steering.interventions import Intervention

SAMPLES = {
    "feature": "3", "strength": "2", "where": "prompt", "mode": "replace", "number": "1", "switch": "on",
    "words": "a date", "text": "be kind", "name": "dates",
}  # fmt: skip


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("/amplify 12 4", Intervention("scale", 12, 4.0)),
        ("/mean-ablate 12@firing", Intervention("mean-ablate", 12, where="firing")),
        ("/cap 9 2x", Intervention("cap", 9, 2.0, "p99", "from:4")),
        ("/where generated , firing", Setting("where", "generated,firing")),
        ("/where 12 generated,while:8 > 0.5", Placed(12, "generated,while:8>0.5")),
        ("/top-p 0.9", Setting("top_p", 0.9)),
        ("/top-k 40", Setting("top_k", 40)),
        ("/min-p .05", Setting("min_p", 0.05)),
        ("/repetition-penalty 1.1", Setting("repetition_penalty", 1.1)),
        ("/temperature 0", Setting("temperature", 0)),
        ("/seed 3", Setting("seed", 3)),
        ("/tokens 12", Setting("tokens", 12)),
        ("/mode replace", Setting("mode", "replace")),
        ("/chat on", Setting("chat", True)),
        ("/chat off", Setting("chat", False)),
        ("/system  You are  kind:\n/ablate nobody ", Setting("system", "You are  kind:\n/ablate nobody")),
        ("/system", Setting("system", "")),
        ("/find the day  of the week", Action("find", "the day  of the week")),
        ("/rewind 3", Action("rewind", 3)),
        ("/fork", Action("fork")),
        ("/undo", Action("undo")),
        ("  /redo ", Action("redo")),
        ("/clear", Action("clear")),
        ("/recipe dates", Action("recipe", "dates")),
        ("/save dates", Action("save", "dates")),
    ],
)
def test_a_line_is_read(line, asked):
    assert parsed(line, where="from:4" if "cap" in line else "everywhere") == asked


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("amplify 12 4", "no command"),
        ("/", "no command"),
        ("/amplfy 12 4", "there is no command '/amplfy': did you mean 'amplify'"),
        ("/ned", "did you mean"),
        ("/amplify 12", "a feature and a strength"),
        ("/seed", "/seed takes a number, not '/seed': /seed NUMBER"),
        ("/seed 1 2", "/seed NUMBER"),
        ("/seed x", "'x' is no seed"),
        ("/seed 1.5", "1.5 is no seed"),
        ("/seed -1", "no seed"),
        ("/seed " + "9" * 5000, "no seed"),
        ("/tokens 0", "cannot generate 0"),
        ("/tokens many", "'many' is no tokens: /tokens NUMBER"),
        ("/temperature hot", "'hot' is no temperature: /temperature NUMBER"),
        ("/temperature nan", "nan is no temperature"),
        ("/temperature -1", "-1 is no temperature"),
        ("/top-p 2", "2 is no top-p: give a number from 0 to 1"),
        ("/top-p 0", "leaves no token"),
        ("/top-k 1.5", "1.5 is no top-k"),
        ("/min-p x", "'x' is no min-p: /min-p NUMBER"),
        ("/repetition-penalty 0", "0 is no repetition penalty"),
        ("/where", "/where takes a place"),
        ("/where nowhere", "no place"),
        ("/where 12", "'12' is no place"),
        ("/where 12 generate", "did you mean 'generated'"),
        ("/mode x", "there is no mode"),
        ("/chat maybe", "'maybe' is neither on nor off: /chat on|off"),
        ("/clear 3", "/clear takes nothing, not '/clear 3'"),
        ("/find", "/find takes words"),
        ("/rewind", "/rewind takes a number"),
        ("/rewind 0", "cannot take 0 tokens back"),
        ("/rewind 1.5", "cannot take 1.5 tokens back"),
        ("/recipe", "/recipe takes a name, not '/recipe': /recipe NAME"),
        ("/save a b", "/save takes a name"),
    ],
)
def test_a_line_that_cannot_be_says_why(line, says):
    with pytest.raises(UsageError) as error:
        parsed(line)
    assert says in str(error.value)
    assert error.value.hint


@given(st.text() | st.builds("/{} {}".format, st.sampled_from(sorted(COMMANDS)), st.text()))
def test_any_line_is_read_or_refused_and_may_go_on_somehow(line):
    try:
        parsed(line)
    except UsageError as error:
        assert error.message
    found = completion(line)
    assert line[found.begin :] == found.word


def test_every_command_is_read_as_its_help_says():
    for name, command in COMMANDS.items():
        asked = parsed(" ".join([f"/{name}", *(SAMPLES[a] for a in command.arguments)]), images=name in OF_IMAGES)
        assert isinstance(asked, Action) == (name in ACTIONS)
        assert not isinstance(asked, Setting) or asked.name in SETTINGS
        assert command.usage(name).startswith(f"/{name}")


def words(line):
    return [c.word for c in completion(line).candidates]


def test_a_line_is_completed_word_by_word():
    assert words("/") == [f"/{name}" for name in COMMANDS if name not in OF_IMAGES]
    assert words("/am") == ["/amplify"] and words("/perat") == ["/temperature"] and words("/q") == []
    assert words("/mode r") == ["replace"] and words("/chat o") == ["on", "off"]
    assert words("/add 12 ")[0] == "0.5max" and words("/add 12 1") == ["1max", "1x"] and words("/amplify 12 ")[0] == "2"
    assert words("/cap 12 0") == ["0.5max"]
    assert words("/add 12 4 ") == words("/nothing 3") == words("/fork ") == words("/system be") == []
    wanted = completion("/amplify  da")
    assert wanted.feature and (wanted.begin, wanted.word) == (10, "da")
    assert not completion("/amplify 12 4").feature
    assert completion("/recipe da").recipe and completion("/save ").recipe and not completion("/recipe a b").recipe


def test_a_place_is_completed_condition_by_condition():
    assert words("/where ")[:4] == ["everywhere", "prompt", "generated", "from:"]
    assert words("/where 12 gen") == ["generated"]
    assert completion("/where 12").feature and completion("/where 12").word == "12"
    wanted = completion("/where generated,f")
    assert (wanted.begin, wanted.word, [c.word for c in wanted.candidates]) == (17, "f", ["from:", "firing"])
    assert "generated" not in words("/where generated,") and "everywhere" not in words("/where generated,")
    assert words("/where 12 prompt x") == []
    wanted = completion("/ablate 7@role:u")
    assert (wanted.begin, wanted.word, [c.word for c in wanted.candidates]) == (10, "role:u", ["role:user"])
    assert words("/add 9 2x@fi") == ["firing"] and not completion("/ablate 7@").feature


def test_what_is_looked_for_is_all_that_stands_behind_find():
    found = completion("/find the day of")
    assert found.feature and (found.begin, found.word) == (6, "the day of")


def test_there_is_something_to_complete_for_every_argument():
    for name, command in COMMANDS.items():
        before = f"/{name} "
        for argument in command.arguments:
            found = completion(before, images=name in OF_IMAGES)
            assert found.candidates or found.feature or found.recipe or argument == "text", before
            before += SAMPLES[argument] + " "


def test_images_have_commands_of_their_own_and_none_that_are_for_text():
    assert parsed("/image 12", images=True) == Action("image", 12)
    assert parsed("/label 7", images=True) == Action("label", 7)
    assert parsed("/ablate 3", images=True) == Intervention("ablate", 3)
    offered = [c.word for c in completion("/", images=True).candidates]
    assert offered == [f"/{name}" for name in commands_for(images=True)] and "/image" in offered
    assert not {f"/{name}" for name in OF_TEXT} & set(offered) and "/image" not in words("/")
    places = [c.word for c in completion("/where ", images=True).candidates]
    assert places == ["everywhere", "firing", "while:"]


@pytest.mark.parametrize(
    ("line", "images", "says"),
    [
        ("/image 12", False, "/image is for images: the model of this session reads text"),
        ("/temperature 0", True, "/temperature is for text: the model of this session reads images"),
        ("/image one", True, "'one' is no image"),
        ("/image -1", True, "'-1' is no image"),
        ("/label 7.5", True, "'7.5' is no label"),
        ("/imag 12", True, "did you mean 'image'"),
    ],
)
def test_what_is_for_the_other_kind_of_model_is_refused_in_a_sentence(line, images, says):
    with pytest.raises(UsageError) as raised:
        parsed(line, images=images)
    assert says in str(raised.value)

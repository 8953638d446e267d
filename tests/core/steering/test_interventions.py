"""Interventions in words, on the command line, in JSON and in raw units."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import QueryError, UsageError
from core.steering.interventions import Intervention, Resolved, from_command, from_option, in_raw, resolve

SCALES = {9: {"p99": 2.5, "max": 10.0, "mean": 0.125}, 4: {"p99": None, "max": None, "mean": 0.0}}
PLACES = ("everywhere", "prompt", "generated,firing", "from:2,until:9", "role:user", "while:88>-0.5,firing")
ITEMS = st.builds(
    Intervention,
    st.sampled_from(["set", "add", "cap"]),
    st.integers(0, 10**17),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["raw", "p99", "max"]),
    st.sampled_from(PLACES),
) | st.builds(
    lambda kind, feature, value, where: Intervention(kind, feature, value if kind == "scale" else 0.0, "raw", where),
    st.sampled_from(["ablate", "mean-ablate", "scale"]),
    st.integers(0, 10**17),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(PLACES),
)  # fmt: skip


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
        ("mean-ablate", "88", Intervention("mean-ablate", 88)),
        ("cap", "88=1.5x", Intervention("cap", 88, 1.5, "p99")),
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
        ("/mean-ablate 7", Intervention("mean-ablate", 7)),
        ("/cap 7 -1", Intervention("cap", 7, -1.0)),
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
        ("/cap 9", "cap takes a feature and a strength, not '/cap 9'"),
        ("/mean-ablate 9 2", "for example /mean-ablate 12"),
        ("/add 9 2x@wher", "is no place"),
    ],
)
def test_a_command_that_cannot_be_read_is_answered_with_a_sentence(line, says):
    with pytest.raises(UsageError) as error:
        from_command(line)
    assert says in str(error.value)
    assert error.value.hint


@given(ITEMS)
def test_an_intervention_is_written_as_it_is_read(item):
    option, text = item.to_option()
    assert from_option(option.removeprefix("--"), text) == item
    assert from_command(item.to_command()) == item


def test_an_option_without_a_strength_is_answered_with_an_example():
    with pytest.raises(UsageError, match="--scale 12=4"):
        from_option("scale", "12")
    with pytest.raises(UsageError, match="--ablate 12"):
        from_option("ablate", "12=3")


def test_a_place_of_its_own_stands_behind_an_at_sign_and_blanks_in_it_are_nothing():
    assert from_option("ablate", "8", where="from:12").where == "from:12"
    assert from_option("ablate", "8@prompt", where="from:12").where == "prompt"
    assert from_option("add", "9=2x@generated, firing") == Intervention("add", 9, 2.0, "p99", "generated,firing")
    assert from_command("/cap 9 2max @ while:88 > 0.5") == Intervention("cap", 9, 2.0, "max", "while:88>0.5")
    with pytest.raises(UsageError, match="did you mean 'generated'"):
        from_option("ablate", "8@generate")
    with pytest.raises(UsageError, match="'from:-1' is no place"):
        Intervention("ablate", 8, where="from:-1")
    with pytest.raises(UsageError, match="'' is no place"):
        from_command("/ablate 8@")


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
        (Intervention("mean-ablate", 7), "mean-ablate feature 7: z' = its mean"),
        (Intervention("cap", 7, 0.5, "p99"), "cap feature 7 at 0.5 × its p99: z' = min(z, 0.5 p99)"),
        (
            Intervention("cap", 7, 3.0, where="until:9,firing,while:88>0.5"),
            "cap feature 7 at 3 before token 9 where it fires while feature 88 is above 0.5: "
            "z' = min(z, 3) if z > 0 and z_88 > 0.5",
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


def test_the_mean_is_that_over_all_tokens_and_0_for_a_feature_that_never_fired():
    assert resolve([Intervention("mean-ablate", 9)], SCALES, 10) == [Resolved("mean-ablate", 9, 0.125, "everywhere")]
    assert resolve([Intervention("mean-ablate", 4)], SCALES, 10)[0].value == 0.0


def test_a_feature_that_does_not_exist_is_refused_with_the_range():
    with pytest.raises(QueryError, match="no feature 10: this SAE has features 0 to 9"):
        resolve([Intervention("ablate", 10)], None, 10)
    with pytest.raises(QueryError, match="no feature 88: this SAE has features 0 to 9"):
        resolve([Intervention("ablate", 1, where="while:88>0.5")], None, 10)


@pytest.mark.parametrize(("feature", "scales"), [(4, SCALES), (5, SCALES), (9, None)])
def test_a_unit_of_a_feature_without_one_is_refused_with_a_way_out(feature, scales):
    for kind in ("set", "add", "cap"):
        with pytest.raises(QueryError, match=f"feature {feature}.*raw units"):
            resolve([Intervention(kind, feature, 2.0, "p99")], scales, 10)
    assert resolve([Intervention("add", feature, 2.0)], scales, 10)[0].value == 2.0


def test_a_mean_that_is_not_known_is_refused_with_a_way_out():
    with pytest.raises(
        QueryError, match="the mean of feature 9 is not known: `sae-tui analyze` finds it; or ablate it"
    ):
        resolve([Intervention("mean-ablate", 9)], None, 10)
    with pytest.raises(QueryError, match="feature 5 has no mean.*ablate it"):
        resolve([Intervention("mean-ablate", 5)], SCALES, 10)


def test_a_role_is_refused_where_the_prompt_is_no_chat():
    item = Intervention("ablate", 9, where="role:user")
    with pytest.raises(
        UsageError, match="feature 9 is steered in the turns of the user, and a raw prompt has no turns"
    ):
        resolve([item], None, 10)
    assert resolve([item], None, 10, chat=True) == [Resolved("ablate", 9, 0.0, "role:user")]


def test_edits_in_raw_units_need_no_database_and_do_the_same():
    items = [
        Intervention("add", 9, 2.0, "p99", "prompt"),
        Intervention("mean-ablate", 9),
        Intervention("cap", 4, 2.0, "max", enabled=False),
        Intervention("scale", 4, 3.0),
    ]
    raw = in_raw(items, SCALES)
    assert raw[1] == Intervention("set", 9, 0.125) and raw[2] == items[2]
    assert [r.value for r in resolve(raw, None, 10)] == [r.value for r in resolve(items, SCALES, 10)]
    with pytest.raises(QueryError, match="p99"):
        in_raw(items, None)


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
        {"kind": "mean-ablate", "feature": 1, "unit": "p99"},
        {"kind": "set", "feature": 1, "where": 3},
        {"kind": "set", "feature": 1, "where": "prompt,generated"},
        {"kind": "set", "feature": 1, "enabled": "no"},
    ],
)
def test_values_that_make_no_intervention_are_refused(values):
    with pytest.raises(UsageError):
        Intervention.from_json({"feature": 1, **values} if values == {"kind": "boost"} else values)

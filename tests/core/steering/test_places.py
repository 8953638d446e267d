"""Where an intervention holds: the grammar, its words, and what holds nowhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from core.steering.places import KNOWN, Place, checked_where, condition, place, words


@pytest.mark.parametrize(
    ("where", "meant"),
    [
        ("everywhere", Place()),
        ("prompt", Place(side="prompt")),
        ("generated", Place(side="generated")),
        ("from:12", Place(begin=12)),
        ("until:0003", Place(end=3)),
        ("from:2,until:9,from:4", Place(begin=4, end=9)),
        ("role:user", Place(role="user")),
        ("generated,role:assistant", Place(side="generated", role="assistant")),
        ("firing", Place(firing=True)),
        ("while:88>0.5", Place(above=((88, 0.5),))),
        ("while:88>-.5e1,while:2>3", Place(above=((88, -5.0), (2, 3.0)))),
        ("everywhere,prompt,firing", Place(side="prompt", firing=True)),
    ],
)
def test_conditions_joined_by_commas_make_a_place(where, meant):
    assert place(where) == meant


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("", "'' is no place"),
        ("generate", "did you mean 'generated'?"),
        ("from:-1", "did you mean 'from:N'?"),
        ("from:", "from"),
        ("from:1.5", "'from:1.5' is no place"),
        ("role:usr", "did you mean 'role:user'?"),
        ("user", "did you mean 'role:user'?"),
        ("role:", "is no place"),
        ("prompt,", "'' is no place"),
        ("prompt, firing", "' firing' is no place"),
        ("while:88", "for example while:88>0.5"),
        ("while:88>x", "for example while:88>0.5"),
        ("while:88>nan", "for example while:88>0.5"),
        ("while:88>1e999", "for example while:88>0.5"),
        ("while:>1", "for example while:88>0.5"),
        ("from:３", "is no place"),
        ("prompt,generated", "no token is both"),
        ("from:9,until:9", "no position is from 9 on and before 9"),
        ("until:0", "holds nowhere"),
        ("role:user,role:system", "of two roles"),
        ("generated,role:user", "the assistant's"),
    ],
)
def test_what_is_no_place_or_holds_nowhere_is_answered_with_a_sentence(where, says):
    with pytest.raises(UsageError) as error:
        place(where)
    assert says in str(error.value)
    assert error.value.hint


def test_blanks_in_a_place_are_nothing():
    assert checked_where(" generated ,  while:8 > 0.5") == "generated,while:8>0.5"


@pytest.mark.parametrize(
    ("where", "said", "formula"),
    [
        ("everywhere", "", ""),
        ("generated", " in the generated text", ""),
        ("prompt,from:4", " in the prompt from token 4 on", ""),
        ("until:9", " before token 9", ""),
        ("from:2,until:9", " from token 2 until before 9", ""),
        ("role:system", " in the turns of the system", ""),
        ("firing", " where it fires", " if z > 0"),
        (
            "generated,firing,while:88>0.5,while:3>2",
            " in the generated text where it fires while feature 88 is above 0.5 and feature 3 is above 2",
            " if z > 0 and z_88 > 0.5 and z_3 > 2",
        ),
    ],
)
def test_a_place_is_said_in_words_and_its_conditions_in_a_formula(where, said, formula):
    assert (words(where), condition(where)) == (said, formula)


def test_a_place_asks_for_the_text_unless_activations_are_all_it_asks_for():
    assert not any(place(where).knows_text for where in ("everywhere", "firing", "while:3>1,firing"))
    assert all(place(where).knows_text for where in ("prompt", "from:1", "until:5", "role:user", "firing,until:5"))


@given(st.lists(st.sampled_from([*KNOWN, "from:3", "until:7", "while:2>1"]), max_size=4).map(",".join) | st.text())
def test_any_text_is_a_place_or_is_refused_in_a_sentence(text):
    try:
        where = checked_where(text)
    except UsageError as error:
        assert error.message and error.hint
    else:
        assert place(where) == place(checked_where(where))

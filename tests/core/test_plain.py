"""Dataclasses back from JSON."""

import json
from dataclasses import asdict, dataclass

import pytest

from core.plain import made


@dataclass(frozen=True)
class Inner:
    name: str
    pairs: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Outer:
    one: Inner
    maybe: Inner | None
    many: tuple[Inner, ...]
    number: float | None = None


@dataclass(frozen=True)
class Either:
    which: Inner | Outer


@pytest.mark.parametrize("which", [Inner("a"), Outer(one=Inner("a"), maybe=None, many=())])
def test_of_several_dataclasses_it_is_the_one_with_these_fields(which):
    assert made(Either, json.loads(json.dumps(asdict(Either(which))))) == Either(which)


def test_fields_of_none_of_them_are_an_error():
    with pytest.raises(ValueError, match="unpack"):
        made(Either, {"which": {"name": "a"}})


@pytest.mark.parametrize(
    "value",
    [
        Outer(one=Inner("a", ((1, 0.5),)), maybe=None, many=()),
        Outer(one=Inner("a"), maybe=Inner("b"), many=(Inner("c"), Inner("d", ((2, 1.0), (3, 2.0)))), number=1.5),
    ],
)
def test_what_went_to_json_comes_back_equal(value):
    assert made(Outer, json.loads(json.dumps(asdict(value)))) == value


@pytest.mark.parametrize(
    "values",
    [{"one": 3, "maybe": None, "many": []}, {"one": {"name": "a"}}, {"name": "a"}, {"one": {"name": "a"}, "many": 3}],
)
def test_what_does_not_fit_is_an_error(values):
    with pytest.raises((AttributeError, KeyError, TypeError, ValueError)):
        made(Outer, values)


def test_a_tuple_of_another_length_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        made(Inner, {"name": "a", "pairs": [[1, 2.0, 3]]})

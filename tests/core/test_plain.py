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

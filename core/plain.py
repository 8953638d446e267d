"""Dataclasses back from JSON, by the types of their fields: the inverse of `json` after `dataclasses.asdict`. And what
generators of records return.
"""

from collections.abc import Generator, Mapping
from dataclasses import is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def made(kind: type[T], values: Mapping[str, Any]) -> T:
    """The dataclass of these values: fields that are dataclasses or tuples, of whatever depth, are made too.

    Of several dataclasses that a field may be, it is the one that has the fields. All else is taken as it is. Raises
    AttributeError, KeyError, TypeError or ValueError where the values do not fit the fields, and what the dataclasses
    themselves raise.
    """
    hints = _hints(kind)
    return kind(**{name: _value(hints[name], value) for name, value in values.items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _value(hint: Any, value: Any) -> Any:
    if get_origin(hint) in (Union, UnionType):
        if value is None:
            return None
        kinds = [one for one in get_args(hint) if one is not NoneType]
        [hint] = kinds if len(kinds) == 1 else [one for one in kinds if _hints(one).keys() == value.keys()]
    if get_origin(hint) is tuple:
        of = get_args(hint)
        if of[1:] == (Ellipsis,):
            return tuple(_value(of[0], one) for one in value)
        return tuple(_value(one, part) for one, part in zip(of, value, strict=True))
    return made(hint, value) if isinstance(hint, type) and is_dataclass(hint) else value


def returned(work: Generator[Any, None, T]) -> T:
    """What a generator returns when it is run to its end; what it yields on the way is dropped."""
    while True:
        try:
            next(work)
        except StopIteration as ended:
            return ended.value

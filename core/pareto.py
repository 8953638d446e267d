"""Pareto fronts: of some points, those that no other beats."""

from collections.abc import Sequence


def front(points: Sequence[tuple[float, ...] | None]) -> list[bool]:
    """Of each point whether no other is as low in every figure and lower in one; False for one that is None."""
    known = {point for point in points if point is not None}
    return [point is not None and not any(_beats(other, point) for other in known) for point in points]


def _beats(other: tuple[float, ...], point: tuple[float, ...]) -> bool:
    return other != point and all(a <= b for a, b in zip(other, point, strict=True))

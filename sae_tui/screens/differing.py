"""Which words of two texts differ: aligned, or word by word while the texts grow."""

import difflib
import re
from collections.abc import Sequence

ALIGNED = 500
"""Words that can be aligned in the time a key press may wait."""


def changed(one: str, other: str, *, aligned: bool = True) -> tuple[list[bool], list[bool]]:
    """For each character of two texts whether it is of a word that the other does not have there.

    Not `aligned`, the n-th word stands against the n-th: what is marked then stays so while the texts grow.
    """
    marks = [False] * len(one), [False] * len(other)
    spans = [[match.span() for match in re.finditer(r"\S+", text)] for text in (one, other)]
    words = [[text[a:b] for a, b in places] for text, places in zip((one, other), spans, strict=True)]
    for mark, places, alone in zip(marks, spans, _aligned(*words) if aligned else _in_step(*words), strict=True):
        for word in alone:
            begin, end = places[word]
            mark[begin:end] = [True] * (end - begin)
    return marks


def _in_step(one: Sequence[str], other: Sequence[str]) -> tuple[list[int], list[int]]:
    """The words that differ from the one in the same place of the other text, or have none there."""
    differ = [i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
    n = min(len(one), len(other))
    return [*differ, *range(n, len(one))], [*differ, *range(n, len(other))]


def _aligned(one: Sequence[str], other: Sequence[str]) -> tuple[list[int], list[int]]:
    """The words of each text that are not in the longest alignment of both; of long texts as `_in_step`."""
    alone: tuple[list[int], list[int]] = [], []
    if max(len(one), len(other)) > ALIGNED:
        return _in_step(one, other)
    matcher = difflib.SequenceMatcher(a=one, b=other, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind != "equal":
            alone[0].extend(range(a, b))
            alone[1].extend(range(c, d))
    return alone

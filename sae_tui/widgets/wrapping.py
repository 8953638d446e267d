"""Tokens over lines: where lines break, what of a token is to be seen, which cells of two lines differ."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.cells import cell_len

from sae_tui.text import safe

Look = tuple[float, bool, bool, bool, bool]
"""Strength, dim, changed, quiet, under the cursor."""
BRACKETS = ("[]", "{}")
"""Around what is strong, where colours do not say so: above 0, below."""
_BY_SPACES = re.compile(" +|[^ ]+")


@dataclass(frozen=True, slots=True)
class Piece:
    """One token as it is to be shown."""

    text: str
    """As the model has it: made safe here."""
    strength: float = 0.0
    """How strongly it is lit, from 0 (not at all) to 1; of what has two sides from −1."""
    dim: bool = False
    """The SAE is not defined here."""
    changed: bool = False
    quiet: bool = False
    """Not what one reads first, such as a prompt ahead of its continuation."""


class Run(NamedTuple):
    """Successive cells of a row that belong to one token."""

    piece: int
    """The index of its piece."""
    text: str
    look: Look


Row = tuple[Run, ...]


def wrapped(
    pieces: Sequence[Piece], width: int, cursor: int | None = None, *, brackets_from: float = math.inf
) -> Iterator[Row]:
    """The pieces over lines of `width` cells: broken before words where it can be, after each newline always.

    Those of a strength of `brackets_from` or more stand in brackets; as far below 0, in others.
    """
    row: list[Run] = []
    room = width
    for word, spaces, newline in _words(pieces, cursor, brackets_from):
        if row and sum(cell_len(run.text) for run in word) > room:
            yield tuple(row)
            row, room = [], width
        for run in word:
            while cell_len(run.text) > room:
                part = _cut(run.text, room) or ("" if row else run.text[:1])
                yield (*row, run._replace(text=part)) if part else tuple(row)
                row, room, run = [], width, run._replace(text=run.text[len(part) :])
            if run.text:
                row.append(run)
                room -= cell_len(run.text)
        for run in spaces:  # those that do not fit hang past the end of the line, unseen
            text = run.text[:room]
            if text:
                row.append(run._replace(text=text))
                room -= len(text)
        if newline:
            yield tuple(row)
            row, room = [], width
    if row:
        yield tuple(row)


def _words(
    pieces: Sequence[Piece], cursor: int | None, brackets_from: float
) -> Iterator[tuple[list[Run], list[Run], bool]]:
    """Words, the spaces after each, and whether its line ends there."""
    word: list[Run] = []
    spaces: list[Run] = []
    for index, piece in enumerate(pieces):
        under = index == cursor
        brackets = BRACKETS[piece.strength < 0] if abs(piece.strength) >= brackets_from else ""
        look = (piece.strength, piece.dim, piece.changed, piece.quiet, under)
        for is_space, text in _parts(piece, brackets):
            if is_space:
                # The space before a word is not lit with it, unless it is all there is of the token.
                alone = not piece.text.strip(" ")
                spaces.append(Run(index, text, look if alone else (0.0, *look[1:4], False)))
                continue
            if spaces:
                yield word, spaces, False
                word, spaces = [], []
            *lines, rest = _lines(piece, text, brackets)
            for line in lines:
                yield [*word, Run(index, line, look)], [], True
                word = []
            if rest:
                word.append(Run(index, rest, look))
    if word or spaces:
        yield word, spaces, False


def _lines(piece: Piece, text: str, brackets: str) -> list[str]:
    """A part of a piece by the lines it ends, and what is left for the next; brackets stay on one line."""
    if "\n" not in piece.text or "↵" not in text:
        return [text]
    if brackets:
        return [text, ""]
    *lines, rest = text.split("↵")
    return [*(f"{line}↵" for line in lines), rest]


def _parts(piece: Piece, brackets: str) -> Iterator[tuple[bool, str]]:
    """The text of a piece as it is shown: by turns spaces (True) and what is none."""
    shown = safe(piece.text)
    if brackets:
        bare, (left, right) = shown.strip(" "), brackets
        shown = shown.replace(bare, f"{left}{bare}{right}", 1) if bare else f"{left}{'␣' * len(shown)}{right}"
    for text in _BY_SPACES.findall(shown):
        yield text[0] == " ", text


def _cut(text: str, width: int) -> str:
    """As much of the beginning as `width` cells hold."""
    for end in range(min(len(text), width), 0, -1):
        if cell_len(text[:end]) <= width:
            return text[:end]
    return ""


def difference(old: Row, new: Row) -> tuple[int, int]:
    """The cells from the first to past the last in which two rows that differ do."""
    x = 0
    for one, other in zip(old, new, strict=False):
        if one != other:
            break
        x += cell_len(one.text)
    return x, max(sum(cell_len(run.text) for run in row) for row in (old, new))

"""Tiles of one size on lines: as many side by side as fit, a heading on a line of its own above each group of them."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

Block = str | list[int]
"""A heading, or the tiles that stand side by side, by their numbers."""


class Shelves:
    """Where each of some tiles stands. Lines are counted from the top of all, whatever is in view of them."""

    def __init__(
        self, groups: Sequence[int], heading: Callable[[int, int], str] | None, columns: int, height: int
    ) -> None:
        """`groups` has each tile's; `heading` makes one of a group and its number of tiles; `height` is a tile's."""
        self._blocks = list(_cut(groups, heading, columns))
        self._tops = [0]
        for block in self._blocks:
            self._tops.append(self._tops[-1] + (1 if isinstance(block, str) else height))
        self._at = {
            tile: (number, column)
            for number, block in enumerate(self._blocks)
            if not isinstance(block, str)
            for column, tile in enumerate(block)
        }

    @property
    def height(self) -> int:
        """Lines of all."""
        return self._tops[-1]

    def at(self, y: int) -> tuple[Block, int]:
        """What is on a line, and which of its lines that is. Raises IndexError below the last one."""
        for block, top, end in zip(self._blocks, self._tops, self._tops[1:], strict=False):
            if top <= y < end:
                return block, y - top
        raise IndexError(y)

    def place(self, tile: int) -> tuple[int, int]:
        """The first line of a tile, and its column."""
        number, column = self._at[tile]
        return self._tops[number], column

    def span(self, tile: int) -> tuple[int, int]:
        """The lines from which and up to which a tile reaches, with the heading above it."""
        number, _ = self._at[tile]
        headed = number > 0 and isinstance(self._blocks[number - 1], str)
        return self._tops[number - headed], self._tops[number + 1]

    def further(self, tile: int, rows: int) -> int:
        """The tile so many rows below, or above; in the last or first row, where there are not as many."""
        shelves = [block for block in self._blocks if not isinstance(block, str)]
        at = next(i for i, block in enumerate(shelves) if tile in block)
        there = shelves[max(0, min(at + rows, len(shelves) - 1))]
        return there[min(tile - shelves[at][0], len(there) - 1)]


def _cut(groups: Sequence[int], heading: Callable[[int, int], str] | None, columns: int) -> Iterator[Block]:
    for group, run in groupby(range(len(groups)), groups.__getitem__):
        tiles = list(run)
        if heading is not None:
            yield heading(group, len(tiles))
        yield from (tiles[first : first + columns] for first in range(0, len(tiles), columns))

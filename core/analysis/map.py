"""The map of decoder directions, as much of it as a terminal shows: features counted into its cells, in SQL.

A million features come as a row for each cell that holds any, so that what is drawn costs what the screen is wide.
"""

from dataclasses import dataclass
from typing import Self

DOTS_X, DOTS_Y = 2, 4
"""Into how many dots a cell is divided, as braille has them."""
MARGIN = 0.02
"""Of the map's width and height, left free beyond the outermost features."""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the plane: from `x0` to `x1` across, from `y0`, the bottom, to `y1`."""

    x0: float
    x1: float
    y0: float
    y1: float

    @classmethod
    def around(cls, x0: float, x1: float, y0: float, y1: float) -> Self:
        """One with a margin around what lies between these, and never without any width or height."""
        across, up = (MARGIN * (b - a) or 1.0 for a, b in ((x0, x1), (y0, y1)))
        return cls(x0 - across, x1 + across, y0 - up, y1 + up)

    def closer(self, x: float, y: float, share: float) -> Self:
        """One with the same point at the same place, `share` as wide and as high."""
        return type(self)(
            x + (self.x0 - x) * share, x + (self.x1 - x) * share, y + (self.y0 - y) * share, y + (self.y1 - y) * share
        )

    def moved(self, across: float, up: float) -> Self:
        """One moved by a share of its own width and height."""
        dx, dy = across * (self.x1 - self.x0), up * (self.y1 - self.y0)
        return type(self)(self.x0 + dx, self.x1 + dx, self.y0 + dy, self.y1 + dy)

    def cell(self, x: float, y: float, columns: int, rows: int) -> tuple[int, int]:
        """Column and row of a point, both from the top left corner; beyond them where it is outside."""
        return (
            int((x - self.x0) / (self.x1 - self.x0) * columns // 1),
            int((self.y1 - y) / (self.y1 - self.y0) * rows // 1),
        )

    def middle(self, column: int, row: int, columns: int, rows: int) -> tuple[float, float]:
        """The point in the middle of a cell."""
        return (
            self.x0 + (column + 0.5) / columns * (self.x1 - self.x0),
            self.y1 - (row + 0.5) / rows * (self.y1 - self.y0),
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the map that holds features."""

    column: int
    row: int
    n: int
    """Features in it."""
    lit: int
    """Of these, such as fulfil the conditions."""
    dots: int
    """Bit `2 * y + x` is set where one lies in the dot of column x and row y of the cell, from its top left."""
    cluster: int | None
    """The one that most of them belong to, ties to the larger cluster."""


def drawn(window: Window, columns: int, rows: int, where: str) -> str:
    """The query for the cells of a map: rows of `Cell`, at most one a cell. `where` is a clause on `browse`, or ""."""
    x0, x1, y0, y1 = (repr(float(edge)) for edge in (window.x0, window.x1, window.y0, window.y1))
    lit = f"feature IN (SELECT feature FROM browse {where})" if where else "true"
    return f"""
    WITH placed AS (
        SELECT
            floor((x - ({x0})) / (({x1}) - ({x0})) * {columns * DOTS_X:d})::INTEGER AS dot_x,
            floor((({y1}) - y) / (({y1}) - ({y0})) * {rows * DOTS_Y:d})::INTEGER AS dot_y,
            cluster, {lit} AS lit
        FROM features
        WHERE x >= {x0} AND x < {x1} AND y > {y0} AND y <= {y1}
    ),
    by_cluster AS (
        SELECT
            dot_x // {DOTS_X} AS column_, dot_y // {DOTS_Y} AS row_, cluster,
            count(*) AS n, count(*) FILTER (lit) AS lit,
            bit_or(1 << ({DOTS_X} * (dot_y % {DOTS_Y}) + dot_x % {DOTS_X})) AS dots
        FROM placed
        GROUP BY ALL
    )
    SELECT column_, row_, sum(n)::BIGINT, sum(lit)::BIGINT, bit_or(dots), arg_min(cluster, (-n, cluster))
    FROM by_cluster GROUP BY column_, row_ ORDER BY row_, column_
    """

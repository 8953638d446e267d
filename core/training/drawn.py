"""What an analysis found as logbooks take it: pictures of all features, and a table of some. See `logbooks`."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from core.analysis.connection import connected
from core.session import Session

ROWS = 1_000
"""Of the table, the densest features: a page of a browser."""
COLUMNS = ("feature", "density", "mean", "max", "token_entropy", "specialist_category", "specialist_score", "top_token")
SIDE = 256
"""Pixels of a picture, at least, across and down."""
INK = (255, 190, 90)


class Found(NamedTuple):
    """All there is to be shown of an analysis."""

    pictures: dict[str, UInt8[np.ndarray, "h w 3"]]
    columns: tuple[str, ...]
    rows: list[tuple[object, ...]]


def read(session: Session) -> Found:
    """From the feature database. Raises QueryError where there is none."""
    with connected([session]) as connection:
        all_of = connection.execute("SELECT max, x, y FROM features ORDER BY feature").fetchnumpy()
        table = f"SELECT {', '.join(COLUMNS)} FROM features WHERE NOT dead ORDER BY density DESC, feature LIMIT {ROWS}"
        rows = connection.execute(table).fetchall()
    largest, x, y = (np.ma.filled(np.ma.asarray(all_of[name], dtype=float), np.nan) for name in ("max", "x", "y"))
    return Found({"features/strength": strengths(largest), "features/map": scattered(x, y)}, COLUMNS, rows)


def strengths(largest: Float[np.ndarray, " f"]) -> UInt8[np.ndarray, "h w 3"]:
    """The heat map of all features: the largest activation of each, in rows by number; black where it never fired."""
    across = max(1, math.ceil(math.sqrt(len(largest))))
    cells = np.zeros(across * -(-len(largest) // across))
    cells[: len(largest)] = np.nan_to_num(largest)
    return _painted(cells.reshape(-1, across))


def scattered(x: Float[np.ndarray, " f"], y: Float[np.ndarray, " f"]) -> UInt8[np.ndarray, "h w 3"]:
    """The map of decoder directions: how many lie in each pixel, as a logarithm."""
    there = ~(np.isnan(x) | np.isnan(y))
    counts = np.histogram2d(y[there], x[there], bins=SIDE)[0] if there.any() else np.zeros((SIDE, SIDE))
    return _painted(np.log1p(counts[::-1]))


def _painted(values: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    scaled = values / (values.max(initial=0) or 1.0)
    large = np.kron(scaled, np.ones((-(-SIDE // len(scaled)),) * 2))
    return (large[..., None] * np.array(INK)).round().astype(np.uint8)

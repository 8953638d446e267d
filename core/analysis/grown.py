"""How one feature came to be in training, snapshot by snapshot: for small multiples. Knows no torch."""

from dataclasses import dataclass

import duckdb

from core.errors import QueryError

EACH = 3
"""Features told for each reason there is to tell of one."""
REASONS = {
    "strongest": "density > 0 ORDER BY mean DESC",
    "came late": "density > 0 AND birth > (SELECT min(step) FROM snapshots) ORDER BY birth DESC, density DESC",
    "turned most": "density > 0 ORDER BY turned DESC",
}
"""Which features are told one by one: those that fire strongest at the last snapshot; those active there that came
last, and those whose decoder row has turned most since the first snapshot on which they were active."""
LIVES = """
    SELECT feature, min(step) FILTER (density > 0) AS birth, arg_min(drift_final, step) FILTER (density > 0) AS turned,
        max(density) FILTER (step = last) AS density, max(mean) FILTER (step = last) AS mean
    FROM snapshots, (SELECT max(step) AS last FROM snapshots) GROUP BY feature
"""
PICTURED = """
    SELECT step, image, label, value, hex(pixels), pattern FROM snapshot_images JOIN images USING (doc)
    WHERE feature = $1 ORDER BY step
"""
THERE = "SELECT 1 FROM duckdb_views() WHERE view_name = 'snapshot_images'"
KEPT = "SELECT 1 FROM snapshot_images LIMIT 1"
"""Whether there is such a table, which only image models have, and whether the SAEs it is made from were kept."""
SIDE = 28
"""Pixels of an image's edge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What a feature of an image model responded to at one snapshot."""

    image: int
    """The one on which it was strongest: its number in the data set."""
    label: int
    value: float
    pixels: list[list[float]]
    """28 rows of 28, from 0 to 1."""
    pattern: list[list[float]]
    """28 rows of 28, to four digits: see `core.analysis.patterns`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """One feature during a training; lists have an entry for each snapshot."""

    feature: int
    why: str
    """One of `REASONS`; empty where it was asked for."""
    label: str
    """A person's, or empty. Not safe."""
    top_token: str | None
    """Of images the label it fires on most; None where it never fired. Not safe."""
    birth: int | None
    density: list[float]
    drift: list[float | None]
    """Since the snapshot before."""
    pictures: list[Picture | None]
    """None where it fired on no image; empty where the snapshots' SAEs were not kept."""


def chosen(connection: duckdb.DuckDBPyConnection, each: int) -> dict[int, str]:
    """At most `each` features for each of `REASONS`, and why these; one that two reasons name is told for the first."""
    found: dict[int, str] = {}
    for why, wanted in REASONS.items():
        sql = f"WITH lives AS ({LIVES}) SELECT feature FROM lives WHERE {wanted}, feature LIMIT {each + len(found)}"
        new = [feature for (feature,) in connection.execute(sql).fetchall() if feature not in found]
        found |= dict.fromkeys(new[:each], why)
    return found


def read(connection: duckdb.DuckDBPyConnection, feature: int, why: str) -> Grown:
    """One feature. Raises QueryError where there is none of that number."""
    told = connection.execute("SELECT label, top_token, birth FROM browse WHERE feature = $1", [feature]).fetchall()
    if not told:
        raise QueryError(f"there is no feature {feature}", hint="`sae-tui features NAME` lists them")
    ((label, token, birth),) = told
    sql = "SELECT step, density, drift FROM snapshots WHERE feature = $1 ORDER BY step"
    steps, densities, drifts = zip(*connection.execute(sql, [feature]).fetchall(), strict=True)
    pictured = any(connection.execute(THERE).fetchall()) and any(connection.execute(KEPT).fetchall())
    found = {}
    if pictured:
        found = {row[0]: _picture(*row[1:]) for row in connection.execute(PICTURED, [feature]).fetchall()}
    return Grown(
        feature=feature, why=why, label=label or "", top_token=token, birth=birth, density=list(densities),
        drift=list(drifts), pictures=[found.get(step) for step in steps] if pictured else [],
    )  # fmt: skip


def _picture(image: int, label: int, value: float, pixels: str, pattern: list[float]) -> Picture:
    grey = [round(byte / 255, 3) for byte in bytes.fromhex(pixels)]
    read = [float(f"{v:.4g}") for v in pattern]  # no picture shows more digits, and there are many
    return Picture(image=image, label=label, value=value, pixels=_grid(grey), pattern=_grid(read))


def _grid(values: list[float]) -> list[list[float]]:
    return [values[row : row + SIDE] for row in range(0, len(values), SIDE)]

"""What the database of an image model tells of a feature besides its card: images, pattern, effects. No torch."""

from dataclasses import dataclass
from typing import Any

from core.analysis.store import Store
from core.options import IMAGE_MODELS

SIDE = 28

Grid = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One of a feature's top images."""

    image: int
    label: int
    predicted: int | None
    value: float
    pixels: Grid
    """28 rows of 28, from 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """One feature of an image model."""

    images: tuple[Seen, ...]
    pattern: Grid
    """28 rows of 28; empty for a feature that never fired."""
    effects: tuple[tuple[int, float | None, float | None], ...]
    """Class, change of its logit when the feature is switched on, and when it is ablated."""


def there(store: Store) -> bool:
    """Whether the session is one of images."""
    return store.meta().get("model") in IMAGE_MODELS


def read(store: Store, feature: int, *, limit: int = 10) -> Gallery:
    """The `limit` top images, the input pattern, the effects."""
    images = store.query(
        "SELECT image, label, predicted, value, hex(pixels) FROM examples JOIN tokens USING (token_idx) "
        f"JOIN images USING (doc) WHERE feature = {int(feature)} AND band = 0 ORDER BY rank", limit
    ).rows  # fmt: skip
    pattern = store.query(f"SELECT value FROM patterns WHERE feature = {int(feature)} ORDER BY y, x", SIDE**2).rows
    effects = store.query(
        f"SELECT class, switched_on, ablated FROM effects WHERE feature = {int(feature)} ORDER BY class", SIDE
    ).rows
    return Gallery(
        images=tuple(_seen(*row) for row in images),
        pattern=_grid([value for (value,) in pattern]),
        effects=tuple((int(name), on, off) for name, on, off in effects),
    )


def _seen(image: int, label: int, predicted: int | None, value: float, pixels: Any) -> Seen:
    grid = _grid([byte / 255 for byte in bytes.fromhex(pixels)])
    return Seen(image=image, label=label, predicted=predicted, value=value, pixels=grid)


def _grid(values: list[float]) -> Grid:
    return tuple(tuple(values[row : row + SIDE]) for row in range(0, len(values), SIDE))

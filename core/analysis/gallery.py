"""What the database of an image model tells of a feature besides its card: images, pattern, effects. No torch."""

from dataclasses import dataclass
from typing import Any

from core import image_facts
from core.analysis.store import Store

SIDE = 28

Grid = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An image on which a feature is active."""

    image: int
    label: int
    predicted: int | None
    value: float
    pixels: Grid
    """28 rows of 28, from 0 to 1."""
    band: int
    """As in `Example`: 0 for the top images, 1.. for lower bands of equal width in activation, strongest first."""
    rank: int
    token_idx: int
    place: tuple[int, int] | None
    """Row and column, from 0, in a feature map; None where the image has one activation."""
    fires: Grid
    """The feature's activations over the feature map; empty where the image has one activation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """One feature of an image model."""

    images: tuple[Seen, ...]
    """By band and rank."""
    pattern: Grid
    """28 rows of 28; empty for a feature that never fired."""
    effects: tuple[tuple[int, float | None, float | None], ...]
    """Class, change of its logit when the feature is switched on, and when it is ablated."""


def there(store: Store) -> bool:
    """Whether the session is one of images."""
    return image_facts.places(store.meta()) > 0


def read(store: Store, feature: int, *, limit: int = 10, band: int | None = 0) -> Gallery:
    """Up to `limit` images of one band, or of each (None), the input pattern, the effects."""
    feature, where = int(feature), "" if band is None else f"AND band = {int(band)}"
    rows = store.query(
        "SELECT image, label, predicted, value, hex(pixels), band, rank, token_idx, doc_pos, doc "
        "FROM examples JOIN tokens USING (token_idx) JOIN images USING (doc) "
        f"WHERE feature = {feature} {where} AND rank < {int(limit)} ORDER BY band, rank", 1_000_000
    ).rows  # fmt: skip
    edge = round(image_facts.places(store.meta()) ** 0.5)
    fires = _fires(store, feature, {row[-1] for row in rows}, edge) if edge > 1 else {}
    pattern = store.query(f"SELECT value FROM patterns WHERE feature = {feature} ORDER BY y, x", SIDE**2).rows
    effects = store.query(
        f"SELECT class, switched_on, ablated FROM effects WHERE feature = {feature} ORDER BY class", SIDE
    ).rows
    return Gallery(
        images=tuple(_seen(row, edge, fires) for row in rows),
        pattern=_grid([value for (value,) in pattern], SIDE),
        effects=tuple((int(name), on, off) for name, on, off in effects),
    )


def _fires(store: Store, feature: int, images: set[int], edge: int) -> dict[int, Grid]:
    """The activations over the feature map of some images, by document."""
    maps = {doc: [0.0] * edge**2 for doc in images}
    rows = store.query(
        "SELECT doc, doc_pos, value FROM activations JOIN tokens USING (token_idx) "
        f"WHERE feature = {feature} AND doc IN ({', '.join(map(str, images)) or -1})", 1_000_000
    ).rows  # fmt: skip
    for doc, place, value in rows:
        maps[doc][place] = value
    return {doc: _grid(values, edge) for doc, values in maps.items()}


def _seen(row: tuple[Any, ...], edge: int, fires: dict[int, Grid]) -> Seen:
    image, label, predicted, value, pixels, band, rank, token_idx, place, doc = row
    return Seen(
        image=image, label=label, predicted=predicted, value=value, band=band, rank=rank, token_idx=token_idx,
        pixels=_grid([byte / 255 for byte in bytes.fromhex(pixels)], SIDE),
        place=divmod(place, edge) if edge > 1 else None, fires=fires.get(doc, ()),
    )  # fmt: skip


def _grid(values: list[float], side: int) -> Grid:
    return tuple(tuple(values[row : row + side]) for row in range(0, len(values), side))

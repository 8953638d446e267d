"""Small data sets in MNIST's format: ten classes of bright bars on noise, which a classifier learns in a second."""

import gzip
from pathlib import Path

import numpy as np


def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """n images `[n 28 28]`, a bar at a height of its own for each class, and their labels."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 10).astype(np.uint8)
    pixels = rng.integers(0, 60, (n, 28, 28), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[2 * label + 3 : 2 * label + 5, 4 : rng.integers(14, 25)] += 180
    return pixels, labels


def encoded(array: np.ndarray) -> bytes:
    """An array of bytes as an IDX file holds it."""
    head = (0x0800 | array.ndim).to_bytes(4, "big") + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return head + array.tobytes()


def write(folder: Path, *, train: int = 300, test: int | None = 100, packed: bool = False) -> Path:
    """A folder with the files of a train part and, where there is one, of a test part."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, n, seed in (("train", train, 0), ("t10k", test, 1)):
        if n is None:
            continue
        pixels, labels = drawn(n, seed)
        for name, array in ((f"{part}-images-idx3-ubyte", pixels), (f"{part}-labels-idx1-ubyte", labels)):
            path = folder / (name + ".gz" * packed)
            path.write_bytes(gzip.compress(encoded(array)) if packed else encoded(array))
    return folder

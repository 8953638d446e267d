"""Activations kept on disk: harvested once, read by every run that asks for the same.

    CACHE/activations/<model>-<hook>-<key>/   meta.json, 00000.safetensors, 00001.safetensors, …

The key is a hash of all that the values depend on: model and its files, hook point, corpus and its files, how it is
cut, split and mixed into blocks, seed, precision, device and versions. So another file behind the same name is another
cache, never a stale one; a data set on the hub is as new as its `corpus.revision`, and without one `unpinned`. A cache
can grow: the text is a function of the configuration, and how much of it was read is kept. Each shard's digest is
checked whenever it is read. Nothing is ever evicted by itself.
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

from core.config import RunConfig
from core.errors import RunError, SessionError, nearest
from core.options import EMBEDDED
from core.storage import read_json, replace_file, replacing

if TYPE_CHECKING:
    from torch import Tensor

META = "meta.json"
SHARD_ROWS = 65_536
"""Rows of a shard, about: 75 MB in 16 bits at a width of 576."""
FILES = (
    "*.json", "*.safetensors", "*.bin", "*.txt", "*.jsonl", "*.jsonl.gz", "*.arrow", "*.gguf", "*.parquet", "*ubyte*",
)  # fmt: skip
"""What of a folder is a model or a corpus."""
PACKAGES = ("torch", "transformers", "transformer-lens")


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of rows."""

    rows: int
    size: int
    digest: str


class Cache:
    """One folder of activations, which need not be there yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read_meta()

    def _read_meta(self) -> None:
        self.meta = read_json(self.folder / META)
        shards = self.meta.get("shards")
        self.shards = [Shard(**shard) for shard in shards] if isinstance(shards, list) else []

    @property
    def name(self) -> str:
        """Its folder's name."""
        return self.folder.name

    @property
    def rows(self) -> int:
        """How many activations it holds."""
        return sum(shard.rows for shard in self.shards)

    @property
    def d_in(self) -> int:
        """Their width; 0 where there are none."""
        return int(self.meta.get("d_in", 0))

    @property
    def text_read(self) -> tuple[int, bool]:
        """Batches of blocks they were made of, and whether that was all of the corpus."""
        return int(self.meta.get("batches", 0)), bool(self.meta.get("ended"))

    @property
    def about(self) -> dict[str, str]:
        """Whose activations they are, for a person."""
        key = self.meta.get("key", {})
        found = {part: str(key.get(part, {}).get("name", "")) for part in ("model", "corpus")}
        return {**found, "hook": str(key.get("model", {}).get("hook", "")), "kept in": str(key.get("kept", ""))}

    def size_bytes(self) -> int:
        """What it takes on disk."""
        return sum(shard.size for shard in self.shards)

    def append(self, rows: "Tensor", *, key: dict[str, Any], batches: int, ended: bool) -> None:
        """Add a shard: `rows [n d_in]` in the precision they are kept in, `batches` of blocks read by its end.

        The shard is whole before `meta.json` tells of it. Raises OSError where the disk is full.
        """
        from safetensors.torch import save_file

        path = self.folder / f"{len(self.shards):05d}.safetensors"
        shards = list(self.shards)
        if len(rows):
            with replacing(path) as beside:
                save_file({"x": rows.cpu().contiguous()}, beside)
            shards.append(Shard(rows=len(rows), size=path.stat().st_size, digest=_digest(path)))
        meta = {
            "key": key, "d_in": rows.shape[1], "batches": batches, "ended": ended,
            "shards": [{"rows": s.rows, "size": s.size, "digest": s.digest} for s in shards],
        }  # fmt: skip
        replace_file(self.folder / META, json.dumps(meta, indent=1))
        self._read_meta()

    def shard(self, number: int) -> "Tensor":
        """The rows of a shard, float32 on the CPU. Raises RunError where the file is not what was written."""
        from safetensors.torch import load_file

        path = self.folder / f"{number:05d}.safetensors"
        try:
            if _digest(path) == self.shards[number].digest:
                return load_file(path)["x"].float()
            problem = "has changed since it was written"
        except OSError as error:
            problem = f"cannot be read ({error})"
        raise RunError(f"{path} {problem}", hint=f"remove it with `sae-tui cache --remove {self.name}`; it comes again")

    @property
    def sizes(self) -> list[int]:
        """Rows of each shard."""
        return [shard.rows for shard in self.shards]


def cache_dir() -> Path:
    """`SAE_TUI_CACHE`, or the user's cache folder for this program."""
    return Path(os.environ.get("SAE_TUI_CACHE") or user_cache_path("sae-tui"))


def caches_dir() -> Path:
    """Where activations are kept."""
    return cache_dir() / "activations"


def key_of(config: RunConfig, embedded: Path) -> dict[str, Any]:
    """All that the activations of a configuration depend on; `embedded` is the embedded model's file."""
    model, corpus = config.model, config.corpus
    classifier = set() if model.reads_images else {"hidden", "epochs"}
    return {
        "model": model.model_dump(exclude={"trust_remote_code", *classifier}) | {"files": _files(model.name, embedded)},
        "corpus": corpus.model_dump(exclude={"streaming"}) | {"files": _files(corpus.name, embedded)},
        "tokens": config.tokens.model_dump(),
        "seed": config.seed,
        "model_batch_blocks": config.training.model_batch_blocks,
        "kept": config.training.cache,
        "device": config.device,
        "versions": {"python": python_version(), **{name: _version(name) for name in PACKAGES}},
    }


def unpinned(config: RunConfig) -> bool:
    """Whether the corpus is a data set on the hub that may be another one today than when it was harvested."""
    name = config.corpus.name
    return not config.corpus.revision and name not in EMBEDDED and not Path(name).expanduser().exists()


def folder_of(key: dict[str, Any], caches: Path) -> Path:
    """Where a key's activations are kept."""
    digest = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=8).hexdigest()
    parts = (key["model"]["name"].rstrip("/").rpartition("/")[2], key["model"]["hook"], digest)
    return caches / "-".join("".join(c if c.isalnum() or c in "._" else "_" for c in part) for part in parts)


def listing(caches: Path) -> list[Cache]:
    """Every cache there is, by name."""
    return [Cache(path) for path in sorted(caches.glob("*")) if (path / META).is_file()]


def remove(caches: Path, name: str) -> int:
    """Delete a cache and return how many bytes that frees. Raises SessionError where there is none of that name."""
    known = {cache.name: cache for cache in listing(caches)}
    if name not in known:
        raise SessionError(f"there is no activation cache {name!r}", hint=nearest(name, known))
    size = known[name].size_bytes()
    shutil.rmtree(known[name].folder)
    return size


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _files(name: str, embedded: Path) -> list[tuple[str, int, int]]:
    """The files behind a local name, with size and time: a changed one makes another key. None of a hub name."""
    path = embedded if name == EMBEDDED[0] else Path(name).expanduser()
    if name in EMBEDDED[1:] or not path.exists():
        return []
    found = [path] if path.is_file() else sorted({p for pattern in FILES for p in path.rglob(pattern)})
    return [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in found]


def _version(package: str) -> str:
    with contextlib.suppress(PackageNotFoundError):
        return version(package)
    return ""


def order(sizes: Sequence[int], start: int, stop: int, epoch: int, seed: int) -> list[tuple[int, int, int]]:
    """The shards that hold rows `start` to `stop` where they hold `sizes` of them, in the order of pass `epoch`.

    Each by its number, with the first of its rows that count and the one after the last.
    """
    found: list[tuple[int, int, int]] = []
    at = 0
    for number, size in enumerate(sizes):
        first, last = max(0, start - at), min(size, stop - at)
        if first < last:
            found.append((number, first, last))
        at += size
    random.Random(f"{seed} {epoch}").shuffle(found)
    return found

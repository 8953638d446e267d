"""A training that reads its activations from disk: harvests what is lacking first, and then needs no model.

Every pass over the rows has an order of its own: shards in a random one, mixed by the same buffer that a stream is.
"""

import random
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from jaxtyping import Float
from torch import Tensor

from core import activations, cache, corpus, tokens
from core.config import RunConfig
from core.errors import RunError
from core.models import bundled
from core.models.language import LanguageModel
from core.records import Notice, Progress
from core.training.data import BLOCK_BUFFER, MIXED_TOKENS, blocks


def found(config: RunConfig) -> tuple[cache.Cache, dict[str, Any]]:
    """The cache of a configuration's activations, as full as it is, and its key."""
    key = cache.key_of(config, bundled.gguf_path() or Path())
    return cache.Cache(cache.folder_of(key, cache.caches_dir())), key


def suffices(there: cache.Cache, config: RunConfig) -> bool:
    """Whether it holds what the run asks for, or all that its corpus gives."""
    _, ended = there.text_read
    return there.rows >= config.budget.activations or (ended and there.rows > 0)


def filled(config: RunConfig, model: LanguageModel) -> Generator[Progress | Notice, None, cache.Cache]:
    """Harvest what is lacking; a generator whose return value is the cache. Alone on it: another process waits.

    Raises CorpusError where the corpus cannot be read, OSError where the disk is full: whole shards are kept.
    """
    there, key = found(config)
    there.folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{there.folder}.lock")
    while True:
        try:
            lock.acquire(timeout=1)
            break
        except Timeout:
            yield Progress(phase="waiting for another run that harvests the same")
    try:
        there, _ = found(config)
        if not suffices(there, config):
            yield Notice(message=f"activations are kept in {there.folder}")
            yield from _harvested(config, model, there, key)
    finally:
        lock.release()
    return there


def _harvested(config: RunConfig, model: LanguageModel, there: cache.Cache, key: dict[str, Any]) -> Iterator[Progress]:
    context, wanted = config.tokens.context, config.budget.activations
    # The order of the text must not depend on the budget: what is harvested now is a beginning for a larger one.
    held = max(64, min(BLOCK_BUFFER, MIXED_TOKENS // context))
    mixed = corpus.shuffled(blocks(config, model, "train"), held, random.Random(config.seed))
    text = tokens.stacked(mixed, config.training.model_batch_blocks)
    read, _ = there.text_read
    for done in range(read):
        next(text, None)
        yield Progress(phase="finding the place in the corpus", done=done + 1, total=read, unit="batches")
    dtype: torch.dtype = getattr(torch, config.training.cache)
    waiting: list[Tensor] = []
    rows, ended = there.rows, False
    while not ended:
        batch = next(text, None)
        ended = batch is None
        if batch is not None:
            read += 1
            waiting += [_kept(chunk, dtype) for chunk in activations.harvest(model, [batch])]
            rows += len(waiting[-1])
        enough = rows >= wanted
        if waiting and (ended or enough or rows - there.rows >= cache.SHARD_ROWS):
            there.append(torch.cat(waiting), key=key, batches=read, ended=ended)
            waiting = []
        elif ended:
            there.append(torch.empty(0, model.d_in, dtype=dtype), key=key, batches=read, ended=True)
        yield Progress(phase="harvesting to disk", done=min(rows, wanted), total=wanted, unit="activations")
        if enough:
            return


def _kept(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """The rows in the precision they are kept in. Raises RunError where they are too large for it."""
    kept = rows.to(dtype)
    if not bool(torch.isfinite(kept).all()):
        raise RunError(
            f"an activation of {float(rows.abs().max()):.3g} does not fit into {str(dtype).removeprefix('torch.')}",
            hint='set training.cache = "bfloat16" or "float32"',
        )
    return kept


class CachedActivations:
    """Shuffled batches of `budget.epochs` passes over a cache's rows, as `loop.train` takes them."""

    def __init__(self, config: RunConfig, there: cache.Cache, device: torch.device) -> None:
        training, budget = config.training, config.budget
        self._cache, self._device, self._seed = there, device, config.seed
        self._rows, self._epochs = min(there.rows, budget.activations), budget.epochs
        self._taken = 0
        """Shards that were read, over all passes."""
        self._shuffled = activations.Shuffled(
            self._chunks(),
            buffer=max(2 * training.batch_activations, min(training.buffer_activations, self._rows)),
            batch=training.batch_activations,
            generator=torch.Generator().manual_seed(config.seed),
        )

    def __iter__(self) -> Iterator[Float[Tensor, "batch d_in"] | int]:
        return iter(self._shuffled)

    def state(self) -> dict[str, Any]:
        """The place in the shards, and what was read and has not been handed out. See `activations.Shuffled.state`."""
        return {"taken": self._taken, **self._shuffled.state()}

    def restore(self, state: dict[str, Any]) -> Iterator[Progress | Notice]:
        """Become what gave `state`. A cache that was removed since has been harvested again, to the same rows."""
        self._shuffled.restore(state)
        self._taken = state["taken"]
        yield Progress(phase="finding the place in the cache")

    def _chunks(self) -> Iterator[Float[Tensor, "n d_in"]]:
        for chunk in cache.chunks(self._cache, self._rows, self._epochs, self._seed, skip=self._taken):
            self._taken += 1
            yield chunk.to(self._device)

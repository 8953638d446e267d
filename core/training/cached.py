"""A training that reads its activations from disk: harvests what is lacking first, and then needs no model.

Every pass over the rows has an order of its own: shards in a random one, mixed by the same buffer that a stream is.
Whose rows they are, kept ones or a person's own (`core.training.own`), makes no difference here.
"""

import itertools
import random
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from filelock import FileLock, Timeout
from jaxtyping import Float
from torch import Tensor

from core import activations, cache, corpus, tokens
from core.config import RunConfig
from core.errors import RunError
from core.models import bundled
from core.models.load import Model
from core.records import Notice, Progress
from core.training import calibration
from core.training.data import BLOCK_BUFFER, MIXED_TOKENS, blocks
from core.training.ranks import ALONE, Ranks


def found(config: RunConfig) -> tuple[cache.Cache, dict[str, Any]]:
    """The cache of a configuration's activations, as full as it is, and its key."""
    key = cache.key_of(config, bundled.gguf_path() or Path())
    return cache.Cache(cache.folder_of(key, cache.caches_dir())), key


def suffices(there: cache.Cache, config: RunConfig) -> bool:
    """Whether it holds what the run asks for, or all that its corpus gives."""
    _, ended = there.text_read
    if config.sae.moves_thresholds and not calibration.suffices(there, config.evaluation.calibration_activations):
        return False
    return there.rows >= config.budget.activations or (ended and there.rows > 0)


def filled(config: RunConfig, model: Model) -> Generator[Progress | Notice, None, cache.Cache]:
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
            if there.rows < config.budget.activations and not there.text_read[1]:
                yield from _harvested(config, model, there, key)
            wanted = config.evaluation.calibration_activations
            if not calibration.suffices(there, wanted):
                rows = yield from calibration.harvested(config, model)
                calibration.keep(there, _kept(rows, getattr(torch, config.training.cache)), wanted)
    finally:
        lock.release()
    return there


def _harvested(config: RunConfig, model: Model, there: cache.Cache, key: dict[str, Any]) -> Iterator[Progress]:
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


class Rows(Protocol):
    """Activations on disk, in shards."""

    @property
    def name(self) -> str:
        """Theirs; other rows have another."""
        ...

    @property
    def rows(self) -> int:
        """How many there are."""
        ...

    @property
    def sizes(self) -> Sequence[int]:
        """Rows of each shard."""
        ...

    def shard(self, number: int) -> Float[Tensor, "n d_in"]:
        """The rows of one, float32 on the CPU."""
        ...


Pass = tuple[int, int, int]
"""The first row, the one after the last, and the number of the pass over all rows that this is a part of."""


class CachedActivations:
    """Shuffled batches of `budget.epochs` passes over `budget.activations` rows, as `loop.train` takes them.

    Where several processes train, all make the same batches and each takes its rows of them: every so many'th one.
    """

    def __init__(self, config: RunConfig, there: Rows, device: torch.device, ranks: Ranks = ALONE) -> None:
        self._ranks = ranks
        training, budget = config.training, config.budget
        self._there, self._device, self._seed = there, device, config.seed
        self._rows, self._epochs = min(there.rows, budget.activations), budget.epochs
        self._passes = self._planned([])
        self._taken = 0
        """Shards that were read, over all passes."""
        self._shuffled = activations.Shuffled(
            self._chunks(),
            buffer=max(2 * training.batch_activations, min(training.buffer_activations, self._rows)),
            batch=training.batch_activations,
            generator=torch.Generator().manual_seed(config.seed),
        )

    def __iter__(self) -> Iterator[Float[Tensor, "batch d_in"] | int]:
        for x in self._shuffled:
            yield x if isinstance(x, int) else x[self._ranks.rank :: self._ranks.world]

    def state(self) -> dict[str, Any]:
        """The place in the shards, and what was read and has not been handed out. See `activations.Shuffled.state`."""
        return {"rows_of": self._there.name, "passes": self._passes, "taken": self._taken, **self._shuffled.state()}

    def restore(self, state: dict[str, Any]) -> Iterator[Progress | Notice]:
        """Become what gave `state`; under a larger budget, what that one lacks comes after what the state's has.

        A cache that was removed since has been harvested again, to the same rows; where they are others, says so.
        """
        yield Progress(phase="finding the place in the activations")
        before: list[Pass] = [(start, stop, epoch) for start, stop, epoch in state["passes"]]
        self._passes = self._planned(before)
        self._taken = state["taken"]
        self._shuffled.restore({**state, "ended": state["ended"] and self._passes == before})
        if state["rows_of"] != self._there.name:
            yield Notice(
                message=f"the activations are not those of the checkpoint ({state['rows_of']} -> {self._there.name}): "
                "training goes on at the same place in what is there now, and will not end with the weights of an "
                "uninterrupted run"
            )

    def _planned(self, passes: Sequence[Pass]) -> list[Pass]:
        """`passes`, and what they lack of every row in every epoch."""
        covered: dict[int, int] = {}
        for _, stop, epoch in passes:
            covered[epoch] = max(stop, covered.get(epoch, 0))
        lacking = [(covered.get(epoch, 0), self._rows, epoch) for epoch in range(self._epochs)]
        return [*passes, *(part for part in lacking if part[0] < part[1])]

    def _chunks(self) -> Iterator[Float[Tensor, "n d_in"]]:
        parts = (part for one in self._passes for part in cache.order(self._there.sizes, *one, self._seed))
        for number, first, last in itertools.islice(parts, self._taken, None):
            self._taken += 1
            yield self._there.shard(number)[first:last].to(self._device)

"""From blocks of tokens to activations: harvest at the model's hook point, shuffle, bounded in memory.

The seam on both sides is an iterator. Knows no SAE and no corpus.
"""

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from core.models.language import LanguageModel
from core.tokens import Blocks


def harvest(model: LanguageModel, batches: Iterable[Blocks]) -> Iterator[Float[Tensor, "n d_in"]]:
    """The activations at the counted positions of each batch of blocks, in order, float32 on the model's device."""
    for batch in batches:
        x = model.activations(torch.from_numpy(batch.ids).to(model.device))
        yield x[torch.from_numpy(batch.counted).to(model.device)]


def shuffled(
    chunks: Iterable[Float[Tensor, "n d_in"]], *, buffer: int, batch: int, generator: torch.Generator
) -> Iterator[Float[Tensor, "batch d_in"] | int]:
    """Every row once, in random order, `batch` at a time; the last batch may be smaller.

    After each chunk comes the number of rows that wait in the buffer, so that the caller can report and stop.

    Rows wait in a buffer of `buffer` rows. Whenever it is full, a random half of it leaves in batches and the rest
    stays to be mixed with what comes: so a row's neighbours come from the whole buffer. Memory is that of the buffer
    and one chunk. The permutations are drawn on the CPU: the same seed gives the same order on every device.
    """
    store: Tensor | None = None
    held = 0
    for chunk in chunks:
        if store is None:
            store = chunk.new_empty(buffer, chunk.shape[1])
        while len(chunk):
            taken = min(len(chunk), buffer - held)
            store[held : held + taken] = chunk[:taken]
            held += taken
            chunk = chunk[taken:]
            if held == buffer:
                leaving = buffer // 2 // batch * batch
                order = torch.randperm(buffer, generator=generator).to(store.device)
                yield from store[order[:leaving]].split(batch)
                store[: buffer - leaving] = store[order[leaving:]]
                held = buffer - leaving
        yield held
    if store is not None and held:
        order = torch.randperm(held, generator=generator).to(store.device)
        yield from store[order].split(batch)

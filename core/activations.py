"""From documents to activations: in blocks as a model reads them, harvested at its hook point, shuffled.

The seam on both sides is an iterator, and memory is bounded. Knows no SAE, nor where documents come from.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from core import tokens
from core.corpus import Document
from core.models.digits import ImageClassifier
from core.models.load import Model
from core.options import TokensConfig
from core.tokens import Block, Blocks

PLACES = 32
"""Ranks at which entries of a vector are told for a picture of it."""


def blocks(model: Model, documents: Iterable[Document], config: TokensConfig) -> Iterator[Block]:
    """Documents in blocks as the model reads them: of tokens, or one for each image."""
    if isinstance(model, ImageClassifier):
        return model.blocks(documents)
    return tokens.blocks(documents, model.tokens, config)


def harvest(model: Model, batches: Iterable[Blocks]) -> Iterator[Float[Tensor, "n d_in"]]:
    """The activations at the counted positions of each batch of blocks, in order, float32 on the model's device."""
    for batch in batches:
        x = model.activations(torch.from_numpy(batch.ids).to(model.device))
        yield x[torch.from_numpy(batch.counted).to(model.device)]


def ranked(rows: Float[Tensor, "n d"], places: int = PLACES) -> list[tuple[float, ...]]:
    """Of each row |entries| by size, the largest first, at evenly spaced ranks: the i-th is that of rank ⌊i·d/places⌋.

    A row of fewer entries than places has each of them. To three digits: they are for a picture.
    """
    n, d = rows.shape
    places = min(places, d)
    ranks = torch.arange(places, device=rows.device) * d // places
    # of a sparse code only what is not 0 is sorted
    most = int((rows != 0).sum(dim=1).max()) if n else 0
    sizes = rows.abs().topk(most, dim=1).values
    known = ranks[ranks < most]
    blank = (0.0,) * (places - len(known))
    return [(*(float(f"{size:.3g}") for size in row), *blank) for row in sizes[:, known].tolist()]


class Shuffled:
    """Every row of the chunks once, in random order, `batch` at a time; the last batch may be smaller.

    After each chunk comes the number of rows that wait in the buffer, so that the caller can report and stop.

    Rows wait in a buffer of `buffer` rows, at least two batches. Whenever it is full, a random half of it leaves in
    batches and the rest stays to be mixed with what comes: so a row's neighbours come from the whole buffer. Memory
    is that of one and a half buffers and one chunk. The permutations are drawn on the CPU: the same seed gives the
    same order on every device.

    Between any two items `state()` is all that is needed to go on, given the chunks that have not come yet.
    """

    def __init__(
        self, chunks: Iterable[Float[Tensor, "n d_in"]], *, buffer: int, batch: int, generator: torch.Generator
    ) -> None:
        assert buffer >= 2 * batch, (buffer, batch)
        self._chunks = chunks
        self._buffer, self._batch, self._generator = buffer, batch, generator
        self._store: Tensor | None = None
        self._held = 0
        self._rest: Tensor | None = None
        """Of the chunk at hand, what is not in the buffer yet."""
        self._order: Tensor | None = None
        """The order of the rows in the buffer while its first `_leaving` leave; `_place` of them have."""
        self._leaving = self._place = 0
        self._ended = False
        """Whether all chunks have come, and the rest of the rows leaves."""

    def __iter__(self) -> Iterator[Float[Tensor, "batch d_in"] | int]:
        if self._order is not None:  # restored while rows were leaving
            yield from self._leave()
            if not self._ended:
                yield from self._take()
        if self._ended:
            return
        for chunk in self._chunks:
            self._rest = chunk
            yield from self._take()
        self._ended = True
        if self._held:
            self._draw(self._held)
            yield from self._leave()

    def state(self) -> dict[str, Any]:
        """Tensors and plain values by name: views of what is held, to be written before the iteration goes on."""
        spent = self._ended and self._place == self._leaving
        held, leaving, place = (0, 0, 0) if spent else (self._held, self._leaving, self._place)
        state: dict[str, Any] = {
            "held": held, "leaving": leaving, "place": place, "ended": self._ended,
            "generator": self._generator.get_state(),
        }  # fmt: skip
        if self._store is not None and self._rest is not None:
            state |= {"rows": self._store[:held], "rest": self._rest}
        if self._order is not None and not spent:
            state["order"] = self._order
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Become what gave `state`. To be called before the iteration begins."""
        self._held, self._leaving, self._place = state["held"], state["leaving"], state["place"]
        self._ended = state["ended"]
        self._generator.set_state(state["generator"].cpu())
        if "rows" in state:
            rows: Tensor = state["rows"]
            store = rows.new_empty(self._buffer, rows.shape[1])
            store[: self._held] = rows
            self._store = store
            self._rest = state["rest"].clone()
        if "order" in state:
            self._order = state["order"].clone()

    def _take(self) -> Iterator[Float[Tensor, "batch d_in"] | int]:
        """Put what is left of the chunk at hand into the buffer; what has to leave for it comes."""
        assert self._rest is not None
        if self._store is None:
            self._store = self._rest.new_empty(self._buffer, self._rest.shape[1])
        while len(self._rest):
            taken = min(len(self._rest), self._buffer - self._held)
            self._store[self._held : self._held + taken] = self._rest[:taken]
            self._held += taken
            self._rest = self._rest[taken:]
            if self._held == self._buffer:
                self._draw(self._buffer // 2 // self._batch * self._batch)
                yield from self._leave()
        yield self._held

    def _draw(self, leaving: int) -> None:
        assert self._store is not None
        self._order = torch.randperm(self._held, generator=self._generator).to(self._store.device)
        self._leaving, self._place = leaving, 0

    def _leave(self) -> Iterator[Float[Tensor, "batch d_in"]]:
        assert self._store is not None and self._order is not None
        mixed = self._store[self._order[: self._leaving]]
        while self._place < self._leaving:
            batch = mixed[self._place : self._place + self._batch]
            self._place += len(batch)
            yield batch
        self._store[: self._held - self._leaving] = self._store[self._order[self._leaving :]]
        self._held -= self._leaving
        self._order, self._leaving = None, 0

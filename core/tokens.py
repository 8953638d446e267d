"""Documents -> blocks of token ids, with the document and the place in it kept for every position.

Alone decides which positions count: on the others the SAE is not defined, so they are in no batch, no
statistic and no denominator, and steering leaves them be. Knows nothing of models beyond their `Tokenizer`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int32, Int64

from core.corpus import Document
from core.errors import UsageError
from core.options import TokensConfig

TEXTS_AT_ONCE = 64
"""Documents tokenised in one call, for speed."""


@runtime_checkable
class Tokenizer(Protocol):
    """What this module asks of a tokenizer."""

    @property
    def bos_id(self) -> int | None:
        """The id that begins a text; None where the model has none."""
        ...

    @property
    def pad_id(self) -> int:
        """The id that fills a block; its position never counts, so any valid id will do."""
        ...

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids that stand for no text."""
        ...

    def encode(self, texts: list[str]) -> list[list[int]]:
        """The ids of each text, without any special token added."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One row for the model, with what is known of each position."""

    ids: Int64[np.ndarray, " t"]
    doc: Int32[np.ndarray, " t"]
    """Number of the document among those drawn, from 0, those without a token included; -1 on padding."""
    doc_pos: Int32[np.ndarray, " t"]
    """The token's position in its document, from 0; -1 on padding and on a BOS put in here."""
    counted: Bool[np.ndarray, " t"]
    """False where the SAE is not defined."""


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Blocks of one length as the rows of a batch; the fields are those of Block."""

    ids: Int64[np.ndarray, "b t"]
    doc: Int32[np.ndarray, "b t"]
    doc_pos: Int32[np.ndarray, "b t"]
    counted: Bool[np.ndarray, "b t"]


def blocks(documents: Iterable[Document], tokenizer: Tokenizer, config: TokensConfig) -> Iterator[Block]:
    """Blocks of `config.context` positions that hold every token of every document once, in order.

    With BOS, every document and every block begins with it (one where both begin). `packed` runs documents
    on across blocks and pads only the very last block; `per_document` pads the last block of each.
    Documents are drawn up to 64 ahead of the blocks they are in.
    """
    nothing = np.empty((4, 0), dtype=np.int64)
    begun = nothing
    for doc, ids in _encoded(documents, tokenizer):
        led = _led(_stream(doc, ids, tokenizer, config), doc, tokenizer, config)
        stream = np.concatenate([begun, led], axis=1)
        pieces = list(_pieces(stream, tokenizer, config))
        unfinished = config.packing == "packed" and pieces[-1].shape[1] < config.context
        begun = pieces.pop() if unfinished else nothing
        for piece in pieces:
            yield _block(piece, config.context, tokenizer, config)
    if begun.shape[1]:
        yield _block(begun, config.context, tokenizer, config)


def prompt_block(text: str, tokenizer: Tokenizer, config: TokensConfig) -> Block:
    """One row of any length, not padded, begun with BOS as blocks are. Raises UsageError if empty."""
    # What a shell passes on may hold broken bytes, which no tokenizer takes.
    [ids] = tokenizer.encode([text.encode("utf-8", "replace").decode("utf-8")])
    stream = _led(_stream(0, ids, tokenizer, config), 0, tokenizer, config)
    if not stream.shape[1]:
        raise UsageError("the text has no token", hint="give at least a word")
    return _block(stream, stream.shape[1], tokenizer, config)


def whole_block(ids: Sequence[int], tokenizer: Tokenizer, config: TokensConfig) -> Block:
    """`prompt_block` of ids that are all there is: those of a chat template, which puts a BOS where it wants one."""
    return _block(_stream(0, ids, tokenizer, config), len(ids), tokenizer, config)


def stacked(blocks: Iterable[Block], n: int) -> Iterator[Blocks]:
    """Batches of `n` blocks, which are of one length; the last batch may be smaller."""
    remaining = iter(blocks)
    while rows := list(islice(remaining, n)):
        yield Blocks(
            ids=np.stack([r.ids for r in rows]),
            doc=np.stack([r.doc for r in rows]),
            doc_pos=np.stack([r.doc_pos for r in rows]),
            counted=np.stack([r.counted for r in rows]),
        )


def _encoded(documents: Iterable[Document], tokenizer: Tokenizer) -> Iterator[tuple[int, list[int]]]:
    """The documents that have a token, with their numbers."""
    remaining = enumerate(documents)
    while drawn := list(islice(remaining, TEXTS_AT_ONCE)):
        encoded = tokenizer.encode([document.text for _, document in drawn])
        yield from ((doc, ids) for (doc, _), ids in zip(drawn, encoded, strict=True) if ids)


def _stream(doc: int, ids: Sequence[int], tokenizer: Tokenizer, config: TokensConfig) -> Int64[np.ndarray, "4 n"]:
    """A document as rows of ids, doc, doc_pos, and 1 where skip_special leaves it counted."""
    stream = np.empty((4, len(ids)), dtype=np.int64)
    stream[0] = ids
    stream[1] = doc
    stream[2] = np.arange(len(ids))
    stream[3] = ~np.isin(stream[0], list(tokenizer.special_ids)) if config.skip_special else 1
    return stream


def _led(
    stream: Int64[np.ndarray, "4 n"], doc: int, tokenizer: Tokenizer, config: TokensConfig
) -> Int64[np.ndarray, "4 m"]:
    """The stream with BOS before it, where the configuration asks for one and the tokenizer has one."""
    if not config.prepend_bos or tokenizer.bos_id is None:
        return stream
    bos = np.array([[tokenizer.bos_id], [doc], [-1], [not config.skip_special]], dtype=np.int64)
    return np.concatenate([bos, stream], axis=1)


def _pieces(
    stream: Int64[np.ndarray, "4 n"], tokenizer: Tokenizer, config: TokensConfig
) -> Iterator[Int64[np.ndarray, "4 k"]]:
    """The stream in pieces of `config.context` positions, each begun with BOS; the last may be shorter.

    A piece that is cut again, with more behind it, keeps the BOS it has.
    """
    start = 0
    while start < stream.shape[1]:
        piece = stream[:, start : start + config.context]
        if piece[2, 0] >= 0:
            led = _led(piece, int(piece[1, 0]), tokenizer, config)
            start -= led.shape[1] - piece.shape[1]
            piece = led[:, : config.context]
        yield piece
        start += config.context


def _block(piece: Int64[np.ndarray, "4 k"], length: int, tokenizer: Tokenizer, config: TokensConfig) -> Block:
    """A piece padded to `length`, in arrays of its own, so that a kept block keeps no other alive."""
    held = piece.shape[1]
    ids = np.full(length, tokenizer.pad_id, dtype=np.int64)
    doc = np.full(length, -1, dtype=np.int32)
    doc_pos = np.full(length, -1, dtype=np.int32)
    counted = np.zeros(length, dtype=np.bool_)
    ids[:held], doc[:held], doc_pos[:held], counted[:held] = piece
    if config.skip_first:
        counted[0] = False
    return Block(ids=ids, doc=doc, doc_pos=doc_pos, counted=counted)

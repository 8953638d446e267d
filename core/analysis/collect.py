"""Model and SAE -> what the feature database is built from, as Parquet files in the session's `activations/`.

    codes-NNNN       feature, token_idx, value                           the positive entries of the code
    tokens-NNNN      token_idx, doc, doc_pos, block, block_pos, token_id, counted
    documents        doc, category, source, digest                       all that were drawn
    weights          feature, decoder_norm, encoder_norm, bias, threshold
    logits           feature, sign, rank, token_id, value                what decoder directions do to the logits
    neighbours       feature, rank, other, cosine                        decoder directions that are alike
    vocabulary       token_id, text                                      of every id above

Alone joins torch and the analysis; computes no statistic. Codes and tokens are streamed in shards, so memory is that of
one batch and one shard.
"""

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from torch import Tensor

from core import tokens
from core.config import RunConfig
from core.corpus import Document
from core.errors import ConfigError, CorpusError, ModelError, RunError
from core.models.language import LanguageModel
from core.options import AnalysisConfig
from core.records import Notice, Progress
from core.sae.base import SAE
from core.session import Session
from core.tokens import Blocks

SHARD_ROWS = 2**21
ELEMENTS = 2**26
"""Elements of the largest temporary matrix, in rows × features or rows × vocabulary: 256 MB."""
MOST_TOKENS = 2**30
"""Positions are signed 32-bit numbers in the database, so that differences of them work in a query."""
BYTES_PER_ACTIVATION = 32
"""Disk for shard, sorting and database together."""

CODES = pa.schema({"feature": pa.int32(), "token_idx": pa.int32(), "value": pa.float32()})
TOKENS = pa.schema({
    "token_idx": pa.int32(), "doc": pa.int32(), "doc_pos": pa.int32(), "block": pa.int32(),
    "block_pos": pa.int32(), "token_id": pa.int32(), "counted": pa.bool_(),
})  # fmt: skip
DOCUMENTS = pa.schema({
    "doc": pa.int32(), "category": pa.string(), "source": pa.string(), "digest": pa.string(),
})  # fmt: skip
WEIGHTS = pa.schema({
    "feature": pa.int32(), "decoder_norm": pa.float32(), "encoder_norm": pa.float32(), "bias": pa.float32(),
    "threshold": pa.float32(),
})  # fmt: skip
LOGITS = pa.schema({
    "feature": pa.int32(), "sign": pa.int8(), "rank": pa.int32(), "token_id": pa.int32(), "value": pa.float32(),
})  # fmt: skip
NEIGHBOURS = pa.schema({
    "feature": pa.int32(), "rank": pa.int32(), "other": pa.int32(), "cosine": pa.float32(),
})  # fmt: skip
VOCABULARY = pa.schema({"token_id": pa.int32(), "text": pa.string()})


def run(
    model: LanguageModel, sae: SAE, documents: Iterable[Document], session: Session, config: RunConfig
) -> Iterator[Progress | Notice]:
    """Write everything `build` needs from `config.analysis.activations` counted tokens of `documents`.

    What an earlier analysis left in `activations/` is deleted first; what this one wrote, if it does not end well.
    Raises CorpusError (no token that counts), ModelError (activations that are no numbers), RunError (a full disk).
    """
    budget = config.analysis.activations
    if budget > MOST_TOKENS:
        raise ConfigError(f"analysis.activations = {budget:,} is too many", hint=f"at most {MOST_TOKENS:,}")
    shutil.rmtree(session.activations_dir, ignore_errors=True)
    session.activations_dir.mkdir(parents=True)
    drawn: list[tuple[str, str, str]] = []
    blocks = tokens.blocks(_noted(documents, drawn), model.tokens, config.tokens)
    batches = tokens.stacked(blocks, config.training.model_batch_blocks)
    try:
        read = yield from collect(model, sae, batches, budget=budget, session=session)
        if read == 0:
            raise CorpusError("there is not one token to analyse", hint="name a larger corpus")
        if read < budget:
            yield Notice(message=f"the corpus ended after {read:,} tokens; analysis.activations was {budget:,}")
        columns = [pa.array(c, pa.string()) for c in zip(*drawn, strict=True)]
        _write(session, "documents", DOCUMENTS, [np.arange(len(drawn)), *columns])
        yield from directions(model, sae, session, config.analysis)
        yield Progress(phase="spelling out the tokens")
        _write_vocabulary(model, session)
    except BaseException:
        shutil.rmtree(session.activations_dir, ignore_errors=True)
        raise


@torch.no_grad()
def collect(
    model: LanguageModel, sae: SAE, blocks: Iterable[Blocks], *, budget: int, session: Session
) -> Iterator[Progress]:
    """Write the codes and tokens of `blocks` up to the `budget`th counted token; returns how many there were.

    Raises ModelError where an activation is not a number, RunError where the disk will not hold the rest.
    """
    codes = _Shards(session.activations_dir, "codes", CODES)
    positions = _Shards(session.activations_dir, "tokens", TOKENS)
    step = max(1, ELEMENTS // sae.d_sae)
    read = next_token = next_block = 0
    for batch in blocks:
        kept, counted = _within(batch, budget - read)
        rows = int(kept.any(axis=1).sum())
        token_idx = np.cumsum(kept).reshape(kept.shape) - 1 + next_token
        block, block_pos = np.nonzero(kept)
        positions.add(
            token_idx[kept],
            batch.doc[kept],
            pa.array(batch.doc_pos[kept], mask=batch.doc_pos[kept] < 0),
            block + next_block,
            block_pos,
            batch.ids[kept],
            counted[kept],
        )
        ids = torch.from_numpy(batch.ids[:rows]).to(model.device)
        x = model.activations(ids)[torch.from_numpy(counted[:rows]).to(model.device)]
        if not torch.isfinite(x).all():
            raise ModelError(
                f"{model.name} has activations at {model.hook} that are not numbers", hint="try model.dtype = 'float32'"
            )
        places = token_idx[counted]
        for first in range(0, len(x), step):
            row, feature, value = (t.cpu().numpy() for t in sae.encode_sparse(x[first : first + step]))
            codes.add(feature, places[first + row], value)
        read += len(x)
        next_token += int(kept.sum())
        next_block += rows
        yield Progress(phase="reading activations", done=read, total=budget, unit="tokens")
        if read >= budget:
            break
        if read:
            _check_disk(session.path, codes.rows / read * (budget - read))
    positions.flush()
    codes.flush()
    return read


@torch.no_grad()
def directions(model: LanguageModel, sae: SAE, session: Session, config: AnalysisConfig) -> Iterator[Progress | Notice]:
    """Write what the weights alone say: norms, logit effects, nearest neighbours.

    Where the hook point is not in the residual stream there are no logit effects, and a Notice says so.
    """
    rows = sae.W_dec.detach().float()
    norms = rows.norm(dim=1)
    _write(session, "weights", WEIGHTS, [
        np.arange(sae.d_sae), _numpy(norms), _numpy(sae.W_enc.norm(dim=0)), _numpy(sae.b_enc),
        pa.nulls(sae.d_sae, pa.float32()),
    ])  # fmt: skip
    parts: list[list[np.ndarray]] = []
    step = max(1, ELEMENTS // model.n_vocab)
    try:
        for first in range(0, sae.d_sae, step):
            yield Progress(phase="decoding features to logits", done=first, total=sae.d_sae, unit="features")
            logits = model.unembed(rows[first : first + step])
            for sign in (1, -1):
                top = (sign * logits).topk(min(config.top_tokens, logits.shape[1]), dim=1)
                feature, rank = np.indices(top.indices.shape).reshape(2, -1)
                parts.append([
                    first + feature, np.full(len(rank), sign), rank, _numpy(top.indices).ravel(),
                    sign * _numpy(top.values).ravel(),
                ])  # fmt: skip
    except ModelError as error:
        yield Notice(message=f"no logit effects: {error.message}")
    _write(session, "logits", LOGITS, _joined(parts, LOGITS))
    unit = rows / norms.clamp_min(torch.finfo(torch.float32).tiny).unsqueeze(1)
    parts = []
    step = max(1, ELEMENTS // sae.d_sae)
    for first in range(0, sae.d_sae, step):
        yield Progress(phase="comparing decoder directions", done=first, total=sae.d_sae, unit="features")
        top = _nearest(unit, first, step, config.neighbours)
        feature, rank = np.indices(top.indices.shape).reshape(2, -1)
        parts.append([first + feature, rank, _numpy(top.indices).ravel(), _numpy(top.values).ravel()])
    _write(session, "neighbours", NEIGHBOURS, _joined(parts, NEIGHBOURS))


class _Shards:
    """Columns gathered in memory and written as NAME-0000.parquet, NAME-0001.parquet and so on."""

    def __init__(self, folder: Path, name: str, schema: pa.Schema) -> None:
        self.folder, self.name, self.schema = folder, name, schema
        self.rows = 0
        """All that were added."""
        self._held: list[pa.RecordBatch] = []
        self._held_rows = self._written = 0

    def add(self, *columns: np.ndarray | pa.Array) -> None:
        """Rows, in the order of the schema's columns."""
        batch = _record_batch(columns, self.schema)
        self._held.append(batch)
        self._held_rows += batch.num_rows
        self.rows += batch.num_rows
        if self._held_rows >= SHARD_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what is held; the first shard even if it is empty, so that there is one to read."""
        if self._held_rows or not self._written:
            path = self.folder / f"{self.name}-{self._written:04}.parquet"
            _write_table(pa.Table.from_batches(self._held, self.schema), path)
            self._written += 1
        self._held, self._held_rows = [], 0


def _noted(documents: Iterable[Document], drawn: list[tuple[str, str, str]]) -> Iterator[Document]:
    """The documents, with category, source and a digest of each added to `drawn` as it is drawn."""
    for document in documents:
        digest = hashlib.blake2b(document.text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        # a file's name may hold bytes that are no text
        category, source = (s.encode("utf-8", "replace").decode() for s in (document.category, document.source))
        drawn.append((category, source, digest))
        yield document


def _within(batch: Blocks, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Which positions `[b t]` of a batch to keep, padding left out, and which of them count: `budget` at most."""
    kept, counted = batch.doc >= 0, batch.counted & (batch.doc >= 0)
    places = np.flatnonzero(counted)
    if len(places) > budget:
        kept.ravel()[places[budget - 1] + 1 :] = False
        counted &= kept
    return kept, counted


def _check_disk(folder: Path, activations: float) -> None:
    """Raise RunError where the activations still to come will not fit on the disk."""
    needed, free = activations * BYTES_PER_ACTIVATION, shutil.disk_usage(folder).free
    if needed > free:
        raise RunError(
            f"the rest of the analysis needs about {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free",
            hint=f"lower analysis.activations, or make room where {folder} is",
        )


def _nearest(unit: Float[Tensor, "f d_in"], first: int, n: int, k: int) -> torch.return_types.topk:
    """The `k` largest cosines, and whose they are, of rows `first` to `first + n` with all others."""
    cosines = unit[first : first + n] @ unit.T
    own = torch.arange(len(cosines), device=unit.device)
    cosines[own, first + own] = -torch.inf
    return cosines.topk(min(k, len(unit) - 1), dim=1)


def _write_vocabulary(model: LanguageModel, session: Session) -> None:
    """The text of every token id that the other files hold."""
    files = chain(session.activations_dir.glob("tokens-*.parquet"), session.activations_dir.glob("logits.parquet"))
    found = [np.unique(pq.read_table(f, columns=["token_id"])["token_id"].to_numpy()) for f in files]
    ids = np.unique(np.concatenate(found))
    texts = [model.tokens.text(int(i)) for i in ids]
    _write(session, "vocabulary", VOCABULARY, [ids, pa.array(texts, pa.string())])


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def _joined(parts: list[list[np.ndarray]], schema: pa.Schema) -> list[np.ndarray]:
    """Columns from columns in parts; empty ones where there is no part."""
    return [np.concatenate(column) for column in zip(*parts, strict=True)] or [np.empty(0) for _ in schema]


def _record_batch(columns: Sequence[np.ndarray | pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        pa.array(column.astype(field.type.to_pandas_dtype()))
        if isinstance(column, np.ndarray)
        else column.cast(field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.record_batch(arrays, schema=schema)


def _write(session: Session, name: str, schema: pa.Schema, columns: Sequence[np.ndarray | pa.Array]) -> None:
    table = pa.Table.from_batches([_record_batch(columns, schema)])
    _write_table(table, session.activations_dir / f"{name}.parquet")


def _write_table(table: pa.Table, path: Path) -> None:
    """zstd halves the bytes at no cost in time; dictionaries and statistics gain nothing here."""
    try:
        pq.write_table(table, path, compression="zstd", use_dictionary=False, write_statistics=False)
    except OSError as error:
        raise RunError(f"cannot write {path}", hint=str(error)) from error

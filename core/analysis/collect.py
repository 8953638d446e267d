"""Model and SAE -> what the feature database is built from: the Parquet files of `shards`.

Alone joins torch and the analysis. Codes and tokens are streamed in shards, so memory is that of one batch and one
shard. After each, each minute and when it is stopped it is written how far reading has come: there an analysis that
was stopped or killed goes on.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from core import activations, tokens
from core.analysis import coactivations, directions, shards, structure
from core.analysis.correlations import Correlations
from core.config import RunConfig
from core.corpus import Document
from core.errors import ConfigError, CorpusError, ModelError, RunError
from core.models.load import Model
from core.records import Notice, Progress
from core.sae.base import SAE
from core.session import Session
from core.storage import read_json, replace_file
from core.tokens import Blocks

SHARD_ROWS = 2**21
SHARD_S = 60.0
"""A shard is written after this time, full or not: no more than this is read again after a kill."""
ELEMENTS = 2**26
"""Elements of the largest temporary matrix, in rows × features: 256 MB."""
MOST_TOKENS = 2**30
"""Positions are signed 32-bit numbers in the database, so that differences of them work in a query."""
BYTES_PER_ACTIVATION = 32
"""Disk for shard, sorting and database together."""
PLACE = "place.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far reading has come: all of it lies in shards."""

    key: str
    """Of what was to be read, with what."""
    read: int = 0
    """Counted tokens."""
    next_token: int = 0
    next_block: int = 0
    batches: int = 0
    shards: int = 0
    drawn: str = ""
    """A digest of the documents that were drawn."""
    complete: bool = False


def run(
    model: Model, sae: SAE, documents: Callable[[], Iterable[Document]], session: Session, config: RunConfig
) -> Iterator[Progress | Notice]:
    """Write everything `build` needs from `config.analysis.activations` counted tokens of `documents`.

    It goes on where an earlier one with the same model, SAE, text and budget ended; what another left is deleted.
    Raises CorpusError (no token that counts), ModelError (activations that are no numbers), RunError (a full disk).
    """
    budget, folder = config.analysis.activations, session.activations_dir
    if budget > MOST_TOKENS:
        raise ConfigError(f"analysis.activations = {budget:,} is too many", hint=f"at most {MOST_TOKENS:,}")
    place, drawn = _begun(folder, _key(sae, config)), list[tuple[str, str, str]]()

    def batches() -> Iterator[Blocks]:
        drawn.clear()
        blocks = activations.blocks(model, _noted(documents(), drawn), config.tokens)
        return tokens.stacked(blocks, config.training.model_batch_blocks)

    if not place.complete:
        remaining = batches()
        if place.batches:
            yield Progress(phase="finding the place in the text")
            for _ in islice(remaining, place.batches):
                pass
            if _digest(drawn) != place.drawn:
                yield Notice(message="the text has changed since this analysis began: it begins anew")
                place, remaining = _fresh(folder, place.key), batches()
            else:
                yield Notice(message=f"it goes on after {place.read:,} tokens")
        place = yield from collect(model, sae, remaining, drawn, budget=budget, folder=folder, place=place)
        if place.read == 0:
            shutil.rmtree(folder)
            raise CorpusError("there is not one token to analyse", hint="name a larger corpus")
        columns = [pa.array(c, pa.string()) for c in zip(*drawn, strict=True)]
        shards.write(folder, "documents", [np.arange(len(drawn)), *columns])
        place = replace(place, complete=True)
        _keep(folder, place)
    if place.read < budget:
        yield Notice(message=f"the corpus ended after {place.read:,} tokens; analysis.activations was {budget:,}")
    _correlations(folder, sae, place).write(folder, config.analysis.neurons)
    yield from directions.write(model, sae, folder, config.analysis)
    yield from structure.write(sae.W_dec.detach().float().cpu().numpy(), folder, config)
    yield from coactivations.write(folder, sae.d_sae, place.read, config.analysis.coactivations)
    yield Progress(phase="spelling out the tokens")
    _write_vocabulary(model, folder)


@torch.no_grad()
def collect(
    model: Model, sae: SAE, batches: Iterable[Blocks], drawn: list[tuple[str, str, str]], *, budget: int,
    folder: Path, place: Place,
) -> Iterator[Progress]:  # fmt: skip
    """Write the codes and tokens of `batches` from `place` up to the `budget`th counted token; returns the new place.

    Closing the generator keeps what was read.
    Raises ModelError where an activation is not a number, RunError where the disk will not hold the rest.
    """
    codes = shards.Shards(folder, "codes", written=place.shards)
    positions = shards.Shards(folder, "tokens", written=place.shards)
    sums = _correlations(folder, sae, place)
    step = max(1, ELEMENTS // sae.d_sae)
    entries = 0
    begun_at, written_at = place.read, time.monotonic()
    for batch in batches:
        kept, counted = _within(batch, budget - place.read)
        rows = int(kept.any(axis=1).sum())
        token_idx = np.cumsum(kept).reshape(kept.shape) - 1 + place.next_token
        block, block_pos = np.nonzero(kept)
        positions.add(
            token_idx[kept],
            batch.doc[kept],
            pa.array(batch.doc_pos[kept], mask=batch.doc_pos[kept] < 0),
            block + place.next_block,
            block_pos,
            model.token_ids(batch.ids[kept]),
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
            found = sae.encode_sparse(x[first : first + step])
            sums.add(x[first : first + step], found)
            row, feature, value = (t.cpu().numpy() for t in found)
            codes.add(feature, places[first + row], value)
            entries += len(row)
        place = replace(
            place, read=place.read + len(x), next_token=place.next_token + int(kept.sum()),
            next_block=place.next_block + rows, batches=place.batches + 1,
        )  # fmt: skip
        try:
            yield Progress(phase="reading activations", done=place.read, total=budget, unit="tokens")
        except GeneratorExit:
            _flushed(folder, place, codes, positions, sums, drawn)
            raise
        if place.read >= budget:
            break
        if max(codes.held_rows, positions.held_rows) >= SHARD_ROWS or time.monotonic() - written_at >= SHARD_S:
            place, written_at = _flushed(folder, place, codes, positions, sums, drawn), time.monotonic()
        if place.read > begun_at:
            _check_disk(folder, entries / (place.read - begun_at) * (budget - place.read))
    return _flushed(folder, place, codes, positions, sums, drawn)


def _flushed(
    folder: Path, place: Place, codes: shards.Shards, positions: shards.Shards, sums: Correlations,
    drawn: list[tuple[str, str, str]],
) -> Place:  # fmt: skip
    """Put on disk what was read; it counts from the moment that its place is written."""
    codes.flush()
    positions.flush()
    place = replace(place, shards=codes.written, drawn=_digest(drawn))
    sums.save(folder, place.shards)
    _keep(folder, place)
    sums.forget(folder, place.shards - 1)
    return place


def _begun(folder: Path, key: str) -> Place:
    """Where an analysis with this key ended; without one the folder is emptied."""
    values = read_json(folder / PLACE)
    if values.get("key") != key:
        return _fresh(folder, key)
    place = Place(**values)
    for name in ("codes", "tokens"):  # those begun after the place was written are read again
        for path in sorted(folder.glob(f"{name}-*.parquet"))[place.shards :]:
            path.unlink()
    return place


def _fresh(folder: Path, key: str) -> Place:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return Place(key=key)


def _keep(folder: Path, place: Place) -> None:
    replace_file(folder / PLACE, json.dumps(asdict(place)))


def _key(sae: SAE, config: RunConfig) -> str:
    """A digest of all that the codes depend on, but for the text itself."""
    parts = {name: getattr(config, name).model_dump() for name in ("model", "corpus", "tokens")}
    parts |= {
        "seed": config.seed, "activations": config.analysis.activations, "rows": config.training.model_batch_blocks,
    }  # fmt: skip
    digest = hashlib.blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=16)
    for name, tensor in sorted(sae.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def _digest(drawn: list[tuple[str, str, str]]) -> str:
    return hashlib.blake2b("\n".join("\t".join(one) for one in drawn).encode(), digest_size=16).hexdigest()


def _correlations(folder: Path, sae: SAE, place: Place) -> Correlations:
    """What has been summed up so far."""
    sums = Correlations(sae.d_sae, sae.d_in, sae.W_dec.device)
    if place.shards:
        sums.load(folder, place.shards)
    return sums


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
            hint=f"lower analysis.activations, or make room where {folder.parent} is and analyse again: it goes on "
            "where it ended",
        )


def _write_vocabulary(model: Model, folder: Path) -> None:
    """The text of every token id that the other files hold."""
    files = chain(folder.glob("tokens-*.parquet"), folder.glob("logits.parquet"))
    found = [np.unique(pq.read_table(f, columns=["token_id"])["token_id"].to_numpy()) for f in files]
    ids = np.unique(np.concatenate(found))
    shards.write(folder, "vocabulary", [ids, pa.array([model.tokens.text(int(i)) for i in ids], pa.string())])

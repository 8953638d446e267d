"""The Parquet files between model and database, in a session's `activations/`: their columns, and how they are written.

    codes-NNNN       feature, token_idx, value                           the positive entries of the code
    tokens-NNNN      token_idx, doc, doc_pos, block, block_pos, token_id, counted
    documents        doc, category, source, digest                       all that were drawn
    vocabulary       token_id, text                                      of every id in the other files
    weights          feature, decoder_norm, encoder_norm, encoder_cosine, bias, threshold
    logits           feature, sign, rank, token_id, value                what decoder directions do to the logits
    logit_histogram  feature, bin, lo, hi, n                             and how that is spread over the vocabulary
    neighbours       feature, rank, other, cosine                        decoder directions that are alike
    alignment        feature, rank, neuron, weight, share                the largest entries of decoder directions
    correlations     feature, rank, neuron, pearson, cosine              activations that go with a feature
    coactivations    feature, rank, other, n, jaccard, pmi, pearson      features that fire together
    structure        feature, cluster, x, y                              decoder directions in clusters and on a map
    clusters         cluster, parent, height, n, x, y
    images           doc, image, label, predicted, pixels                of an image model alone, as the next three
    patterns         feature, y, x, value
    snapshot_images  step, feature, doc, value, pattern
    effects          feature, class, switched_on, ablated

Knows no torch and no DuckDB; computes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import RunError


def _schema(integers: str, floats: str = "", **others: pa.DataType) -> pa.Schema:
    fields = [(name, pa.int32()) for name in integers.split()] + [(name, pa.float32()) for name in floats.split()]
    return pa.schema([*fields, *others.items()])


SCHEMAS: Mapping[str, pa.Schema] = {
    "codes": _schema("feature token_idx", "value"),
    "tokens": _schema("token_idx doc doc_pos block block_pos token_id", counted=pa.bool_()),
    "documents": _schema("doc", category=pa.string(), source=pa.string(), digest=pa.string()),
    "vocabulary": _schema("token_id", text=pa.string()),
    "weights": _schema("feature", "decoder_norm encoder_norm encoder_cosine bias threshold"),
    "logits": _schema("feature sign rank token_id", "value"),
    "logit_histogram": _schema("feature bin", "lo hi", n=pa.int32()),
    "neighbours": _schema("feature rank other", "cosine"),
    "alignment": _schema("feature rank neuron", "weight share"),
    "correlations": _schema("feature rank neuron", "pearson cosine"),
    "coactivations": _schema("feature rank other n", "jaccard pmi pearson"),
    "structure": _schema("feature cluster", "x y"),
    "clusters": _schema("cluster parent n", "height x y"),
    "images": _schema("doc image label predicted", pixels=pa.binary()),
    "patterns": _schema("feature y x", "value"),
    "snapshot_images": _schema("step feature doc", "value", pattern=pa.list_(pa.float32())),
    "effects": _schema("feature class", "switched_on ablated"),
}


class Shards:
    """Rows gathered in memory and written as NAME-0000.parquet, NAME-0001.parquet and so on."""

    def __init__(self, folder: Path, name: str, *, written: int = 0) -> None:
        """`written`: as many shards are there already, and stay."""
        self.folder, self.name, self.written = folder, name, written
        self.held_rows = 0
        self._held: list[pa.RecordBatch] = []

    def add(self, *columns: np.ndarray | pa.Array) -> None:
        """Rows, in the order of the schema's columns."""
        batch = _record_batch(columns, SCHEMAS[self.name])
        self._held.append(batch)
        self.held_rows += batch.num_rows

    def flush(self) -> None:
        """Write what is held as one shard, even if it is empty."""
        path = self.folder / f"{self.name}-{self.written:04}.parquet"
        _write_table(pa.Table.from_batches(self._held, SCHEMAS[self.name]), path)
        self.written += 1
        self._held, self.held_rows = [], 0


def write(folder: Path, name: str, columns: Sequence[np.ndarray | pa.Array]) -> None:
    """One file, its columns in the order of the schema. Raises RunError where the disk does not take it."""
    schema = SCHEMAS[name]
    _write_table(pa.Table.from_batches([_record_batch(columns, schema)], schema), folder / f"{name}.parquet")


def write_parts(folder: Path, name: str, parts: Sequence[Sequence[np.ndarray]]) -> None:
    """As `write`, of columns in parts; a file without a row where there is no part."""
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    write(folder, name, joined or [np.empty(0) for _ in SCHEMAS[name]])


def ranked(first: int, *tables: np.ndarray) -> list[np.ndarray]:
    """Columns feature, rank and one of each table `[f k]`, row by row; the first row is that of feature `first`."""
    feature, rank = np.indices(tables[0].shape).reshape(2, -1)
    return [first + feature, rank, *(table.ravel() for table in tables)]


def each(folder: Path, name: str) -> Iterator[dict[str, np.ndarray]]:
    """The shards of a name in order, each as columns."""
    for path in sorted(folder.glob(f"{name}-*.parquet")):
        table = pq.read_table(path)
        yield {column: table[column].to_numpy() for column in table.column_names}


def rows(folder: Path, name: str) -> int:
    """How many rows the shards of a name have together."""
    return sum(pq.read_metadata(path).num_rows for path in folder.glob(f"{name}-*.parquet"))


def _record_batch(columns: Sequence[np.ndarray | pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        pa.array(column.astype(field.type.to_pandas_dtype()))
        if isinstance(column, np.ndarray)
        else column.cast(field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.record_batch(arrays, schema=schema)


def _write_table(table: pa.Table, path: Path) -> None:
    """zstd halves the bytes at no cost in time; dictionaries and statistics gain nothing here."""
    try:
        pq.write_table(table, path, compression="zstd", use_dictionary=False, write_statistics=False)
    except OSError as error:
        raise RunError(f"cannot write {path}", hint=str(error)) from error

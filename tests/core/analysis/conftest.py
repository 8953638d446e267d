"""A small analysis made of random numbers: its Parquet shards, and the same numbers for a naive count."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.analysis import build, coactivations
from core.options import AnalysisConfig
from core.session import Session

N_FEATURES, N_BLOCKS, CONTEXT, N_IDS = 12, 14, 8, 6
SILENT, ONCE, EQUAL, ALWAYS, ALIKE = 0, 1, 2, 3, 4
"""Features that never fire, fire once, fire with one value, fire on every counted token; and one with a duplicate."""
CLUSTERS = np.array([0] * 6 + [1] * 4 + [2] * 2)
"""Of each feature. 0 and 1 are joined as 3, and that with 2 as 4."""
MIDDLES = np.array([2.5, 7.5, 10.5, 4.5, 5.5])
"""Of the numbers of the features in each cluster and pair: the map has feature f at (f/2, -f/2)."""


@dataclass(frozen=True)
class Case:
    """A session whose shards are written, and what is in them."""

    session: Session
    code: np.ndarray
    """[token feature], float32, 0 where silent."""
    token_id: np.ndarray
    doc: np.ndarray
    doc_pos: np.ndarray
    block: np.ndarray
    counted: np.ndarray
    categories: list[str]

    def build(self, **settings: object) -> AnalysisConfig:
        """Build the database and return the configuration it was built with."""
        config = AnalysisConfig.model_validate({"keep_activations": True, **settings})
        for _ in build.build(self.session, {"model": "none"}, config):
            pass
        return config


@pytest.fixture
def make_case(tmp_path: Path) -> Callable[..., Case]:
    """Writes a case's shards: `make_case(seed, name=..., categories=...)`."""

    def made(seed: int = 0, *, name: str = "toy", categories: bool = True, **shape: Any) -> Case:
        # a folder that would be a pattern to DuckDB, were it not escaped
        return random_case(Session(tmp_path / "it's [a]*" / name), seed, categories, **shape)

    return made


@pytest.fixture
def case(make_case: Callable[..., Case]) -> Case:
    """The case of seed 0, with its database built."""
    made = make_case()
    made.build()
    return made


def random_case(
    session: Session, seed: int, categories: bool, *, turned: bool = False, halved: bool = False, digests: str = "",
    dead: bool = False,
) -> Case:  # fmt: skip
    """Blocks that begin with a BOS which does not count, documents that run across them, a random code.

    `turned`: with the features the other way round, and noise. `halved`: of the same documents, each token as long as
    two of the others. `digests`: what those of documents begin with. `dead`: no feature fires.
    """
    rng = np.random.default_rng(seed)
    n = N_BLOCKS * CONTEXT
    token_idx = np.arange(n)
    block, block_pos = token_idx // CONTEXT, token_idx % CONTEXT
    counted = block_pos > 0
    doc = np.cumsum((rng.random(n) < 0.1) & counted) * 2  # a document without a token in between
    doc_pos = np.full(n, -1)
    for d in np.unique(doc):
        places = np.flatnonzero((doc == d) & counted)
        doc_pos[places] = np.arange(len(places))
    token_id = np.where(counted, rng.integers(1, N_IDS, n), 0)
    code = np.where(
        rng.random((n, N_FEATURES)) < rng.uniform(0.05, 0.9, N_FEATURES), rng.gamma(2, 3, (n, N_FEATURES)), 0
    )
    code[:, 5] = np.round(code[:, 5])  # ties
    code[:, SILENT] = 0
    code[:, ONCE] = 0
    code[rng.choice(np.flatnonzero(counted)), ONCE] = 2.5
    code[:, EQUAL] = np.where(code[:, EQUAL] > 0, 1.25, 0)
    code[:, ALWAYS] = rng.gamma(2, 3, n) + 0.1
    if turned:
        code = code[:, ::-1] * rng.uniform(0.7, 1.3, code.shape)
    code = (code * counted[:, None] * (not dead)).astype(np.float32)
    if halved:
        kept = ~counted | (doc_pos % 2 == 0)
        token_id, doc, doc_pos, counted, code = (column[kept] for column in (token_id, doc, doc_pos, counted, code))
        block, block_pos, doc_pos = block[kept], block_pos[kept], np.where(doc_pos < 0, -1, doc_pos // 2)
        token_idx = np.arange(len(doc))
    names = [["animals", "rivers", "code"][d % 3] if categories else "" for d in range(doc.max() + 1)]
    folder = session.activations_dir
    folder.mkdir(parents=True, exist_ok=True)  # hypothesis comes back to a case
    rows, features = np.nonzero(code)
    halves = np.array_split(np.arange(len(rows)), 2)
    for i, half in enumerate(halves):
        columns = {"feature": features[half], "token_idx": rows[half], "value": code[rows, features][half]}
        write(folder / f"codes-{i:04}.parquet", columns)
    write(folder / "tokens-0000.parquet", {
        "token_idx": token_idx, "doc": doc, "doc_pos": pa.array(doc_pos.astype(np.int32), mask=doc_pos < 0),
        "block": block, "block_pos": block_pos, "token_id": token_id, "counted": counted,
    })  # fmt: skip
    d = range(len(names))
    write(folder / "documents.parquet", {
        "doc": np.array(d), "category": names, "source": [f"file{i}" for i in d],
        "digest": [f"{digests}{i:016x}" for i in d],
    })  # fmt: skip
    texts = [f" t{i}" + "/tt" * halved for i in range(N_IDS)]
    write(folder / "vocabulary.parquet", {"token_id": np.arange(N_IDS), "text": texts})
    f = np.arange(N_FEATURES)
    write(folder / "weights.parquet", {
        "feature": f, "decoder_norm": np.ones(N_FEATURES), "encoder_norm": np.ones(N_FEATURES) * 2,
        "encoder_cosine": np.full(N_FEATURES, 0.25),
        "bias": -f / 10, "threshold": pa.nulls(N_FEATURES, pa.float32()),
    })  # fmt: skip
    write(folder / "logits.parquet", {
        "feature": np.repeat(f, 2), "sign": np.tile(np.array([1, -1]), N_FEATURES),
        "rank": np.zeros(2 * N_FEATURES, int), "token_id": np.tile(np.array([1, 2]), N_FEATURES),
        "value": np.tile(np.array([3.0, -3.0]), N_FEATURES),
    })  # fmt: skip
    nothing = np.zeros(N_FEATURES, int)
    write(folder / "neighbours.parquet", {
        "feature": f, "rank": nothing, "other": (f + 1) % N_FEATURES, "cosine": np.where(f == ALIKE, 0.95, 0.5),
    })  # fmt: skip
    write(folder / "logit_histogram.parquet", {
        "feature": f, "bin": nothing, "lo": f - 1.0, "hi": f + 1.0, "n": nothing + N_IDS,
    })  # fmt: skip
    write(folder / "alignment.parquet", {
        "feature": f, "rank": nothing, "neuron": f + 3, "weight": -f / 20, "share": f / 20,
    })  # fmt: skip
    write(folder / "correlations.parquet", {
        "feature": f, "rank": nothing, "neuron": f + 2, "pearson": f / 20, "cosine": f / 30,
    })  # fmt: skip
    write(folder / "structure.parquet", {"feature": f, "cluster": CLUSTERS, "x": f / 2, "y": -f / 2})
    write(folder / "clusters.parquet", {
        "cluster": np.arange(5), "parent": np.array([3, 3, 4, 4, -1]), "n": np.array([6, 4, 2, 10, 12]),
        "height": np.array([0, 0, 0, 0.25, 0.75]), "x": MIDDLES / 2, "y": -MIDDLES / 2,
    })  # fmt: skip
    for _ in coactivations.write(folder, N_FEATURES, int(counted.sum()), 5):
        pass
    return Case(session, code, token_id, doc, doc_pos, block, counted, names)


def write(path: Path, columns: dict[str, object]) -> None:
    """A Parquet file; integers and floats as 32 bits, as `collect` writes them."""
    narrow = {"int64": np.int32, "float64": np.float32}
    pq.write_table(
        pa.table({
            k: v.astype(narrow[v.dtype.name]) if isinstance(v, np.ndarray) and v.dtype.name in narrow else v
            for k, v in columns.items()
        }),
        path,
    )  # fmt: skip


@pytest.fixture
def server():
    """An address, what was asked there, and what it answers: a function of the prompt, or a code."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, dict(self.headers), body))
            said = answer[0](body["messages"][0]["content"])
            code, content = said if isinstance(said, tuple) else (200, said)
            reply = content if code != 200 else json.dumps({"choices": [{"message": {"content": content}}]})
            self.send_response(code)
            self.end_headers()
            self.wfile.write(reply.encode())

        def log_message(self, *_):
            pass

    asked, answer = [], [lambda prompt: ""]
    http = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}/v1", asked, answer
    http.shutdown()
    thread.join()
    http.server_close()

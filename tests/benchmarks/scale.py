"""The feature database at scale: from synthetic sparse activations to tables, and what is asked of them then.

    .venv/bin/python -m tests.benchmarks.scale [--cases 250000x18432,1000000x18432] [--l0 32] [--keep DIR]

A case is so many tokens and so many features, of which L0 fire on each token, the f-th of them with a probability that
falls as 1/(f + 100). Each runs in a process of its own, whose largest resident memory is told. A card is all that a
feature's screen asks for; `python -m tests.benchmarks.million --session DIR/NAME` drives the screens over a case.
"""

import argparse
import itertools
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from core import config
from core.analysis import build, card, coactivations
from core.analysis.order import GLANCE
from core.analysis.store import Store
from core.options import AnalysisConfig
from core.session import Session
from sae_tui.widgets.feature_columns import sets
from sae_tui.widgets.source import PAGE
from tests.core.analysis.conftest import write

SHARD = 100_000
"""Tokens in a shard."""
DOCUMENT = 300
CONTEXT = 128
VOCABULARY = 20_000
CARDS = 200
SORTED = ("max", "cluster", "top_token", "specialist_category", "label")


def codes(rng: np.random.Generator, tokens: int, features: int, l0: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of token and feature that fire, of `tokens` tokens: drawn with repetition, each pair once."""
    odds = 1 / (np.arange(features) + 100)
    drawn = rng.choice(features, size=(tokens, l0), p=odds / odds.sum())
    pairs = np.unique(np.arange(tokens)[:, None] * features + drawn)
    return pairs // features, pairs % features


def shards(session: Session, tokens: int, features: int, l0: int) -> int:
    """Write what `collect` would; how many activations there are."""
    rng = np.random.default_rng(0)
    folder = session.activations_dir
    folder.mkdir(parents=True)
    activations = 0
    for shard, first in enumerate(range(0, tokens, SHARD)):
        n = min(SHARD, tokens - first)
        at, feature = codes(rng, n, features, l0)
        activations += len(at)
        value = rng.gamma(2, 3, len(at))
        write(folder / f"codes-{shard:04}.parquet", {"feature": feature, "token_idx": at + first, "value": value})
        token = np.arange(first, first + n)
        write(folder / f"tokens-{shard:04}.parquet", {
            "token_idx": token, "doc": token // DOCUMENT, "doc_pos": token % DOCUMENT, "block": token // CONTEXT,
            "block_pos": token % CONTEXT, "token_id": rng.zipf(1.3, n) % VOCABULARY, "counted": np.ones(n, bool),
        })  # fmt: skip
    docs = np.arange(-(-tokens // DOCUMENT))
    write(folder / "documents.parquet", {
        "doc": docs, "category": [f"kind {d % 11}" for d in docs], "source": [f"file {d}" for d in docs],
        "digest": [f"{d:016x}" for d in docs],
    })  # fmt: skip
    ids = np.arange(VOCABULARY)
    write(folder / "vocabulary.parquet", {"token_id": ids, "text": [f" word{i}" for i in ids]})
    _directions(folder, features, rng)
    for _ in coactivations.write(folder, features, tokens, 10):
        pass
    return activations


def _directions(folder: Path, features: int, rng: np.random.Generator) -> None:
    f, ten = np.arange(features), np.arange(10)
    each, rank = np.repeat(f, 10), np.tile(ten, features)
    cosine = 0.9 - rank / 20
    one = np.ones(features)
    write(folder / "weights.parquet", {
        "feature": f, "decoder_norm": one, "encoder_norm": one, "encoder_cosine": one / 4, "bias": one / 10,
        "threshold": one,
    })  # fmt: skip
    write(folder / "logits.parquet", {
        "feature": each, "sign": np.where(rank < 5, 1, -1), "rank": rank % 5,
        "token_id": (each * 7 + rank) % VOCABULARY, "value": np.where(rank < 5, cosine, -cosine),
    })  # fmt: skip
    write(
        folder / "neighbours.parquet",
        {"feature": each, "rank": rank, "other": (each + rank + 1) % features, "cosine": cosine},
    )
    write(folder / "logit_histogram.parquet", {"feature": each, "bin": rank, "lo": cosine, "hi": cosine, "n": rank})
    write(
        folder / "alignment.parquet", {"feature": each, "rank": rank, "neuron": rank, "weight": cosine, "share": cosine}
    )
    write(
        folder / "correlations.parquet",
        {"feature": each, "rank": rank, "neuron": rank, "pearson": cosine, "cosine": cosine},
    )
    write(
        folder / "structure.parquet",
        {"feature": f, "cluster": f % 50, "x": rng.normal(size=features), "y": rng.normal(size=features)},
    )
    clusters = np.arange(50)
    write(folder / "clusters.parquet", {
        "cluster": clusters, "parent": np.full(50, -1), "n": np.full(50, features // 50), "height": np.zeros(50),
        "x": np.zeros(50), "y": np.zeros(50),
    })  # fmt: skip


def run(root: Path, tokens: int, features: int, l0: int) -> None:
    """One case, printed."""
    session = Session.create(root, f"scale-{tokens}-{features}", config.parse({}))
    activations = shards(session, tokens, features, l0)
    print(f"{tokens:,} tokens, {features:,} features, {activations:,} activations", flush=True)
    before = _peak()
    began, steps = time.perf_counter(), []
    for progress in build.build(session, {"d_sae": str(features)}, AnalysisConfig()):
        steps.append((time.perf_counter(), progress.phase))
    took = time.perf_counter() - began
    parts = [(b - a, name) for (a, name), (b, _) in itertools.pairwise(steps)]
    slowest = ", ".join(f"{name.removeprefix('computing ')} {s:.1f}" for s, name in sorted(parts, reverse=True)[:4])
    print(f"  tables       {took:7.1f} s   {activations / took / 1e6:.1f} M activations a second; {slowest}")
    print(f"  memory       {_peak():7.2f} GB at most, {before:.2f} before")
    print(f"  on disk      {session.database_path.stat().st_size / 1e9:7.2f} GB")
    asked(session, features)


def asked(session: Session, features: int) -> None:
    """What a person asks for, and how long each answer takes."""
    with Store.open([session]) as store:
        rng = np.random.default_rng(1)
        alive = [row["feature"] for row in store.features(where="NOT dead", limit=10**6)]
        for name, act in (
            ("card", lambda f: card.read(store, f)),
            ("passage", lambda f: store.passage(f, store.examples(f, band=0, limit=1)[0].token_idx)),
        ):
            _told(name, act, [int(f) for f in rng.choice(alive, CARDS)])
        shown = [*sets(list(store.browsed))["overview"], "starred", *GLANCE]
        for sort in ("density", *SORTED):
            name = "first order" if sort == "density" else f"by {sort}"
            _told(name, lambda _, sort=sort: store.order(sort).build().rows(0, PAGE, shown), range(20))
        for name, text in (("filter", "max > 20"), ("words", "word12"), ("a word", "word1234")):
            _told(name, lambda _, text=text: store.order(text=text).build().rows(0, PAGE, shown), range(20))
        order = store.order("max").build()
        _told("jump", lambda place: order.rows(place, PAGE, shown), [int(f) for f in rng.choice(features, CARDS)])


def _told(name: str, act: Callable[[int], object], cases: Iterator[int] | range | list[int]) -> None:
    times = []
    for case in cases:
        began = time.perf_counter()
        act(case)
        times.append((time.perf_counter() - began) * 1000)
    times.sort()
    print(
        f"  {name:12} {statistics.median(times):7.1f} ms  p95 {times[int(0.95 * (len(times) - 1))]:.1f} ms", flush=True
    )


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Run the cases, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="250000x18432,500000x18432,1000000x18432,1000000x131072")
    parser.add_argument("--l0", type=int, default=32)
    parser.add_argument("--keep", type=Path, help="a folder for the sessions, which stay")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for case in args.cases.split(","):
            tokens, features = map(int, case.split("x"))
            process = multiprocessing.get_context("spawn").Process(
                target=run, args=(args.keep or Path(scratch), tokens, features, args.l0)
            )
            process.start()
            process.join()


if __name__ == "__main__":
    main()

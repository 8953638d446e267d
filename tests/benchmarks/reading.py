"""Reading a model: our harvest beside a bare forward pass, and a whole training beside SAELens' runner.

    .venv-peers/bin/python -m tests.benchmarks.reading --corpus texts.jsonl.gz      # on the embedded model

`harvest`: tokens a second at layer 10's residual stream, in turn with `transformers`' modules cut behind that layer.
`training`: seconds from the first text to the last step (model and libraries are loaded before the clock starts), each
in a process of its own: ours with the settings of our jobs, theirs as it is installed.
"""

import argparse
import gc
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from core import activations, config, corpus, device, flow, tokens
from core.jobs import MALLOC
from core.models import bundled
from core.models.language import LanguageModel
from core.plain import returned
from core.session import Session

HOOK, LAYER = "blocks.10.hook_resid_post", 10
BUFFER = 16_384
"""Activations that are mixed."""
SHAPES = ((8, 128), (8, 512), (16, 128))
"""Blocks in a pass, tokens in a block."""


def harvests(args: argparse.Namespace) -> None:
    """A row for each shape and precision."""
    clock = time.process_time if args.shared else time.perf_counter
    print("\n| blocks × tokens | precision | bare, tokens/s | harvest | ratio |\n| --- | --- | ---: | ---: | ---: |")
    for dtype in args.dtypes:
        cut = _cut(dtype)
        for rows, length in SHAPES:
            cfg = _config(args, {"model": {"dtype": dtype}, "tokens": {"context": length}})
            model = returned(flow.load_model(cfg))
            assert isinstance(model, LanguageModel)
            texts = corpus.documents(cfg.corpus, "train", seed=0)
            batch = next(tokens.stacked(tokens.blocks(texts, model.tokens, cfg.tokens), rows))
            ids = torch.from_numpy(batch.ids)
            ways: dict[str, Callable[[], Any]] = {
                "bare": lambda cut=cut, ids=ids: cut(input_ids=ids, use_cache=False),
                "ours": lambda model=model, batch=batch: list(activations.harvest(model, [batch])),
            }
            seconds: dict[str, list[float]] = {name: [] for name in ways}
            with torch.no_grad():
                for turn in range(args.rounds + 1):
                    for name, way in ways.items():
                        began = clock()
                        way()
                        if turn:  # the first is to warm up
                            seconds[name].append(clock() - began)
            bare, ours = (rows * length / statistics.median(seconds[name]) for name in ("bare", "ours"))
            print(f"| {rows} × {length} | {dtype} | {bare:.0f} | {ours:.0f} | {ours / bare:.2f} |", flush=True)
            del model
            gc.collect()


def _cut(dtype: str) -> Any:
    """The modules up to the layer, and nothing behind them."""
    folder = returned(bundled.converted(getattr(torch, dtype)))
    whole: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    whole.model.layers = whole.model.layers[: LAYER + 1]
    whole.model.norm = torch.nn.Identity()
    return whole.model


def trainings(args: argparse.Namespace) -> None:
    """Seconds of each whole training, and how many times each of ours that is."""
    halves = (False, True) if args.half else (False,)
    print(f"\n{args.tokens:,} tokens, topk, d_sae {args.width}, k 32, batches of 4,096\n")
    print(f"| trainer | s | × ours{' in float32, bfloat16' if args.half else ''} |\n| --- | ---: | ---: |", flush=True)
    ours = []
    for half in halves:
        ours.append(_apart(_ours, args, MALLOC, half))
        print(f"| sae-tui {'bfloat16' if half else 'float32'} | {ours[-1]:.1f} | |", flush=True)
    for half in halves:
        seconds = _apart(_saelens, args, {}, half)
        times = ", ".join(f"{seconds / one:.1f}" for one in ours)
        print(f"| SAELens {'autocast' if half else 'float32'} | {seconds:.1f} | {times} |", flush=True)


def _apart(work: Callable[..., float], args: argparse.Namespace, environment: dict[str, str], *more: Any) -> float:
    """What `work` returns, done in a process of its own; malloc reads its settings when one begins."""
    os.environ.update(environment)
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(work, args, *more).result()
    finally:
        for name in environment:
            del os.environ[name]


def _clock(args: argparse.Namespace) -> Callable[[], float]:
    if args.shared:
        torch.set_num_threads(1)
    return time.process_time if args.shared else time.perf_counter


def _ours(args: argparse.Namespace, half: bool) -> float:
    """Our stage `train`, with the model at hand, in a session that is thrown away."""
    dtype = "bfloat16" if half else "float32"
    sae = {"architecture": "topk", "d_sae": args.width, "k": 32}
    training = {"batch_activations": 4096, "buffer_activations": BUFFER, "precision": dtype}
    budget = {"activations": args.tokens}
    cfg = _config(args, {"model": {"dtype": dtype}, "sae": sae, "training": training, "budget": budget})
    model = returned(flow.load_model(cfg))
    clock = _clock(args)
    with tempfile.TemporaryDirectory() as folder:
        session = Session.create(Path(folder), "bench", cfg)

        def load(_config: config.RunConfig) -> Iterator[Any]:
            yield from ()
            return model

        began = clock()
        for _ in flow.train(session, load):  # pyright: ignore[reportArgumentType]
            pass
        return clock() - began


def _saelens(args: argparse.Namespace, half: bool) -> float:
    """Their runner on the same texts, with what it takes by default where it is not told."""
    from datasets import Dataset
    from sae_lens import (
        LanguageModelSAERunnerConfig,
        LanguageModelSAETrainingRunner,
        LoggingConfig,
        TopKTrainingSAEConfig,
    )

    from tests.benchmarks.hooked import hooked

    cfg = _config(args, {})
    texts = islice(corpus.documents(cfg.corpus, "train", seed=0), args.tokens // 50)
    model = hooked(str(returned(bundled.converted(torch.float32))))
    runner = LanguageModelSAETrainingRunner(
        LanguageModelSAERunnerConfig(
            sae=TopKTrainingSAEConfig(d_in=model.cfg.d_model, d_sae=args.width, k=32),
            model_name="smollm2", hook_name=HOOK, context_size=128, is_dataset_tokenized=False, streaming=False,
            training_tokens=args.tokens, train_batch_size_tokens=4096, n_batches_in_buffer=BUFFER // 128,
            prepend_bos=False,
            autocast=half, autocast_lm=half, output_path=None, checkpoint_path=None, device="cpu", verbose=False,
            logger=LoggingConfig(log_to_wandb=False),
        ),
        override_dataset=Dataset.from_dict({"text": [document.text for document in texts]}),
        override_model=model,
    )  # fmt: skip
    clock = _clock(args)
    began = clock()
    runner.run()
    return clock() - began


def _config(args: argparse.Namespace, values: dict[str, Any]) -> config.RunConfig:
    model = {"hook": HOOK, "dtype": "float32"} | values.pop("model", {})
    return config.parse({"model": model, "corpus": {"name": args.corpus}, "tokens": {"context": 128}} | values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default="stdlib")
    parser.add_argument("--only", choices=("harvest", "training"))
    parser.add_argument("--dtypes", type=lambda text: text.split(","), default=["float32"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=98_304)
    parser.add_argument("--width", type=int, default=4608)
    parser.add_argument("--half", action="store_true", help="both in bfloat16 too: slow where that is not in hardware")
    parser.add_argument("--shared", action="store_true", help="others use the machine: one thread, processor time")
    args = parser.parse_args()
    if args.shared:
        torch.set_num_threads(1)
    device.tune(torch.device("cpu"))
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {shlex.join(sys.argv)}")
    if args.only != "training":
        harvests(args)
    if args.only != "harvest":
        trainings(args)


if __name__ == "__main__":
    main()

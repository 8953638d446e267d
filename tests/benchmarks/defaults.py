"""What the defaults of a training are worth: held-out FVU with one setting changed at a time, by layer and width.

    .venv-peers/bin/python -m tests.benchmarks.defaults --layers 5,10,20 --widths 1152,4608

Every training sees the same batches; how fast it goes does not matter, so others may use the machine. Prints a Markdown
table and writes it to a file; `--readme` puts it into the README too.
"""

import argparse
import os
from pathlib import Path

import torch

from core import device
from tests.benchmarks import readme
from tests.benchmarks.peers import data, ours, quality
from tests.benchmarks.peers.contender import Task

MARK = "<!-- defaults -->"
CHANGES = {
    "the defaults": {},
    "rate 1e-3": {"training.lr": "0.001"},
    "rate 2e-3": {"training.lr": "0.002"},
    "rate 5e-3": {"training.lr": "0.005"},
    "rate 1e-2": {"training.lr": "0.01"},
    "the rate never falls": {"training.decay": "constant"},
    "the rate falls over all steps": {"training.decay_share": "1.0"},
    "the rate falls as a cosine": {"training.decay": "cosine"},
    "no warm-up": {"training.warmup_steps": "0"},
    "100 steps of warm-up": {"training.warmup_steps": "100"},
    "no auxiliary loss": {"sae.aux_coefficient": "0"},
    "four times the auxiliary loss": {"sae.aux_coefficient": "0.125"},
    "decoder's bias from 0": {"sae.b_dec_init": "zero"},
    "activations as they are": {"sae.normalize": "none"},
    "signum": {"training.optimizer": "signum", "training.lr": "0.0005"},
    "muon": {"training.optimizer": "muon"},
}


def rows(args: argparse.Namespace) -> list[str]:
    """The table, row by row as it is measured."""
    places = [(layer, width) for layer in args.layers for width in args.widths]
    read = {
        layer: data.read(
            args.folder / f"activations-{layer}.pt", args.corpus, f"blocks.{layer}.hook_resid_post"
        )
        for layer in args.layers
    }  # fmt: skip
    lines = [
        f"Held-out FVU (share of dead features) of {args.architecture} after {args.steps} steps of {args.batch} "
        f"activations, L0 {args.k}; layer × d_sae", "",
        f"| | {' | '.join(f'{layer} × {width}' for layer, width in places)} |",
        f"| --- |{' ---: |' * len(places)}",
    ]  # fmt: skip
    print(*lines, sep="\n", flush=True)
    for name, changed in CHANGES.items():
        cells = []
        for layer, width in places:
            task = Task(args.architecture, read[layer].d_in, width, args.k, args.steps, args.batch)
            found = quality.trained(task, read[layer], ours.contender(task, read[layer], changed))
            cells.append(f"{found.fvu:.3f} ({100 * found.dead_share:.0f} %)")
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build"), help="of the activations, harvested if new")
    parser.add_argument("--corpus", default="stdlib", help="what they are harvested from")
    parser.add_argument("--architecture", default="topk")
    parser.add_argument("--layers", type=lambda text: [int(part) for part in text.split(",")], default=[5, 10, 20])
    parser.add_argument("--widths", type=lambda text: [int(part) for part in text.split(",")], default=[1152, 4608])
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--table", type=Path, default=Path("build/defaults.md"))
    parser.add_argument("--readme", action="store_true", help="put the table into the README too")
    args = parser.parse_args()
    device.tune(torch.device("cpu"))
    torch.set_num_threads(args.threads)
    text = "\n".join([readme.machine("defaults"), "", *rows(args)]) + "\n"
    readme.keep(text, args.table, MARK if args.readme else None)


if __name__ == "__main__":
    main()

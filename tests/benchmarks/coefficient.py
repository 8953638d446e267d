"""Two ways to a number of active features: λ that follows it while the SAE is trained, and λ found by short runs.

    .venv-peers/bin/python -m tests.benchmarks.coefficient

`followed` is what a training with `sae.target_l0` does. `short runs`: λ bracketed and then bisected (its logarithm) on
runs of SHORT steps, each begun anew, and kept in one whole training. Both begin at the target, see the same batches,
and have their thresholds moved to the target at the end. How fast it goes does not matter, so others may use the
machine. Prints a Markdown table and writes it to a file; `--readme` puts it into the README too.
"""

import argparse
import math
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from core import config, device
from core.architectures import SPARSITY
from core.evaluate import Reconstruction
from core.sae.base import SAE
from core.sae.build import build
from core.training import thresholds
from core.training.run import Run
from tests.benchmarks import readme
from tests.benchmarks.peers import data
from tests.benchmarks.peers.contender import PENALISED

MARK = "<!-- coefficient -->"
SHORT = 60
WIDER = 8.0
"""By how much λ changes until the target lies between two runs."""
RUNS, NEAR = 8, 0.05
"""Short runs at most; fewer once one meets the target to within this share."""


def trained(read: data.Data, args: argparse.Namespace, steps: int, sae: dict[str, float | str]) -> tuple[Run, SAE]:
    """A training of so many steps, and the SAE as it is used, before its thresholds are moved."""
    parsed = config.parse({
        "sae": {"d_sae": args.width, **sae},
        "training": {"batch_activations": args.batch, "buffer_activations": 2 * args.batch},
        "budget": {"activations": steps * args.batch},
    })  # fmt: skip
    first = next(read.batches(1, args.batch))
    made = build(parsed.sae, read.d_in)
    run = Run.begun(made, parsed, first, None)
    if parsed.sae.target_l0 is None:  # as one with a target begins
        thresholds.begin(made, run.inputs.apply(first), target=args.target)
    for x in read.batches(steps, args.batch):
        run.step(x)
    return run, run.made()


@torch.no_grad()
def measured(sae: SAE, x: Float[Tensor, "n d_in"]) -> tuple[float, float]:
    """L0 and FVU."""
    sums = Reconstruction(sae.d_in, sae.d_sae, x.device)
    for part in x.split(2048):
        sums.measure(sae, part)
    found = sums.metrics()
    return found["l0"] or 0.0, found["fvu"] or math.nan


def searched(read: data.Data, args: argparse.Namespace, architecture: str) -> tuple[float, int]:
    """λ at which a short run has the target, and how many of them that took."""
    field = SPARSITY[architecture][1]
    value = float(getattr(config.parse({"sae": {"architecture": architecture}}).sae, field))
    low, high = -math.inf, math.inf  # logarithms of a λ with too many active features, and of one with too few
    runs = 0
    while True:
        runs += 1
        _, sae = trained(read, args, SHORT, {"architecture": architecture, field: value})
        l0, _ = measured(sae, read.calibration)
        if abs(l0 / args.target - 1) < NEAR or runs == RUNS:
            break
        low, high = (math.log(value), high) if l0 > args.target else (low, math.log(value))
        if math.isinf(low) or math.isinf(high):
            value *= WIDER if l0 > args.target else 1 / WIDER
        else:
            value = math.exp((low + high) / 2)
    return value, runs


def rows(args: argparse.Namespace) -> list[str]:
    """The table, row by row as it is measured."""
    read = data.read(args.activations, args.corpus)
    lines = [
        f"{args.steps} steps of {args.batch} activations, d_sae {args.width}, target L0 {args.target:g}; L0 as trained "
        "and FVU at the target, both held out", "",
        "| | λ | L0 as trained | FVU at the target | short runs | steps in all |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]  # fmt: skip
    print(*lines, sep="\n", flush=True)
    for architecture in PENALISED:
        field = SPARSITY[architecture][1]
        found, runs = searched(read, args, architecture)
        for way, short, given in (("followed", 0, {"target_l0": args.target}), ("short runs", runs, {field: found})):
            run, sae = trained(read, args, args.steps, {"architecture": architecture, **given})
            l0, _ = measured(sae, read.test)
            thresholds.move(sae, read.calibration, target=args.target, coefficient=None)
            _, fvu = measured(sae, read.test)
            lines.append(
                f"| `{architecture}`, {way} | {run.coefficient.value:.3g} | {l0:.1f} | {fvu:.3f} | {short} | "
                f"{args.steps + short * SHORT} |"
            )
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--activations", type=Path, default=Path("build/activations.pt"), help="harvested if new")
    parser.add_argument("--corpus", default="stdlib", help="what they are harvested from")
    parser.add_argument("--width", type=int, default=4608)
    parser.add_argument("--target", type=float, default=32)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--table", type=Path, default=Path("build/coefficient.md"))
    parser.add_argument("--readme", action="store_true", help="put the table into the README too")
    args = parser.parse_args()
    device.tune(torch.device("cpu"))
    text = "\n".join([readme.machine("coefficient"), "", *rows(args)]) + "\n"
    readme.keep(text, args.table, MARK if args.readme else None)


if __name__ == "__main__":
    main()

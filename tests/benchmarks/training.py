"""Training beside sparsify, dictionary_learning and SAELens: milliseconds a step, and held-out FVU.

    make bench                                                          # in .venv-peers, which holds them
    .venv-peers/bin/python -m tests.benchmarks.training --only speed --architectures topk

Prints a Markdown table of each and writes both to a file; `--readme` puts them into the README too. Timings alternate
in short blocks, so that what else the machine does falls on all; still, nothing else should run beside it.
"""

import argparse
import sys
from pathlib import Path

import torch

from core import device
from tests.benchmarks import readme
from tests.benchmarks.peers import contenders, data, quality, speed
from tests.benchmarks.peers.contender import Task

MARK = "<!-- bench -->"
ARCHITECTURES = "topk,batchtopk,matryoshka,relu,gated,jumprelu"
PACKAGES = {"sparsify": "eai-sparsify", "dictionary_learning": "dictionary-learning", "SAELens": "sae-lens"}


def speeds(args: argparse.Namespace) -> list[str]:
    """A table of milliseconds a step, row by row as it is measured."""
    peers = list(contenders.PEERS)
    lines = [
        f"Milliseconds{' of one processor' if args.shared else ''} a step, L0 {args.k}; "
        "a peer tuned / as installed (× ours; × ours with its product in bfloat16)", "",
        f"| architecture | d_sae | sae-tui | bfloat16 | {' | '.join(peers)} |",
        "| --- | ---: | ---: | ---: |" + " --- |" * len(peers),
    ]  # fmt: skip
    print(*lines, sep="\n", flush=True)
    with speed.processes() as pools:
        for width in args.widths:
            for architecture in args.architectures if width == args.widths[0] else args.architectures[:1]:
                task = Task(architecture, args.d_in, width, args.k, args.steps, args.batch, timed=True)
                found = speed.measure(pools, args.activations, task, args.rounds, shared=args.shared)
                mine = [found[name].tuned for name in ("sae-tui", speed.BFLOAT16) if name in found]
                cells = [_cell(found.get(peer), mine) for peer in peers]
                half = f"{mine[1]:.0f}" if len(mine) > 1 else ""
                lines.append(f"| {architecture} | {width} | {mine[0]:.0f} | {half} | {' | '.join(cells)} |")
                print(lines[-1], flush=True)
                print(*(f"  {name}: L0 {timed.l0:.1f}" for name, timed in found.items()), file=sys.stderr, flush=True)
    return lines


def _cell(timed: speed.Timed | None, mine: list[float]) -> str:
    if timed is None or timed.installed is None:
        return ""
    tuned, installed = timed.tuned, timed.installed
    times = "; ".join(f"{tuned / one:.1f}× / {installed / one:.1f}×" for one in mine)
    return f"{tuned:.0f} / {installed:.0f} ({times})"


def qualities(args: argparse.Namespace, measured: data.Data) -> list[str]:
    """A table of what trainings come to, row by row."""
    lines = [
        f"Held-out FVU after {args.steps} steps of {args.batch} activations, d_sae {args.widths[0]}", "",
        "| architecture | trainer | FVU | L0 | dead | coefficient | s |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]  # fmt: skip
    print(*lines, sep="\n", flush=True)
    device.tune(torch.device("cpu"))
    for architecture in args.architectures:
        task = Task(architecture, measured.d_in, args.widths[0], args.k, args.steps, args.batch)
        for name in ("sae-tui", *(name for name, peer in contenders.PEERS.items() if architecture in peer.of)):
            found = quality.measure(task, measured, name)
            coefficient = "" if found.coefficient is None else f"{found.coefficient:.3g}"
            lines.append(
                f"| {architecture} | {name} | {found.fvu:.3f} | {found.l0:.1f} | {100 * found.dead_share:.0f} % "
                f"| {coefficient} | {found.seconds:.0f} |"
            )
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--activations", type=Path, default=Path("build/bench-activations.pt"), help="harvested if new")
    parser.add_argument("--corpus", default="stdlib", help="what they are harvested from")
    parser.add_argument("--only", choices=("speed", "quality"))
    parser.add_argument("--architectures", type=lambda text: text.split(","), default=ARCHITECTURES.split(","))
    parser.add_argument("--widths", type=lambda text: [int(w) for w in text.split(",")], default=[4608, 18_432])
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--steps", type=int, default=300, help="of a training whose quality is measured")
    parser.add_argument("--rounds", type=int, default=4, help="blocks of each contender whose speed is measured")
    parser.add_argument("--shared", action="store_true", help="others use the machine: one thread, processor time")
    parser.add_argument("--table", type=Path, default=Path("build/bench.md"))
    parser.add_argument("--readme", action="store_true", help="put the tables into the README too")
    args = parser.parse_args()
    machine = readme.machine("training", **PACKAGES)
    measured = data.read(args.activations, args.corpus)
    args.d_in = measured.d_in
    parts = [machine]
    if args.only != "quality":
        parts.append("\n".join(speeds(args)))
    if args.only != "speed":
        parts.append("\n".join(qualities(args, measured)))
    text = "\n\n".join(parts) + "\n"
    readme.keep(text, args.table, MARK if args.readme else None)


if __name__ == "__main__":
    main()

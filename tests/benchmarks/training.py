"""One optimiser step of each architecture: ours beside sae-lens, in turn in one process, on the same activations.

    make bench        # in .venv-peers, which holds sae-lens

Prints a Markdown table of medians and their ratios. The activations are random with a decaying spectrum, which costs
what real ones cost; quality is not compared here. Biases and thresholds are set so that k features are active on
average, as after a training: at the start, half of them are.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import sae_lens
import torch
from sae_lens.saes.sae import TrainStepInput

from core import config, device
from core.sae.base import SAE
from core.sae.build import build
from core.training.loop import _Run

Step = Callable[[torch.Tensor], None]


def activations(rows: int, d_in: int) -> torch.Tensor:
    """Rows whose directions matter less and less, of an average norm of √d_in, `[rows d_in]`."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, d_in, generator=generator) @ torch.diag(torch.arange(1, d_in + 1) ** -0.5)
    return x * (d_in**0.5 / x.norm(dim=1).mean())


def ours(architecture: str, x: torch.Tensor, d_sae: int, k: int) -> tuple[SAE, Step]:
    """Our step: losses, backward, constraints, Adam, the counts of silence."""
    values = {
        "sae": {"architecture": architecture, "d_sae": d_sae, "k": k, "normalize": "none", "matryoshka_levels": 5},
        "training": {"batch_activations": len(x), "buffer_activations": 2 * len(x), "warmup_steps": 0, "lr": 1e-5},
    }
    parsed = config.parse(values)
    sae = build(parsed.sae, x.shape[1])
    run = _Run.begun(sae, parsed, x)
    with torch.no_grad():
        places = torch.randint(x.shape[0] * d_sae, (1_000_000,), generator=torch.Generator().manual_seed(0))
        bound = float(sae.pre_activations(x).flatten()[places].quantile(1 - k / d_sae))
        if architecture in ("relu", "gated"):
            sae.b_enc -= bound
        elif architecture == "jumprelu":
            sae.threshold.fill_(bound)  # pyright: ignore[reportAttributeAccessIssue]
    return sae, run.step


def theirs(architecture: str, ours: SAE, k: int) -> Step:
    """The step of sae-lens' trainer, from the same weights: forward, backward, clipping, Adam."""
    sizes: dict[str, Any] = {"d_in": ours.d_in, "d_sae": ours.d_sae}
    coefficients: dict[str, float] = {}
    match architecture:
        case "topk":
            sae = sae_lens.TopKTrainingSAE(sae_lens.TopKTrainingSAEConfig(**sizes, k=k))
        case "batchtopk":
            sae = sae_lens.BatchTopKTrainingSAE(sae_lens.BatchTopKTrainingSAEConfig(**sizes, k=k))
        case "matryoshka":
            widths = list(ours.widths)  # pyright: ignore[reportAttributeAccessIssue]
            sae = sae_lens.MatryoshkaBatchTopKTrainingSAE(
                sae_lens.MatryoshkaBatchTopKTrainingSAEConfig(**sizes, k=k, matryoshka_widths=widths)
            )
        case "relu":
            sae, coefficients = sae_lens.StandardTrainingSAE(sae_lens.StandardTrainingSAEConfig(**sizes)), {"l1": 1.0}
        case "gated":
            sae, coefficients = sae_lens.GatedTrainingSAE(sae_lens.GatedTrainingSAEConfig(**sizes)), {"l1": 1.0}
        case _:
            sae, coefficients = sae_lens.JumpReLUTrainingSAE(sae_lens.JumpReLUTrainingSAEConfig(**sizes)), {"l0": 1.0}
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            getattr(sae, "b_gate" if architecture == "gated" and name == "b_enc" else name).copy_(parameter)
    optimizer = torch.optim.Adam(sae.parameters(), lr=1e-5)
    dead = torch.zeros(ours.d_sae, dtype=torch.bool)

    def step(x: torch.Tensor) -> None:
        given = TrainStepInput(
            sae_in=x, coefficients=coefficients, dead_neuron_mask=dead, n_training_steps=0, is_logging_step=False
        )
        optimizer.zero_grad()
        sae.training_forward_pass(given).loss.backward()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--d-in", type=int, default=576)
    parser.add_argument("--d-sae", type=int, default=4608)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--architectures", default="topk,batchtopk,matryoshka,relu,gated,jumprelu")
    args = parser.parse_args()
    device.tune(torch.device("cpu"))
    x = activations(args.batch, args.d_in)
    print(f"batch {args.batch}, d_in {args.d_in}, d_sae {args.d_sae}, L0 {args.k}, {torch.get_num_threads()} threads\n")
    print(f"| architecture | ours, ms a step | sae-lens {sae_lens.__version__} | ratio | L0 |\n|---|---|---|---|---|")
    for architecture in args.architectures.split(","):
        sae, step = ours(architecture, x, args.d_sae, args.k)
        steps = {"ours": step, "theirs": theirs(architecture, sae, args.k)}
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for turn in range(args.steps + 1):
            for name, one in steps.items():
                began = time.perf_counter()
                one(x)
                if turn:
                    seconds[name].append(time.perf_counter() - began)
        mine, other = (1e3 * statistics.median(times) for times in seconds.values())
        l0 = float(sae.losses(x, dead=torch.zeros(args.d_sae, dtype=torch.bool), warmth=1.0).l0)
        print(f"| {architecture} | {mine:.0f} | {other:.0f} | {other / mine:.1f} | {l0:.1f} |", flush=True)


if __name__ == "__main__":
    main()

"""One optimiser step of a TopK SAE: ours beside sae-lens, in turn in one process, on the same activations.

    make bench        # in .venv-peers, which holds sae-lens

Prints medians and their ratio. The activations are random with a decaying spectrum, which costs what real ones cost;
quality is not compared here.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import sae_lens
import torch

from core import config, device
from core.sae.topk import TopK
from core.training.loop import _Run


def activations(rows: int, d_in: int) -> torch.Tensor:
    """Rows whose directions matter less and less, `[rows d_in]`."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, d_in, generator=generator) @ torch.diag(torch.arange(1, d_in + 1) ** -0.5) * d_in**0.5


def ours(batch: int, d_in: int, d_sae: int, k: int) -> Callable[[torch.Tensor], None]:
    """Our step: losses, backward, constraints, Adam, the counts of silence."""
    values = {
        "sae": {"d_sae": d_sae, "k": k},
        "training": {"batch_activations": batch, "buffer_activations": 2 * batch, "warmup_steps": 0},
    }
    sae = TopK(d_in, d_sae, k)
    sae.initialise(torch.zeros(d_in), torch.Generator().manual_seed(0))
    return _Run(sae, config.parse(values)).step


def theirs(batch: int, d_in: int, d_sae: int, k: int) -> Callable[[torch.Tensor], None]:
    """The step of sae-lens' trainer: forward, backward, clipping, Adam."""
    from sae_lens.saes.sae import TrainStepInput

    sae = sae_lens.TopKTrainingSAE(sae_lens.TopKTrainingSAEConfig(d_in=d_in, d_sae=d_sae, k=k))
    optimizer = torch.optim.Adam(sae.parameters(), lr=3e-3)
    dead = torch.zeros(d_sae, dtype=torch.bool)

    def step(x: torch.Tensor) -> None:
        given = TrainStepInput(
            sae_in=x, coefficients={}, dead_neuron_mask=dead, n_training_steps=0, is_logging_step=False
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
    parser.add_argument("--steps", type=int, default=8)
    args = parser.parse_args()
    device.tune(torch.device("cpu"))
    x = activations(args.batch, args.d_in)
    shape = (args.batch, args.d_in, args.d_sae, args.k)
    steps = {"ours": ours(*shape), f"sae-lens {sae_lens.__version__}": theirs(*shape)}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(args.steps + 1):
        for name, step in steps.items():
            began = time.perf_counter()
            step(x)
            if turn:
                seconds[name].append(time.perf_counter() - began)
    print(f"batch {args.batch}, d_in {args.d_in}, d_sae {args.d_sae}, k {args.k}, {torch.get_num_threads()} threads")
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name:<20}{median * 1e3:8.1f} ms a step  {args.batch / median:10,.0f} activations/s")
    one, other = medians.values()
    print(f"ratio of medians     {other / one:.2f}")


if __name__ == "__main__":
    main()

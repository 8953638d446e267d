"""sae-lens 6.54's trainer, by its own `step`."""

from typing import Any

import sae_lens
import torch
from jaxtyping import Float
from sae_lens.config import SAETrainerConfig
from sae_lens.training.sae_trainer import SAETrainer
from torch import Tensor

from core.sae.base import SAE
from tests.benchmarks.peers.contender import TIMED_LR, Contender, Task

NAMES = {
    "topk": "TopK", "batchtopk": "BatchTopK", "matryoshka": "MatryoshkaBatchTopK", "relu": "Standard",
    "gated": "Gated", "jumprelu": "JumpReLU",
}  # fmt: skip
ARCHITECTURES = tuple(NAMES)


def contender(task: Task, start: SAE | None) -> Contender:
    """Its defaults: Adam at a constant rate, gradients clipped; a coefficient where one is given."""
    name = NAMES[task.architecture] + "TrainingSAE"
    given: dict[str, Any] = {"d_in": task.d_in, "d_sae": task.d_sae}
    if task.architecture in ("topk", "batchtopk", "matryoshka"):
        given["k"] = task.k
    elif task.coefficient is not None:
        given["l0_coefficient" if task.architecture == "jumprelu" else "l1_coefficient"] = task.coefficient
    if task.architecture == "matryoshka":
        given["matryoshka_widths"] = task.widths
    torch.manual_seed(0)
    sae = getattr(sae_lens, name)(getattr(sae_lens, name + "Config")(**given))
    if start is not None:
        with torch.no_grad():
            for key, parameter in start.named_parameters():
                renamed = "b_gate" if task.architecture == "gated" and key == "b_enc" else key
                getattr(sae, renamed).copy_(parameter)
    lr = TIMED_LR if task.timed else SAETrainerConfig.lr
    trainer_config = SAETrainerConfig(task.steps * task.rows, task.rows, lr=lr, lr_end=lr / 10)
    trainer = SAETrainer(trainer_config, sae, iter(()))

    def step(x: Float[Tensor, "n d_in"]) -> None:
        trainer.step(x)
        trainer.n_training_steps += 1

    def code(x: Float[Tensor, "n d_in"]) -> tuple[Tensor, Tensor]:
        z = sae.encode(x)
        return z, sae.decode(z)

    return Contender("SAELens", step, code)

"""dictionary_learning 0.1's trainers, by their own `update`.

Their warm-ups are made for runs of tens of thousands of steps, and refuse shorter ones: here they take the same share.
"""

import sys
import types
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from core.sae.base import SAE
from tests.benchmarks.peers.contender import TIMED_LR, Contender, Task

# Its package imports nnsight to read models, which brings another version of half of what is installed.
sys.modules.setdefault("nnsight", types.SimpleNamespace(LanguageModel=object))  # pyright: ignore

from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer  # noqa: E402
from dictionary_learning.trainers.gdm import GatedSAETrainer  # noqa: E402
from dictionary_learning.trainers.jumprelu import JumpReluTrainer  # noqa: E402
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer  # noqa: E402
from dictionary_learning.trainers.standard import StandardTrainer  # noqa: E402
from dictionary_learning.trainers.top_k import TopKTrainer  # noqa: E402

TRAINERS: dict[str, Any] = {
    "topk": TopKTrainer, "batchtopk": BatchTopKTrainer, "matryoshka": MatryoshkaBatchTopKTrainer,
    "relu": StandardTrainer, "gated": GatedSAETrainer, "jumprelu": JumpReluTrainer,
}  # fmt: skip
ARCHITECTURES = tuple(TRAINERS)
WARM, PENALTY_WARM = 0.1, 0.2
"""Shares of the steps over which the rate, and a penalty, rise."""


def contender(task: Task, start: SAE | None) -> Contender:
    """Its defaults; JumpReLU has the number of active features as its target, ReLU and Gated a coefficient."""
    given: dict[str, Any] = {
        "steps": task.steps, "activation_dim": task.d_in, "dict_size": task.d_sae, "layer": 0, "lm_name": "",
        "seed": 0, "device": "cpu", "warmup_steps": 0 if task.timed else round(WARM * task.steps),
    }  # fmt: skip
    if task.timed:
        given["lr"] = TIMED_LR
    if task.architecture in ("topk", "batchtopk", "matryoshka"):
        given["k"] = task.k
    else:
        given["sparsity_warmup_steps"] = None if task.timed else round(PENALTY_WARM * task.steps)
    if task.architecture == "matryoshka":
        sizes = [b - a for a, b in zip([0, *task.widths], task.widths, strict=False)]
        given["group_fractions"] = [size / task.d_sae for size in sizes]
    elif task.architecture == "jumprelu":
        given["target_l0"] = float(task.k)
    if task.coefficient is not None:
        given["sparsity_penalty" if task.architecture == "jumprelu" else "l1_penalty"] = task.coefficient
    torch.manual_seed(0)
    trainer = TRAINERS[task.architecture](**given)
    if start is not None:
        _take(trainer.ae, start)
    count = 1 if task.timed else 0  # the first step of all computes a geometric median

    def step(x: Float[Tensor, "n d_in"]) -> None:
        nonlocal count
        trainer.update(count, x)
        count += 1

    def code(x: Float[Tensor, "n d_in"]) -> tuple[Tensor, Tensor]:
        by_batch = task.architecture in ("batchtopk", "matryoshka")
        z = trainer.ae.encode(x, use_threshold=False) if by_batch else trainer.ae.encode(x)
        return z, trainer.ae.decode(z)

    return Contender("dictionary_learning", step, code)


@torch.no_grad()
def _take(sae: Any, start: SAE) -> None:
    """The weights of `start`, under the names they have there."""
    named = dict(sae.named_parameters())
    if "W_enc" in named:
        sae.W_enc.copy_(start.W_enc)
        sae.W_dec.copy_(start.W_dec)
        sae.b_enc.copy_(start.b_enc - (start.b_dec @ start.W_enc if "threshold" in named else 0))
    else:
        sae.encoder.weight.copy_(start.W_enc.T)
        sae.decoder.weight.copy_(start.W_dec.T)
        (sae.gate_bias if "gate_bias" in named else sae.encoder.bias).copy_(start.b_enc)
    for name in ("bias", "b_dec", "decoder_bias"):
        if name in named:
            named[name].copy_(start.b_dec)
    if "threshold" in named:
        named["threshold"].copy_(start.threshold)  # pyright: ignore

"""sparsify 1.3's TopK: what its `Trainer.fit` does in a step, with its modules and its default optimiser.

The trainer itself only runs a language model and reads activations out of it.
"""

import torch
from jaxtyping import Float
from schedulefree import ScheduleFreeWrapper
from sparsify.config import SparseCoderConfig
from sparsify.sign_sgd import SignSGD
from sparsify.sparse_coder import SparseCoder
from torch import Tensor

from core.sae.base import SAE
from tests.benchmarks.peers.contender import TIMED_LR, Contender, Task

ARCHITECTURES = ("topk",)


def contender(task: Task, start: SAE | None) -> Contender:
    """Signum without a schedule, at the rate that its trainer derives from the width."""
    torch.manual_seed(0)
    sae = SparseCoder(task.d_in, SparseCoderConfig(num_latents=task.d_sae, k=task.k), "cpu", dtype=torch.float32)
    assert sae.W_dec is not None
    if start is not None:
        sae.encoder.weight.data.copy_(start.W_enc.data.T)
        sae.W_dec.data.copy_(start.W_dec.data)
        sae.b_dec.data.copy_(start.b_dec.data)
    lr = TIMED_LR if task.timed else 5e-3 / (task.d_sae / 2**14) ** 0.5
    optimizer = ScheduleFreeWrapper(SignSGD(sae.parameters(), lr=lr), momentum=0.95)
    optimizer.train()
    silent_for = torch.zeros(task.d_sae, dtype=torch.long)
    did_fire = torch.zeros(task.d_sae, dtype=torch.bool)
    begun = task.timed

    def step(x: Float[Tensor, "n d_in"]) -> None:
        nonlocal begun
        if not begun:
            sae.b_dec.data = x.mean(0)
            begun = True
        sae.set_decoder_norm_to_unit_norm()
        out = sae(x=x, y=x, dead_mask=None, total_variance=(x - x.mean(0)).pow(2).sum())
        did_fire[out.latent_indices.flatten()] = True
        float(out.fvu.detach())
        (out.fvu + out.multi_topk_fvu / 8).backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            silent_for.add_(len(x))
            silent_for[did_fire] = 0
            did_fire.zero_()

    def code(x: Float[Tensor, "n d_in"]) -> tuple[Tensor, Tensor]:
        top = sae.encode(x)
        z = torch.zeros(len(x), task.d_sae).scatter(1, top.top_indices, top.top_acts)
        return z, sae.decode(top.top_acts, top.top_indices)

    return Contender("sparsify", step, code, optimizer.eval, precision="high")

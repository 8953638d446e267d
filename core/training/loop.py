"""Train an SAE on a stream of activations: a generator of reports.

Takes batches, not a model; whoever closes the generator stops the training. Saving is the caller's: `save(step)` is
called when a checkpoint is due, when the generator is closed, and at the end.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from core.config import RunConfig
from core.errors import CorpusError, DivergedError
from core.records import Notice, Progress, StepReport
from core.sae.base import SAE, Losses
from core.training import schedules

Batches = Iterator[Float[Tensor, "batch d_in"] | int]


def train(
    sae: SAE, batches: Batches, config: RunConfig, *, save: Callable[[int, float], None]
) -> Generator[StepReport | Progress | Notice, None, None]:
    """Train `sae` in place until the budget is spent or the batches end.

    Between its batches, `batches` yields the number of activations gathered for the next ones. `save(step, scale)`
    must write the SAE folded by `scale` (`SAE.fold_scale`), which is 1 where activations are not normalised.
    Raises DivergedError, keeping the last checkpoint, where the loss is not a number; CorpusError where no batch
    comes.
    """
    budget = config.budget.activations
    run: _Run | None = None
    scale = 1.0
    saved_at, saved_step = time.monotonic(), 0
    try:
        for x in batches:
            if run is None:
                if isinstance(x, int):
                    wanted = min(config.training.buffer_activations, budget)
                    yield Progress(phase="gathering activations to mix", done=x, total=wanted, unit="activations")
                    continue
                if config.sae.normalize == "average_norm":
                    scale = norm_scale(x)
                    yield Notice(message=f"activations are scaled by {scale:.4g}, estimated on {len(x):,} of them")
                sae.initialise((x * scale).mean(dim=0), torch.Generator().manual_seed(config.seed))
                run = _Run(sae, config)
            if not isinstance(x, int):
                run.step(x[: budget - run.activations] * scale)
                if run.steps_done % config.training.log_every_steps == 0:
                    yield run.report()
                due = time.monotonic() - saved_at >= 60 * config.training.checkpoint_minutes
                if due or (saved_step == 0 and run.steps_done == config.training.warmup_steps):
                    save(run.steps_done, scale)
                    saved_at, saved_step = time.monotonic(), run.steps_done
            yield Progress(phase="training", done=run.activations, total=budget, unit="activations")
            if run.activations >= budget:
                break
    finally:
        if run is not None and run.healthy and run.steps_done > saved_step:
            save(run.steps_done, scale)
    if run is None:
        raise CorpusError("the corpus gave no activations", hint="check corpus.name, its columns and splits")


def norm_scale(x: Float[Tensor, "n d_in"]) -> float:
    """`√d_in / mean‖x‖`: what brings activations to an average norm of √d_in."""
    return math.sqrt(x.shape[1]) / float(x.norm(dim=1).double().mean())


class _Run:
    """The optimiser, the counts of silence and the clock of one training."""

    def __init__(self, sae: SAE, config: RunConfig) -> None:
        self.sae, self.config = sae, config
        self.optimizer = torch.optim.Adam(sae.parameters(), lr=config.training.lr, fused=True)
        self.silent_for = torch.zeros(sae.d_sae, dtype=torch.long, device=sae.b_dec.device)
        self.steps_done = self.activations = 0
        self.healthy = True
        self.began = self.reported = time.monotonic()
        self.reported_activations = 0
        self.last: tuple[Tensor, Losses] | None = None

    def step(self, x: Float[Tensor, "batch d_in"]) -> None:
        """One optimiser step. Raises DivergedError before the weights are touched by a bad loss."""
        training = self.config.training
        factor = schedules.lr_factor(
            self.steps_done, self.config.steps, warmup_steps=training.warmup_steps, decay_share=training.decay_share
        )
        for group in self.optimizer.param_groups:
            group["lr"] = training.lr * factor
        losses = self.sae.losses(
            x, dead=self.dead(), warmth=schedules.warmth(self.steps_done, self.config.sae.l1_warmup_steps)
        )
        total = losses.total.item()
        if not math.isfinite(total):
            self.healthy = False
            raise DivergedError(
                f"the loss became {total} at step {self.steps_done + 1}",
                hint="the last good checkpoint is kept; lower training.lr, or look for bad activations",
            )
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        self.sae.constrain_gradients()
        self.optimizer.step()
        self.sae.constrain()
        self.silent_for += len(x)
        self.silent_for[losses.fired] = 0
        self.steps_done += 1
        self.activations += len(x)
        self.last = (x, Losses(*(figure.detach() for figure in losses)))

    def dead(self) -> Tensor:
        """Which features have been silent too long, `[d_sae]`."""
        return self.silent_for >= self.config.training.dead_after_activations

    def report(self) -> StepReport:
        """The last step, as a reader sees it."""
        assert self.last is not None
        x, losses = self.last
        variance = (x - x.mean(dim=0)).double().pow(2).sum(dim=1).mean()
        now = time.monotonic()
        dead = int(self.dead().sum())
        speed = (self.activations - self.reported_activations) / max(now - self.reported, 1e-9)
        self.reported, self.reported_activations = now, self.activations
        return StepReport(
            step=self.steps_done,
            steps=self.config.steps,
            activations=self.activations,
            elapsed_s=round(now - self.began, 3),
            loss=float(losses.total),
            mse=float(losses.mse),
            fvu=float(losses.mse / variance) if variance > 0 else None,
            l0=float(losses.l0),
            l1=float(losses.l1),
            sparsity_loss=float(losses.sparsity),
            aux_loss=float(losses.aux),
            dead=dead,
            dead_share=dead / self.sae.d_sae,
            lr=self.optimizer.param_groups[0]["lr"],
            activations_per_s=round(speed, 1),
        )

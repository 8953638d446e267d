"""One training between two steps: the SAE, its optimiser, what is counted, and all of it as a state.

What it is given are batches of raw activations. Knows nothing of where they come from, nor of files.
"""

import copy
import math
import time
from typing import Any

import psutil
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from core.config import RunConfig
from core.errors import ConfigError, DivergedError
from core.evaluate import DENSE_ABOVE
from core.records import Densities, StepReport
from core.sae.base import SAE, Losses
from core.sae.batchtopk import BatchTopK
from core.training import cosines, optimizers, schedules, starting, thresholds
from core.training.coefficient import Coefficient
from core.training.inputs import Inputs
from core.training.ranks import ALONE, Ranks
from core.training.resampling import resample

DENSITY_OVER = 100_000
"""Activations over which a feature's density is averaged; older ones count less and less."""
DECADES, BINS = 5, 25
"""The histogram of densities: from 10^−DECADES to 1."""


class Run:
    """The optimiser, the counts of silence and the clock of one training."""

    def __init__(self, sae: SAE, config: RunConfig, inputs: Inputs, ranks: Ranks = ALONE) -> None:
        self.sae, self.config, self.inputs, self.ranks = sae, config, inputs, ranks
        self.optimizer = optimizers.build(config.training.optimizer, sae.named_parameters(), config.training.lr)
        self.coefficient = Coefficient(sae, config)
        self.silent_for = torch.zeros(sae.d_sae, dtype=torch.long, device=sae.b_dec.device)
        self.density = torch.zeros(sae.d_sae, device=sae.b_dec.device)
        self.mean_weights = [w.detach().clone() for w in sae.parameters()] if config.training.ema_decay else []
        self.steps_done = self.activations = 0
        self.whole = True
        """False within a step: what is between two steps is no state to go on from."""
        self.began = self.reported = time.monotonic()
        self.reported_activations = 0
        self.last: tuple[Tensor, Losses] | None = None
        self.cosines: tuple[float, float] | None = None
        """Of the decoder's directions, the mean and the largest, as they were measured last."""
        if isinstance(sae, BatchTopK):
            sae.batch = ranks
        sae.precision, place = config.training.precision, sae.b_dec.device
        if sae.precision == "tf32" and place.type != "cuda":
            raise ConfigError(f"training.precision = 'tf32', but this trains on {place}", hint="set 'float32'")

    @classmethod
    def begun(
        cls, sae: SAE, config: RunConfig, x: Float[Tensor, "batch d_in"], start: SAE | None, ranks: Ranks = ALONE
    ) -> "Run":
        """A training from its beginning: inputs, and weights without a `start`, are as the first batch `x` is.

        `x` is the whole batch, also where several processes train.
        """
        torch.manual_seed(config.seed)  # for what is drawn in steps
        run = cls(sae, config, Inputs.fitted(config.sae.normalize, x), ranks)
        if start is not None:
            starting.take(sae, start, run.inputs)
        else:
            b_dec = starting.b_dec(config.sae.b_dec_init, run.inputs.apply(x))
            sae.initialise(b_dec, torch.Generator().manual_seed(config.seed))
            if config.sae.target_l0 is not None and not config.sae.fixed_k:
                thresholds.begin(sae, run.inputs.apply(x), target=config.sae.target_l0)
        ranks.begin_alike(sae)
        for weights, mean in zip(sae.parameters(), run.mean_weights, strict=False):
            mean.copy_(weights.detach())
        return run

    @classmethod
    def restored(cls, sae: SAE, config: RunConfig, state: dict[str, Any], ranks: Ranks = ALONE) -> "Run":
        """A training that goes on from a `state()`."""
        run = cls(sae, config, Inputs.restored(config.sae.normalize, state), ranks)
        sae.load_state_dict(_beneath(state, "sae/"))
        optimizers.restore(run.optimizer, sae.named_parameters(), _beneath(state, "optimizer/"))
        run.coefficient.restore(state)
        run.silent_for.copy_(state["silent_for"])
        run.density.copy_(state["density"])
        for (name, _), mean in zip(sae.named_parameters(), run.mean_weights, strict=False):
            mean.copy_(state[f"mean/{name}"])
        torch.set_rng_state(state["rng"].cpu())
        if "rng_cuda" in state and run.silent_for.is_cuda:
            torch.cuda.set_rng_state(state["rng_cuda"].cpu(), run.silent_for.device)
        run.steps_done, run.activations = state["steps_done"], state["activations"]
        run.cosines = state.get("cosines")
        run.reported_activations = run.activations
        run.began -= state["elapsed_s"]
        return run

    def state(self) -> dict[str, Any]:
        """Tensors, not copied, and plain values by name: all that the next step depends on but its batch.

        Python's and NumPy's generators are not in it: nothing draws from them but the corpus, from its own.
        """
        names = [name for name, _ in self.sae.named_parameters()]
        moments = optimizers.state(self.optimizer, self.sae.named_parameters())
        state: dict[str, Any] = {
            "steps_done": self.steps_done,
            "activations": self.activations,
            "elapsed_s": time.monotonic() - self.began,
            "silent_for": self.silent_for,
            "density": self.density,
            "cosines": self.cosines,
            "rng": torch.get_rng_state(),
            **self.inputs.state(),
            **self.coefficient.state(),
            **{f"sae/{name}": value for name, value in self.sae.state_dict().items()},
            **{f"optimizer/{name}": value for name, value in moments.items()},
            **{f"mean/{name}": value for name, value in zip(names, self.mean_weights, strict=False)},
        }
        if self.silent_for.is_cuda:
            state["rng_cuda"] = torch.cuda.get_rng_state(self.silent_for.device)
        return state

    @torch.no_grad()
    def made(self) -> SAE:
        """A copy on the CPU of what the training has come to, which takes raw activations."""
        made = copy.deepcopy(self.sae).cpu()
        for weights, mean in zip(made.parameters(), self.mean_weights, strict=False):
            weights.copy_(mean)
        if self.mean_weights:
            made.constrain()
        _cpu(self.inputs).fold(made)
        return made

    def step(self, x: Float[Tensor, "batch d_in"]) -> None:
        """One optimiser step on raw activations, of which other processes may have theirs.

        Raises DivergedError before a bad loss touches the weights.
        """
        self.whole = False
        x = self.inputs.apply(x)
        self._set_pace()
        warm = schedules.warmth(self.steps_done, self._warmup_steps)
        losses = self.sae.losses(x, dead=self.dead(), warmth=warm)
        together = self._together(losses)
        total = together.total.item()
        if not math.isfinite(total):
            raise DivergedError(
                f"the loss became {total} at step {self.steps_done + 1}",
                hint="the last good checkpoint is kept; lower training.lr, or look for bad activations",
            )
        for optimizer in self.optimizer:
            optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        self.ranks.average_gradients(self.sae)
        self.sae.constrain_gradients()
        for optimizer in self.optimizer:
            optimizer.step()
        self.sae.constrain()
        self._count(together.fired, self.ranks.whole(len(x)))
        self.coefficient.follow(float(together.l0), self.activations / self.config.budget.total)
        for weights, mean in zip(self.sae.parameters(), self.mean_weights, strict=False):
            mean.lerp_(weights.detach(), 1 - self.config.training.ema_decay)
        every = self.config.training.resample_every_steps
        if every and self.steps_done % every == 0 and self.steps_done <= self.steps * (1 - self._decay_share):
            dead = self.dead()
            resample(self.sae, self.ranks.gathered(x), dead, self.optimizer)
            self.silent_for[dead] = 0
        self.last = (x, Losses(*(figure.detach() for figure in together)))
        self.whole = True

    def _together(self, losses: Losses) -> Losses:
        """The losses on the whole batch; a threshold that each process has moved becomes their mean."""
        if self.ranks.world == 1:
            return losses
        buffers = list(self.sae.buffers())
        figures = self.ranks.means([*losses[:-1], *buffers])
        for buffer, mean in zip(buffers, figures[len(losses) - 1 :], strict=True):
            buffer.copy_(mean)
        return Losses(*figures[: len(losses) - 1], fired=self.ranks.total(losses.fired))

    @property
    def steps(self) -> int:
        """Steps in all: one more than the budget makes where a training goes on after a last, smaller batch."""
        return self.steps_done - (self.activations - self.config.budget.total) // self.config.training.batch_activations

    @property
    def _decay_share(self) -> float:
        training = self.config.training
        return 0.0 if training.decay == "constant" else training.decay_share

    @property
    def _warmup_steps(self) -> int:
        """Steps over which a penalty or k warms up; a λ that is found begins small by itself."""
        sae = self.config.sae
        return sae.k_warmup_steps if sae.fixed_k else 0 if sae.finds_coefficient else sae.penalty_warmup_steps

    def _set_pace(self) -> None:
        """What the step's place in the training decides: the learning rate, and what an architecture lets move."""
        training = self.config.training
        factor = schedules.lr_factor(
            self.steps_done, self.steps, warmup_steps=training.warmup_steps, decay=training.decay,
            decay_share=training.decay_share, floor=training.lr_floor,
        )  # fmt: skip
        optimizers.set_rate(self.optimizer, training.lr * factor)
        self.sae.progress = self.activations / self.config.budget.total

    def _count(self, fired: Int[Tensor, " d_sae"], n: int) -> None:
        self.silent_for += n
        self.silent_for[fired > 0] = 0
        self.steps_done += 1
        self.activations += n
        self.density.lerp_(fired / n, n / min(self.activations, max(n, DENSITY_OVER)))

    def dead(self) -> Bool[Tensor, " d_sae"]:
        """Which features have been silent too long."""
        return self.silent_for >= self.config.training.dead_after_activations

    def densities(self) -> Densities:
        """How often features fire, as a histogram."""
        log = self.density[self.density >= 10.0**-DECADES].log10().clamp_max(0)
        counts = torch.histc(log, bins=BINS, min=-DECADES, max=0)
        return Densities(
            step=self.steps_done, low=-DECADES, high=0, counts=tuple(int(n) for n in counts.tolist()),
            rarer=self.sae.d_sae - len(log),
        )  # fmt: skip

    @property
    def _cosines_due(self) -> bool:
        """Whether the report is the first, the last that the budget makes, or one that comes after enough steps.

        Nothing is remembered for it, so that a training that was stopped measures at the same steps.
        """
        training = self.config.training
        log, every = training.log_every_steps, cosines.steps_between(self.sae.d_sae, training.batch_activations)
        return self.steps_done <= log or self.steps_done % every < log or self.steps_done + log > self.steps

    def report(self) -> StepReport:
        """The last step, as a reader sees it."""
        assert self.last is not None
        x, losses = self.last
        [mean] = self.ranks.means([x.mean(dim=0)])
        [variance] = self.ranks.means([(x - mean).double().pow(2).sum(dim=1).mean()])
        now = time.monotonic()
        dead, dense = int(self.dead().sum()), int((self.density > DENSE_ABOVE).sum())
        speed = (self.activations - self.reported_activations) / max(now - self.reported, 1e-9)
        self.reported, self.reported_activations = now, self.activations
        if self._cosines_due:
            self.cosines = cosines.alike(self.sae.W_dec * self.inputs.deviation)
        mean_cosine, max_cosine = self.cosines or (None, None)
        return StepReport(
            step=self.steps_done,
            steps=self.steps,
            activations=self.activations,
            elapsed_s=round(now - self.began, 3),
            loss=float(losses.total),
            mse=float(losses.mse),
            fvu=float(losses.mse / variance) if variance > 0 else None,
            l0=float(losses.l0),
            l1=float(losses.l1),
            sparsity_loss=float(losses.sparsity),
            aux_loss=float(losses.aux),
            coefficient=self.coefficient.value,
            dead=dead,
            dead_share=dead / self.sae.d_sae,
            dense=dense,
            decoder_cosine_mean=mean_cosine,
            decoder_cosine_max=max_cosine,
            ce_loss_score=None,  # of a model, of which nothing is known here
            lr=self.optimizer[0].param_groups[0]["lr"],
            activations_per_s=round(speed, 1),
            memory_bytes=psutil.Process().memory_info().rss,
            gpu_memory_bytes=torch.cuda.memory_reserved(x.device) if x.is_cuda else None,
        )


def _cpu(inputs: Inputs) -> Inputs:
    return Inputs(inputs.kind, inputs.scale, inputs.mean.cpu(), inputs.deviation.cpu())


def _beneath(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

"""Train an SAE on a stream of activations: a generator of reports.

Takes batches, not a model; whoever closes the generator stops the training. Saving is the caller's: `save` is called
when a checkpoint is due, when the generator is closed, and at the end.
"""

import itertools
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from core.config import RunConfig
from core.errors import CorpusError, DivergedError, SaeTuiError
from core.records import Notice, Progress, StepReport
from core.sae.base import SAE, Losses
from core.training import schedules

Batches = Iterable[Float[Tensor, "batch d_in"] | int]
Save = Callable[[int, float, dict[str, Any]], None]
"""`save(step, scale, state)`: writes the SAE folded by `scale` (`SAE.fold_scale`), which is 1 where activations are not
normalised, and the state of the training, before it returns. Raises OSError where that cannot be written."""
RETRY_S = 60.0
"""Seconds until a checkpoint that could not be written is tried again."""


def train(
    sae: SAE, batches: Batches, config: RunConfig, *, save: Save, resumed: dict[str, Any] | None = None
) -> Generator[StepReport | Progress | Notice, None, None]:
    """Train `sae` in place until the budget is spent or the batches end.

    Between its batches, `batches` yields the number of activations gathered for the next ones. `resumed` is a state
    that `save` was given: with the batches that had not come then, training goes on as if it had not been interrupted.
    A checkpoint that cannot be written is said and tried again; when the generator is closed, that raises its OSError.
    Raises DivergedError, keeping the last checkpoint, where the loss is not a number; CorpusError where no batch
    comes.
    """
    stream = iter(batches)
    if resumed is None:
        first = yield from _first(stream, min(config.training.buffer_activations, config.budget.activations))
        run = _Run.begun(sae, config, first)
        if config.sae.normalize == "average_norm":
            yield Notice(message=f"activations are scaled by {run.scale:.4g}, estimated on {len(first):,} of them")
        stream = itertools.chain([first], stream)
    else:
        run = _Run.restored(sae, config, resumed)
    checkpoints = _Checkpoints(config, save, run.steps_done)
    try:
        yield from _steps(run, stream, checkpoints)
    except (GeneratorExit, SaeTuiError, OSError):
        if run.whole and checkpoints.behind(run):
            checkpoints.write(run)
        raise
    if checkpoints.behind(run):
        yield from checkpoints.tried(run)


def _first(batches: Iterator[Tensor | int], wanted: int) -> Generator[Progress, None, Tensor]:
    """The first batch, while what is gathered for it is reported."""
    for x in batches:
        if not isinstance(x, int):
            return x
        yield Progress(phase="gathering activations to mix", done=x, total=wanted, unit="activations")
    raise CorpusError("the corpus gave no activations", hint="check corpus.name, its columns and splits")


def _steps(
    run: "_Run", batches: Iterator[Tensor | int], checkpoints: "_Checkpoints"
) -> Generator[StepReport | Progress | Notice, None, None]:
    """The steps that are left of the budget."""
    budget = run.config.budget.total
    while run.activations < budget and (x := next(batches, None)) is not None:
        if not isinstance(x, int):
            run.step(x[: budget - run.activations])
            if run.steps_done % run.config.training.log_every_steps == 0:
                yield run.report()
            if checkpoints.due(run):
                yield from checkpoints.tried(run)
        yield Progress(phase="training", done=run.activations, total=budget, unit="activations")


def norm_scale(x: Float[Tensor, "n d_in"]) -> float:
    """`√d_in / mean‖x‖`: what brings activations to an average norm of √d_in."""
    return math.sqrt(x.shape[1]) / float(x.norm(dim=1).double().mean())


class _Checkpoints:
    """When a checkpoint is written, and what is said where it cannot be."""

    def __init__(self, config: RunConfig, save: Save, step: int) -> None:
        self._save, self._step = save, step
        self._first, self._every_s = config.training.warmup_steps, 60 * config.training.checkpoint_minutes
        self._next = time.monotonic() + self._every_s
        self._failed = False

    def behind(self, run: "_Run") -> bool:
        """Whether there are steps after the last checkpoint."""
        return run.steps_done > self._step

    def due(self, run: "_Run") -> bool:
        """Whether it is time for one: after the warm-up, then by the clock."""
        return (self._step == 0 and run.steps_done == self._first) or time.monotonic() >= self._next

    def write(self, run: "_Run") -> None:
        """Write one now. Raises OSError."""
        self._save(run.steps_done, run.scale, run.state())
        self._step, self._next = run.steps_done, time.monotonic() + self._every_s

    def tried(self, run: "_Run") -> Generator[Notice, None, None]:
        """Write one, or say why not and when it is tried again."""
        try:
            self.write(run)
        except OSError as error:
            self._failed, self._next = True, time.monotonic() + RETRY_S
            kept = f"that of step {self._step:,} is kept" if self._step else "there is none yet"
            yield Notice(
                message=f"the checkpoint of step {run.steps_done:,} could not be written: {error.strerror or error}; "
                f"free some space or mend the disk: {kept}, training goes on, and it is tried again in a minute"
            )
        else:
            if self._failed:
                self._failed = False
                yield Notice(message=f"the checkpoint of step {run.steps_done:,} is written: the disk takes them again")


class _Run:
    """The optimiser, the counts of silence and the clock of one training."""

    def __init__(self, sae: SAE, config: RunConfig, scale: float) -> None:
        self.sae, self.config, self.scale = sae, config, scale
        self.optimizer = torch.optim.Adam(sae.parameters(), lr=config.training.lr, fused=True)
        self.silent_for = torch.zeros(sae.d_sae, dtype=torch.long, device=sae.b_dec.device)
        self.steps_done = self.activations = 0
        self.whole = True
        """False within a step: what is between two steps is no state to go on from."""
        self.began = self.reported = time.monotonic()
        self.reported_activations = 0
        self.last: tuple[Tensor, Losses] | None = None

    @classmethod
    def begun(cls, sae: SAE, config: RunConfig, x: Float[Tensor, "batch d_in"]) -> "_Run":
        """A training from its beginning: scale and weights begin at what the first batch `x` is like."""
        torch.manual_seed(config.seed)  # for what an architecture may draw in its steps
        run = cls(sae, config, norm_scale(x) if config.sae.normalize == "average_norm" else 1.0)
        sae.initialise((x * run.scale).mean(dim=0), torch.Generator().manual_seed(config.seed))
        return run

    @classmethod
    def restored(cls, sae: SAE, config: RunConfig, state: dict[str, Any]) -> "_Run":
        """A training that goes on from a `state()`."""
        run = cls(sae, config, state["scale"])
        sae.load_state_dict(_beneath(state, "sae/"))
        adam = run.optimizer.state_dict()
        for i, (name, weights) in enumerate(sae.named_parameters()):
            adam["state"][i] = {
                # In the memory layout of the weights: the fused step walks all of them side by side.
                field: torch.empty_like(weights).copy_(value) if value.ndim else value
                for field, value in _beneath(state, f"adam/{name}/").items()
            }
        run.optimizer.load_state_dict(adam)
        run.silent_for.copy_(state["silent_for"])
        torch.set_rng_state(state["rng"].cpu())
        if "rng_cuda" in state and run.silent_for.is_cuda:
            torch.cuda.set_rng_state(state["rng_cuda"].cpu(), run.silent_for.device)
        run.steps_done, run.activations = state["steps_done"], state["activations"]
        run.reported_activations = run.activations
        run.began -= state["elapsed_s"]
        return run

    def state(self) -> dict[str, Any]:
        """Tensors, not copied, and plain values by name: all that the next step depends on but its batch.

        Python's and NumPy's generators are not in it: nothing draws from them but the corpus, from its own.
        """
        moments = self.optimizer.state_dict()["state"]
        state: dict[str, Any] = {
            "steps_done": self.steps_done,
            "activations": self.activations,
            "scale": self.scale,
            "elapsed_s": time.monotonic() - self.began,
            "silent_for": self.silent_for,
            "rng": torch.get_rng_state(),
            **{f"sae/{name}": value for name, value in self.sae.state_dict().items()},
        }
        if self.silent_for.is_cuda:
            state["rng_cuda"] = torch.cuda.get_rng_state(self.silent_for.device)
        for i, (name, _) in enumerate(self.sae.named_parameters()):
            state |= {f"adam/{name}/{field}": value for field, value in moments.get(i, {}).items()}
        return state

    def step(self, x: Float[Tensor, "batch d_in"]) -> None:
        """One optimiser step on raw activations. Raises DivergedError before a bad loss touches the weights."""
        self.whole = False
        x = x * self.scale
        training = self.config.training
        factor = schedules.lr_factor(
            self.steps_done, self.config.steps, warmup_steps=training.warmup_steps, decay_share=training.decay_share
        )
        for group in self.optimizer.param_groups:
            group["lr"] = training.lr * factor
        losses = self.sae.losses(
            x, dead=self.dead(), warmth=schedules.warmth(self.steps_done, self.config.sae.penalty_warmup_steps)
        )
        total = losses.total.item()
        if not math.isfinite(total):
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
        self.whole = True

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


def _beneath(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

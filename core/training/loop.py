"""Train an SAE on a stream of activations: a generator of reports.

Takes batches, not a model; whoever closes the generator stops the training. Saving is the caller's: `save` is called
when a checkpoint is due, when the generator is closed, and at the end.
"""

import itertools
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from core.config import RunConfig
from core.errors import CorpusError, SaeTuiError
from core.records import Densities, Notice, Progress, StepReport
from core.sae.base import SAE
from core.training.ranks import ALONE, Ranks
from core.training.run import Run

Batches = Iterable[Float[Tensor, "batch d_in"] | int]
Save = Callable[[int, SAE, dict[str, Any]], None]
"""`save(step, made, state)`: writes the SAE as it would be used, on the CPU, and the state of the training, before it
returns. Raises OSError where that cannot be written."""
Watch = Callable[[int, Callable[[], SAE]], None]
"""`one(step, made)`: called after each step, before anything else; `made()` is the SAE as `save` is given it."""
DENSITIES_S = 2.0
"""Seconds between two histograms of densities, at least."""
RETRY_S = 60.0
"""Seconds until a checkpoint that could not be written is tried again."""


def train(
    sae: SAE, batches: Batches, config: RunConfig, *, save: Save, watch: Sequence[Watch] = (),
    start: SAE | None = None, resumed: dict[str, Any] | None = None, ranks: Ranks = ALONE,
) -> Generator[StepReport | Densities | Progress | Notice, None, None]:  # fmt: skip
    """Train `sae` in place until the budget is spent or the batches end.

    Between its batches, `batches` yields the number of activations gathered for the next ones. Weights begin as those
    of `start`, which takes raw activations, or at random. `resumed` is a state that `save` was given: with the batches
    that had not come then, training goes on as if it had not been interrupted. A checkpoint that cannot be written is
    said and tried again; when the generator is closed, that raises its OSError. Raises DivergedError, keeping the last
    checkpoint, where the loss is not a number; CorpusError where no batch comes.

    Where several processes train, `batches` are this one's rows of each batch. They step, save and end together; what
    the first one's `save` raises counts.
    """
    stream = iter(batches)
    if resumed is None:
        first = yield from _first(stream, min(config.training.buffer_activations, config.budget.activations))
        whole = ranks.gathered(first)
        run = Run.begun(sae, config, whole, start, ranks)
        if told := run.inputs.told(len(whole)):
            yield Notice(message=told)
        stream = itertools.chain([first], stream)
    else:
        run = Run.restored(sae, config, resumed, ranks)
    checkpoints = _Checkpoints(config, save, run.steps_done)
    try:
        yield from _steps(run, stream, checkpoints, watch)
        last = ranks.first_says(checkpoints.behind(run))
    except (GeneratorExit, SaeTuiError, OSError) as error:
        if run.whole and ranks.leave(error) and ranks.first_says(checkpoints.behind(run)):
            checkpoints.write(run)
        raise
    if last:
        yield from checkpoints.tried(run)


def _first(batches: Iterator[Tensor | int], wanted: int) -> Generator[Progress, None, Tensor]:
    """The first batch, while what is gathered for it is reported."""
    for x in batches:
        if not isinstance(x, int):
            return x
        yield Progress(phase="gathering activations to mix", done=x, total=wanted, unit="activations")
    raise CorpusError("the corpus gave no activations", hint="check corpus.name, its columns and splits")


def _steps(
    run: Run, batches: Iterator[Tensor | int], checkpoints: "_Checkpoints", watch: Sequence[Watch]
) -> Generator[StepReport | Densities | Progress | Notice, None, None]:
    """The steps that are left of the budget."""
    budget, told = run.config.budget.total, 0.0
    while run.activations < budget:
        x = next(batches, None)
        if not isinstance(x, int):
            x = x if x is None else x[: budget - run.activations]
            if not run.ranks.rows(x) or x is None:
                return
            run.step(x)
            for one in watch:
                one(run.steps_done, run.made)
            if run.steps_done % run.config.training.log_every_steps == 0:
                yield run.report()
                if time.monotonic() >= told:
                    yield run.densities()
                    told = time.monotonic() + DENSITIES_S
            if run.ranks.first_says(checkpoints.due(run)):
                yield from checkpoints.tried(run)
        yield Progress(phase="training", done=run.activations, total=budget, unit="activations")


class _Checkpoints:
    """When a checkpoint is written, and what is said where it cannot be."""

    def __init__(self, config: RunConfig, save: Save, step: int) -> None:
        self._save, self._step = save, step
        self._first, self._every_s = config.training.warmup_steps, 60 * config.training.checkpoint_minutes
        self._next = time.monotonic() + self._every_s
        self._failed = False

    def behind(self, run: Run) -> bool:
        """Whether there are steps after the last checkpoint."""
        return run.steps_done > self._step

    def due(self, run: Run) -> bool:
        """Whether it is time for one: after the warm-up, then by the clock."""
        return (self._step == 0 and run.steps_done == self._first) or time.monotonic() >= self._next

    def write(self, run: Run) -> None:
        """Write one now. Raises OSError."""
        self._save(run.steps_done, run.made(), run.state())
        self._step, self._next = run.steps_done, time.monotonic() + self._every_s

    def tried(self, run: Run) -> Generator[Notice, None, None]:
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

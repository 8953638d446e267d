"""A training taken up by a new session under a larger budget, after it has ended or was stopped.

The new session begins with a copy of the newest checkpoint and of the metrics up to it, and is resumed like any other:

- Weights, optimiser, scale, counts of silence and random state are those of the checkpoint; its steps and activations
  count as done.
- The learning rate at a step is what the schedule says at that step of the new budget's: where it had begun to fall,
  it is higher again than at the checkpoint.
- The data go on after what was read: the text after the last batch of blocks; activations on disk with what was not
  read in the passes made so far, then with further passes (`core.training.cached`).

So a training that was stopped before its data ended, taken up with a constant rate and the same buffer and order of
the text, ends with the bits of one that had the larger budget from the beginning. One that has ended does not: it
emptied its buffer at the end, where the longer one mixes the rest with what follows. Each step is all the same what it
would be for the same batches.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.config import RunConfig
from core.errors import ConfigError, SessionError
from core.session import Session

MAY_CHANGE = ("device", "strict", "budget", "evaluation", "analysis", "logging")
"""Fields at the top, and parts, that may be others in a training that goes on."""
SCHEDULE = (
    "lr", "warmup_steps", "decay", "decay_share", "lr_floor", "precision", "resample_every_steps",
    "dead_after_activations", "log_every_steps", "snapshot_every_steps", "checkpoint_minutes", "keep_checkpoints",
    "keep_state",
)  # fmt: skip
"""Of `training`."""


def continued(source: Session, root: Path, name: str, config: RunConfig) -> Session:
    """A new session `name` in `root` with `config`, whose training goes on from the newest checkpoint of `source`.

    Raises SessionError where a job works on `source` or it holds nothing to go on from, ConfigError where `config`
    has no larger budget or changes what must stay.
    """
    if source.observed().active:
        raise SessionError(
            f"a job works on session {source.name!r}", hint=f"`sae-tui stop {source.name}` keeps a checkpoint"
        )
    step = source.state_step()
    if step is None:
        raise SessionError(
            f"session {source.name!r} keeps nothing that its training could go on from",
            hint="it has no checkpoint, or training.keep_state was off; "
            f"`--set training.init_from={source.name}` without --continue starts from its weights",
        )
    before = source.config()
    changed = [field for field in _differing(before.model_dump(), config.model_dump()) if not _may_change(field)]
    if changed:
        raise ConfigError(
            f"{', '.join(changed)} cannot change in a training that goes on",
            hint="budget, schedule, logging, evaluation and analysis can; without --continue it is trained anew",
        )
    if config.budget.total <= before.budget.total:
        raise ConfigError(
            f"a budget of {config.budget.total:,} activations is not larger than the {before.budget.total:,} of "
            f"{source.name!r}",
            hint="raise budget.activations or budget.epochs",
        )
    return Session.create(root, name, config, lambda new: _take_over(source, step, new))


def _take_over(source: Session, step: int, new: Session) -> None:
    shutil.copytree(source.checkpoints_dir / str(step), new.checkpoints_dir / str(step))
    if source.metrics_path.exists():
        shutil.copyfile(source.metrics_path, new.metrics_path)


def _differing(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The dotted names of fields that are not the same in two configurations."""
    found: list[str] = []
    for name, value in one.items():
        if isinstance(value, Mapping):
            found += _differing(value, other[name], f"{prefix}{name}.")
        elif value != other[name]:
            found.append(f"{prefix}{name}")
    return found


def _may_change(field: str) -> bool:
    part, _, rest = field.partition(".")
    return part in MAY_CHANGE or (part == "training" and rest in SCHEDULE)

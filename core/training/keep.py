"""What a training keeps in its session, and finds there when it is started again."""

import contextlib
import json
from collections.abc import Generator, Iterator
from dataclasses import asdict

import torch

from core.errors import SessionError
from core.records import Densities, Notice, Progress, StepReport
from core.sae import files
from core.sae.base import SAE
from core.session import Session
from core.storage import replace_file
from core.training import cached, checkpoint, data
from core.training.ranks import Ranks

Source = data.TrainingActivations | cached.CachedActivations
"""Batches of activations with a state."""


def require_unfinished(session: Session) -> None:
    """Raise SessionError unless the session can be trained, from its beginning or from a checkpoint."""
    if session.finished:
        raise trained_already(session)
    if session.checkpoint_steps() and session.resumable() is None:
        raise SessionError(
            f"the checkpoints of session {session.name!r} hold weights alone, so its training cannot go on",
            hint=f"an older sae-tui wrote them; `sae-tui clone {session.name}` begins the same run anew",
        )


def trained_already(session: Session) -> SessionError:
    """That nothing is left to train there."""
    return SessionError(
        f"session {session.name!r} has been trained already", hint="train under another name, or remove it first"
    )


def unmoved(session: Session) -> SAE | None:
    """The SAE as training left it, where its thresholds were moved since: that of the last checkpoint."""
    steps = session.checkpoint_steps()
    if not steps or not session.calibration_path.is_file():
        return None
    return files.load(session.checkpoints_dir / str(steps[0]))


def restored(
    session: Session, device: torch.device, batches: Source, ranks: Ranks
) -> Generator[Progress | Notice, None, checkpoint.State | None]:
    """Bring the batches and the metrics to where the newest checkpoint is; returns what `loop.train` goes on from.

    Raises SessionError where the checkpoint is of another number of processes.
    """
    found, torn = checkpoint.load(session, device, ranks.rank)
    ranks.require_same(found.step if found else 0, f"the processes found different checkpoints of {session.name!r}")
    if ranks.first:
        session.cut_metrics(found.step if found else 0)
    if found is None:
        return None
    world = found.parts.get("ranks", {}).get("world", 1)
    if world != ranks.world:
        raise SessionError(
            f"the checkpoint of step {found.step:,} was written by {world} process{'es' * (world > 1)}, and "
            f"{ranks.world} would go on from it",
            hint=f"start as many as then, or `sae-tui clone {session.name}` begins the same run anew",
        )
    for step in torn:
        yield Notice(message=f"the checkpoint of step {step:,} is torn and removed")
    if ranks.first:
        checkpoint.forget(session, torn)
    yield Notice(message=f"training goes on from the checkpoint of step {found.step:,}")
    if changed := checkpoint.differences(found.made_with):
        yield Notice(message=f"not as it was at the checkpoint, so the last bits may differ: {changed}")
    yield from batches.restore(found.parts.pop("data"))
    return found.parts["run"]


def parts(
    session: Session, ranks: Ranks, state: checkpoint.State, batches: Source
) -> dict[str, checkpoint.State]:  # fmt: skip
    """What the first process writes into a checkpoint, once the others have left the state of their batches for it.

    All processes call it. Raises OSError in the first where another could not write.
    """
    data = batches.state()
    written = True
    if not ranks.first:
        try:
            checkpoint.save_data(session, ranks.rank, data)
        except OSError:
            written = False
    if not ranks.all_say(written) and ranks.first:
        raise OSError("another process could not write its part")
    alone = {"run": state, "data": data}
    return alone if ranks.world == 1 else {**alone, "ranks": {"world": ranks.world}}


def shown(session: Session, densities: Densities) -> None:
    """Leave the histogram for whoever looks; one that the disk does not take is not missed."""
    with contextlib.suppress(OSError):
        replace_file(session.densities_path, json.dumps(asdict(densities)))


def logged(session: Session, unwritten: list[StepReport], report: StepReport) -> Iterator[Notice]:
    """Write the report to `metrics.jsonl`; where the disk does not take it, say so and keep it in `unwritten`."""
    unwritten.append(report)
    try:
        while unwritten:
            session.append_metrics(asdict(unwritten[0]))
            unwritten.pop(0)
    except OSError as error:
        if len(unwritten) == 1:
            yield Notice(
                message=f"metrics.jsonl cannot be written ({error.strerror}): free some space or mend the disk; "
                "training goes on, and its lines wait in memory"
            )

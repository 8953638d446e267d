"""What a training keeps in its session, and finds there when it is started again."""

import contextlib
import json
from collections.abc import Generator, Iterator
from dataclasses import asdict

import torch

from core.records import Densities, Notice, Progress, StepReport
from core.session import Session
from core.storage import replace_file
from core.training import cached, checkpoint, data

Source = data.TrainingActivations | cached.CachedActivations
"""Batches of activations with a state."""


def restored(
    session: Session, device: torch.device, batches: Source
) -> Generator[Progress | Notice, None, checkpoint.State | None]:
    """Bring the batches and the metrics to where the newest checkpoint is; returns what `loop.train` goes on from."""
    found, torn = checkpoint.load(session, device)
    session.cut_metrics(found.step if found else 0)
    if found is None:
        return None
    for step in torn:
        yield Notice(message=f"the checkpoint of step {step:,} is torn and removed")
    checkpoint.forget(session, torn)
    yield Notice(message=f"training goes on from the checkpoint of step {found.step:,}")
    if changed := checkpoint.differences(found.made_with):
        yield Notice(message=f"not as it was at the checkpoint, so the last bits may differ: {changed}")
    yield from batches.restore(found.parts.pop("data"))
    return found.parts["run"]


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

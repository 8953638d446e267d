"""A session's SAE trained: from its configuration and its activations to the files in `sae/`.

The steps themselves are `loop`'s, what lies in the session `keep`'s; what comes here is which activations are taken,
what is made of the records on their way, and what happens to the SAE that comes out.
"""

import contextlib
import json
import operator
from collections.abc import Generator, Iterator
from dataclasses import asdict, replace

import torch

from core import cache, device, estimate
from core.config import RunConfig
from core.image_facts import CLASSIFIER
from core.jobs import Record
from core.models.load import Loader, Model
from core.processing import made_by
from core.records import Densities, Notice, Progress, StepReport
from core.sae import build as architectures
from core.sae import files
from core.sae.base import SAE
from core.session import Session
from core.storage import last_line, replace_file
from core.training import (
    cached,
    calibration,
    checkpoint,
    data,
    keep,
    logbooks,
    loop,
    own,
    scored,
    snapshots,
    starting,
    thresholds,
)
from core.training.ranks import Ranks


def trained(
    session: Session, config: RunConfig, load: Loader, books: logbooks.Logbooks, among: Ranks
) -> Iterator[Record]:
    """Train the SAE of `session`, from its newest checkpoint or anew, and leave it, its metrics and its checkpoints.

    `load` is asked for a model only where activations are lacking; `among` are the processes that train together, of
    which all but the first leave nothing. Raises what `loop.train` does; ConfigError, CorpusError, ModelError,
    SessionError for what cannot be begun or gone on with.
    """
    logbooks.check(config.logging)
    if warning := estimate.tight(config):
        yield Notice(message=warning)
    start = starting.read(config, session.path.parent) if session.resumable() is None else None
    batches, model, place, d_in = yield from _read_by_training(session, config, load, among)
    among.use(place)
    sae = architectures.build(config.sae, d_in).to(place)
    if start:
        starting.require_fit(start, sae, config.training.init_from)
        yield Notice(message=f"its weights begin as those of {config.training.init_from}")
    yield Notice(message=f"{sae.architecture} SAE, {d_in} -> {sae.d_sae} features, on {place}")
    resumed = yield from keep.restored(session, place, batches, among)
    trained, done = (resumed["activations"], resumed["steps_done"]) if resumed else (0, 0)
    score = scored.Scored(config, model if among.first else None, last_line(session.metrics_path).get("ce_loss_score"))
    yield from score.read()
    among.meet()
    if not among.first:
        yield from _trained_beside(session, sae, config, batches, start, resumed, among)
        return
    made: SAE | None = None
    taken = snapshots.Snapshots(
        session, place, batches, every=config.training.snapshot_every_steps, step=done,
        kept_with=_metadata(config, None) if config.model.reads_images else None,
    )  # fmt: skip

    def save(step: int, sae: SAE, state: checkpoint.State) -> None:
        nonlocal trained, done, made
        trained, done, made = state["activations"], step, sae
        parts = keep.parts(session, among, state, batches)
        taken.flush()
        checkpoint.save(session, step, sae, parts, _metadata(config, trained), keep=config.training.keep_checkpoints)

    unwritten: list[StepReport] = []
    yield from books.open(session, config, done)
    reports = loop.train(
        sae, batches, config, save=save, watch=(taken.after, score.after), start=start, resumed=resumed, ranks=among
    )  # fmt: skip
    with contextlib.closing(reports):  # not by the garbage collector, which swallows an error of the last checkpoint
        for record in reports:
            if isinstance(record, Densities):
                keep.shown(session, record)
                continue
            if isinstance(record, StepReport):
                record = replace(record, ce_loss_score=score.last)
                yield from score.notices()
                yield from keep.logged(session, unwritten, record)
                yield from books.steps(record)
            yield record
    if config.budget.total - trained >= among.world:  # a last batch is no smaller
        yield Notice(message=f"the corpus ended after {trained:,} activations; the budget was {config.budget.total:,}")
    for report in unwritten:
        session.append_metrics(asdict(report))
    if made is None:  # all steps were done when it was taken up again
        made = files.load(session.weights_dir())
    densities = taken.finish(made)
    if config.sae.moves_thresholds:
        yield from _calibrated(session, config, made, place, load)
    files.save(made, session.sae_dir, _metadata(config, trained))
    checkpoint.forget_states(session, keep=1 if config.training.keep_state else 0)
    taken.forget()
    yield from books.densities("log10_density", densities, done)
    yield from books.ended()


def _trained_beside(
    session: Session, sae: SAE, config: RunConfig, batches: keep.Source, start: SAE | None,
    resumed: checkpoint.State | None, among: Ranks,
) -> Iterator[Record]:  # fmt: skip
    """The same training in another process than the first: its batches are all that it keeps."""

    def save(_step: int, _sae: SAE, state: checkpoint.State) -> None:
        keep.parts(session, among, state, batches)

    reports = loop.train(sae, batches, config, save=save, start=start, resumed=resumed, ranks=among)
    with contextlib.closing(reports):
        yield from (record for record in reports if not isinstance(record, Densities))


def _calibrated(
    session: Session, config: RunConfig, sae: SAE, place: torch.device, load: Loader
) -> Iterator[Progress | Notice]:
    """Move the SAE's thresholds to what it aims at, on the calibration split, and keep in a file what that did."""
    kept = None if config.training.cache == "off" or config.training.source else cached.found(config)[0]
    rows = yield from calibration.rows(config, kept, load)
    last, target = (session.metrics() or [{}])[-1], config.sae.aim
    assert target is not None
    found = thresholds.move(sae.to(place), rows.to(place), target=target, coefficient=last.get("coefficient"))
    sae.cpu()
    replace_file(session.calibration_path, json.dumps(asdict(found), indent=1))
    yield Notice(
        message=f"thresholds moved by {found.moved_by:.3g}: {found.l0_before:.2f} active features are "
        f"{found.l0:.2f} on {found.activations:,} activations of the calibration split; the target is {target:g}"
    )


def _read_by_training(
    session: Session, config: RunConfig, load: Loader, among: Ranks
) -> Generator[Progress | Notice, None, tuple[keep.Source, Model | None, torch.device, int]]:
    """Where the activations come from, the model, on which device, how wide: a stream from it, or what is on disk.

    The model is not loaded where enough of them are kept, or they are a person's own.
    """
    if config.training.source:
        rows = own.OwnActivations(config, "train")
        place = device.pick(config.device)
        device.tune(place)
        return cached.CachedActivations(config, rows, place, among), None, place, rows.d_in
    if config.training.cache == "off":
        model = yield from load(config)
        if config.strict and among.first and session.resumable() is None:
            yield from data.check_budget(config, model)
        return data.TrainingActivations(config, model, among), model, model.device, model.d_in
    there, _ = cached.found(config)
    if there.rows and cache.unpinned(config):
        yield Notice(message=f"these are activations of {config.corpus.name} as it was when they were harvested: "
                     "corpus.revision names one state of it")  # fmt: skip
    if among.first_here and not cached.suffices(there, config):
        there = yield from cached.filled(config, (yield from load(config)))
    among.meet()
    if not among.first_here:
        there, _ = cached.found(config)
    place = device.pick(config.device)
    device.tune(place)
    return cached.CachedActivations(config, there, place, among), None, place, there.d_in


def _metadata(config: RunConfig, trained: int | None) -> dict[str, object]:
    """What SAELens' `cfg.json` tells of a run, in its names; of own activations, neither model nor hook point.

    `trained` is None where it is not known on how many activations.
    """
    if config.training.source:
        return {
            "model_name": "",
            "hook_name": "",
            "dataset_path": config.training.source,
            "training_activations": trained,
            "training_architecture_details": config.sae.model_dump(exclude_none=True),
        }
    classifier = {field: operator.attrgetter(field)(config) for field in CLASSIFIER}
    return {
        "model_name": config.model.name,
        "hook_name": config.model.hook,
        "hook_head_index": None,
        **made_by(config.model.processing),
        "context_size": config.tokens.context,
        "prepend_bos": config.tokens.prepend_bos,
        "exclude_special_tokens": config.tokens.skip_special,
        "dataset_path": config.corpus.name,
        "disable_concat_sequences": config.tokens.packing == "per_document",
        "seqpos_slice": [1 if config.tokens.skip_first else 0, None],
        "training_activations": trained,
        "training_architecture_details": config.sae.model_dump(exclude_none=True),
        **({"classifier": classifier} if config.model.reads_images else {}),
    }

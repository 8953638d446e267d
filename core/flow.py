"""The stages joined: train, evaluate, analyze, and what the engine needs. Read this file first.

    corpus ──► tokens ──► model ──► activations ──► training ──► sae/ ──► analysis ──► features.duckdb
                                                                  └─────► evaluate, engine (steering)

Every function here is a generator of records and leaves its results in the session's folder. Closing one stops the
work. The only file that joins stages.
"""

import contextlib
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict

import torch

from core import budgets, corpus, device, estimate, tokens
from core import config as configs
from core.analysis import build, collect
from core.config import RunConfig
from core.errors import ConfigError, ModelError, RunError, SessionError, out_of_memory
from core.evaluate import evaluate as measure
from core.evaluate import of_rows
from core.jobs import Record, Verb
from core.models import load
from core.models.language import HookInfo, LanguageModel, boot, fired_hooks
from core.records import Densities, Evaluation, Notice, Progress, StepReport
from core.sae import build as architectures
from core.sae import files
from core.sae.base import SAE
from core.session import Session
from core.storage import read_json, replace_file
from core.training import (
    cached,
    calibration,
    checkpoint,
    data,
    keep,
    logbooks,
    loop,
    own,
    ranks,
    snapshots,
    starting,
    thresholds,
)

LOGITS = 2**25
"""Logits held at once in evaluation: 128 MB in float32, and a few times that in all."""
Loader = Callable[[RunConfig], Generator[Progress, None, LanguageModel]]
"""What gives a stage its model."""


def load_model(config: RunConfig) -> Generator[Progress, None, LanguageModel]:
    """Load the configured model at its hook point; a generator whose return value is the `LanguageModel`.

    Raises ConfigError, ModelError: device, model, hook point or context that cannot be.
    """
    place = device.pick(config.device)
    device.tune(place)
    model, tokenizer = yield from load.load(config.model, place)
    language = LanguageModel(config.model.name, model, tokenizer, config.model.hook, place)
    if config.tokens.context > language.context:
        raise ConfigError(
            f"tokens.context = {config.tokens.context}, but {config.model.name} reads {language.context} tokens",
            hint="lower tokens.context",
        )
    return language


def loaded_once(load: Loader | None = None) -> Loader:
    """A loader that keeps its model, or the one `load` gives, for the next who asks for the same."""
    kept: dict[str, LanguageModel] = {}

    def once(config: RunConfig) -> Generator[Progress, None, LanguageModel]:
        key = f"{config.model!r} {config.device}"
        if key not in kept:
            kept.clear()  # before the next is loaded: memory for two may not be there
            kept[key] = yield from (load or load_model)(config)
        return kept[key]

    return once


def stages(
    session: Session, *, measure: bool = False, settings: Sequence[str] = (), load: Loader | None = None
) -> Callable[[Verb], Iterator[Record]]:
    """A function that does a verb's work on the session. The first verb that needs the model loads it for all.

    With `measure`, training begins with `measured`; `settings` are for `evaluate` and `analyze`; `load` gives the
    model, where several sessions share one.
    """
    load = load or loaded_once()

    def work(verb: Verb) -> Iterator[Record]:
        match verb:
            case "train":
                if measure and session.resumable() is None:
                    yield from measured(session, load)
                yield from train(session, load)
            case "evaluate":
                yield from evaluate(session, load, settings=settings)
            case "analyze":
                yield from analyze(session, load, settings=settings)

    return work


def _loaded(session: Session, config: RunConfig, load: Loader) -> Generator[Progress, None, tuple[LanguageModel, SAE]]:
    """The model, and the session's SAE on its device.

    Raises SessionError where there is no SAE, before a model is loaded for nothing; ModelError where it does not fit.
    """
    session.weights_dir()
    model = yield from load(config)
    sae = files.load(session.weights_dir(), model.device)
    if sae.d_in != model.d_in:
        raise ModelError(
            f"the SAE takes {sae.d_in} dimensions, but {model.hook} of {model.name} has {model.d_in}",
            hint="set model.name and model.hook to what it was trained on",
        )
    return model, sae


def train(session: Session, load: Loader = load_model) -> Iterator[Record]:
    """Train the session's SAE and save it to `sae/`; metrics go to `metrics.jsonl`, checkpoints to `checkpoints/`.

    Goes on from the newest checkpoint where there is one. Raises SessionError where it has ended already; RunError,
    with the numbers, where the memory does not suffice. Where torchrun started several processes, each calls this, and
    all but the first leave nothing.
    """
    with ranks.Ranks.joined() as among:
        _require_unfinished(session)
        config, load = session.config(), loaded_once(load)
        among.require_fit(config)
        try:
            with contextlib.closing(logbooks.Logbooks()) as books:
                yield from _trained(session, config, load, books, among)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            message, hint = estimate.shortage(config)
            raise RunError(
                f"the memory is full: {message}", hint=f"{hint}, as in `sae-tui clone {session.name} --set ...`"
            ) from error


def _trained(
    session: Session, config: RunConfig, load: Loader, books: logbooks.Logbooks, among: ranks.Ranks
) -> Iterator[Record]:
    logbooks.check(config.logging)
    if warning := estimate.tight(config):
        yield Notice(message=warning)
    start = starting.read(config, session.path.parent) if session.resumable() is None else None
    batches, place, d_in = yield from _read_by_training(session, config, load, among)
    among.use(place)
    sae = architectures.build(config.sae, d_in).to(place)
    if start:
        starting.require_fit(start, sae, config.training.init_from)
        yield Notice(message=f"its weights begin as those of {config.training.init_from}")
    yield Notice(message=f"{sae.architecture} SAE, {d_in} -> {sae.d_sae} features, on {place}")
    resumed = yield from keep.restored(session, place, batches, among)
    trained, done = (resumed["activations"], resumed["steps_done"]) if resumed else (0, 0)
    if not among.first:
        yield from _trained_beside(session, sae, config, batches, start, resumed, among)
        return
    made: SAE | None = None
    taken = snapshots.Snapshots(session, place, batches, every=config.training.snapshot_every_steps, step=done)

    def save(step: int, sae: SAE, state: checkpoint.State) -> None:
        nonlocal trained, done, made
        trained, done, made = state["activations"], step, sae
        parts = keep.parts(session, among, state, batches)
        taken.flush()
        checkpoint.save(session, step, sae, parts, _metadata(config, trained))

    unwritten: list[StepReport] = []
    yield from books.open(session, config, done)
    reports = loop.train(
        sae, batches, config, save=save, watch=taken.after, start=start, resumed=resumed, ranks=among
    )  # fmt: skip
    with contextlib.closing(reports):  # not by the garbage collector, which swallows an error of the last checkpoint
        for record in reports:
            if isinstance(record, Densities):
                keep.shown(session, record)
                continue
            if isinstance(record, StepReport):
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
    resumed: checkpoint.State | None, among: ranks.Ranks,
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
    session: Session, config: RunConfig, load: Loader, among: ranks.Ranks
) -> Generator[Progress | Notice, None, tuple[keep.Source, torch.device, int]]:
    """Where the activations come from, on which device, how wide: a stream from the model, or what is on disk.

    The model is not loaded where enough of them are kept, or they are a person's own.
    """
    if config.training.source:
        rows = own.OwnActivations(config, "train")
        place = device.pick(config.device)
        device.tune(place)
        return cached.CachedActivations(config, rows, place, among), place, rows.d_in
    if config.training.cache == "off":
        model = yield from load(config)
        if config.strict and among.first and session.resumable() is None:
            yield from data.check_budget(config, model)
        return data.TrainingActivations(config, model, among), model.device, model.d_in
    there, _ = cached.found(config)
    if among.first_here and not cached.suffices(there, config):
        there = yield from cached.filled(config, (yield from load(config)))
    among.meet()
    if not among.first_here:
        there, _ = cached.found(config)
    place = device.pick(config.device)
    device.tune(place)
    return cached.CachedActivations(config, there, place, among), place, there.d_in


def evaluate(session: Session, load: Loader = load_model, *, settings: Sequence[str] = ()) -> Iterator[Record]:
    """Measure the session's SAE on the test split and write `evaluation.json`; `settings` are as `--set` takes them.

    On another model, hook point or corpus than its own it is a transfer: its `evaluation.json` stays, and the result
    goes to `transfers.json`, in the place of an earlier one on the same.
    """
    config, trained_on = configs.changed(session.config(), settings), configs.changed(session.config(), ())
    logbooks.check(config.logging)
    place = configs.place(config)
    elsewhere = place != configs.place(trained_on)
    if config.training.source and config.model == trained_on.model:
        if elsewhere:
            raise _without_model(session, config, "measured on a corpus")
        result = yield from _measured_rows(session, config)
    else:
        language, sae = yield from _loaded(session, config, load)
        result = yield from measure(
            language,
            sae,
            lambda n: tokens.stacked(data.blocks(config, language, "test"), n),
            activations=config.evaluation.activations,
            ce_tokens=config.evaluation.ce_tokens,
            ce_blocks=max(1, LOGITS // (config.tokens.context * language.n_vocab)),
            unmoved=_unmoved(session),
        )
    if elsewhere:
        found = [other for other in session.transfers() if other["on"] != place]
        found.append({"on": place, **result.to_json()})
        replace_file(session.transfers_path, json.dumps({"transfers": found}, indent=1))
    else:
        moved = read_json(session.calibration_path)
        aim = {name: moved[name] for name in ("target_l0", "coefficient") if name in moved}
        replace_file(session.evaluation_path, json.dumps({**result.to_json(), **aim}, indent=1))
        yield from logbooks.evaluated(session, config, result)
    yield result


def _measured_rows(session: Session, config: RunConfig) -> Generator[Progress | Notice, None, Evaluation]:
    weights = session.weights_dir()
    rows = own.OwnActivations(config, "test")
    place = device.pick(config.device)
    device.tune(place)
    sae = files.load(weights, place)
    if sae.d_in != rows.d_in:
        raise ConfigError(
            f"the SAE takes {sae.d_in} dimensions, but {config.training.source} has {rows.d_in}",
            hint="set training.source to activations like those it was trained on",
        )
    yield Notice(
        message=f"measured on the {min(rows.rows, config.evaluation.activations):,} rows of {config.training.source} "
        "that were kept from training; without a model there are no cross-entropy figures"
    )
    return (
        yield from of_rows(
            sae,
            rows,
            device=place,
            activations=min(rows.rows, config.evaluation.activations),
            unmoved=_unmoved(session),
        )
    )


def _unmoved(session: Session) -> SAE | None:
    """The SAE as training left it, where its thresholds were moved since: that of the last checkpoint."""
    steps = session.checkpoint_steps()
    if not steps or not session.calibration_path.is_file():
        return None
    return files.load(session.checkpoints_dir / str(steps[0]))


def _without_model(session: Session, config: RunConfig, what: str) -> SessionError:
    return SessionError(
        f"session {session.name!r} was trained on {config.training.source}, which holds neither text nor a model: it "
        f"cannot be {what}",
        hint=f"`sae-tui import {session.weights_dir()} --as NAME --set model.name=... --set model.hook=...` gives its "
        "SAE the model that the activations came from",
    )


def analyze(session: Session, load: Loader = load_model, *, settings: Sequence[str] = ()) -> Iterator[Record]:
    """Write the sparse activations of the test split and build `features.duckdb`; `settings` as `--set` takes them."""
    config = configs.changed(session.config(), settings)
    if config.training.source:
        raise _without_model(session, config, "analysed")
    model, sae = yield from _loaded(session, config, load)
    yield from collect.run(
        model, sae, lambda: corpus.documents(config.corpus, "test", seed=config.seed), session, config
    )
    meta = {
        "session": session.name,
        "model": config.model.name,
        "hook": config.model.hook,
        "dtype": config.model.dtype,
        "architecture": sae.architecture,
        "d_in": str(sae.d_in),
        "d_sae": str(sae.d_sae),
        "corpus": config.corpus.name,
        "split": "test",
        "strong": config.analysis.strong,
        "map": config.analysis.map,
    }
    yield from build.build(session, meta, config.analysis)


def load_engine(session: Session) -> Generator[Progress, None, tuple[LanguageModel, SAE]]:
    """What steering needs; a generator whose return value is `(model, sae)`."""
    config = session.config()
    if config.training.source:
        raise _without_model(session, config, "steered with")
    return (yield from _loaded(session, config, load_model))


def probe_hooks(config: RunConfig) -> Generator[Progress, None, list[HookInfo]]:
    """Load a model and find every hook point that fires; a generator whose return value is a list of `HookInfo`."""
    place = device.pick(config.device)
    model, tokenizer = yield from load.load(config.model, place)
    yield Progress(phase="probing hook points")
    return fired_hooks(boot(config.model.name, model, tokenizer, place), place)


def measured(session: Session, load: Loader = load_model) -> Iterator[Record]:
    """Give the session the faster precision and budgets that this machine does in about two minutes.

    Its `config.toml` is replaced, which is never done once training has begun. Raises SessionError where it has.
    """
    if session.trained:
        raise _trained_already(session)
    config = session.config()
    dtype = device.fastest_dtype(device.pick(config.device))
    values = configs.with_settings(config.model_dump(exclude_none=True), [f"model.dtype={dtype}"])
    model = yield from load(configs.parse(values))
    yield Progress(phase="measuring this machine")
    found, words = budgets.measure(model)
    yield Notice(message=words)
    session.reconfigure(configs.parse(configs.with_settings(values, [f"{k}={v}" for k, v in found.items()])))


def _require_unfinished(session: Session) -> None:
    """Raise SessionError unless the session can be trained, from its beginning or from a checkpoint."""
    if session.finished:
        raise _trained_already(session)
    if session.checkpoint_steps() and session.resumable() is None:
        raise SessionError(
            f"the checkpoints of session {session.name!r} hold weights alone, so its training cannot go on",
            hint=f"an older sae-tui wrote them; `sae-tui clone {session.name}` begins the same run anew",
        )


def _trained_already(session: Session) -> SessionError:
    return SessionError(
        f"session {session.name!r} has been trained already", hint="train under another name, or remove it first"
    )


def _metadata(config: RunConfig, trained: int) -> dict[str, object]:
    """What SAELens' `cfg.json` tells of a run, in its names; of own activations, neither model nor hook point."""
    if config.training.source:
        return {
            "model_name": "",
            "hook_name": "",
            "dataset_path": config.training.source,
            "training_activations": trained,
            "training_architecture_details": config.sae.model_dump(exclude_none=True),
        }
    return {
        "model_name": config.model.name,
        "hook_name": config.model.hook,
        "hook_head_index": None,
        "model_class_name": "TransformerBridge",
        "context_size": config.tokens.context,
        "prepend_bos": config.tokens.prepend_bos,
        "exclude_special_tokens": config.tokens.skip_special,
        "dataset_path": config.corpus.name,
        "disable_concat_sequences": config.tokens.packing == "per_document",
        "seqpos_slice": [1 if config.tokens.skip_first else 0, None],
        "training_activations": trained,
        "training_architecture_details": config.sae.model_dump(exclude_none=True),
    }

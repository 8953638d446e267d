"""The stages joined: train, evaluate, analyze, and what the engine needs. Read this file first.

    corpus ──► tokens ──► model ──► activations ──► training ──► sae/ ──► analysis ──► features.duckdb
                                                                  └─────► evaluate, engine (steering)

Every function here is a generator of records and leaves its results in the session's folder. Closing one stops the
work. The only file that joins stages.
"""

import contextlib
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TypeVar

from core import budgets, device, estimate, fidelity, recorded, tokens
from core import config as configs
from core.analysis import build, collect, feature_report, pictured
from core.analysis.baselines import Baseline, asked
from core.config import RunConfig
from core.errors import ConfigError, ModelError, RunError, out_of_memory
from core.evaluate import evaluate as measure
from core.jobs import Record, Verb
from core.models import digits, few_rows, load
from core.models.bridge import HookInfo, boot, fired_hooks
from core.models.digits import ImageClassifier
from core.models.language import LanguageModel
from core.models.load import Loader, Model
from core.records import Evaluation, Notice, Progress
from core.sae import files
from core.sae.base import SAE
from core.session import Session
from core.storage import read_json, replace_file
from core.training import data, keep, logbooks, own, ranks, stage

T = TypeVar("T")
LOGITS = 2**25
"""Logits held at once in evaluation: 128 MB in float32, and a few times that in all."""


def load_model(config: RunConfig) -> Generator[Progress, None, Model]:
    """Load the configured model at its hook point, or train a small classifier; a generator whose return value it is.

    Raises ConfigError, ModelError, CorpusError: device, model, hook point, context or images that cannot be.
    """
    place = device.pick(config.device)
    device.tune(place)
    if config.model.reads_images:
        return (yield from digits.load(config, place))
    model, tokenizer = yield from load.load(config.model, place)
    few_rows.hasten(model)
    language = LanguageModel(
        config.model.name, model, tokenizer, config.model.hook, place, config.model.processing
    )  # fmt: skip
    if config.tokens.context > language.context:
        raise ConfigError(
            f"tokens.context = {config.tokens.context}, but {config.model.name} reads {language.context} tokens",
            hint="lower tokens.context",
        )
    return language


def loaded_once(load: Loader | None = None) -> Loader:
    """A loader that keeps its model, or the one `load` gives, for the next who asks for the same."""
    kept: dict[str, Model] = {}

    def once(config: RunConfig) -> Generator[Progress, None, Model]:
        images = f" {config.corpus!r} {config.seed}" if config.model.reads_images else ""
        key = f"{config.model!r} {config.device}{images}"
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


def _loaded(session: Session, config: RunConfig, load: Loader) -> Generator[Progress, None, tuple[Model, SAE]]:
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
    with ranks.Ranks.joined() as among, contextlib.ExitStack() as stack:
        keep.require_unfinished(session)
        config, load = session.config(), loaded_once(load)
        if config.model.reads_images:
            stack.enter_context(device.one_thread())
        among.require_fit(config)
        if config.training.devices > among.world == 1:
            yield Notice(message=f"training.devices = {config.training.devices}, but here one process trains alone")
        try:
            with contextlib.closing(logbooks.Logbooks()) as books:
                yield from stage.trained(session, config, load, books, among)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            message, hint = estimate.shortage(config)
            raise RunError(
                f"the memory is full: {message}", hint=f"{hint}, as in `sae-tui clone {session.name} --set ...`"
            ) from error


def evaluate(session: Session, load: Loader = load_model, *, settings: Sequence[str] = ()) -> Iterator[Record]:
    """Measure the session's SAE on the test split and write `evaluation.json`; `settings` are as `--set` takes them.

    On another model, hook point or corpus than its own it is a transfer: its `evaluation.json` stays, and the result
    goes to `transfers.json`, in the place of an earlier one on the same. Of an imported SAE it says how its figures
    compare with what its files record.
    """
    config, trained_on = configs.changed(session.config(), settings), configs.changed(session.config(), ())
    logbooks.check(config.logging)
    place = configs.place(config)
    elsewhere = place != configs.place(trained_on)
    if config.training.source and config.model == trained_on.model:
        if own.names_text(settings):
            raise own.without_model(session, "measured on a corpus")
        result = yield from own.measured(config, session.weights_dir(), keep.unmoved(session))
    else:
        model, sae = yield from _loaded(session, config, load)
        result = yield from _measured(model, sae, config, keep.unmoved(session))
    if elsewhere:
        found = [other for other in session.transfers() if other["on"] != place]
        found.append({"on": place, **result.to_json()})
        replace_file(session.transfers_path, json.dumps({"transfers": found}, indent=1))
    else:
        moved = read_json(session.calibration_path)
        aim = {name: moved[name] for name in ("target_l0", "coefficient") if name in moved}
        replace_file(session.evaluation_path, json.dumps({**result.to_json(), **aim}, indent=1))
        if config.model.reads_images:
            told = fidelity.summary(result, config.sae.architecture, config.sae.aim)
            replace_file(session.summary_path, json.dumps(told, indent=1))
        yield from logbooks.evaluated(session, config, result)
        for told in recorded.compared(recorded.read(session.sae_dir), result.metrics):
            yield Notice(message=told)
    yield result


def _measured(model: Model, sae: SAE, config: RunConfig, unmoved: SAE | None) -> Generator[Progress, None, Evaluation]:
    """The SAE on the test split, with a model of either kind."""

    def batches(n: int) -> Iterator[tokens.Blocks]:
        return tokens.stacked(data.blocks(config, model, "test"), n)

    wanted = config.evaluation.activations
    if isinstance(model, ImageClassifier):
        return (yield from fidelity.evaluate(model, sae, batches, activations=wanted, unmoved=unmoved))
    at_once = max(1, LOGITS // (config.tokens.context * model.n_vocab))
    predictions = config.evaluation.ce_tokens
    found = measure(
        model, sae, batches, activations=wanted, ce_tokens=predictions, ce_blocks=at_once, unmoved=unmoved
    )  # fmt: skip
    return (yield from found)


def analyze(session: Session, load: Loader = load_model, *, settings: Sequence[str] = ()) -> Iterator[Record]:
    """Write the sparse activations of the test split and build `features.duckdb`; `settings` as `--set` takes them."""
    config = configs.changed(session.config(), settings)
    if session.config().training.source:
        raise own.without_model(session, "analysed")
    model, sae = yield from _loaded(session, config, load)
    yield from collect.run(model, sae, lambda: data.documents(config, model, "test"), session, config)
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
    if isinstance(model, ImageClassifier):
        yield from pictured.write(model, sae, session, config)
    yield from build.build(session, meta, config.analysis)
    yield from logbooks.analysed(session, config)
    if isinstance(model, ImageClassifier):
        feature_report.write(session)


def load_engine(session: Session, load: Loader = load_model) -> Generator[Progress, None, tuple[Model, SAE]]:
    """What steering needs, on text or on images; a generator whose return value is `(model, sae)`."""
    config = session.config()
    if config.training.source:
        raise own.without_model(session, "steered with, or asked about texts")
    return (yield from _loaded(session, config, load))


def load_text(session: Session, load: Loader = load_model) -> Generator[Progress, None, tuple[LanguageModel, SAE]]:
    """As `load_engine`, for what needs text. Raises SessionError where the model knows none."""
    session.require(images=False)
    model, sae = yield from load_engine(session, load)
    assert isinstance(model, LanguageModel)
    return model, sae


def ask(
    session: Session, question: Callable[[LanguageModel, SAE], Generator[Record, None, T]], load: Loader = load_model
) -> Generator[Record, None, T]:
    """Put one of `core.analysis.asking`'s questions to the session's model and SAE; returns the answer."""
    model, sae = yield from load_text(session, load)
    return (yield from question(model, sae))


def baselines(session: Session, load: Loader = load_model) -> Generator[Record, None, list[Baseline]]:
    """What the session's SAE has to beat at its L0, on activations of the test split; returns the SAE first."""
    config = session.config()
    model, sae = yield from load_engine(session, load)
    batches = tokens.stacked(data.blocks(config, model, "test"), config.training.model_batch_blocks)
    return (yield from asked(model, sae, batches, seed=config.seed))


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
        raise keep.trained_already(session)
    config = session.config()
    dtype = device.fastest_dtype(device.pick(config.device))
    values = configs.with_settings(config.model_dump(exclude_none=True), [f"model.dtype={dtype}"])
    model = yield from load(configs.parse(values))
    if isinstance(model, ImageClassifier):
        return
    yield Progress(phase="measuring this machine")
    found, words = budgets.measure(model)
    yield Notice(message=words)
    session.reconfigure(configs.parse(configs.with_settings(values, [f"{k}={v}" for k, v in found.items()])))

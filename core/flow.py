"""The stages joined: train, evaluate, analyze, import, and what the engine needs. Read this file first.

    corpus ──► tokens ──► model ──► activations ──► training ──► sae/ ──► analysis ──► features.duckdb
                                                                  └─────► evaluate, engine (steering)

Every function here is a generator of records and leaves its results in the session's folder. Closing one stops the
work. The only file that joins stages.
"""

import contextlib
import copy
import json
import random
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from core import activations, budgets, corpus, device, tokens
from core import config as configs
from core.analysis import build, collect
from core.config import RunConfig
from core.errors import ConfigError, CorpusError, ModelError, SessionError
from core.evaluate import evaluate as measure
from core.jobs import Record, Verb
from core.models import load
from core.models.language import HookInfo, LanguageModel, boot, fired_hooks
from core.records import Notice, Progress, StepReport
from core.sae import build as architectures
from core.sae import files
from core.sae.base import SAE
from core.session import Session
from core.storage import replace_file
from core.training import loop

BLOCK_BUFFER, MIXED_TOKENS = 8_192, 2**20
"""Blocks, and tokens, shuffled before the model reads them: documents mix cheapest while they are token ids."""
KEPT_CHECKPOINTS = 2
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


def stages(
    session: Session, *, measure: bool = False, settings: Sequence[str] = ()
) -> Callable[[Verb], Iterator[Record]]:
    """A function that does a verb's work on the session. The first verb that needs the model loads it for all.

    With `measure`, training begins with `measured`; `settings` are for `evaluate` and `analyze`.
    """
    kept: list[LanguageModel] = []

    def load(config: RunConfig) -> Generator[Progress, None, LanguageModel]:
        if not kept:
            kept.append((yield from load_model(config)))
        return kept[0]

    def work(verb: Verb) -> Iterator[Record]:
        match verb:
            case "train":
                if measure:
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
    """Train the session's SAE and save it to `sae/`; metrics go to `metrics.jsonl`, checkpoints to `checkpoints/`."""
    _require_untrained(session)
    config = session.config()
    model = yield from load(config)
    if config.strict:
        yield from _check_budget(config, model)
    sae = architectures.build(config.sae, model.d_in).to(model.device)
    yield Notice(message=f"{sae.architecture} SAE, {model.d_in} -> {sae.d_sae} features, on {model.device}")
    trained = 0
    final = sae

    def save(step: int, scale: float) -> None:
        nonlocal final
        final = _folded(sae, scale)
        files.save(final, session.checkpoints_dir / str(step), _metadata(config, trained))
        _forget_checkpoints(session)

    # Closed here and not by the garbage collector, which would swallow an error of the last checkpoint.
    with contextlib.closing(loop.train(sae, _training_activations(config, model), config, save=save)) as reports:
        for record in reports:
            if isinstance(record, StepReport):
                session.append_metrics(asdict(record))
            elif isinstance(record, Progress) and record.phase == "training":
                trained = int(record.done)
            yield record
    if trained < config.budget.activations:
        yield Notice(
            message=f"the corpus ended after {trained:,} activations; the budget was {config.budget.activations:,}"
        )
    files.save(final, session.sae_dir, _metadata(config, trained))


def evaluate(session: Session, load: Loader = load_model, *, settings: Sequence[str] = ()) -> Iterator[Record]:
    """Measure the session's SAE on the test split and write `evaluation.json`; `settings` are as `--set` takes them."""
    config = _configured(session, settings)
    language, sae = yield from _loaded(session, config, load)
    result = yield from measure(
        language,
        sae,
        lambda n: tokens.stacked(_blocks(config, language, "test"), n),
        activations=config.evaluation.activations,
        ce_tokens=config.evaluation.ce_tokens,
        ce_blocks=max(1, LOGITS // (config.tokens.context * language.n_vocab)),
    )
    replace_file(session.evaluation_path, json.dumps(result.to_json(), indent=1))
    yield result


def analyze(session: Session, load: Loader = load_model, *, settings: Sequence[str] = ()) -> Iterator[Record]:
    """Write the sparse activations of the test split and build `features.duckdb`; `settings` as `--set` takes them."""
    config = _configured(session, settings)
    model, sae = yield from _loaded(session, config, load)
    documents = corpus.documents(config.corpus, "test", seed=config.seed)
    yield from collect.run(model, sae, documents, session, config)
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
    }
    yield from build.build(session, meta, config.analysis)


def load_engine(session: Session) -> Generator[Progress, None, tuple[LanguageModel, SAE]]:
    """What steering needs; a generator whose return value is `(model, sae)`."""
    return (yield from _loaded(session, session.config(), load_model))


def import_sae(root: Path, folder: Path, name: str, settings: Sequence[str] = ()) -> Session:
    """A new session from an SAE in SAELens' layout; it is ready to be evaluated, analysed and steered with.

    The configuration is read from the SAE's own metadata; `settings`, as `--set` takes them, go before.
    Raises ModelError for files that do not fit, SessionError for a name that is taken.
    """
    sae = files.load(folder)
    metadata = files.read_config(folder)["metadata"]
    found: dict[str, object] = {"sae": {"architecture": sae.architecture, "d_sae": sae.d_sae}}
    if isinstance(k := getattr(sae, "k", None), int):
        found["sae"] = {"architecture": sae.architecture, "d_sae": sae.d_sae, "k": k}
    model = {"name": metadata.get("model_name"), "hook": metadata.get("hook_name")}
    found["model"] = {k: v for k, v in model.items() if v}
    block = {"context": metadata.get("context_size"), "prepend_bos": metadata.get("prepend_bos")}
    found["tokens"] = {k: v for k, v in block.items() if v is not None}
    values = configs.with_settings(found, list(settings))
    for field in ("name", "hook"):
        if not values["model"].get(field):
            raise ModelError(f"the SAE's cfg.json does not say its model.{field}", hint=f"add --set model.{field}=...")
    config = configs.with_absolute_paths(configs.parse(values))
    session = Session.create(root, name, config)
    try:
        files.save(sae, session.sae_dir, metadata | {"model_name": config.model.name, "hook_name": config.model.hook})
    except BaseException:
        session.delete()
        raise
    return session


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
    _require_untrained(session)
    config = session.config()
    dtype = device.fastest_dtype(device.pick(config.device))
    values = configs.with_settings(config.model_dump(exclude_none=True), [f"model.dtype={dtype}"])
    model = yield from load(configs.parse(values))
    yield Progress(phase="measuring this machine")
    found, words = budgets.measure(model)
    yield Notice(message=words)
    session.reconfigure(configs.parse(configs.with_settings(values, [f"{k}={v}" for k, v in found.items()])))


def _require_untrained(session: Session) -> None:
    if session.trained:
        raise SessionError(
            f"session {session.name!r} has been trained already", hint="train under another name, or remove it first"
        )


def _configured(session: Session, settings: Sequence[str]) -> RunConfig:
    """The session's configuration with some fields changed for this job alone."""
    values = session.config().model_dump(exclude_none=True)
    return configs.with_absolute_paths(configs.parse(configs.with_settings(values, list(settings))))


def _blocks(config: RunConfig, model: LanguageModel, split: corpus.Split) -> Iterator[tokens.Block]:
    """One split of the corpus in blocks of the model's tokens, from its beginning."""
    return tokens.blocks(corpus.documents(config.corpus, split, seed=config.seed), model.tokens, config.tokens)


def _training_activations(config: RunConfig, model: LanguageModel) -> loop.Batches:
    """Shuffled batches of the train split's activations, no more than the budget needs."""
    training, budget = config.training, config.budget.activations
    context = config.tokens.context
    # Four budgets' worth of blocks mix as well as all: no more text is read before the first step than helps.
    held = max(64, min(BLOCK_BUFFER, MIXED_TOKENS // context, 4 * budget // context))
    mixed = corpus.shuffled(_blocks(config, model, "train"), held, random.Random(config.seed))
    chunks = activations.harvest(model, tokens.stacked(mixed, training.model_batch_blocks))
    return activations.shuffled(
        _limited(chunks, budget),
        buffer=max(2 * training.batch_activations, min(training.buffer_activations, budget)),
        batch=training.batch_activations,
        generator=torch.Generator().manual_seed(config.seed),
    )


def _limited(chunks: Iterator[Tensor], rows: int) -> Iterator[Tensor]:
    for chunk in chunks:
        yield chunk[:rows]
        rows -= len(chunk)
        if rows <= 0:
            return


def _check_budget(config: RunConfig, model: LanguageModel) -> Iterator[Progress]:
    """Refuse a budget larger than the train split, before anything is trained."""
    counted = 0
    for batch in tokens.stacked(_blocks(config, model, "train"), 256):
        counted += int(batch.counted.sum())
        yield Progress(phase="counting the corpus", done=counted, total=config.budget.activations, unit="activations")
        if counted >= config.budget.activations:
            return
    raise CorpusError(
        f"the train split of {config.corpus.name} gives {counted:,} activations, "
        f"the budget is {config.budget.activations:,}",
        hint="lower budget.activations, name a larger corpus, or drop `strict`",
    )


def _folded(sae: SAE, scale: float) -> SAE:
    """A copy on the CPU that takes raw activations."""
    folded = copy.deepcopy(sae).cpu()
    folded.fold_scale(scale)
    return folded


def _forget_checkpoints(session: Session) -> None:
    steps = sorted(int(p.name) for p in session.checkpoints_dir.iterdir() if p.name.isdigit())
    for step in steps[:-KEPT_CHECKPOINTS]:
        shutil.rmtree(session.checkpoints_dir / str(step))


def _metadata(config: RunConfig, trained: int) -> dict[str, object]:
    """What SAELens' `cfg.json` tells of a language-model run, in its names."""
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

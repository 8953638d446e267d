"""A session from an SAE that somebody else trained, from files here or on the hub: any that `core.sae.foreign` reads.

Says what it was taken for, and refuses what cannot fit the model before anything is written. What its files record of
it goes into the session, see `core.recorded`: `flow.evaluate` compares. Loads no model.
"""

import shutil
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from core import config as configs
from core import model_facts, processing, recorded
from core.errors import ModelError, SessionError
from core.image_facts import CLASSIFIER
from core.options import EMBEDDED, IMAGE_MODELS
from core.records import Notice, Progress
from core.sae import download, files, foreign, registry
from core.sae.base import SAE
from core.session import NAME, Session


def import_sae(
    root: Path, source: str, name: str, settings: Sequence[str] = ()
) -> Generator[Progress | Notice, None, Session]:
    """A new session that can be evaluated, analysed and steered with; a generator whose return value is that session.

    `source` is a folder, a file, `REPO:FOLDER` or `RELEASE/ID`; or `NAME@STEP`, what a session in `root` keeps of that
    step, which has the session's own configuration. Else the configuration is what the SAE's files say;
    `settings`, as `--set` takes them, go before. Raises ModelError for what is not there or does not fit, SessionError
    for a name that is taken, or a step that is not kept.
    """
    if own := _kept(root, source):
        return _copied(*own, root, name, settings)
    given = configs.with_settings({"sae": {}, "model": {}}, list(settings))
    configs.parse(given)
    found = yield from _found(source, given)
    sae, metadata = found.sae, found.metadata
    yield Notice(message=f"{source} is {found.kind}: {sae.d_in} -> {sae.d_sae} features")
    values = configs.with_settings(_values(sae, metadata), [*_classifier(metadata), *settings])
    for field, example in (("name", "gpt2"), ("hook", "blocks.8.hook_resid_post")):
        if not values["model"].get(field):
            raise ModelError(
                f"the files of {source} do not say its model.{field}", hint=f"add --set model.{field}=... ({example})"
            )
    config = configs.with_absolute_paths(configs.parse(values))
    if misfit := model_facts.misfit(config.model.name, config.model.revision, config.model.hook, sae.d_in):
        raise ModelError(misfit, hint="set model.name and model.hook to what the SAE was trained on")
    if told := _processed(metadata, config.model.processing):
        yield Notice(message=told)
    session = Session.create(root, name, config)
    try:
        files.save(sae, session.sae_dir, metadata | {"model_name": config.model.name, "hook_name": config.model.hook})
    except BaseException:
        session.delete()
        raise
    return session


def _kept(root: Path, source: str) -> tuple[Session, Path] | None:
    """The session and the folder that NAME@STEP means; None where `source` means no session."""
    name, _, step = source.rpartition("@")
    session = Session(root / name)
    if not NAME.fullmatch(name) or not session.config_path.is_file():
        return None
    folders = [*session.snapshots_dir.glob("*"), *session.checkpoints_dir.glob("*")]
    kept = {int(path.name): path for path in folders if path.name.isdigit() and (path / files.CONFIG_NAME).is_file()}
    if not step.isdigit() or int(step) not in kept:
        there = ", ".join(map(str, sorted(kept)))
        raise SessionError(
            f"session {name!r} keeps no SAE of step {step}",
            hint=f"it keeps those of {there}" if there else "it keeps none: `sae-tui export` copies its last",
        )
    return session, kept[int(step)]


def _copied(source: Session, folder: Path, root: Path, name: str, settings: Sequence[str]) -> Session:
    values = configs.with_settings(source.config().model_dump(exclude_none=True), list(settings))

    def fill(session: Session) -> None:
        session.sae_dir.mkdir()
        for one in (files.CONFIG_NAME, files.WEIGHTS_NAME):
            shutil.copyfile(folder / one, session.sae_dir / one)

    return Session.create(root, name, configs.with_absolute_paths(configs.parse(values)), fill)


def _found(source: str, given: Mapping[str, Any]) -> Generator[Progress, None, foreign.Found]:
    """The SAE, read where it is or fetched first."""
    path = Path(source).expanduser()
    if path.exists() or not registry.is_name(source):
        return foreign.read(path, given=given["sae"])
    fetched = yield from download.fetch(source)
    found = foreign.read(fetched.source, place=fetched.place, given=given["sae"], overrides=fetched.overrides)
    if not found.metadata.get("model_name"):
        found.metadata["model_name"] = fetched.model
    if fetched.neuronpedia and not found.metadata.get("neuronpedia_id"):
        found.metadata["neuronpedia_id"] = fetched.neuronpedia
    found.metadata.update({**fetched.recorded, **recorded.in_metadata(found.metadata)})
    return found


def _values(sae: SAE, metadata: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The configuration that an SAE's files tell."""
    known = {"architecture": sae.architecture, "d_sae": sae.d_sae, "apply_b_dec_to_input": sae.apply_b_dec_to_input}
    if isinstance(k := getattr(sae, "k", None), int):
        known["k"] = k
    model = {"name": metadata.get("model_name"), "hook": metadata.get("hook_name")}
    if kind := processing.of(_options(metadata)):
        model["processing"] = kind
    block = {"context": metadata.get("context_size"), "prepend_bos": metadata.get("prepend_bos")}
    return {
        "sae": known,
        "model": {k: v for k, v in model.items() if v},
        "tokens": {k: v for k, v in block.items() if v is not None},
    }


def _classifier(metadata: Mapping[str, Any]) -> list[str]:
    """Of a network of images, which is made here: settings that make the one the SAE was trained on."""
    if metadata.get("model_name") not in IMAGE_MODELS:
        return []
    given = metadata.get("classifier")
    known = given if isinstance(given, dict) else {"corpus.name": metadata.get("dataset_path") or EMBEDDED[2]}
    return [f"{field}={known[field]}" for field in CLASSIFIER if known.get(field) is not None]


def _options(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the model of an SAE was loaded with, as SAELens' metadata says it."""
    options = metadata.get("model_from_pretrained_kwargs")
    return options if isinstance(options, dict) else {}


def _processed(metadata: Mapping[str, Any], kind: processing.Processing) -> str:
    """What to say of an SAE whose metadata tells that its model's weights were processed; empty where it does not."""
    asked = sorted(name for name in processing.SHOW if _options(metadata).get(name))
    if not asked:
        return ""
    said = f"it was trained on weights that HookedTransformer had processed ({', '.join(asked)}), "
    if processing.of(_options(metadata)) == kind:
        return said + f"and so are they here: model.processing = {kind}"
    return said + f"and here model.processing = {kind}: its figures may be worse than published"

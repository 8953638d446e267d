"""A run's configuration, whole: its parts together, TOML in and out, errors as sentences.

The fields are in `core.options`. Reading a configuration touches no model, no corpus and no file but its own.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import tomlkit
from pydantic import BaseModel, Field, ValidationError, model_validator
from tomlkit.items import Table

from core.errors import ConfigError, nearest
from core.options import (
    EMBEDDED,
    IMAGES,
    AnalysisConfig,
    BudgetConfig,
    CorpusConfig,
    EvaluationConfig,
    LoggingConfig,
    ModelConfig,
    Part,
    SaeConfig,
    TokensConfig,
    TrainingConfig,
)

PRESETS = Path(__file__).parent / "presets"


class RunConfig(Part):
    """A run, whole."""

    seed: int = Field(default=0, ge=0, lt=2**63, description="of every random draw")
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$",
        description="`auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:N`",
    )
    strict: bool = Field(
        default=False, description="refuse a budget that is larger than the corpus, instead of saying so"
    )
    model: ModelConfig = ModelConfig()
    corpus: CorpusConfig = CorpusConfig()
    tokens: TokensConfig = TokensConfig()
    sae: SaeConfig = SaeConfig()
    budget: BudgetConfig = BudgetConfig()
    training: TrainingConfig = TrainingConfig()
    logging: LoggingConfig = LoggingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    analysis: AnalysisConfig = AnalysisConfig()

    @property
    def steps(self) -> int:
        """Optimiser steps that the budget makes."""
        return -(-self.budget.total // self.training.batch_activations)

    @model_validator(mode="after")
    def _buffer_mixes(self) -> "RunConfig":
        batch, buffer = self.training.batch_activations, self.training.buffer_activations
        if buffer < 2 * batch:
            raise ValueError(
                f"training.buffer_activations = {buffer} cannot mix batches of {batch}: "
                "make it at least twice training.batch_activations"
            )
        if self.training.source and self.training.cache != "off":
            raise ValueError(
                f"training.source reads activations that are on disk: leave training.cache off, not "
                f"{self.training.cache!r}"
            )
        if self.budget.epochs > 1 and self.training.cache == "off" and not self.training.source:
            raise ValueError(
                f"budget.epochs = {self.budget.epochs} reads the activations again: set training.cache to keep them"
            )
        return self

    @model_validator(mode="after")
    def _model_reads_corpus(self) -> "RunConfig":
        model, corpus = self.model, self.corpus
        if not model.reads_images:
            if corpus.name in IMAGES and not self.training.source:
                raise ValueError(
                    f"corpus.name = {corpus.name!r} holds images, and {model.name} reads text: set model.name to "
                    "mnist-mlp, or name another corpus"
                )
            return self
        if corpus.name == EMBEDDED[1]:
            raise ValueError(
                f"corpus.name = {corpus.name!r} holds text, and {model.name} reads images: set it to {EMBEDDED[2]}, to "
                "a folder of IDX files or to ylecun/mnist"
            )
        if model.dtype != "float32" or model.processing != "none":
            raise ValueError(f"model.dtype and model.processing: {model.name} is of float32, and its weights stay")
        return self


def parse(values: Mapping[str, Any]) -> RunConfig:
    """A checked configuration from nested values. Raises ConfigError naming every bad field."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError("; ".join(sentence(e) for e in error.errors())) from None


def read(path: Path) -> RunConfig:
    """The configuration in a TOML file. Raises ConfigError."""
    return parse(read_values(path))


def read_values(path: Path) -> dict[str, Any]:
    """A TOML file's values, unchecked. Raises ConfigError where it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no configuration at {path}", hint="`sae-tui config --example` prints one") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as TOML", hint=str(error)) from None


def presets() -> list[str]:
    """The names of the shipped presets, in alphabetical order."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def preset(name: str) -> dict[str, Any]:
    """The values of a shipped preset. Raises ConfigError for an unknown name."""
    known = presets()
    if name not in known:
        raise ConfigError(f"there is no preset {name!r}", hint=nearest(name, known))
    return read_values(PRESETS / f"{name}.toml")


def about(preset: str) -> str:
    """What a shipped preset is for: the first line of its file, a comment."""
    first, *_ = (PRESETS / f"{preset}.toml").read_text(encoding="utf-8").splitlines()
    return first.removeprefix("# ")


def with_settings(values: Mapping[str, Any], settings: list[str]) -> dict[str, Any]:
    """`values` with each `part.field=value` put in; values are TOML, or plain text where they are not."""
    merged: dict[str, Any] = {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set takes key=value, not {setting!r}", hint="for example sae.k=16")
        *parts, last = key.strip().split(".")
        place = merged
        for part in parts:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ConfigError(f"{part!r} in {key.strip()!r} is a value, not a part")
        place[last] = _toml_value(text.strip())
    return merged


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """`config` with a model, corpus, source or SAE that is a local path made absolute: a session is used from anywhere.

    Of a source, `#NAME` stays behind the path.
    """
    values = config.model_dump()
    for part, field in (("model", "name"), ("corpus", "name"), ("training", "source"), ("training", "init_from")):
        given = values[part][field]
        text, mark, key = given.rpartition("#") if field == "source" and "#" in given else (given, "", "")
        path = Path(text).expanduser()
        if text and path.exists() and text not in EMBEDDED:
            values[part][field] = f"{path.resolve()}{mark}{key}"
    return RunConfig.model_validate(values)


def place(config: RunConfig) -> dict[str, str]:
    """Which activations an SAE is measured on: of what model, where, and on which text; or a person's own."""
    model, corpus = config.model, config.corpus
    found = {
        "model": model.name, "revision": model.revision, "hook": model.hook, "processing": model.processing,
        "corpus": corpus.name, "subset": corpus.subset, "split": corpus.split,
    }  # fmt: skip
    if config.training.source:
        found["source"] = config.training.source
    if model.reads_images:
        found |= {"hidden": str(model.hidden), "epochs": str(model.epochs)}
    return found


def changed(config: RunConfig, settings: Sequence[str]) -> RunConfig:
    """`config` with some fields changed, as for one job alone."""
    return with_absolute_paths(parse(with_settings(config.model_dump(exclude_none=True), list(settings))))


def to_toml(config: RunConfig) -> str:
    """Every field with its value; what is None is left out, and read back as None."""
    return tomlkit.dumps(config.model_dump(exclude_none=True))


def example(config: RunConfig | None = None) -> str:
    """A commented TOML of every field: meaning, allowed values, and its value in `config`, or else the default."""
    document = tomlkit.document()
    _fill(document, config or RunConfig())
    return tomlkit.dumps(document)


def _fill(place: tomlkit.TOMLDocument | Table, part: BaseModel) -> None:
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        if isinstance(value, BaseModel):
            table = tomlkit.table()
            table.add(tomlkit.comment(" ".join((type(value).__doc__ or "").split())))
            _fill(table, value)
            place.add(tomlkit.nl())
            place.add(name, table)
            continue
        choices = _choices(field.annotation)
        place.add(tomlkit.comment((field.description or "") + (f" ({' | '.join(choices)})" if choices else "")))
        place.add(tomlkit.comment(f"{name} =")) if value is None else place.add(name, value)


def _choices(annotation: Any) -> tuple[str, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def sentence(error: Any) -> str:
    """One of pydantic's errors as a sentence that names the field and what to do."""
    where = ".".join(str(p) for p in error["loc"])
    if error["type"] == "extra_forbidden":
        *path, last = error["loc"]
        part: type[BaseModel] = RunConfig
        for name in path:
            part = type(part.model_fields[str(name)].get_default())
        prefix = "".join(f"{p}." for p in path)
        return f"unknown key {where!r}: {nearest(str(last), part.model_fields).replace(chr(39), chr(39) + prefix, 1)}"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    given = error.get("input")
    if error["type"] == "string_pattern_mismatch" and where in RunConfig.model_fields:
        return f"{where} = {given!r}: give {RunConfig.model_fields[where].description}"
    return f"{where} = {given!r}: {error['msg'][0].lower()}{error['msg'][1:]}"

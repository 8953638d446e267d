"""What a run will cost, before anything is loaded: steps, parameters, memory, disk, time. No torch.

Every formula says its units. A figure that cannot be known beforehand is None: it shows at the start, or as it runs.
"""

import math
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from core import machine
from core.config import RunConfig
from core.errors import ConfigError, ModelError
from core.image_facts import ImageFacts
from core.model_facts import ModelFacts, facts
from core.options import EMBEDDED, WHOLE_CHECKPOINTS
from core.session import listing
from core.storage import last_line

FLOAT = 4
"""Bytes of a float32, in which the SAE is trained whatever the model's precision is."""
LIBRARIES = 900e6
"""Bytes that PyTorch, the libraries around it and its allocator take, measured on a CPU build in the demo."""
EVALUATING = 4 * 2**25 * FLOAT
"""Bytes of logits that evaluation holds at once, with what is computed from them."""
STATE = 3
"""Times the weights that a finished training keeps to go on from: themselves and two moments."""
METRICS_LINE = 530
"""Bytes of a line of `metrics.jsonl`."""
DATABASE = 3e6, 6.5, 2_200.0, 16.0
"""Bytes in `features.duckdb` when empty, and for an activation, a feature, a token: measured on the demo's."""
SNAPSHOT_ROW = 45.0
"""Bytes of a feature in a snapshot, in `snapshots.parquet` and `features.duckdb` together."""
SNAPSHOT_BITS = 512.0
"""Bytes that tell, until a training ends, on which activations a feature fired at a snapshot."""
SHARD_ROW = 9.0
"""Bytes of an activation in the Parquet shards, which stand beside the database while it is built."""
RECENT = 5
"""Runs whose speed is compared: enough that two of them may have shared the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast an earlier run with the same model, hook point and precision was."""

    session: str
    per_second: float
    """Activations trained on, harvest included."""
    same_sae: bool
    """Whether its SAE was of the same kind and width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a run takes. Bytes and counts; None is not known before it runs."""

    tokens: int
    """Tokens the model reads for the training: activations · context / (context − 1) where a block's first position
    is left out; special tokens within blocks come on top."""
    steps: int
    d_in: int | None
    d_sae: int | None
    sae_parameters: int | None
    """2·d_in·d_sae + d_sae + d_in."""
    memory: Mapping[str, float | None]
    """Bytes by what they are for, where the run has most of each."""
    disk: float | None
    """Bytes that the session keeps: SAE and checkpoints, metrics, the feature database."""
    disk_peak: float | None
    """The most it takes at any time: in training, for its checkpoints shrink to their weights when it ends; or in
    analysis, which deletes its Parquet shards when the database is complete."""
    seconds: float | None
    """Of training alone."""

    @property
    def memory_bytes(self) -> float | None:
        """All of `memory`; None where a part is not known."""
        parts = list(self.memory.values())
        return None if None in parts else math.fsum(p or 0.0 for p in parts)


def troubles(config: RunConfig, known: ModelFacts | ImageFacts | None) -> dict[str, str]:
    """What cannot work, a sentence for each field: what a start would refuse after minutes of loading."""
    found: dict[str, str] = {}
    if known is not None:
        if refusal := known.refusal(config.model.hook):
            found["model.hook"] = refusal
        if known.context is not None and config.tokens.context > known.context:
            found["tokens.context"] = f"{known.name} reads {known.context:,} tokens at most"
        width = known.width(config.model.hook)
        try:
            config.sae.width(width or 0) if width else None
        except ConfigError as error:
            found["sae.k"] = str(error)
    source = config.training.source
    if source and not any(Path(p).expanduser().exists() for p in (source, source.rpartition("#")[0] or source)):
        found["training.source"] = "there is no such file or folder"
    elif not source and (wrong := _corpus_trouble(config.corpus.name)):
        found["corpus.name"] = wrong
    return found


def model(config: RunConfig) -> tuple[ModelFacts | ImageFacts | None, str]:
    """The facts of the configured model, or None and why there are none in a sentence."""
    if config.training.source:
        return None, "not read: the activations are those of training.source, whose width shows at the start"
    if config.model.reads_images:
        return ImageFacts(name=config.model.name, hidden=config.model.hidden), ""
    try:
        known = facts(config.model.name, config.model.revision)
    except ModelError as error:
        return None, str(error)
    return known, "" if known else "not on this machine: fetched from the hub, and checked, at the start"


def cost(config: RunConfig, known: ModelFacts | ImageFacts | None, speed: Speed | None = None) -> Cost:
    """What the run takes on a model of which `known` is known, at the speed measured before, where there is one."""
    sae, training, analysis = config.sae, config.training, config.analysis
    d_in = known.width(config.model.hook) if known else None
    d_sae = _width(config, d_in)
    context = config.tokens.context
    counted = context - 1 if config.tokens.skip_first and not config.model.reads_images else context
    parameters = 2 * d_in * d_sae + d_sae + d_in if d_in and d_sae else None
    precision = FLOAT if config.model.dtype == "float32" else 2
    buffer = max(2 * training.batch_activations, min(training.buffer_activations, config.budget.activations))
    weights = FLOAT * parameters if parameters else None
    active = sae.k if sae.fixed_k else None
    memory = {
        "libraries": LIBRARIES,
        "model": float(precision * known.parameters) if known and known.parameters else None,
        # Weights, gradients and Adam's two moments; what is copied of them while a checkpoint is written.
        "SAE and optimizer": 5.5 * weights if weights else None,
        # The buffer, and the half of it that leaves in random order.
        "activations": 1.5 * FLOAT * buffer * d_in if d_in else None,
        # Pre-activations, code and gradient of a batch; evaluation comes after, in their place.
        "batch or evaluation": max(3.0 * FLOAT * training.batch_activations * d_sae, EVALUATING) if d_sae else None,
    }
    disk = peak = None
    if weights and d_in and d_sae:
        entries = active * analysis.activations if active else 0
        empty, per_entry, per_feature, per_token = DATABASE
        rows = empty + per_entry * entries + per_feature * d_sae + per_token * analysis.activations
        lines = METRICS_LINE * (config.steps / training.log_every_steps)
        every = training.snapshot_every_steps
        snapshots = d_sae * (config.steps // every + 2) if every else 0
        disk = (1 + training.keep_checkpoints) * weights + lines + rows + SNAPSHOT_ROW * snapshots
        disk += STATE * weights if training.keep_state else 0
        analysed = disk + SHARD_ROW * entries
        # A third checkpoint is written before the oldest goes: weights as they are used and as they are trained, two
        # moments, and the buffer.
        peak = lines + (1 + WHOLE_CHECKPOINTS) * (4 * weights + FLOAT * buffer * d_in)
        peak += (training.keep_checkpoints - WHOLE_CHECKPOINTS) * weights
        peak += snapshots * (2 * d_in + SNAPSHOT_BITS)
        peak = max(analysed, peak)
        disk = analysed if analysis.keep_activations else disk
        if training.cache != "off":
            kept = config.budget.activations * d_in * (FLOAT if training.cache == "float32" else 2)
            disk, peak = disk + kept, peak + kept
    return Cost(
        tokens=round(config.budget.activations * context / counted),
        steps=config.steps,
        d_in=d_in,
        d_sae=d_sae,
        sae_parameters=parameters,
        memory=memory,
        disk=disk,
        disk_peak=peak,
        seconds=config.budget.total / speed.per_second if speed else None,
    )


def measured_speed(root: Path, config: RunConfig) -> Speed | None:
    """The median speed of the newest runs in `root` on the same model, hook point and precision, RECENT at most.

    Of those with the same SAE where there are any. A run's is its activations without those that waited in the buffer
    before the first step, whose harvest its clock leaves out, over that clock's seconds.
    """
    same: list[Speed] = []
    other: list[Speed] = []
    for session in listing(root):
        latest = last_line(session.metrics_path)
        try:
            values = tomllib.loads(session.config_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        theirs, ours = values.get("model"), config.model
        if not latest or not isinstance(theirs, dict):
            continue
        if [theirs.get(field) for field in ("name", "hook", "dtype")] != [ours.name, ours.hook, ours.dtype]:
            continue
        if speed := _speed(session.name, latest, values, config):
            (same if speed.same_sae else other).append(speed)
        if len(same) == RECENT:
            break
    # What else ran on the machine can only have slowed a run, so of two the faster one tells more.
    recent = sorted(same or other[:RECENT], key=lambda speed: speed.per_second)
    return recent[len(recent) // 2] if recent else None


def free_memory(device: str) -> tuple[str, float | None]:
    """Where the run will be and how many bytes are free there: a GPU where NVIDIA's library finds one, else the CPU."""
    place, free, _ = _memory(device)
    return place, free


def tight(config: RunConfig) -> str:
    """A warning where a training needs more memory than is free; empty where it does not, or that is not known.

    Worth saying before it begins: a system may kill what takes too much without telling it anything.
    """
    known, _ = model(config)
    needed, (_, free, _) = cost(config, known).memory_bytes, _memory(config.device)
    if needed is None or free is None or needed <= free + psutil.Process().memory_info().rss:
        return ""
    words, hint = shortage(config)
    return f"{words}: it may fail or be killed; {hint}"


def shortage(config: RunConfig) -> tuple[str, str]:
    """What a training needs of memory and what there is, in words; and what to make smaller."""
    known, _ = model(config)
    parts = {name: size for name, size in cost(config, known).memory.items() if size is not None}
    place, free, total = _memory(config.device)
    training, sae = config.training, config.sae
    narrower = f"sae.d_sae (now {sae.d_sae:,})" if sae.d_sae else f"sae.expansion (now {sae.expansion or 8:g})"
    smaller = {
        "model": f'model.dtype = "bfloat16" (now {config.model.dtype}) or a smaller model',
        "SAE and optimizer": f"a lower {narrower}",
        "activations": f"a lower training.buffer_activations (now {training.buffer_activations:,})",
        "batch or evaluation": f"a lower training.batch_activations (now {training.batch_activations:,}) or {narrower}",
    }
    most = max(smaller, key=lambda name: parts.get(name, 0.0))
    what = f"{_gb(math.fsum(parts.values()))} ({_gb(parts.get(most, 0.0))} for {most})"
    there = f"{place} has {_gb(total)}, {_gb(free)} of it free now" if free and total else f"{place} has no more"
    return f"the run needs about {what} of memory; the {there}", f"begin it anew with {smaller[most]}"


def _gb(size: float) -> str:
    return f"{size / 1e9:,.1f} GB"


def _memory(device: str) -> tuple[str, float | None, float | None]:
    """Where a run on `device` will be, with the bytes free there and those in all."""
    if device != "cpu":
        index = int(device.partition(":")[2] or 0)
        for gpu in machine.gpus(set()):
            if gpu.index == index:
                return f"GPU {index}, {gpu.name}", float(gpu.total_bytes - gpu.used_bytes), float(gpu.total_bytes)
        if device != "auto":
            return device, None, None
    free, total = machine.memory()
    return "CPU", float(free), float(total)


def free_disk(root: Path) -> float:
    """Bytes free where `root` is, or will be."""
    place = root.resolve()
    return float(shutil.disk_usage(next(p for p in (place, *place.parents) if p.exists())).free)


def _width(config: RunConfig, d_in: int | None) -> int | None:
    if d_in is None:
        return config.sae.d_sae
    try:
        return config.sae.width(d_in)
    except ConfigError:
        return None


def _corpus_trouble(name: str) -> str:
    """Why there is no such local corpus; empty for one that is there, and for a name that the hub may know."""
    if name in EMBEDDED[1:] or Path(name).expanduser().exists():
        return ""
    local = name.lower().endswith((".txt", ".jsonl", ".jsonl.gz")) or name.startswith((".", "/", "~"))
    return "there is no such file or folder" if local or name.count("/") > 1 else ""


def _speed(name: str, latest: Mapping[str, Any], values: Mapping[str, Any], config: RunConfig) -> Speed | None:
    try:
        waited = min(int(values["training"]["buffer_activations"]), int(values["budget"]["activations"]))
        done, seconds = float(latest["activations"]) - waited, float(latest["elapsed_s"])
        ours, kind = config.training, values["training"]
        if (kind.get("cache", "off") == "off", kind.get("source", "")) != (ours.cache == "off", ours.source):
            return None  # one had the model to wait for, and the other not
        theirs = values["sae"]
        same = (theirs["architecture"], theirs.get("d_sae"), theirs.get("expansion")) == (
            config.sae.architecture, config.sae.d_sae, config.sae.expansion,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError):
        return None
    return Speed(session=name, per_second=done / seconds, same_sae=same) if done > 0 and seconds > 0 else None

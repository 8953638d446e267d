"""The activations that thresholds are set on: of the calibration split, which nothing is trained nor reported on."""

from collections.abc import Generator, Iterator
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from core import activations, tokens
from core.cache import Cache
from core.config import RunConfig
from core.models.load import Loader, Model
from core.records import Progress
from core.storage import replacing
from core.training import data, own

NAME = "calibration.safetensors"
"""In the folder of activations that are kept."""


def rows(config: RunConfig, kept: Cache | None, load: Loader) -> Generator[Progress, None, Float[Tensor, "n d_in"]]:
    """The first `evaluation.calibration_activations`, float32 on the CPU; a generator whose return value they are.

    From a person's own file, from what is `kept`, or from the model that `load` gives.
    """
    wanted = config.evaluation.calibration_activations
    if config.training.source:
        return (yield from _first(iter(own.OwnActivations(config, "calibration")), wanted))
    if kept is not None and suffices(kept, wanted):
        return _read(kept)[:wanted].float()
    return (yield from harvested(config, (yield from load(config))))


def harvested(config: RunConfig, model: Model) -> Generator[Progress, None, Float[Tensor, "n d_in"]]:
    """They, from the model; fewer where the split has fewer."""
    text = tokens.stacked(data.blocks(config, model, "calibration"), config.training.model_batch_blocks)
    return (yield from _first(activations.harvest(model, text), config.evaluation.calibration_activations))


def keep(there: Cache, x: Float[Tensor, "n d_in"], wanted: int) -> None:
    """Keep them beside the activations of a cache, and how many were wanted. Raises OSError where the disk is full."""
    with replacing(there.folder / NAME) as beside:
        save_file({"x": x.contiguous(), "wanted": torch.tensor(wanted)}, beside)


def suffices(there: Cache, wanted: int) -> bool:
    """Whether as many are kept there, or all that the split has."""
    path: Path = there.folder / NAME
    if not path.is_file():
        return False
    with safe_open(path, "pt") as kept:  # the rows stay on disk
        return int(kept.get_tensor("wanted")) >= wanted


def _read(there: Cache) -> Tensor:
    return load_file(there.folder / NAME)["x"]


def _first(
    chunks: Iterator[Float[Tensor, "n d_in"]], wanted: int
) -> Generator[Progress, None, Float[Tensor, "n d_in"]]:
    found: list[Tensor] = []
    while (have := sum(map(len, found))) < wanted and (chunk := next(chunks, None)) is not None:
        yield Progress(phase="reading the calibration split", done=have, total=wanted, unit="activations")
        found.append(chunk.cpu())
    return torch.cat(found)[:wanted]

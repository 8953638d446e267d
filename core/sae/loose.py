"""Tensors in files, by whatever names and in whatever orientation others keep them.

Nothing is unpickled but tensors and plain values. Knows names; nothing of what an architecture does with them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.errors import ModelError

NAMES = {
    "W_enc": "W_enc", "w_enc": "W_enc", "encoder.weight": "W_enc",
    "b_enc": "b_enc", "encoder.bias": "b_enc", "latent_bias": "b_enc",
    "W_dec": "W_dec", "w_dec": "W_dec", "decoder.weight": "W_dec", "decoder.linear.weight": "W_dec",
    "b_dec": "b_dec", "bias": "b_dec", "decoder_bias": "b_dec", "pre_bias": "b_dec", "decoder.bias": "b_dec",
    "b_gate": "b_gate", "gate_bias": "b_gate", "b_mag": "b_mag", "mag_bias": "b_mag", "r_mag": "r_mag",
    "threshold": "threshold", "k": "k", "mean": "mean",
}  # fmt: skip
"""What others call a tensor, and what SAELens does."""
TRANSPOSED = ("encoder.weight", "decoder.weight")
"""`nn.Linear` keeps `[out in]`."""
UNREAD = {"group_sizes", "stats_last_nonzero", "latents_activation_frequency", "latents_mean_square"}
"""What only training needs."""


def named(raw: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The tensors by SAELens' names and in its orientation, in float32. Raises ModelError for any that has none."""
    found: dict[str, Tensor] = {}
    for name, value in raw.items():
        if name in UNREAD:
            continue
        if name not in NAMES or not isinstance(value, Tensor | int | float):
            raise ModelError(f"{path} holds {name!r}, of which nothing is known", hint=f"known are {', '.join(NAMES)}")
        if NAMES[name] in found:
            raise ModelError(f"{path} holds {NAMES[name]} twice, once as {name!r}", hint="keep one of them")
        tensor = torch.as_tensor(value).float()
        found[NAMES[name]] = tensor.T if name in TRANSPOSED and tensor.ndim == 2 else tensor
    if "W_enc" not in found or found["W_enc"].ndim != 2:
        raise ModelError(f"{path} holds no encoder's matrix", hint="it is called W_enc or encoder.weight")
    return found


def number(tensor: Tensor | None) -> int | None:
    """The whole number in a tensor of one; None without."""
    return int(tensor) if tensor is not None and tensor.numel() == 1 else None


def unpickled(path: Path) -> dict[str, Any]:
    """What `torch.save` wrote by name, tensors and plain values only. Raises ModelError."""
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a torn archive, or one that holds code, raises anything
        raise ModelError(
            f"{path} is torn, or holds more than tensors, which could run code",
            hint="ask its authors for safetensors, or save its `state_dict()` alone",
        ) from error
    if not isinstance(values, Mapping):
        raise ModelError(f"{path} holds no tensors by name", hint="save an SAE's `state_dict()`")
    return {str(name): value for name, value in values.items()}


def unzipped(path: Path) -> dict[str, Any]:
    """The arrays of an `.npz` file as tensors. Raises ModelError."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except Exception as error:  # as above: zip's, numpy's and the system's
        raise ModelError(f"{path} is torn or no archive of arrays", hint=str(error)) from error

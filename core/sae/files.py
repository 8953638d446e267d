"""An SAE on disk, in SAELens' layout: `cfg.json` and `sae_weights.safetensors`.

What is written here, `sae-lens` loads unconverted, and what it writes is read here. The weights on disk take raw
activations: whatever scaled them in training is folded in. Knows the format; nothing of sessions or runs.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.errors import ModelError, nearest
from core.sae.base import SAE
from core.sae.relu import ReLU
from core.sae.topk import TopK
from core.storage import replacing

LAYOUT_VERSION = "6.54.12"
"""The sae-lens release whose layout this is; its loader takes files older than 6.0 another way."""
CONFIG_NAME = "cfg.json"
WEIGHTS_NAME = "sae_weights.safetensors"
READABLE = ("standard", "topk")
TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")


def save(sae: SAE, folder: Path, metadata: dict[str, Any]) -> None:
    """Write `sae` to `folder`, replacing what is there atomically.

    `metadata` holds at least `model_name` and `hook_name`, in SAELens' names.
    """
    with replacing(folder) as beside:
        beside.mkdir()
        write(sae, beside, metadata)


def write(sae: SAE, folder: Path, metadata: dict[str, Any]) -> None:
    """The two files, into an existing folder that nobody reads yet."""
    values: dict[str, Any] = {
        "architecture": "standard",
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": sae.apply_b_dec_to_input,
        "normalize_activations": "none",
        "reshape_activations": "hook_z" if metadata["hook_name"].endswith("hook_z") else "none",
        "metadata": {
            **metadata,
            "sae_lens_version": LAYOUT_VERSION,
            "sae_tui_version": version("sae-tui"),
            "training_architecture": sae.architecture,
        },
    }
    if isinstance(sae, TopK):
        # The decoder's rows have unit norm, so ranking by value and by value times norm are the same.
        values |= {"architecture": "topk", "k": sae.k, "rescale_acts_by_decoder_norm": False}
    (folder / CONFIG_NAME).write_text(json.dumps(values, indent=1), encoding="utf-8")
    tensors = {name: getattr(sae, name).detach().cpu().contiguous() for name in TENSORS}
    save_file(tensors, folder / WEIGHTS_NAME)


def read_config(folder: Path) -> dict[str, Any]:
    """`cfg.json` with its `metadata`, checked for what this version can run. Raises ModelError."""
    path = folder / CONFIG_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{folder} holds no {CONFIG_NAME}",
            hint="name the folder with cfg.json and sae_weights.safetensors",
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read", hint=str(error)) from None
    if not isinstance(values, dict) or not isinstance(values.get("metadata", {}), dict):
        raise ModelError(f"{path} is not SAELens' cfg.json", hint="it should be an object with `metadata` in it")
    if "metadata" not in values:
        raise ModelError(
            f"{path} was written by sae-lens before 6.0",
            hint="load and save it once with sae-lens 6 or newer",
        )
    if values.get("architecture") not in READABLE:
        raise ModelError(
            f"{path}: architecture {values.get('architecture')!r} is not among {', '.join(READABLE)}",
            hint=nearest(str(values.get("architecture")), READABLE),
        )
    if values.get("normalize_activations", "none") != "none":
        raise ModelError(
            f"{path}: its activations are normalised by {values['normalize_activations']!r}",
            hint="only SAEs that take raw activations ('none') can be read",
        )
    wanted = ("d_in", "d_sae", "k") if values["architecture"] == "topk" else ("d_in", "d_sae")
    if missing := [k for k in wanted if not isinstance(values.get(k), int) or values[k] < 1]:
        raise ModelError(f"{path} lacks {' and '.join(missing)}", hint="it is not a whole SAELens cfg.json")
    return values


def load(folder: Path, device: torch.device | str = "cpu") -> SAE:
    """The SAE in `folder`, in float32 on `device`. Raises ModelError for what does not fit the format."""
    values = read_config(folder)
    tensors = _read_tensors(folder / WEIGHTS_NAME)
    d_in, d_sae = values["d_in"], values["d_sae"]
    shapes = {"W_enc": (d_in, d_sae), "b_enc": (d_sae,), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    for name, shape in shapes.items():
        found = tuple(tensors[name].shape) if name in tensors else None
        if found != shape:
            raise ModelError(f"{folder / WEIGHTS_NAME}: {name} is {found}, not {shape} as cfg.json says")
    subtract = bool(values.get("apply_b_dec_to_input", True))
    sae: SAE
    if values["architecture"] == "topk":
        sae = TopK(d_in, d_sae, int(values["k"]), apply_b_dec_to_input=subtract)
    else:
        sae = ReLU(d_in, d_sae, apply_b_dec_to_input=subtract)
    with torch.no_grad():
        for name in TENSORS:
            getattr(sae, name).copy_(tensors[name])
    if values.get("rescale_acts_by_decoder_norm"):
        sae.fold_decoder_norms()
    return sae.to(device).requires_grad_(False)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return {name: tensor.float() for name, tensor in load_file(path).items()}
    except FileNotFoundError:
        raise ModelError(f"{path} is missing", hint="an SAE's folder holds it beside cfg.json") from None
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} is torn or no safetensors file", hint=str(error)) from None

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
from core.sae.base import SAE, PerToken
from core.sae.gated import Gated
from core.sae.jumprelu import JumpReLU
from core.sae.relu import ReLU
from core.sae.topk import TopK
from core.storage import replacing

LAYOUT_VERSION = "6.54.12"
"""The sae-lens release whose layout this is; its loader takes files older than 6.0 another way."""
CONFIG_NAME = "cfg.json"
WEIGHTS_NAME = "sae_weights.safetensors"
READABLE = ("standard", "topk", "jumprelu", "gated")
WRITTEN_AS = {"relu": "standard", "topk": "topk", "gated": "gated"}
"""SAELens' names of our architectures; all others have a threshold, and are written as `jumprelu`."""
CENTRED = "centred_norm_rescale"
"""Ours, for what SAELens has not: `constant_norm_rescale` of x − centre, a tensor of its own. `sae-lens` refuses it."""
PER_TOKEN: dict[str, PerToken] = {
    "none": "none", "constant_norm_rescale": "unit_norm", "layer_norm": "layer_norm", CENTRED: "unit_norm",
}  # fmt: skip
"""What is done to each activation by itself, by its name on disk."""
ON_DISK = {"gated": {"b_enc": "b_gate"}}
"""Tensors that SAELens calls otherwise, by its architecture."""


def save(sae: SAE, folder: Path, metadata: dict[str, Any]) -> None:
    """Write `sae` to `folder`, replacing what is there atomically.

    `metadata` holds at least `model_name` and `hook_name`, in SAELens' names.
    """
    with replacing(folder) as beside:
        beside.mkdir()
        write(sae, beside, metadata)


def write(sae: SAE, folder: Path, metadata: dict[str, Any]) -> None:
    """The two files, into an existing folder that nobody reads yet."""
    architecture = WRITTEN_AS.get(sae.architecture, "jumprelu")
    values: dict[str, Any] = {
        "architecture": architecture,
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": sae.apply_b_dec_to_input,
        "normalize_activations": _normalisation(sae),
        "reshape_activations": "hook_z" if metadata["hook_name"].endswith("hook_z") else "none",
        "metadata": {
            **metadata,
            "sae_lens_version": LAYOUT_VERSION,
            "sae_tui_version": version("sae-tui"),
            "training_architecture": sae.architecture,
        },
    }
    if architecture == "topk":
        # The decoder's rows have unit norm, so ranking by value and by value times norm are the same.
        values |= {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    (folder / CONFIG_NAME).write_text(json.dumps(values, indent=1), encoding="utf-8")
    renamed = ON_DISK.get(architecture, {})
    tensors = {renamed.get(name, name): _whole(sae, name) for name in sae.names}
    if values["normalize_activations"] == CENTRED:
        tensors["centre"] = sae.centre.detach().cpu().contiguous()
    save_file(tensors, folder / WEIGHTS_NAME)


def require_exportable(folder: Path) -> None:
    """Raises ModelError where what is in `folder` is an SAE that sae-lens has no word for."""
    if read_config(folder).get("normalize_activations") == CENTRED:
        raise ModelError(
            "it takes a mean out of each activation before it divides by its norm: that cannot be folded into weights, "
            "and SAELens' files have no word for it",
            hint=f"`sae-tui import {folder}` reads it as it is; to export one, train with another sae.normalize",
        )


def _normalisation(sae: SAE) -> str:
    """What is done to each activation by itself, in SAELens' terms where it has them."""
    if sae.per_token == "unit_norm" and bool(sae.centre.any()):
        return CENTRED
    return next(name for name, kind in PER_TOKEN.items() if kind == sae.per_token)


def _whole(sae: SAE, name: str) -> Tensor:
    """A tensor as it stands on disk: one threshold for all features is written for each."""
    tensor = getattr(sae, name).detach().cpu()
    return (tensor.expand(sae.d_sae) if tensor.ndim == 0 else tensor).contiguous()


def read_config(folder: Path) -> dict[str, Any]:
    """`cfg.json` with its `metadata`, checked for what this version can run. Raises ModelError."""
    path = folder / CONFIG_NAME
    values = read_values(path)
    if "metadata" not in values:
        raise ModelError(f"{path} was written by sae-lens before 6.0", hint="`sae-tui import` reads it")
    return checked(values, path)


def read_values(path: Path) -> dict[str, Any]:
    """The object in a JSON file that an SAE's folder holds, unchecked. Raises ModelError."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{path.parent} holds no {path.name}", hint="name the folder with an SAE's configuration and weights"
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read", hint=str(error)) from None
    if not isinstance(values, dict) or not isinstance(values.get("metadata", {}), dict):
        raise ModelError(f"{path} is not an SAE's configuration", hint="it should hold an object")
    return values


def checked(values: dict[str, Any], where: object) -> dict[str, Any]:
    """`values` as they are, if they describe an SAE that this version can run. Raises ModelError."""
    if values.get("architecture") not in READABLE:
        raise ModelError(
            f"{where}: architecture {values.get('architecture')!r} is not among {', '.join(READABLE)}",
            hint=nearest(str(values.get("architecture")), READABLE),
        )
    if values.get("normalize_activations", "none") not in PER_TOKEN:
        raise ModelError(
            f"{where}: its activations are normalised by {values['normalize_activations']!r}",
            hint=f"what can be read: {', '.join(PER_TOKEN)}",
        )
    wanted = ("d_in", "d_sae", "k") if values["architecture"] == "topk" else ("d_in", "d_sae")
    if missing := [k for k in wanted if type(values.get(k)) is not int or values[k] < 1]:
        raise ModelError(f"{where} lacks {' and '.join(missing)}", hint="it is not a whole configuration of an SAE")
    if values["architecture"] == "topk" and values["k"] > values["d_sae"]:
        raise ModelError(f"{where}: k = {values['k']} of {values['d_sae']} features", hint="its files do not fit")
    return values


def load(folder: Path, device: torch.device | str = "cpu") -> SAE:
    """The SAE in `folder`, in float32 on `device`. Raises ModelError for what does not fit the format."""
    values = read_config(folder)
    return assembled(values, read_tensors(folder / WEIGHTS_NAME), str(folder / WEIGHTS_NAME)).to(device)


def assembled(values: dict[str, Any], tensors: dict[str, Tensor], where: str) -> SAE:
    """The SAE of SAELens' configuration `values` and its tensors, which `where` names in errors; on the CPU.

    Raises ModelError for a tensor that is missing or of another shape.
    """
    architecture, d_in, d_sae = values["architecture"], values["d_in"], values["d_sae"]
    subtract = bool(values.get("apply_b_dec_to_input", True))
    sae: SAE
    match architecture:
        case "topk":
            sae = TopK(d_in, d_sae, int(values["k"]), apply_b_dec_to_input=subtract)
        case "jumprelu":
            sae = JumpReLU(d_in, d_sae, apply_b_dec_to_input=subtract)
        case "gated":
            sae = Gated(d_in, d_sae, apply_b_dec_to_input=subtract)
        case _:
            sae = ReLU(d_in, d_sae, apply_b_dec_to_input=subtract)
    renamed = ON_DISK.get(architecture, {})
    with torch.no_grad():
        for name in sae.names:
            wanted, on_disk = getattr(sae, name), renamed.get(name, name)
            found = tuple(tensors[on_disk].shape) if on_disk in tensors else None
            if found != tuple(wanted.shape):
                raise ModelError(f"{where}: {on_disk} is {found}, not {tuple(wanted.shape)} as its configuration says")
            wanted.copy_(tensors[on_disk])
    if values.get("rescale_acts_by_decoder_norm"):
        sae.fold_decoder_norms()
    sae.per_token = PER_TOKEN[values.get("normalize_activations", "none")]
    if values.get("normalize_activations") == CENTRED:
        if "centre" not in tensors or tensors["centre"].shape != (d_in,):
            raise ModelError(f"{where}: it lacks the tensor `centre` [{d_in}] that its configuration speaks of")
        sae.centre = tensors["centre"]
    return sae.requires_grad_(False)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file, in float32. Raises ModelError."""
    try:
        return {name: tensor.float() for name, tensor in load_file(path).items()}
    except FileNotFoundError:
        raise ModelError(f"{path} is missing", hint="an SAE's folder holds it beside its configuration") from None
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} is torn or no safetensors file", hint=str(error)) from None

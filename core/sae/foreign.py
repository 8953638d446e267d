"""SAEs that others have written, by the files a folder holds; each becomes ours exactly, or is refused in a sentence.

    cfg.json, sae_weights.safetensors     SAELens, also before 6.0
    cfg.json, sae.safetensors             sparsify 1.3
    config.json, ae.pt                    dictionary_learning 0.1
    params.npz | params.safetensors       Gemma Scope, Gemma Scope 2
    any one .pt, .pth, .npz, .safetensors tensors alone: an encoder and a decoder, OpenAI's too, by the names in `loose`

Nothing is unpickled but tensors and plain values. Knows formats; nothing of models, sessions or the network.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core import recorded
from core.errors import ModelError
from core.sae import facts, files, loose, provenance
from core.sae.base import SAE
from core.storage import read_json

DICTIONARIES = {
    "AutoEncoder": "standard", "AutoEncoderNew": "standard", "GatedAutoEncoder": "gated",
    "JumpReluAutoEncoder": "jumprelu", "AutoEncoderTopK": "topk", "BatchTopKSAE": "jumprelu",
    "MatryoshkaBatchTopKSAE": "jumprelu",
}  # fmt: skip
"""dictionary_learning's classes by SAELens' architectures."""
FILES = (
    "cfg.json", "sae_weights.safetensors", "sae.safetensors", "config.json", "ae.pt", "params.npz",
    "params.safetensors",
)  # fmt: skip
"""Every file that a folder is recognised by."""
SPARSITY = "sparsity.safetensors"
RECORDS = (SPARSITY, "eval_results.json")
"""Files beside an SAE that record how it did."""
SUFFIXES = (".pt", ".pth", ".npz", ".safetensors")


class Found(NamedTuple):
    """A foreign SAE, and what its files say of it."""

    sae: SAE
    metadata: dict[str, Any]
    """As in SAELens' `cfg.json`; only what the files say."""
    kind: str
    """Whose format it is, and what in it, for a person."""


def read(
    source: Path, *, place: str = "", given: Mapping[str, Any] | None = None, overrides: Mapping[str, Any] | None = None
) -> Found:
    """The SAE in a folder or a file.

    `place` is its name where the path does not tell, as `REPO:FOLDER`. `given` are fields of our own configuration's
    `sae` which files of tensors alone do not hold: k, architecture, apply_b_dec_to_input. `overrides` go before what
    SAELens' `cfg.json` says. Raises ModelError for what is no such SAE, is torn, or cannot be run.
    """
    place, given = place or str(source.resolve()), given or {}
    if not source.exists():
        raise ModelError(f"there is no {source}", hint="name a folder, a file, REPO:FOLDER or RELEASE/ID of the hub")
    if source.is_file() and source.name not in FILES:
        return _plain(source, given)
    folder = source if source.is_dir() else source.parent
    there = {name for name in FILES if (folder / name).is_file()}
    if "sae.safetensors" in there:
        return _sparsify(folder)
    if {"ae.pt", "config.json"} <= there:
        return _dictionary_learning(folder, place)
    if there & {"params.npz", "params.safetensors"}:
        return _gemma_scope(folder, place)
    if "cfg.json" in there:
        return _sae_lens(folder, overrides or {})
    alone = [source] if source.is_file() else [p for p in sorted(folder.iterdir()) if p.suffix in SUFFIXES]
    if len(alone) == 1:
        return _plain(alone[0], given)
    raise ModelError(
        f"{folder} holds no cfg.json, nor {'one file of tensors alone' if alone else 'any other SAE that is read'}",
        hint="name the folder of one SAE, as SAELens, sparsify, dictionary_learning or Gemma Scope write it, or a file",
    )


def _sae_lens(folder: Path, overrides: Mapping[str, Any]) -> Found:
    """As sae-lens 6.54 reads it, `handle_pre_6_0_config` for what is older; there a mismatch would go unnoticed."""
    where = folder / files.CONFIG_NAME
    values = {**files.read_values(where), **overrides}
    tensors = files.read_tensors(folder / files.WEIGHTS_NAME)
    kind = "SAELens"
    if "metadata" not in values:
        values, kind = _since_6(values, where), "SAELens before 6.0"
    scale = 1.0
    if "norm_scaling_factor" in overrides and values.get("normalize_activations") == "expected_average_only_in":
        scale, values["normalize_activations"] = float(overrides["norm_scaling_factor"]), "none"
    factor = tensors.pop("scaling_factor", torch.ones(()))
    if not torch.allclose(factor, torch.ones_like(factor)):
        raise ModelError(f"{folder}: its features are scaled by a finetuned factor", hint="sae-lens 6 refuses it too")
    if "log_threshold" in tensors:
        tensors["threshold"] = tensors.pop("log_threshold").exp()
    sae = files.assembled(files.checked(values, where), tensors, str(folder / files.WEIGHTS_NAME))
    sae.fold_scale(scale)
    metadata = values["metadata"]
    known = recorded.noted(_fired(folder / SPARSITY, sae.d_sae)) | recorded.in_metadata(metadata)
    return Found(sae, metadata | known, f"{kind}'s {values['architecture']}")


def _fired(path: Path, d_sae: int) -> float | None:
    """L0 by how often each feature fired in training, Σ_j 10^s_j; None where there is no such file, or it is torn."""
    try:
        log = files.read_tensors(path).get("sparsity")
    except ModelError:
        return None
    known = log is not None and log.shape == (d_sae,) and bool((log <= 0).all())
    return float((10 ** log.double()).sum()) if log is not None and known else None


def _since_6(old: dict[str, Any], where: Path) -> dict[str, Any]:
    """A flat configuration of sae-lens before 6.0 as one since."""
    names = {
        "hook_point": "hook_name",
        "hook_point_head_index": "hook_head_index",
        "activation_fn_str": "activation_fn",
    }
    values = {"architecture": "standard", "prepend_bos": True} | {names.get(k, k): v for k, v in old.items()}
    if (activation := values.get("activation_fn") or "relu") == "topk":
        options = values.get("activation_fn_kwargs")
        values |= {"architecture": "topk", "k": options.get("k") if isinstance(options, dict) else None}
    elif activation != "relu":
        raise ModelError(f"{where}: its activation function is {activation}", hint="relu and topk can be read")
    normalised = values.get("normalize_activations") or "none"
    values["normalize_activations"] = "expected_average_only_in" if normalised is True else normalised
    if values.get("hook_head_index") is not None:
        raise ModelError(f"{where}: it reads one attention head alone", hint="only whole hook points can be read")
    kept = (
        "model_name", "hook_name", "model_class_name", "model_from_pretrained_kwargs", "prepend_bos", "context_size",
        "dataset_path", "neuronpedia_id", "seqpos_slice", "exclude_special_tokens",
    )  # fmt: skip
    return values | {"metadata": {k: values[k] for k in kept if values.get(k) is not None}}


def _sparsify(folder: Path) -> Found:
    """`z` = the k largest of `relu((x − b_dec) Wᵀ + b)`; the folder is named after the module whose output is read."""
    where, path = folder / "cfg.json", folder / "sae.safetensors"
    cfg, tensors = files.read_values(where), loose.named(files.read_tensors(path), path)
    for refused in ("transcode", "skip_connection", "signed"):
        if cfg.get(refused):
            raise ModelError(f"{where}: {refused} is set", hint="only SAEs with a code of positive values can be read")
    if (activation := cfg.get("activation", "topk")) != "topk":
        raise ModelError(f"{where}: its activation is {activation}", hint="only topk can be read")
    stated = {"d_in": cfg.get("d_in"), "d_sae": cfg.get("num_latents"), "k": cfg.get("k")}
    if not stated["d_sae"]:
        stated["d_sae"] = len(tensors["W_enc"]) * cfg.get("expansion_factor", 32)
    sae = _built("topk", tensors, path, stated=stated)
    return Found(sae, facts.sparsify(folder), "sparsify's topk")


def _dictionary_learning(folder: Path, place: str) -> Found:
    """By `dict_class`; what each class does is read from its source.

    AutoEncoder is loaded there with unit decoder rows; JumpReluAutoEncoder does not subtract `b_dec`. A batch top-k
    whose threshold was never set, which is then −1, is read as top-k.
    """
    where, path = folder / "config.json", folder / "ae.pt"
    config, tensors = files.read_values(where), loose.named(loose.unpickled(path), path)
    trainer = part if isinstance(part := config.get("trainer"), dict) else {}
    class_ = trainer.get("dict_class")
    if class_ not in DICTIONARIES:
        raise ModelError(f"{where}: dict_class {class_!r} cannot be read", hint=f"known are {', '.join(DICTIONARIES)}")
    architecture = DICTIONARIES[class_]
    if architecture == "jumprelu" and bool((tensors.get("threshold", torch.zeros(())) < 0).all()):
        architecture = "topk"
    stated = {"d_in": trainer.get("activation_dim"), "d_sae": trainer.get("dict_size")}
    k = trainer.get("k", loose.number(tensors.get("k")))
    subtract = class_ not in ("JumpReluAutoEncoder", "AutoEncoderNew")
    sae = _built(architecture, tensors, path, stated=stated | {"k": k}, subtract=subtract)
    if class_ == "AutoEncoder":
        sae.fold_decoder_norms()
    told = facts.dictionary(config, place) | recorded.beside(folder)
    return Found(sae, told, f"dictionary_learning's {class_}")


def _gemma_scope(folder: Path, place: str) -> Found:
    """`z = u · 1[u > θ]` with `u = x W_enc + b_enc`: `b_dec` is not subtracted. What it read is told by its place."""
    first = folder / "params.npz"
    path = first if first.is_file() else folder / "params.safetensors"
    raw = loose.unzipped(path) if path == first else files.read_tensors(path)
    config = read_json(folder / "config.json")
    sides = ("affine_skip_connection" in raw, config.get("hf_hook_point_out"), config.get("affine_connection"))
    if any(sides) or provenance.ACROSS.search(place):
        raise ModelError(f"{path} maps one place of a model to another", hint="only SAEs can be read, not transcoders")
    if "/embedding/" in place.replace(":", "/"):
        raise ModelError(f"{path} reads embeddings, which models scale in their own ways", hint="pick one of a layer")
    sae = _built("jumprelu", loose.named(raw, path), path, subtract=False)
    model, hook = provenance.scope(place, config)
    told = {"model_name": model, "hook_name": hook, "prepend_bos": True}
    known = recorded.noted(config.get("l0")) | recorded.in_place(place)
    return Found(sae, told | known, "Gemma Scope's jumprelu")


def _plain(path: Path, given: Mapping[str, Any]) -> Found:
    """Tensors alone: an encoder, a decoder, perhaps their biases and the mean of the activations.

    With a mean m: `z = code((x − m) W_enc + b_enc)` and `x̂ = z W_dec + b_dec + m`. OpenAI's have `pre_bias`.
    """
    raw = {".npz": loose.unzipped, ".safetensors": files.read_tensors}.get(path.suffix, loose.unpickled)(path)
    if (activation := raw.pop("activation", "ReLU")) != "ReLU":
        # Their TopK models divide each activation by its own deviation first.
        raise ModelError(f"{path}: OpenAI's {activation} models normalise activations", hint="only ReLU can be read")
    raw.pop("activation_state_dict", None)
    subtract = given.get("apply_b_dec_to_input", "decoder.bias" not in raw)
    tensors = loose.named(raw, path)
    k = given.get("k", loose.number(tensors.get("k")))
    architecture = given.get("architecture") or _guessed(tensors, k, path)
    if architecture == "jumprelu" and "apply_b_dec_to_input" not in given:
        raise ModelError(
            f"{path} does not say whether b_dec is subtracted from the activations",
            hint="add --set sae.apply_b_dec_to_input=true (as SAELens does) or =false (as Gemma Scope does)",
        )
    written = {"relu": "standard", "batchtopk": "jumprelu", "matryoshka": "jumprelu"}.get(architecture, architecture)
    d_in, d_sae = tensors["W_enc"].shape
    tensors = {"b_enc": torch.zeros(d_sae), "b_dec": torch.zeros(d_in), **tensors}
    if "mean" in tensors:
        _centre(tensors, subtract=subtract, path=path)
        subtract = True
    sae = _built(written, tensors, path, stated={"k": k}, subtract=subtract)
    return Found(sae, {}, f"tensors alone, taken for {sae.architecture}")


def _guessed(tensors: Mapping[str, Tensor], k: object, path: Path) -> str:
    """Our name of what such tensors make."""
    if "r_mag" in tensors:
        return "gated"
    if "threshold" not in tensors:
        return "relu" if k is None else "topk"
    if "k" in tensors:
        raise ModelError(
            f"{path} may hold a top-k or a batch top-k SAE",
            hint="name the folder with its config.json, or add --set sae.architecture=topk (or batchtopk)",
        )
    return "jumprelu"


def _centre(tensors: dict[str, Tensor], *, subtract: bool, path: Path) -> None:
    """Put the mean into `b_dec`, which then is subtracted; where it was not, `b_enc` gives back what is too much."""
    mean, b_dec, W_enc = tensors.pop("mean"), tensors["b_dec"], tensors["W_enc"]
    if mean.shape != b_dec.shape or "r_mag" in tensors:
        raise ModelError(f"{path}: its mean is {tuple(mean.shape)}", hint=f"a plain SAE's is {tuple(b_dec.shape)}")
    if not subtract:
        tensors["b_enc"] = (tensors["b_enc"].double() + b_dec.double() @ W_enc.double()).float()
    tensors["b_dec"] = b_dec + mean


def _built(
    architecture: str, tensors: dict[str, Tensor], path: Path, *, stated: Mapping[str, Any] | None = None,
    subtract: bool = True,
) -> SAE:  # fmt: skip
    """The SAE of named tensors; what its configuration has `stated` of sizes and k has to fit them."""
    d_in, d_sae = tensors["W_enc"].shape
    values: dict[str, Any] = {"architecture": architecture, "d_in": d_in, "d_sae": d_sae}
    values |= {key: value for key, value in (stated or {}).items() if value is not None}
    values = files.checked(values | {"apply_b_dec_to_input": subtract}, path)
    if "threshold" in tensors and tensors["threshold"].ndim == 0:
        tensors = tensors | {"threshold": tensors["threshold"].expand(values["d_sae"])}
    return files.assembled(values, tensors, str(path))

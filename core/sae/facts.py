"""What the small files beside a foreign SAE tell of it, before any weight is read. No torch.

`core.sae.foreign` reads the same files whole, and alone decides whether it is an SAE that can be run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ModelError, nearest
from core.processing import Processing, of
from core.sae import provenance, registry
from core.storage import read_json


@dataclass(frozen=True, slots=True, kw_only=True)
class SaeFacts:
    """What is told; what is not is empty or None."""

    kind: str
    """Whose format it is, or where it is fetched from, for a person."""
    model: str = ""
    hook: str = ""
    processing: Processing = "none"
    d_in: int | None = None
    d_sae: int | None = None


def read(source: str) -> SaeFacts:
    """What is told of a folder, a file, `REPO:FOLDER` or `RELEASE/ID`; the hub is not asked.

    Raises ModelError where there is no such thing, or nothing in it that could be an SAE.
    """
    path = Path(source).expanduser()
    if not path.exists():
        return _named(source)
    folder = path if path.is_dir() else path.parent
    there = {file.name for file in folder.iterdir()} if path.is_dir() else {path.name, *_beside(path)}
    if "sae.safetensors" in there:
        cfg = read_json(folder / "cfg.json")
        return _facts("sparsify", sparsify(folder), cfg.get("d_in"), cfg.get("num_latents"))
    if {"ae.pt", "config.json"} <= there:
        config = read_json(folder / "config.json")
        trainer = _part(config, "trainer")
        told = dictionary(config, str(path.resolve()))
        return _facts("dictionary_learning", told, trainer.get("activation_dim"), trainer.get("dict_size"))
    if there & {"params.npz", "params.safetensors"}:
        model, hook = provenance.scope(str(path.resolve()), read_json(folder / "config.json"))
        return _facts("Gemma Scope", {"model_name": model, "hook_name": hook})
    if "cfg.json" in there:
        values = read_json(folder / "cfg.json")
        if not values:
            raise ModelError(f"{folder / 'cfg.json'} cannot be read", hint="it should hold an object")
        told = {"hook_name": values.get("hook_point"), **values, **_part(values, "metadata")}
        return _facts(
            f"SAELens' {values.get('architecture') or 'standard'}", told, values.get("d_in"), values.get("d_sae")
        )
    if path.is_file() or any(name.endswith((".pt", ".pth", ".npz", ".safetensors")) for name in there):
        return SaeFacts(kind="tensors alone")
    raise ModelError(f"{path} holds no SAE", hint="name the folder of one, with its cfg.json or config.json, or a file")


def sparsify(folder: Path) -> dict[str, Any]:
    """Metadata, in SAELens' names, of a folder that sparsify wrote: it is named after the module that is read."""
    named = folder.resolve().parent if folder.resolve().name.startswith("seed") else folder.resolve()
    run = read_json(named.parent / "config.json")
    hook = provenance.hook_of_module(named.name, run.get("model"))
    return {"model_name": run.get("model"), "hook_name": hook, "context_size": run.get("ctx_len")}


def dictionary(config: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Metadata, in SAELens' names, of dictionary_learning's `config.json`; `place` is where it lies."""
    trainer = _part(config, "trainer")
    words = str(trainer.get("submodule_name") or place)
    return {
        "model_name": trainer.get("lm_name"),
        "hook_name": provenance.hook_of_words(words, trainer.get("layer")),
        "context_size": _part(config, "buffer").get("ctx_len"),
    }


def _named(source: str) -> SaeFacts:
    if not registry.is_name(source):
        raise ModelError(f"there is no {source}", hint="name a folder, a file, REPO:FOLDER or RELEASE/ID")
    if ":" in source:
        model, hook = provenance.scope(source, {})
        return _facts("fetched from the hub", {"model_name": model, "hook_name": hook})
    found = registry.releases()
    release, _, id_ = source.partition("/")
    if release not in found:
        raise ModelError(f"there is no {source} here, and no release {release!r}", hint=nearest(release, found))
    if id_ not in (saes := registry.saes(found[release])):
        raise ModelError(f"release {release} has no SAE {id_!r}", hint=nearest(id_, saes))
    told = {"model_name": found[release].get("model"), **(found[release].get("config_overrides") or {})}
    hook = id_ if id_.startswith("blocks.") else None
    return _facts(f"fetched from {found[release]['repo_id']}", {"hook_name": hook, **told})


def _facts(kind: str, told: Mapping[str, Any], d_in: object = None, d_sae: object = None) -> SaeFacts:
    done = of(_part(told, "model_from_pretrained_kwargs"))
    return SaeFacts(
        kind=kind, model=str(told.get("model_name") or ""), hook=str(told.get("hook_name") or ""),
        processing=done or "none", d_in=_width(d_in), d_sae=_width(d_sae),
    )  # fmt: skip


def _beside(path: Path) -> set[str]:
    """What belongs to a named file: the configuration in its folder, where it is one that comes with one."""
    if path.name not in ("sae_weights.safetensors", "sae.safetensors", "ae.pt", "params.npz", "params.safetensors"):
        return set()
    return {name for name in ("cfg.json", "config.json") if (path.parent / name).is_file()}


def _part(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = values.get(name)
    return part if isinstance(part, dict) else {}


def _width(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None

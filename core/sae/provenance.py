"""Where a foreign SAE says it was trained, in our words: the model's name and the hook point in TransformerLens' names.

Reads names of modules, folders and repositories; touches no file. What is not plain is None: then a person is asked.
"""

import re
from collections.abc import Mapping
from typing import Any

MODULE = re.compile(r"(?:\w+\.)*(?:layers|h|blocks)[._](\d+)(?:\.(\w+))?")
"""A module of a Hugging Face model: `layers.10`, `h.5.mlp`, `model.layers.10.self_attn`."""
PARTS = {"mlp": "hook_mlp_out", "attn": "hook_attn_out", "self_attn": "hook_attn_out", "attention": "hook_attn_out"}
NORMED_AFTER = re.compile(r"gemma-?[23]|olmo-?2", re.IGNORECASE)
"""Models that norm what a part of a block gives out: TransformerLens hooks after the norm, the module ends before."""
KINDS = {
    "resid_pre": "hook_resid_pre", "resid_post": "hook_resid_post", "mlp_out": "hook_mlp_out",
    "attn_out": "hook_attn_out",
}  # fmt: skip
"""What dictionary_learning's users call the places of a block."""
SCOPE = re.compile(r"gemma-scope-(2-)?(\d+[bm])-(pt|it)(?:-(res|mlp|att)\b)?")
SCOPE_KINDS = {
    "res": "hook_resid_post", "mlp": "hook_mlp_out", "att": "attn.hook_z",
    "resid_post": "hook_resid_post", "mlp_out": "hook_mlp_out", "attn_out": "attn.hook_z",
}  # fmt: skip
"""Gemma Scope's names, of repositories and of folders: its attention SAEs read what goes into the output projection."""
SCOPE_MODULES = {
    "output": "hook_resid_post", "post_feedforward_layernorm.output": "hook_mlp_out",
    "self_attn.o_proj.input": "attn.hook_z",
}  # fmt: skip
"""The same in Gemma Scope 2's `hf_hook_point_in`, after `model.layers.N.`."""
ACROSS = re.compile(r"(?:^|[/:_-])(?:transcoder|crosscoder|clt)s?(?:[/:_-]|$)")
"""A place that tells of what maps one place of a model to another."""
NEURONPEDIA = re.compile(r"[\w.-]+/[\w.-]+")
"""How Neuronpedia names an SAE: the model, and the SAE within it."""


def hook_of_module(module: str, model: str | None) -> str | None:
    """The hook point that holds the output of `module` of the Hugging Face model `model`."""
    found = MODULE.fullmatch(module)
    if found is None:
        return None
    layer, part = found.groups()
    if part is None:
        return f"blocks.{layer}.hook_resid_post"
    if part not in PARTS or model is None or NORMED_AFTER.search(str(model)):
        return None
    return f"blocks.{layer}.{PARTS[part]}"


def hook_of_words(text: str, layer: object = None) -> str | None:
    """The hook point of a submodule or folder named like `resid_post_layer_8`; `layer` where the name lacks it."""
    kinds = [kind for kind in KINDS if kind in text]
    number = re.search(r"layer_?(\d+)", text)
    index = number[1] if number else layer
    return f"blocks.{index}.{KINDS[kinds[0]]}" if len(kinds) == 1 and index is not None else None


def scope(place: str, config: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The model and the hook point of a Gemma Scope SAE, from its path or `REPO:FOLDER` and its `config.json`."""
    found, layer = SCOPE.search(place), re.search(r"layer_(\d+)", place)
    model = kind = None
    if found:
        second, size, tuned, kind = found.groups()
        model = f"google/gemma-{'3' if second else '2'}-{size}-{tuned}"
    elif name := config.get("model_name"):
        model = "google/" + str(name).removeprefix("google/").replace("-v3", "-3")
    if model and (model.startswith("google/gemma-2") or "270m" in model):
        model = model.removesuffix("-pt")
    kind = next((k for k in ("resid_post", "mlp_out", "attn_out") if k in place), kind)
    if layer and kind:
        return model, f"blocks.{layer[1]}.{SCOPE_KINDS[kind]}"
    module = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", str(config.get("hf_hook_point_in")))
    hook = f"blocks.{module[1]}.{SCOPE_MODULES[module[2]]}" if module and module[2] in SCOPE_MODULES else None
    return model, hook


def neuronpedia_page(config: Mapping[str, Any], feature: int) -> str | None:
    """The address of a feature on Neuronpedia, where `cfg.json` names the SAE there (`neuronpedia_id`); else None."""
    metadata = config.get("metadata")
    name = metadata.get("neuronpedia_id") if isinstance(metadata, Mapping) else None
    if not isinstance(name, str) or not NEURONPEDIA.fullmatch(name) or not name.isascii():
        return None
    return f"https://www.neuronpedia.org/{name}/{feature}"

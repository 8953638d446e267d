"""What a model's `config.json` tells before the model is loaded: sizes, hook points and their widths. No torch.

Looks where the model would be loaded from: the embedded one (its numbers are known), a folder, the hub's cache. What a
`config.json` cannot tell is found at the start of a run, which checks everything anew.
"""

import difflib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ModelError, nearest
from core.options import EMBEDDED
from core.storage import read_json

ALIASES = {f"gpt2-{size}": name for size, name in (("small", "gpt2"), ("xs", "distilgpt2"))} | {
    "distil-gpt2": "distilgpt2",
    "pythia": "EleutherAI/pythia-70m",
    **{f"pythia-{size}": f"EleutherAI/pythia-{size}" for size in ("14m", "31m", "70m", "160m", "410m", "1b", "1.4b")},
    **{f"gemma-{size}": f"google/gemma-{size}" for size in ("2b", "2b-it", "2-2b", "2-2b-it", "2-9b", "2-9b-it")},
}
"""TransformerLens' names for models on the hub, the usual ones; its whole table takes torch to read."""
RESIDUAL = ("hook_resid_post", "hook_resid_pre", "hook_resid_mid", "hook_mlp_out", "hook_attn_out")
"""Hook points of a block that hold the residual stream, or what is added to it."""
TWO_MATRICES = {"gpt2", "gpt_neo", "gpt_neox", "gptj", "opt", "bloom", "phi", "falcon", "codegen", "gpt_bigcode", "mpt"}
"""Model types whose MLP has no gate."""
IN_BLOCK = {
    *RESIDUAL, "hook_resid_mid2", "hook_in", "hook_out", "hook_attn_in", "hook_mlp_in", "hook_q_input", "hook_k_input",
    "hook_v_input", "hook_cross_attn_out", "hook_linear_attn_in", "hook_linear_attn_out", "hook_mixer_in",
    "hook_mixer_out", "hook_time_mix_in", "hook_time_mix_out", "hook_channel_mix_in", "hook_channel_mix_out",
}  # fmt: skip
"""Hook points of a block itself, in any architecture that TransformerLens' bridge knows."""
PARTS = {
    "attn", "mlp", "ln1", "ln1_post", "ln2", "ln2_post", "ln3", "ln3_post", "self_attn", "cross_attn", "linear_attn",
    "mixer", "mamba", "norm", "norm_1", "norm_2", "norm_3", "norm_4", "channel_mix", "shared_mlp", "router", "experts",
}  # fmt: skip
"""Parts of a block that have hook points."""
IN_PART = {
    "hook_in", "hook_out", "hook_q", "hook_k", "hook_v", "hook_z", "hook_result", "hook_pattern", "hook_attn_scores",
    "hook_rot_q", "hook_rot_k", "hook_q_input", "hook_k_input", "hook_v_input", "hook_attn_in", "hook_hidden_states",
    "hook_cos", "hook_sin", "hook_pre", "hook_pre_linear", "hook_post", "hook_normalized", "hook_scale", "hook_gate",
    "hook_q_normed", "hook_k_normed", "hook_q_gate", "hook_q_latent", "hook_kv_latent", "hook_cross_pattern",
    "hook_router_scores", "hook_expert_weights", "hook_expert_indices", "hook_ssm_state", "hook_ssm_write",
    "hook_ssm_out", "hook_conv", "hook_in_proj", "hook_inner_norm", "hook_recurrence_out", "hook_q_pre_conv",
    "hook_k_pre_conv", "hook_v_pre_conv", "hook_log_decay", "hook_beta", "hook_beta_logit",
}  # fmt: skip
"""Hook points of such a part, of its own parts, or of what stands before and behind the blocks."""
ALONE = {"hook_embed", "hook_pos_embed", "hook_unembed"}
HOOK = re.compile(r"blocks\.(\d+)\.(\w+(?:\.\w+)*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """A language model's sizes."""

    name: str
    d_model: int
    """Width of the residual stream."""
    layers: int
    heads: int
    key_value_heads: int
    head_width: int
    d_mlp: int
    vocabulary: int
    context: int | None
    """Tokens it can read at once; None where its file does not say."""
    parameters: int | None
    """Numbers in its weights; None where its kind is not known and its files are not here."""

    def widths(self) -> dict[str, int]:
        """The standard hook points of every block, without `blocks.N.`, with their widths, the usual ones first.

        A hook point with heads is read flattened: heads · head width.
        """
        heads, shared = self.heads * self.head_width, self.key_value_heads * self.head_width
        return {
            **dict.fromkeys(RESIDUAL, self.d_model),
            "attn.hook_z": heads, "attn.hook_q": heads, "attn.hook_k": shared, "attn.hook_v": shared,
            "mlp.hook_pre": self.d_mlp, "mlp.hook_post": self.d_mlp,
        }  # fmt: skip

    def width(self, hook: str) -> int | None:
        """The width at a hook point; None where only the model itself can tell."""
        if hook == "hook_embed":
            return self.d_model
        found = HOOK.fullmatch(hook)
        return self.widths().get(found[2]) if found else None

    def refusal(self, hook: str) -> str:
        """Why there can be no such hook point, in a sentence; empty where there is one or there may be."""
        found = HOOK.fullmatch(hook)
        if found and int(found[1]) >= self.layers:
            return f"{self.name} has {self.layers} blocks, 0 to {self.layers - 1}: there is no blocks.{found[1]}"
        if found or not hook.startswith("blocks"):
            return ""
        return f"a block's hook point reads like blocks.{self.layers // 2}.{RESIDUAL[0]}"

    def unknown(self, hook: str) -> str:
        """Why a hook point can be in no model, in a sentence: no table here has its name. Empty where one has."""
        found = HOOK.fullmatch(hook)
        *parts, last = (found[2] if found else hook).split(".")
        known = IN_PART if parts else IN_BLOCK if found else ALONE
        if last in known and (not found or not parts or parts[0] in PARTS):
            return ""
        head = f"blocks.{found[1]}." if found else ""
        usual = {head + site for site in (*self.widths(), *IN_BLOCK)} if found else {*ALONE, "ln_final.hook_normalized"}
        close = difflib.get_close_matches(hook, usual, n=3, cutoff=0.0)
        return f"{self.name} has no hook point {hook}; the nearest are {', '.join(close)}"

    def doubt(self, hook: str) -> str:
        """What is unusual about a hook point, in a sentence: it is checked at the start. Else empty."""
        if self.refusal(hook) or self.width(hook) is not None:
            return ""
        found = HOOK.fullmatch(hook)
        hint = nearest(found[2], self.widths()) if found else "the usual ones begin with `blocks.`"
        return f"{hint} This one is unusual, and checked at start"


SMOLLM2 = ModelFacts(
    name="smollm2", d_model=576, layers=30, heads=9, key_value_heads=3, head_width=64, d_mlp=1536, vocabulary=49_152,
    context=8_192, parameters=134_515_008,
)  # fmt: skip


def facts(name: str, revision: str = "") -> ModelFacts | None:
    """What is known here of a model by the name a configuration gives it; None where the hub would have to be asked.

    Raises ModelError for a folder that is not there or holds no model, and a `config.json` that cannot be read.
    """
    if name == EMBEDDED[0]:
        return SMOLLM2
    folder = _folder(name, revision)
    if folder is None:
        return None
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"the config.json of {name} cannot be read", hint=str(error)) from None
    found = _read(name, values) if isinstance(values, dict) else None
    if found is None:
        raise ModelError(
            f"the config.json of {name} is not that of a language model",
            hint="name a folder or a hub model that AutoModelForCausalLM loads",
        )
    exact = _stored(folder)
    return found if exact is None else ModelFacts(**{**_plain(found), "parameters": exact})


def misfit(name: str, revision: str, hook: str, d_in: int | None) -> str:
    """Why an SAE of that width cannot read that hook point, in a sentence; empty where it can, or nothing is known.

    Raises as `facts`.
    """
    found = facts(name, revision)
    if found is None:
        return ""
    if refusal := found.refusal(hook) or found.unknown(hook):
        return refusal
    if d_in is None or found.width(hook) in (None, d_in):
        return ""
    return f"the SAE takes {d_in} dimensions, but {hook} of {found.name} has {found.width(hook)}"


def cached() -> list[str]:
    """Names of the models in the hub's cache, which load without a network."""
    found = []
    for folder in sorted(_hub().glob("models--*")):
        name = folder.name.removeprefix("models--").replace("--", "/")
        if any(folder.glob("snapshots/*/config.json")) and any(folder.glob("snapshots/*/*.safetensors*")):
            found.append(name)
    return found


def _hub() -> Path:
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def _folder(name: str, revision: str) -> Path | None:
    """Where the model's files are on this machine. As `core.models.load` looks for them."""
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(f"{name} holds no config.json", hint="name a folder written by `save_pretrained`")
        return path
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ModelError(f"there is no model folder {name}", hint="check the path")
    place = _hub() / f"models--{ALIASES.get(name, name).replace('/', '--')}"
    revision = revision or "main"
    try:
        commit = (place / "refs" / revision).read_text(encoding="utf-8").strip()
    except OSError:
        commit = revision
    snapshot = place / "snapshots" / commit
    return snapshot if (snapshot / "config.json").is_file() else None


def _read(name: str, values: Mapping[str, Any]) -> ModelFacts | None:
    """The sizes under the names that families give them; None where one that counts is missing."""
    text = values.get("text_config")
    values = {**values, **text} if isinstance(text, dict) else values

    def size(*names: str) -> int | None:
        found = (values.get(n) for n in names)
        return next((v for v in found if isinstance(v, int) and not isinstance(v, bool) and v > 0), None)

    d_model, layers = size("hidden_size", "n_embd", "d_model"), size("num_hidden_layers", "n_layer", "num_layers")
    heads, vocabulary = size("num_attention_heads", "n_head", "num_heads"), size("vocab_size")
    if not (d_model and layers and heads and vocabulary):
        return None
    found = ModelFacts(
        name=name, d_model=d_model, layers=layers, heads=heads, vocabulary=vocabulary, parameters=None,
        key_value_heads=size("num_key_value_heads") or heads,
        head_width=size("head_dim") or d_model // heads,
        d_mlp=size("intermediate_size", "n_inner", "ffn_dim") or 4 * d_model,
        context=size("max_position_embeddings", "n_positions", "n_ctx"),
    )  # fmt: skip
    return ModelFacts(**{**_plain(found), "parameters": _counted(found, values)})


def _plain(found: ModelFacts) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ModelFacts.__dataclass_fields__}


def _counted(facts: ModelFacts, values: Mapping[str, Any]) -> int | None:
    """Numbers in the matrices that all decoder-only models have; vectors are left out, some thousandths.

    V·d for the embedding, once more where the unembedding is one of its own, P·d for learned positions; a block has
    d·(h + 2·h_kv)·w + h·w·d in its attention and 2 or, with a gate, 3 · d·d_mlp in its MLP. None for mixtures of
    experts, which divide it otherwise.
    """
    if any("expert" in name for name in values):
        return None
    kind = str(values.get("model_type", ""))
    d, w = facts.d_model, facts.head_width
    tied = values.get("tie_word_embeddings", True)
    block = d * w * (2 * facts.heads + 2 * facts.key_value_heads) + (2 if kind in TWO_MATRICES else 3) * d * facts.d_mlp
    positions = (facts.context or 0) * d if kind in ("gpt2", "opt", "gpt_neo") else 0
    return facts.vocabulary * d * (1 if tied else 2) + positions + facts.layers * block


def _stored(folder: Path) -> int | None:
    """How many numbers the weights' files hold, by their headers; None where they are not all here."""
    index = read_json(folder / "model.safetensors.index.json").get("weight_map", {})
    names = sorted(set(index.values())) if index else ["model.safetensors"]
    total = 0
    try:
        for name in names:
            with (folder / str(name)).open("rb") as file:
                header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            total += sum(math.prod(t["shape"]) for n, t in header.items() if n != "__metadata__")
    except (OSError, ValueError, TypeError, KeyError, OverflowError, MemoryError):
        return None
    return total

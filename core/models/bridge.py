"""TransformerLens' `TransformerBridge` (3.9 and 4.x) around a model: booted, its weights processed, its hooks found.

Alone in knowing how a bridge is made; what is read through it is `language`'s.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.generalized_components.attention import AttentionBridge
from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from core.errors import ModelError
from core.processing import ALL, OPTIONS, Processing

PROBE = (7, 11)
"""Rows and tokens of a probe pass: numbers that no model has as heads or widths."""
CHANGED = {torch.float32: 1e-3}
"""Share of the logits' norm by which processed weights may change them; `CHANGED_ELSE` in other precisions."""
CHANGED_ELSE = 0.1


class HookInfo(NamedTuple):
    """A hook point that fired in a probe pass."""

    name: str
    shape: tuple[int, ...]
    """Without batch and position."""
    module: str
    """The wrapped HuggingFace module it belongs to."""


def boot(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, device: torch.device) -> Any:
    """A bridge around a loaded model. Makes no network call: model and tokenizer are given."""
    try:
        bridge = TransformerBridge.boot_transformers(
            name, hf_model=model, tokenizer=tokenizer, device=device, dtype=next(model.parameters()).dtype
        )
    except (ValueError, KeyError, NotImplementedError) as error:
        raise ModelError(
            f"TransformerLens cannot wrap {name} ({type(model).__name__})", hint=str(error).splitlines()[0]
        ) from error
    return bridge.eval()


def process(bridge: Any, kind: Processing, name: str) -> None:
    """Process the bridge's weights as HookedTransformer does, in place: see `core.processing`.

    What a layer norm discards is taken out of what is written to the residual stream (`W ← W − mean(W)` over d_model),
    norms' weights go into the layers behind them, the values' biases through `W_O` into the attention's. The model says
    the same: where TransformerLens' processing of an architecture changes its logits, or cannot be done, raises
    ModelError.
    """
    if kind == "none":
        return
    weights = next(bridge.original_model.parameters())
    ids = (torch.arange(PROBE[0] * PROBE[1], device=weights.device) % bridge.cfg.d_vocab).view(PROBE)
    before = _log_probs(bridge, ids)
    try:
        bridge.process_weights(**dict.fromkeys(ALL, False) | OPTIONS[kind])
    except Exception as error:  # an architecture's adapter raises anything
        raise ModelError(
            f"TransformerLens cannot process the weights of {name}", hint=f"set model.processing = none; {error}"
        ) from error
    changed = float((_log_probs(bridge, ids) - before).norm() / before.norm())
    if changed > CHANGED.get(weights.dtype, CHANGED_ELSE):
        raise ModelError(
            f"with processed weights {name} is another model: its logits differ by {changed:.2g} of their norm",
            hint="set model.processing = none: TransformerLens does not process this architecture rightly",
        )


@torch.no_grad()
def _log_probs(bridge: Any, ids: Int[Tensor, "b t"]) -> Float[Tensor, "b t v"]:
    return bridge(ids).float().log_softmax(dim=-1)


def fired_hooks(bridge: Any, device: torch.device) -> list[HookInfo]:
    """Every hook point that fires in a pass over a few tokens and holds vectors, the usual names first.

    Some names of the bridge never fire, others cannot be hooked: only a pass tells.
    """
    owners = {}
    for path, module in bridge.original_model.named_modules():
        owners.setdefault(id(module), path.replace("._original_component", ""))
    seen: dict[str, tuple[str, tuple[int, ...]]] = {}
    all_names = sorted(names(bridge), key=lambda name: not re.fullmatch(r"blocks\.\d+\.hook_\w+", name))
    with torch.no_grad(), ExitStack() as hooked:
        for name in all_names:

            def see(x: Tensor, hook: Any, name: str = name) -> None:
                seen[name] = hook.name, tuple(x.shape)

            with suppress(KeyError, ValueError, AttributeError):  # a name that stands for nothing in this model
                hooked.enter_context(bridge.hooks(fwd_hooks=[(name, see)]))
        bridge(torch.zeros(PROBE, dtype=torch.long, device=device), return_type=None)
    found = []
    for name in all_names:
        owner, shape = seen.get(name, ("", ()))
        if shape[:2] == PROBE and len(shape) > 2:
            component = bridge.get_submodule(owner.rpartition(".")[0]) if "." in owner else bridge
            found.append(HookInfo(name, shape[2:], owners.get(id(component), "")))
    return found


def names(bridge: Any) -> list[str]:
    """Its hook points; some never fire."""
    return list(bridge.hook_dict)


def use_native_attention(bridge: Any, implementation: str | None) -> None:
    """Let each block run its model's own attention instead of the bridge's.

    The bridge computes scores and patterns one by one, so that they can be hooked; where the hook point is not in
    the attention nobody reads them, and the wrapped module's fused attention is up to 1.5 times as fast at long
    contexts. Models that cap attention scores keep the bridge's: PyTorch's fused attention would not cap them.
    """
    config = bridge.original_model.config
    if implementation is None or getattr(config.get_text_config(), "attn_logit_softcapping", None):
        return
    for block in bridge.blocks:
        inner = block.original_component
        for name, module in list(inner.named_children()):
            if isinstance(module, AttentionBridge):
                inner._modules[name] = module.original_component
    config._attn_implementation = implementation


@contextmanager
def hooked(point: Any, hook: Callable[..., Tensor | None]) -> Iterator[None]:
    """A hook on one of the bridge's hook points. `bridge.hooks` lists them all first: too slow for every token."""
    point.add_hook(hook)
    handle = point.fwd_hooks[-1]
    try:
        yield
    finally:
        handle.hook.remove()
        point.fwd_hooks.remove(handle)


class Part(NamedTuple):
    """A component of a bridge in the wrapped model, and the model's own module that it stands before."""

    siblings: dict[str, nn.Module | None]
    name: str
    component: nn.Module
    own: nn.Module


def parts(bridge: Any, hook: str) -> list[Part]:
    """All components of the bridge but those that a hook point in a block needs in order to fire."""
    path = bridge.hook_dict[hook].name.split(".")[:-1]  # ["blocks", "3"], or ["blocks", "3", "attn", "o"]
    block = bridge.get_submodule(".".join(path[:2]))
    found: list[Part] = []
    seen = {id(bridge.get_submodule(".".join(path[:3])))} if path[2:] else set()
    pending: list[nn.Module] = [bridge.original_model]
    while pending:
        siblings = pending.pop()._modules
        for name, child in siblings.items():
            if child is None or id(child) in seen:
                continue
            seen.add(id(child))
            if isinstance(child, GeneralizedComponent):
                own: Any = child.original_component
                if child is not block:
                    found.append(Part(siblings, name, child, own))
                seen.add(id(own))
                pending.append(own)
            else:
                pending.append(child)
    return found


@contextmanager
def native(parts: Sequence[Part]) -> Iterator[None]:
    """Run the model's own modules in the place of these components, whose calls cost a third of a token's time."""
    try:
        for part in parts:
            part.siblings[part.name] = part.own
        yield
    finally:
        for part in parts:
            part.siblings[part.name] = part.component

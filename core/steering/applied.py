"""Interventions on a model as it stands, for scripts: `with applied(model, sae, interventions):`.

Whatever the model computes inside the block, however it is called, it computes with its activations edited at one
place. Owns the hook and what it knows of a pass; what an edit does is `core.steering.edit`'s.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from core.errors import ModelError, UsageError, nearest
from core.models.language import LanguageModel
from core.sae.base import SAE
from core.steering.edit import Positions, edited
from core.steering.interventions import Intervention, Mode, Resolved, Scales, resolve
from core.steering.places import place


@contextmanager
def applied(
    model: Any,
    sae: SAE,
    interventions: Sequence[Intervention],
    scales: Scales | None = None,
    mode: Mode = "error-kept",
    *,
    hook: str | None = None,
    counted: Bool[Tensor, "b t"] | Bool[Tensor, " t"] | None = None,
    prompt_length: int | None = None,
) -> Iterator[None]:
    """Inside the block the model's activations are edited in every pass; outside it the model is as it was.

    `model` is a LanguageModel, read at its own hook point; or a TransformerBridge or HookedTransformer with `hook`, the
    name of a hook point; or a part of any torch module, such as `hf.model.layers[3].mlp`: what is edited is its output,
    or the first of several. The activations are `[b t …]`, or `[t …]` for one text, of `sae.d_in` numbers a token.

    `scales` are what p99, max and mean stand for (`core.analysis.store.strengths`). In replace mode without
    interventions the output is the SAE's reconstruction: as if the SAE stood behind the module.

    A pass knows its own positions and nothing else of the text: `from:N` and `until:N` count from its first token, and
    `prompt` and `generated` part at `prompt_length`. In a pass that goes on from a cache no position is known: where
    one is asked for, call the model without (`use_cache=False`). `counted` is False where nothing is edited, such as
    on BOS or on padding; without it every position is.

    Raises QueryError and UsageError as `resolve` does, UsageError for a place that a pass cannot know, ModelError for a
    hook point that there is not, that holds something else than the SAE reads, or that did not fire in the block.
    """
    resolved = resolve(interventions, scales, sae.d_sae)
    if prompt_length is None and any(place(r.where).side for r in resolved):
        raise UsageError("what is the prompt is not known", hint="give applied(..., prompt_length=...)")
    if isinstance(model, LanguageModel):
        model, hook = model.bridge, hook or model.hook
    edit = _Edit(sae, resolved, mode, counted, prompt_length or 0, hook or type(model).__name__)
    with _hooked(model, hook, edit):
        yield
    if not edit.fired:
        raise ModelError(
            f"{edit.name} did not fire: nothing was edited", hint="call the model inside the block, by way of this part"
        )


class _Edit:
    """What takes the place of an output."""

    def __init__(
        self, sae: SAE, resolved: Sequence[Resolved], mode: Mode, counted: Tensor | None, prompt_length: int, name: str
    ) -> None:
        self.fired, self.name = False, name
        self._sae, self._resolved = sae, resolved
        self._mode: Mode = mode
        self._counted, self._prompt_length = counted, prompt_length
        self._positional = any(place(r.where).knows_text for r in resolved)

    def __call__(self, output: Tensor) -> Tensor:
        """x' in the shape and precision of the output."""
        d_in = self._sae.d_in
        for first in (2, 1):
            if output.ndim > first and output.shape[first:].numel() == d_in:
                x = output.reshape(-1, output.shape[first - 1], d_in).float()
                break
        else:
            raise ModelError(
                f"{self.name} gives {tuple(output.shape)}, and the SAE reads {d_in} numbers a token",
                hint="give the part of the model that the SAE was trained on",
            )
        if x.shape[1] == 1 and self.fired and self._positional:
            raise UsageError(
                "the position of a token that goes on from a cache is not known",
                hint="call the model with use_cache=False, or choose another place",
            )
        self.fired = True
        rows = [self._row(row, i) for i, row in enumerate(x)]
        return torch.stack(rows).reshape(output.shape).to(output.dtype)

    def _row(self, x: Tensor, i: int) -> Tensor:
        at = Positions(counted=self._counted_of(x, i), prompt_length=self._prompt_length)
        return edited(x, self._sae, self._resolved, at, self._mode)

    def _counted_of(self, x: Tensor, i: int) -> Tensor:
        """Which of the row's positions may be edited."""
        if self._counted is None:
            return torch.ones(len(x), dtype=torch.bool, device=x.device)
        counted = self._counted if self._counted.ndim == 1 else self._counted[i]
        if len(counted) != len(x):
            raise UsageError(
                f"counted is of {len(counted)} positions, and a pass has {len(x)}", hint="give one for each position"
            )
        return counted.to(x.device)


@contextmanager
def _hooked(model: Any, hook: str | None, edit: _Edit) -> Iterator[None]:
    """Every output there goes through `edit` until the block ends, however it does."""
    if hook is not None:
        if not hasattr(model, "hook_dict"):
            raise UsageError(f"a {type(model).__name__} has no hook points by name", hint="give the part itself")
        if hook not in model.hook_dict:
            raise ModelError(f"there is no hook point {hook!r}", hint=nearest(hook, model.hook_dict))
        with model.hooks(fwd_hooks=[(hook, lambda x, hook: edit(x))]):
            yield
        return
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"a {type(model).__name__} is no model", hint="give a LanguageModel, a bridge or a torch module"
        )
    if hasattr(model, "hook_dict"):
        raise UsageError(f"a {type(model).__name__} has many hook points", hint="name one: applied(..., hook=...)")

    def after(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        return (edit(output[0]), *output[1:]) if isinstance(output, tuple) else edit(output)

    handle = model.register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()

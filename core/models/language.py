"""A language model under study, through TransformerLens' `TransformerBridge` (3.9 and 4.x).

Alone in knowing what a bridge does: where a forward pass can stop, caches, edits. Knows no SAE: it reads activations
at its hook point and lets a function edit them there.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer

from core.errors import ModelError, UsageError, nearest
from core.models.bridge import PROBE, boot, hooked, names, native, parts, process, use_native_attention
from core.processing import Processing

ALL = slice(None)
Edit = Callable[[Tensor], Tensor]
"""Maps activations `[b t d_in]` to what takes their place."""


class TextTokenizer:
    """The model's tokenizer, without any special token it would add by itself. See `core.tokens.Tokenizer`."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer: Any = tokenizer
        # Documents are cut into blocks after tokenising: their length is not the model's concern here.
        self._tokenizer.model_max_length = 10**30
        self.bos_id: int | None = self._tokenizer.bos_token_id
        eos: int | None = self._tokenizer.eos_token_id
        self.eos_ids: frozenset[int] = frozenset([] if eos is None else [eos])
        self.pad_id: int = next((i for i in (self._tokenizer.pad_token_id, eos) if i is not None), 0)
        self.special_ids: frozenset[int] = frozenset(tokenizer.all_special_ids)
        self._before: int = self._tokenizer("a", add_special_tokens=False)["input_ids"][-1]
        self._before_text = self.decode([self._before])

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text."""
        return self._tokenizer(texts, add_special_tokens=False)["input_ids"]

    def chat(self, turns: Sequence[tuple[str, str]], *, answer: bool) -> str:
        """Turns (role, text) in the model's chat template, as text; with `answer` the head of the assistant's turn.

        Raises UsageError where the model has no template, and where its template does not take such turns.
        """
        if not self._tokenizer.chat_template:
            raise UsageError("this model has no chat template", hint="give the prompt as plain text")
        messages = [{"role": role, "content": text} for role, text in turns]
        try:
            return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer))
        except Exception as error:  # a template is a program of its own
            raise UsageError("the model's chat template does not take this chat", hint=str(error)) from error

    def text(self, token_id: int) -> str:
        """One token as text; part of a character reads as U+FFFD.

        Decoded behind another token, since some tokenizers drop the space at the beginning of a text.
        """
        return self.decode([self._before, token_id]).removeprefix(self._before_text)

    def decode(self, ids: Sequence[int]) -> str:
        """A sequence of tokens as text, special tokens spelled out."""
        return str(self._tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))


class LanguageModel:
    """A model and the hook point at which it is read and edited.

    `processing` is done to its weights, in place: see `core.processing`. Raises ModelError where `hook` does not exist
    or does not fire, and where the weights cannot be processed.
    """

    def __init__(
        self,
        name: str,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        hook: str,
        device: torch.device,
        processing: Processing = "none",
    ) -> None:
        self.name, self.hook, self.device = name, hook, device
        attention = getattr(model.config, "_attn_implementation", None)
        self.bridge: Any = boot(name, model, tokenizer, device)
        process(self.bridge, processing, name)
        self.tokens = TextTokenizer(tokenizer)
        self.d_model: int = self.bridge.cfg.d_model
        self.n_layers: int = self.bridge.cfg.n_layers
        self.n_vocab: int = self.bridge.cfg.d_vocab
        self.dtype: torch.dtype = next(model.parameters()).dtype
        text_config = model.config.get_text_config()
        self.context: int = getattr(text_config, "max_position_embeddings", None) or self.bridge.cfg.n_ctx
        layer = re.match(r"blocks\.(\d+)\.", hook)
        self.layer = int(layer[1]) if layer else None
        """The block the hook point is in; None outside the blocks."""
        self._shape = self._probed_shape()
        self.d_in: int = int(torch.tensor(self._shape).prod())
        # The wrapped attention would compute with weights of its own beside those that were processed.
        if "attn" not in hook and processing == "none":
            use_native_attention(self.bridge, attention)
        points = self.bridge.hook_dict  # made anew each time, with TransformerLens 3.9 in 10 ms
        self._point: Any = points[hook]
        below = f"blocks.{self.layer}.hook_resid_pre"
        self._below = [points[below]] if self.layer and below in points else []
        """What enters the hook's block: where blocks lie below it they need not be run again for its sake."""
        # Processed weights are the bridge's own, which the model's modules do not have.
        self._unread = parts(self.bridge, hook) if self.layer is not None and processing == "none" else []

    @torch.no_grad()
    def activations(self, ids: Int[Tensor, "b t"]) -> Float[Tensor, "b t d_in"]:
        """The activations at the hook point, float32. The pass ends there."""
        return self._flat(self._read(ids)[0])

    def token_ids(self, ids: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """What statistics count by: the tokens as they are."""
        return ids

    @torch.no_grad()
    def next_logits(
        self, ids: Int[Tensor, "r t"], *, cache: Any = None, edit: Edit | None = None
    ) -> tuple[Float[Tensor, "r v"], Any]:
        """The logits after the last of `ids`, and the cache that holds all tokens so far.

        `cache` is what the last call returned: then `ids` are only the tokens since. With no `edit` no hook is
        installed, and the logits are the model's own, bit for bit.
        """
        arguments: dict[str, Any] = {"return_type": "logits_and_cache", "logits_to_keep": 1}
        arguments |= {"use_cache": True} if cache is None else {"past_key_values": cache}
        with native(self._unread), nullcontext() if edit is None else self._editing(edit):
            logits, cache = self.bridge(ids, **arguments)
        return logits[:, -1].float(), cache

    def cropped(self, cache: Any, length: int) -> Any:
        """The cache with only its first `length` tokens, in place; None where it does not keep them all.

        A sliding window forgets what left it. A call that was interrupted may have added to some layers only.
        """
        layers = getattr(cache, "layers", ())
        if not layers or any(type(layer) is not DynamicLayer or layer.get_seq_length() < length for layer in layers):
            return None
        for layer in layers:
            if layer.get_seq_length() > length:
                layer.crop(length - layer.get_seq_length())
        return cache

    @torch.no_grad()
    def split_pass(self, ids: Int[Tensor, "b t"]) -> "SplitPass":
        """A clean pass over `ids` up to the hook's block, after which others cost only the upper layers."""
        *inputs, x = self._read(ids, self._below)
        return SplitPass(self, ids, self._flat(x), inputs[0] if inputs else None)

    @torch.no_grad()
    def unembed(self, directions: Float[Tensor, "n d_model"]) -> Float[Tensor, "n v"]:
        """What adding each direction to the residual stream does to the logits, to first order.

        `(d ⊙ γ) W_U`, less its mean over the vocabulary; γ is the final norm's weight, and d is centred first where
        that norm centres. The norm's own scale, which depends on the text, is left out: only order and sign mean
        something. Raises ModelError where the hook point is not in the residual stream's space.
        """
        if self.d_in != self.d_model or self._shape != (self.d_model,):
            raise ModelError(
                f"{self.hook} has {self.d_in} dimensions, not the residual stream's {self.d_model}",
                hint="logit effects exist for hook_resid_pre, hook_resid_post, hook_mlp_out and hook_attn_out",
            )
        weight, centres = self._final_norm()
        directions = directions - directions.mean(dim=1, keepdim=True) if centres else directions
        logits = (directions * weight) @ self.bridge.W_U.detach().float()
        return logits.sub_(logits.mean(dim=1, keepdim=True))

    def _final_norm(self) -> tuple[Float[Tensor, " d_model"], bool]:
        """The final norm's weight and whether it centres, found by asking it: layer norm or any RMS norm."""
        norm = getattr(self.bridge, "ln_final", None)
        if norm is None:
            return torch.ones(self.d_model, device=self.device), False
        signs = torch.ones(self.d_model, device=self.device, dtype=self.dtype)
        signs[::2] = -1
        even = (norm(signs.expand(1, 1, -1)) - norm(-signs.expand(1, 1, -1))).flatten() / 2
        ones = torch.ones_like(signs).expand(1, 1, -1)
        return (even * signs).float(), bool((norm(ones) - norm(-ones)).abs().max() < 1e-3)

    def _probed_shape(self) -> tuple[int, ...]:
        """The hook's shape without batch and position, from a pass over a few tokens."""
        found: list[Tensor] = []
        try:
            hooks = [(self.hook, lambda x, hook: found.append(x))]
            with torch.no_grad(), self.bridge.hooks(fwd_hooks=hooks):
                self.bridge(torch.zeros(PROBE, dtype=torch.long, device=self.device), return_type=None)
        except (KeyError, ValueError):
            found.clear()
        if not found:
            raise ModelError(
                f"{self.name} has no hook point {self.hook!r} that fires",
                hint=f"{nearest(self.hook, names(self.bridge))} `sae-tui hooks {self.name}` lists them",
            )
        if found[0].shape[:2] != PROBE or found[0].ndim < 3:
            raise ModelError(
                f"{self.hook} of {self.name} holds no vector for each token but {tuple(found[0].shape)}",
                hint=f"`sae-tui hooks {self.name}` lists those that do",
            )
        return tuple(found[0].shape[2:])

    def _flat(self, x: Tensor) -> Float[Tensor, "b t d_in"]:
        return x.flatten(2).float()

    def _read(self, ids: Int[Tensor, "b t"], before: Sequence[Any] = ()) -> list[Tensor]:
        """What passes these hook points of the hook's block and then the hook's own, where the pass ends.

        Between them run the model's own modules: with the bridge's a pass takes up to a fifth longer.
        """
        found: list[Tensor] = []

        def see(x: Tensor, hook: Any) -> None:
            found.append(x)

        def end(x: Tensor, hook: Any) -> None:
            found.append(x)
            raise _Read

        with native(self._unread), ExitStack() as hooks, suppress(_Read):
            for point in before:
                hooks.enter_context(hooked(point, see))
            hooks.enter_context(hooked(self._point, end))
            self.bridge(ids, return_type=None)
            raise ModelError(f"the hook point {self.hook} did not fire: nothing was read")
        return found

    @contextmanager
    def _editing(self, edit: Edit) -> Iterator[None]:
        fired = 0

        def hook(x: Tensor, hook: Any) -> Tensor:
            nonlocal fired
            fired += 1
            return edit(self._flat(x)).reshape(x.shape).to(x.dtype)

        with hooked(self._point, hook):
            yield
        if fired == 0:
            raise ModelError(f"the hook point {self.hook} did not fire: nothing was edited")


class _Read(Exception):
    """All that a pass was made for has been read."""


class SplitPass:
    """A clean pass, kept at the input of the hook's block; `x [b t d_in]` are the activations."""

    def __init__(self, model: LanguageModel, ids: Tensor, x: Tensor, block_input: Tensor | None) -> None:
        self.x = x
        self._model, self._ids, self._block_input = model, ids, block_input

    @cached_property
    def logits(self) -> Float[Tensor, "b t v"]:
        """The clean logits, once they are asked for."""
        return self.logits_with(self.x)

    @torch.no_grad()
    def logits_with(
        self, x: Float[Tensor, "r t d_in"], rows: Int[Tensor, " r"] | slice = ALL
    ) -> Float[Tensor, "r t v"]:
        """The logits of these rows where x takes the place of their activations; lower blocks are not run again."""
        model, ids = self._model, self._ids[rows]
        below = None if self._block_input is None else self._block_input[rows]
        with native(model._unread), _skipping(model.bridge, model.layer or 0, below), model._editing(lambda _: x):
            return model.bridge(ids)


@contextmanager
def _skipping(bridge: Any, n: int, output: Tensor | None) -> Iterator[None]:
    """Make the first n blocks do nothing but return `output`."""
    if n == 0 or output is None:
        yield
        return

    def skip(*args: Any, **kwargs: Any) -> Tensor:
        return output

    blocks = [bridge.blocks[i] for i in range(n)]
    for block in blocks:
        block.__dict__["forward"] = skip  # assigning would reach the wrapped module instead
    try:
        yield
    finally:
        for block in blocks:
            del block.__dict__["forward"]

"""Rows of one batch that go on from one prompt, token by token, each under edits of its own.

Owns what has been read, the keys and values kept of it, and going back. Chooses no token.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from core.errors import RunError
from core.models.language import LanguageModel
from core.sae.base import SAE
from core.steering.edit import Positions, rows_edit
from core.steering.interventions import Mode, Resolved
from core.steering.prompts import Prompt

Edits = Sequence[Sequence[Resolved] | None]
"""For each row the edits that hold for what is read; None: the row is left alone, whatever the mode."""


class Rows:
    """`n` rows from one prompt. In turn: `logits`, then `take` with a token for each row.

    A row's figures depend on `n` in their last bits, never on what is in the other rows. Going back and on again gives
    the same bits: each call is repeated as it was, the prompt's as one and a token's as one.
    """

    def __init__(self, model: LanguageModel, sae: SAE, prompt: Prompt, n: int, mode: Mode = "error-kept") -> None:
        self.prompt, self.n = prompt, n
        self.mode: Mode = mode
        self._model, self._sae = model, sae
        self._taken: list[tuple[int, ...]] = []
        self._held: list[Edits] = []
        """The edits of each call: the first reads the prompt, those after it the tokens of one `take`."""
        self._cache: Any = None
        self._calls = 0
        """So many of the calls are in the cache."""
        self._whole = True
        """False while one is being added, and where that was interrupted."""

    @property
    def length(self) -> int:
        """Tokens taken, those of the prompt not counted."""
        return len(self._taken)

    def tokens(self, row: int) -> list[int]:
        """All of a row's tokens, those of the prompt first."""
        return [*self.prompt.block.ids.tolist(), *(taken[row] for taken in self._taken)]

    def logits(self, edits: Edits) -> Float64[Tensor, "n v"]:
        """Of the next token of each row, on the CPU: reads what is pending, the prompt or the tokens taken last.

        Called again without a `take`, it reads the same anew. Raises RunError where a GPU's memory is used up, which
        is freed first.
        """
        edits = tuple(None if row is None else tuple(row) for row in edits)
        while self.behind:
            self.catch_up()
        logits = self._call(self.length, edits)
        self._held[self.length :] = [edits]
        return logits.detach().to("cpu", torch.float64)

    def take(self, tokens: Sequence[int]) -> None:
        """Go on by one token in each row, after `logits`."""
        self._taken.append(tuple(tokens))

    def rewind(self, length: int) -> None:
        """Forget the tokens taken after the first `length`; the next `logits` are those of the token after them."""
        del self._taken[length:], self._held[length:]

    def shared(self, steps: Iterable[tuple[Edits, Sequence[int]]]) -> int:
        """How many of these first steps, edits and then tokens taken, are just those that it has made."""
        made = zip(self._held, self._taken, strict=False)
        pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(made, steps, strict=False))
        return sum(1 for _ in pairs)

    @property
    def behind(self) -> int:
        """How many calls must be made again ahead of the next `logits`, which makes them itself where nobody did.

        There are some after a rewind where the model's cache cannot be cut: a sliding window forgets what left it.
        """
        if self._calls > self.length or not self._whole:
            length = len(self.prompt) + self.length - 1
            self._cache = self._model.cropped(self._cache, length) if self.length else None
            self._calls, self._whole = self.length if self._cache is not None else 0, True
        return self.length - self._calls

    def catch_up(self) -> None:
        """Make the first of those calls."""
        self._call(self._calls, self._held[self._calls])

    def _call(self, i: int, edits: Edits) -> Float[Tensor, "n v"]:
        """The i-th call, all those before it being in the cache."""
        device = self._model.device
        at = self._prompt_positions(device) if i == 0 else self._positions(self._taken[i - 1], i, device)
        if i == 0:
            ids = torch.from_numpy(self.prompt.block.ids).to(device).repeat(self.n, 1)
        else:
            ids = torch.tensor([[token] for token in self._taken[i - 1]], device=device)
        edit = rows_edit(self._sae, edits, at, self.mode)
        self._whole = False
        try:
            logits, cache = self._model.next_logits(ids, cache=self._cache if i else None, edit=edit)
        except torch.OutOfMemoryError:
            logits = cache = None  # what fills the memory is held by the error: it is freed below, without it
        if logits is None:
            raise self._out_of_memory(len(self.prompt) + i)
        self._cache, self._calls, self._whole = cache, i + 1, True
        return logits

    def _prompt_positions(self, device: torch.device) -> list[Positions]:
        counted = torch.from_numpy(self.prompt.block.counted).to(device)
        at = Positions(counted=counted, prompt_length=len(self.prompt), roles=self.prompt.roles)
        return [at] * self.n

    def _positions(self, tokens: Sequence[int], i: int, device: torch.device) -> list[Positions]:
        """Of the i-th generated token in each row, from 1."""
        n = len(self.prompt)
        roles = None if self.prompt.roles is None else ("assistant",)
        return [
            Positions(
                counted=torch.tensor([token not in self.prompt.uncounted], device=device),
                prompt_length=n, start=n + i - 1, roles=roles,
            )
            for token in tokens
        ]  # fmt: skip

    def _out_of_memory(self, length: int) -> RunError:
        """What to say of it; frees what is kept."""
        self._cache, self._calls, self._whole = None, 0, True
        memory = ""
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()
            free, total = torch.cuda.mem_get_info(self._model.device)
            memory = f" ({free / 2**30:.1f} of {total / 2**30:.1f} GiB are free without them)"
        fewer = f"take {self.n // 2} rows at a time, or " if self.n > 2 else ""
        return RunError(
            f"the GPU's memory does not hold {self.n} rows of {length} tokens{memory}",
            hint=f"{fewer}shorten the text, or end what else is on the GPU",
        )

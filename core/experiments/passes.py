"""Texts through the model with their activations as they are, and with edited ones, a few texts at a time."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from core.errors import UsageError
from core.models.language import LanguageModel
from core.options import TokensConfig
from core.sae.base import SAE
from core.steering.edit import Positions, rows_edit
from core.steering.interventions import Intervention, Mode, Resolved, too_strong
from core.tokens import Block, prompt_block

LOGITS = 2**24
"""Logits of one pass held at once: 64 MB in float32. Several passes are compared, so a few times that in all."""


class Passes:
    """Some texts as rows of one batch, padded behind, where no token sees the padding.

    Their `predictions`, n in all, are the positions whose next token is one of the text's own: text by text, and from
    the first token on.
    """

    def __init__(self, model: LanguageModel, sae: SAE, texts: Sequence[int], blocks: Sequence[Block]) -> None:
        """`texts` are the numbers of the texts that are `blocks`."""
        self._sae, self._blocks, device = sae, blocks, model.device
        length = max(len(block.ids) for block in blocks)
        ids = torch.full((len(blocks), length), model.tokens.pad_id)
        scored = torch.zeros(len(blocks), length - 1, dtype=torch.bool)
        self._counted = torch.zeros(len(blocks), length, dtype=torch.bool)
        for row, block in enumerate(blocks):
            ids[row, : len(block.ids)] = torch.from_numpy(block.ids)
            scored[row, : len(block.ids) - 1] = torch.from_numpy(block.doc_pos[1:] >= 0)
            self._counted[row, : len(block.ids)] = torch.from_numpy(block.counted)
        self._counted, self._scored = self._counted.to(device), scored.to(device)
        ids = ids.to(device)
        self._split = model.split_pass(ids)
        self._logits = torch.empty(*scored.shape, model.n_vocab, device=device)
        self._known = torch.zeros(len(blocks), dtype=torch.bool, device=device)
        """Of which texts those are computed: where edits have no effect nobody asks for them."""
        self.text: Int[Tensor, " n"] = torch.tensor(texts, device=device)[self._scored.nonzero()[:, 0]]
        """Which text each prediction is of."""
        self.next: Int[Tensor, " n"] = ids[:, 1:][self._scored]
        """The token that comes."""

    @torch.no_grad()
    def fires(self, feature: int) -> Bool[Tensor, " n"]:
        """Whether the feature is active on the token behind which the prediction is."""
        found = torch.zeros_like(self._counted)
        found[self._counted] = self._sae.encode(self._split.x[self._counted])[:, feature] > 0
        return found[:, :-1][self._scored]

    @torch.no_grad()
    def under(self, sets: Sequence[Sequence[Resolved]], mode: Mode) -> "Under":
        """The logits under each of these sets of edits, where any of them has an effect.

        No token sees what comes after it: up to where a set first changes a text's activations its logits are the clean
        ones, and those of another set up to where the two first differ, bit for bit. A text that a set changes as
        another did, or not at all, is not read again. Raises RunError where they are no numbers.
        """
        xs = [self._split.x, *(self._edited(edits, mode) for edits in sets)]
        here = self._scored & ~torch.stack([_alike(x, xs[0]) for x in xs[1:]]).all(dim=0)[:, :-1]
        found = [self._clean(here.any(dim=1))[here]]
        for k, edits in enumerate(sets, 1):
            logits, left = torch.empty_like(found[0]), torch.ones_like(here)
            for x, known in zip(xs[:k], found, strict=True):
                same = left & _alike(xs[k], x)[:, :-1]
                logits[same[here]] = known[same[here]]
                left &= ~same
            left &= here
            rows = left.any(dim=1).nonzero()[:, 0]
            if len(rows):
                read = self._split.logits_with(xs[k][rows], rows)[:, :-1][left[rows]].float()
                if not read.isfinite().all():
                    raise too_strong(Intervention(e.kind, e.feature, e.value, where=e.where) for e in edits)
                logits[left[here]] = read
            found.append(logits)
        return Under(here[self._scored], found[0], found[1:])

    def _clean(self, rows: Bool[Tensor, " b"]) -> Float[Tensor, "b t-1 v"]:
        """The logits of the untouched model, of these texts and of those that were asked for before."""
        new = (rows & ~self._known).nonzero()[:, 0]
        if len(new):
            self._logits[new] = self._split.logits_with(self._split.x[new], new)[:, :-1].float()
            self._known[new] = True
        return self._logits

    def _edited(self, edits: Sequence[Resolved], mode: Mode) -> Float[Tensor, "b t d_in"]:
        """The activations where every text is edited."""
        at = [
            Positions(counted=counted, prompt_length=len(block.ids))
            for counted, block in zip(self._counted, self._blocks, strict=True)
        ]
        edit = rows_edit(self._sae, [edits] * len(at), at, mode)
        return self._split.x if edit is None else edit(self._split.x)


class Under(NamedTuple):
    """Logits under edits, where these have an effect; elsewhere they are the clean ones."""

    here: Bool[Tensor, " n"]
    """At which m of the predictions."""
    clean: Float[Tensor, "m v"]
    edited: list[Float[Tensor, "m v"]]
    """Under each set."""


def _alike(one: Float[Tensor, "b t d_in"], other: Float[Tensor, "b t d_in"]) -> Bool[Tensor, "b t"]:
    """Whether both are the same bit for bit up to a position."""
    return (one == other).all(dim=2).cumprod(dim=1).bool()


def passes(model: LanguageModel, sae: SAE, texts: Sequence[str], config: TokensConfig) -> Iterator[Passes]:
    """The texts in batches of about the same length, the longest first; each is read by itself, as blocks are begun.

    One that is longer than the model's context is cut there. Raises UsageError for one without a token, or without one
    that is predicted.
    """
    blocks = [_cut(prompt_block(text, model.tokens, config), model.context) for text in texts]
    for text, block in zip(texts, blocks, strict=True):
        if not (block.doc_pos[1:] >= 0).any():
            raise UsageError(f"no token of {text[:40]!r} is predicted", hint="give texts of at least two tokens")
    group: list[int] = []
    for i in sorted(range(len(blocks)), key=lambda i: -len(blocks[i].ids)):
        if group and len(blocks[group[0]].ids) * (len(group) + 1) * model.n_vocab > LOGITS:
            yield Passes(model, sae, group, [blocks[j] for j in group])
            group = []
        group.append(i)
    yield Passes(model, sae, group, [blocks[j] for j in group])


def cross_entropy(logits: Float[Tensor, "n v"], target: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """−ln p(target) in nats, in float64."""
    return -logits.log_softmax(dim=1).gather(1, target.unsqueeze(1)).squeeze(1).double()


def by_text(values: Float[Tensor, " n"], text: Int[Tensor, " n"], texts: int) -> Float[Tensor, " texts"]:
    """The sum over the predictions of each text, on the CPU."""
    return torch.zeros(texts, dtype=torch.float64).index_add_(0, text.cpu(), values.double().cpu())


def _cut(block: Block, length: int) -> Block:
    return Block(**{name: getattr(block, name)[:length] for name in ("ids", "doc", "doc_pos", "counted")})

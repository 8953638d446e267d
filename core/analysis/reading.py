"""Model, SAE and texts -> the tokens of each text and the sparse code of each counted token."""

from collections.abc import Generator, Iterator, Sequence
from statistics import fmean

import numpy as np
import torch
from jaxtyping import Float, Int

from core.activations import PLACES, ranked
from core.analysis.coded import CodedText
from core.errors import ModelError
from core.models.language import LanguageModel
from core.options import TokensConfig
from core.records import Notice, Progress
from core.sae.base import SAE
from core.tokens import Block, prompt_block

TOKENS = 2**12
"""Positions in one batch, padding included; a longer text is a batch of its own."""
ELEMENTS = 2**26
"""Elements of the largest dense code: 256 MB."""


def read(
    model: LanguageModel, sae: SAE, texts: Sequence[str], config: TokensConfig
) -> Generator[Progress | Notice, None, list[CodedText]]:
    """Read every text by itself, as the configuration begins one; a generator that returns them in their order.

    Texts of about the same length are read together, padded behind, where no token sees the padding. One that is
    longer than the model's context is cut there, which a Notice says, as it does where no token of a text counts.
    Raises UsageError for a text without a token, ModelError for activations that are not numbers.
    """
    blocks = [prompt_block(text, model.tokens, config) for text in texts]
    long = sum(len(b.ids) > model.context for b in blocks)
    if long:
        yield Notice(
            message=f"{_texts(long)} longer than the {model.context:,} tokens that {model.name} reads: cut there"
        )
    mute = sum(not b.counted[: model.context].any() for b in blocks)
    if mute:
        yield Notice(message=f"{_texts(mute)} without a token on which the SAE is defined: nothing fires there")
    found: dict[int, CodedText] = {}
    for group in _groups([min(len(b.ids), model.context) for b in blocks]):
        found.update(zip(group, _coded(model, sae, [blocks[i] for i in group]), strict=True))
        yield Progress(phase="reading the texts", done=len(found), total=len(texts), unit="texts")
    return [found[i] for i in range(len(texts))]


@torch.no_grad()
def _coded(model: LanguageModel, sae: SAE, blocks: Sequence[Block]) -> Iterator[CodedText]:
    lengths = [min(len(b.ids), model.context) for b in blocks]
    ids = torch.full((len(blocks), max(lengths)), model.tokens.pad_id)
    for row, block, length in zip(ids, blocks, lengths, strict=True):
        row[:length] = torch.from_numpy(block.ids[:length])
    activations = model.activations(ids.to(model.device))
    for row, block, length in zip(activations, blocks, lengths, strict=True):
        counted = block.counted[:length]
        x = row[:length][torch.from_numpy(counted).to(model.device)]
        if not torch.isfinite(x).all():
            raise ModelError(
                f"{model.name} has activations at {model.hook} that are not numbers", hint="try model.dtype = 'float32'"
            )
        step = max(1, ELEMENTS // sae.d_sae)
        parts = [(first, sae.encode_sparse(x[first : first + step])) for first in range(0, len(x), step)]
        token = _joined([(first + part.row).cpu().numpy() for first, part in parts], np.int64)
        value = _joined([part.value.float().cpu().numpy() for _, part in parts], np.float32)
        yield CodedText(
            ids=block.ids[:length],
            words=tuple(model.tokens.text(i) for i in block.ids[:length].tolist()),
            counted=counted,
            first=int(block.doc_pos[0] < 0),
            position=np.flatnonzero(counted)[token],
            feature=_joined([part.feature.cpu().numpy() for _, part in parts], np.int64),
            value=value,
            x_nonzero=float((x != 0).double().mean()) if len(x) else None,
            cut=len(block.ids) - length,
            x_ranked=tuple(map(fmean, zip(*ranked(x), strict=True))),
            z_ranked=_ranked(token, value, len(x), sae.d_sae),
        )


def _ranked(
    token: Int[np.ndarray, " nnz"], value: Float[np.ndarray, " nnz"], n: int, d: int
) -> tuple[float, ...]:  # fmt: skip
    """Of `n` sparse codes of `d` features, by their positive entries, what `ranked` tells, in the mean."""
    if not n:
        return ()
    sizes = value[np.lexsort((-value, token))]
    rank = np.arange(len(token)) - np.searchsorted(token, token)  # `token` is sorted
    places = min(PLACES, d)
    return tuple(float(sizes[rank == i * d // places].sum()) / n for i in range(places))


def _groups(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices of texts that are read together, longest first, so that memory runs out at once or not at all."""
    group: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if group and lengths[group[0]] * (len(group) + 1) > TOKENS:
            yield group
            group = []
        group.append(i)
    if group:
        yield group


def _joined(parts: Sequence[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=kind)


def _texts(n: int) -> str:
    return "one text is" if n == 1 else f"{n:,} texts are"

"""Text under interventions: baseline and steered rows of one batch, token by token; and what fires on a text.

Owns the sampling, the rows' ends and the figures of a step. What an edit does is `core.steering.edit`'s, what
a hook point is `core.models.language`'s.
"""

from collections.abc import Callable, Generator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from core.errors import RunError, UsageError
from core.models.language import LanguageModel, TextTokenizer
from core.options import TokensConfig
from core.records import FiringToken, TokenChoice, TokenReport
from core.sae.base import SAE
from core.steering.edit import row_edit
from core.steering.interventions import GenerationRequest, Intervention, Scales, resolve
from core.steering.transcript import ROWS, MadeWith
from core.tokens import Block, prompt_block

BASELINE, STEERED = range(ROWS)
"""The rows of the batch, always exactly two: with another number of rows the model rounds differently."""


def generate(
    model: LanguageModel,
    sae: SAE,
    request: GenerationRequest,
    config: TokensConfig,
    scales: Scales | None,
    interventions_now: Callable[[], Sequence[Intervention]] | None = None,
) -> Generator[TokenReport, None, None]:
    """Generate baseline and steered text, one report a token; closing the iterator stops it.

    `interventions_now`, where given, takes the place of `request.interventions`: it is called once before
    each token is computed, so that a change holds from the next token on; what the model has read stays as it
    was read. `scales` are the features' p99 and max (`resolve`).

    A row ends with one of the tokenizer's end tokens, which is reported without text; its choices are None
    after that. The other row's figures are still taken under both distributions, that of the ended row after
    further end tokens. Generation stops when both rows have ended, or after `request.tokens`.

    Raises UsageError for a prompt that is empty or too long, QueryError for an intervention that cannot be,
    RunError where an edit makes the model's output not a number.
    """
    block = _block(request.prompt, model, config, room=request.tokens)
    prompt_length = len(block.ids)
    gumbel = torch.Generator().manual_seed(request.seed)
    rows = [_Row(model.tokens, after=int(block.ids[-1])) for _ in range(ROWS)]
    ids = torch.from_numpy(block.ids).to(model.device).repeat(ROWS, 1)
    counted = torch.from_numpy(block.counted).to(model.device)
    start, cache, same_context = 0, None, True
    for index in range(request.tokens):
        now = interventions_now() if interventions_now else request.interventions
        edit = row_edit(
            sae, resolve(now, scales, sae.d_sae), row=STEERED, counted=counted,
            prompt_length=prompt_length, start=start, mode=request.mode,
        )  # fmt: skip
        logits, cache = model.next_logits(ids, cache=cache, edit=edit)
        start += ids.shape[1]
        logits = logits.detach().to("cpu", torch.float64)
        chosen = choose(logits, request.temperature, gumbel)
        logprobs = _logprobs(logits)
        last = index == request.tokens - 1
        baseline, steered = (row.take(token, logprobs, last=last) for row, token in zip(rows, chosen, strict=True))
        yield TokenReport(index=index, baseline=baseline, steered=steered, kl=_kl(logprobs), same_context=same_context)
        if all(row.ended for row in rows):
            return
        same_context = same_context and rows[BASELINE].token == rows[STEERED].token
        ids = torch.tensor([[row.token] for row in rows], device=model.device)
        special = config.skip_special and rows[STEERED].token in model.tokens.special_ids
        counted = torch.tensor([not special], device=model.device)


def choose(logits: Float[Tensor, "r v"], temperature: float, generator: torch.Generator) -> list[int]:
    """A token for each row, all rows by the same draw, so that rows differ only where their logits do.

    `argmax(logits + T g)`, g one vector of Gumbel noise, is a sample of softmax(logits / T): the Gumbel-max
    trick `argmax(logits / T + g)` times T, which is exactly greedy at T = 0. Logits are float64, on the CPU.
    """
    if temperature > 0:
        noise = torch.empty(logits.shape[1], dtype=torch.float64).exponential_(generator=generator)
        logits = logits - temperature * noise.log()
    return logits.argmax(dim=1).tolist()


def firing(
    model: LanguageModel, sae: SAE, text: str, config: TokensConfig, top: int = 10, then: Sequence[int] = ()
) -> list[FiringToken]:
    """The tokens of a text as the model reads it, BOS included, each with its `top` strongest features.

    The text is followed by the tokens `then`, such as those that were generated after it, which need not be what the
    tokenizer makes of their text. Raises UsageError for a text that is empty or too long.
    """
    block = _block(text, model, config, room=len(then))
    ids = [*block.ids.tolist(), *then]
    special = model.tokens.special_ids if config.skip_special else frozenset()
    counted = [*block.counted.tolist(), *(token not in special for token in then)]
    strongest = iter(_strongest(model, sae, ids, counted, top))
    return [
        FiringToken(
            token_id=token,
            text=model.tokens.text(token),
            counted=is_counted,
            features=next(strongest) if is_counted else (),
        )
        for token, is_counted in zip(ids, counted, strict=True)
    ]


def made_with(model: LanguageModel, session: str) -> MadeWith:
    """What a transcript made in this process, for the session of this name, must record."""
    return MadeWith(
        model=model.name,
        session=session,
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )


class RowText:
    """A row's text in pieces, one for each token, that together are the tokenizer's decode of the row.

    Tokens of a byte-level tokenizer end within characters, so a token by itself may be no text: a piece is
    what has become final with its token, and may be empty. Decoded together with the token before the row,
    because some tokenizers drop a leading space.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], after: int) -> None:
        self._decode = decode
        self._ids = [after]
        self._given = len(decode(self._ids))

    def add(self, token: int, *, last: bool = False) -> str:
        """The piece that is final with `token`; with the last token all that was held back."""
        self._ids.append(token)
        return self._piece(last)

    def end(self) -> str:
        """What was held back, where the row ends without another token."""
        return self._piece(last=True)

    def _piece(self, last: bool) -> str:
        text = self._decode(self._ids)
        # An incomplete character decodes to U+FFFD; one that is followed by text stays what it is.
        final = text if last else text.rstrip("\ufffd")
        piece = final[self._given :]
        self._given += len(piece)
        return piece


class _Row:
    """One row while it is generated."""

    def __init__(self, tokens: TextTokenizer, after: int) -> None:
        self._eos_ids = tokens.eos_ids
        self._text = RowText(tokens.decode, after)
        self.token = after
        """The newest token: what the model reads next."""
        self.ended = False

    def take(self, token: int, logprobs: Float[Tensor, "r v"], *, last: bool) -> TokenChoice | None:
        """Go on by `token`. An ended row stays on its end token, whatever was chosen for it."""
        if self.ended:
            return None
        self.token = token
        self.ended = token in self._eos_ids
        return TokenChoice(
            token_id=token,
            text=self._text.end() if self.ended else self._text.add(token, last=last),
            logprob_baseline=float(logprobs[BASELINE, token]),
            logprob_steered=float(logprobs[STEERED, token]),
        )


def _block(text: str, model: LanguageModel, config: TokensConfig, *, room: int) -> Block:
    """A text as the model reads it, with `room` for that many more tokens. Raises UsageError."""
    block = prompt_block(text, model.tokens, config)
    n = len(block.ids)
    if n + room > model.context:
        wanted = f"{n} tokens of text and {room} to generate" if room else f"{n} tokens of text"
        raise UsageError(
            f"{wanted} are more than the {model.context} that {model.name} reads",
            hint="shorten the text" + (", or generate fewer tokens" if room else ""),
        )
    return block


def _logprobs(logits: Float[Tensor, "r v"]) -> Float[Tensor, "r v"]:
    """ln softmax at temperature 1. Raises RunError where it is not a number."""
    logprobs = logits.log_softmax(dim=1)
    if logprobs.isnan().any():
        raise RunError(
            "the model's output is no longer a number",
            hint="an intervention is too strong: lower its strength",
        )
    return logprobs


def _kl(logprobs: Float[Tensor, "r v"]) -> float:
    """`KL(steered ‖ baseline) = Σ_v p (ln p − ln q)` in nats; rounding below 0 is 0."""
    p = logprobs[STEERED].exp()
    terms = torch.where(p > 0, p * (logprobs[STEERED] - logprobs[BASELINE]), 0.0)
    return max(0.0, float(terms.sum()))


@torch.no_grad()
def _strongest(
    model: LanguageModel, sae: SAE, ids: list[int], counted: list[bool], top: int
) -> list[tuple[tuple[int, float], ...]]:
    """For each counted position its active features, strongest first, at most `top`."""
    x = model.activations(torch.tensor([ids], device=model.device))[0]
    z = sae.encode(x[torch.tensor(counted, device=model.device)])
    values, features = z.topk(min(top, sae.d_sae), dim=1)
    return [
        tuple((f, v) for f, v in zip(fs, vs, strict=True) if v > 0)
        for fs, vs in zip(features.tolist(), values.tolist(), strict=True)
    ]

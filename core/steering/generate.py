"""Text under interventions: baseline and steered rows of one batch, token by token.

Owns the rows' ends and the figures of a step. How a token is chosen is `core.steering.sampling`'s, what is kept of what
was read `core.steering.rows`', what an edit does `core.steering.edit`'s.
"""

import hashlib
import importlib.metadata
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from core.errors import UsageError
from core.models.digits import ImageClassifier
from core.models.language import LanguageModel, TextTokenizer
from core.options import TokensConfig
from core.records import NextToken, Progress, TokenChoice, TokenReport
from core.sae.base import SAE
from core.steering.interventions import Intervention, Resolved, Scales, resolve, too_strong
from core.steering.prompts import read
from core.steering.request import GenerationRequest
from core.steering.rows import Rows
from core.steering.sampling import Noise, choose
from core.steering.transcript import ROWS, Change, MadeWith, Past, held

BASELINE, STEERED = range(ROWS)
"""The rows of the batch, always exactly two: with another number of rows the model rounds differently."""
LIKELIEST = 5
"""Next tokens that a report has of each row."""


@dataclass
class Live:
    """What the last generation has read, so that one that shares a beginning with it need not read that again."""

    rows: Rows | None = None
    of: tuple[object, ...] = ()
    """What rows must have in common besides what they took."""


def generate(
    model: LanguageModel,
    sae: SAE,
    request: GenerationRequest,
    config: TokensConfig,
    scales: Scales | None,
    now: Callable[[], Sequence[Intervention]] | None = None,
    *,
    changes: Sequence[Change] = (),
    past: Past = (),
    live: Live | None = None,
) -> Generator[TokenReport | Progress, None, None]:
    """Generate baseline and steered text, one report a token; closing the iterator stops it.

    `changes` take the place of the request's interventions and sampling, each from its index on; `scales` are the
    features' figures (`resolve`). `past` are tokens chosen already, under what held for each: reports come from the
    token after them on, and Progress while they are read, but for what `live` has read just so. `now`, where given,
    takes the place of interventions from there on: it is called once before each token is computed, so that a change
    holds from the next token on; what the model has read stays as it was read.

    A row ends with one of the tokenizer's end tokens, which is reported without text; its choices are None
    after that. The other row's figures are still taken under both distributions, that of the ended row after
    further end tokens. Generation stops when both rows have ended, or after `request.tokens`, the past included.

    Raises UsageError for a prompt that is empty or too long and a past that cannot be, QueryError for an intervention
    that cannot be, RunError where the model's output is not a number or a GPU's memory is used up.
    """
    prompt = read(request.prompt, model, config, chat=request.chat, system=request.system, room=request.tokens)

    def edits(interventions: Sequence[Intervention]) -> tuple[tuple[Resolved, ...] | None, ...]:
        return None, tuple(resolve(interventions, scales, sae.d_sae, chat=request.chat))

    live = Live() if live is None else live
    of = (request.prompt, request.chat, request.system, request.mode)
    if live.rows is None or live.of != of:
        live.rows, live.of = Rows(model, sae, prompt, ROWS, request.mode), of
    rows = live.rows
    texts = [_Row(model.tokens, after=int(prompt.block.ids[-1])) for _ in range(ROWS)]
    same_context = True
    for chosen in past:
        for text, token in zip(texts, chosen, strict=True):
            text.again(token, model.n_vocab)
        same_context = same_context and texts[BASELINE].token == texts[STEERED].token
    yield from _reread(rows, [(edits(held(request, changes, i)[0]), taken) for i, taken in enumerate(_taken(past))])
    noise = Noise(model.n_vocab)
    for index in range(len(past), request.tokens):
        if all(text.ended for text in texts):
            return
        interventions, sampling = held(request, changes, index)
        interventions = interventions if now is None else now()
        while rows.behind:
            yield Progress(phase=READING, done=rows.length - rows.behind, total=rows.length, unit="tokens")
            rows.catch_up()
        logits = rows.logits(edits(interventions))
        logprobs = _logprobs(logits, index, interventions)
        chosen = choose(logits, sampling, [rows.tokens(row) for row in range(ROWS)], noise, index)
        last = index == request.tokens - 1
        baseline, steered = (text.take(token, logprobs, last=last) for text, token in zip(texts, chosen, strict=True))
        rows.take([text.token for text in texts])
        yield TokenReport(
            index=index, baseline=baseline, steered=steered, kl=_kl(logprobs), same_context=same_context,
            top=_likeliest(model.tokens, logprobs),
        )  # fmt: skip
        same_context = same_context and texts[BASELINE].token == texts[STEERED].token


READING = "reading what was written"
"""The phase of Progress."""


def _taken(past: Past) -> Iterator[tuple[int, ...]]:
    """The tokens that the rows took: an ended one stays on its end token."""
    taken: tuple[int, ...] = (0,) * ROWS
    for chosen in past:
        taken = tuple(before if token is None else token for before, token in zip(taken, chosen, strict=True))
        yield taken


def _reread(
    rows: Rows, steps: Sequence[tuple[tuple[tuple[Resolved, ...] | None, ...], tuple[int, ...]]]
) -> Iterator[Progress]:
    """Bring rows to where these steps lead, from as far as they have made the same ones."""
    rows.rewind(rows.shared(steps))
    for i in range(rows.length, len(steps)):
        yield Progress(phase=READING, done=i, total=len(steps), unit="tokens")
        edits, tokens = steps[i]
        rows.logits(edits)
        rows.take(tokens)


def made_with(model: LanguageModel | ImageClassifier, session: str, sae: str) -> MadeWith:
    """What a transcript made in this process, for the session of this name, must record; `sae` is the SAE's digest."""
    return MadeWith(
        model=model.name,
        session=session,
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(model.device),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        transformers=importlib.metadata.version("transformers"),
        transformer_lens=importlib.metadata.version("transformer-lens"),
        sae=sae,
    )


def digest(sae: SAE) -> str:
    """16 hexadecimal digits of the BLAKE2b of an SAE's parameters and buffers, in the order of their names."""
    found = hashlib.blake2b()
    for name, tensor in sorted(sae.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


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

    def again(self, token: int | None, n_vocab: int) -> None:
        """Go on by a token of the past. Raises UsageError for one that cannot be."""
        if (token is None) != self.ended or (token is not None and not 0 <= token < n_vocab):
            raise UsageError(
                f"{token} cannot be a token of the past here", hint="give the tokens as they were reported"
            )
        if token is not None:
            self.token, self.ended = token, token in self._eos_ids
            self._text.add(token)

    def take(self, token: int, logprobs: Float64[Tensor, "r v"], *, last: bool) -> TokenChoice | None:
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


def _logprobs(
    logits: Float64[Tensor, "r v"], index: int, interventions: Sequence[Intervention]
) -> Float64[Tensor, "r v"]:
    """ln softmax at temperature 1. Raises RunError where it is not a number."""
    logprobs = logits.log_softmax(dim=1)
    if logprobs.isnan().any():
        raise too_strong(interventions, f"at token {index} ")
    return logprobs


def _kl(logprobs: Float64[Tensor, "r v"]) -> float:
    """`KL(steered ‖ baseline) = Σ_v p (ln p − ln q)` in nats; rounding below 0 is 0."""
    if torch.equal(logprobs[STEERED], logprobs[BASELINE]):
        return 0.0
    p = logprobs[STEERED].exp()
    terms = torch.where(p > 0, p * (logprobs[STEERED] - logprobs[BASELINE]), 0.0)
    return max(0.0, float(terms.sum()))


def _likeliest(tokens: TextTokenizer, logprobs: Float64[Tensor, "r v"]) -> tuple[NextToken, ...]:
    """The likeliest tokens of each row, the likelier first."""
    ids = {i for row in logprobs.topk(min(LIKELIEST, logprobs.shape[1]), dim=1).indices.tolist() for i in row}
    found = [
        NextToken(
            token_id=i,
            text=tokens.text(i),
            logprob_baseline=float(logprobs[BASELINE, i]),
            logprob_steered=float(logprobs[STEERED, i]),
        )
        for i in ids
    ]
    return tuple(sorted(found, key=lambda token: -max(token.logprob_baseline, token.logprob_steered)))

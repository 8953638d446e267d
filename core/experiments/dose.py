"""Dose–response: what a feature's strength does to a target, and what it costs.

For each strength s of a feature, and each seed, a text is generated from the prompt; the row with nothing done to it is
always among them, and all rows of a seed share its random draws. With p the unsteered model, p_s the steered one, and
g_1 … g_T what p_s wrote behind the prompt:

    target       with a phrase w_1 … w_m: Σ_k ln p_s(w_k | prompt, w_<k), in nats. It is of no seed, so has no interval
                 without a phrase: mean_t z_f(g_t), the feature's own activation where p reads the text
    kl           mean_t KL(p_s ‖ p) of the distributions behind prompt, g_<t, in nats
    perplexity   exp(−mean_t ln p(g_t | prompt, g_<t))
    repetition   share of the 4-grams of g that were in it before

mean_t is over the tokens of a text and over seeds; intervals are over seeds (`core.experiments.intervals`), of the
perplexity those of its exponent. `gain` is target less that of nothing done, seed by seed.

Which strengths are of use is said in `core.experiments.window`.
"""

from collections.abc import Generator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from core.errors import UsageError
from core.experiments.passes import LOGITS
from core.experiments.records import Dose
from core.experiments.requests import DoseRequest
from core.experiments.window import Row, found
from core.models.language import LanguageModel
from core.options import TokensConfig
from core.records import Progress
from core.sae.base import SAE
from core.steering import prompts
from core.steering.edit import Positions, rows_edit
from core.steering.interventions import Mode, Resolved
from core.steering.prompts import Prompt
from core.steering.rows import Rows
from core.steering.sampling import Noise, choose

GRAM = 4


def dose(
    model: LanguageModel,
    sae: SAE,
    request: DoseRequest,
    edits: Sequence[Sequence[Resolved]],
    config: TokensConfig,
    *,
    session: str,
) -> Generator[Progress | Dose, None, Dose]:
    """Measure `edits`: of each of the request's features one for each of its strengths.

    After each seed a Dose over those that are whole is yielded; the last is returned. A strength that makes the model's
    output not a number is `broken`, and the others go on. Raises UsageError for a prompt or target that cannot be.
    """
    phrase = _phrase(request.target, model)
    prompt = prompts.read(
        request.prompt, model, config, chat=request.chat, system=request.system, room=max(request.tokens, len(phrase))
    )
    baseline = Row(None, None)
    features = [[Row(e, s) for e, s in zip(of, request.strengths, strict=True)] for of in edits]
    rows = [baseline, *(row for of in features for row in of)]
    chunks = [rows[i : i + request.rows] for i in range(0, len(rows), request.rows)]
    total = len(request.seeds) * len(chunks) * request.tokens
    told: Dose | None = None
    for n, seed in enumerate(request.seeds):
        for m, chunk in enumerate(chunks):
            texts = _Texts(model, sae, prompt, chunk, request, seed)
            if phrase and not n:
                texts.add_phrase(phrase)
            for step in range(1, request.tokens + 1):
                if not texts.step():
                    break
                done = (n * len(chunks) + m) * request.tokens + step
                yield Progress(phase=f"writing {len(chunk)} texts at once", done=done, total=total, unit="tokens")
            _measure(model, sae, prompt, chunk, texts.tokens, request.mode)
            if not n:
                for row, tokens in zip(chunk, texts.tokens, strict=True):
                    row.text = model.tokens.decode(tokens)
        told = found(request, session, baseline, features, n + 1)
        yield told
    assert told is not None, "there is a seed"
    return told


class _Texts:
    """The texts of some rows from one seed, token by token."""

    def __init__(
        self, model: LanguageModel, sae: SAE, prompt: Prompt, rows: Sequence[Row], request: DoseRequest, seed: int
    ) -> None:
        self._ends, self._rows = model.tokens.eos_ids, rows
        self._read = Rows(model, sae, prompt, len(rows), request.mode)
        self._sampling = replace(request.sampling, seed=seed)
        self._noise = Noise(model.n_vocab)
        self._taken: list[list[int]] = [[] for _ in rows]
        """Of each row; one that has ended goes on unseen."""
        self.tokens: list[list[int]] = [[] for _ in rows]
        """What each wrote, a closing end token included."""

    def add_phrase(self, phrase: Sequence[int]) -> None:
        """Add to each row's `phrase` how likely it makes the phrase behind the prompt, and go back to there."""
        for i, token in enumerate(phrase):
            if i:
                self._read.take([phrase[i - 1]] * len(self._rows))
            logprobs = self._logits().log_softmax(dim=1)
            for row, logprob in zip(self._rows, logprobs[:, token].tolist(), strict=True):
                row.phrase += logprob
        self._read.rewind(0)

    def step(self) -> bool:
        """One more token in each row that has not ended; whether there is one."""
        going = [
            not row.broken and not (ids and ids[-1] in self._ends)
            for row, ids in zip(self._rows, self.tokens, strict=True)
        ]
        if not any(going):
            return False
        if self._taken[0]:
            self._read.take([ids[-1] for ids in self._taken])
        seen = [self._read.tokens(i) for i in range(len(self._rows))]
        chosen = choose(self._logits(), self._sampling, seen, self._noise, len(self._taken[0]))
        for ids, taken, goes, token in zip(self.tokens, self._taken, going, chosen, strict=True):
            taken.append(token)
            if goes:
                ids.append(token)
        return True

    def _logits(self) -> Float64[Tensor, "n v"]:
        """Of the next tokens. A row whose logits are no numbers is broken, and all 0 from then on."""
        logits = self._read.logits([row.edits for row in self._rows])
        numbers = logits.isfinite().all(dim=1)
        for row, is_number in zip(self._rows, numbers.tolist(), strict=True):
            row.broken = row.broken or not is_number
        return logits.masked_fill(~numbers.unsqueeze(1), 0.0)


@torch.no_grad()
def _measure(
    model: LanguageModel, sae: SAE, prompt: Prompt, rows: Sequence[Row], texts: Sequence[list[int]], mode: Mode
) -> None:
    """Add to the rows' sums those of the texts they wrote: read whole, once as they are and once under their edits."""
    whole = [(row, tokens) for row, tokens in zip(rows, texts, strict=True) if not row.broken]
    length = len(prompt) + max((len(tokens) for _, tokens in whole), default=0)
    step = max(1, LOGITS // (length * model.n_vocab))
    for first in range(0, len(whole), step):
        part = whole[first : first + step]
        padded = torch.full((len(part), length), model.tokens.pad_id)
        counted = torch.zeros(len(part), length, dtype=torch.bool)
        for i, (_, tokens) in enumerate(part):
            end = len(prompt) + len(tokens)
            padded[i, :end] = torch.tensor([*prompt.block.ids.tolist(), *tokens])
            counted[i, : len(prompt)] = torch.from_numpy(prompt.block.counted)
            counted[i, len(prompt) : end] = torch.tensor([token not in prompt.uncounted for token in tokens])
        counted = counted.to(model.device)
        roles = None if prompt.roles is None else (*prompt.roles, *["assistant"] * (length - len(prompt)))
        at = [Positions(counted=c, prompt_length=len(prompt), roles=roles) for c in counted]
        split = model.split_pass(padded.to(model.device))
        edit = rows_edit(sae, [row.edits for row, _ in part], at, mode)
        edited = split.logits if edit is None else split.logits_with(edit(split.x))
        for i, (row, tokens) in enumerate(part):
            behind = slice(len(prompt) - 1, len(prompt) - 1 + len(tokens))
            written = slice(len(prompt), len(prompt) + len(tokens))
            here = counted[i, written]
            _add(row, tokens, split.logits[i, behind], edited[i, behind], sae.encode(split.x[i, written][here]))


def _add(
    row: Row, tokens: list[int], clean: Float[Tensor, "t v"], edited: Float[Tensor, "t v"], z: Float[Tensor, "m d_sae"]
) -> None:
    """One text's sums."""
    p, p_s = clean.float().log_softmax(dim=1), edited.float().log_softmax(dim=1)
    row.broken = row.broken or not bool(p_s.isfinite().all())
    row.n.append(len(tokens))
    row.nll.append(-float(p.gather(1, torch.tensor(tokens, device=p.device).unsqueeze(1)).double().sum()))
    row.kl.append(float((p_s.exp() * (p_s - p)).sum(dim=1, dtype=torch.float64).clamp_min(0).sum()))
    grams = list(zip(*(tokens[i:] for i in range(GRAM)), strict=False))
    row.grams.append(len(grams))
    row.repeats.append(len(grams) - len(set(grams)))
    row.counted.append(len(z))
    row.activations.append(z.sum(dim=0, dtype=torch.float64).cpu().numpy())


def _phrase(target: str | None, model: LanguageModel) -> list[int]:
    """The target's tokens. Raises UsageError where it has none."""
    if target is None:
        return []
    [ids] = model.tokens.encode([target.encode("utf-8", "replace").decode("utf-8")])
    if not ids:
        raise UsageError(f"the target {target!r} has no token", hint="give a word, as ' London'")
    return ids

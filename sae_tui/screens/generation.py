"""One generation as the Steer screen shows it: what was asked, what has come so far, how it is to be lit and told."""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import exp
from typing import Literal

from core.analysis.store import strengths
from core.engine import protocol
from core.engine.operator import Ended, Told
from core.records import FiringToken, TokenChoice, TokenReport
from core.session import Session
from core.steering.interventions import GenerationRequest
from core.steering.transcript import Change, MadeWith, collect
from sae_tui.widgets.token_text import Piece

Side = Literal["baseline", "steered"]
SIDES: tuple[Side, ...] = ("baseline", "steered")
ALIGNED = 500
"""Words that can be aligned in the time a key press may wait."""
END = "∎"
"""Stands for a token that ends the text."""


@dataclass(frozen=True, slots=True)
class Light:
    """What tokens are lit by: one feature, in units of `most`, or the KL where there is no feature."""

    feature: int | None = None
    most: float = 1.0


class Generation:
    """Grows with what the engine tells."""

    def __init__(self, request: GenerationRequest, prompt: Sequence[FiringToken] = ()) -> None:
        """`prompt` are the prompt's tokens, where they are known already."""
        self.request = request
        self.reports: list[TokenReport] = []
        self.changes: list[Change] = []
        self.made_with: MadeWith | None = None
        self.ended: Ended | None = None
        self.firing: dict[Side, tuple[FiringToken, ...]] = {}
        """The tokens of prompt and text, with what fires on each without interventions."""
        self._prompt = tuple(prompt)
        self._times: list[float] = []
        self._marks: tuple[tuple[int, bool], dict[Side, list[bool]]] = (0, False), {side: [] for side in SIDES}

    def hear(self, told: Told, now: float) -> None:
        """Take in what the engine told, at `now` in seconds of any clock."""
        match told:
            case protocol.Started():
                self.made_with = told.made_with
            case protocol.Step():
                self.reports.append(told.report)
                self._times.append(now)
            case protocol.Changed():
                self.changes.append(Change(told.index, told.interventions))
            case Ended():
                self.ended = told

    def choices(self, side: Side) -> list[TokenChoice]:
        """The tokens of one text."""
        return [choice for report in self.reports if (choice := getattr(report, side))]

    def text(self, side: Side) -> str:
        """One text, without the prompt."""
        return "".join(choice.text for choice in self.choices(side))

    def begin(self, side: Side) -> int:
        """The place of the first generated token among the pieces of one text."""
        return len(self._prompt_tokens(side)) or 1

    def pieces(self, side: Side, light: Light | None = None) -> list[Piece]:
        """Prompt and text as they are to be shown."""
        shown = list(self._prompt_pieces(side, light))
        choices = self.choices(side)
        marked = self._marked()[side]
        ended = any(getattr(report, side) is None for report in self.reports[-1:])
        for i, choice in enumerate(choices):
            closing = ended and i == len(choices) - 1 and not choice.text
            strength = self._strength(side, i, light)
            shown.append(Piece(END if closing else choice.text, strength, closing, marked[i]))
        return shown

    def tokens_per_s(self) -> float | None:
        """Speed, without the wait for the first token; None before the second."""
        if len(self._times) < 2 or self._times[-1] <= self._times[0]:
            return None
        return (len(self._times) - 1) / (self._times[-1] - self._times[0])

    def parted(self) -> int | None:
        """After how many tokens the texts part; None where they have not."""
        return next((report.index for report in self.reports if not report.same_context), None)

    def mean_kl(self) -> float | None:
        """Mean KL of the next-token distributions, in nats, while both texts go on."""
        kls = [report.kl for report in self.reports if report.baseline and report.steered]
        return sum(kls) / len(kls) if kls else None

    def likelier(self) -> float | None:
        """By how much likelier the interventions made the steered tokens: mean Δ ln p, while the texts agree."""
        gains = [
            r.steered.logprob_steered - r.steered.logprob_baseline for r in self.reports if r.steered and r.same_context
        ]
        return sum(gains) / len(gains) if gains else None

    def repeats(self) -> float | None:
        """Share of the steered text's 4-grams that came before in it: degenerate text repeats itself."""
        ids = [choice.token_id for choice in self.choices("steered")]
        grams = list(zip(ids, ids[1:], ids[2:], ids[3:], strict=False))
        return 1 - len(set(grams)) / len(grams) if grams else None

    def report_at(self, side: Side, index: int) -> TokenReport | None:
        """The report of the token at a place among the pieces; None in the prompt."""
        place = index - self.begin(side)
        return self.reports[place] if 0 <= place < len(self.reports) else None

    def firing_at(self, side: Side, index: int) -> FiringToken | None:
        """What fires on the token at a place among the pieces; None where that is not known."""
        tokens = self.firing.get(side) or self._prompt
        return tokens[index] if 0 <= index < len(tokens) else None

    def up_to(self, side: Side, index: int) -> tuple[str, int | None, str | None]:
        """A text up to the token at a place among the pieces, that token's place in it (None: the last), and the token
        that comes next (None: none does).
        """
        begin, choices, prompt = self.begin(side), self.choices(side), self.request.prompt
        texts = [choice.text for choice in choices]
        if index >= begin:
            n = index - begin + 1
            return prompt + "".join(texts[:n]), None, texts[n] if n < len(texts) else None
        tokens = self._prompt_tokens(side)
        if index + 1 < len(tokens):
            return prompt, index, tokens[index + 1].text
        return prompt, None, texts[0] if texts else None

    def drawn_out(self, most: int = 50) -> list[tuple[int, float]]:
        """Features that fire more in the steered than in the baseline text: by how much, in the mean over its tokens.

        None while it is not known what fires on both.
        """
        if len(self.firing) < len(SIDES):
            return []
        gain: dict[int, float] = {}
        for side, sign in zip(SIDES, (-1.0, 1.0), strict=True):
            tokens = self.firing[side][self.begin(side) :]
            for token in tokens:
                for feature, value in token.features:
                    gain[feature] = gain.get(feature, 0.0) + sign * value / len(tokens)
        return sorted(((f, v) for f, v in gain.items() if v > 0), key=lambda pair: -pair[1])[:most]

    def fires(self, feature: int) -> tuple[int, int] | None:
        """On how many of how many tokens of the prompt a feature fires; None where that is not known."""
        return fires(self._prompt_tokens("steered"), feature)

    def save(self, session: Session) -> str:
        """Save what has come as a transcript; the file, from the session's folder on. Blocks. Raises SaeTuiErrors."""
        assert self.made_with is not None, "no token has come"
        edits = [edit for held in (self.request, *self.changes) for edit in held.interventions]
        transcript = collect(
            tuple(self.reports), self.request, self.made_with, scales=strengths(session, edits),
            changes=tuple(self.changes),
        )  # fmt: skip
        return str(transcript.save(session).relative_to(session.path))

    def _prompt_tokens(self, side: Side) -> tuple[FiringToken, ...]:
        if side in self.firing:
            return self.firing[side][: len(self.firing[side]) - len(self.choices(side))]
        return self._prompt

    def _prompt_pieces(self, side: Side, light: Light | None) -> Iterator[Piece]:
        tokens = self._prompt_tokens(side)
        if not tokens:
            yield Piece(self.request.prompt, quiet=True)
        for token in tokens:
            yield Piece(token.text, _lit(token, light), not token.counted, quiet=True)

    def _strength(self, side: Side, i: int, light: Light | None) -> float:
        if light is None:
            return 0.0
        if light.feature is None:
            return 1 - exp(-self.reports[i].kl) if side == "steered" else 0.0
        token = self.firing_at(side, self.begin(side) + i) if side in self.firing else None
        return _lit(token, light) if token else 0.0

    def _marked(self) -> dict[Side, list[bool]]:
        """For each token of each text whether it belongs to a word that only this one has."""
        stage = len(self.reports), self.ended is not None
        if self._marks[0] != stage:
            texts = [[choice.text for choice in self.choices(side)] for side in SIDES]
            found: dict[Side, list[bool]] = {}
            marked = changed(*map("".join, texts), aligned=self.ended is not None)
            for side, text, marks in zip(SIDES, texts, marked, strict=True):
                ends = list(accumulate(map(len, text)))
                found[side] = [any(marks[a:b]) for a, b in zip([0, *ends], ends, strict=False)]
            self._marks = stage, found
        return self._marks[1]


def fires(tokens: Sequence[FiringToken], feature: int) -> tuple[int, int] | None:
    """On how many of how many tokens a feature fires; None where there are none."""
    counted = [token for token in tokens if token.counted]
    return (sum(any(f == feature for f, _ in t.features) for t in counted), len(counted)) if counted else None


def changed(one: str, other: str, *, aligned: bool = True) -> tuple[list[bool], list[bool]]:
    """For each character of two texts whether it is of a word that the other does not have there.

    Not `aligned`, the n-th word stands against the n-th: what is marked then stays so while the texts grow.
    """
    marks = [False] * len(one), [False] * len(other)
    spans = [[match.span() for match in re.finditer(r"\S+", text)] for text in (one, other)]
    words = [[text[a:b] for a, b in places] for text, places in zip((one, other), spans, strict=True)]
    for mark, places, alone in zip(marks, spans, _aligned(*words) if aligned else _in_step(*words), strict=True):
        for word in alone:
            begin, end = places[word]
            mark[begin:end] = [True] * (end - begin)
    return marks


def _in_step(one: Sequence[str], other: Sequence[str]) -> tuple[list[int], list[int]]:
    """The words that differ from the one in the same place of the other text, or have none there."""
    differ = [i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
    n = min(len(one), len(other))
    return [*differ, *range(n, len(one))], [*differ, *range(n, len(other))]


def _aligned(one: Sequence[str], other: Sequence[str]) -> tuple[list[int], list[int]]:
    """The words of each text that are not in the longest alignment of both; of long texts as `_in_step`."""
    alone: tuple[list[int], list[int]] = [], []
    if max(len(one), len(other)) > ALIGNED:
        return _in_step(one, other)
    matcher = difflib.SequenceMatcher(a=one, b=other, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind != "equal":
            alone[0].extend(range(a, b))
            alone[1].extend(range(c, d))
    return alone


def _lit(token: FiringToken, light: Light | None) -> float:
    """How strongly a token is lit by a feature."""
    if light is None or light.feature is None:
        return 0.0
    value = next((z for feature, z in token.features if feature == light.feature), 0.0)
    return min(1.0, value / light.most) if light.most > 0 else 0.0

"""One generation as the Steer screen shows it: what was asked, the branches that came of it, and its figures."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

from core.analysis.store import strengths
from core.engine import protocol
from core.engine.operator import Ended, Told
from core.records import FiringToken, TokenChoice, TokenReport
from core.session import Session
from core.steering.interventions import Intervention
from core.steering.request import GenerationRequest, Sampling
from core.steering.transcript import Change, MadeWith, Summary, Transcript, collect, file_name, held
from core.steering.tree import Branches

Side = Literal["baseline", "steered"]
SIDES: tuple[Side, ...] = ("baseline", "steered")


class Generation:
    """The texts that came of one prompt, as a tree of branches, and the branch that is looked at.

    Grows with what the engine tells. `reports`, `changes` and `firing` are those of the branch at hand.
    """

    def __init__(self, request: GenerationRequest, prompt: Sequence[FiringToken] = ()) -> None:
        """`prompt` are the prompt's tokens, where they are known already."""
        self.request = request
        self.branches = Branches()
        self.made_with: MadeWith | None = None
        self.ended: Ended | None = None
        """How the engine came to rest; None while it generates."""
        self.prompt = tuple(prompt)
        """The prompt's tokens, as far as they are known."""
        self._reports: list[TokenReport] = []
        self._times: list[float] = []
        self._firing: dict[int, dict[Side, tuple[FiringToken, ...]]] = {}
        self._saved_at: dict[int, datetime] = {}
        self._open: set[int] = set()
        self._steps = False
        self._rewound = 0
        self._summary: tuple[object, Summary | None] = None, None

    @classmethod
    def of(cls, transcripts: Sequence[Transcript], names: Sequence[str], at: int) -> "Generation":
        """Saved ones again, each behind the one it parts from, with the names of their files; `at` is at hand."""
        first = transcripts[0]
        generation = cls(first.request())
        generation.made_with, generation.ended = first.made_with, Ended(stopped=True)
        branches = generation.branches
        for i, transcript in enumerate(transcripts):
            if i:
                branches.current = names.index(transcript.parent)
                branches.fork(transcript.parted)
            begin = [Change(0, transcript.interventions, transcript.sampling)] if i else []
            for change in (*begin, *transcript.changes):
                if change.index >= transcript.parted:
                    branches.change(change)
            for report in transcript.reports[transcript.parted :]:
                branches.grow(report)
            generation._saved_at[i] = transcript.at
        branches.current = at
        generation._look()
        return generation

    @property
    def reports(self) -> Sequence[TokenReport]:
        """Of every token of the branch, the first one on."""
        return self._reports

    @property
    def changes(self) -> tuple[Change, ...]:
        """What replaced the request's interventions and sampling on the branch."""
        return self.branches.path().changes

    @property
    def stage(self) -> object:
        """Another one whenever the texts at hand are others."""
        return self.branches.current, len(self._reports), self._rewound

    @property
    def firing(self) -> dict[Side, tuple[FiringToken, ...]]:
        """The tokens of prompt and text with what fires on each, as far as that was read."""
        return self._firing.setdefault(self.branches.current, {})

    def go_on(self, interventions: Sequence[Intervention], sampling: Sampling, tokens: int) -> None:
        """What holds from the next token on, and how many tokens there are to be in all."""
        place = len(self._reports)
        if (tuple(interventions), sampling) != held(self.request, self.changes, place):
            self.branches.change(Change(place, tuple(interventions), sampling))
        self.request = replace(self.request, tokens=tokens)

    def began(self, *, steps: bool = False) -> None:
        """The engine was asked for more; `steps`: for a few tokens only."""
        self.ended, self._times, self._steps = None, [], steps

    @property
    def came(self) -> int:
        """How many tokens came since the engine was asked last."""
        return len(self._times)

    @property
    def stepping(self) -> bool:
        """Whether a few tokens are coming, and no more."""
        return self.ended is None and self._steps

    @property
    def paused(self) -> bool:
        """Whether the branch at hand was left before its end."""
        at_rest = self.ended is not None and self.branches.current in self._open
        return at_rest and len(self._reports) < self.request.tokens

    def fork(self, at: int) -> None:
        """A branch of its own from token `at` on."""
        shared = self._read_before(at)
        self.branches.fork(at)
        self._parted(shared)

    def rewind(self, at: int) -> None:
        """Without token `at` and what comes after it."""
        shared = self._read_before(at)
        self.branches.rewind(at)
        self._saved_at.pop(self.branches.current, None)  # the file that has what is gone now stays
        self._rewound += 1
        self._parted(shared)

    def walk(self, where: Callable[[Branches], bool]) -> bool:
        """To another branch; whether there is one."""
        found = where(self.branches)
        self._look()
        return found

    def hear(self, told: Told, now: float) -> None:
        """Take in what the engine told, at `now` in seconds of any clock."""
        match told:
            case protocol.Started():
                self.made_with = told.made_with
            case protocol.Step():
                self.branches.grow(told.report)
                self._reports.append(told.report)
                self._times.append(now)
            case protocol.Changed():
                known = next((c for c in self.changes if c.index == told.index), None)
                if known is None or known.interventions != told.interventions:
                    self.branches.change(Change(told.index, told.interventions, known.sampling if known else None))
            case Ended():
                self.ended = told
                left = told.stopped or told.error is not None or self._steps
                (self._open.add if left else self._open.discard)(self.branches.current)

    def unread(self, side: Side) -> bool:
        """Whether it is not known yet what fires on all of a text."""
        return len(self.firing.get(side, ())) < self.begin + len(self.choices(side))

    def heard_firing(self, side: Side, tokens: Sequence[FiringToken]) -> None:
        """What fires on prompt and text, of all of the text at hand."""
        self.firing[side] = tuple(tokens)
        self.prompt = self.firing[side][: len(tokens) - len(self.choices(side))]

    def choices(self, side: Side) -> list[TokenChoice]:
        """The tokens of one text."""
        return [choice for report in self._reports if (choice := getattr(report, side))]

    def text(self, side: Side) -> str:
        """One text, without the prompt."""
        return "".join(choice.text for choice in self.choices(side))

    @property
    def begin(self) -> int:
        """The place of the first generated token among the pieces of a text."""
        return len(self.prompt) or 1

    def tokens_per_s(self) -> float | None:
        """Speed since it last went on, without the wait for the first token; None before the second."""
        if len(self._times) < 2 or self._times[-1] <= self._times[0]:
            return None
        return (len(self._times) - 1) / (self._times[-1] - self._times[0])

    def parted(self) -> int | None:
        """After how many tokens the texts part; None where they have not."""
        return next((report.index for report in self._reports if not report.same_context), None)

    def likelier(self) -> float | None:
        """By how much likelier the interventions made the steered tokens: mean Δ ln p, while the texts agree."""
        gains = [
            r.steered.logprob_steered - r.steered.logprob_baseline
            for r in self._reports
            if r.steered and r.same_context
        ]
        return sum(gains) / len(gains) if gains else None

    def summary(self) -> Summary | None:
        """The branch in a few figures; None before the first token."""
        stage = self.stage, self.ended is None, self.unread("steered")
        if self._summary[0] != stage:
            transcript = self.transcript()
            self._summary = stage, transcript and transcript.summary()
        return self._summary[1]

    def transcript(self) -> Transcript | None:
        """The branch as it can be saved; None before the first token."""
        if self.made_with is None or not self._reports:
            return None
        read = () if self.unread("steered") else self.firing["steered"][self.begin :]
        logprobs = [token.logprob for token in read if token.logprob is not None]
        whole = len(self._times) == len(self._reports)  # it came without a pause
        return collect(
            self._reports, self.request, self.made_with, changes=self.changes, logprobs=logprobs or None,
            seconds=self._times[-1] - self._times[0] if whole else None,
        )  # fmt: skip

    def saving(self, session: Session) -> Callable[[], str] | None:
        """What saves the branch as it is now and tells the file, from the session's folder on; None without a token.

        It blocks, and raises SaeTuiErrors. A branch that has only grown since takes its file's place.
        """
        transcript, here = self.transcript(), self.branches.here
        if transcript is None:
            return None
        current = self.branches.current
        at = self._saved_at.setdefault(current, datetime.now(UTC))
        parent = self._saved_at.get(here.parent) if here.parent is not None else None
        edits = [edit for held_ in (self.request, *self.changes) for edit in held_.interventions]

        def save() -> str:
            scales = strengths(session, edits)
            saved = replace(
                transcript, at=at, scales=scales, parent=file_name(parent) if parent else "",
                parted=here.at if parent else 0,
            )  # fmt: skip
            return str(saved.save(session, again=True).relative_to(session.path))

        return save

    def report_at(self, side: Side, index: int) -> TokenReport | None:
        """The report of the token at a place among the pieces; None in the prompt."""
        place = index - self.begin
        return self._reports[place] if 0 <= place < len(self._reports) else None

    def firing_at(self, side: Side, index: int) -> FiringToken | None:
        """What fires on the token at a place among the pieces; None where that is not known."""
        tokens = self.firing.get(side) or self.prompt
        return tokens[index] if 0 <= index < len(tokens) else None

    def next_at(self, side: Side, index: int) -> TokenReport | None:
        """The report that tells what may come after the token at a place among the pieces; None where none does."""
        place = index + 1 - self.begin
        return self._reports[place] if 0 <= place < len(self._reports) else None

    def up_to(self, side: Side, index: int) -> tuple[tuple[int, ...], int | None, str | None]:
        """What is read up to the token at a place among the pieces: the tokens generated by then, that token's place in
        the prompt (None: it is the last that is read), and the token that comes next (None: none does).
        """
        choices = self.choices(side)
        if index + 1 < len(self.prompt):
            return (), index, self.prompt[index + 1].text
        n = max(0, index - self.begin + 1)
        return tuple(c.token_id for c in choices[:n]), None, choices[n].text if n < len(choices) else None

    def drawn_out(self, most: int = 50) -> list[tuple[int, float]]:
        """Features that fire more in the steered than in the baseline text: by how much, in the mean over its tokens.

        None of them while it is not known what fires on both.
        """
        if any(self.unread(side) for side in SIDES):
            return []
        gain: dict[int, float] = {}
        for side, sign in zip(SIDES, (-1.0, 1.0), strict=True):
            tokens = self.firing[side][self.begin :]
            for token in tokens:
                for feature, value in token.features:
                    gain[feature] = gain.get(feature, 0.0) + sign * value / len(tokens)
        return sorted(((f, v) for f, v in gain.items() if v > 0), key=lambda pair: -pair[1])[:most]

    def fires(self, feature: int) -> tuple[int, int] | None:
        """On how many of how many tokens of the prompt a feature fires; None where that is not known."""
        return fires(self.prompt, feature)

    def _look(self) -> None:
        self._reports = list(self.branches.path().reports)

    def _parted(self, read: dict[Side, tuple[FiringToken, ...]]) -> None:
        """The branch at hand is another, of which so much is known."""
        self._firing[self.branches.current] = read
        self._open.add(self.branches.current)
        self._look()

    def _read_before(self, at: int) -> dict[Side, tuple[FiringToken, ...]]:
        """What is known of the prompt and the tokens before the one of this index."""
        return {side: tokens[: self.begin + at] for side, tokens in self.firing.items()}


def fires(tokens: Sequence[FiringToken], feature: int) -> tuple[int, int] | None:
    """On how many of how many tokens a feature fires; None where there are none."""
    counted = [token for token in tokens if token.counted]
    return (sum(any(f == feature for f, _ in t.features) for t in counted), len(counted)) if counted else None

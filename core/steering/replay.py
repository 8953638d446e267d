"""Replays: what to ask for to get a transcript's tokens again, and whether they came."""

import itertools
from dataclasses import dataclass, replace

from core.steering.interventions import in_raw
from core.steering.request import GenerationRequest
from core.steering.transcript import Change, Transcript, as_past


def as_it_was(transcript: Transcript) -> tuple[GenerationRequest, tuple[Change, ...]]:
    """What to ask for to get a transcript's tokens again, and what changes on the way.

    Strengths are in the raw units they had then.
    """
    changes = tuple(replace(c, interventions=in_raw(c.interventions, transcript.scales)) for c in transcript.changes)
    return replace(transcript.request(), interventions=in_raw(transcript.interventions, transcript.scales)), changes


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay came to."""

    same: int
    """So many tokens came again, in both texts."""
    tokens: int
    """Of so many."""
    differences: list[str]
    """What is not as it was when the transcript was made, in words."""

    @classmethod
    def of(cls, then: Transcript, now: Transcript) -> "Replay":
        """The comparison of a transcript with what was generated again."""
        pairs = zip(as_past(then.reports), as_past(now.reports), strict=False)
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        return cls(same, len(then.reports), then.made_with.differences(now.made_with))

    def describe(self) -> str:
        """In words."""
        came = f"all {self.tokens} tokens came again"
        if self.same < self.tokens:
            came = f"{self.same} of {self.tokens} tokens came again: from there on they differ"
        return f"{came}; {'; '.join(self.differences) or 'made with just what it was made with'}"

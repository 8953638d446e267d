"""What an experiment is asked for, and what is wrong with what cannot be asked. Knows no torch."""

import math
from dataclasses import dataclass, replace

from core.errors import UsageError, nearest
from core.steering.interventions import Intervention, Kind, Mode, Unit
from core.steering.request import SAMPLING, GenerationRequest, Sampling

DOSED: tuple[Kind, ...] = ("add", "set", "scale")
"""Kinds of intervention that have a strength to vary."""
STRENGTHS: dict[str, tuple[float, ...]] = {
    "add": (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0), "set": (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0),
    "scale": (0.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0),
}  # fmt: skip
"""Strengths that are tried where nothing else is said, in units of the feature's max; of scale multiples."""
MOST_STRENGTHS, MOST_SEEDS = 64, 64
BEGINNING = Sampling()
SAMPLED = tuple(name for name in SAMPLING if name != "seed")
"""How the tokens of a dose are chosen; its seeds are several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a strength is of use: see `core.experiments.window`.

    On SmolLM2-135M texts of a mean KL up to 0.7 nats and twice the perplexity still read as English; at 1.9 nats and
    five times the perplexity sentences fell apart.
    """

    gain: float = 0.7
    """Nats by which the target's log-probability must grow: about twice as likely. Of an activation: any gain."""
    kl: float = 1.0
    """Mean KL to the unsteered model, in nats a token."""
    perplexity: float = 2.0
    """Perplexity under the unsteered model, in multiples of that of the unsteered text."""
    repetition: float = 0.2
    """Share of 4-grams seen before, beyond that of the unsteered text."""


LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class DoseRequest:
    """One feature after another, at every strength. Raises UsageError where a value makes no sense."""

    prompt: str
    features: tuple[int, ...]
    strengths: tuple[float, ...]
    """In `unit`; in the order of size, whatever order they are given in."""
    kind: Kind = "add"
    unit: Unit = "max"
    where: str = "everywhere"
    mode: Mode = "error-kept"
    target: str | None = None
    """What the prompt should go on with; None: the target is the feature's own activation on what is generated."""
    tokens: int = 30
    """Generated at each strength by each seed."""
    sampling: Sampling = BEGINNING
    """Its seed gives way to one after another of `seeds`."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    chat: bool = False
    """As GenerationRequest has it."""
    system: str = ""
    rows: int = 32
    """Strengths in one batch at most: fewer need less memory."""
    limits: Limits = LIMITS

    def __post_init__(self) -> None:
        if self.kind not in DOSED:
            raise UsageError(f"{self.kind} has no strength to vary", hint=nearest(str(self.kind), DOSED))
        object.__setattr__(self, "unit", "raw" if self.kind == "scale" else self.unit)
        object.__setattr__(self, "strengths", tuple(sorted(set(self.strengths))))
        for name, values, most in (
            ("feature", self.features, MOST_STRENGTHS),
            ("strength", self.strengths, MOST_STRENGTHS),
            ("seed", self.seeds, MOST_SEEDS),
        ):
            if not 1 <= len(values) <= most:
                raise UsageError(f"{len(values)} {name}s cannot be tried", hint=f"give 1 to {most}")
        if self.target is not None and not self.target:
            raise UsageError("the target is empty", hint="give a word such as ' London', or none")
        if self.rows < 1:
            raise UsageError(f"{self.rows} rows hold nothing", hint="give 1 or more")
        for seed in self.seeds:
            replace(self.sampling, seed=seed)
        GenerationRequest(
            prompt=self.prompt, mode=self.mode, tokens=self.tokens, chat=self.chat, system=self.system
        )  # it says what is wrong
        for feature in self.features:
            for strength in self.strengths:
                self.intervention(feature, strength)

    def intervention(self, feature: int, strength: float) -> Intervention:
        """What is done to a feature at one strength. Raises UsageError."""
        return Intervention(self.kind, feature, strength, self.unit, self.where)

    @property
    def unit_words(self) -> str:
        """What a strength counts in: `max`, `p99`, `raw`, or × of scale."""
        return "×" if self.kind == "scale" else self.unit


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRequest:
    """Two edits, apart and together, over texts. Raises UsageError where they are of one feature."""

    one: Intervention
    other: Intervention
    texts: tuple[str, ...] = ()
    """None: those of the probe set that is shipped."""
    mode: Mode = "error-kept"

    def __post_init__(self) -> None:
        if self.one.feature == self.other.feature:
            raise UsageError(f"both are feature {self.one.feature}", hint="interference is between two features")


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectRequest:
    """One edit over texts, beside the same edit of another feature. Raises UsageError."""

    edit: Intervention
    texts: tuple[str, ...] = ()
    """None: those of the probe set that is shipped."""
    target: str | None = None
    """A token whose log-probability is followed."""
    mode: Mode = "error-kept"
    seed: int = 0
    """Of the draw of the other feature."""
    like: float = 1.5
    """The other's density is within this factor of the feature's."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.like) or self.like < 1:
            raise UsageError(f"no density is within a factor of {self.like!r}", hint="give a number from 1, as 1.5")


Request = DoseRequest | PairRequest | EffectRequest

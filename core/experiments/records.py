"""What an experiment finds: plain values, no tensors, ready for JSON."""

from dataclasses import dataclass

from core.experiments.requests import DoseRequest, EffectRequest, PairRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean and its 95 % bootstrap interval (see `core.experiments.intervals`)."""

    mean: float
    low: float | None
    """None where there are not two texts or seeds to tell how it varies."""
    high: float | None
    n: int
    """Texts or seeds it stands on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One strength, over all seeds."""

    strength: float | None
    """None: nothing is done to the feature."""
    raw: float
    """In units of the code; of scale the multiple."""
    broken: bool = False
    """The model's output was no longer a number: there are no figures."""
    target: Interval | None = None
    gain: Interval | None = None
    """`target` less that of nothing done, seed by seed; None of nothing done."""
    kl: Interval | None = None
    perplexity: Interval | None = None
    repetition: Interval | None = None
    usable: bool = False
    """It is within the window's limits and the target has gained."""
    text: str = ""
    """What the first seed wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Strengths of use beside each other: the target has gained, the damage is within its limits."""

    low: float
    high: float
    best: float
    """That at which the target gains most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One feature at every strength."""

    feature: int
    points: tuple[Point, ...]
    """First that of nothing done, then the strengths by their size."""
    window: Window | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dose:
    """A dose–response."""

    request: DoseRequest
    session: str
    target: str
    """In words: what `Point.target` measures, and in what."""
    curves: tuple[Curve, ...]
    seeds: int
    """Those that are whole; fewer than were asked for where it was stopped."""
    notes: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether all that was asked for is there."""
        return self.seeds == len(self.request.seeds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interference:
    """How two edits act on some tokens: see `core.experiments.pair`."""

    tokens: int
    texts: int
    one: Interval
    """‖E_i‖, the mean norm of what the first does to the logits."""
    other: Interval
    both: Interval
    beyond: Interval
    """‖E_ij − E_i − E_j‖: what both do beyond what each does."""
    share: Interval | None
    """`beyond` in units of `one` + `other`: 0 where they add up; None where they do nothing."""
    loss_one: Interval
    """Mean change of the loss, in nats."""
    loss_other: Interval
    loss_both: Interval
    loss_beyond: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """How two features fire in the analysis."""

    n_one: int
    n_other: int
    n: int
    """Tokens on which both fire."""
    tokens: int
    """Counted in the analysis."""
    jaccard: float | None
    """n / tokens on which at least one fires; None where none does."""
    pmi: float | None
    """ln(P(both) / (P(one) P(other))), in nats; None where they never fire together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The interference of two features."""

    request: PairRequest
    session: str
    cosine: float
    """Of their decoder directions."""
    together: Together | None
    """None without a feature database."""
    everywhere: Interference
    """On all tokens that predict one."""
    where_both: Interference | None
    """On those where both fire; None where there is none."""
    read: int
    """Texts that are whole; fewer than were asked for where it was stopped."""
    asked: int
    notes: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether all that was asked for is there."""
        return self.read == self.asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A next token and what happened to its logit."""

    token_id: int
    text: str
    by: float
    """Mean over the tokens, of logits less their mean over the vocabulary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """What an edit changes in the mean over some tokens: see `core.experiments.effect`."""

    tokens: int
    texts: int
    loss: Interval
    """Of the next token's cross-entropy, in nats: above 0 the model predicts worse."""
    kl: Interval
    """KL(untouched ‖ edited), in nats."""
    target: Interval | None
    """Of the chosen token's log-probability, in nats; None where none was chosen."""
    gained: tuple[Moved, ...]
    """Next tokens whose logits grew most."""
    lost: tuple[Moved, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A feature and what its edit changes."""

    feature: int
    density: float | None
    """In the analysis."""
    everywhere: Shift
    """On all tokens that predict one."""
    where_fires: Shift | None
    """On those where the feature fires; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """The feature's change less the control's."""

    loss: Interval | None
    kl: Interval | None
    target: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """The causal effect of a feature."""

    request: EffectRequest
    session: str
    feature: Side
    control: Side | None
    """Another feature of like density; None where there is none, or no feature database."""
    everywhere: Contrast | None
    where_fires: Contrast | None
    """Each on the tokens where it fires itself."""
    read: int
    """Texts that are whole; fewer than were asked for where it was stopped."""
    asked: int
    notes: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether all that was asked for is there."""
        return self.read == self.asked


Outcome = Dose | Pair | Effect

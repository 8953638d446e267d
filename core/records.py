"""What the stages report: plain values, no tensors, ready for JSON.

Long work is a generator of these. The command line prints them, a job writes them, a test asserts on them.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one phase of long work is."""

    phase: str
    """What is being done, in words: `loading the model`, `training`, `sorting activations`."""
    done: float = 0.0
    """Units finished."""
    total: float | None = None
    """Units in all, where known."""
    unit: str = ""
    """What is counted: `tokens`, `activations`, `tensors`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something a person should know, that stops nothing."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """One logged optimiser step. Batch figures are of that step's batch, in the units the SAE is trained in."""

    step: int
    """Optimiser steps finished, 1-based."""
    steps: int
    """Those the budget makes."""
    activations: int
    """Activation vectors consumed so far."""
    elapsed_s: float
    """Seconds since training began, without loading."""
    loss: float
    """What is minimised: reconstruction + sparsity + auxiliary."""
    mse: float
    """mean over the batch of the squared error summed over d_in."""
    fvu: float | None
    """Fraction of variance unexplained, of the batch; None where all its activations are the same."""
    l0: float
    """Mean number of active features."""
    l1: float
    """Mean over the batch of the sum of the code."""
    sparsity_loss: float
    """The sparsity term as it enters the loss; 0 where the code is sparse by construction."""
    aux_loss: float
    """The auxiliary term as it enters the loss."""
    dead: int
    """Features that did not fire in the last `training.dead_after_activations`."""
    dead_share: float
    """`dead` as a share of all features."""
    coefficient: float | None
    """lambda, the weight of the sparsity penalty; None where there is none."""
    dense: int
    """Features active on more than a tenth of the last 100,000 activations or so."""
    decoder_cosine_mean: float | None
    """Mean cosine of two of the decoder's directions for raw activations, as it was measured last: at the first step,
    the last of the budget, and every ⌈50 d_sae / batch⌉ steps. None for fewer than two."""
    decoder_cosine_max: float | None
    """The largest of those cosines."""
    ce_loss_score: float | None
    """As it was measured last, see `core.training.scored`; None where the model is not at hand, as on kept activations,
    or predicts no text."""
    lr: float
    activations_per_s: float
    """Over the time since the last report, harvest included."""
    memory_bytes: int
    """Resident memory of this process; of the first, where several train."""
    gpu_memory_bytes: int | None
    """What PyTorch holds in this process of the GPU it trains on; None without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Densities:
    """How often features fire in training: a histogram of the logarithms to base 10 of their densities."""

    step: int
    low: float
    high: float
    counts: tuple[int, ...]
    """Features in each of as many equal bins between `low` and `high`."""
    rarer: int
    """Features below `low`, those that never fired among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Thresholds moved to hit a number of active features, as measured on the calibration split."""

    target_l0: float
    coefficient: float | None
    """lambda, the weight of the sparsity penalty at the end; None where there is none."""
    moved_by: float
    """How much more than before a feature has to contribute to be active, in units of raw activations."""
    activations: int
    l0_before: float
    l0: float
    fvu_before: float | None
    fvu: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Metrics on the test split, by the names of `core.evaluate`, and the number of tokens each stands on."""

    metrics: dict[str, float | None]
    """None where a figure is not defined on this sample."""
    tokens: dict[str, int]
    densities: tuple[float, ...] = ()
    """Share of the activations on which each feature is active, `[d_sae]`; not in the JSON."""

    def to_json(self) -> dict[str, object]:
        """The metrics at the top level, their token counts beneath `tokens`."""
        return {**self.metrics, "tokens": self.tokens}


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextToken:
    """One token of a context, with the feature's activation on it (0 where it is silent)."""

    token_idx: int
    token_id: int
    text: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A feature active somewhere: the place, its strength, and the tokens around it."""

    band: int
    """0 for the top examples, 1.. for lower bands of equal width in activation, strongest first."""
    rank: int
    token_idx: int
    value: float
    doc: int
    source: str
    category: str
    tokens: tuple[ContextToken, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenChoice:
    """One generated token of one row, and how likely both rows' distributions made it."""

    token_id: int
    text: str
    logprob_baseline: float
    """ln p under the baseline row's next-token distribution."""
    logprob_steered: float
    """ln p under the steered row's next-token distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NextToken:
    """A token that might have come next, and how likely both rows' distributions made it."""

    token_id: int
    text: str
    logprob_baseline: float
    logprob_steered: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenReport:
    """One step of generation: a token for each row that is still going."""

    index: int
    """0-based, counted from the end of the prompt."""
    baseline: TokenChoice | None
    """None once this row has ended."""
    steered: TokenChoice | None
    kl: float
    """KL(steered ‖ baseline) of the two next-token distributions, in nats."""
    same_context: bool
    """True while both rows have the same tokens so far, so that `kl` is the edit's effect alone."""
    top: tuple[NextToken, ...] = ()
    """The five likeliest tokens of each row's distribution, those that are in both once, by the likelier of the two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FiringToken:
    """One token of a text and the features that fire on it, strongest first."""

    token_id: int
    text: str
    counted: bool
    """False where the SAE is not defined (BOS, first of a block): `features` is empty there."""
    features: tuple[tuple[int, float], ...] = ()
    active: int = 0
    """Features that fire on it, also those that `features` has no room for."""
    x_nonzero: float = 0.0
    z_nonzero: float = 0.0
    """Shares of the entries of its activation, and of its code, that are not 0."""
    x_ranked: tuple[float, ...] = ()
    z_ranked: tuple[float, ...] = ()
    """Absolute values of the same at evenly spaced ranks, the largest first; empty where it does not count."""
    after: tuple[tuple[int, float], ...] = ()
    """The same behind the interventions: the features of encode(x'); empty where no interventions were asked about."""
    logprob: float | None = None
    """ln p of this token behind those before it, under the model without interventions; None for the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFeature:
    """A feature that is active somewhere on a text."""

    feature: int
    max: float
    """Its largest activation there."""
    tokens: int
    """How many tokens it is active on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextReading:
    """One text, and how strongly one feature fires on each of its tokens."""

    text: str
    category: str
    source: str
    tokens: tuple[ContextToken, ...]
    """Without a BOS; `token_idx` is the position as the model reads them."""
    max: float
    """The feature's strongest activation; 0 where it is silent."""
    at: int | None
    """The `token_idx` of that; None where it is silent."""
    x_nonzero: float | None
    """Share of the entries of its activations that are not 0; None where no token counts."""
    z_nonzero: float | None
    """The same of its code."""
    active: tuple[int, ...]
    """Of each token that counts, how many features fire on it."""
    cut: int
    """Tokens that the model could not read any more."""
    features: tuple[TextFeature, ...] = ()
    """The strongest of all that are active on it."""
    features_active: int = 0
    """How many are."""
    x_ranked: tuple[float, ...] = ()
    """Absolute entries of an activation at evenly spaced ranks, the largest first: means over the tokens that count."""
    z_ranked: tuple[float, ...] = ()
    """The same of its code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptSide:
    """What one feature does on some texts; of each text its largest activation."""

    strong_share: float
    """Share of the texts on which it is strong."""
    active_share: float
    """Share of the texts on which it fires at all."""
    mean: float
    """Mean over all the texts, those on which it is silent included."""
    composite: float
    """`100 · strong_share · mean`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptRow:
    """A feature that may stand for what some texts have in common."""

    feature: int
    score: float
    """The composite on the texts, less that on the contrast texts where there are any."""
    threshold: float
    """Above which it is strong."""
    inside: ConceptSide
    """On the texts."""
    outside: ConceptSide | None
    """On the contrast texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptFound:
    """A search for a concept."""

    texts: int
    contrast: int
    rule: str
    """From where on an activation is strong, in words."""
    rows: tuple[ConceptRow, ...]
    """The best first."""
    notes: tuple[str, ...]
    """What else a person should know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributedFeature:
    """One feature on one token of a prompt, and its part in a logit. See `core.analysis.attribution`."""

    position: int
    token: str
    feature: int
    activation: float
    direct: float | None
    """None where the hook point is not in the residual stream's space."""
    gradient: float
    ablation: float | None
    """None where it was not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Which features on which tokens a prediction rests on."""

    tokens: tuple[ContextToken, ...]
    """As the model reads them, up to the position; `value` is the sum of `gradient` over the features on each."""
    position: int
    """Behind which token the prediction is."""
    target_id: int
    target: str
    score: float
    """The target's logit, less the mean over the vocabulary: what is attributed."""
    probability: float
    likeliest: tuple[tuple[str, float], ...]
    """The most likely next tokens and their probabilities."""
    pairs: int
    """Features active on tokens, all counted."""
    rows: tuple[AttributedFeature, ...]
    """The largest, by whatever they are ranked by."""
    ablated: int
    """How many pairs were ablated one by one: those with the largest `gradient`."""
    pearson: float | None
    """Of `gradient` with `ablation`, over these; None where that is not defined."""
    spearman: float | None

"""What the Steer screen says of one token: what fires on it, what may come after it, what that rests on, how sparse its
text is, and by which features. Safe."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from statistics import fmean, median

from textual.content import Content

from core.records import AttributedFeature, Attribution, FiringToken, NextToken
from sae_tui.screens.generation import Generation, Side
from sae_tui.text import figure, safe, shortened, token
from sae_tui.widgets.scales import bins, profile

PARTS = ("gradient", "direct", "ablation")
RANKS = ("fires", "next", *PARTS, "sparse")
"""What is listed of a token: what fires on it, the next tokens, or features by their part in the one that comes next
(`core.analysis.attribution`); of its text how sparse it is."""
BINS = 8
"""Parts that numbers of active features are counted in, at most."""
NOWHERE = "tab goes to the texts, h j k l walk them"


@dataclass(frozen=True, slots=True)
class Fires:
    """One feature on one token."""

    feature: int
    before: float | None
    """None where it does not fire; of a whole text how much more it fires, in the mean."""
    after: float | None = None
    """What the interventions made of it."""


@dataclass(frozen=True, slots=True)
class Next:
    """One token that may come next."""

    token: NextToken
    came: str
    """In which texts it did: `b`, `s`, `bs` or none."""

    @property
    def p(self) -> tuple[float, float]:
        """Its probability in the baseline run and in the steered one."""
        return exp(self.token.logprob_baseline), exp(self.token.logprob_steered)


@dataclass(frozen=True, slots=True)
class Sparse:
    """A figure of how sparse a text is, as it is written, and its bar."""

    name: str
    value: str
    share: float


@dataclass(frozen=True, slots=True)
class Over:
    """One feature over a whole text."""

    feature: int
    max: float
    """Its largest activation."""
    tokens: int
    """How many tokens it is active on."""
    share: float
    """Of the largest activation of any feature there, how much that is."""

    @property
    def name(self) -> str:
        """Its number."""
        return str(self.feature)

    @property
    def value(self) -> str:
        """How strongly it is active, and on how many tokens."""
        return f"{figure(self.max)} ×{self.tokens:,}"


Row = Fires | Next | AttributedFeature | Sparse | Over
Said = tuple[Content, Content, list[Row]]
"""Title, words, and the list below them."""


def fires_words(generation: Generation | None, side: Side, index: int | None) -> Said:
    """What fires on the token at the cursor of a text; without one, what the interventions drew out."""
    if generation is None or index is None:
        gains: list[Row] = [Fires(f, v) for f, v in generation.drawn_out()] if generation else []
        if gains:
            words = "in the mean over its tokens, under the unsteered model; h j k l walk the tokens"
            return Content("fires more in the steered text"), Content(words), gains
        return Content("what fires"), Content("on a token: " + NOWHERE), []
    report, found = generation.report_at(side, index), generation.firing_at(side, index)
    choice = getattr(report, side) if report else None
    text = found.text if found else choice.text if choice else generation.request.prompt[-12:]
    title = Content.assemble("fires on ", (shortened(token(text), 24), "bold"), f" in {side}")
    words = []
    if choice and report:
        words.append(f"ln p {choice.logprob_steered:.2f} steered, {choice.logprob_baseline:.2f} baseline")
        words.append(f"KL {figure(report.kl)}")
    if found is None:
        words.append("listed when the text is at rest" if generation.ended is None else "asking what fires")
    elif not found.counted:
        words.append("the SAE is not defined on this token")
    elif not (found.features or found.after):
        words.append("no feature fires")
    before, after = (dict(found.features), dict(found.after)) if found else ({}, {})
    rows: list[Row] = [Fires(f, before.get(f), after.get(f)) for f in {**before, **after}]
    strongest = sorted(rows, key=lambda row: -max(row.before or 0.0, row.after or 0.0))  # pyright: ignore
    return title, Content(" · ".join(words)), strongest


def next_words(generation: Generation | None, side: Side, index: int | None) -> Said:
    """The likeliest next tokens after the token at the cursor, in both runs."""
    report = generation.next_at(side, index) if generation and index is not None else None
    if report is None:
        words = "after the last token none is known: n goes on" if index is not None else f"after a token: {NOWHERE}"
        return Content("what may come next"), Content(words), []
    came = {
        one.token_id: "".join(letter for letter, c in (("b", report.baseline), ("s", report.steered))
                              if c and c.token_id == one.token_id)
        for one in report.top
    }  # fmt: skip
    words = f"KL {figure(report.kl)}"
    if not report.same_context:
        words += " · the texts are not the same before it"
    words += " · b, s: what came · enter: what it rests on"
    return Content(f"next token {report.index}"), Content(words), [Next(one, came[one.token_id]) for one in report.top]


def why_words(answer: Attribution | str | None, rank: str, *, there: bool) -> Said:
    """What a prediction rests on; `there`: a token is at the cursor."""
    if not isinstance(answer, Attribution):
        waits = "asking what it rests on: a backward pass, then features ablated one by one; esc stops"
        words = safe(answer) if answer else waits if there else f"behind which token: {NOWHERE}"
        return Content(f"the next token, by {rank}"), Content(words), []
    agree = "" if answer.pearson is None or answer.spearman is None else (
        f" · r {answer.pearson:.2f} ρ {answer.spearman:.2f}"
    )  # fmt: skip
    title = Content.assemble("for ", (shortened(token(answer.target), 12), "bold"), f" · {rank}{agree}")
    likeliest = "  ".join(f"{shortened(token(text), 12)} {100 * p:.0f}%" for text, p in answer.likeliest[:3])
    words = (
        f"p {figure(answer.probability)} · {likeliest} · r, ρ: gradient × activation with ablation, of {answer.ablated}"
    )
    known = [(value, row) for row in answer.rows if (value := part(row, rank))]
    rows: list[Row] = [row for _, row in sorted(known, key=lambda one: -abs(one[0]))]
    if not rows and rank == "direct":
        words += " · nothing here has a direct effect: only the last token's features in the residual stream have"
    return title, Content(words), rows


def sparse_words(tokens: Sequence[FiringToken], side: str, *, ascii_only: bool = False) -> Said:
    """How dense activations of a text are and how sparse their code is, and on how many tokens how many features fire.

    Below, which features those are, the strongest first, each with its max over the tokens and on how many it fires;
    above, x and z as pictures. Of the unsteered model, before any edit.
    """
    counted = [token for token in tokens if token.counted]
    title = Content(f"how sparse the {side} is")
    if not counted:
        return title, Content("known once it was read: what fires on it"), []
    dense, sparse = (fmean(shares) for shares in zip(*((t.x_nonzero, t.z_nonzero) for t in counted), strict=True))
    counts = [token.active for token in counted]
    parts = bins(counts, BINS)
    most = max(n for _, n in parts)
    rows: list[Row] = [Sparse("x not 0", f"{dense:.2%}", dense), Sparse("z not 0", f"{sparse:.2%}", sparse)]
    rows += [Sparse(f"{name} active", f"{n:,} token{'s' * (n != 1)}", n / most) for name, n in parts]
    over = _over(counted)
    rows += over
    words = [
        f"features on each token: min {min(counts)}, median {median(counts):g}, max {max(counts)}; "
        f"{len(over):,} in all, below: max ×tokens"
    ]
    if all(t.x_ranked and t.z_ranked for t in counted):
        ranked = ([fmean(sizes) for sizes in zip(*rows, strict=True)]
                  for rows in ([t.x_ranked for t in counted], [t.z_ranked for t in counted]))  # fmt: skip
        words += [f"{name} {profile(sizes, ascii_only=ascii_only)}" for name, sizes in zip("xz", ranked, strict=True)]
        words[1] += " largest first"
    return title, Content("\n".join(words)), rows


def _over(tokens: Sequence[FiringToken]) -> list[Over]:
    """The features that are active on tokens, the strongest first."""
    found: dict[int, list[float]] = {}
    for one in tokens:
        for feature, value in one.features:
            found.setdefault(feature, []).append(value)
    strongest = sorted(
        ((max(values), f, len(values)) for f, values in found.items()), key=lambda one: (-one[0], one[1])
    )
    return [Over(f, value, n, value / strongest[0][0]) for value, f, n in strongest]


def part(row: AttributedFeature, rank: str) -> float | None:
    """A feature's part in a prediction; None where it is not known."""
    return {"gradient": row.gradient, "direct": row.direct, "ablation": row.ablation}[rank]

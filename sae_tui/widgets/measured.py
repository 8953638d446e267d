"""What an experiment found, in words and small pictures: for the command line and for the screen alike.

Intervals are drawn as `├──●──┤` on a common scale with `│` at 0, strengths as a row of dots, those of use filled.
"""

from collections.abc import Callable, Iterator, Sequence

from rich.cells import cell_len
from textual.content import Content

from core.experiments.records import (
    Contrast,
    Curve,
    Dose,
    Effect,
    Interference,
    Interval,
    Moved,
    Outcome,
    Pair,
    Shift,
)
from sae_tui.text import figure, safe, shortened, token
from sae_tui.widgets.scales import trend

Called = Callable[[int], str]
"""What a feature goes by, in safe words; empty where nothing is known of it."""
LABEL, FIGURES = 12, 28
"""Cells of a row's name, and of a mean with its interval."""
LEAST, MOST = 16, 72
"""Cells of the drawing of an interval."""
Rows = Sequence[tuple[str, Interval | None]]


def lines(outcome: Outcome, called: Called, width: int, *, ascii_only: bool = False) -> list[Content]:
    """All of it but the table of a dose, in `width` cells."""
    told = {Dose: _dose, Pair: _pair, Effect: _effect}[type(outcome)]
    found = [*told(outcome, called, width, ascii_only)]
    if not outcome.whole:
        found.append(Content.styled(_partly(outcome), "$warning"))
    return [*found, *(Content.styled(safe(note), "$text-muted") for note in outcome.notes)]


def title(outcome: Outcome) -> str:
    """What it is of, in a line. Safe."""
    if isinstance(outcome, Dose):
        features = ", ".join(str(feature) for feature in outcome.request.features)
        return f"{outcome.request.kind} of {features} at {len(outcome.request.strengths)} strengths"
    if isinstance(outcome, Pair):
        return f"{outcome.request.one.to_command()[1:]} with {outcome.request.other.to_command()[1:]}"
    return outcome.request.edit.to_command()[1:]


def mentioned(outcome: Outcome) -> list[int]:
    """Every feature it tells of."""
    if isinstance(outcome, Dose):
        return list(outcome.request.features)
    if isinstance(outcome, Pair):
        return [outcome.request.one.feature, outcome.request.other.feature]
    return [side.feature for side in (outcome.feature, outcome.control) if side]


def _partly(outcome: Outcome) -> str:
    if isinstance(outcome, Dose):
        return f"stopped: {outcome.seeds} of {len(outcome.request.seeds)} seeds are whole"
    return f"stopped: {outcome.read:,} of {outcome.asked:,} texts are whole"


def forest(rows: Rows, width: int, *, ascii_only: bool = False) -> Iterator[Content]:
    """Intervals below each other, on one scale that has nothing (0) in it."""
    known = [interval for _, interval in rows if interval]
    ends = [end for one in known for end in (one.mean, one.low, one.high) if end is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    cells = max(LEAST, min(MOST, width - LABEL - FIGURES - 4))
    for name, interval in rows:
        label = shortened(name, LABEL).ljust(LABEL)
        if interval is None:
            yield Content.assemble(("  " + label, "$text-muted"), " " * cells, ("  not there", "$text-muted"))
            continue
        drawn = _drawn(interval, low, high, cells, ascii_only=ascii_only)
        clear = interval.low is not None and interval.high is not None and (interval.low > 0 or interval.high < 0)
        ink = "$accent" if clear else "$text-muted"
        yield Content.assemble(("  " + label, "$text-muted"), (drawn, ink), "  ", *_figures(interval))


def _drawn(interval: Interval, low: float, high: float, cells: int, *, ascii_only: bool) -> str:
    """One interval in as many cells."""
    zero, line, left, right, mean, cross = "|-[]o+" if ascii_only else "│─├┤●┼"

    def at(value: float) -> int:
        return round((value - low) / (high - low) * (cells - 1)) if high > low else 0

    row = [" "] * cells
    row[at(0.0)] = zero
    if interval.low is not None and interval.high is not None:
        begin, end = at(interval.low), at(interval.high)
        for cell in range(begin, end + 1):
            row[cell] = line
        if begin < at(0.0) < end:
            row[at(0.0)] = cross
        row[begin], row[end] = left, right
    row[at(interval.mean)] = mean
    return "".join(row)


def _figures(interval: Interval) -> tuple[tuple[str, str], ...]:
    mean = (f"{signed(interval.mean):>7}", "bold")
    if interval.low is None:
        return mean, ("", "")
    return mean, (f"  {signed(interval.low)} to {signed(interval.high)}", "$text-muted")


def signed(value: float | None) -> str:
    """A change with its sign, in three digits."""
    if value is None:
        return "-"
    return ("+" if value > 0 else "−" if value < 0 else "") + figure(abs(value))


def _heading(name: str, about: str) -> Content:
    return Content.assemble((name, "bold"), (f"  {about}", "$text-muted"))


# The causal effect of a feature.


def _effect(found: Effect, called: Called, width: int, ascii_only: bool) -> Iterator[Content]:
    feature, control = found.feature, found.control
    yield _heading("feature", _about(feature.feature, feature.density, called))
    if control:
        yield _heading(
            "control", f"{_about(control.feature, control.density, called)}, drawn by seed {found.request.seed}"
        )
    yield Content.styled(
        f"{found.request.edit.describe()}; change of the mean over the tokens, 95 % over texts", "$text-muted"
    )
    for name, shift, other, contrast in (
        ("where it fires", feature.where_fires, control and control.where_fires, found.where_fires),
        ("on all tokens", feature.everywhere, control and control.everywhere, found.everywhere),
    ):
        yield Content("")
        yield from _shift(name, shift, other, contrast, found, width, ascii_only)


def _about(feature: int, density: float | None, called: Called) -> str:
    name = called(feature)
    share = f", fires on {100 * density:.3g} % of the tokens analysed" if density is not None else ""
    return f"{feature}{' ' + name if name else ''}{share}"


def _shift(
    name: str, shift: Shift | None, other: Shift | None, contrast: Contrast | None, found: Effect, width: int,
    ascii_only: bool,
) -> Iterator[Content]:  # fmt: skip
    if shift is None:
        yield _heading(name, "nowhere in these texts")
        return
    beside = f"; the control on {other.tokens:,} of {other.texts:,}" if other and other.tokens != shift.tokens else ""
    yield _heading(name, f"{shift.tokens:,} tokens of {shift.texts:,} texts{beside}")
    target = f"ln p of {token(found.request.target)}, nats" if found.request.target else ""
    for which, words in (("loss", "loss, nats (above 0: it predicts worse)"), ("target", target), ("kl", "KL, nats")):
        if getattr(shift, which) is None:
            continue
        yield Content.styled(f" {words}", "$text-muted")
        rows = [("feature", getattr(shift, which))]
        if found.control:
            rows += [
                ("control", getattr(other, which) if other else None),
                ("difference", getattr(contrast, which) if contrast else None),
            ]
        yield from forest(rows, width, ascii_only=ascii_only)
    for words, moved in (("gained", shift.gained), ("lost", shift.lost)):
        if moved:
            yield _moved(words, moved, width)


def _moved(words: str, moved: Sequence[Moved], width: int) -> Content:
    """Next tokens with what their logits gained, as many as there is room for."""
    parts, room = [(f" {words:<7}", "$text-muted")], width - 8
    for one in moved:
        shown, by = token(one.text), f" {signed(one.by)}  "
        if cell_len(shown) + len(by) > room:
            break
        room -= cell_len(shown) + len(by)
        parts += [(shown, "bold"), (by, "$text-muted")]
    return Content.assemble(*parts)


# The interference of two features.


def _pair(found: Pair, called: Called, width: int, ascii_only: bool) -> Iterator[Content]:
    one, other, together = found.request.one, found.request.other, found.together
    for edit in (one, other):
        name = called(edit.feature)
        yield _heading(str(edit.feature), f"{name + '  ' if name else ''}{safe(edit.describe())}")
    fires = ""
    if together is not None:
        pmi = "never together" if together.pmi is None else f"PMI {together.pmi:+.2f} nats"
        fires = (
            f" · fire on {together.n_one:,} and {together.n_other:,} of {together.tokens:,} tokens, together on "
            f"{together.n:,}: Jaccard {figure(together.jaccard)}, {pmi}"
        )
    yield Content.assemble(("cosine ", "$text-muted"), (f"{found.cosine:+.3f}", "bold"), (fires, "$text-muted"))
    for name, of in (("where both fire", found.where_both), ("on all tokens", found.everywhere)):
        yield Content("")
        if of is None:
            yield _heading(name, "nowhere in these texts")
        else:
            yield from _interference(name, of, one.feature, other.feature, width, ascii_only)


def _interference(name: str, of: Interference, one: int, other: int, width: int, ascii_only: bool) -> Iterator[Content]:
    yield _heading(name, f"{of.tokens:,} tokens of {of.texts:,} texts")
    names = (str(one), str(other), "both", "beyond")
    yield Content.styled(" ‖change of the logits‖; beyond: both less the one and the other", "$text-muted")
    yield from forest(
        list(zip(names, (of.one, of.other, of.both, of.beyond), strict=True)), width, ascii_only=ascii_only
    )
    if of.share is not None:
        yield Content.assemble(
            ("  beyond is ", "$text-muted"), (f"{of.share.mean:.1%}", "bold"),
            (" of what they do apart: 0 % where effects add up", "$text-muted"),
        )  # fmt: skip
    yield Content.styled(" loss, nats", "$text-muted")
    losses = (of.loss_one, of.loss_other, of.loss_both, of.loss_beyond)
    yield from forest(list(zip(names, losses, strict=True)), width, ascii_only=ascii_only)


# Dose and response.


def _dose(found: Dose, called: Called, width: int, ascii_only: bool) -> Iterator[Content]:
    request, limits = found.request, found.request.limits
    yield _heading("prompt", shortened(safe(request.prompt), max(10, width - 8)))
    yield _heading("target", found.target)
    gained = f"gains {limits.gain:g} nats" if request.target is not None else "gains"
    yield _heading(
        "of use",
        f"target {gained}, KL ≤ {limits.kl:g} nats, perplexity ≤ {limits.perplexity:g}×, "
        f"repeats ≤ +{limits.repetition:.0%}",
    )
    for curve in found.curves:
        yield Content("")
        yield from _curve(found, curve, called, ascii_only)


def _curve(found: Dose, curve: Curve, called: Called, ascii_only: bool) -> Iterator[Content]:
    name, unit = called(curve.feature), found.request.unit_words
    yield Content.assemble((f"feature {curve.feature}", "bold"), f" {name}  ", window_words(curve, unit))
    for words, which in (("target", "target"), ("KL", "kl"), ("perplexity", "perplexity"), ("repeats", "repetition")):
        values = [getattr(point, which).mean if getattr(point, which) else float("nan") for point in curve.points]
        ends = [value for value in values if value == value]
        span = f"  {figure(min(ends))} to {figure(max(ends))}" if ends else ""
        ink = "$accent" if which == "target" else "$text-muted"
        spread = "".join(cell * 2 for cell in trend(values, ascii_only=ascii_only))
        yield Content.assemble((f"  {words:<11}", "$text-muted"), (spread, ink), (span, "$text-muted"))
    filled, empty = ("#", ".") if ascii_only else ("●", "·")
    dots = "".join(2 * (filled if point.usable else empty) for point in curve.points)
    yield Content.assemble(("  of use     ", "$text-muted"), (dots, "$success"))


def window_words(curve: Curve, unit: str) -> Content:
    """The window of a curve in words."""
    if curve.window is None:
        return Content.styled("no strength is of use", "$warning")
    low, high, best = curve.window.low, curve.window.high, curve.window.best
    reach = f"at {low:g}" if low == high else f"from {low:g} to {high:g}"
    return Content.assemble(
        ("of use ", "$text-muted"), (f"{reach} {unit}", "bold $success"), (f", best {best:g}", "$text-muted")
    )

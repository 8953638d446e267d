"""What the Steer screen says: its engine, a generation's figures, an intervention, a token. Words only, and safe."""

from collections.abc import Sequence
from math import log10

from textual.content import Content

from core.analysis.described import scales
from core.records import AttributedFeature, Attribution, FiringToken
from core.steering.interventions import Intervention
from core.steering.plan import Plan, in_max
from sae_tui.screens.desk import Desk
from sae_tui.screens.generation import Generation, Side, fires
from sae_tui.screens.names import Names
from sae_tui.text import figure, safe, shortened, token

RANKS = ("fires", "gradient", "direct", "ablation")
"""What features are ranked by: as they fire on a token, or by their part in the next (`core.analysis.attribution`)."""
LEVELS = ("▁▂▃▄▅▆▇█", "_.-:=+*#")
Fires = tuple[int, float]
"""A feature and its activation."""


def state_line(site: str, plan: Plan, desk: Desk | None, jobs: int, live: bool, width: int) -> Content:
    """What it is generated with, and how the engine is."""
    right = _engine(desk, jobs)
    settings = plan.settings
    parts = [
        f"T {settings['temperature']:g}",
        f"seed {settings['seed']}",
        f"{settings['tokens']} tokens",
        *([settings["where"]] if settings["where"] != "everywhere" else []),
        *(["replace"] if settings["mode"] == "replace" else []),
        *(["live"] if live else []),
    ]
    said = " · ".join(parts)
    room = width - right.cell_length - len(said) - 5
    where = shortened(safe(site), max(0, room))
    left = Content.assemble((where, "bold"), "  " if where else "", (said, "$text-muted"))
    return Content.assemble(left, " " * max(1, width - left.cell_length - right.cell_length), right)


def _engine(desk: Desk | None, jobs: int) -> Content:
    shared = f", shared with {jobs} job{'s' if jobs > 1 else ''}" if jobs else ""
    if desk is None:
        return Content.styled("○ engine not started" + shared, "$text-muted")
    if desk.phase is not None:
        total = desk.phase.total
        share = f" {100 * desk.phase.done / total:.0f}%" if total else ""
        return Content.styled(f"◌ {safe(desk.phase.phase)}{share}{shared}", "$warning")
    if desk.loading or (desk.running and desk.made_with is None):
        return Content.styled(f"◌ starting the engine{shared}", "$warning")
    if desk.running and desk.generation is not None:
        speed = desk.generation.tokens_per_s()
        came = f"{len(desk.generation.reports)}/{desk.generation.request.tokens} tokens"
        return Content.styled(f"● {came}" + (f" · {speed:.0f} tok/s" if speed else ""), "$success")
    if desk.attributing:
        return Content.styled(f"◌ finding out what it rests on{shared}", "$warning")
    if desk.made_with is not None:
        return Content.styled(f"● ready on {safe(desk.made_with.device)}{shared}", "$success")
    return Content.styled("✗ no engine: r starts another" if desk.fault else "○ no engine", "$error")


def figures_line(generation: Generation | None, width: int, *, ascii_only: bool = False) -> Content:
    """How far the two texts are apart, with the KL of each token at the end as far as there is room."""
    if generation is None or not generation.reports:
        return Content("")
    parts = []
    kl, parted, likelier, repeats = (
        generation.mean_kl(), generation.parted(), generation.likelier(), generation.repeats(),
    )  # fmt: skip
    if kl is not None:
        parts.append(f"mean KL {figure(kl)} nats")
    parts.append("the texts are the same" if parted is None else f"part after {parted}")
    if likelier is not None:
        parts.append(f"Δ ln p {likelier:+.2f}")
    if repeats:
        parts.append(f"repeats {100 * repeats:.0f}%")
    said = " · ".join(parts)
    room = width - len(said) - 6
    kls = [report.kl for report in generation.reports][-max(0, room) :] if room > 8 else []
    strip = "".join(LEVELS[ascii_only][_level(kl)] for kl in kls)
    return Content.assemble((said, "$text-muted"), ("  KL ", "$text-muted") if strip else "", (strip, "$accent"))


def _level(kl: float) -> int:
    """The bar of a KL: from a thousandth of a nat to ten, by its logarithm."""
    return 0 if kl <= 1e-3 else min(7, int((log10(kl) + 3) * 2))


def edit_words(edit: Intervention | None, names: Names | None, prompt: Sequence[FiringToken]) -> Content:
    """The intervention at the cursor as a formula, and what to know of it."""
    if edit is None:
        return Content("none yet: / opens the command line; /amplify 12 4 makes feature 12 four times as strong")
    words, known = edit.describe(), names.known if names else {}
    most, one = in_max(edit, scales(known)), known.get(edit.feature)
    if edit.unit == "raw" and edit.kind in ("add", "set") and most is not None:
        words += f"  ({figure(most)} max)"
    elif one is not None and one.max:
        words += f"  (max {figure(one.max)})"
    elif edit.unit != "raw" and not (names and names.analysed):
        words += f"  the {edit.unit} is not known: `sae-tui analyze` finds it, or give a plain number"
    count = fires(prompt, edit.feature)
    if count is None:
        return Content(words)
    if count[0] == 0 and edit.kind in ("scale", "ablate"):
        strength = "1max" if one and one.max else "10"
        hint = f"fires on 0 of {count[1]} tokens of the prompt: try /add {edit.feature} {strength}"
        return Content.assemble(words, "\n", (hint, "$warning"))
    return Content(f"{words}\nfires on {count[0]} of {count[1]} tokens of the prompt")


def token_words(generation: Generation | None, side: Side, index: int | None) -> tuple[Content, Content, list[Fires]]:
    """Title, words and features for the token at the cursor of a text."""
    if generation is None or index is None:
        gains = generation.drawn_out() if generation else []
        if gains:
            words = "in the mean over its tokens, under the unsteered model; h j k l walk the tokens"
            return Content("fires more in the steered text"), Content(words), gains
        return (
            Content("what fires"),
            Content("on a token: tab goes to the texts, h j k l walk them when they have ended"),
            [],
        )
    report, found = generation.report_at(side, index), generation.firing_at(side, index)
    choice = getattr(report, side) if report else None
    text = found.text if found else choice.text if choice else generation.request.prompt[-12:]
    title = Content.assemble("fires on ", (shortened(token(text), 24), "bold"), f" in {side}")
    words = []
    if choice and report:
        words.append(f"ln p {choice.logprob_steered:.2f} steered, {choice.logprob_baseline:.2f} baseline")
        words.append(f"KL {figure(report.kl)}")
    if found is None:
        words.append(
            "what fires is listed when the text has ended" if generation.ended is None else "asking what fires"
        )
    elif not found.counted:
        words.append("the SAE is not defined on this token")
    elif not found.features:
        words.append("no feature fires")
    return title, Content(" · ".join(words)), list(found.features) if found else []


def why_words(
    answer: Attribution | str | None, rank: str, *, there: bool
) -> tuple[Content, Content, list[AttributedFeature]]:  # fmt: skip
    """Title, words and features for what a prediction rests on; `there`: a token is at the cursor."""
    if not isinstance(answer, Attribution):
        waits = "asking what it rests on: a backward pass, then features ablated one by one; esc stops"
        words = (
            safe(answer)
            if answer
            else waits
            if there
            else "behind which token: tab goes to the texts, h j k l walk them"
        )
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
    rows = [row for _, row in sorted(known, key=lambda one: -abs(one[0]))]
    if not rows and rank == "direct":
        words += " · nothing here has a direct effect: only the last token's features in the residual stream have"
    return title, Content(words), rows


def part(row: AttributedFeature, rank: str) -> float | None:
    """A feature's part in a prediction; None where it is not known."""
    return {"gradient": row.gradient, "direct": row.direct, "ablation": row.ablation}[rank]

"""What the Steer screen says of its engine, a generation and its branches, an intervention. Words only, and safe."""

from collections.abc import Callable, Sequence

from textual.content import Content

from core.analysis.described import scales
from core.records import FiringToken
from core.steering.interventions import Intervention
from core.steering.plan import SETTINGS, Plan, in_max
from core.steering.transcript import held
from sae_tui.screens.desk import Desk
from sae_tui.screens.generation import Generation, fires
from sae_tui.screens.loaded import Loaded
from sae_tui.screens.names import Names
from sae_tui.text import figure, safe, shortened

SHORT = {"top_p": "top-p", "top_k": "top-k", "min_p": "min-p", "repetition_penalty": "repeat"}
"""Settings that are told only where they are not as they begin, as they are told."""


def state_line(site: str, plan: Plan, desk: Desk | None, jobs: int, live: bool, width: int) -> Content:
    """What it is generated with, and how the engine is."""
    right = engine_words(desk, jobs, _busy(desk, jobs))
    settings = plan.settings
    changed = {name: value for name, value in settings.items() if value != SETTINGS[name]}
    parts = [
        f"T {settings['temperature']:g}",
        *(f"{short} {changed[name]:g}" for name, short in SHORT.items() if name in changed),
        f"seed {settings['seed']}",
        f"{settings['tokens']} tokens",
        *(changed[name] for name in ("where", "mode") if name in changed),
        *(["chat"] if settings["chat"] else []),
        *(["live"] if live else []),
    ]
    said = " · ".join(parts)
    room = width - right.cell_length - len(said) - 5
    where = shortened(safe(site), max(0, room))
    left = Content.assemble((where, "bold"), "  " if where else "", (said, "$text-muted"))
    return Content.assemble(left, " " * max(1, width - left.cell_length - right.cell_length), right)


def prompt_title(plan: Plan, width: int) -> Content:
    """How the prompt is read."""
    if not plan.settings["chat"]:
        return Content("prompt")
    system = plan.settings["system"]
    said = safe(f"prompt · a user's turn · system: {system}" if system else "prompt · a user's turn, /system says more")
    return Content(shortened(said, max(10, width)))


def engine_words(desk: Loaded | None, jobs: int, busy: Content | None = None) -> Content:
    """How the engine is; `busy` tells what it does, once it is loaded."""
    shared = _shared(jobs)
    if desk is None:
        return Content.styled("○ engine not started" + shared, "$text-muted")
    if desk.phase is not None:
        total = desk.phase.total
        share = f" {100 * desk.phase.done / total:.0f}%" if total else ""
        return Content.styled(f"◌ {safe(desk.phase.phase)}{share}{shared}", "$warning")
    if desk.starting:
        return Content.styled(f"◌ starting the engine{shared}", "$warning")
    if busy is not None:
        return busy
    if desk.made_with is not None:
        return Content.styled(f"● ready on {safe(desk.made_with.device)}{shared}", "$success")
    return Content.styled("✗ no engine: r starts another" if desk.fault else "○ no engine", "$error")


def _busy(desk: Desk | None, jobs: int) -> Content | None:
    """What it does with text."""
    generation = desk.generation if desk else None
    if desk is None or not (generation or desk.attributing):
        return None
    came = f"{len(generation.reports)}/{generation.request.tokens} tokens" if generation else ""
    if desk.running and generation:
        speed = generation.tokens_per_s()
        return Content.styled(f"● {came}" + (f" · {speed:.0f} tok/s" if speed else ""), "$success")
    if desk.attributing:
        return Content.styled(f"◌ finding out what it rests on{_shared(jobs)}", "$warning")
    if generation and generation.paused and desk.made_with:
        return Content.styled(f"‖ {came}: n goes on", "$warning")
    if generation and generation.paused and generation.reports and desk.fault and not desk.loading:
        return Content.styled("✗ no engine: n goes on with another", "$error")
    return None


def _shared(jobs: int) -> str:
    return f", shared with {jobs} job{'s' if jobs > 1 else ''}" if jobs else ""


def figures_line(generation: Generation | None, width: int) -> Content:
    """The branch at hand in figures, the most telling first, as many as there is room for."""
    summary = generation.summary() if generation else None
    if generation is None or summary is None:
        return Content("")
    parted, likelier, speed = generation.parted(), generation.likelier(), generation.tokens_per_s()
    distinct, grams = summary.distinct[1], summary.distinct[3]
    parts = [
        "" if summary.mean_kl is None else f"mean KL {figure(summary.mean_kl)} nats",
        "the texts are the same" if parted is None else f"part after {parted}",
        "" if summary.perplexity is None else f"perplexity {figure(summary.perplexity)}",
        "" if grams is None else f"4-gram repeats {100 * (1 - grams):.0f}%",
        "" if likelier is None else f"Δ ln p {likelier:+.2f}",
        "" if distinct is None else f"distinct 2-grams {100 * distinct:.0f}%",
        "" if speed is None or generation.ended is None else f"{speed:.0f} tok/s",
    ]
    said = ""
    for part in filter(None, parts):
        longer = f"{said} · {part}" if said else part
        if len(longer) > width:
            break
        said = longer
    return Content.styled(said, "$text-muted")


def branch_words(generation: Generation | None) -> Content:
    """Which branch is at hand, and where it parts from which; nothing where there is but one."""
    if generation is None or len(generation.branches.all) == 1:
        return Content("")
    tree = generation.branches
    here, number = tree.here, tree.current
    parts = [f"branch {number + 1}/{len(tree.all)}"]
    siblings = tree.children(here.parent) if here.parent is not None else []
    if here.parent is not None:
        parts.append(f"parts at {here.at} from {here.parent + 1}, H")
    if len(siblings) > 1:
        parts.append(f"J K {siblings.index(number) + 1} of {len(siblings)}")
    if children := tree.children(number):
        parts.append("L " + " ".join(str(child + 1) for child in children[:6]))
    return Content(" · ".join(parts))


def held_words(generation: Generation) -> str:
    """Under what the branch at hand goes on at its end, in a few words."""
    edits, sampling = held(generation.request, generation.changes, len(generation.reports))
    on = ", ".join(edit.to_command().removeprefix("/") for edit in edits if edit.enabled)
    return f"under {on or 'no intervention'} · seed {sampling.seed}"


Fires = Callable[[int], tuple[bool, str] | None]
"""Whether a feature fires on what is steered, and that in words; None where it is not known."""


def fires_on(prompt: Sequence[FiringToken]) -> Fires:
    """Of the tokens of a prompt, as far as they are known."""

    def told(feature: int) -> tuple[bool, str] | None:
        count = fires(prompt, feature)
        return count and (count[0] > 0, f"fires on {count[0]} of {count[1]} tokens of the prompt")

    return told


def edit_words(edit: Intervention | None, names: Names | None, fires: Fires) -> Content:
    """The intervention at the cursor as a formula, and what to know of it."""
    if edit is None:
        return Content("none yet: / opens the command line; /amplify 12 4 makes feature 12 four times as strong")
    words, known = edit.describe(), names.known if names else {}
    most, one = in_max(edit, scales(known)), known.get(edit.feature)
    if edit.kind == "mean-ablate" and one is not None and one.mean is not None:
        words += f"  (mean {figure(one.mean)})"
    elif edit.unit == "raw" and most is not None:
        words += f"  ({figure(most)} max)"
    elif one is not None and one.max:
        words += f"  (max {figure(one.max)})"
    elif edit.needs and not (names and names.analysed):
        instead = "/ablate it" if edit.needs == "mean" else "give a plain number"
        words += f"  the {edit.needs} is not known: `sae-tui analyze` finds it, or {instead}"
    told = fires(edit.feature)
    if told is None:
        return Content(words)
    there, said = told
    if not there and edit.kind not in ("add", "set", "mean-ablate"):
        strength = "1max" if one and one.max else "10"
        return Content.assemble(words, "\n", (f"{said}: try /add {edit.feature} {strength}", "$warning"))
    return Content(f"{words}\n{said}")

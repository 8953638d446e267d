"""What a run that is being configured will cost, in lines."""

from textual.content import Content

from core.image_facts import ImageFacts
from sae_tui.screens.draft import Checked
from sae_tui.text import compact, safe, size, span


def cost_lines(checked: Checked, *, brief: bool = False) -> list[Content]:
    """What it will cost, in lines; `brief` in four."""
    cost, facts = checked.cost, checked.facts
    sae = "width checked at start"
    if cost.d_in and cost.d_sae:
        sae = f"{cost.d_in:,} → {cost.d_sae:,} features, {_count(cost.sae_parameters)} parameters"
    epochs = checked.config.budget.epochs
    steps = f"{cost.steps:,} steps on {_count(cost.tokens)} tokens" + (f" × {epochs:,} epochs" if epochs > 1 else "")
    memory = _against("memory", cost.memory_bytes, checked.free_memory, f"free, {safe(checked.place)}")
    disk = _against("disk", cost.disk_peak, checked.free_disk, "free")
    time = "unknown until it runs" if cost.seconds is None else f"about {span(cost.seconds)}"
    words = f"{checked.runs} runs, each of this cost; the activations are harvested once"
    several = [Content.styled(words, "bold")] if checked.runs > 1 else []
    if brief:
        return [*several, _cost("training", f"{steps}, {time}"), _cost("SAE", sae), memory, disk]
    model = "checked at start"
    if isinstance(facts, ImageFacts):
        model = f"{facts.built}, {_count(facts.parameters)} parameters"
    elif facts is not None:
        model = f"{facts.layers} layers, {facts.d_model:,} wide, {_count(facts.parameters)} parameters"
    like = "no run like it here yet"
    if checked.speed is not None:
        other = "" if checked.speed.same_sae else ", another SAE"
        like = f"{checked.speed.per_second:,.0f} tok/s in {safe(checked.speed.session)}{other}"
    return [
        *several, _cost("training", steps), _cost("model", model), _cost("SAE", sae), Content(""),
        memory, *(_part(name, value) for name, value in cost.memory.items()), Content(""),
        disk, Content(""),
        _cost("time", time), _cost("", like, muted=True),
    ]  # fmt: skip


def _count(n: float | None) -> str:
    return "?" if n is None else compact(n) if n >= 10_000 else f"{n:,.0f}"


def _cost(name: str, value: str, *, muted: bool = False) -> Content:
    return Content.assemble((f"{name:<10}", "$text-muted"), (value, "$text-muted" if muted else ""))


def _part(name: str, value: float | None) -> Content:
    return Content.styled(f"  {name:<21}{size(value) if value is not None else '?':>9}", "$text-muted")


def _against(name: str, needed: float | None, free: float | None, words: str) -> Content:
    """What is needed beside what is free, and whether that is enough."""
    if needed is None:
        return _cost(name, "checked at start" + (f"; {size(free)} {words}" if free is not None else ""))
    of = f" of {size(free)} {words}" if free is not None else ""
    short = free is not None and needed > free
    amount = (f"✗ {size(needed)}", "bold $error") if short else (size(needed), "bold")
    return Content.assemble((f"{name:<10}", "$text-muted"), amount, (of, "$error" if short else "$text-muted"))

"""What Steer says of an image: where it comes from, what the classifier takes it for. Words only, and safe."""

from textual.content import Content

from core.image_records import ClassifiedImage, ImageList, Scores
from core.steering.plan import SETTINGS, Plan
from sae_tui.screens.image_desk import ImageDesk
from sae_tui.screens.steer_words import Fires, engine_words
from sae_tui.text import figure, safe, share, shortened


def state_line(site: str, plan: Plan, desk: ImageDesk | None, jobs: int, width: int) -> Content:
    """What is steered and how, and how the engine is."""
    right = engine_words(desk, jobs)
    said = " · ".join(str(plan.settings[n]) for n in ("where", "mode") if plan.settings[n] != SETTINGS[n])
    where = shortened(safe(site), max(0, width - right.cell_length - len(said) - 5))
    left = Content.assemble((where, "bold"), "  " if where else "", (said, "$text-muted"))
    return Content.assemble(left, " " * max(1, width - left.cell_length - right.cell_length), right)


def image_title(shown: ClassifiedImage | None, view: str) -> Content:
    """Which image it is, and whether it is as it was."""
    if shown is None:
        return Content("image")
    return Content(f"image {shown.image}" + (f" · {view}" if shown.behind else ""))


def image_facts(shown: ClassifiedImage | None, listing: ImageList | None) -> Content:
    """Its label and place, what the classifier takes it for, and how far interventions moved that."""
    if shown is None:
        return Content("")
    lines = [Content.assemble("a ", (str(shown.label), "bold"), f" · {_place(shown, listing)}")]
    if shown.baseline is None or shown.steered is None:
        return Content("\n").join([*lines, Content("no classifier: there are no classes")])
    lines += [
        _said("baseline", shown.baseline, shown.label),
        _said("steered ", shown.steered, shown.label),
        Content(f"KL {figure(shown.kl)} · Δ ln p {shown.gain or 0.0:+.3g}"),
    ]
    if listing is not None and listing.predicted:
        wrong = sum(one != other for one, other in zip(listing.predicted, listing.labels, strict=True))
        count = f"{wrong:,} of {len(listing.numbers):,} of the test split"
        lines.append(Content.styled(f"takes {count} for another class", "$text-muted"))
    return Content("\n").join(lines)


def fires_on_image(shown: ClassifiedImage | None) -> Fires:
    """Whether a feature fires on the image, as far as that is known."""

    def told(feature: int) -> tuple[bool, str] | None:
        if shown is None:
            return None
        found = next((one for one in shown.features if one.feature == feature), None)
        if found is None or found.before == 0:
            return False, "silent on this image"
        at = f" at {found.places} of {shown.places} places" if shown.places > 1 else ""
        return True, f"fires on this image{at}: {figure(found.before)}"

    return told


def _place(shown: ClassifiedImage, listing: ImageList | None) -> str:
    """Its split, and where in it."""
    if listing is not None and shown.image in listing.numbers:
        return f"{shown.split} {listing.numbers.index(shown.image) + 1:,}/{len(listing.numbers):,}"
    return shown.split or "in no split"


def _said(name: str, scores: Scores, label: int) -> Content:
    colour = "$success" if scores.predicted == label else "$error"
    mark = "" if scores.predicted == label else "  wrong"
    p = share(scores.probabilities[scores.predicted])
    return Content.assemble(f"{name}  ", (str(scores.predicted), f"bold {colour}"), f"  {p:>5}", (mark, "$text-muted"))

"""The verb steer on images: what interventions make of their classes, through the engine."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import zip_longest

from core import labels
from core.analysis.described import Described, described
from core.analysis.store import Store
from core.engine import protocol
from core.engine.client import Engine
from core.image_facts import CLASSES
from core.image_records import ClassifiedImage
from core.records import Progress
from core.session import Session
from core.steering.request import GenerationRequest
from sae_tui import pictures
from sae_tui.commands.output import as_json, table, watched
from sae_tui.text import figure, safe, share
from sae_tui.widgets.scales import bar

BAR = 11
"""Cells of a bar."""
SHOWN = 12
"""Features told of an image."""


def steer(session: Session, images: Sequence[int], request: GenerationRequest, *, json: bool) -> int:
    """Print what the request's interventions make of the images, by their numbers."""
    with Engine(session) as engine:

        def loading() -> Iterator[Progress]:
            for event in engine.load():
                if isinstance(event, protocol.Loading):
                    yield event.progress

        for _ in watched(loading()):
            pass
        found = engine.classified(images, request.interventions, mode=request.mode)
    if json:
        edits = [edit.to_json() for edit in request.interventions]
        as_json({
            "session": session.name, "mode": request.mode, "interventions": edits,
            "images": [asdict(image) for image in found],
        })  # fmt: skip
        return 0
    for edit in request.interventions:
        print(safe(edit.describe()))
    for image in found:
        print()
        for line in _lines(image, pictures.depth(terminal=sys.stdout.isatty())):
            print(line)
        print()
        _print_features(image, _names(session, image))
    return 0


def _lines(image: ClassifiedImage, depth: pictures.Depth) -> Iterator[str]:
    """The image and its classes; where the hook point is the pixels, the image as steered too, the classes below."""
    yield f"image {image.image}, a {image.label}" + (f" of the {image.split} split" if image.split else ", in no split")
    drawn = [pictures.lines(pictures.unpacked(pixels), depth) for pixels in (image.pixels, image.behind) if pixels]
    if len(drawn) > 1:
        yield from (*pictures.beside(drawn), *_classes(image))
        return
    for picture, line in zip_longest(drawn[0], _classes(image), fillvalue=""):
        yield f"{picture}   {line}".rstrip()


def _classes(image: ClassifiedImage) -> Iterator[str]:
    """A bar for each class in both, and in figures how far they are apart."""
    before, after = image.baseline, image.steered
    if before is None or after is None:
        yield "no classifier: there are no classes"
        return
    yield f"   {'baseline':<{BAR + 8}}{'steered':<{BAR + 8}} Δ logit"
    for at in range(CLASSES):
        sides = "".join(
            f"{bar(one.probabilities[at], BAR)}{share(one.probabilities[at]):>6}{'◂' if at == one.predicted else ' '} "
            for one in (before, after)
        )
        yield f"{'▸' if at == image.label else ' '}{at} {sides}{after.logits[at] - before.logits[at]:>+8.2f}"
    yield ""
    yield f"KL {figure(image.kl)} nats   Δ ln p of {image.label} {image.gain:+.3g}"
    yield "▸ the label   ◂ taken for"


def _names(session: Session, image: ClassifiedImage) -> Mapping[int, Described]:
    """What is known of its features."""
    features = [one.feature for one in image.features[:SHOWN]]
    if not session.database_path.is_file():
        return described(None, labels.read(session), features)
    with Store.open([session]) as store:
        return described(store, labels.read(session), features)


def _print_features(image: ClassifiedImage, names: Mapping[int, Described]) -> None:
    places = ("places",) if image.places > 1 else ()
    rows = [
        (
            one.feature, one.before or None, one.after or None,
            *((f"{one.places} → {one.places_after}",) if places else ()), _called(names.get(one.feature)),
        )
        for one in image.features[:SHOWN]
    ]  # fmt: skip
    table(("feature", "fires", "edited", *places, "stands for"), rows, left=("stands for",))
    more = len(image.features) - len(rows)
    if more > 0:
        print(f"and {more} weaker ones")


def _called(one: Described | None) -> str:
    if one is None:
        return ""
    return one.label or one.top_token or ("" if one.density is None else "never fired")

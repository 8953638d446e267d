"""An engine of a session of images without a network: 60 images from number 100 on, each edit moves one class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.errors import UsageError
from core.image_facts import CLASSES
from core.image_records import ClassifiedImage, FiringFeature, ImageList, Scores
from core.steering.interventions import Intervention, Mode
from tests import idx
from tests.sae_tui.fake_engine import FakeEngine

FIRST, N = 100, 60
PIXELS, LABELS = idx.drawn(N, 3)
FIRING = ((5, 4.5), (3, 2.25), (7, 0.5))
"""Features and their activations on every image."""


def with_sae(folder: Path) -> None:
    """Give a session what a trained one has, as far as a screen looks."""
    (folder / "sae").mkdir()
    (folder / "sae" / "sae_weights.safetensors").write_bytes(b"")
    (folder / "sae" / "cfg.json").write_text("{}")


def taken_for(image: int) -> int:
    """Every seventh image is taken for the class after its own."""
    at = image - FIRST
    return int(LABELS[at] + (at % 7 == 0)) % CLASSES


def scores(image: int, edits: Sequence[Intervention] = ()) -> Scores:
    """An ablation takes 6 from the label's logit, any other edit adds its value to that of the feature's number."""
    logits = np.zeros(CLASSES)
    logits[taken_for(image)] = 4.0
    for edit in edits:
        if edit.enabled:
            on, by = (int(LABELS[image - FIRST]), -6.0) if edit.kind == "ablate" else (edit.feature % 10, edit.value)
            logits[on] += by
    return Scores(logits=tuple(logits), probabilities=tuple(np.exp(logits) / np.exp(logits).sum()))


class FakeImageEngine(FakeEngine):
    """Answers as an engine of images does; `places` and `classifies` say of which network."""

    def __init__(self, pace_s: float = 0.0, *, places: int = 1, classifies: bool = True) -> None:
        super().__init__(pace_s)
        self.places, self.classifies = places, classifies

    def listing(self) -> ImageList | None:
        self.asked.append("listing")
        numbers = tuple(range(FIRST, FIRST + N))
        predicted = tuple(taken_for(n) for n in numbers) if self.classifies else ()
        return ImageList(numbers=numbers, labels=tuple(LABELS.tolist()), predicted=predicted)

    def classified(
        self, images: Sequence[int], interventions: Sequence[Intervention] = (), *, mode: Mode = "error-kept",
        top: int = 256,
    ) -> tuple[ClassifiedImage, ...]:  # fmt: skip
        self.asked.append((tuple(images), tuple(interventions), mode))
        self._stopped.wait(self.pace_s)
        if self.error:
            raise self.error
        return tuple(self._one(image, interventions) for image in images)

    def _one(self, image: int, edits: Sequence[Intervention]) -> ClassifiedImage:
        if not FIRST <= image < FIRST + N:
            raise UsageError(f"there is no image {image}", hint="digits has images 100 to 159")
        on = {edit.feature: 0.0 if edit.kind == "ablate" else 9.0 for edit in edits if edit.enabled}
        fires = dict.fromkeys([f for f, _ in FIRING]) | dict.fromkeys(on)
        features = tuple(
            FiringFeature(
                feature=f, before=dict(FIRING).get(f, 0.0), after=on.get(f, dict(FIRING).get(f, 0.0)),
                places=min(self.places, 3) * (f in dict(FIRING)), places_after=min(self.places, 2) * (on.get(f) != 0.0),
            )
            for f in fires
        )  # fmt: skip
        pixels = PIXELS[image - FIRST]
        both = (scores(image), scores(image, edits)) if self.classifies else (None, None)
        return ClassifiedImage(
            image=image, label=int(LABELS[image - FIRST]), split="test", pixels=pixels.tobytes().hex(),
            behind="" if self.classifies else (255 - pixels).tobytes().hex(), baseline=both[0], steered=both[1],
            kl=0.25 * len(on) if self.classifies else None, gain=-0.5 * len(on) if self.classifies else None,
            places=self.places, features=features,
        )  # fmt: skip

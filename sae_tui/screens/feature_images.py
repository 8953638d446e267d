"""One feature of an image model: its images, what it reads from the pixels, what it does to the classes."""

from core.analysis.gallery import Seen
from sae_tui.screens.feature_actions import FeatureActions
from sae_tui.widgets.class_bars import ClassBars
from sae_tui.widgets.gallery import Gallery
from sae_tui.widgets.image_panes import ImagePanes

UNSUITED = {
    "text": "the model of this session reads images: there is no text to try",
    "ids": "images have no tokens, and no ids of them",
}
"""What the keys of actions that are for texts answer."""


class ImageFeaturePage(FeatureActions):
    """With a gallery, a heat map and bars by class."""

    PANES = ImagePanes
    AUTO_FOCUS = "Gallery"
    SHOWN = "images"

    @property
    def unsuited(self) -> frozenset[str]:
        """What is for texts."""
        return frozenset(f"{self.SECTION}.{name}" for name in UNSUITED)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There are no documents to go through."""
        return action not in ("firing", "firing_before")

    def copied(self) -> tuple[str, str] | None:
        """The number of the image at the cursor, or what there is of any feature."""
        seen = self._images.seen if self._panes.at_hand == "images" else None
        return (f"the number of image {seen.image}", str(seen.image)) if seen else super().copied()

    @property
    def _images(self) -> Gallery:
        return self.query_one(Gallery)

    def action_text(self) -> None:
        """Say why not."""
        self.app.say(UNSUITED["text"])

    def action_ids(self) -> None:
        """Say why not."""
        self.app.say(UNSUITED["ids"])

    def on_gallery_opened(self, event: Gallery.Opened) -> None:
        """Choose among the features that fire on the image, and go there."""
        if event.seen is not None:
            what = f"image {event.seen.image}, a {event.seen.label}"
            self._choose_firing(event.seen.token_idx, what, unlabelled="class ")

    def on_class_bars_opened(self, event: ClassBars.Opened) -> None:
        """To the next image of the class."""

        def fits(seen: Seen) -> bool:
            return seen.label == event.label

        self._find(fits, f"a {event.label}")

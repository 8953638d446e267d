"""What goes on between Steer and the engine of a session of images: one question at a time, the newest next."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core.engine.operator import AnyEngine, Ended, Told
from core.image_records import ClassifiedImage, ImageList
from core.steering.interventions import Intervention, Mode
from sae_tui.screens.loaded import Loaded

KEPT = 64
"""Answers that are kept: an undo, or a step back, asks nothing."""
LIST = "list"
"""Key of the request for the images there are."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Key of a request for what interventions make of an image."""

    image: int
    interventions: tuple[Intervention, ...]
    mode: Mode


class ImageDesk(Loaded):
    """One session's engine as the screen uses it."""

    def __init__(self, engine: AnyEngine, tell: Callable[[Any, Told], object]) -> None:
        """As of Loaded."""
        super().__init__(engine, tell)
        self.listing: ImageList | None = None
        """The images one may walk through, once they are known."""
        self.shown: ClassifiedImage | None = None
        """The newest answer."""
        self._answers: dict[Asked, ClassifiedImage] = {}
        self._newest: Asked | None = None
        self._asked: Asked | None = None
        self._lists = False

    def begin(self) -> None:
        """Load what there is to load, and ask which images there are."""
        self.fault = ""
        self.load()
        if self.listing is None and not self._lists:
            self._lists = True
            self._operator.listing(LIST)

    def ask(self, asked: Asked) -> None:
        """Ask; what waits while another is answered gives way to it."""
        self._newest = asked
        if asked in self._answers:
            self.shown = self._answers[asked]
        elif self._asked is None:
            self._put(asked)

    def forget(self) -> None:
        """Ask anew from here on: what features are is another matter after another analysis."""
        self._answers.clear()

    def hear(self, key: Any, told: Told) -> None:
        """Take in what was told."""
        super().hear(key, told)
        if isinstance(told, ImageList):
            self.listing = told
        elif isinstance(told, ClassifiedImage):
            self._answers = {**dict(list(self._answers.items())[1 - KEPT :]), key: told}
            if key == self._newest or self._newest not in self._answers:
                self.shown = told

    def heard_end(self, key: Any, ended: Ended) -> None:
        """A request is over: the newest that waits is next, but for where all was stopped."""
        super().heard_end(key, ended)
        if key == LIST:
            self._lists = False
        if key != self._asked:
            return
        self._asked, newest = None, self._newest
        if newest is not None and newest != key and not ended.stopped and newest not in self._answers:
            self._put(newest)

    def _put(self, asked: Asked) -> None:
        self.begin()
        self._asked = asked
        self._operator.classified(asked, asked.image, asked.interventions, asked.mode)

"""The screens of the five modes, each imported on the first visit."""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from core.session import Session
from sae_tui.widgets.bars import MODES

if TYPE_CHECKING:
    from sae_tui.screens.page import Page

IMAGES = "steer_image"
"""The screen of the mode `steer` for a session of images."""
CLASSES = {
    "runs": "RunsPage", "train": "TrainPage", "features": "FeaturesPage", "steer": "SteerPage",
    IMAGES: "SteerImagePage", "sql": "SqlPage",
}  # fmt: skip
"""By the name of a screen, which is that of its module, its class."""


def screen_of(mode: str, session: Session | None) -> str:
    """The screen of a mode for a session: the mode's own name, but for Steer on images."""
    return IMAGES if mode == "steer" and session is not None and session.reads_images else mode


def mode_of(screen: str) -> str | None:
    """The mode that a screen is of; None where it is of none."""
    return "steer" if screen == IMAGES else screen if screen in MODES else None


def screens() -> "dict[str, Callable[[], Page]]":
    """What makes each screen, by name."""
    return {name: _maker(name) for name in CLASSES}


def warm(session: Session | None) -> None:
    """Import what the modes will need for a session, and the screen of a feature, which is but one key further."""
    feature = "feature_images" if session is not None and session.reads_images else "feature"
    for name in (*(screen_of(mode, session) for mode in MODES), feature):
        importlib.import_module(f"sae_tui.screens.{name}")


def _maker(name: str) -> "Callable[[], Page]":
    return lambda: getattr(importlib.import_module(f"sae_tui.screens.{name}"), CLASSES[name])()

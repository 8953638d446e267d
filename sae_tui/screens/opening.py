"""Opening the screens that ask verbs of the command line; what they import is imported on the first visit."""

from collections.abc import Iterable

from core.errors import QueryError
from core.overview import Seen
from core.session import Session
from sae_tui.screens.page import Page


def match(page: Page, sessions: Iterable[Seen]) -> None:
    """The features of the sessions that were analysed, in the order of their names. Needs two."""
    names = sorted(seen.name for seen in sessions if seen.has_features)
    if len(names) < 2:
        hint = "mark two that were analysed, with space"
        page.app.complain(QueryError("features are matched between two sessions that were analysed", hint=hint))
        return

    def load() -> Page:
        from sae_tui.screens.alike import AlikePage

        return AlikePage(names)

    page.background(load, page.app.push_screen, group="open")


def study(page: Page, session: Session) -> None:
    """The studies of a session."""

    def load() -> Page:
        from sae_tui.screens.study import StudyPage

        return StudyPage(session)

    page.background(load, page.app.push_screen, group="open")


def probe(page: Page, session: Session) -> None:
    """The probes of a session; of one of images why there are none."""

    def load() -> Page:
        if session.reads_images:
            hint = "open it with 3: its features have the classes of their images"
            raise QueryError(f"the model of {session.name} reads images, and texts are what is probed", hint=hint)
        from sae_tui.screens.probe import ProbePage

        return ProbePage(session)

    page.background(load, page.app.push_screen, group="open")

"""Opening the screens that ask verbs of the command line; what they import is imported on the first visit."""

from collections.abc import Callable, Iterable

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


def swept(session: Session) -> str:
    """How far the sweep is that a session is of, safe; empty where it is of none. Reads files."""
    if not session.sweep_path.is_file():
        return ""
    from core.sweep import place
    from sae_tui.text import sweep_line

    return sweep_line(place(session))


def study(page: Page, session: Session) -> None:
    """The studies of a session: the runs that answer one with it beside each other, else those of its features."""
    seen = page.app.seen

    def load() -> Page | None:
        from core.studied import together
        from sae_tui.screens.compare import ComparePage
        from sae_tui.widgets.configurations import Configurations

        configurations = Configurations()
        configs = {one.name: configurations.of(one.session) for one in seen}
        names, questions = together(session.name, configs) if configs.get(session.name) else ([], [])
        if not questions:
            return None
        return ComparePage(lambda one: one.name in names, configurations, session.name, questions)

    def came(found: Page | None) -> None:
        page.app.push_screen(found) if found else study_features(page, session)

    page.background(load, came, group="open")


def study_features(page: Page, session: Session) -> None:
    """The studies of a session's features, which were analysed."""
    if not session.database_path.is_file():
        hint = f"`sae-tui analyze {session.name}` makes it one of features, `sae-tui study` makes runs to compare"
        page.app.complain(QueryError(f"{session.name} is part of no study yet", hint=hint))
        return

    def load() -> Page:
        from sae_tui.screens.study import StudyPage

        return StudyPage(session)

    _open(page, load, session)


def probe(page: Page, session: Session) -> None:
    """The probes of a session; of one of images why there are none."""

    def load() -> Page:
        if session.reads_images:
            hint = "open it with 3: its features have the classes of their images"
            raise QueryError(f"the model of {session.name} reads images, and texts are what is probed", hint=hint)
        from sae_tui.screens.probe import ProbePage

        return ProbePage(session)

    _open(page, load, session)


def _open(page: Page, load: Callable[[], Page], session: Session) -> None:
    """Show a screen of a session, which is the one at hand then."""

    def came(found: Page) -> None:
        page.app.session = session
        page.app.push_screen(found)

    page.background(load, came, group="open")

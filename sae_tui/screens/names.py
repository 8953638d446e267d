"""What features, and recipes, are called: looked up in the background, for screens that show them by the line."""

from collections.abc import Callable, Iterable, Sequence

from textual.content import Content

from core import labels
from core.analysis.described import Described, described, found
from core.analysis.store import Store
from core.session import Session
from core.steering.recipe import recipe_names
from sae_tui.screens.page import Page
from sae_tui.text import safe, token


class Names:
    """Of one session's features. `changed()` is called when more are known."""

    def __init__(self, page: Page, session: Session, changed: Callable[[], object]) -> None:
        self._page, self._session, self._changed = page, session, changed
        self._asked: frozenset[int] = frozenset()
        self.known: dict[int, Described] = {}
        self.missing: frozenset[int] = frozenset()
        """Those that were looked for and are not there."""

    @property
    def analysed(self) -> bool:
        """Whether there is a database to look them up in."""
        return self._session.database_path.is_file()

    def need(self, features: Iterable[int]) -> None:
        """Look these up, where they are not known yet."""
        wanted = frozenset(features) - self.known.keys() - self.missing
        if not wanted or wanted <= self._asked:
            return
        asked = self._asked = self._asked | wanted

        def came(rows: dict[int, Described]) -> None:
            self.known.update(rows)
            self.missing = self.missing | (asked - rows.keys())
            self._asked = self._asked - asked
            self._changed()

        def failed(error: Exception) -> None:
            self._asked = frozenset()
            self._page.app.complain(error)

        self._page.background(lambda: described(*self._read(), asked), came, group="names", failed=failed)

    def find(self, text: str, limit: int, then: Callable[[Sequence[Described]], object]) -> None:
        """Features by number, label or token."""
        self._page.background(lambda: found(*self._read(), text, limit), then, group="find")

    def recipes(self, then: Callable[[Sequence[str]], object]) -> None:
        """The session's recipes."""
        self._page.background(lambda: recipe_names(self._session), then, group="recipes")

    def _read(self) -> tuple[Store | None, dict[int, labels.Label]]:
        store = self._page.app.stores.get(self._session) if self.analysed else None
        return store, labels.read(self._session)


def called(feature: Described | None) -> Content:
    """What a feature stands for: its label, or else its top token."""
    if feature is None:
        return Content("")
    if feature.label:
        return Content(safe(feature.label))
    if feature.top_token is None:
        dead = feature.max is None and feature.density is not None  # else it was not analysed
        return Content.styled("never fired" if dead else "", "$text-muted")
    return Content.styled(token(feature.top_token), "italic")

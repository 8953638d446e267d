"""Textual's stylesheet, but it parses a source once: parsing was a third of what a screen costs the first time."""

from textual.cache import LRUCache
from textual.css.stylesheet import Stylesheet


class ParsedOnce(Stylesheet):
    """A stylesheet whose parsed sources stay parsed while the variables are the same.

    Textual parses all of them anew for each screen that brings its own and once more when that screen is first shown,
    and its cache of 64 sources is too small for the default styles of as many widgets: walked in order, it keeps none.
    """

    def __init__(self, *, variables: dict[str, str] | None = None) -> None:
        super().__init__(variables=variables)
        self._parse_cache = LRUCache(1024)

    def set_variables(self, variables: dict[str, str]) -> None:
        """Set CSS variables; what was parsed with the same ones stays."""
        if variables != self._variables:
            super().set_variables(variables)

    def reparse(self) -> None:
        """Apply new variables and sources. Raises what `parse` raises."""
        if self._invalid_css:
            super().reparse()
        else:
            self.parse()

"""What is wrong in Textual and touches a workbench that stays open for days, mended from outside."""

from functools import lru_cache, partial

from textual._styles_cache import StylesCache


def forget_closed_widgets() -> None:
    """Let what was drawn of a widget go with it (Textual's issue 6665).

    Textual remembers two styles by colours and by the widget's cache of drawn lines, and so keeps that cache, of the
    last thousand widgets: 150 MB after 25 features were opened, and 0.3 s for each collection of garbage. Remembered by
    the colours alone the answer is the same. Nothing is done where that is no longer so.
    """
    found = vars(StylesCache).get("get_inner_outer")
    if isinstance(found, type(lru_cache(len))):
        by_colours = partial(found.__wrapped__, StylesCache)
        StylesCache.get_inner_outer = staticmethod(lru_cache(1024)(by_colours))  # pyright: ignore[reportAttributeAccessIssue]

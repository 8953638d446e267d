"""A title on a frame that costs nothing while it stays."""

from textual.content import Content
from textual.widget import Widget


def entitle(pane: Widget, title: Content) -> None:
    """Put a title, which is safe, on a frame, if it is another: setting `border_title` repaints all of the pane."""
    if pane.border_title != title.markup:
        pane.border_title = title

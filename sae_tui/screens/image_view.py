"""What Steer on an image is made of, and how it shows what is known."""

from collections.abc import Iterator, Sequence

from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import DescendantFocus
from textual.widget import Widget
from textual.widgets import Static

from core.image_records import ClassifiedImage
from sae_tui.pictures import Grid, unpacked
from sae_tui.screens.console import Console
from sae_tui.screens.edits import Edits
from sae_tui.screens.image_desk import ImageDesk
from sae_tui.screens.image_firing import ImageFiring
from sae_tui.screens.image_words import fires_on_image, image_facts, image_title, state_line
from sae_tui.screens.planning import Planning
from sae_tui.widgets.bars import Line
from sae_tui.widgets.command_line import Candidates
from sae_tui.widgets.scored import Scored
from sae_tui.widgets.shown_image import ShownImage
from sae_tui.widgets.titles import entitle

LARGE = (140, 40)
"""Columns and rows of a screen from which on images are drawn large."""
VIEWS = ("as it is", "as steered")
TITLE = "classes · ▸ the label · ◂ taken for"


class ImageView(Planning):
    """The panes. Drawing costs nothing where all is as it was."""

    SECTION, MODE, IMAGES = "image", "steer", True
    CSS_PATH = "steer_image.tcss"
    AUTO_FOCUS = "#firing"

    def __init__(self) -> None:
        super().__init__()
        self.desk: ImageDesk | None = None
        """The session's engine, once it was needed."""
        self.view = VIEWS[0]
        """Of an image that interventions change itself, which is drawn where there is room for one."""
        self._facts = Content("")
        self._changes = False
        """Interventions change the image itself."""

    def body(self) -> Iterator[Widget]:
        """What stands between the two bars."""
        ascii_only = self.app.settings.graph == "ascii"
        yield Line(id="state")
        with Horizontal(id="middle"):
            with Vertical(id="left"):
                with Vertical(id="image-pane", classes="pane"):
                    yield ShownImage(ascii_only=ascii_only, id="image")
                yield Static(id="facts", markup=False)
            with Vertical(id="right"):
                with Vertical(id="scored-pane", classes="pane"):
                    yield Scored(ascii_only=ascii_only, id="scored")
                with Horizontal(id="lists"):
                    yield Edits(ascii_only=ascii_only, id="edits-pane", classes="pane")
                    firing = ImageFiring(ascii_only=ascii_only, id="firing-pane", classes="pane")
                    firing.border_subtitle = Content("0 ablates · + doubles · a adds")
                    yield firing
        candidates = Candidates()
        yield candidates
        yield Console(candidates, lambda: self.names, images=True)

    @property
    def firing(self) -> ImageFiring:
        """What fires on the image."""
        return self.query_one(ImageFiring)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is another view where the hook point is the pixels."""
        return self._changes if action == "view" else True

    def action_view(self) -> None:
        """The other one."""
        self.view = VIEWS[1 - VIEWS.index(self.view)]
        self.draw()

    def action_pane(self) -> None:
        """The other list; in a narrow terminal it takes the place of this one."""
        firing, edits = self.firing.table, self.edits.table
        if not firing.has_focus:
            self.to_firing()
        elif self.edits.plan.interventions:
            self.set_class(False, "-firing")
            edits.focus()
        else:
            self.say("no intervention yet: 0, + and a make one of the feature at the cursor", error=True)

    def action_pane_before(self) -> None:
        """There are but two."""
        self.action_pane()

    def to_firing(self) -> None:
        """To the features that fire."""
        self.set_class(True, "-firing")
        self.firing.table.focus()

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """In a narrow terminal one list takes the place of the other."""
        if event.widget in (self.firing.table, self.edits.table):
            self.set_class(event.widget is self.firing.table, "-firing")

    def draw(self) -> None:
        """Everything; what is as it was costs nothing."""
        if not self.is_mounted:
            return
        large = self.size.width >= LARGE[0] and self.size.height >= LARGE[1]
        self.set_class(large, "-large")
        shown, listing = (self.desk.shown, self.desk.listing) if self.desk else (None, None)
        if self._changes != bool(shown and shown.behind):
            self._changes = not self._changes
            self.refresh_bindings()
        self.edits.show(self.names, fires_on_image(shown))
        self.firing.tell(shown, self.names)
        self.query_one(Scored).tell(shown)
        self.query_one(ShownImage).tell(*self._grids(shown, large))
        title = Content(TITLE)
        entitle(self.query_one("#scored-pane"), title)
        entitle(self.query_one("#image-pane"), image_title(shown, "beside it as steered" if large else self.view))
        facts = image_facts(shown, listing)
        if not facts.is_same(self._facts):
            self._facts = facts
            self.query_one("#facts", Static).update(facts)
        self.draw_state()

    def _grids(self, shown: ClassifiedImage | None, large: bool) -> Sequence[Grid]:
        if shown is None:
            return []
        grids = [unpacked(pixels) for pixels in (shown.pixels, shown.behind) if pixels]
        return grids if large or len(grids) == 1 else [grids[VIEWS.index(self.view)]]

    def draw_state(self) -> None:
        """The line at the top."""
        self.show_state(state_line(self.site, self.edits.plan, self.desk, self.jobs, self.size.width - 2))

"""The two texts of a generation side by side or one of them; below how far they are apart, on each token and in all."""

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import DescendantFocus

from sae_tui.screens.generation import SIDES, Generation, Side
from sae_tui.screens.lighting import Light, Lighting
from sae_tui.screens.steer_words import branch_words, figures_line
from sae_tui.widgets.bars import Line
from sae_tui.widgets.kl_strip import KlStrip
from sae_tui.widgets.titles import entitle
from sae_tui.widgets.token_text import Piece, TokenText

VIEWS = ("both", *SIDES)
FIGURES_EVERY = 5
"""Frames of text between two paintings of the figures."""
WAITING: dict[Side, str] = {
    "baseline": "What the model says by itself comes here.",
    "steered": "What it says under the interventions comes here.",
}


class Texts(Vertical):
    """Baseline and steered. `side` is the one that had the focus last."""

    DEFAULT_CSS = """
    Texts {
        Horizontal, TokenText { height: 1fr; }
        TokenText { width: 1fr; }
        &.-only-baseline #steered, &.-only-steered #baseline { display: none; }
        #figures { padding: 0 1; }
    }
    """

    def __init__(self, *, ascii_only: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self._ascii = ascii_only
        self.side: Side = "steered"
        self.view = "both"
        """`both`, or one of the sides."""
        self._frames = 0
        self._generation: Generation | None = None
        self._lighting = Lighting()

    def compose(self) -> ComposeResult:
        """Two panes above two lines."""
        with Horizontal():
            for side in SIDES:
                pane = TokenText([Piece(WAITING[side], quiet=True)], id=side, classes="pane")
                pane.border_title = Content(side)
                yield pane
        yield KlStrip(ascii_only=self._ascii, id="kl")
        yield Line(id="figures")

    def pane(self, side: Side | None = None) -> TokenText:
        """One text; by default that which had the focus last."""
        return self.query_one(f"#{side or self.side}", TokenText)

    def look(self, view: str, *, both: bool) -> None:
        """Show `both` texts or one of them; where there is not room for `both`, one."""
        self.view = view if view in VIEWS else "both"
        only = self.side if self.view == "both" and not both else self.view
        for side in SIDES:
            self.set_class(only == side, f"-only-{side}")
        if only in SIDES and only != self.side:
            self.side = only

    def show(self, generation: Generation | None, light: Light | None, lit: str) -> None:
        """Show all of it; `lit` says what the tokens are lit by."""
        if generation is not self._generation:
            self._generation = generation
            for side in SIDES:
                self.pane(side).cursor = None
        branch = branch_words(generation)
        for side in SIDES:
            pane = self.pane(side)
            self._show_text(generation, side, light)
            title = f"{side} · lit: {lit}" if light and (light.by != "kl" or side == "steered") else side
            entitle(pane, Content(title))
            told = branch if side == "steered" or not self.both else Content("")
            if (pane.border_subtitle or "") != told.markup:  # setting it repaints all of the pane
                pane.border_subtitle = told
        self.show_strip()
        self._show_figures()

    @property
    def both(self) -> bool:
        """Whether both are to be seen."""
        return not any(self.has_class(f"-only-{side}") for side in SIDES)

    def show_strip(self) -> None:
        """How far the texts are apart on each token, that at the cursor marked."""
        generation, cursor = self._generation, self.pane().cursor
        parted = generation.parted() if generation else None
        here = None if generation is None or cursor is None else cursor - generation.begin
        self.query_one(KlStrip).show(
            [report.kl for report in generation.reports] if generation else [],
            None if parted is None else parted - 1,
            here if here is not None and here >= 0 else None,
        )

    def frame(self, light: Light | None) -> bool:
        """Show what has come since the last frame; whether the figures were shown anew too."""
        for side in SIDES:
            self._show_text(self._generation, side, light)
        self.show_strip()
        self._frames += 1
        if self._frames % FIGURES_EVERY:
            return False
        self._show_figures()
        return True

    def _show_text(self, generation: Generation | None, side: Side, light: Light | None) -> None:
        pieces = self._lighting.pieces(generation, side, light) if generation else [Piece(WAITING[side], quiet=True)]
        pane = self.pane(side)
        pane.show(pieces, follow=generation is not None and generation.ended is None and pane.cursor is None)

    def _show_figures(self) -> None:
        line = self.query_one("#figures", Line)
        line.show(figures_line(self._generation, line.size.width))

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """Which text is at hand."""
        if isinstance(event.widget, TokenText) and event.widget.id in SIDES:
            self.side = event.widget.id

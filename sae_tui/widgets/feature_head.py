"""The lines above a feature's panes: its number, what a person says of it, its figures."""

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from core.analysis import naming
from core.analysis.card import Card, Row
from sae_tui.text import facts, safe, shortened
from sae_tui.widgets.bars import Line


class FeatureHead(Vertical):
    """Two lines, and a third where there is a note, or something goes on."""

    DEFAULT_CSS = """
    FeatureHead {
        height: auto;
        padding: 0 1;
        #note { display: none; color: $text-muted; }
        &.-noted #note { display: block; }
    }
    """

    def __init__(self, feature: int) -> None:
        super().__init__()
        self._feature = feature
        self._card: Card | None = None
        self._beside: tuple[str, ...] = ()
        self._at_work = ""

    def compose(self) -> ComposeResult:
        """The lines."""
        yield Line(_named(self._feature), id="name")
        yield Line(id="facts")
        yield Line(id="note")

    def clear(self, feature: int) -> None:
        """Show nothing but its number."""
        self._card = None
        self.query_one("#name", Line).show(_named(feature))
        for name in ("facts", "note"):
            self.query_one(f"#{name}", Line).show(Content())

    def show(self, card: Card, beside: tuple[str, ...]) -> None:
        """Show what is known; `beside`, safe, at the right: of these words, the first ones that there is room for."""
        self._card, self._beside = card, beside
        self._draw()

    def tell(self, at_work: str) -> None:
        """Say what goes on, safe, in the place of the note; nothing does where it is empty."""
        self._at_work = at_work
        self._draw()

    def on_resize(self) -> None:
        """Another width has room for other words."""
        self._draw()

    def _draw(self) -> None:
        if self._card is None:
            return
        row, width = self._card.row, self.size.width
        called = f' "{safe(row["label"])}"' if row["label"] else ""
        left = Content.assemble(
            _named(row["feature"]),
            (" ★" if row["starred"] else "", "$accent"),
            (called, "bold"),
            (f"  {_origin(row)}" if called else "", "$text-muted"),
            ("" if called else "  no label yet, e gives it one", "$text-disabled"),
            ("".join(f"  #{safe(tag)}" for tag in row["tags"] or ()), "$text-muted"),
        ).truncate(max(0, width), ellipsis=True)
        right = ""
        for words in self._beside:
            longer = f"{right} · {words}" if right else words
            right = longer if cell_len(longer) <= width - left.cell_length - 2 else right
        gap = " " * max(0, width - left.cell_length - cell_len(right))
        self.query_one("#name", Line).show(Content.assemble(left, gap, (right, "$text-muted")))
        self.query_one("#facts", Line).show(self._facts(self._card))
        note = self._at_work or safe(row["note"] or "")
        self.query_one("#note", Line).show(Content(shortened(note, width)))
        self.set_class(bool(note), "-noted")

    def _facts(self, card: Card) -> Content:
        """Its figures: of how many tokens or images where there is room for that, and as many as there is room for."""
        dead, width = card.row["dead"], self.size.width
        found = facts(card.row, card.counted, card.unit)
        if not dead and sum(len(name) + len(value) + 4 for name, value in found[:5]) > width:
            short = facts(card.row, unit=card.unit)
            found = [
                (name.removeprefix("token ").removeprefix("label "), value.removesuffix(" nats"))
                for name, value in short
            ]
        line = Content(f"it fired on none of {card.counted:,} {card.unit}" if dead else "")
        for name, value in found:
            longer = Content.assemble(line, "   " if line else "", (name, "$text-muted"), " ", value)
            if longer.cell_length > width:
                break
            line = longer
        return line


def _named(feature: int) -> Content:
    return Content.styled(f"Feature {feature}", "bold $primary")


def _origin(row: Row) -> str:
    """Who gave the label in a row of `browse`, and how well it tells the feature. Safe."""
    source, score = row["label_source"], row["label_score"]
    known = {"person": "by a person", naming.SOURCE: "proposed from its tokens"}
    told = known.get(source) or f"by {safe(source or 'nobody named')}"
    return told if score is None else f"{told}, detection score {score:.2f}"

"""What is known of a feature besides where it fires: its weights, how far its figures can be trusted, its training."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from core.analysis.card import Card
from sae_tui.text import figure, safe, shortened, token
from sae_tui.widgets.feature_tables import effects, paired
from sae_tui.widgets.paged_table import PagedTable, Source
from sae_tui.widgets.plots import Plot, Series
from sae_tui.widgets.preview import bars
from sae_tui.widgets.rows import Rows

NAME = 12
"""Cells of a fact's name."""
GAP = 3
LOW = 12
"""Rows of a pane below which a spread is one row."""
Fact = tuple[str, str]


class Weights(Rows, can_focus=True):
    """A feature's weights in words: it can have the focus, so that it can be zoomed."""

    def __init__(self, *, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes)
        self._card: Card | None = None
        self._link: str | None = None

    def tell(self, card: Card, link: str | None) -> None:
        """Show those of a feature; `link` is its page on Neuronpedia, where there is one."""
        self._card, self._link = card, link
        self.show(list(_lines(_told(card, link), self.size.width)))

    def on_resize(self) -> None:
        """Another width holds other words."""
        if self._card is not None:
            self.tell(self._card, self._link)


def _told(card: Card, link: str | None) -> Iterator[tuple[str, Iterable[Fact]]]:
    """Parts of what is known: the name of each, and names and values."""
    row = card.row
    norms = {"encoder_norm": "‖enc‖", "decoder_norm": "‖dec‖", "encoder_cosine": "cosine"}
    known = {**norms, "bias": "bias", "threshold": "threshold"}
    yield "weights", [(words, figure(row[name])) for name, words in known.items() if row[name] is not None]
    if not row["dead"]:
        yield (
            "halves",
            [
                ("density", f"{figure(100 * (row['density_a'] or 0))}% and {figure(100 * (row['density_b'] or 0))}%"),
                (f"same {card.unit}", f"{row['token_stability']:.2f}"),
            ],
        )
    double = card.double
    yield "duplicate", [("of", f"{double['other']} (cosine {double['cosine']:.2f})")] if double else [("", "of none")]
    if link:
        yield "Neuronpedia", [("", link)]
    if card.cluster is not None:
        tokens = " ".join(token(text) for text in card.cluster["tokens"])
        found = [("", f"{card.cluster['cluster']}, of {card.cluster['n']:,} features"), ("", shortened(tokens, 40))]
        yield "cluster", [fact for fact in found if any(fact)]
    if card.alignment:
        yield (
            "dimensions",
            [(str(one["neuron"]), f"{one['weight']:+.3f} ({100 * one['share']:.1f}%)") for one in card.alignment],
        )
    if card.correlations:
        yield (
            "goes with",
            [(str(one["neuron"]), f"r {one['pearson']:+.2f}") for one in card.correlations],
        )


def _lines(parts: Iterable[tuple[str, Iterable[Fact]]], width: int) -> Iterator[Content]:
    """Each part on as many lines as it takes, its name before the first."""
    for title, facts in parts:
        line, room = Content.styled(title.ljust(NAME), "$text-muted"), width - NAME
        for name, value in facts:
            fact = Content.assemble((name, "$text-muted"), " " if name else "", value)
            if fact.cell_length > room < width - NAME:
                yield line
                line, room = Content(" " * NAME), width - NAME
            line = Content.assemble(line, fact, " " * GAP)
            room -= fact.cell_length + GAP
        yield line


def emergence(card: Card) -> Plot:
    """Its density at each snapshot of the training, and how far its decoder row moved since the one before."""
    found, row = card.emergence, card.row
    if not found:
        notes = ("training.snapshot_every_steps takes some",)
        return Plot(name="emergence", series=(), low=0, high=0, notes=notes, empty="its training took no snapshots")
    steps = [float(one["step"]) for one in found]
    if row["birth"] is None:
        life = "never active in a snapshot"
    else:
        life = f"born by step {row['birth']:,}" + ("" if row["death"] is None else f", died by step {row['death']:,}")
        life += "" if row["stability"] is None else f", stability {row['stability']:.2f}"
    return Plot(
        name="emergence",
        series=tuple(
            Series(name, steps, [float("nan") if one[key] is None else one[key] for one in found])
            for name, key in (("density", "density"), ("drift", "drift"))
        ),
        low=steps[0],
        high=max(steps[-1], steps[0] + 1),
        log=True,
        notes=(life,),
        empty=life,
    )


def spread(rows: Sequence[Mapping[str, Any]], width: int, height: int, *, ascii_only: bool) -> list[Content]:
    """How a feature's logits are spread over the vocabulary, on `height` rows; nothing where there is no room."""
    ends = (figure(rows[0]["lo"]), figure(rows[-1]["hi"])) if rows else ("", "")
    room = width - len(ends[0]) - len(ends[1]) - 2
    if not rows or room < 8:
        return []
    merged = -(-len(rows) // room)
    counts = [sum(row["n"] for row in rows[i : i + merged]) for i in range(0, len(rows), merged)]
    wide = max(1, room // len(counts))
    drawn = bars(counts, wide, max(1, height - 1), ascii_only=ascii_only)
    margin = " " * (len(ends[0]) + 1)
    if height == 1:
        return [
            Content.assemble((ends[0] + " ", "$text-muted"), (drawn[0], "$primary"), (" " + ends[1], "$text-muted"))
        ]
    axis = " the vocabulary by logit, log ".center(wide * len(counts), "-" if ascii_only else "─")
    foot = Content.styled(f"{ends[0]} {axis} {ends[1]}", "$text-muted")
    return [*(Content.styled(margin + line, "$primary") for line in drawn), foot]


class Effects(Vertical):
    """What a feature does to the logits: their spread over the vocabulary, above the tokens at both ends."""

    DEFAULT_CSS = """
    Effects {
        Rows { height: 1; }
        PagedTable { height: 1fr; }
        &.-none Rows { display: none; }
    }
    """

    def __init__(self, *, ascii_only: bool, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes)
        self._ascii = ascii_only
        self._rows: Sequence[Mapping[str, Any]] = ()

    def compose(self) -> ComposeResult:
        """The spread above the table."""
        yield Rows(id="spread")
        yield PagedTable(effects(ascii_only=self._ascii), id="effects")

    def tell(self, card: Card) -> None:
        """Show those of a feature."""
        self._rows = card.logit_histogram
        self.set_class(not self._rows, "-none")
        self._draw()
        self.query_one(PagedTable).browse(Source.of(paired(card.logits)))

    def on_resize(self) -> None:
        """More rows hold a higher spread."""
        self._draw()

    def _draw(self) -> None:
        shown, high = self.query_one(Rows), 1 if self.size.height < LOW else 5
        if shown.styles.height is None or shown.styles.height.value != high:
            shown.styles.height = high
        shown.show(spread(self._rows, self.size.width, high, ascii_only=self._ascii))


def specialist(row: Mapping[str, Any]) -> str:
    """Whether a feature belongs to a category; safe."""
    if row["specialist_score"] is None:
        return "strong nowhere"
    name = shortened(safe(row["specialist_category"]), 24)
    kind = "specialist of" if row["specialist_score"] > 0 else "strong most in"
    return f"{kind} {name}, score {row['specialist_score']:+d}"

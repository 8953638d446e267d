"""The panes of a feature of an image model: its top images, and what it reads, fires on and does to the classes."""

from collections.abc import Callable, Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.analysis.gallery import Seen
from sae_tui.text import band_name, figure, safe
from sae_tui.widgets.bars import Ends
from sae_tui.widgets.class_bars import ClassEffects, Labels
from sae_tui.widgets.feature_facts import Weights
from sae_tui.widgets.feature_tables import beside, neighbours, together
from sae_tui.widgets.gallery import Gallery
from sae_tui.widgets.paged_table import PagedTable, Source
from sae_tui.widgets.pane_set import Known, PaneSet
from sae_tui.widgets.pattern import Pattern
from sae_tui.widgets.titles import entitle

TABLES = {"neighbours": neighbours, "coactivations": together}
NO_CLASSIFIER = "there is no classifier: it changes no logits"
WIDE, HIGH = 140, 38
"""In a smaller terminal the last two places are one."""
LEAST_WIDE, LEAST_HIGH = 112, 30
"""In one that is smaller still there is one place."""


class Images(Vertical):
    """The gallery over a line about the image at the cursor; or a few words where there are no images."""

    ALLOW_MAXIMIZE = True
    DEFAULT_CSS = """
    Images {
        Gallery, Static { height: 1fr; }
        #place { color: $text-muted; }
        Static { display: none; padding: 1 2; color: $text-muted; }
        &.-words Gallery, &.-words #place { display: none; }
        &.-words Static { display: block; }
    }
    """

    def __init__(self, *, ascii_only: bool, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes)
        self._ascii = ascii_only
        self._images: Sequence[Seen] = ()
        self._most, self._bands = 1.0, 0
        self._band: int | None = None
        """The band that is wanted; None: all."""

    def compose(self) -> ComposeResult:
        """One of them is displayed."""
        yield Gallery(ascii_only=self._ascii)
        yield Static()
        yield Ends(id="place")

    @property
    def gallery(self) -> Gallery:
        """The pictures."""
        return self.query_one(Gallery)

    def show(self, images: Sequence[Seen], *, most: float, bands: int) -> None:
        """Show these, sorted by band; see `Gallery.show`. The band that is shown stays, where there is one."""
        self._images, self._most, self._bands = images, most, bands
        self.set_class(False, "-words")
        self._filter()

    def say(self, words: str) -> None:
        """Show words in their place."""
        self._images = ()
        self.query_one(Static).update(Content(safe(words, newlines=True)))
        self.set_class(True, "-words")
        self.border_title = Content("images")

    def next_band(self) -> None:
        """All images, the strongest only, or those of one band: the next of these that has any."""
        bands = [None, *sorted({seen.band for seen in self._images})]
        self._band = bands[(bands.index(self._band_shown) + 1) % len(bands)]
        self._filter()

    @property
    def _band_shown(self) -> int | None:
        """The one that is wanted, where this feature has any of it."""
        return self._band if any(seen.band == self._band for seen in self._images) else None

    def _filter(self) -> None:
        band = self._band_shown
        shown = [seen for seen in self._images if band in (None, seen.band)]
        self.gallery.show(shown, most=self._most, bands=self._bands)
        entitle(self, Content(f"images · {'all bands' if band is None else band_name(band)} · {len(shown)} shown"))

    def on_gallery_moved(self) -> None:
        """Tell of the image at the cursor, which may have gone on since. The panes hear of it too."""
        seen, line = self.gallery.seen, self.query_one(Ends)
        if seen is None:
            line.tell("", "")
            return
        parts = [f"image {seen.image}, a {seen.label}"]
        if seen.predicted not in (None, seen.label):
            parts[0] += f", taken for {seen.predicted}"
        if seen.place is not None:
            row, column = seen.place
            parts.append(f"row {row + 1}, column {column + 1} of {len(seen.fires)} x {len(seen.fires)}")
        parts.append(f"{figure(seen.value)}, {seen.value / self._most:.0%} of its max")
        images = self.gallery.images
        line.tell(" · ".join(parts), f"{images.index(seen) + 1}/{len(images)}")


class ImagePanes(PaneSet):
    """A gallery beside a heat map, bars by class, tables, a histogram and a chart."""

    MAIN = "images"
    SIDE = (
        ("pattern", "histogram"), ("classes", "emergence"), ("effects", "weights"), ("neighbours", "coactivations"),
    )  # fmt: skip
    TITLES = {
        "pattern": "input pattern",
        "effects": "effect on the classes' logits",
        "weights": "weights and halves of the images",
        "neighbours": "neighbours by decoder direction",
        "coactivations": "co-activations: fires together with",
    }

    def made(self, name: str) -> Widget:
        """The gallery, the heat map, bars, a table, words."""
        plain = self.ascii_only
        if name in TABLES:
            return PagedTable(TABLES[name](ascii_only=plain, of="class"), id=name, classes="pane")
        if name == "weights":
            return Weights(id=name, classes="pane")
        kinds = {"images": Images, "pattern": Pattern, "classes": Labels, "effects": ClassEffects}
        return kinds[name](ascii_only=plain, id=name, classes="pane")

    @property
    def images(self) -> Images:
        """Where it fires."""
        return self.query_one(Images)

    def keys(self, name: str) -> Widget:
        """What takes the keys of a pane."""
        return self.images.gallery if name == "images" else super().keys(name)

    def show(self, known: Known) -> None:
        """Show a feature: words in the place of images where it has none."""
        card, gallery = known.card, known.gallery
        assert gallery is not None
        dead = bool(card.row["dead"])
        self.set_class(False, "-alone")
        if dead:
            self.images.say(known.why)
        else:
            self.images.show(gallery.images, most=card.row["max"], bands=card.bands)
        self._show_common(card)
        self._mark(self.images.gallery.seen)
        self.query_one(Pattern).tell(gallery.pattern)
        self.query_one(Labels).tell(card)
        self.query_one(ClassEffects).tell(gallery, NO_CLASSIFIER)
        self.query_one(Weights).tell(card, known.link)
        entitle(self.query_one("#classes"), Content(f"{card.unit} by class"))
        rows = {
            "neighbours": beside(card.neighbours, "cosine"), "coactivations": beside(card.coactivations, "jaccard"),
        }  # fmt: skip
        for name, shown in rows.items():
            self.table(name).browse(Source.of(shown))
        empty = {name for name, shown in rows.items() if not shown}
        if dead:
            empty |= {"histogram", "pattern", "classes", "effects"}
        self._has([name for name in self.ALL if name not in empty])

    def say(self, words: str) -> None:
        """Show nothing but words."""
        self.images.say(words)
        self.set_class(True, "-alone")

    def find(self, fits: Callable[[Seen], bool]) -> bool:
        """Go to the next of the images that `fits`; whether one of those shown does."""
        found = self.images.gallery.seek(fits)
        if found:
            self.to("images")
        return found

    def next_band(self) -> None:
        """Other images."""
        self.images.next_band()

    def on_resize(self) -> None:
        """Another size has room for other places."""
        width, height = self.size
        self.set_class(width < WIDE or height < HIGH, "-fewer")
        self.set_class(width < LEAST_WIDE or height < LEAST_HIGH, "-one")
        self._is_at(self.at_hand)

    @property
    def side(self) -> tuple[tuple[str, ...], ...]:
        """The places there is room for now."""
        *places, last = self.SIDE
        return (*places[:-1], (*places[-1], *last)) if self.has_class("-fewer") else self.SIDE

    def on_gallery_moved(self, event: Gallery.Moved) -> None:
        """Show where in the histogram the image lies."""
        self._mark(event.seen)

    def _mark(self, seen: Seen | None) -> None:
        if seen is not None:
            self.histogram.mark(seen.value)

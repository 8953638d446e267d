"""The features that fire on an image, before interventions and behind them."""

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from core.image_records import ClassifiedImage, FiringFeature
from sae_tui.screens.names import Names, called
from sae_tui.text import fitting
from sae_tui.widgets.paged_table import Column, PagedTable, Source
from sae_tui.widgets.scales import bar
from sae_tui.widgets.titles import entitle


class ImageFiring(Vertical):
    """A list, the strongest first, behind them those that interventions have drawn out."""

    DEFAULT_CSS = """
    ImageFiring { PagedTable { height: 1fr; } }
    """

    def __init__(self, *, ascii_only: bool = False, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._ascii = ascii_only
        self._names: Names | None = None
        self._places = 1

    def compose(self) -> ComposeResult:
        """The table."""
        yield PagedTable(self._columns(), key=lambda row: row.feature, id="firing")

    def _columns(self) -> list[Column]:
        places = Column("places", "places", 7, lambda row: f"{row.places}→{row.places_after}", right=True)
        return [
            Column("feature", "feature", 7, lambda row: str(row.feature), right=True),
            Column("before", "fires", 6, lambda row: _value(row.before), right=True),
            Column("after", "edited", 6, lambda row: _value(row.after), right=True),
            *([places] if self._places > 1 else []),
            Column("name", "label", 5, self._stands_for, weight=1),
            Column("bar", "of max", 6, self._bar),
        ]

    @property
    def table(self) -> PagedTable:
        """The list."""
        return self.query_one(PagedTable)

    @property
    def feature(self) -> int | None:
        """The feature at the cursor; None where there is none."""
        return None if self.table.row is None else self.table.row.feature

    def tell(self, image: ClassifiedImage | None, names: Names | None) -> None:
        """Show those of an image."""
        self._names = names
        # In an order that interventions do not change: who tries one row after another has them where they were.
        rows = sorted(image.features if image else (), key=lambda row: (-row.before, -row.after))
        if names is not None:
            names.need(row.feature for row in rows)
        if image and image.places != self._places:
            self._places = image.places
            self.table.browse(Source.of(()), columns=self._columns())
        before, after = sum(row.before > 0 for row in rows), sum(row.after > 0 for row in rows)
        count = f"{before}" if before == after else f"{before}, edited {after}"
        entitle(self, Content(f"features that fire · {count}" if rows else "features that fire"))
        self.table.show(rows)
        self.table.changed()

    def _stands_for(self, row: FiringFeature) -> Content:
        return called(self._names.known.get(row.feature) if self._names else None)

    def _bar(self, row: FiringFeature) -> Content:
        most = getattr(self._names.known.get(row.feature) if self._names else None, "max", None)
        return Content.styled(bar(row.after / most, 6, ascii_only=self._ascii), "$accent") if most else Content("")


def _value(value: float) -> str:
    return fitting(value, 6) if value > 0 else "-"

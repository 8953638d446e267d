"""The list of features on its screen: what is asked for, and how what was found is shown."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from core.analysis.browse import as_condition
from core.analysis.store import Store
from core.errors import QueryError, sentence
from core.session import Session
from sae_tui.screens.ahead import Ahead
from sae_tui.screens.browsing import Asking, Found, Wanted, glance
from sae_tui.screens.features_words import nothing, ran, title
from sae_tui.screens.page import Page
from sae_tui.text import shortened
from sae_tui.widgets.bars import Line
from sae_tui.widgets.feature_columns import SETS, table_columns
from sae_tui.widgets.fields import TextLine
from sae_tui.widgets.paged_table import PagedTable
from sae_tui.widgets.preview import Glance, Preview

QUIET_S = 0.12
"""How long typing, or moving, rests before what follows from it is asked for."""
SLOW_S = 0.3
"""After this it is said that something is being asked for."""
HINT = "words, or SQL: density > 0.001"


class FeatureList(Page):
    """A filter, a list, a preview. What a person does with them is for the screen that this becomes."""

    def __init__(self) -> None:
        super().__init__()
        self._wanted = Wanted()
        self._found: Found | None = None
        self._asking: Asking | None = None
        self._stands_on: tuple[Store, int] | None = None
        """The store, and its labels, that were asked last."""
        self._anchor: int | None = None
        """The feature one went to last: orders come and go, the cursor stays on it."""
        self._placed = -1
        """The row the cursor was put on, which nobody went to."""
        self._trouble = ""
        """What is wrong with what is wanted."""
        self._put_off: dict[str, Timer] = {}
        self.ahead: Ahead | None = None
        """The features that are read before they open; None without a session."""

    def body(self) -> Iterator[Widget]:
        """The filter over the list and the preview; or a few words where there is nothing to list."""
        plain = self.app.settings.graph == "ascii"
        with Horizontal(id="filter"):
            yield Line("filter", id="filter-name")
            yield TextLine(placeholder=HINT, id="filter-text")
            yield Line(id="place")
        yield Line(id="ran")
        with Horizontal(id="panes"):
            with Vertical(id="list", classes="pane"):
                yield PagedTable(
                    table_columns(SETS["overview"], ascii_only=plain), key=lambda row: row["feature"], id="features"
                )
            yield Preview(ascii_only=plain, id="preview", classes="pane")
        yield Static(id="empty")

    @property
    def unsuited(self) -> frozenset[str]:
        """What is for texts, where there are images."""
        images = self._found is not None and self._found.unit != "tokens"
        return frozenset({"features.concept"}) if images else frozenset()

    @property
    def _table(self) -> PagedTable:
        return self.query_one("#features", PagedTable)

    @property
    def _preview(self) -> Preview:
        return self.query_one(Preview)

    @property
    def _box(self) -> TextLine:
        return self.query_one("#filter-text", TextLine)

    def neighbour(self, feature: int, step: int) -> int | None:
        """The feature `step` places after this one (before it, if negative) in the order that is shown.

        None over the order's ends, and where the feature is not in it.
        """
        stands = self.place(feature)
        if stands is None or self._found is None or not 0 <= stands[0] + step < stands[1]:
            return None
        with contextlib.suppress(QueryError):  # the order was replaced meanwhile
            return self._found.order.feature_at(stands[0] + step)
        return None

    def place(self, feature: int) -> tuple[int, int] | None:
        """Where a feature stands in the order that is shown, from 0, and how many there are."""
        if self._found is None:
            return None
        order, place = self._found.order, None
        with contextlib.suppress(QueryError):
            place = order.place(feature)
        return None if place is None else (place, order.count)

    def go_to(self, feature: int) -> None:
        """Put the cursor on a feature, where it is in the order that is shown."""
        self._anchor = feature
        if self._found is None:
            return
        order = self._found.order

        def came(place: int | None) -> None:
            if place is not None and self._found is not None and self._found.order is order:
                self._table.move_to(place)

        self.background(lambda: order.place(feature), came, group="go", failed=lambda _: None)

    def show_cluster(self, cluster: int) -> None:
        """Show the features of a cluster."""
        self._ask(kind=replace(self._wanted.kind, cluster=cluster))

    @property
    def conditions(self) -> list[str]:
        """What the features shown fulfil; those of a cluster, which the map has shown already, apart from that."""
        wanted, found = self._wanted, self._found
        text = as_condition(wanted.text, found.store.browsed) if found else ""
        return [c for c in (replace(wanted.kind, cluster=None).condition, text) if c]

    def opened(self, session: Session | None) -> None:
        """Another session: what was shown goes."""
        if self.ahead is not None:
            self.ahead.close()
        self.ahead = None if session is None else Ahead(self.app.stores, session)
        self._stands_on = None
        self._give_up()
        self._drop()
        self._table.show(())
        self._table.mark(())
        self._preview.show(None)
        self._ask()

    def clock(self) -> None:
        """See whether the analysis or a label is another one than what is shown stands on."""
        session, stores = self.app.session, self.app.stores
        if session is None or (self._found is None and not session.database_path.is_file()):
            self._say_why()
        elif self._asking is None:

            def look() -> tuple[Store, int]:
                store = stores.get(session)
                store.relabel()
                return store, store.labelled

            self.background(look, self._looked, group="look", failed=lambda _: None)

    def _looked(self, seen: tuple[Store, int]) -> None:
        if self._asking is None and self._stands_on != seen:
            self._stands_on = seen
            self._ask()

    def _ask(self, **changes: Any) -> None:
        """Ask for features, other ones or the same again; what is shown stays until they are there."""
        self._wanted = replace(self._wanted, **changes)
        self._give_up()
        if self.app.session is None:
            self._say_why()
            return
        self._asking = asking = Asking(
            self.app.stores, self.app.session, self._wanted, anchor=self._anchor, around=self._table.size.height
        )

        def came(found: Found) -> None:
            if self._asking is asking:
                self._asking = None
                self._arrived(found)
            else:
                self._close(found)

        def failed(error: Exception) -> None:
            if self._asking is asking:
                self._asking = None
                self._failed(error)

        self.background(asking.find, came, group="ask", failed=failed)
        self._later("slow", SLOW_S, self._draw_ran)

    def _arrived(self, found: Found) -> None:
        self._drop()
        self._found, self._trouble, self._placed = found, "", found.at
        self._stands_on = found.store, found.labelled
        self.set_class(False, "-none")
        columns = table_columns(found.columns, ascii_only=self.app.settings.graph == "ascii", unit=found.unit)
        sort = found.order.sort, found.order.descending
        self._table.browse(found.source, found.at, columns=columns, sort=sort)
        self._draw()
        self._rest()
        self.refresh_bindings()
        if self.focused is None:
            self._table.focus()

    def _failed(self, error: Exception) -> None:
        self._trouble = sentence(error)
        if self._found is None and not self._wanted.text:
            self._say_why()
        self._draw_ran()

    def _give_up(self) -> None:
        if self._asking is not None:
            self._asking.give_up()
        self._asking, self._trouble = None, ""

    def _drop(self) -> None:
        if self._found is not None:
            self._close(self._found)
        self._found = None

    def _close(self, found: Found) -> None:
        """In a thread: something may be going on in it."""
        self.run_worker(asyncio.to_thread(found.order.close), exit_on_error=False)

    def _later(self, name: str, delay_s: float, act: Callable[[], object]) -> None:
        """Do it then, unless it is put off again by that name."""
        if name in self._put_off:
            self._put_off[name].stop()
        self._put_off[name] = self.set_timer(delay_s, act)

    def _draw(self) -> None:
        """All that is said about the list."""
        if self._found is not None:
            self.query_one("#list").border_title = title(self._found, self._wanted.kind, len(self._table.marks))
        self._draw_place()
        self._draw_ran()

    def _draw_place(self) -> None:
        count = self._table.count
        place = f"row {self._table.index + 1:,} of {count:,}" if count else "no rows"
        typing = f"{count:,} · " * bool(count) + "enter: to the list"
        self.query_one("#place", Line).show(Content(typing if self._box.has_focus else place))

    def on_descendant_focus(self) -> None:
        """Other keys work here."""
        self._draw_place()

    def _draw_ran(self, at_work: str = "") -> None:
        """`at_work`, safe: what goes on besides, in the place of the condition until something else is said."""
        width = self.size.width - 10
        asking = self._asking is not None
        said = Content(shortened(at_work, width)) or ran(self._found, trouble=self._trouble, asking=asking, width=width)
        self.query_one("#ran", Line).show(said)

    def _say_why(self) -> None:
        seen = self.app.seen_of(self.app.session)
        if seen is None and self.app.session is not None:
            return  # not looked at yet
        said = nothing(seen, self._trouble)
        self.set_class(True, "-none")
        empty = self.query_one("#empty", Static)
        if not (isinstance(empty.content, Content) and empty.content.is_same(said)):
            empty.update(said)

    def on_paged_table_moved(self, event: PagedTable.Moved) -> None:
        """The cursor is elsewhere: the preview follows when it rests."""
        if event.table is not self._table:
            return
        self._draw_place()
        if event.row is not None and event.index != self._placed:
            self._anchor, self._placed = event.row["feature"], -1
        self._later("rest", QUIET_S, self._rest)

    def _rest(self) -> None:
        """Show the feature at the cursor in the preview, where that is in view; then read it whole."""
        row, found = self._table.row, self._found
        if row is None or found is None:
            self._preview.show(None)
            return
        feature, store = row["feature"], found.store

        def came(seen: Glance) -> None:
            if self._table.row is not None and self._table.row["feature"] == feature:
                self._preview.show(seen)
                read()

        def read() -> None:
            if self.ahead is not None:
                self.ahead.known(feature)

        if self._preview.display and self._preview.region:
            self.background(lambda: glance(store, feature), came, group="preview", failed=lambda _: None)
        else:
            read()

    def on_paged_table_failed(self, event: PagedTable.Failed) -> None:
        """Say why rows stay away."""
        self._trouble = sentence(event.error)
        self._draw_ran()

    def on_paged_table_opened(self, event: PagedTable.Opened) -> None:
        """Open the feature."""
        if event.row is not None:
            self.app.open_feature(event.row["feature"])

    def on_resize(self) -> None:
        """Say it in the new width; the preview may have come into view."""
        self._draw_ran()
        self._later("rest", QUIET_S, self._rest)

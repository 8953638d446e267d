"""The probe: a session's features on texts of several categories, as they were found and kept, and asked anew."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget

from core.analysis import probed
from core.analysis.given import STANDARD
from core.analysis.probed import Probed
from core.session import Session
from sae_tui.screens.asked import Asks
from sae_tui.screens.dialogs import AskText
from sae_tui.screens.names import Names, called
from sae_tui.screens.turning import Told, Turning
from sae_tui.text import safe
from sae_tui.widgets import probed as drawn
from sae_tui.widgets.bars import Line
from sae_tui.widgets.heatmap import HeatMap
from sae_tui.widgets.paged_table import Column, PagedTable, Source
from sae_tui.widgets.probed import LISTS
from sae_tui.widgets.titles import entitle


class ProbePage(Asks, Turning):
    """Over Runs. The newest result that is kept is shown first."""

    SECTION, MODE = "probe", "runs"
    CSS_PATH = "probe.tcss"
    PANES = {"heat": "heat map", "list": "features", "bars": "categories"}

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._names = Names(self, session, self._show)
        self._kept: list[Probed] | None = None
        self._at = 0
        self._fault = ""
        self._list = LISTS[0]
        self._read_for: Session | None = None
        """The session at hand when this screen was seen last."""
        self._table = PagedTable([Column("feature", "feature", 7, str)], key=lambda row: row, id="list", classes="pane")

    def body(self) -> Iterator[Widget]:
        """What it is, the heat map, the cell at the cursor, a list beside the categories."""
        yield Line(id="head")
        yield HeatMap(ascii_only=self._ascii, id="heat", classes="pane")
        yield Told(id="cell")
        with Horizontal(id="below"):
            yield self._table
            yield Told(id="bars", classes="pane")

    def mounted(self) -> None:
        """What is kept is read in the background."""
        self.query_one("#cell", Told).can_focus = False
        super().mounted()
        self._read()

    def _read(self) -> None:
        def came(kept: list[Probed]) -> None:
            self._kept, self._at = kept, 0
            if kept:
                self._names.need(drawn.mentioned(kept[0]))
            self._show()

        self.background(lambda: probed.kept(self._session), came, group="kept")

    @property
    def _found(self) -> Probed | None:
        return self._kept[self._at] if self._kept else None

    @property
    def _ascii(self) -> bool:
        return self.app.settings.graph == "ascii"

    def _called(self, feature: int) -> Content:
        return called(self._names.known.get(feature))

    def _show(self) -> None:
        """All of it; what is as it was costs nothing."""
        found = self._found
        self.set_class(found is None, "-nothing")
        self._say()
        heat = self.query_one(HeatMap)
        if found is None:
            heat.show((), (), ())
            return
        labels = [f"{f} {self._called(f).plain}" for f in found.heat.features]
        heat.show(found.heat.values, labels, drawn.groups(found))
        entitle(heat, Content(f"heat map: the {len(labels)} most frequent features"))
        columns = drawn.columns(found, self._list, self._called, ascii_only=self._ascii)
        self._table.browse(Source.of(drawn.rows(found, self._list)), self._table.index, columns=columns)
        entitle(self._table, Content(drawn.title(found, self._list)))
        bars = self.query_one("#bars", Told)
        entropy = "" if found.entropy is None else f" · median entropy {found.entropy:.2f} nats"
        entitle(bars, Content(f"mean activation by category{entropy}"))
        bars.show(drawn.bars(found, bars.size.width, ascii_only=self._ascii))
        self._tell_cell()
        self.refresh_bindings()

    def _say(self) -> None:
        """The line at the top: what runs, what went wrong, or what is shown."""
        line, found = self.query_one("#head", Line), self._found
        if self.asking or self._fault:
            line.show(Content.styled(self.asking or safe(self._fault), "$accent" if self.asking else "$error"))
        elif found is None:
            line.show(
                "" if self._kept is None else "nothing was probed yet: r runs the standard probe, f one's own texts"
            )
        else:
            many = f"{self._at + 1} of {len(self._kept or ())} · " if len(self._kept or ()) > 1 else ""
            name = (safe(self._session.name), "bold")
            line.show(Content.assemble(name, " · ", many, drawn.head(found, self._called)))

    def _tell_cell(self) -> None:
        pane, heat, found = self.query_one("#cell", Told), self.query_one(HeatMap), self._found
        if found is not None:
            pane.show(drawn.cell(found, heat.row, heat.column, self._called, pane.size.width, pane.size.height))

    def clock(self) -> None:
        """How far the verb is."""
        if self.asking:
            self._say()

    def turned(self) -> None:
        """Other cells."""
        self._show()

    def on_heat_map_moved(self) -> None:
        """Another cell."""
        self._tell_cell()

    def on_heat_map_opened(self) -> None:
        """Its feature."""
        if self._found is not None:
            self._open(self._found.heat.features[self.query_one(HeatMap).row])

    def on_paged_table_opened(self, event: PagedTable.Opened) -> None:
        """The feature of the row."""
        self._open(drawn.feature(event.row, self._list))

    def _open(self, feature: int) -> None:
        self.app.session = self._session
        self.app.open_feature(feature)

    # Actions.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """One result has no next."""
        if action in ("next", "previous"):
            return len(self._kept or ()) > 1
        return action != "list" or self._found is not None

    def action_run(self) -> None:
        """The standard probe."""
        self._ask(())

    def action_file(self) -> None:
        """Ask which, and run it."""

        def check(value: str) -> str:
            if not value.strip():
                return ""
            return "" if Path(value.strip()).expanduser().is_file() else "there is no such file"

        def answered(value: str | None) -> None:
            if value and value.strip():
                self._ask(("--texts", str(Path(value.strip()).expanduser())))

        self.app.push_screen(AskText("Texts to probe it with: a .jsonl or .txt file", check=check), answered)

    def _ask(self, words: tuple[str, ...]) -> None:
        self._fault = ""

        def came(_: Any) -> None:
            self._read()

        def failed(error: Exception) -> None:
            self._fault = self.app.told(error)
            self._show()

        self.ask(["probe", self._session.name, *words], came, failed)
        self._say()

    def action_list(self) -> None:
        """The next list."""
        self._list = LISTS[(LISTS.index(self._list) + 1) % len(LISTS)]
        self._show()
        self._table.move_to(0)
        self.to("list")

    def action_next(self) -> None:
        """The next result."""
        self._turn(1)

    def action_previous(self) -> None:
        """The result before."""
        self._turn(-1)

    def _turn(self, by: int) -> None:
        if self._kept:
            self._at = (self._at + by) % len(self._kept)
            self._names.need(drawn.mentioned(self._kept[self._at]))
            self._show()

    def action_leave(self) -> None:
        """What runs is stopped; else back."""
        if self.maximized is not None:
            self.minimize()
        elif self.stop_asking():
            self._say()
        else:
            self.dismiss()

    def opened(self, session: Session | None) -> None:
        """Read again."""
        again, self._read_for = session is self._read_for, session
        if again:
            self._read()

    def copied(self) -> tuple[str, str] | None:
        """The feature at the cursor."""
        found = self._found
        if found is None:
            return None
        row = self._table.row if self.here == "list" else None
        feature = (
            drawn.feature(row, self._list) if row is not None else found.heat.features[self.query_one(HeatMap).row]
        )
        return f"feature {feature}", str(feature)

    def command_line(self) -> str:
        """`sae-tui probe`."""
        found = self._found
        words = ["sae-tui", "--sessions", str(self.app.root), "probe", self._session.name]
        return shlex.join([*words, *(["--texts", found.name] if found and found.name != STANDARD else [])])

"""The map of decoder directions: what lies together, in clusters, and which features are of one."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget

from core.analysis.map import Window
from core.session import Session
from sae_tui.screens.cursor_page import CursorPage
from sae_tui.text import called, figure, safe, shortened, token
from sae_tui.widgets.feature_map import FeatureMap, Ground, painted
from sae_tui.widgets.rows import Rows
from sae_tui.widgets.titles import entitle

FEATURES = 10
NAME = 9
"""Cells of the word before what is told of a cluster."""
ABOVE = 3
"""Pairs of the tree that are told of above a cluster."""
Row = Mapping[str, Any]


class MapPage(CursorPage):
    """Over the Features screen, whose features are lit. Left with the number of a cluster that was opened, or None."""

    SECTION, MODE = "map", "features"
    FAR = (8, 4)
    CSS_PATH = "map.tcss"
    AUTO_FOCUS = "FeatureMap"

    def __init__(self, conditions: Sequence[str], cluster: int | None = None) -> None:
        """`conditions` say which features are lit; `cluster` is where the cursor begins."""
        super().__init__()
        self._conditions, self._begin = list(conditions), cluster
        self._session: Session | None = None
        self._rows: dict[int, Row] = {}
        self._kind = ""
        self._total = self._lit = 0
        self._features: dict[int, list[dict[str, Any]]] = {}

    def body(self) -> Iterator[Widget]:
        """The map, and what is under the cursor."""
        with Horizontal(id="panes"):
            with Horizontal(id="map", classes="pane"):
                yield FeatureMap(graph=self.app.settings.graph, id="cells")
            yield Rows(id="cluster", classes="pane")

    def memory(self) -> dict[str, Any]:
        """Whether clusters are named."""
        return {"names": self._map.names} if self.query(FeatureMap) else self.app.state.part(self.SECTION)

    def recall(self, memory: dict[str, Any]) -> None:
        """As it was left."""
        self._map.names = memory.get("names") is not False

    def command_line(self) -> str | None:
        """`sae-tui map`."""
        if self._session is None:
            return None
        words = ["sae-tui", "map", self._session.name]
        where = " AND ".join(f"({one})" for one in self._conditions)
        return shlex.join([*words, "--where", where] if where else words)

    def copied(self) -> tuple[str, str] | None:
        """The condition of the cluster under the cursor."""
        cluster = self._map.cluster
        return None if cluster is None else (f"the condition of cluster {cluster}", f"cluster = {cluster}")

    def opened(self, session: Session | None) -> None:
        """A map belongs to its session."""
        if session is None or (self._session is not None and session.path != self._session.path):
            self.call_later(self.action_back)
            return
        self._session = session
        self._features = {}
        store, conditions = self.app.stores, self._conditions

        def read() -> tuple[Window | None, list[dict[str, Any]], dict[str, str], int, int]:
            found = store.get(session)
            lit = found.order("feature", False, conditions).build() if conditions else None
            n = found.d_sae if lit is None else lit.count
            if lit is not None:
                lit.close()
            return found.map_window(), found.clusters(), found.meta(), found.d_sae, n

        self.background(read, self._came, group="clusters", failed=self._failed)

    @property
    def _map(self) -> FeatureMap:
        return self.query_one(FeatureMap)

    def _came(self, found: tuple[Window | None, list[dict[str, Any]], dict[str, str], int, int]) -> None:
        window, rows, meta, self._total, self._lit = found
        if window is None:
            self._say("this database holds no map: A on the Features screen analyses anew")
            return
        self._rows = {row["cluster"]: row for row in rows}
        self._kind = safe(meta.get("map", "")).upper()
        parents = {row["parent"] for row in rows}
        self._map.begin(window, (row for row in rows if row["cluster"] not in parents), self._begin)

    def _failed(self, error: Exception) -> None:
        self._say(self.app.told(error))

    def _say(self, words: str) -> None:
        self.query_one("#cluster", Rows).show([Content(safe(words))])

    def on_feature_map_wanted(self) -> None:
        """The cells of another window: the last one asked for, once it rests."""
        self._later("cells", self._ask)

    def on_feature_map_moved(self) -> None:
        """Another cluster: its features follow when the cursor rests."""
        self._tell()
        self._later("features", self._ask_features)

    def _ask(self) -> None:
        session, window, (columns, rows), graph = self._session, self._map.window, self._map.room, self._map.graph
        if session is None or not self._rows:
            return

        def came(ground: Ground) -> None:
            if self._map.window == window and self._map.room == (columns, rows):
                self._map.show(ground)
                self._entitle()

        def find() -> Ground:
            cells = self.app.stores.get(session).on_map(window, columns, rows, self._conditions)
            return painted(cells, columns, rows, graph=graph, filtered=bool(self._conditions))

        self.background(find, came, group="cells", failed=self._failed)

    def _ask_features(self) -> None:
        session, cluster = self._session, self._map.cluster
        if session is None or cluster is None or cluster in self._features:
            return

        def came(rows: list[dict[str, Any]]) -> None:
            self._features[cluster] = rows
            self._tell()

        def find() -> list[dict[str, Any]]:
            return self.app.stores.get(session).features("max", where=f"cluster = {cluster}", limit=FEATURES)

        self.background(find, came, group="features")

    def _entitle(self) -> None:
        shown = self._map
        parts = [f"map · {self._kind} of {self._total:,} directions"]
        parts += [f"{self._lit:,} lit ({figure(100 * self._lit / max(1, self._total))}%)"] if self._conditions else []
        parts += [f"×{figure(shown.zoom)}, {shown.ground.in_view:,} in view"] if shown.zoom > 1.01 else []
        entitle(self.query_one("#map"), Content(" · ".join(parts)))

    def _tell(self) -> None:
        """What is under the cursor."""
        cluster, pane = self._map.cluster, self.query_one("#cluster", Rows)
        if cluster is None or cluster not in self._rows:
            return
        row = self._rows[cluster]
        entitle(pane, Content(f"cluster {cluster} · {row['n']:,} features"))
        pane.show(list(self._lines(row, self._features.get(cluster), pane.size.width)))

    def _lines(self, row: Row, features: Sequence[Row] | None, width: int) -> Iterator[Content]:
        tall = self.has_class("-tall")
        rows = 3 if tall else 1
        yield from _named("fires on", _tokens(row), width, rows)
        above, near = self._rows.get(row["parent"]), row
        for _ in range(ABOVE if tall else 1):
            if above is None:
                break
            joined = next(r for r in self._rows.values() if r["parent"] == above["cluster"] and r is not near)
            yield from _named("beside", f"{_whole(joined)}: {_tokens(joined)}", width, rows - 1)
            near, above = above, self._rows.get(above["parent"])
        if near is not row:
            yield from _named("part of", f"{_whole(near)} at {near['height']:.2f}: {_tokens(near)}", width, rows - 1)
        if not tall:
            yield from _named(
                "features", "  ".join(f"{one['feature']} {called(one)}" for one in features or ()), width, 2
            )
            return
        yield Content("")
        yield Content.styled(f"{'feature':>7}  {'max':>6}  label or token", "$text-muted")
        for one in features or ():
            yield Content(shortened(f"{one['feature']:>7}  {figure(one['max']):>6}  {called(one)}", width))

    def on_resize(self) -> None:
        """Other lines fit."""
        self._later("told", self._tell)

    # Actions.

    def action_open(self) -> None:
        """Back, to the features of the cluster."""
        self.dismiss(self._map.cluster)

    def action_closer(self) -> None:
        """Half as wide."""
        self._map.magnify(0.5)
        self._entitle()

    def action_wider(self) -> None:
        """Twice as wide."""
        self._map.magnify(2.0)
        self._entitle()

    def action_whole(self) -> None:
        """All of it."""
        self._map.whole()
        self._entitle()

    def action_names(self) -> None:
        """Names or none."""
        self._map.toggle_names()


def _tokens(row: Row) -> str:
    return " ".join(token(text) for text in row["tokens"])


def _whole(row: Row) -> str:
    """A cluster, or all that is below a pair of the tree."""
    return f"cluster {row['cluster']} of {row['n']:,}" if not row["height"] else f"{row['n']:,} features"


def _named(name: str, text: str, width: int, rows: int) -> Iterator[Content]:
    """Words on as many lines as they take, at most `rows` or one, the name before the first."""
    lines, room = [""], max(8, width - NAME)
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if cell_len(longer) > room and lines[-1] and len(lines) < rows:
            lines.append(word)
        else:
            lines[-1] = longer
    for i, line in enumerate(lines):
        yield Content.assemble(("" if i else name).ljust(NAME), shortened(line, room)).stylize("$text-muted", 0, NAME)

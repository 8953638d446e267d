"""Runs compared: each a point of active features and of what is lost, and a line of what it was and what came of it."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget

from core.overview import Seen
from sae_tui.screens import opening
from sae_tui.screens.dialogs import Reader
from sae_tui.screens.page import Page
from sae_tui.widgets import compared, scatter
from sae_tui.widgets.compared import AXES, Run
from sae_tui.widgets.configurations import Configurations
from sae_tui.widgets.paged_table import PagedTable
from sae_tui.widgets.scatter import Point, Scatter

TOLD = 20
"""Runs that one is told from at once, at most."""


class ComparePage(Page):
    """Over the Runs screen. What is measured meanwhile appears as it comes; two figures over L0 where there is room."""

    SECTION = "compare"
    MODE = "runs"
    CSS_PATH = "compare.tcss"
    AUTO_FOCUS = "PagedTable"

    def __init__(
        self, wanted: Callable[[Seen], bool], configurations: Configurations, at: str = "",
        questions: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """`wanted` says which sessions are compared; `at` is the name of the one for the cursor.

        `questions` are the studies that they answer.
        """
        super().__init__()
        self._questions = questions
        self._wanted, self._configurations, self._at = wanted, configurations, at
        self._axis = next(iter(AXES))
        self._sort: tuple[str, bool] | None = None
        self._seen: list[Seen] | None = None
        self._letters: dict[str, str] = {}
        self._runs: list[Run] = []
        self._values: dict[str, Mapping[str, Any]] = {}
        self._points: list[Point] = []
        self._columns: tuple[object, ...] = ()
        self._table = PagedTable(
            compared.columns((), {}, 0, ascii_only=False), key=lambda run: run.name, pinned=2, id="runs", classes="pane"
        )

    def body(self) -> Iterator[Widget]:
        """The points, then the runs."""
        with Horizontal(id="pictures"):
            yield Scatter(id="points", classes="pane")
            yield Scatter(id="beside", classes="pane")
        yield self._table

    def recall(self, memory: dict[str, Any]) -> None:
        """The axis and the order as they were."""
        axis, sort = memory.get("axis"), memory.get("sort")
        self._axis = axis if isinstance(axis, str) and axis in AXES else self._axis
        if isinstance(sort, list) and len(sort) == 2 and isinstance(sort[0], str):
            self._sort_by(sort[0], bool(sort[1]))

    def memory(self) -> dict[str, Any]:
        """The axis and the order."""
        return {"axis": self._axis, "sort": list(self._sort or ())}

    def clock(self) -> None:
        """Show what is different; configurations are read in the background."""
        seen = sorted((one for one in self.app.seen if self._wanted(one)), key=lambda one: one.name)
        if seen == self._seen:
            return
        self._seen = seen
        for one in seen:
            self._letters.setdefault(one.name, compared.letter(len(self._letters)))
        read = self._configurations.of
        self.background(
            lambda: [read(one.session) for one in seen], lambda found: self._came(seen, found), group="read"
        )

    def _came(self, seen: Sequence[Seen], configs: Sequence[Mapping[str, Any]]) -> None:
        self._values = {one.name: values for one, values in zip(seen, configs, strict=True)}
        self._runs = compared.runs(seen, self._letters, configs)
        if self._axis not in compared.axes(self._runs):
            self._axis = next(iter(AXES))
        self._show()

    def on_resize(self) -> None:
        """Another size: other columns, another drawing."""
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        """The rows in their order, and the points."""
        rows, ascii_only = sorted(self._runs, key=lambda run: run.empty), self.app.settings.graph == "ascii"
        if self._sort:
            column, descending = self._sort
            known = [(key, run) for run in rows if (key := _sort_key(run, column)) is not None]
            known.sort(key=lambda one: one[0], reverse=descending)
            rows = [run for _, run in known] + [run for run in rows if _sort_key(run, column) is None]
        self._points = compared.points(self._runs, self._axis)
        marks = {point.letter: point for point in self._points}
        columns = compared.columns(rows, marks, self._table.line_width, ascii_only=ascii_only)
        fit = (*(column.width for column in columns), *self._points)
        if fit != self._columns:
            self._columns = fit
            self._table.set_columns(columns)
        self._table.show(rows)
        place = next((i for i, run in enumerate(rows) if run.name == self._at), None)
        if place is not None:
            self._at = ""
            self._table.move_to(place)
        studies = f" · study {' and '.join(self._questions)}" if self._questions else ""
        _titled(self._table, f"runs {len(rows)}{studies}")
        self._draw()
        self.refresh_bindings()

    def _draw(self) -> None:
        """The points, both over one range, drawn in the background; only lines that changed are sent."""
        at, graph = self._table.row, self.app.settings.graph
        letter, names = at.letter if isinstance(at, Run) else "", compared.axes(self._runs)
        beside = names[names.index(self._axis) - 1]
        pictures = {"points": (self._axis, self._points), "beside": (beside, compared.points(self._runs, beside))}
        span = scatter.span([point for _, points in pictures.values() for point in points])
        for place, (axis, points) in pictures.items():
            pane, (name, sign) = self.query_one(f"#{place}", Scatter), AXES[axis]
            _titled(pane, f"{name} ({'lower' if sign > 0 else 'higher'} is better) over L0, log scale")
            self.background(partial(Scatter.picture, points, letter, *pane.size, graph, span), pane.show, group=place)

    def on_paged_table_moved(self) -> None:
        """Another run is at the cursor: its point is lit."""
        self.refresh_bindings()
        self._draw()

    def on_paged_table_opened(self, event: PagedTable.Opened) -> None:
        """Watch it: its curves, or its features once they are there."""
        if isinstance(run := event.row, Run):
            ready = run.seen.has_features and not run.seen.observed.active
            self.app.open_session(run.seen.session, "features" if ready else "train")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """One run alone differs from nothing; one that was not analysed has no features to study."""
        if action == "study":
            return isinstance(run := self._table.row, Run) and run.seen.has_features
        return len(self._runs) > 1 if action == "differences" else super().check_action(action, parameters)

    def action_features(self) -> None:
        """Their features beside each other."""
        opening.match(self, (run.seen for run in self._runs))

    def action_study(self) -> None:
        """The studies of the features of the run at the cursor."""
        if isinstance(run := self._table.row, Run):
            opening.study_features(self, run.seen.session)

    def action_axis(self) -> None:
        """The other figure against L0."""
        names = compared.axes(self._runs)
        self._axis = names[(names.index(self._axis) + 1) % len(names)]
        self._show()

    def action_sort(self) -> None:
        """By the column at the cursor; again the other way round, and then by name."""
        name = self._table.column.name
        if self._sort and self._sort[0] == name:
            self._sort_by(*((None, False) if self._sort[1] else (name, True)))
        else:
            self._sort_by(name, False)
        self._show()

    def _sort_by(self, name: str | None, descending: bool) -> None:
        self._sort = (name, descending) if name else None
        self._table.sorted_by(name or "", descending)

    def action_differences(self) -> None:
        """All differences to the others."""
        run = self._table.row
        if not isinstance(run, Run):
            return
        others = [other for other in self._runs if other.name != run.name][:TOLD]
        parts = [
            compared.difference(run, self._values.get(run.name, {}), other, self._values.get(other.name, {}))
            for other in others
        ]
        self.app.push_screen(Reader(f"How {run.name} differs", Content("\n\n").join(parts)))

    def action_zoom(self) -> None:
        """The points on nearly all of the screen, or both again."""
        self.toggle_class("-large")
        self.call_after_refresh(self._show)

    def action_leave(self) -> None:
        """Both panes again; else back."""
        if self.has_class("-large"):
            self.action_zoom()
        else:
            self.dismiss()

    def copied(self) -> tuple[str, str] | None:
        """The name of the run at the cursor."""
        run = self._table.row
        return (f"the name {run.name}", run.name) if isinstance(run, Run) else None

    def command_line(self) -> str | None:
        """The run at the cursor in a shell."""
        run = self._table.row
        root = shlex.quote(str(self.app.root))
        return f"sae-tui --sessions {root} show {shlex.quote(run.name)}" if isinstance(run, Run) else None


def _sort_key(run: Run, column: str) -> Any:
    return run.differs or None if column == "differs" else getattr(run, column, None)


def _titled(widget: Widget, title: str) -> None:
    """Set a pane's title, which is safe, if it is another one."""
    content = Content(title)
    if widget.border_title != content.markup:
        widget.border_title = content

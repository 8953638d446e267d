"""Studies of a session: does frequency tell of specialisation, and how did features come to be."""

import shlex
from collections.abc import Iterator
from typing import Any

from textual import on
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget

from core.session import Session
from sae_tui.screens.asked import Asks
from sae_tui.screens.turning import Told, Turning
from sae_tui.text import figure, safe
from sae_tui.widgets import cloud
from sae_tui.widgets.chart import Chart
from sae_tui.widgets.columns import Column
from sae_tui.widgets.multiples import Multiples
from sae_tui.widgets.paged_table import PagedTable
from sae_tui.widgets.plots import Plot, Series
from sae_tui.widgets.run_rows import share
from sae_tui.widgets.titles import entitle

OF = {"token_entropy": "token entropy", "category_entropy": "category entropy", "specialist_score": "specialist score"}
OF_IMAGES = {"category_entropy": "label entropy", "specialist_score": "specialist score"}
"""Of images: their tokens and their categories are their labels, so that both entropies are one."""
CHARTS = {"alive": ("alive",), "changes": ("born", "died"), "rho": ("density_rho",)}
"""Of each chart, what of a snapshot is drawn."""
NAMES = {
    "alive": "alive features",
    "changes": "A born, B died at snapshots",
    "rho": "density, ρ between snapshots",
}
STEPS = ("step", "alive", "born", "died", "density", "density_rho", "jaccard", "drift", "drift_final")


class StudyPage(Asks, Turning):
    """Over Runs. Clouds of features above, then the training, and some features one by one."""

    SECTION, MODE = "study", "runs"
    CSS_PATH = "study.tcss"
    PANES = {
        "token_entropy": "token H", "category_entropy": "category H", "specialist_score": "score", "alive": "alive",
        "changes": "born", "rho": "ρ", "steps": "steps", "features": "features",
    }  # fmt: skip

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._of = OF_IMAGES if session.reads_images else OF
        """What density is held against."""
        if self._of is OF_IMAGES:
            rest = {name: words for name, words in self.PANES.items() if name not in OF}
            self.PANES = {"category_entropy": "label H", "specialist_score": "score", **rest}
            self.add_class("-images")
        self.here = next(iter(self.PANES))
        self._read_for: Session | None = None
        """The session at hand when this screen was seen last."""
        self._found: dict[str, Any] = {}
        """What each study answered, or in a sentence why it could not."""

    def body(self) -> Iterator[Widget]:
        """The clouds, then charts and the table of snapshots."""
        with Horizontal(id="clouds"):
            for of in self._of:
                yield Told(id=of, classes="pane")
        with Horizontal(id="training"):
            for name in CHARTS:
                yield Chart(_plot(name, []), graph=self.app.settings.graph, id=name, classes="pane")
            yield PagedTable(
                [Column(name, name, 7, lambda step, name=name: _number(step[name]), right=True) for name in STEPS],
                key=lambda step: step["step"], id="steps", classes="pane",
            )  # fmt: skip
        yield Multiples(ascii_only=self.app.settings.graph == "ascii", id="features", classes="pane")

    def mounted(self) -> None:
        """Ask both, one after the other."""
        super().mounted()
        self._ask("frequency")

    def _ask(self, question: str) -> None:
        def came(answer: Any) -> None:
            self._found[question] = answer[0]
            after()

        def failed(error: Exception) -> None:
            self._found[question] = self.app.told(error)
            after()

        def after() -> None:
            if question == "frequency":
                self._ask("emergence")
            self._show()

        self.ask(["study", question, self._session.name], came, failed)
        self._show()

    def clock(self) -> None:
        """How far the verb is."""
        if self.asking:
            self._show()

    def turned(self) -> None:
        """Other cells."""
        self._show()

    def _show(self) -> None:
        found = self._found.get("frequency", self.asking or "stopped: R asks again")
        for number, (of, name) in enumerate(self._of.items()):
            pane = self.query_one(f"#{of}", Told)
            if isinstance(found, str):
                entitle(pane, Content(f"density and {name}"))
                pane.show([Content(safe(found))])
                continue
            one = next(c for c in found["density_against"] if c["of"] == of)
            entitle(pane, Content(f"density and {name}{'' if number else _agree(found)}"))
            points = next(c for c in found["clouds"] if c["of"] == of)
            drawn = cloud.lines(points, pane.size.width, pane.size.height - 1, self.app.settings.graph)
            pane.show([_rho(one), *drawn])
        grown = self._found.get("emergence", self.asking or "stopped: R asks again")
        steps = [] if isinstance(grown, str) else grown["steps"]
        for name in CHARTS:
            self.query_one(f"#{name}", Chart).show(_plot(name, steps, safe(grown) if isinstance(grown, str) else ""))
        table = self.query_one("#steps", PagedTable)
        table.show(steps)
        stable = None if isinstance(grown, str) else grown["stability"]["median"]
        entitle(table, Content("snapshots" + (f" · stability {stable:.2f}" if stable is not None else "")))

        self._show_features(grown)

    def _show_features(self, grown: Any) -> None:
        """Some one by one, with a picture a snapshot where there are."""
        multiples = self.query_one(Multiples)
        if isinstance(grown, str):
            multiples.show((), (), safe(grown))
            entitle(multiples, Content(f"features of {safe(self._session.name)} over the snapshots"))
            return
        features = grown["features"]
        multiples.show(features, [step["step"] for step in grown["steps"]], "none was active")
        pictures = any(one["pictures"] for one in features)
        what = "density"
        if pictures:
            what = "above what each read from the pixels, below the image it was strongest on"
        entitle(multiples, Content(f"features of {safe(self._session.name)} over the snapshots · {what}"))

    @on(Multiples.Opened)
    def _open_feature(self, event: Multiples.Opened) -> None:
        """One of them, among the features of this session."""
        self.app.open_session(self._session, "features")
        self.app.open_feature(event.feature)

    def opened(self, session: Session | None) -> None:
        """Read again: ask anew."""
        again, self._read_for = session is self._read_for, session
        if again and not self.asking:
            self._found.clear()
            self._ask("frequency")

    def copied(self) -> tuple[str, str]:
        """The session's name."""
        return f"the name {self._session.name}", self._session.name

    def command_line(self) -> str:
        """`sae-tui study`, of what is at hand."""
        question = "frequency" if self.here in self._of else "emergence"
        return shlex.join(["sae-tui", "--sessions", str(self.app.root), "study", question, self._session.name])

    def action_leave(self) -> None:
        """What runs is stopped; else back."""
        if self.maximized is not None:
            self.minimize()
        elif self.stop_asking():
            self._show()
        else:
            self.dismiss()


def _agree(found: dict[str, Any]) -> str:
    """How far densities agree between halves of the test split."""
    r = found.get("density_reliability")
    return "" if r is None else f" · halves agree {share(r)}"


def _rho(one: dict[str, Any]) -> Content:
    if one["rho"] is None:
        return Content("nothing to compare")
    rest = f" 95% {one['low']:+.2f} to {one['high']:+.2f} · {one['n']:,} features"
    return Content.assemble((f"ρ {one['rho']:+.2f}", "bold"), (rest, "$text-muted"))


def _number(value: float | None) -> str:
    return f"{value:,}" if isinstance(value, int) else figure(value)


def _plot(chart: str, steps: list[dict[str, Any]], empty: str = "") -> Plot:
    """Snapshots as curves; `empty` is said where there are none."""
    if chart == "changes":
        steps = steps[1:]  # at the first all that are alive count as born
    xs = [step["step"] for step in steps]

    def ys(name: str) -> list[float]:
        return [float("nan") if step[name] is None else float(step[name]) for step in steps]

    series = tuple(Series(name, xs, ys(name)) for name in CHARTS[chart]) if steps else ()
    return Plot(
        name=NAMES[chart], series=series, low=0, high=max(xs, default=1),
        y_kind="number" if chart == "rho" else "count", empty=empty or "nothing yet",
    )  # fmt: skip

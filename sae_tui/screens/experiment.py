"""An experiment: a form of what to measure, and what was found as curves, intervals and a table while it comes."""

import textwrap
import time
from collections.abc import Iterator
from typing import Any

from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget

from core.errors import SaeTuiError, sentence
from core.experiments import kept
from core.experiments.records import Curve, Dose, Outcome, Point
from core.session import Session
from core.steering.interventions import Intervention
from sae_tui.screens import experiment_form as forms
from sae_tui.screens.names import Names, called
from sae_tui.screens.questions import Question, Questions
from sae_tui.screens.turning import Turning
from sae_tui.text import safe, span
from sae_tui.widgets import dosed, measured
from sae_tui.widgets.bars import Line
from sae_tui.widgets.chart import Chart
from sae_tui.widgets.form import Form
from sae_tui.widgets.paged_table import PagedTable
from sae_tui.widgets.rows import Rows
from sae_tui.widgets.titles import entitle

ASK = "^S measures; tab goes to what was found"
OF_DOSE = {"target": "target", "damage": "damage", "table": "table"}


class ExperimentPage(Questions, Turning):
    """Over Steer, whose engine it asks and to whose interventions a strength can go."""

    SECTION, MODE = "experiment", "steer"
    CSS_PATH = "experiment.tcss"
    PANES = {"form": "form", "told": "found", **OF_DOSE}

    def __init__(self, edits: tuple[Intervention, ...], at: Intervention | None, prompt: str) -> None:
        """What Steer has: its interventions, the one at its cursor, and the prompt."""
        super().__init__()
        self._given = forms.of_steer(edits, at, prompt)
        self._form = Form(forms.rows(self._given), id="form")
        self._question: Question | None = None
        self._outcome: Outcome | None = None
        self._names: Names | None = None
        self._session: Session | None = None
        self._began = self._counted = 0.0
        self._damage = 0

    def body(self) -> Iterator[Widget]:
        """The form at the left; charts, words and table at the right."""
        graph = self.app.settings.graph
        with Horizontal(id="panes"):
            with Vertical(id="left"):
                self._form.add_class("pane")
                yield self._form
            with Vertical(id="right"):
                with Horizontal(id="charts"):
                    for name in ("target", "damage"):
                        yield Chart(dosed.plot(None, name), graph=graph, id=name, classes="pane")
                with VerticalScroll(id="told", classes="pane"):
                    yield Rows(id="lines")
                yield PagedTable(dosed.columns(), key=lambda row: (row[0].feature, row[1].strength), id="table",
                                 classes="pane")  # fmt: skip
        yield Line(ASK, id="status")

    def mounted(self) -> None:
        """The form, as Steer fills it."""
        Questions.mounted(self)
        self._form.border_title = Content("experiment")
        self._sift()
        self._show()
        Turning.mounted(self)

    def opened(self, session: Session | None) -> None:
        """What was found is of one session."""
        if self._session is not None and session is not self._session:
            self.dismiss()
            return
        self._session = session
        self._names = Names(self, session, self._show) if session else None

    def recall(self, memory: dict[str, Any]) -> None:
        """The form as it was left, where Steer does not fill it."""
        values = memory.get("values")
        known = {str(k): str(v) for k, v in values.items()} if isinstance(values, dict) else {}
        found = {row.entry.name: row.value for row in forms.rows({**known, **self._given})}
        self._form.put(found)

    def memory(self) -> dict[str, Any]:
        """The form."""
        return {"values": self._values}

    @property
    def _values(self) -> dict[str, str]:
        return {entry.name: self._form.value(entry.name) for entry in forms.ENTRIES}

    def on_form_changed(self, event: Form.Changed) -> None:
        """Other rows may be of use."""
        self._sift()
        self._words()
        self._tell(ASK)

    def _sift(self) -> None:
        values = self._values
        self._form.filter(lambda row: forms.wanted(row, values))

    def action_run(self) -> None:
        """Measure, in the engine."""
        if self._question is not None:
            self._tell("it is measuring: esc stops it", error=True)
            return
        self.background(lambda: forms.request(self._values), self._begin, group="asked", failed=self._refused)

    def _refused(self, error: Exception) -> None:
        self._tell(sentence(error), error=True)
        self.to("form")

    def _begin(self, request: Any) -> None:
        self._outcome, self._began = None, time.monotonic()
        self._question = self.ask_engine(lambda operator, key: operator.experiment(key, request), self._heard)
        self._show()
        self._tell(
            "waiting for the engine · esc stops" if self._question else "no session yet", error=not self._question
        )
        if self.has_class("-narrow"):
            self.to("told")

    def _heard(self, question: Question) -> None:
        if question is not self._question or not self.is_mounted:
            return
        answer = question.answer
        if answer is not None and answer.outcome is not self._outcome:
            self._outcome = answer.outcome
            self._show()
        if not question.ended:
            self._tell(f"{question.phase}{self._left(question)} · esc stops")
            return
        self._question = None
        if question.error is not None:
            self._tell(sentence(question.error, "steering/engine.log"), error=True)
        elif self._outcome is None:
            self._tell("stopped: nothing was whole yet")
        self._keep()

    def _left(self, question: Question) -> str:
        """How long it has been going on, and is to go on as it did since it was begun to be counted."""
        now = time.monotonic()
        if not question.share:
            self._counted = now
            return f" · {span(now - self._began)}"
        rest = (now - self._counted) / question.share * (1 - question.share)
        return f" · {span(now - self._began)}, {span(rest)} to go"

    def clock(self) -> None:
        """How far it is."""
        if self._question is not None:
            self._heard(self._question)

    def _keep(self) -> None:
        session, outcome = self._session, self._outcome
        if session is None or outcome is None:
            return

        def saved(path: Any) -> None:
            self._tell(f"kept: {path.relative_to(session.path)}" + ("" if outcome.whole else ", as far as it is whole"))

        self.background(lambda: kept.save(session, outcome), saved, group="keep", failed=self._refused)

    def _show(self) -> None:
        outcome = self._outcome
        is_dose = isinstance(outcome, Dose)
        self.set_class(not is_dose, "-no-dose")
        panes = {"form": "form", "told": "found", **(OF_DOSE if is_dose else {})}
        if self.here not in panes:
            self.to("told")
        self.PANES = panes
        self._mark(self.here)
        if self._names is not None and outcome is not None:
            self._names.need(measured.mentioned(outcome))
        self._words()
        if is_dose:
            figure = dosed.DAMAGE[self._damage]
            self.query_one("#target", Chart).show(dosed.plot(outcome, "target"))
            self.query_one("#damage", Chart).show(dosed.plot(outcome, figure))
            table = self.query_one("#table", PagedTable)
            table.show([(curve, point) for curve in outcome.curves for point in curve.points])
            entitle(table, Content(f"strengths in {outcome.request.unit_words} · {outcome.seeds} seeds"))
        self.refresh_bindings()

    def _words(self) -> None:
        outcome, pane = self._outcome, self.query_one("#told", VerticalScroll)
        entitle(pane, Content(safe(measured.title(outcome)) if outcome else "found"))
        width = max(20, pane.size.width - 2)
        if outcome is None:
            about = textwrap.wrap(dosed.ABOUT[self._form.value("kind")], width)
            lines = [Content.styled(line, "$text-muted") for line in about]
        else:
            lines = measured.lines(outcome, self._called, width, ascii_only=self.app.settings.graph == "ascii")
            row = self._row
            if row is not None:
                lines = [*lines, Content(""), *dosed.text(*row)]
        self.query_one("#lines", Rows).fill(lines)

    def _called(self, feature: int) -> str:
        return called(self._names.known.get(feature)).plain if self._names else ""

    def turned(self) -> None:
        """Other cells."""
        self._words()

    def on_resize(self) -> None:
        """Other cells."""
        self.call_after_refresh(self._words)

    def on_paged_table_moved(self, event: PagedTable.Moved) -> None:
        """What was written at another strength."""
        self._words()

    def _tell(self, words: str, *, error: bool = False) -> None:
        line = self.query_one("#status", Line)
        line.set_class(error, "-error")
        line.show(words)

    @property
    def _row(self) -> tuple[Curve, Point] | None:
        """The strength at the cursor."""
        return self.query_one("#table", PagedTable).row if isinstance(self._outcome, Dose) else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While one types, keys are text."""
        if action in ("take", "damage"):
            return isinstance(self._outcome, Dose) and self.focused is not self._form
        return action not in ("up", "down") or self.focused is self._form

    def on_descendant_focus(self, event: Any) -> None:
        """Other keys work here."""
        self.refresh_bindings()

    def action_up(self) -> None:
        """To the row before."""
        self._form.step(-1)

    def action_down(self) -> None:
        """To the next row."""
        self._form.step(1)

    def action_take(self) -> None:
        """The best strength of the window to Steer."""
        row = self._row
        if row is None or row[0].window is None:
            self._tell("no strength is of use: enter on one takes it all the same", error=True)
        else:
            self._take(row[0].feature, row[0].window.best)

    def on_paged_table_opened(self, event: PagedTable.Opened) -> None:
        """The strength at the cursor to Steer."""
        if event.row is not None and event.row[1].strength is not None:
            self._take(event.row[0].feature, event.row[1].strength)

    def _take(self, feature: int, strength: float) -> None:
        assert isinstance(self._outcome, Dose)
        self.app.to_steer.append(self._outcome.request.intervention(feature, strength).to_command())
        self.dismiss()

    def action_damage(self) -> None:
        """Another figure of damage."""
        self._damage = (self._damage + 1) % len(dosed.DAMAGE)
        self._show()

    def copied(self) -> tuple[str, str] | None:
        """What is told of what was found."""
        lines = [line.plain for line in self.query_one("#lines", Rows).lines] if self._outcome else []
        return ("what was found", "\n".join(lines)) if lines else None

    def command_line(self) -> str | None:
        """`sae-tui experiment` with the form's values."""
        if self._session is None:
            return None
        try:
            return dosed.command_line(forms.request(self._values), self._session.name)
        except SaeTuiError:
            return None

    def action_leave(self) -> None:
        """Stop; else from a pane to the form; else back."""
        if self._question is not None:
            self.stop_asking_engine()
        elif self.maximized is not None:
            self.minimize()
        else:
            self.dismiss()

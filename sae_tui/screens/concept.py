"""A concept: example texts, contrast texts, and the features that stand for what the examples have in common."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.errors import sentence
from core.records import ConceptRow
from sae_tui.screens.concept_words import concept_columns, lines_of, told, why_empty
from sae_tui.screens.names import Names, called
from sae_tui.screens.page import Page
from sae_tui.screens.questions import Question
from sae_tui.text import safe
from sae_tui.widgets.bars import Line
from sae_tui.widgets.columns import Column
from sae_tui.widgets.paged_table import PagedTable
from sae_tui.widgets.text_box import TextBox
from sae_tui.widgets.titles import entitle

if TYPE_CHECKING:
    from core.session import Session
    from sae_tui.screens.features import FeaturesPage

TOP = 100
"""Features listed."""
WIDE, WIDE_CONTRAST = 100, 140
"""Columns of a terminal that holds all of the list's, without and with contrast texts."""
HINTS = {
    "texts": "example texts, one a line: what have they in common?",
    "contrast": "may stay empty: texts, one a line, without it",
}
ASK = "type some texts, then ^J searches"


class ConceptPage(Page):
    """Over Features, whose engine it asks, and whose marks it sets. The texts are there again the next time."""

    SECTION, MODE = "concept", "features"
    CSS_PATH = "concept.tcss"
    AUTO_FOCUS = ""

    def __init__(self, features: "FeaturesPage") -> None:
        super().__init__()
        self._features, self._searched = features, features.searched
        self._question: Question | None = None
        self._names: Names | None = None

    def body(self) -> Iterator[Widget]:
        """The two boxes above the list."""
        with Horizontal(id="boxes"):
            for name, hint in HINTS.items():
                text = getattr(self._searched, name)
                yield TextBox(
                    text, id=name, classes="pane", placeholder=hint, soft_wrap=True, compact=True,
                    show_line_numbers=False,
                )  # fmt: skip
        yield Line(ASK, id="told")
        yield PagedTable(self._columns(), key=lambda row: row.feature, id="found", classes="pane")
        yield Static(id="why", classes="pane", markup=False)

    def mounted(self) -> None:
        """As it was searched last."""
        for name, words in (("texts", "examples"), ("contrast", "contrast")):
            self._box(name).border_title = Content(words)
        self._show()
        (self._table if self._rows else self._box("texts")).focus()

    def opened(self, session: "Session | None") -> None:
        """A search belongs to its session."""
        if session is None or session.name != self._searched.session:
            self._stop()
            self._searched.found, self._searched.session = None, session.name if session else ""
            self._show()
        self._names = Names(self, session, self._table.changed) if session else None
        self._need()

    def resumed(self) -> None:
        """Marks may be others now."""
        self._mark()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While one types, keys are text."""
        return not self._typing or action not in ("mark", "mark_all", "filter", "edit")

    def copied(self) -> tuple[str, str] | None:
        """The number of the feature at the cursor."""
        row = self._table.row
        return (f"the number {row.feature}", str(row.feature)) if row else None

    def on_resize(self) -> None:
        """Columns may have room in another order."""
        self._table.set_columns(self._columns())

    def on_unmount(self) -> None:
        """What was typed is kept; nobody hears an answer."""
        self._stop()

    @property
    def _table(self) -> PagedTable:
        return self.query_one("#found", PagedTable)

    def _box(self, name: str) -> TextBox:
        return self.query_one(f"#{name}", TextBox)

    @property
    def _typing(self) -> bool:
        return isinstance(self.focused, TextBox)

    @property
    def _rows(self) -> tuple[ConceptRow, ...]:
        return self._searched.found.rows if self._searched.found else ()

    def _called(self, feature: int) -> Content:
        return called(self._names.known.get(feature)) if self._names else Content("")

    def _density(self, feature: int) -> float | None:
        one = self._names.known.get(feature) if self._names else None
        return one.density if one else None

    def _columns(self) -> list[Column]:
        contrast = bool(self._searched.found and self._searched.found.contrast)
        return concept_columns(
            self._called, self._density, contrast=contrast, most=max((row.score for row in self._rows), default=0.0),
            wide=self.size.width >= (WIDE_CONTRAST if contrast else WIDE),
            ascii_only=self.app.settings.graph == "ascii",
        )  # fmt: skip

    def on_text_area_changed(self) -> None:
        """Keep what was typed."""
        self._searched.texts, self._searched.contrast = self._box("texts").text, self._box("contrast").text

    def action_run(self) -> None:
        """Search, in the background."""
        texts, contrast = lines_of(self._searched.texts), lines_of(self._searched.contrast)
        if self._question is not None:
            self.app.say("a search runs already: esc stops it")
        elif not texts:
            self._tell("type an example text first, one a line", error=True)
            self._box("texts").focus()
        else:
            self._question = self._features.ask_engine(
                lambda operator, key: operator.concept(key, texts, contrast, top=TOP), self._heard
            )
            self._tell("waiting for the engine · esc stops")

    def _heard(self, question: Question) -> None:
        if question is not self._question or not self.is_mounted:
            return
        if not question.ended:
            self._tell(f"{question.phase} · esc stops")
            return
        self._question = None
        if question.answer is not None:
            self._searched.found = question.answer
            self._show()
            self._need()
            if self._rows:
                self._table.focus()
        elif question.error is not None:
            self._tell(safe(sentence(question.error, "steering/engine.log")), error=True)
        else:
            self._tell("stopped")

    def _show(self) -> None:
        found = self._searched.found
        self._table.set_columns(self._columns())
        self._table.border_subtitle = Content(f"strong: {safe(found.rule)}" if found else "")
        self._table.show(self._rows)
        why = why_empty(found)
        self.query_one("#why", Static).update(why)
        self.set_class(bool(why), "-empty")
        if found is None:
            self._tell(ASK)
        else:
            self._tell(told(found))

    def _need(self) -> None:
        if self._names is not None:
            self._names.need(row.feature for row in self._rows)

    def _tell(self, words: Content | str, *, error: bool = False) -> None:
        line = self.query_one("#told", Line)
        line.set_class(error, "-error")
        line.show(words)

    def _stop(self) -> bool:
        running, self._question = self._question is not None, None
        if running:
            self._features.stop_asking_engine()
        return running

    def on_paged_table_opened(self, event: PagedTable.Opened) -> None:
        """Open the feature."""
        if event.row is not None:
            self.app.open_feature(event.row.feature)

    def on_descendant_focus(self, event: Any) -> None:
        """Other keys work here."""
        self.refresh_bindings()

    def action_mark(self) -> None:
        """Mark the feature at the cursor, in both lists."""
        row = self._table.row
        if row is not None:
            self._table.toggle_mark()
            self._features.mark_also([row.feature], marked=row.feature in self._table.marks)
            self._mark()

    def action_mark_all(self) -> None:
        """Mark all, in both lists; where all are marked, none."""
        features = [row.feature for row in self._rows]
        marked = not set(features) <= self._features.marks
        self._features.mark_also(features, marked=marked)
        self._mark()

    def _mark(self) -> None:
        """Show which are marked, as Features has it."""
        marks = self._features.marks
        self._table.mark(marks)
        entitle(self._table, Content(f"features · {len(marks)} marked in all" if marks else "features"))

    def action_filter(self) -> None:
        """These alone in Features."""
        if self._rows:
            self._features.show_only([row.feature for row in self._rows])
            self.dismiss()

    def action_edit(self) -> None:
        """To the texts."""
        self._box("texts").focus()

    def action_pane(self) -> None:
        """The next."""
        self._step(1)

    def action_pane_before(self) -> None:
        """The one before."""
        self._step(-1)

    def _step(self, by: int) -> None:
        panes: list[Widget] = [self._box("texts"), self._box("contrast"), *([self._table] if self._rows else [])]
        at = panes.index(self.focused) if self.focused in panes else 0
        panes[(at + by) % len(panes)].focus()

    def action_leave(self) -> None:
        """Stop; else from the texts to the list; else back."""
        if self._stop():
            self._tell("stopped")
        elif self.maximized is not None:
            self.minimize()
        elif self._typing and self._rows:
            self._table.focus()
        else:
            self.dismiss()

"""The interventions of the Steer screen as a list, and what can be done to the one at the cursor."""

from dataclasses import replace

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from core.analysis.described import scales
from core.steering.commands import Action
from core.steering.interventions import Intervention
from core.steering.places import EVERYWHERE
from core.steering.plan import Plan, in_max, nudged
from sae_tui.screens.names import Names, called
from sae_tui.screens.steer_words import Fires, edit_words
from sae_tui.widgets.paged_table import Column, PagedTable, Source
from sae_tui.widgets.scales import bar
from sae_tui.widgets.titles import entitle

SHORT = {"generated": "gen", "from:": "≥", "until:": "<", "role:": "", "firing": "z>0", "while:": "z"}
"""A place in few cells: its words are below the list."""
FULL = 2.0
"""The strength, in units of the feature's max, that fills the bar; a scale of eight times that does."""


class Edits(Vertical):
    """A plan's interventions, and below them the one at the cursor in words."""

    DEFAULT_CSS = """
    Edits {
        PagedTable { height: 1fr; }
        Static { height: auto; max-height: 4; color: $text-muted; }
        &.-nothing PagedTable { display: none; }
    }
    """

    class Changed(Message):
        """The plan is another one; `words` say what was done."""

        def __init__(self, words: str) -> None:
            super().__init__()
            self.words = words

    def __init__(self, *, ascii_only: bool = False, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.border_subtitle = Content("+ - · 0 ablate · D delete · u U undo")
        self._ascii = ascii_only
        self.plan = Plan()
        self._names: Names | None = None
        self._fires: Fires = lambda feature: None
        self._told = Content("")
        self._placed = False

    def compose(self) -> ComposeResult:
        """The table above the words."""
        yield PagedTable(self._columns(), key=lambda edit: edit.feature, id="edits")
        yield Static(id="edit", markup=False)

    def _columns(self) -> list[Column]:
        return [
            Column("feature", "feature", 8, _switch),
            Column("edit", "strength", 10, strength),
            *([Column("place", "where", 8, place)] if self._placed else []),
            Column("name", "stands for", 8, self._stands_for, weight=1),
            Column("bar", "", 6, self._bar),
        ]

    @property
    def table(self) -> PagedTable:
        """The list."""
        return self.query_one(PagedTable)

    @property
    def at(self) -> int | None:
        """The place of the intervention at the cursor; None where there is none."""
        return self.table.index if self.plan.interventions else None

    @property
    def current(self) -> Intervention | None:
        """The one at the cursor."""
        return None if self.at is None else self.plan.interventions[self.at]

    def show(self, names: Names | None, fires: Fires) -> None:
        """Show the plan as it is. `fires` tells of features on what is steered."""
        self._names, self._fires = names, fires
        edits = self.plan.interventions
        if names is not None:
            names.need(edit.feature for edit in edits)
        self.set_class(not edits, "-nothing")
        placed = any(edit.where != EVERYWHERE for edit in edits)
        if placed != self._placed:
            self._placed = placed
            self.table.browse(Source.of(()), columns=self._columns())
        self.table.show(edits)
        self.table.changed()
        on = sum(edit.enabled for edit in edits)
        title = f"interventions · {on} on" if edits else "interventions"
        entitle(self, Content(title))
        words = edit_words(self.current, names, fires)
        if not words.is_same(self._told):
            self._told = words
            self.query_one("#edit", Static).update(words)

    def do(self, line: str) -> Action | None:
        """Do a command; one that is not about the plan is handed back. Raises UsageError."""
        before = self.plan.interventions
        done = self.plan.do(line)
        if isinstance(done, Action):
            return done
        after = self.plan.interventions
        at = next((i for i, edit in enumerate(after) if edit not in before), None)
        self._changed(done, at)
        return None

    def nudge(self, steps: int) -> None:
        """The one at the cursor some steps stronger."""
        if self.current is not None:
            self._put(nudged(self.current, steps, scales(self._names.known if self._names else {})))

    def ablate(self) -> None:
        """Set the feature at the cursor to 0."""
        if self.current is not None:
            self._put(replace(self.current, kind="ablate", value=0.0, unit="raw"))

    def switch(self) -> None:
        """Switch the one at the cursor off, or on again."""
        if self.current is not None:
            self._put(replace(self.current, enabled=not self.current.enabled))

    def take_away(self) -> None:
        """Take the one at the cursor away."""
        if self.at is not None:
            gone = self.plan.interventions[self.at]
            self.plan.remove(self.at)
            self._changed(f"feature {gone.feature} is left as it is: u brings its intervention back", self.at)

    def line(self) -> str:
        """The one at the cursor as the command that makes it; the beginning of a command where there is none."""
        return "/" if self.current is None else self.current.to_command()

    def on_paged_table_moved(self, event: PagedTable.Moved) -> None:
        """Tell of another one."""
        self.show(self._names, self._fires)

    def _put(self, edit: Intervention) -> None:
        if self.at is not None:
            self.plan.replace(self.at, edit)
            self._changed(edit.describe(), self.at)

    def _changed(self, words: str, at: int | None) -> None:
        self.show(self._names, self._fires)
        if at is not None:
            self.table.move_to(at)
        self.post_message(self.Changed(words))

    def _stands_for(self, edit: Intervention) -> Content:
        if self._names is None or edit.feature in self._names.missing:
            return Content.styled("no such feature", "$error")
        name = called(self._names.known.get(edit.feature))
        return name if edit.enabled else Content.styled(name.plain, "$text-muted")

    def _bar(self, edit: Intervention) -> Content:
        most = in_max(edit, scales(self._names.known if self._names else {}))
        share = edit.value / 4 / FULL if edit.kind == "scale" else 0.0 if most is None else most / FULL
        colour = "$text-muted" if not edit.enabled else "$error" if share < 0 else "$accent"
        return Content.styled(bar(abs(share), 6, ascii_only=self._ascii), colour)


def strength(edit: Intervention) -> str:
    """What is done to the feature, in as few cells as can be: `× 4`, `= 1 max`, `+ 0.5 p99`."""
    unit = "" if edit.unit == "raw" else f" {edit.unit}"
    sign = "−" if edit.value < 0 else "+"
    return {
        "ablate": "× 0",
        "mean-ablate": "= mean",
        "scale": f"× {edit.value:.4g}",
        "set": f"= {edit.value:.4g}{unit}",
        "add": f"{sign} {abs(edit.value):.4g}{unit}",
        "cap": f"≤ {edit.value:.4g}{unit}",
    }[edit.kind]


def place(edit: Intervention) -> str:
    """Where it holds, in few cells: `gen,z>0`."""
    short = "" if edit.where == EVERYWHERE else edit.where
    for word, instead in SHORT.items():
        short = short.replace(word, instead)
    return short


def _switch(edit: Intervention) -> Content:
    if edit.enabled:
        return Content.assemble(("● ", "$success"), (str(edit.feature), "bold"))
    return Content.styled(f"○ {edit.feature}", "$text-muted")

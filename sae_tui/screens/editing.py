"""The interventions of a screen of Steer, the commands that are typed there, and the keys for both."""

from collections.abc import Callable, Sequence
from typing import Protocol

from textual.widget import Widget

from core.analysis.described import Described
from core.errors import UsageError, sentence
from core.steering.commands import Action
from sae_tui.screens.console import Console
from sae_tui.screens.edits import Edits
from sae_tui.screens.names import Names
from sae_tui.screens.page import Page
from sae_tui.widgets.command_line import CommandLine
from sae_tui.widgets.paged_table import PagedTable


class FiringList(Protocol):
    """A list of features that fire."""

    @property
    def table(self) -> PagedTable:
        """The list."""
        ...

    @property
    def feature(self) -> int | None:
        """The feature at its cursor; None where there is none."""
        ...


class Editing(Page):
    """A screen with a list of interventions, a list of features that fire, and a line for commands."""

    SECTION, MODE = "edits", "steer"

    def __init__(self) -> None:
        super().__init__()
        self.names: Names | None = None
        """Of the session's features."""
        self._back: Widget | None = None
        """Where the focus was before a command was typed."""

    @property
    def firing(self) -> FiringList:
        """What fires."""
        raise NotImplementedError

    def plan_changed(self, words: str) -> None:
        """The plan is another one; `words` say what was done."""
        raise NotImplementedError

    @property
    def edits(self) -> Edits:
        """The interventions."""
        return self.query_one(Edits)

    def say(self, words: str, *, error: bool = False) -> None:
        """Show words at the bottom."""
        self.query_one(Console).say(words, error=error)

    def action_command(self, line: str = "/") -> None:
        """Type a command."""
        if not isinstance(self.focused, CommandLine):
            self._back = self.focused
        self.query_one(Console).open(line)

    def on_command_line_left(self) -> None:
        """No command."""
        self.leave_command()

    def on_command_line_entered(self, event: CommandLine.Entered) -> None:
        """Do the command; one that cannot be done stays to be mended."""
        if self.do(event.line):
            self.leave_command()

    def leave_command(self) -> None:
        """Back to where one was."""
        back, self._back = self._back, None
        self.query_one(Console).close()
        (back or self.edits.table).focus()

    def do(self, line: str) -> bool:
        """Do a command; whether it could be done."""
        try:
            action = self.edits.do(line)
            if action is not None:
                self.act(action)
        except UsageError as error:
            self.say(sentence(error), error=True)
            return False
        return True

    def act(self, action: Action) -> None:
        """Do what is not about the plan. Raises UsageError."""
        if action.name == "find":
            self._find(action.value)

    def _find(self, words: str) -> None:
        """Steer with the first feature of that number, label or token."""

        def found(features: Sequence[Described]) -> None:
            if features:
                self.do(f"/add {features[0].feature} {'1max' if features[0].max else '10'}")
            elif words.isdecimal() and self.names and not self.names.analysed:
                self.do(f"/add {words} 10")
            else:
                self.say(f"no feature by that number, label or token: {words}", error=True)

        if self.names is not None:
            self.names.find(words, 1, found)

    # What is done to interventions.

    def on_edits_changed(self, event: Edits.Changed) -> None:
        """The plan is another one."""
        self.plan_changed(event.words)

    def action_stronger(self) -> None:
        """One step more."""
        self._edit(lambda edits: edits.nudge(+1))

    def action_weaker(self) -> None:
        """One step less."""
        self._edit(lambda edits: edits.nudge(-1))

    def action_switch(self) -> None:
        """On or off."""
        self._edit(Edits.switch)

    def action_ablate(self) -> None:
        """Set it to 0."""
        self._edit(Edits.ablate)

    def action_remove(self) -> None:
        """Away with it."""
        self._edit(Edits.take_away)

    def action_undo(self) -> None:
        """Take the last change back."""
        self.do("/undo")

    def action_redo(self) -> None:
        """Do it again."""
        self.do("/redo")

    def _edit(self, act: Callable[[Edits], object]) -> None:
        if self.edits.current is None:
            self.say("there is no intervention yet: / types one, such as /amplify 12 4", error=True)
        else:
            act(self.edits)

    def action_add(self) -> None:
        """Add the feature that fires."""
        feature = self.firing.feature if self.firing.table.has_focus else None
        if feature is None:
            self.action_command("/add ")
        else:
            known = self.names.known.get(feature) if self.names else None
            self.do(f"/add {feature} {'1max' if known and known.max else '10'}")

    @property
    def feature(self) -> int | None:
        """The feature at hand: of what fires, while one is there, else of the interventions."""
        edit = self.edits.current
        return self.firing.feature if self.firing.table.has_focus else edit.feature if edit else None

    def action_feature(self) -> None:
        """Open it."""
        if self.feature is None:
            self.say("no feature is at the cursor", error=True)
        else:
            self.app.open_feature(self.feature)

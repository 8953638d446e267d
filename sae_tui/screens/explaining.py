"""Asking a language model for labels, on the screens that show features: of one, which is offered, or of many.

The command asks, in a process of its own; what is asked, answered and scored it keeps as ever.
"""

from pathlib import Path
from typing import Any

from core import explanations, labels
from core.errors import UsageError
from core.labels import Label
from core.session import Session
from sae_tui.screens.asked import Asks
from sae_tui.screens.dialogs import AskText
from sae_tui.screens.saying import Saying
from sae_tui.text import safe
from sae_tui.widgets.fields import TextLine

Row = dict[str, Any]


class Explaining(Asks, Saying):
    """A screen with that action. A subclass shows what goes on, `asking`, and ends it on esc by `interrupted`."""

    def __init__(self) -> None:
        super().__init__()
        self._offers: dict[int, Row] = {}
        """Answers, by feature, that came while a person did something else."""
        self._asked: Path | None = None
        """The folder of the session whose features they are."""

    def show_asking(self) -> None:
        """Show what the command does, or that it does nothing any more."""
        raise NotImplementedError

    def clock(self) -> None:
        """How far it is."""
        super().clock()
        if self.asking:
            self.show_asking()

    def opened(self, session: Session | None) -> None:
        """Of features of another session nobody hears the answer; the same may have been read again."""
        asked = None if session is None else session.path
        if asked != self._asked:
            self._asked = asked
            self._offers.clear()
            if self.stop_asking() and self.is_mounted:
                self.show_asking()
        super().opened(session)

    def interrupted(self) -> bool:
        """Stop asking; whether anything was asked."""
        stopped = self.stop_asking()
        if stopped:
            self.show_asking()
        return stopped

    def action_explain(self) -> None:
        """Ask a language model: for one feature's label, to be offered; for those of many that have none."""
        chosen, session = self.chosen, self.app.session
        if not chosen or session is None:
            return
        if self.asking:
            self.app.say("still at work: esc stops it")
            return
        one = chosen[0] if len(chosen) == 1 else None
        if one in self._offers:
            self._offer(session, self._offers.pop(one))
            return
        try:
            explanations.configured()
        except UsageError as error:
            self.app.say(self.app.told(error), "warning")
            return

        def came(found: list[Row]) -> None:
            self.show_asking()
            if one is None:
                self._wrote_many(session, found, len(chosen))
            else:
                self._model_said(session, found[0])

        def failed(error: Exception) -> None:
            self.show_asking()
            self.app.complain(error)

        which = f"feature IN ({', '.join(map(str, chosen))})"
        words = ["labels", session.name, "--ask", "--limit", str(len(chosen)), "--where"]
        self.ask([*words, f"NOT dead AND {which}"] if one is None else [*words, which, "--offer"], came, failed)
        self.show_asking()

    def _model_said(self, session: Session, found: Row) -> None:
        """Offer it, unless a person does something else: a dialog that comes then takes keys meant for that."""
        if self.app.screen is self and not isinstance(self.focused, TextLine):
            self._offer(session, found)
        else:
            self._offers[found["feature"]] = found
            self.app.say(f'feature {found["feature"]}, {_told(found)}: "{found["label"]}"; ask again to take it')

    def _offer(self, session: Session, found: Row) -> None:
        """To be taken as it is, with its source and score, or in a person's words, or left."""
        feature, label = found["feature"], found["label"]

        def write() -> dict[int, Row]:
            labels.add(session, [Label(feature=feature, label=label, source=found["model"])], replace_labels=True)
            store = self.app.stores.get(session)
            store.relabel()
            return store.said([feature])

        def answered(text: str | None) -> None:
            if text == safe(label):
                self.background(write, self.wrote, group=f"say-{feature}")
            elif text is not None:
                self.say_of([feature], label=text.strip())

        self.app.push_screen(AskText(f"Feature {feature}, {_told(found)}", label), answered)

    def _wrote_many(self, session: Session, found: list[Row], asked: int) -> None:
        """Say what came of asking for many, which the command has written."""
        features = [one["feature"] for one in found]

        def read() -> dict[int, Row]:
            store = self.app.stores.get(session)
            store.relabel()
            return store.said(features) if features else {}

        besides = "; the others have one, which stays, or fire nowhere" if len(found) < asked else ""
        self.app.say(f"{len(found):,} of {asked:,} labels given by the model{besides}")
        self.background(read, self.wrote, group="given")


def _told(found: Row) -> str:
    """Who gave a label, and how well it tells the feature."""
    score = found["score"]
    return f"by {found['model']}, " + ("not to be tested" if score is None else f"detection score {score:.2f}")

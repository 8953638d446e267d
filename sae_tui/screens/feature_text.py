"""A text of a person's own, on which the feature that is shown lights up, and every feature one goes on to."""

from collections.abc import Sequence

from textual.content import Content
from textual.timer import Timer

from sae_tui.screens.dialogs import AskText
from sae_tui.screens.feature_view import FeatureView
from sae_tui.screens.questions import Question
from sae_tui.widgets.feature_panes import FeaturePanes
from sae_tui.widgets.pane_set import Known

FIRING = 100
"""Features asked for on a token."""
QUIET_S = 0.15
"""How long a feature is shown before it is asked about the text: who walks fast asks about the last alone."""


class FeatureText(FeatureView):
    """One feature, and a text in the place of its contexts where a person gives one."""

    PANES = FeaturePanes

    def __init__(self) -> None:
        super().__init__()
        self._text = ""
        """The text; empty where none is looked at."""
        self._question: Question | None = None
        self._rest: Timer | None = None

    def begin(self, feature: int) -> None:
        """Without a text."""
        if self.is_mounted:
            self.forget_text()
        super().begin(feature)

    @property
    def _panes(self) -> FeaturePanes:
        return self.query_one(FeaturePanes)

    def action_text(self) -> None:
        """Ask for a text, and look where on it the feature fires."""
        browser = self._browser
        if browser is None or self._card is None:
            return

        def answered(text: str | None) -> None:
            if text is None:
                return
            browser.read = text
            self.forget_text()
            if text.strip():
                self._text = text
                self._panes.to("contexts")
                self._read()
            else:
                self._panes.places.close()

        self.app.push_screen(
            AskText("A text: where on it does this feature fire?", self._text or browser.read), answered
        )

    def forget_text(self) -> bool:
        """Look at no text any more; whether something was being asked about one."""
        self._text = ""
        asking, self._question = self._question is not None, None
        if asking:
            self._panes.places.border_subtitle = ""
            if self._browser is not None:
                self._browser.stop_asking_engine()
        return asking

    def _came(self, known: Known) -> None:
        super()._came(known)
        if self._text:
            if self._rest is not None:
                self._rest.stop()
            self._rest = self.set_timer(QUIET_S, self._read)

    def _read(self) -> None:
        """Ask; what is asked already comes first, and then is asked anew where it is of another feature."""
        card, text, browser = self._card, self._text, self._browser
        if self._question is not None or card is None or not text or browser is None:
            return
        feature = card.feature
        self._question = browser.ask_engine(
            lambda operator, key: operator.reading(key, [text], feature),
            lambda question: self._heard(question, text, feature),
        )

    def _ask_firing(self, position: int, what: str) -> None:
        """Ask which features fire on the token at a position of the text, and choose among them; `what` it is."""
        card, text, browser = self._card, self._text, self._browser
        if self._question is not None or card is None or not text or browser is None:
            return
        asked = text, card.feature
        self._question = browser.ask_engine(
            lambda operator, key: operator.firing(key, text, FIRING),
            lambda question: self._told_firing(question, asked, position, what),
        )

    def _fire(self, features: Sequence[tuple[int, float]], what: str) -> None:
        """Choose among features with their values on a token, the strongest first, and go there."""
        raise NotImplementedError

    def _heard(self, question: Question, text: str, feature: int) -> None:
        if self._answered(question, (text, feature)) and question.answer.texts and self._card is not None:
            self._panes.places.open_text(question.answer.texts[0], most=self._card.row["max"])
            if self._panes.at_hand == "contexts":
                self._panes.to("contexts")

    def _told_firing(self, question: Question, asked: tuple[str, int], position: int, what: str) -> None:
        if self._answered(question, asked) and position < len(question.answer):
            self._fire(question.answer[position].features, what)

    def _answered(self, question: Question, asked: tuple[str, int]) -> bool:
        """Say how far a question is; whether its answer is there, and still about the text and feature at hand."""
        if question is not self._question or not self.is_mounted or self._card is None:
            return False
        self._panes.places.border_subtitle = "" if question.ended else Content(f"{question.phase} · esc stops")
        if not question.ended:
            return False
        self._question = None
        if question.error is not None:
            self._text = ""
            self.app.complain(question.error)
        elif asked != (self._text, self._card.feature):
            self._read()
        else:
            return question.answer is not None
        return False

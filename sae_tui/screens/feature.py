"""One feature: where it fires and how strongly, on what, what it writes into the stream, and what is like it."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from core.labels import Label
from core.records import Example
from sae_tui.screens.choose import Choose
from sae_tui.screens.dialogs import Ask
from sae_tui.screens.feature_text import FeatureText
from sae_tui.screens.saying import Saying
from sae_tui.text import called, figure, token
from sae_tui.widgets.contexts import Contexts
from sae_tui.widgets.feature_panes import PANES, FeaturePanes
from sae_tui.widgets.histogram import Histogram
from sae_tui.widgets.paged_table import PagedTable
from sae_tui.widgets.token_text import TokenText

STEERING = {"m": "/amplify {} 2", "x": "/add {} 1max", "a": "/ablate {}", "r": "/add {} 10"}
"""What the answers put into Steer's list, with the feature's number."""


COPIED = {
    "tokens": ("token", "text"), "categories": ("category", "category"), "neighbours": ("number", "other"),
    "coactivations": ("number", "other"),
}  # fmt: skip
"""Of the row at the cursor in a pane, what `y` copies: what that is, and its column."""


class FeaturePage(Saying, FeatureText):
    """One feature of the session at hand, over the Features screen."""

    SECTION, MODE = "feature", "features"
    CSS_PATH = "feature.tcss"
    AUTO_FOCUS = "Contexts"

    def memory(self) -> dict[str, Any]:
        """The pane, and how things are drawn."""
        if not self.query(FeaturePanes):  # on its way in or out
            return self.app.state.part(self.SECTION)
        panes = self._panes
        return {"pane": panes.at_hand, "log": panes.histogram.log_scale, "ids": panes.ids}

    def recall(self, memory: dict[str, Any]) -> None:
        """As it was left."""
        panes, pane = self._panes, memory.get("pane")
        panes.histogram.log_scale = memory.get("log") is not False
        panes.ids = memory.get("ids") is True
        panes.to(pane if pane in PANES else PANES[0])

    def copied(self) -> tuple[str, str] | None:
        """What is at hand in the pane with the keys, of the weights the feature's page; else the feature's number."""
        panes = self._panes
        row = panes.table(panes.at_hand).row if panes.at_hand in COPIED else None
        if panes.at_hand == "contexts" and panes.places.copied:
            return panes.places.copied
        if row and panes.at_hand in ("tokens", "categories"):
            what, name = COPIED[panes.at_hand]
            return f"the {what}", row[name]
        if panes.at_hand == "weights" and self._link:
            return f"the address {self._link}", self._link
        number = row["other"] if row else self.feature
        return f"the number {number}", str(number)

    def command_line(self) -> str | None:
        """`sae-tui feature`."""
        return f"sae-tui feature {shlex.quote(self._session.name)} {self.feature}" if self._session else None

    def action_next(self) -> None:
        """The next feature."""
        self._step(1)

    def action_previous(self) -> None:
        """The feature before."""
        self._step(-1)

    def action_earlier(self) -> None:
        """Where one came from by way of a neighbour."""
        if self._earlier:
            self._go(self._earlier.pop())
        else:
            self.app.say("this is the feature that was opened first")

    # What is said of it.

    @property
    def chosen(self) -> list[int]:
        """The feature that is shown."""
        return [self._card.feature] if self._card else []

    def said(self, field: str) -> Any:
        """What is shown of it."""
        return None if self._card is None else self._card.row[field] or ""

    def wrote(self, said: Sequence[Label]) -> None:
        """Show it, where the feature is still shown."""
        for label in said:
            if self._card is not None and self._card.feature == label.feature:
                now = {"label": label.label, "note": label.note, "starred": label.starred, "tags": list(label.tags)}
                self._card = replace(self._card, row={**self._card.row, **now})
                self._show_head()

    def action_steer(self) -> None:
        """Ask how, and go to Steer with it."""
        found, session = self._card, self._session
        if found is None or session is None:
            return
        fired = [("m", "amplify ×2"), ("x", "add 1 max"), ("a", "ablate")]
        answers = [("r", "add 10")] if found.row["dead"] else fired

        def answered(letter: str | None) -> None:
            if letter in STEERING:
                self.app.to_steer.append(STEERING[letter].format(found.feature))
                self.app.open_session(session, "steer")

        self.app.push_screen(Ask(f"Steer with feature {found.feature}", (*answers, ("c", "cancel"))), answered)

    # What is in the panes.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Some keys are for documents alone."""
        return self._panes.places.reading if action in ("firing", "firing_before") and self.is_mounted else True

    def action_pane(self) -> None:
        """The next pane."""
        self._panes.step(1)

    def action_pane_before(self) -> None:
        """The pane before."""
        self._panes.step(-1)

    def action_close(self) -> None:
        """Stop what is asked of a text; close the document; where none is open, leave."""
        stopped = self.forget_text()
        if not self._panes.places.close() and not stopped:
            self.action_back()

    def action_back(self) -> None:
        """Leave, with the cursor of the list below on the feature one has come to."""
        if self._card is not None and self._browser is not None:
            self._browser.go_to(self._wanted)
        super().action_back()

    def action_band(self) -> None:
        """Other contexts."""
        self._panes.places.next_band()

    def action_link(self) -> None:
        """Copy the address of its page on Neuronpedia."""
        if self._link:
            self.app.copy(f"the address {self._link}", self._link)
        else:
            self.app.say("this SAE is not on Neuronpedia: its cfg.json has no neuronpedia_id")

    def action_ids(self) -> None:
        """Ids or text."""
        self._panes.ids = not self._panes.ids

    def action_log(self) -> None:
        """Log scale or not."""
        self._panes.histogram.log_scale = not self._panes.histogram.log_scale

    def action_firing(self) -> None:
        """The next token it fires on."""
        self._panes.places.firing(1)

    def action_firing_before(self) -> None:
        """The one before."""
        self._panes.places.firing(-1)

    def on_contexts_opened(self, event: Contexts.Opened) -> None:
        """Open the document."""
        session, found, example = self._session, self._card, event.example
        if session is None or found is None:
            return

        def came(passage: list[dict[str, Any]]) -> None:
            if self._card is not None and self._card.feature == found.feature:
                self._panes.places.open(example, passage)

        def ask() -> list[dict[str, Any]]:
            return self.app.stores.get(session).passage(found.feature, example.token_idx)

        self.background(ask, came, group="document")

    def on_token_text_opened(self, event: TokenText.Opened) -> None:
        """Choose among the features that fire on the token, and go there."""
        session, at = self._session, self._panes.places.token(event.index)
        if session is None or at is None:
            return

        def came(rows: list[dict[str, Any]]) -> None:
            if not rows:
                self.app.say("no feature fires on this token")
                return
            title = f"features that fire on {token(at['text'])}"
            choices = [(f"{row['feature']:>7}  {called(row)}", figure(row["value"])) for row in rows]
            self.app.push_screen(Choose(title, choices), chosen)

        def chosen(name: str | None) -> None:
            if name is not None:
                self._earlier.append(self._wanted)
                self._go(int(name.split()[0]))

        self.background(lambda: self.app.stores.get(session).firing(at["token_idx"]), came, group="firing")

    def on_histogram_opened(self, event: Histogram.Opened) -> None:
        """Go to the contexts of a bin."""
        self._find(lambda e: event.bin.lo < e.value <= event.bin.hi, "of that bin")

    def on_paged_table_opened(self, event: PagedTable.Opened) -> None:
        """A feature opens; a token or a category goes to the contexts that are about it, or have it."""
        if event.row is None:
            return
        if event.table.id in ("neighbours", "coactivations"):
            self._earlier.append(self._wanted)
            self._go(event.row["other"])
        elif event.table.id == "tokens":
            text = event.row["text"]
            self._find(lambda e: (text, e.token_idx) in [(t.text, t.token_idx) for t in e.tokens], "about that token")
        elif event.table.id == "categories":
            category = event.row["category"]
            self._find(lambda e: e.category == category, "of that category")
        elif effect := event.row[-1 if event.table.column.name.startswith("suppress") else 1]:
            self._find(lambda e: effect["text"] in [t.text for t in e.tokens], "one with that token in it")

    def _find(self, fits: Callable[[Example], bool], what: str) -> None:
        examples = self._card.examples if self._card else []
        if not self._panes.find([e for e in examples if fits(e)]):
            self.app.say(f"none of the contexts shown is {what}")

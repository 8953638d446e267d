"""One feature of a language model: where it fires and how strongly, on what, what it writes into the stream."""

from collections.abc import Sequence
from typing import Any

from sae_tui.screens.feature_actions import FeatureActions
from sae_tui.screens.feature_text import FeatureText
from sae_tui.text import token
from sae_tui.widgets.contexts import Contexts
from sae_tui.widgets.paged_table import PagedTable
from sae_tui.widgets.token_text import TokenText

COPIED = {"tokens": ("token", "text"), "categories": ("category", "category")}
"""Of the row at the cursor in a pane, what `y` copies: what that is, and its column."""


class FeaturePage(FeatureText, FeatureActions):
    """With contexts, documents, tokens and a text of a person's own."""

    AUTO_FOCUS = "Contexts"
    SHOWN = "contexts"

    def memory(self) -> dict[str, Any]:
        """Whether tokens are shown as ids, too."""
        kept = super().memory()
        return {**kept, "ids": self._panes.ids} if self.is_mounted and self.query(self.PANES) else kept

    def recall(self, memory: dict[str, Any]) -> None:
        """As it was left."""
        self._panes.ids = memory.get("ids") is True
        super().recall(memory)

    def copied(self) -> tuple[str, str] | None:
        """What is at hand in the pane with the keys, else as of any feature."""
        panes = self._panes
        if panes.at_hand == "contexts" and panes.places.copied:
            return panes.places.copied
        if panes.at_hand in COPIED and (row := panes.table(panes.at_hand).row):
            what, name = COPIED[panes.at_hand]
            return f"the {what}", row[name]
        return super().copied()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Some keys are for documents alone."""
        return self._panes.places.reading if action in ("firing", "firing_before") and self.is_mounted else True

    def action_close(self) -> None:
        """Stop what is asked, of the model or of a text; close the document; where none is open, leave."""
        stopped = self.interrupted() or self.forget_text()
        if not self._panes.places.close() and not stopped:
            self.action_back()

    def action_ids(self) -> None:
        """Ids or text."""
        self._panes.ids = not self._panes.ids

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
        places = self._panes.places
        at = places.token(event.index)
        if at is None:
            return
        if places.given:
            self._ask_firing(at["token_idx"], token(at["text"]))
        else:
            self._choose_firing(at["token_idx"], token(at["text"]))

    def _fire(self, features: Sequence[tuple[int, float]], what: str) -> None:
        """Choose among features with their values on a token, the strongest first, and go there."""
        session = self._session
        if session is None:
            return
        values = dict(features)

        def look() -> list[dict[str, Any]]:
            where = f"feature IN ({', '.join(map(str, values))})"
            return self.app.stores.get(session).features(where=where, limit=len(values)) if values else []

        def came(rows: list[dict[str, Any]]) -> None:
            firing = [{**row, "value": values[row["feature"]]} for row in rows]
            self._choose_among(sorted(firing, key=lambda row: -row["value"]), what)

        self.background(look, came, group="firing")

    def on_paged_table_opened(self, event: PagedTable.Opened) -> None:
        """A token or a category goes to the contexts that are about it, or have it. Called besides the one above."""
        if event.row is None:
            return
        if event.table.id == "tokens":
            text = event.row["text"]
            self._find(lambda e: (text, e.token_idx) in [(t.text, t.token_idx) for t in e.tokens], "about that token")
        elif event.table.id == "categories":
            category = event.row["category"]
            self._find(lambda e: e.category == category, "of that category")
        elif event.table.id == "effects":
            effect = event.row[-1 if event.table.column.name.startswith("suppress") else 1]
            if effect:
                self._find(lambda e: effect["text"] in [t.text for t in e.tokens], "one with that token in it")

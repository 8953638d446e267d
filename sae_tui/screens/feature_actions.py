"""One feature of whatever model: what a person says of it, its panes, steering with it, going on to others."""

import os
import shlex
import sys
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sae_tui.screens.choose import Choose
from sae_tui.screens.dialogs import Ask
from sae_tui.screens.explaining import Explaining
from sae_tui.screens.feature_view import FeatureView
from sae_tui.text import called, figure
from sae_tui.widgets.feature_head import FeatureHead
from sae_tui.widgets.histogram import Histogram
from sae_tui.widgets.paged_table import PagedTable
from sae_tui.widgets.pane_set import PaneSet

STEERING = {"m": "/amplify {} 2", "x": "/add {} 1max", "a": "/ablate {}", "r": "/add {} 10"}
"""What the answers put into Steer's list, with the feature's number."""
OTHERS = ("neighbours", "coactivations")
"""The panes that list other features."""
UNLINKED = "this SAE is not on Neuronpedia: its cfg.json has no neuronpedia_id"


def browser_here() -> bool:
    """Whether a browser may open a window where the person sits: not through SSH, and on Linux not without a display.

    What Python finds there would be one for the terminal, which the workbench has.
    """
    if os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY"):
        return False
    displayed = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not displayed:
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


class FeatureActions(FeatureView, Explaining):
    """One feature of the session at hand, over the Features screen."""

    SECTION, MODE = "feature", "features"
    SHOWN = "places"
    """What the main pane shows, for a person."""

    def begin(self, feature: int) -> None:
        """Nobody hears the answer about the feature before."""
        self.stop_asking()
        super().begin(feature)

    def memory(self) -> dict[str, Any]:
        """The pane, and how things are drawn."""
        kept = self.app.state.part(self.SECTION)
        if not self.query(PaneSet):  # on its way in or out
            return kept
        return {**kept, "pane": self._panes.at_hand, "log": self._panes.histogram.log_scale}

    def recall(self, memory: dict[str, Any]) -> None:
        """As it was left."""
        panes, pane = self._panes, memory.get("pane")
        panes.histogram.log_scale = memory.get("log") is not False
        panes.to(pane if pane in panes.ALL else panes.MAIN)

    def copied(self) -> tuple[str, str] | None:
        """The feature at hand in a list of others, of the weights the feature's page; else the feature's number."""
        panes = self._panes
        if panes.at_hand == "weights" and self._link:
            return f"the address {self._link}", self._link
        row = panes.table(panes.at_hand).row if panes.at_hand in OTHERS else None
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

    def wrote(self, said: Mapping[int, dict[str, Any]]) -> None:
        """Show it, where the feature is still shown."""
        if self._card is not None and self._card.feature in said:
            self._card = replace(self._card, row={**self._card.row, **said[self._card.feature]})
            self._show_head()

    def show_asking(self) -> None:
        """In the head."""
        self.query_one(FeatureHead).tell(self.asking)

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

    def action_pane(self) -> None:
        """The next pane."""
        self._panes.step(1)

    def action_pane_before(self) -> None:
        """The pane before."""
        self._panes.step(-1)

    def action_close(self) -> None:
        """Stop asking the model; where nothing is asked, leave."""
        if not self.interrupted():
            self.action_back()

    def action_back(self) -> None:
        """Leave, with the cursor of the list below on the feature one has come to."""
        if self._card is not None and self._browser is not None:
            self._browser.go_to(self._wanted)
        super().action_back()

    def action_band(self) -> None:
        """Other places."""
        self._panes.next_band()

    def action_link(self) -> None:
        """Copy the address of its page on Neuronpedia."""
        if self._link:
            self.app.copy(f"the address {self._link}", self._link)
        else:
            self.app.say(UNLINKED)

    def action_browse(self) -> None:
        """Open that page; copy its address where no browser is at hand."""
        if self._link is None:
            self.app.say(UNLINKED)
        elif browser_here():
            self.app.open_url(self._link)
            self.app.say(f"opened {self._link}")
        else:
            self.app.copy(f"the address {self._link}, as there is no browser here", self._link)

    def action_log(self) -> None:
        """Log scale or not."""
        self._panes.histogram.log_scale = not self._panes.histogram.log_scale

    def on_histogram_opened(self, event: Histogram.Opened) -> None:
        """Go to the places of a bin."""
        self._find(lambda place: event.bin.lo < place.value <= event.bin.hi, "of that bin")

    def on_paged_table_opened(self, event: PagedTable.Opened) -> None:
        """A feature opens."""
        if event.row is not None and event.table.id in OTHERS:
            self._go_on(event.row["other"])

    def _go_on(self, feature: int) -> None:
        """Show another feature, from which one can come back."""
        self._earlier.append(self._wanted)
        self._go(feature)

    def _choose_firing(self, token_idx: int, what: str, *, unlabelled: str = "") -> None:
        """Choose among the features that fire on a token, or image, and go there; `what` that is.

        `unlabelled` stands before what a feature without a label goes by.
        """
        session = self._session
        if session is not None:
            self.background(
                lambda: self.app.stores.get(session).firing(token_idx),
                lambda rows: self._choose_among(rows, what, unlabelled),
                group="firing",
            )

    def _choose_among(self, rows: Sequence[dict[str, Any]], what: str, unlabelled: str = "") -> None:
        """Choose among these features, each with its `value` there."""
        if not rows:
            self.app.say(f"no feature fires on {what}")
            return
        names = [called(row) if row["label"] else f"{unlabelled}{called(row)}" for row in rows]
        choices = [
            (f"{row['feature']:>7}  {name}", figure(row["value"])) for row, name in zip(rows, names, strict=True)
        ]

        def chosen(name: str | None) -> None:
            if name is not None:
                self._go_on(int(name.split()[0]))

        self.app.push_screen(Choose(f"features that fire on {what}", choices), chosen)

    def _find(self, fits: Callable[[Any], bool], what: str) -> None:
        if not self._panes.find(fits):
            self.app.say(f"none of the {self.SHOWN} shown is {what}")

"""Features of SAEs compared: the SAEs beside each other, which features are alike, and which one has alone."""

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget

from core.session import Session
from sae_tui.screens import opening
from sae_tui.screens.asked import Asks
from sae_tui.screens.turning import Told, Turning
from sae_tui.text import safe
from sae_tui.widgets import alike
from sae_tui.widgets.alike import LISTS, SCORES
from sae_tui.widgets.paged_table import Column, PagedTable, Source
from sae_tui.widgets.titles import entitle

LIMIT = 1_000
"""Pairs that are listed, and features that one has alone."""


class AlikePage(Asks, Turning):
    """Over the Runs screen. All is of one answer of `sae-tui compare`, for directions, firing or documents."""

    SECTION, MODE = "alike", "runs"
    CSS_PATH = "alike.tcss"
    PANES = {"figures": "SAEs", "matches": "matches", "pairs": "features"}

    def __init__(self, names: Sequence[str]) -> None:
        """`names` are sessions that were analysed, in the order in which a feature is followed."""
        super().__init__()
        self._names = list(names)
        self._by: str | None = None
        """None: as the sessions allow."""
        self._answers: dict[str | None, Any] = {}
        self._beaten: dict[str, Any] = {}
        """Of each session that was measured so, what it has to beat; nothing where that failed."""
        self._beats = False
        """Whether they are shown in the place of the figures."""
        self._fault = ""
        self._read_for: Session | None = None
        """The session at hand when this screen was seen last."""
        self._at, self._list, self._follows = 0, LISTS[0], False
        self._figures = PagedTable(
            alike.figure_columns(names, 80, ascii_only=False), key=lambda row: row[0], id="figures", classes="pane"
        )
        self._pairs = PagedTable(
            [Column("feature", "feature", 7, lambda row: str(row["feature"]))], key=lambda row: row["feature"],
            id="pairs", classes="pane",
        )  # fmt: skip

    def body(self) -> Iterator[Widget]:
        """The figures above; matches and features below."""
        yield self._figures
        with Horizontal(id="below"):
            yield Told(id="matches", classes="pane")
            yield self._pairs

    def mounted(self) -> None:
        """Ask at once."""
        super().mounted()
        self._ask()

    def _ask(self) -> None:
        self._fault = ""
        if self._by not in self._answers:
            if self.has_class("-narrow"):
                self.to("matches")  # what runs is told there
            by = self._by

            def came(answer: Any) -> None:
                self._answers[by] = answer
                self._by = by or answer["matches"][0]["by"]
                self._answers[self._by] = answer
                self._show()
                if self.here == "matches":
                    self.to("figures")
                self._measure()

            self.ask(
                ["compare", *self._names, *(["--by", by] if by else []), "--limit", str(LIMIT)], came, self._refused
            )
        self._show()

    def _refused(self, error: Exception) -> None:
        self._fault = self.app.told(error)
        self._measure()
        self._show()

    def _measure(self) -> None:
        """Where baselines are shown, ask for those of the first session without, then of the next."""
        name = next((name for name in self._names if name not in self._beaten), None)
        if not self._beats or self.asking or name is None:
            return

        def came(answer: Any) -> None:
            self._beaten[name] = answer["baselines"][name]
            self._measure()
            self._show()

        def failed(error: Exception) -> None:
            self._beaten[name] = ()
            self.app.complain(error)
            self._measure()
            self._show()

        self.ask(["compare", name, "--baselines"], came, failed)

    def clock(self) -> None:
        """How far the verb is."""
        if self.asking:
            self._tell()

    @property
    def _answer(self) -> Any:
        return self._answers.get(self._by)

    @property
    def _match(self) -> Any:
        """The two sessions at hand."""
        return self._answer["matches"][self._at] if self._answer else None

    @property
    def _session(self) -> Session:
        """That of the column of the figures, or of the row of baselines, at the cursor; else the first."""
        name = self._figures.column.name
        if self._beats:
            name = self._figures.row[1] if self._figures.row else ""
        return Session(self.app.root / (name if name in self._names else self._names[0]))

    @property
    def _ascii(self) -> bool:
        return self.app.settings.graph == "ascii"

    def _show(self) -> None:
        """All of it."""
        answer, match = self._answer, self._match
        known = answer or next(iter(self._answers.values()), None)
        if self._beats:
            rows = alike.baselines(self._names, self._beaten)
            columns = alike.baseline_columns(rows, self._figures.line_width, ascii_only=self._ascii)
        else:
            rows = alike.figures(known["sessions"]) if known else []
            columns = alike.figure_columns(self._names, self._figures.line_width, ascii_only=self._ascii)
        self._figures.browse(Source.of(rows), self._figures.index, columns=columns)
        if match is None:
            self._pairs.show(())
        else:
            columns = alike.pair_columns(match, self._list, ascii_only=self._ascii)
            self._pairs.browse(Source.of(match[self._list]), self._pairs.index, columns=columns)
        self._tell()
        self.refresh_bindings()

    def _tell(self) -> None:
        """What is beside the tables, and above them."""
        beaten = "what each has to beat at its L0, on what nothing was fitted on"
        if self._beats and len(self._beaten) < len(self._names):
            beaten += f" · {self.asking or 'stopped: R asks again'}"
        entitle(self._figures, Content(beaten if self._beats else " · ".join(map(safe, self._names))))
        pane, match = self.query_one("#matches", Told), self._match
        width, height = pane.size.width, pane.size.height
        if match is None:
            entitle(pane, Content("matches"))
            entitle(self._pairs, Content("features"))
            words = self.asking or self._fault or "stopped: R asks again"
            pane.show([Content(line) for line in _wrapped(words, width)])
            return
        place = f" · {self._at + 1} of {len(self._names) - 1}" if len(self._names) > 2 else ""
        pair = f"{safe(match['one'])} → {safe(match['other'])}, by {SCORES[match['by']]}{place}"
        row = self._pairs.row
        if self._follows and row is not None:
            title, lines = (
                f"feature {row['feature']} from one to the next",
                alike.way_lines(row["way"], self._names, width, ascii_only=self._ascii),
            )
        else:
            title, lines = pair, alike.match_lines(match, width, height, ascii_only=self._ascii)
        entitle(pane, Content(title))
        pane.show(lines)
        entitle(self._pairs, Content(self._said(match)))

    def _said(self, match: Any) -> str:
        """What is in the list."""
        shown = len(match[self._list])
        if self._list == "pairs":
            said, of = "each other's best", match["mutual"]
        else:
            name = match["one" if self._list == "only" else "other"]
            of = len(match["unmatched" if self._list == "only" else "unmatched_back"])
            said = f"only in {safe(name)}"
        return f"{said} {of:,}" + (f", the first {shown:,}" if shown < of else "")

    def turned(self) -> None:
        """Other cells."""
        self._show()

    def on_paged_table_moved(self, event: PagedTable.Moved) -> None:
        """Another feature: its way, where that is followed."""
        if event.table is self._pairs and self._follows:
            self._tell()

    def on_paged_table_opened(self, event: PagedTable.Opened) -> None:
        """The feature of the session at the cursor; of the figures, the session's features."""
        if event.table is self._figures:
            self.app.open_session(self._session, "features")
            return
        name = event.table.column.name
        row, match = event.row, self._match
        if row is None or match is None:
            return
        is_other = self._list == "pairs" and name == match["other"]
        first = match["other"] if self._list == "only_back" else match["one"]
        self.app.session = Session(self.app.root / (name if is_other else first))
        self.app.open_feature(row["other"] if is_other else row["feature"])

    # Actions.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Two SAEs have no next pair."""
        if action in ("next", "previous"):
            return len(self._names) > 2
        return action not in ("list", "follow") or self._match is not None

    def action_by(self) -> None:
        """By the next of direction, firing, documents; after a first try that failed, by firing."""
        ways = list(SCORES)
        self._by = ways[(ways.index(self._by or "direction") + 1) % len(ways)]
        self._ask()

    def action_list(self) -> None:
        """The next list."""
        self._list = LISTS[(LISTS.index(self._list) + 1) % len(LISTS)]
        self._show()
        self._pairs.move_to(0)
        self.to("pairs")

    def action_follow(self) -> None:
        """The way of the feature at the cursor, or the matches again."""
        self._follows = not self._follows
        self._tell()
        if self.has_class("-narrow"):
            self.to("matches" if self._follows else "pairs")

    def action_baselines(self) -> None:
        """What each has to beat, or the SAEs again."""
        self._beats = not self._beats
        self._measure()
        self._show()
        self._figures.move_to(0)
        self.to("figures")

    def action_next(self) -> None:
        """The next two sessions."""
        self._turn(1)

    def action_previous(self) -> None:
        """The two before."""
        self._turn(-1)

    def _turn(self, by: int) -> None:
        self._at = (self._at + by) % (len(self._names) - 1)
        self._show()
        self._pairs.move_to(0)

    def action_study(self) -> None:
        """The studies of the session at the cursor."""
        opening.study(self, self._session)

    def action_leave(self) -> None:
        """The matches, or the SAEs, again; what runs is stopped; else back."""
        if self.maximized is not None:
            self.minimize()
        elif self._follows:
            self.action_follow()
        elif self.stop_asking():
            self._show()
        elif self._beats:
            self.action_baselines()
        else:
            self.dismiss()

    def opened(self, session: Session | None) -> None:
        """Read again: ask anew."""
        again, self._read_for = session is self._read_for, session
        if again and not self.asking:
            self._answers.clear()
            self._beaten.clear()
            self._ask()

    def copied(self) -> tuple[str, str] | None:
        """The feature at the cursor."""
        row = self._pairs.row
        return (f"feature {row['feature']}", str(row["feature"])) if row else None

    def command_line(self) -> str:
        """`sae-tui compare`."""
        words = ["sae-tui", "--sessions", str(self.app.root), "compare", *self._names]
        by = ["--by", self._by] if self._by else []
        return shlex.join([*words, *by, *(["--baselines"] if self._beats else [])])


def _wrapped(words: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(safe(words), max(8, width))

"""Features: browse, filter and sort what the SAE has learned, a preview beside it."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from textual import on

from core import jobs
from core.analysis.browse import FACETS, MATCH, Kind
from sae_tui import keys
from sae_tui.screens.browsing import Wanted
from sae_tui.screens.choose import Choose
from sae_tui.screens.concept_words import Searched
from sae_tui.screens.dialogs import Ask
from sae_tui.screens.explaining import Explaining
from sae_tui.screens.feature_list import QUIET_S
from sae_tui.screens.feature_maps import Maps
from sae_tui.screens.questions import Questions
from sae_tui.text import safe
from sae_tui.widgets.contexts import Contexts
from sae_tui.widgets.feature_columns import ASCENDING, sets
from sae_tui.widgets.fields import TextLine
from sae_tui.widgets.gallery import Gallery


class FeaturesPage(Questions, Explaining, Maps):
    """All features of the session at hand."""

    SECTION = MODE = "features"
    CSS_PATH = "features.tcss"
    AUTO_FOCUS = "#features"

    def __init__(self) -> None:
        super().__init__()
        self.searched = Searched()
        """The search for a concept that was made last."""
        self.read = ""
        """The text on which a feature was looked at last."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While one types, keys are text: only leaving the box is left."""
        typing = self.focused is not None and self.focused.id == "filter-text"
        return action == "leave" or not typing if action in {a.name for a in keys.actions(self.SECTION)} else True

    def copied(self) -> tuple[str, str] | None:
        """The cell at the cursor; in the first column the feature's number."""
        row, name = self._table.row, self._table.column.name
        if row is None:
            return None
        if name == "feature" or row.get(name) is None:
            return f"the number {row['feature']}", str(row["feature"])
        return f"{name} of feature {row['feature']}", str(row[name])

    def command_line(self) -> str | None:
        """`sae-tui features`."""
        if self.app.session is None or self._found is None:
            return None
        order = self._found.order
        words = ["sae-tui", "features", self.app.session.name]
        # With a space before it a dash begins no option.
        words += [f" {order.text}" if order.text.startswith("-") else order.text] if order.text else []
        words += [] if order.sort == MATCH else ["--sort", order.sort]
        words += [] if order.descending else ["--ascending"]
        where = " AND ".join(order.besides)
        return shlex.join([*words, "--where", where] if where else words)

    def memory(self) -> dict[str, Any]:
        """What is wanted, and the feature at the cursor."""
        return {**asdict(self._wanted), "feature": self._anchor}

    def recall(self, memory: dict[str, Any]) -> None:
        """As it was left."""
        self._wanted = Wanted.of(memory)
        feature = memory.get("feature")
        self._anchor = feature if type(feature) is int else None
        with self.prevent(TextLine.Changed):
            self._box.value = safe(self._wanted.text)

    @on(Contexts.Opened)
    @on(Gallery.Opened)
    def _open_previewed(self) -> None:
        """The feature of the context, or of the image."""
        if self._preview.feature is not None:
            self.app.open_feature(self._preview.feature)

    def on_input_changed(self, event: TextLine.Changed) -> None:
        """Look, once typing rests."""
        if event.input is self._box:
            self._later("type", QUIET_S, self._apply)

    def on_input_submitted(self, event: TextLine.Submitted) -> None:
        """Look now, and go to the list."""
        if event.input is self._box:
            self._apply()
            self._table.focus()

    def _apply(self) -> None:
        """Look for what stands in the box, if that was not done yet."""
        if "type" in self._put_off:
            self._put_off["type"].stop()
        text = self._box.value.strip()
        if text != self._wanted.text:
            self._ask(text=text)

    def _clear(self, **changes: Any) -> None:
        with self.prevent(TextLine.Changed):
            self._box.value = ""
        self._ask(text="", **changes)

    def action_filter(self) -> None:
        """To the filter box."""
        if not self.has_class("-none"):
            self.set_class(False, "-alone")
            self._box.focus()

    def action_leave(self) -> None:
        """Out of the filter box, or of what has the whole screen; stop looking; clear the filter, facet and marks."""
        if self._box.has_focus:
            self._apply()
            self._table.focus()
        elif self.maximized is not None or self.has_class("-alone"):
            self.action_zoom()
        elif self._asking is not None:
            self._give_up()
            self._draw_ran()
        elif self.interrupted():
            return
        elif self._wanted.text or self._trouble:
            self._clear()
        elif self._wanted.kind != Kind():
            self._ask(kind=Kind())
        elif self._table.marks:
            self._table.mark(())
            self._draw()

    def action_zoom(self) -> None:
        """The pane at hand on the whole screen; where the preview has no room beside the list, the preview."""
        if self.has_class("-narrow"):
            alone = not self.has_class("-alone")
            self.set_class(alone, "-alone")
            self.call_after_refresh((self._preview.keys if alone else self._table).focus)
            self.call_after_refresh(self._rest)
        else:
            super().action_zoom()

    def action_sort(self) -> None:
        """By the column at the cursor; the other way round, where it is that one already."""
        self._sort(self._table.column.name)

    def action_sort_by(self) -> None:
        """By any column."""
        if self._found is not None:
            columns = [(name, kind.lower()) for name, kind in self._found.store.browsed.items() if name != "tags"]
            columns.insert(0, (MATCH, "of the words"))
            self.app.push_screen(Choose("sort by", columns, at=self._wanted.sort), self._sort)

    def _sort(self, name: str | None) -> None:
        if self._found is None or name is None:
            return
        if name not in self._found.store.browsed and name != MATCH:
            self.app.say(f"there is no order by {name}: S lists the columns")
        elif name == self._found.order.sort:
            self._ask(sort=name, descending=not self._found.order.descending)
        else:
            self._ask(sort=name, descending=name not in ASCENDING)

    def action_facet(self) -> None:
        """The next kind of features."""
        facets, kind = list(FACETS), self._wanted.kind
        following = facets[(facets.index(kind.facet) + 1) % len(facets)]
        self._ask(kind=replace(kind, facet=following, category=None))

    def action_kinds(self) -> None:
        """Choose among the kinds, the specialists of each category among them."""
        if self._found is None:
            return
        store, kind = self._found.store, self._wanted.kind

        def came(kinds: list[tuple[Kind, int]]) -> None:
            named = {one.words or "all": one for one, _ in kinds}
            choices = [(one.words or "all", f"{n:,}") for one, n in kinds]

            def chosen(name: str | None) -> None:
                if name is not None:
                    self._ask(kind=replace(named[name], cluster=kind.cluster))

            at = replace(kind, cluster=None).words or "all"
            self.app.push_screen(Choose("which features", choices, at=at), chosen)

        self.background(store.kinds, came, group="kinds")

    def action_concept(self) -> None:
        """Search for a concept by example texts."""
        if self.unsuited:
            self.app.say("the model of this session reads images: it knows no texts to search by")
        elif self._found is not None:
            from sae_tui.screens.concept import ConceptPage

            self.app.push_screen(ConceptPage(self))

    def mark_also(self, features: Sequence[int], *, marked: bool) -> None:
        """Mark these besides those that are, or take their marks away."""
        others = [mark for mark in self._table.marks if mark not in features]
        self._table.mark([*others, *features] if marked else others)
        self._draw()

    @property
    def marks(self) -> set[int]:
        """The marked features."""
        return {int(str(one)) for one in self._table.marks}

    def show_only(self, features: Sequence[int]) -> None:
        """Show these features alone."""
        text = f"feature IN ({', '.join(map(str, features))})"
        with self.prevent(TextLine.Changed):
            self._box.value = text
        self._ask(text=text, kind=Kind())

    def action_columns(self) -> None:
        """The next set of columns."""
        if self._found is not None:
            names = list(sets(list(self._found.store.browsed), self._found.unit))
            at = names.index(self._wanted.columns) if self._wanted.columns in names else 0
            self._ask(columns=names[(at + 1) % len(names)])

    def action_mark(self) -> None:
        """Mark the feature at the cursor."""
        self._table.toggle_mark()
        self._draw()

    def action_next(self) -> None:
        """The next feature, wherever the focus is."""
        self._table.action_down()

    def action_previous(self) -> None:
        """The feature before."""
        self._table.action_up()

    @property
    def chosen(self) -> list[int]:
        """The marked features; else the one at the cursor."""
        row = self._table.row
        return [int(str(one)) for one in self._table.marks] or ([row["feature"]] if row else [])

    def wrote(self, said: Mapping[int, dict[str, Any]]) -> None:
        """Look again."""
        self._ask()

    def show_asking(self) -> None:
        """Beneath the filter box."""
        self._draw_ran(self.asking)

    def action_copy_numbers(self) -> None:
        """Copy the numbers of what is chosen."""
        chosen = self.chosen
        if chosen:
            what = f"the numbers of {len(chosen)} features" if len(chosen) > 1 else f"the number {chosen[0]}"
            self.app.copy(what, ", ".join(map(str, chosen)))

    def action_steer(self) -> None:
        """Add the marked features, or the one at the cursor, to what Steer does."""
        features, session = self.chosen, self.app.session
        if features and session is not None:
            self.app.to_steer += [f"/add {feature} 1max" for feature in features]
            self.app.open_session(session, "steer")

    def action_copy_condition(self) -> None:
        """Copy the condition that ran."""
        where = self._found.order.where if self._found else ""
        self.app.copy("the condition", where) if where else self.app.say("no condition: all features are here")

    def action_analyze(self) -> None:
        """Start an analysis; ask first, where there is one."""
        session = self.app.session
        if session is None:
            return

        def start() -> None:
            self.background(lambda: jobs.start(session, "analyze"), self._started, group="start")

        if self._found is None:
            start()
        else:
            self.app.push_screen(
                Ask(
                    "Analyse again?", (("a", "analyse"), ("c", "cancel")),
                    detail="what is here stays until the new analysis is done; labels stay in any case",
                ),
                lambda letter: start() if letter == "a" else None,
            )  # fmt: skip

    def _started(self, process: Any) -> None:
        self.app.started.append(process)
        self.app.say("the analysis runs in a process of its own")
        self.app.tick()

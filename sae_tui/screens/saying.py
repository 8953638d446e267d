"""What a person says of features, on the screens that show them: labels, notes, tags and stars, of one or of many."""

from collections.abc import Mapping, Sequence
from typing import Any

from core import labels
from core.analysis import naming
from core.labels import Label
from sae_tui.screens.dialogs import AskText
from sae_tui.screens.page import Page

QUESTIONS = {
    "label": ("What does feature {} stand for, in a few words?", "What do these {} features stand for?"),
    "note": ("What else is there to say about feature {}?", "What is there to say about these {} features?"),
    "tags": ("Tags of feature {}, commas between", "Tags of these {} features, commas between"),
}
"""Of one feature, by its number; of many, by how many they are."""


class Saying(Page):
    """A screen with such actions. A subclass says which features they are about, and shows what was written."""

    @property
    def chosen(self) -> list[int]:
        """What the actions are about."""
        raise NotImplementedError

    def said(self, field: str) -> Any:
        """What was said before, where the screen has it at hand: a dialog that comes later takes keys too late."""
        return None

    def wrote(self, said: Mapping[int, dict[str, Any]]) -> None:
        """Something was written of these features: what is said of each now, as `Reads.said` has it."""
        raise NotImplementedError

    def action_star(self) -> None:
        """Star what is chosen, or take the stars away where all have one."""
        chosen, session = self.chosen, self.app.session
        if not chosen or session is None:
            return

        def every() -> bool:
            known = labels.read(session)
            return all(feature in known and known[feature].starred for feature in chosen)

        self.background(every, lambda starred: self.say_of(chosen, starred=not starred), group="said")

    def action_label(self) -> None:
        """Ask for a label."""
        self._ask_for("label")

    def action_note(self) -> None:
        """Ask for a note."""
        self._ask_for("note")

    def action_tags(self) -> None:
        """Ask for tags."""
        self._ask_for("tags")

    def action_propose(self) -> None:
        """Propose labels from what the chosen fire on, without any model; a label that is there stays."""
        chosen, session = self.chosen, self.app.session
        if not chosen or session is None:
            return

        def write() -> tuple[dict[int, dict[str, Any]], int, int]:
            store = self.app.stores.get(session)
            written, left = labels.add(session, naming.labels(store, chosen))
            store.relabel()
            return store.said(chosen), written, left

        def proposed(answer: tuple[dict[int, dict[str, Any]], int, int]) -> None:
            said, written, left = answer
            self.app.say(_proposed(said, written, left))
            if written:
                self.wrote(said)

        self.background(write, proposed, group=f"say-{chosen[0]}")

    def _ask_for(self, field: str) -> None:
        chosen, session = self.chosen, self.app.session
        if not chosen or session is None:
            return
        of_one, of_many = QUESTIONS[field]
        question = of_many.format(len(chosen)) if len(chosen) > 1 else of_one.format(chosen[0])

        def before() -> list[Any]:
            known = labels.read(session)
            return [getattr(known.get(feature, Label(feature=feature)), field) for feature in chosen]

        def answered(text: str | None) -> None:
            if text is not None:
                self.say_of(chosen, **{field: labels.tags_in(text) if field == "tags" else text.strip()})

        def ask(said: Sequence[Any]) -> None:
            texts = {", ".join(one) if field == "tags" else one for one in said}
            self.app.push_screen(AskText(question, texts.pop() if len(texts) == 1 else ""), answered)

        here = self.said(field)
        ask([here]) if here is not None else self.background(before, ask, group="said")

    def say_of(self, features: Sequence[int], **fields: Any) -> None:
        """Write it down, as a person's word, and show it."""
        session = self.app.session
        if session is None:
            return

        def write() -> dict[int, dict[str, Any]]:
            for feature in features:
                labels.change(session, feature, **fields)
            store = self.app.stores.get(session)
            store.relabel()
            return store.said(features)

        def written(said: dict[int, dict[str, Any]]) -> None:
            if len(said) > 1:
                name = "stars" if "starred" in fields else ", ".join(fields)
                self.app.say(f"{name} of {len(said)} features: written")
            self.wrote(said)

        self.background(write, written, group=f"say-{features[0]}")


def _proposed(said: Mapping[int, dict[str, Any]], written: int, left: int) -> str:
    """What came of proposing labels for these features."""
    asked = len(said)
    if asked > 1:
        silent = asked - written - left
        parts = [f"{written:,} of {asked:,} labels proposed from tokens"]
        parts += [f"{left:,} had one, which stays"] if left else []
        parts += [f"{silent:,} whose tokens say too little"] if silent else []
        return "; ".join(parts)
    if left:
        return "it has a label, which stays: e changes it"
    if not written:
        return "the tokens it fires on say too little for a label: e gives it one"
    [one] = said.values()
    return f'proposed from its tokens: "{one["label"]}"'

"""The Steer screen's recipes and saved transcripts: what is kept of a session's steering, and taken up again."""

from dataclasses import replace
from pathlib import Path

from core.session import Session
from core.steering.replay import Replay, as_it_was
from core.steering.request import GenerationRequest
from core.steering.transcript import Transcript, held
from sae_tui.screens.generation import Generation
from sae_tui.screens.planning import NO_SESSION
from sae_tui.screens.saved import REPLAY, ChooseSaved, Saved, family, opened, saved
from sae_tui.screens.steer_branches import Branching


class Keeping(Branching):
    """Reads and writes in the background."""

    def __init__(self) -> None:
        super().__init__()
        self._replayed: tuple[GenerationRequest, Transcript] | None = None
        """What was asked for to get a transcript again."""

    @property
    def recipe(self) -> GenerationRequest:
        """With the prompt. Raises UsageError."""
        return self.edits.plan.request(self.prompt.text)

    def action_saved(self) -> None:
        """Choose one."""
        if self.steered is None:
            self.say(NO_SESSION, error=True)
            return
        session = self.steered

        def found(all_: list[Saved]) -> None:
            def chosen(one: str | None) -> None:
                if one is not None:
                    self._open(session, all_, one)

            if all_:
                self.app.push_screen(ChooseSaved(all_), chosen)
            else:
                self.say("nothing is saved yet: each text is at its end, /save NAME makes a recipe", error=True)

        self.background(lambda: saved(session), found, group="saved")

    def _open(self, session: Session, all_: list[Saved], chosen: str) -> None:
        path = Path(chosen.removeprefix(REPLAY))
        one = next(one for one in all_ if one.path == path)
        if one.wrong:
            self.say(f"{path.name}: {one.wrong}", error=True)
        elif one.is_recipe:
            self.take_recipe(one.name)
        elif chosen.startswith(REPLAY):
            self.background(lambda: Transcript.load(path), lambda then: self._replay(then, path.name), group="open")
        else:
            paths = family(all_, path)

            def show(generation: Generation) -> None:
                if self.steered is session:
                    self._show(generation, path.name)

            self.background(lambda: opened(paths, path), show, group="open")

    def _show(self, generation: Generation, name: str) -> None:
        """A saved text as the one at hand, under what held at its end."""
        desk = self.open_desk()
        assert desk is not None, "a session is steered"

        def show() -> None:
            desk.generation = generation
            interventions, sampling = held(generation.request, generation.changes, len(generation.reports))
            n = len(generation.branches.all)
            words = f"{name}: {f'one of {n} branches, ' if n > 1 else ''}n goes on with it, f tries again"
            self.say(self.take(replace(generation.request, interventions=interventions, sampling=sampling), words))
            self.draw()
            self.texts.pane().focus()

        desk.at_rest(show)

    def _replay(self, then: Transcript, name: str) -> None:
        """The same tokens again, from the first on, as they were asked for."""
        desk = self.open_desk()
        if desk is None or self.hindrance:
            return
        request, changes = as_it_was(then)
        self.say(self.take(then.request(), f"replay of {name}"))
        self._replayed = request, then
        desk.begin(request, changes, then.made_with.threads)
        self.comes()

    def verdict(self) -> str:
        """Of a replay whether it is the same."""
        generation, replayed = self.generation, self._replayed
        now = generation.transcript() if generation else None
        if generation is None or now is None or replayed is None or generation.request is not replayed[0]:
            return ""
        self._replayed = None
        return f"replay: {Replay.of(replayed[1], now).describe()}"

    def take(self, request: GenerationRequest, words: str) -> str:
        """Take up its prompt too."""
        if request.prompt and request.prompt != self.prompt.text:
            # An edit, which the prompt's own undo takes back: what was typed is not lost.
            self.prompt.replace(request.prompt, (0, 0), self.prompt.document.end)
            words += "; ^Z in the prompt brings back what was typed"
        return super().take(request, words)

"""The Steer screen while text streams: pause, one token more, back, another try, and the branches that come of it."""

from collections.abc import Callable

from core.steering.transcript import held
from core.steering.tree import Branches
from sae_tui.screens.generation import SIDES
from sae_tui.screens.steer_desk import PAUSED_S, AtDesk
from sae_tui.screens.steer_words import held_words


class Branching(AtDesk):
    """What is done with a text that is there. Whatever comes is stopped first."""

    def action_pause(self) -> None:
        """Pause, or go on."""
        if self.desk is not None and self.desk.running:
            self.desk.stop()
        else:
            self.go_on()

    def action_step(self) -> None:
        """One token."""
        generation = self.generation
        if self.desk is None or generation is None or generation.ended is not None:
            self.go_on(steps=1)
        elif not generation.stepping:
            self.desk.stop()

    def action_rewind(self) -> None:
        """To the token at the cursor; without one, by one."""
        index = self.texts.pane().cursor
        self.rewind(1 if index is None else None)

    def rewind(self, count: int | None = None) -> None:
        """Take the last so many tokens back; None: the one at the cursor and all after it."""
        index = self.texts.pane().cursor

        def rewind() -> None:
            generation = self.generation
            assert generation is not None, "there was one"
            came = len(generation.reports)
            at = max(0, came - count if count is not None else (index or 0) - generation.begin)
            branch = generation.branches.current
            generation.rewind(min(at, came))
            kept = "" if generation.branches.current == branch else ", in a branch of its own: another shares what was"
            self._parted(f"back at token {min(at, came)}{kept}: n goes on from there")

        self._with_text(rewind)

    def action_fork(self) -> None:
        """From the token at the cursor on; without one, from the first."""
        index = self.texts.pane().cursor

        def fork() -> None:
            generation, plan = self.generation, self.edits.plan
            assert generation is not None, "there was one"
            at = min(max(0, (index or 0) - generation.begin), len(generation.reports))
            if (plan.interventions, plan.sampling) == held(generation.request, generation.changes, at):
                if plan.sampling.temperature == 0:
                    self.say("the same text would come: change something, or the temperature, which is 0", error=True)
                    return
                plan.set("seed", plan.settings["seed"] + 1)
            generation.fork(at)
            self._parted("")
            self.go_on()
            self.say(f"branch {generation.branches.current + 1} tries token {at} again, {held_words(generation)}")

        self._with_text(fork)

    def action_parent(self) -> None:
        """To the branch this one parts from."""
        self._walk(Branches.parent, "this is the first branch: it parts from none")

    def action_child(self) -> None:
        """To the first that parts from this one."""
        self._walk(Branches.child, "no branch parts from this one: f begins one")

    def action_sibling(self) -> None:
        """To the next that parts from the same one."""
        self._walk(Branches.sibling, "no other branch parts from the same one")

    def action_sibling_before(self) -> None:
        """To the one before."""
        self._walk(lambda branches: branches.sibling(-1), "no other branch parts from the same one")

    def _walk(self, where: Callable[[Branches], bool], none: str) -> None:
        def walk() -> None:
            generation = self.generation
            assert generation is not None, "there was one"
            if generation.walk(where):
                self.say(f"branch {generation.branches.current + 1}, {held_words(generation)}")
                self.read()
            else:
                self.say(none, error=True)
            self.draw()

        self._with_text(walk)

    def _with_text(self, act: Callable[[], None]) -> None:
        generation = self.generation
        if self.desk is None or generation is None or not (generation.reports or len(generation.branches.all) > 1):
            self.say("there is no text yet: r generates one", error=True)
        else:
            self.desk.at_rest(act)

    def _parted(self, words: str) -> None:
        """The branch at hand ends at another token."""
        for side in SIDES:
            self.texts.pane(side).cursor = None
        self.say(words)
        self.after("read", PAUSED_S, self.read)
        self.draw()

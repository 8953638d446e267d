"""What both screens of Steer have, whether text or an image is steered: a session, its engine, its plan and recipes.

A subclass says what is steered, asks the engine and shows what comes of it.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from textual.content import Content
from textual.timer import Timer

from core.engine.client import Engine
from core.engine.operator import AnyEngine
from core.errors import UsageError, sentence
from core.session import Session
from core.steering.commands import Action
from core.steering.plan import Plan
from core.steering.recipe import Recipe, found_recipe, recipe_path
from core.steering.request import GenerationRequest
from sae_tui.screens.editing import Editing
from sae_tui.screens.loaded import site_of
from sae_tui.screens.names import Names
from sae_tui.widgets.bars import Line

KEPT = 50
"""Sessions whose interventions are remembered."""
LET_GO_S = 2.0
"""How often it is looked whether the engine's session is still the one at hand."""
NO_SESSION = "no session yet: press 1, then n for a new one"


class Planning(Editing):
    """A screen with a plan of interventions."""

    IMAGES: ClassVar[bool] = False
    """Whether what is steered is an image."""
    make_engine: Callable[[Session], AnyEngine] = staticmethod(Engine)
    """What makes a session's engine."""

    def __init__(self) -> None:
        super().__init__()
        self.steered: Session | None = None
        """The session that is steered."""
        self.site = ""
        """Model and hook point."""
        self.hindrance = ""
        """What keeps one from steering with this session."""
        self.clocks: dict[str, Timer] = {}
        self._plans: dict[str, Any] = {}

    # What a subclass says.

    def draw(self) -> None:
        """Everything; what is as it was costs nothing."""
        raise NotImplementedError

    def draw_state(self) -> None:
        """The line at the top."""
        raise NotImplementedError

    def close_desk(self) -> None:
        """Give the engine back."""
        raise NotImplementedError

    def taken_up(self) -> None:
        """Another session is steered, or none."""

    @property
    def recipe(self) -> GenerationRequest:
        """What a recipe keeps. Raises UsageError."""
        return self.edits.plan.request("")

    def take(self, request: GenerationRequest, words: str) -> str:
        """Take up interventions and settings; `words`, with what a person should know of that. Raises UsageError."""
        self.edits.plan.take(request)
        return words

    def act(self, action: Action) -> None:
        """Do what is not about the plan. Raises UsageError."""
        match action.name:
            case "recipe":
                self.take_recipe(action.value)
            case "save":
                self.save_recipe(action.value)
            case _:
                super().act(action)

    # The session, and what is kept of it.

    def mounted(self) -> None:
        """See to it that the engine of a session that was left ends."""
        self.set_interval(LET_GO_S, self._let_go)

    def on_unmount(self) -> None:
        """The engine ends with the screen."""
        self.close_desk()

    def _let_go(self) -> None:
        """Another session is at hand on another screen: its engine may need the memory."""
        there = self.app.session
        if self.steered is not None and (there is None or there.path != self.steered.path):
            self.close_desk()

    def resumed(self) -> None:
        """Take the commands that other screens left."""
        lines, self.app.to_steer[:] = list(self.app.to_steer), []
        for line in lines:
            self.do(line)
        if lines:
            self.edits.table.focus()
        if self.app.session is None:
            self.say(NO_SESSION, error=True)
        self.draw()

    def opened(self, session: Session | None) -> None:
        """Another session: its own engine, its own interventions. The same one: all is looked up anew."""
        if session is None or self.steered is None or session.path != self.steered.path:
            self.kept_plans()
            self.close_desk()
            self.steered, self.site, self.hindrance = session, "", ""
            kept = self._plans.get(session.name, {}) if session else {}
            self.edits.plan = Plan.from_json(kept, images=self.IMAGES)
            self.say("")
            self.taken_up()
        self.names = Names(self, session, self.draw) if session else None
        if session is not None:
            self.background(lambda: site_of(session), self.show_site, group="site")
        self.draw()

    def show_site(self, found: tuple[str, str]) -> None:
        """Model and hook point are known, or what hinders."""
        self.site, self.hindrance = found
        if self.hindrance:
            self.say(self.hindrance, error=True)
        self.draw_state()

    def kept_plans(self) -> dict[str, Any]:
        """Each session's interventions and settings, for `memory`."""
        if self.steered is not None:
            self._plans.pop(self.steered.name, None)
            self._plans[self.steered.name] = self.edits.plan.to_json()
        return dict(list(self._plans.items())[-KEPT:])

    def recall_plans(self, plans: Any) -> None:
        """What `kept_plans` gave, or whatever a file can hold."""
        self._plans = {str(k): v for k, v in plans.items() if isinstance(v, dict)} if isinstance(plans, dict) else {}

    @property
    def there(self) -> Session:
        """The session that is steered. Raises UsageError where there is none."""
        if self.steered is None:
            raise UsageError("no session yet", hint="press 1, then n for a new one")
        return self.steered

    def save_recipe(self, name: str) -> None:
        """Keep interventions and settings under a name. Raises UsageError."""
        session = self.there
        request, path = self.recipe, recipe_path(session, name)

        def save() -> str:
            Recipe.of(request, session).save(path)
            return str(path.relative_to(session.path))

        self.background(
            save, lambda file: self.say(f"kept as {file}: /recipe {name} takes it up again"), group="recipe"
        )

    def take_recipe(self, name: str) -> None:
        """Take up its interventions and settings, and its prompt where it has one. Raises UsageError."""
        session = self.there

        def load() -> Recipe:
            recipe = Recipe.load(found_recipe(session, name))
            recipe.check(session)
            return recipe

        def took(recipe: Recipe) -> None:
            try:
                self.plan_changed(self.take(recipe.request, f"recipe {name}: u takes it back"))
            except UsageError as error:
                self.say(sentence(error), error=True)

        self.background(load, took, group="recipe")

    # What is shown.

    def show_state(self, line: Content) -> None:
        """The line at the top."""
        self.query_one("#state", Line).show(line)

    @property
    def jobs(self) -> int:
        """How many jobs run, which the engine shares the machine with."""
        return sum(seen.observed.state == "running" for seen in self.app.seen)

    def clock(self) -> None:
        """Jobs may have begun or ended."""
        self.draw_state()

    def on_resize(self) -> None:
        """Another width for the lines."""
        self.call_after_refresh(self.draw)

    def after(self, name: str, seconds: float, act: Callable[[], object]) -> None:
        """Do it when so long nothing else was asked for under this name."""
        if name in self.clocks:
            self.clocks[name].stop()
        self.clocks[name] = self.set_timer(seconds, act)

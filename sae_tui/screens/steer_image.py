"""Steer on an image: interventions, and the classes of the image with and without them, live."""

from collections.abc import Callable
from typing import Any

from core.session import Session
from core.steering.commands import Action
from sae_tui.messages import EngineSaid
from sae_tui.screens.image_desk import Asked, ImageDesk
from sae_tui.screens.image_view import VIEWS, ImageView
from sae_tui.widgets.paged_table import PagedTable


class SteerImagePage(ImageView):
    """One image of the session at hand. Every change of the plan, and every other image, is one question."""

    def __init__(self) -> None:
        super().__init__()
        self._images: dict[str, int] = {}

    @property
    def image(self) -> int | None:
        """The number of the image at hand; None where it is the first one there is."""
        return self._images.get(self.steered.name) if self.steered else None

    # What is kept.

    def recall(self, memory: dict[str, Any]) -> None:
        """Interventions, images, view."""
        self.recall_plans(memory.get("plans"))
        images, view = memory.get("images"), memory.get("view")
        found = images.items() if isinstance(images, dict) else ()
        self._images = {str(name): number for name, number in found if type(number) is int and number >= 0}
        self.view = view if isinstance(view, str) and view in VIEWS else VIEWS[0]

    def memory(self) -> dict[str, Any]:
        """Each session's interventions and image, and the view."""
        plans = self.kept_plans()
        return {"plans": plans, "images": {n: i for n, i in self._images.items() if n in plans}, "view": self.view}

    def copied(self) -> tuple[str, str] | None:
        """The feature that fires, where the cursor is on one, else the image's number."""
        shown = self.desk.shown if self.desk else None
        if self.firing.table.has_focus and self.firing.feature is not None:
            return f"the number {self.firing.feature}", str(self.firing.feature)
        return (f"the number of image {shown.image}", str(shown.image)) if shown else None

    def command_line(self) -> str | None:
        """`sae-tui steer` with all of this."""
        shown = self.desk.shown if self.desk else None
        return self.edits.plan.on_image(self.steered.name, shown.image) if self.steered and shown else None

    # The engine.

    def opened(self, session: Session | None) -> None:
        """Another session, or the same one looked at anew."""
        super().opened(session)
        if self.desk is not None:
            self.desk.forget()
            self.ask()

    def show_site(self, found: tuple[str, str]) -> None:
        """Where nothing hinders, there is something to be seen at once."""
        super().show_site(found)
        self.engage()

    def resumed(self) -> None:
        """The engine may have been given back while another session was at hand."""
        super().resumed()
        self.engage()

    def engage(self) -> None:
        """Have an engine, where there is none and nothing hinders, and ask it."""
        if self.desk is None and self.steered is not None and self.site:
            engine = self.app.engines.share(self.steered, self.make_engine)
            self.desk = ImageDesk(engine, lambda key, told: self.post_message(EngineSaid(key, told)))
            self.desk.begin()
            self.ask()

    def close_desk(self) -> None:
        """Give the engine back."""
        if self.desk is not None:
            self.desk.close()
            self.desk = None

    def ask(self) -> None:
        """What the plan as it is makes of the image at hand."""
        if self.desk is not None and self.image is not None:
            plan = self.edits.plan
            self.desk.ask(Asked(self.image, plan.interventions, plan.settings["mode"]))
        self.draw()

    def plan_changed(self, words: str) -> None:
        """At once."""
        self.say(words)
        self.ask()

    def on_engine_said(self, event: EngineSaid) -> None:
        """What comes of what was asked."""
        desk = self.desk
        if desk is None:
            return
        fault = desk.fault
        desk.hear(event.key, event.told)
        if desk.fault and desk.fault != fault:
            self.say(desk.fault, error=True)
            if isinstance(event.key, Asked) and desk.shown and event.key.image != desk.shown.image:
                self._images[self.there.name] = desk.shown.image  # that one may not be there
        if desk.listing is not None and self.image is None:
            self.go(desk.listing.numbers[0])
        self.draw()

    # Which image.

    def go(self, image: int) -> None:
        """To the image of this number."""
        self._images[self.there.name] = image
        self.ask()

    def walk(self, step: int, what: str, fits: Callable[[int, int | None], bool]) -> None:
        """To the next image of the test split whose label and predicted class fit; `what` it is, in words."""
        listing = self.desk.listing if self.desk else None
        if listing is None:
            self.say(self.hindrance or "the images are not there yet", error=True)
            return
        n, predicted = len(listing.numbers), listing.predicted or (None,) * len(listing.numbers)
        at = listing.numbers.index(self.image) if self.image in listing.numbers else -1
        places = [(at + step * i) % n for i in range(1, n + 1)]
        found = next((i for i in places if fits(listing.labels[i], predicted[i])), None)
        if found is None:
            self.say(f"no image of the test split is {what}", error=True)
        else:
            self.go(listing.numbers[found])

    def act(self, action: Action) -> None:
        """Walk, where it is about that. Raises UsageError."""
        match action.name:
            case "image":
                self.go(action.value)
            case "label":
                self.walk(1, f"a {action.value}", lambda label, _: label == action.value)
            case _:
                super().act(action)

    def action_next(self) -> None:
        """The next one."""
        self.walk(1, "there", lambda *_: True)

    def action_previous(self) -> None:
        """The one before."""
        self.walk(-1, "there", lambda *_: True)

    def action_mistake(self) -> None:
        """One that is taken for what it is not."""
        self.walk(1, "taken for another class", lambda label, predicted: predicted not in (None, label))

    def action_number(self) -> None:
        """Type it."""
        self.action_command("/image ")

    # What else keys do.

    def on_paged_table_opened(self, event: PagedTable.Opened) -> None:
        """A feature that fires is opened, an intervention written anew."""
        if event.control is self.firing.table:
            self.action_feature()
        else:
            self.action_command(self.edits.line())

    def action_ablate(self) -> None:
        """The feature that fires at the cursor, else that of the intervention."""
        if not self._to_firing("/ablate {}"):
            super().action_ablate()

    def action_stronger(self) -> None:
        """The same."""
        if not self._to_firing("/amplify {} 2"):
            super().action_stronger()

    def _to_firing(self, line: str) -> bool:
        """Do it to the feature that fires at the cursor, where it has no intervention yet; whether it was done."""
        feature = self.firing.feature if self.firing.table.has_focus else None
        if feature is None:
            return False
        place = next((i for i, edit in enumerate(self.edits.plan.interventions) if edit.feature == feature), None)
        if place is None:
            return self.do(line.format(feature))
        self.edits.table.move_to(place)
        return False

    def action_again(self) -> None:
        """Have the engine load what it has not, and answer."""
        if self.hindrance:
            self.say(self.hindrance, error=True)
        elif self.desk is not None:
            self.say("")
            self.desk.forget()
            self.desk.begin()
            self.ask()

    def action_leave(self) -> None:
        """Stop loading; else out of the zoom."""
        if self.desk is not None and self.desk.loading:
            self.desk.stop()
        elif self.maximized is not None:
            self.minimize()

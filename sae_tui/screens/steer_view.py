"""What the Steer screen is made of, and how it shows what is known."""

from collections.abc import Iterator

from textual.containers import Horizontal, Vertical
from textual.events import DescendantFocus
from textual.widget import Widget

from sae_tui.screens.console import Console
from sae_tui.screens.desk import Desk, Prompt, Why
from sae_tui.screens.dialogs import AskText
from sae_tui.screens.edits import Edits
from sae_tui.screens.firing import Firing
from sae_tui.screens.firing_words import PARTS, RANKS
from sae_tui.screens.generation import SIDES, Generation
from sae_tui.screens.lighting import Light
from sae_tui.screens.names import called
from sae_tui.screens.planning import Planning
from sae_tui.screens.steer_words import fires_on, prompt_title, state_line
from sae_tui.screens.texts import VIEWS, Texts
from sae_tui.widgets.bars import Line
from sae_tui.widgets.command_line import Candidates
from sae_tui.widgets.prompt_box import PromptBox
from sae_tui.widgets.titles import entitle
from sae_tui.widgets.token_text import TokenText

REST_S = 0.3
"""So long without a move of the cursor, and it is asked what the next token rests on."""


class SteerView(Planning):
    """The panes. Drawing costs nothing where all is as it was."""

    SECTION = MODE = "steer"
    CSS_PATH = "steer.tcss"

    def __init__(self) -> None:
        super().__init__()
        self.desk: Desk | None = None
        """The session's engine, once it was needed."""
        self.light: Light | None = None
        """What tokens are lit by."""
        self.rank = RANKS[0]
        """What is listed of a token."""
        self.target = ""
        """The next token they are ranked for; empty: what comes next, or what the model finds likeliest."""
        self.live = False
        """A change of the interventions generates again by itself."""

    def body(self) -> Iterator[Widget]:
        """What stands between the two bars."""
        ascii_only = self.app.settings.graph == "ascii"
        yield Line(id="state")
        prompt = PromptBox(id="prompt", classes="pane", placeholder="what the model is to go on from")
        yield prompt
        with Horizontal(id="middle"):
            with Vertical(id="side"):
                yield Edits(ascii_only=ascii_only, id="edits-pane", classes="pane")
                yield Firing(ascii_only=ascii_only, id="firing-pane", classes="pane")
            yield Texts(ascii_only=ascii_only, id="texts")
        candidates = Candidates()
        yield candidates
        yield Console(candidates, lambda: self.names)

    @property
    def prompt(self) -> PromptBox:
        """Where the prompt is typed."""
        return self.query_one(PromptBox)

    @property
    def firing(self) -> Firing:
        """What fires on a token."""
        return self.query_one(Firing)

    @property
    def texts(self) -> Texts:
        """The two texts."""
        return self.query_one(Texts)

    @property
    def generation(self) -> Generation | None:
        """The newest one of this session."""
        return self.desk.generation if self.desk else None

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """In a narrow terminal what fires takes the place of the interventions while one is at the tokens."""
        self.draw_firing()

    def on_prompt_box_command(self) -> None:
        """A command instead of a prompt."""
        self.action_command()

    def on_token_text_opened(self) -> None:
        """To what fires."""
        if self.firing.table.count:
            self.set_class(True, "-firing")
            self.firing.table.focus()

    def action_prompt(self) -> None:
        """To the prompt."""
        self.prompt.focus()

    def action_view(self) -> None:
        """The next view."""
        texts = self.texts
        views = VIEWS if self.wide else SIDES
        at = texts.view if texts.view in views else texts.side
        texts.view = views[(views.index(at) + 1) % len(views)]
        focused = isinstance(self.focused, TokenText)
        self.draw()
        if focused:
            texts.pane().focus()

    def action_color(self) -> None:
        """By the feature at hand, by KL, by how far the runs are apart, not at all."""
        light, feature = self.light, self.feature
        if feature is not None and (light is None or (light.by == "feature" and light.feature != feature)):
            known = self.names.known.get(feature) if self.names else None
            self.light = Light("feature", feature, (known.max if known else None) or 1.0)
        elif light is None or light.by == "feature":
            self.light = Light("kl")
        else:
            self.light = Light("gap") if light.by == "kl" else None
        self.draw()

    @property
    def feature(self) -> int | None:
        """The feature at hand: of what fires, while one is there, else of the interventions."""
        at_tokens = isinstance(self.focused, TokenText) or self.firing.table.has_focus
        edit = self.edits.current
        return self.firing.feature if at_tokens and self.firing.feature is not None else edit.feature if edit else None

    @property
    def wide(self) -> bool:
        """Whether there is room for both texts."""
        return self.has_class("-normal") or self.has_class("-wide")

    def draw(self) -> None:
        """Everything; what is as it was costs nothing."""
        if not self.is_mounted:
            return
        self.edits.show(self.names, fires_on(self.desk.tokens(self.asked) if self.desk else ()))
        entitle(self.prompt, prompt_title(self.edits.plan, self.prompt.size.width - 4))
        self.texts.look(self.texts.view, both=self.wide)
        self.texts.show(self.generation, self.light, self.lit)
        self.draw_firing()
        self.draw_state()

    @property
    def asked(self) -> Prompt:
        """The prompt as it would be read."""
        settings = self.edits.plan.settings
        chat = settings["chat"]
        return Prompt(self.prompt.text, chat, settings["system"] if chat else "")

    @property
    def lit(self) -> str:
        """What tokens are lit by, in words."""
        light = self.light
        if light is None or light.feature is None:
            return "Δ ln p, [more] {less} likely steered" if light and light.by == "gap" else "KL"
        known = self.names.known.get(light.feature) if self.names else None
        return f"{light.feature} {called(known).plain}"

    def draw_firing(self) -> None:
        """What fires on the token at the cursor."""
        texts = self.texts
        index = texts.pane().cursor
        why = self.why
        self.firing.show(
            self.generation, texts.side, index, self.names, rank=self.rank,
            why=self.desk.why(why) if self.desk and why else None,
            prompt=self.desk.tokens(self.asked) if self.desk else (),
        )  # fmt: skip
        here = isinstance(self.focused, TokenText) and index is not None
        self.set_class(here or self.firing.table.has_focus, "-firing")

    @property
    def why(self) -> Why | None:
        """What is to be found out of the token at the cursor, where features are ranked by their part in the next."""
        index, generation = self.texts.pane().cursor, self.generation
        if self.rank not in PARTS or generation is None or not generation.ended or index is None:
            return None
        then, position, actual = generation.up_to(self.texts.side, index)
        asked = generation.request
        return Why(asked.prompt, self.target or actual or None, position, then, asked.chat, asked.system)

    def wonder(self) -> None:
        """Show what fires, and ask what the next token rests on, where that is wanted, once the cursor stays."""
        if self.why is not None:
            self.after("why", REST_S, self._ask_why)
        self.draw_firing()

    def _ask_why(self) -> None:
        if self.desk is not None and (why := self.why) is not None:
            self.desk.ask_why(why)
            self.draw_firing()
            self.draw_state()

    def action_rank(self) -> None:
        """The next list."""
        self.rank = RANKS[(RANKS.index(self.rank) + 1) % len(RANKS)]
        self.wonder()

    def action_target(self) -> None:
        """Ask for the token."""

        def answered(target: str | None) -> None:
            if target is not None:
                self.aim(target)

        self.app.push_screen(
            AskText(
                "Ranked for which next token? A word's begins with a space; nothing: the one that comes", self.target
            ),
            answered,
        )

    def aim(self, target: str) -> None:
        """Rank for this next token; empty: for the one that comes."""
        self.target = target
        if self.rank not in PARTS:
            self.rank = "gradient"
        self.wonder()

    def draw_state(self) -> None:
        """The line at the top."""
        self.show_state(state_line(self.site, self.edits.plan, self.desk, self.jobs, self.live, self.size.width - 2))

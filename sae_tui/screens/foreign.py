"""An SAE that somebody else trained: a form for where it is, filled in from what its files tell, and its import."""

import asyncio
import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget

from core import model_facts, recorded
from core.errors import RunError
from core.sae import registry
from core.session import Session, free_name
from sae_tui.screens import draft
from sae_tui.screens.choose import Choose
from sae_tui.screens.draft import NAME, THEN
from sae_tui.screens.foreign_draft import ENTRIES, FOLLOWS, HOOK, MODEL, SETTINGS, SOURCE, Looked, imported, told_by
from sae_tui.screens.page import Page
from sae_tui.text import safe
from sae_tui.widgets.form import Form, Row
from sae_tui.widgets.rows import Rows


class ForeignPage(Page):
    """The form."""

    SECTION = "foreign"
    MODE = "runs"
    AUTO_FOCUS = "Form"
    CSS = """
    ForeignPage #pane { height: 1fr; }
    ForeignPage Form { height: 8; }
    ForeignPage #told { height: 1fr; margin: 1 0 0 0; }
    ForeignPage #help { height: 3; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._own: set[str] = set()
        """Rows that a person has filled in."""
        self._looked = Looked(found=None, wrong={}, doubts={})
        self._starting = False
        self._here: Session | None = None
        """What was imported, until it is opened."""

    def body(self) -> Iterator[Widget]:
        """The form, what it says of a row, and what was found."""
        with Vertical(id="pane", classes="pane") as pane:
            pane.border_title = Content("an SAE from elsewhere")
            yield Form(Row(entry, entry.choices[0] if entry.choices else "") for entry in ENTRIES)
            yield Rows(id="help")
            yield Rows(id="told")

    @property
    def _form(self) -> Form:
        return self.query_one(Form)

    @property
    def _texts(self) -> dict[str, str]:
        return {entry.name: self._form.value(entry.name).strip() for entry in ENTRIES}

    def mounted(self) -> None:
        """Nothing is typed yet."""
        self._say()

    def command_line(self) -> str:
        """The same in a shell."""
        return " ".join(shlex.quote(word) for word in ("sae-tui", *self._words()))

    def _words(self) -> list[str]:
        texts = self._texts
        settings = [f"{name}={texts[name]}" for name in SETTINGS if texts[name]]
        words = ["--sessions", str(self.app.root), "import", texts[SOURCE], "--as", texts[NAME]]
        words += [word for setting in settings for word in ("--set", setting)]
        return [*words, *FOLLOWS[texts[THEN]]]

    def on_form_changed(self, event: Form.Changed) -> None:
        """Look at it; another source tells of another model."""
        name = event.row.entry.name
        if name == SOURCE:
            self._own &= {NAME, "corpus.name", THEN}
        else:
            self._own.add(name)
        self._look()

    def _look(self) -> None:
        root, texts, own = self.app.root, self._texts, set(self._own)
        self.background(lambda: Looked.at(root, texts, own), self._seen, group="look", failed=lambda _: None)

    def _seen(self, looked: Looked) -> None:
        self._looked = looked
        told = told_by(looked.found)
        if NAME not in self._own:
            parts = re.split(r"[/:]", self._texts[SOURCE].rstrip("/"))
            stem = draft.slug("-".join(parts[-2:]))
            told[NAME] = free_name(self.app.root, stem) if stem else ""
        self._form.put({name: text for name, text in told.items() if name not in self._own})
        self._say()

    def _say(self) -> None:
        looked = self._looked
        self._form.say(looked.wrong, looked.doubts)
        self._tell()
        found = looked.found
        lines = [_state(self._texts, looked, running=self._starting)]
        if found is not None:
            widths = f": {found.d_in:,} → {found.d_sae:,} features" if found.d_in and found.d_sae else ""
            lines += [Content(""), Content(safe(f"{found.kind}{widths}"))]
            lines.append(Content.styled("Its weights are read and measured at the start.", "$text-muted"))
        self.query_one("#told", Rows).show(lines)

    def on_form_entered(self) -> None:
        """Say what the row is for."""
        self._tell()

    def on_resize(self) -> None:
        """Another width for the words on a row."""
        self.call_after_refresh(self._tell)

    def _tell(self) -> None:
        row, rows = self._form.at, self.query_one("#help", Rows)
        ink, text = ("$warning", row.doubt) if row.doubt else ("$text-muted", row.entry.help)
        ink, text = ("$error", row.wrong) if row.wrong else (ink, text)
        lines = textwrap.wrap(safe(text), max(10, rows.size.width))[:3]
        rows.show([Content.styled(line, ink) for line in lines])

    # Actions.

    def action_down(self) -> None:
        """To the next row."""
        self._form.step(1)

    def action_up(self) -> None:
        """To the row before."""
        self._form.step(-1)

    def action_offer(self) -> None:
        """A list of what may stand in the row at hand."""
        row, root, texts = self._form.at, self.app.root, self._texts
        if row.entry.choices:
            self.app.say("left and right go through the choices of this row")
            return

        def read() -> list[tuple[str, str]]:
            if row.entry.name == SOURCE:
                return [(name, str(release.get("model") or "")) for name, release in registry.releases().items()]
            model = texts[MODEL]
            known = model_facts.facts(model) if row.entry.name == HOOK and model else None
            return draft.offered(root, row.entry.name, texts, known)

        def show(found: list[tuple[str, str]]) -> None:
            if not found:
                self.app.say("nothing is known here of what it may be: type it")
            elif row.entry.name == SOURCE:
                release = texts[SOURCE].partition("/")[0]
                self.app.push_screen(Choose("a release of SAELens' list", found, at=release), self._offer_saes)
            else:
                self.app.push_screen(Choose(row.entry.label, found, at=row.value), self._take)

        self.background(read, show, group="offer")

    def _offer_saes(self, release: str | None) -> None:
        """A list of the SAEs of a release."""
        if release is None:
            return

        def read() -> list[tuple[str, str]]:
            saes = registry.saes(registry.releases()[release])
            return [
                (id_, "  ".join(filter(None, [recorded.words(registry.records(sae)), str(sae["path"])])))
                for id_, sae in saes.items()
            ]

        def taken(id_: str | None) -> None:
            self._take(f"{release}/{id_}" if id_ is not None else None)

        self.background(read, lambda found: self.app.push_screen(Choose(release, found), taken), group="offer")

    def _take(self, value: str | None) -> None:
        if value is not None:
            row = self._form.at
            self._form.put({row.entry.name: value})
            self.on_form_changed(Form.Changed(row))

    def action_start(self) -> None:
        """Import it, or say what is wrong."""
        if self._starting:
            return
        self._starting = True
        self._say()
        # The application's worker, not the form's: what it comes to is told also where the form is left.
        self.app.run_worker(self._import(self._texts, self._words()))

    async def _import(self, texts: Mapping[str, str], words: Sequence[str]) -> None:
        try:
            looked = await asyncio.to_thread(Looked.at, self.app.root, texts, {*SETTINGS, NAME})
            if not texts[SOURCE] or looked.wrong:
                raise RunError("; ".join(looked.wrong.values()) or "nothing to import: type where the SAE is")
            await imported(words)
        except Exception as error:
            self._starting = False
            if not self._goes:
                self._say()
            self.app.complain(error)
            return
        self.app.say(f"{texts[NAME]} is here")
        self._here = Session(self.app.root / texts[NAME])
        self.app.tick()

    def clock(self) -> None:
        """Go to what is here now; not before this form is the screen at hand again."""
        if self._here is not None:
            session, self._here = self._here, None
            self.app.open_session(session)
            self.action_leave()

    def action_leave(self) -> None:
        """Leave it; an import that runs goes on."""
        self.app.tick()
        self.dismiss()

    def action_back(self) -> None:
        """As esc."""
        self.action_leave()


def _state(texts: Mapping[str, str], looked: Looked, *, running: bool) -> Content:
    """Whether it can start, in a line."""
    if running:
        return Content.styled("importing: fetching and reading it; esc leaves, and it goes on", "$accent")
    if not texts[SOURCE]:
        return Content.styled("Type where the SAE is; ^O lists the releases that SAELens knows.", "$text-muted")
    return draft.ready(list(looked.wrong), [])

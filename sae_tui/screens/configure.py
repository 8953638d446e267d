"""A new run: a form drawn from the configuration's fields, checked as one types, with what the run will cost."""

import shlex
import subprocess
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget

from core import fields, jobs, sweep
from core.errors import ConfigError, RunError, SessionError
from core.session import Session, free_name
from sae_tui.screens import draft
from sae_tui.screens.choose import Choose
from sae_tui.screens.cost_lines import cost_lines
from sae_tui.screens.dialogs import Ask
from sae_tui.screens.draft import NAME, PRESET, STUDIES, SWEEP, THEN, Checked
from sae_tui.screens.editor import edited
from sae_tui.screens.page import Page
from sae_tui.text import safe
from sae_tui.widgets.form import Entry, Form, Row
from sae_tui.widgets.rows import Rows


class ConfigurePage(Page):
    """The form. Empty-handed it goes on with what was left unfinished; with a session, from its configuration."""

    SECTION = "configure"
    MODE = "runs"
    CSS_PATH = "configure.tcss"
    AUTO_FOCUS = "Form"

    def __init__(self, source: Session | None = None) -> None:
        super().__init__()
        self._source = source
        self._begun = [f"as {source.name}", *draft.presets()] if source else draft.presets()
        self._texts = draft.preset(draft.presets()[0])
        self._drafts: dict[str, dict[str, str]] = {}
        self._preset = self._begun[0]
        self._own_name = False
        self._checked: Checked | None = None
        self._wrong: dict[str, str] = {}
        self._at_first = NAME
        self._changed = self._left = self._everything = self._starting = False

    def body(self) -> Iterator[Widget]:
        """The form and what it says of a field; beside it the cost."""
        with Horizontal(id="panes"):
            with Vertical(id="left", classes="pane") as pane:
                pane.border_title = Content("a new run")
                yield Form(Row(e, self._texts.get(e.name, _first(e))) for e in draft.entries(self._begun))
                yield Rows(id="help")
            with VerticalScroll(id="right", classes="pane", can_focus=False) as pane:
                pane.border_title = Content("what it will cost")
                yield Rows(id="cost")

    @property
    def _form(self) -> Form:
        return self.query_one(Form)

    def mounted(self) -> None:
        """With the values to begin with."""
        if self._source is not None:
            source = self._source

            def read() -> dict[str, str]:
                return fields.shown(source.config().model_dump(exclude_none=True))

            def show(texts: dict[str, str]) -> None:
                self._drafts[self._preset] = texts
                self._put(texts)

            self.background(read, show, group="source")
        self._put(self._texts)
        row = self._form.row(self._at_first)
        self.call_after_refresh(self._form.go_to, row or self._form.at)

    def memory(self) -> dict[str, Any]:
        """The form, as long as it is neither started nor left; a clone's is not kept, nor takes it another's place."""
        if self._source is not None:
            return self.app.state.part(self.SECTION)
        if self._left or not self._changed:
            return {}
        return {
            "texts": self._texts, "name": self._session_name, "own_name": self._own_name, "preset": self._preset,
            "at": self._form.at.entry.name, "then": self._form.value(THEN), "everything": self._everything,
        }  # fmt: skip

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on with what was left unfinished."""
        texts = memory.get("texts")
        if self._source is not None or not isinstance(texts, dict):
            return
        self._texts = {**self._texts, **{k: v for k, v in texts.items() if isinstance(k, str) and isinstance(v, str)}}
        self._changed = True
        self._own_name = memory.get("own_name") is True
        if memory.get("preset") in self._begun:
            self._preset = str(memory["preset"])
        self._at_first = str(memory.get("at"))
        rows = {NAME: memory.get("name"), PRESET: self._preset, THEN: memory.get("then")}
        self._form.put({name: value for name, value in rows.items() if isinstance(value, str)})
        if memory.get("everything") is True:
            self.action_everything()
        self.app.say("taken up where it was left; esc, then d begins anew")

    def command_line(self) -> str:
        """The same in a shell: the preset, and what was changed in it."""
        begun = self._drafts.get(self._preset) if self._source else None
        preset = self._preset if self._preset in draft.presets()[:-1] else draft.presets()[0]
        words = ["clone", self._source.name, "--as"] if self._source else ["train", "--preset", preset, "--name"]
        if asked := self._texts.get(SWEEP, "").split():
            verb = ["study", *asked] if asked[0] in STUDIES else ["sweep"]
            words = [*verb, *([str(self._source.config_path)] if self._source else ["--preset", preset])]
            words += [] if asked[0] in STUDIES else [word for one in asked for word in ("--grid", one)]
            words += ["--name"]
        settings = draft.settings(begun or draft.preset(preset), self._texts)
        words += [self._session_name, *(word for one in settings for word in ("--set", one)), "--detach"]
        words += ["--analyze" if asked else "--then-all"] if self._then else []
        return f"sae-tui --sessions {shlex.quote(str(self.app.root))} {shlex.join(words)}"

    # What stands in it.

    @property
    def _session_name(self) -> str:
        return self._form.value(NAME)

    @property
    def _then(self) -> bool:
        return self._form.value(THEN).startswith("evaluate")

    def _put(self, texts: Mapping[str, str]) -> None:
        """Other values in the fields, and a name to fit where none was typed."""
        self._texts = {**self._texts, **texts}
        self._form.put(self._texts)
        self._suggest()
        self._check()

    def _suggest(self) -> None:
        if not self._own_name:
            self._form.put({NAME: free_name(self.app.root, draft.suggested(self._texts))})

    def on_form_changed(self, event: Form.Changed) -> None:
        """Check it at once."""
        name, value = event.row.entry.name, event.row.value
        if name == PRESET:
            self._drafts[self._preset] = dict(self._texts)
            self._preset = value
            self._put(self._drafts.get(value) or draft.preset(value))
            return
        self._changed = True
        if name == NAME:
            self._own_name = bool(value)
        elif name != THEN:
            self._texts[name] = value
            self._suggest()
        self._check()

    def _check(self) -> None:
        """Say what is wrong; and, in the background, what files and other sessions have to say."""
        self._form.filter(self._wanted)
        self._wrong = draft.wrong(self._texts)
        several = bool(self._texts.get(SWEEP, "").strip())
        if problem := draft.name_problem(self.app.root, self._session_name, begins=several):
            self._wrong[NAME] = problem
        self._say()
        if self._wrong.keys() <= {NAME}:
            root, texts = self.app.root, dict(self._texts)
            self.background(lambda: Checked.of(root, texts), self._found, group="check", failed=lambda _: None)

    def _wanted(self, row: Row) -> bool:
        """Whether a row is shown: not what the architecture has no use for, nor what is not first unless asked for."""
        only = row.entry.only
        used = not only or self._texts.get("sae.architecture") in only
        return used and (self._everything or not (row.group or row.entry.name in draft.idle(self._texts)))

    def _found(self, checked: Checked) -> None:
        self._checked = checked
        self._wrong = {**checked.wrong, **{k: v for k, v in self._wrong.items() if k == NAME}}
        self._say()

    def _say(self) -> None:
        doubts = self._checked.doubts if self._checked else {}
        self._form.say(self._wrong, doubts)
        self._tell()
        self._price()

    def _price(self) -> None:
        """The cost, and how much is wrong."""
        brief = self.has_class("-narrow")
        lines = cost_lines(self._checked, brief=brief) if self._checked else []
        shown = {row.entry.name for row in self._form.shown()}
        head = draft.ready(list(self._wrong), [name for name in self._wrong if name not in shown])
        self.query_one("#cost", Rows).fill([head, *([] if brief else [Content("")]), *lines])

    def on_form_entered(self) -> None:
        """Say what the field is for."""
        self._tell()
        self.refresh_bindings()

    def on_resize(self) -> None:
        """Another width for the words on a field."""
        self.call_after_refresh(self._say)

    def _tell(self) -> None:
        row, rows = self._form.at, self.query_one("#help", Rows)
        text = row.wrong or (draft.about(row.value) if row.entry.name == PRESET else row.entry.help)
        lines = textwrap.wrap(safe(text), max(10, rows.size.width))[:2]
        ink = "$error" if row.wrong else "$text-muted"
        rows.show([Content.styled(line, ink) for line in lines])

    # Actions.

    def action_down(self) -> None:
        """To the next row."""
        self._form.step(1)

    def action_up(self) -> None:
        """To the row before."""
        self._form.step(-1)

    def action_everything(self) -> None:
        """All fields, or only those that come first."""
        self._everything = not self._everything
        groups = draft.rest()
        if not self._form.row(next(iter(groups.values()))[1][0].name):
            rows = (Row(e, self._texts.get(e.name, ""), group=part) for part, (_, es) in groups.items() for e in es)
            self._form.add(rows, {part: f"{part}  {safe(about)}" for part, (about, _) in groups.items()})
        self._check()

    def action_offer(self) -> None:
        """A list of what may stand in the field at hand."""
        row, root, texts = self._form.at, self.app.root, dict(self._texts)
        if row.entry.choices:
            self.app.say("left and right go through the choices of this field")
            return
        name, facts = row.entry.name, self._checked.facts if self._checked else None

        def show(found: list[tuple[str, str]]) -> None:
            if found:
                self.app.push_screen(Choose(name, found, at=row.value), taken)
            else:
                self.app.say(f"nothing is known here of what {name} may be: type it")

        def taken(value: str | None) -> None:
            if value is not None:
                self._form.put({name: value})
                self.on_form_changed(Form.Changed(row))

        self.background(lambda: draft.offered(root, name, texts, facts), show, group="offer")

    def action_edit(self) -> None:
        """The same as TOML, in an editor."""
        self._edit(draft.as_toml(self._texts))

    def _edit(self, text: str) -> None:
        """Let a text be edited, and take it; one that is wrong is kept, to be edited again."""
        try:
            found = edited(self.app, text, ".toml")
        except RunError as error:
            self.app.complain(error)
            return
        if found == text:
            return
        try:
            texts = draft.from_toml(found)
        except ConfigError as error:

            def answered(letter: str | None) -> None:
                if letter == "e":
                    self._edit(found)

            answers = (("e", "edit it again"), ("d", "drop what was edited"))
            self.app.push_screen(Ask("The form is as it was", answers, detail=str(error)), answered)
            return
        self._changed = True
        self._put(texts)

    def action_start(self) -> None:
        """Start it, or its sweep, or say all that is wrong."""
        self._wrong = {**self._wrong, **draft.wrong(self._texts)}
        if self._wrong:
            detail = "\n".join(f"{name}: {what}" for name, what in self._wrong.items())
            self.app.push_screen(Ask("Not started", (("b", "back to the form"),), detail=detail), self._to_first_wrong)
            return
        root, name, texts, then = self.app.root, self._session_name, dict(self._texts), self._then

        def start() -> tuple[Session, "subprocess.Popen[bytes]"]:
            checked = Checked.of(root, texts)
            if checked.wrong:
                raise ConfigError("; ".join(f"{k}: {v}" for k, v in checked.wrong.items()))
            if several := draft.members(name, texts):
                if begun := sweep.start(sweep.begin(root, several), analyze=then):
                    return begun
                raise SessionError("all of these runs are finished", hint="on Runs, u lays them beside each other")
            session = Session.create(root, name, checked.config)
            return session, jobs.start(session, "train", jobs.THEN if then else ())

        if not self._starting:
            self._starting = True
            self.background(start, self._started, group="start", failed=self._not_started)

    def _not_started(self, error: Exception) -> None:
        self._starting = False
        self.app.complain(error)

    def _started(self, found: tuple[Session, "subprocess.Popen[bytes]"]) -> None:
        session, process = found
        self.app.started.append(process)
        self._leave()
        if n := len(session.sweep()):
            self.app.say(f"run 1 of {n}; on Runs, u lays them beside each other")
        self.app.open_session(session, "train")

    def _to_first_wrong(self, _: object) -> None:
        row = next((row for row in self._form.shown() if row.entry.name in self._wrong), None)
        if row is not None:
            self._form.go_to(row)

    def action_leave(self) -> None:
        """Leave it; with what was changed, ask."""
        if not self._changed:
            self._leave()
            return

        def answered(letter: str | None) -> None:
            if letter == "k":
                self.app.tick()
                self.dismiss()
            elif letter == "d":
                self._leave()

        kept = (("k", "keep it for later"),) if self._source is None else ()
        answers = (*kept, ("d", "drop it"), ("c", "go on with it"))
        self.app.push_screen(Ask("Leave this form?", answers), answered)

    def action_back(self) -> None:
        """As esc."""
        self.action_leave()

    def _leave(self) -> None:
        """Nothing of it comes back."""
        self._left = True
        self.app.tick()
        self.dismiss()


def _first(entry: Entry) -> str:
    return entry.choices[0] if entry.choices else ""

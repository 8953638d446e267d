"""What a session has of steering: transcripts and recipes, in a list to choose from."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from core.errors import SaeTuiError, UsageError, sentence
from core.session import Session
from core.steering.interventions import Intervention
from core.steering.recipe import Recipe, recipe_names, recipe_path
from core.steering.transcript import Transcript
from sae_tui.screens.choose import Narrowed
from sae_tui.screens.generation import Generation
from sae_tui.text import figure, safe
from sae_tui.widgets.bars import DialogKeys
from sae_tui.widgets.fields import TextLine
from sae_tui.widgets.paged_table import Column, PagedTable

MOST = 500
"""Transcripts in the list, the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A transcript or a recipe, as a line of the list."""

    path: Path
    is_recipe: bool = False
    prompt: str = ""
    edits: str = ""
    """Its interventions, as commands."""
    tokens: int | None = None
    mean_kl: float | None = None
    parent: str = ""
    """The file of the transcript that it parts from; empty where it is no branch."""
    wrong: str = ""
    """Why it cannot be read."""

    @property
    def name(self) -> str:
        """A recipe's name; of a transcript when it was made."""
        if self.is_recipe:
            return self.path.stem
        try:
            at = datetime.strptime(self.path.stem, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
        except ValueError:
            return self.path.stem
        return at.astimezone().strftime("%d %b %H:%M:%S")


def saved(session: Session) -> list[Saved]:
    """The session's recipes, then its transcripts, the newest first. Blocks."""
    recipes = [_recipe(recipe_path(session, name)) for name in recipe_names(session)]
    files = sorted(session.steering_dir.glob("*Z.json"), reverse=True)[:MOST]
    return [*recipes, *map(_transcript, files)]


def family(all_: Sequence[Saved], one: Path) -> list[Path]:
    """The transcript and those that it parts from or that part from it, each behind the one it parts from."""
    by_name = {saved.path.name: saved for saved in all_ if not (saved.is_recipe or saved.wrong)}

    def root(name: str) -> str:
        seen = {name}
        while (parent := by_name[name].parent) in by_name and parent not in seen:
            seen.add(name := parent)
        return name

    wanted = root(one.name)
    return [by_name[name].path for name in sorted(by_name) if root(name) == wanted]


def opened(paths: Sequence[Path], one: Path) -> Generation:
    """The generation that these transcripts, a family, were saved of, with the branch of one of them at hand. Blocks.

    Raises SessionError where one cannot be read.
    """
    return Generation.of([Transcript.load(path) for path in paths], [path.name for path in paths], paths.index(one))


def _recipe(path: Path) -> Saved:
    try:
        request = Recipe.load(path).request
    except SaeTuiError as error:
        return Saved(path=path, is_recipe=True, wrong=sentence(error))
    return Saved(path=path, is_recipe=True, prompt=request.prompt, edits=_commands(request.interventions))


def _transcript(path: Path) -> Saved:
    """Without its reports, which take much longer."""
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        held = [values["interventions"], *(change["interventions"] for change in values["changes"])]
        return Saved(
            path=path, prompt=str(values["prompt"]), tokens=len(values["reports"]), mean_kl=_number(values["mean_kl"]),
            edits=_commands([Intervention.from_json(edit) for edit in held[-1]]), parent=str(values.get("parent", "")),
        )  # fmt: skip
    except (OSError, ValueError, AttributeError, KeyError, TypeError, UsageError):
        return Saved(path=path, wrong="it cannot be read")


def _commands(edits: Sequence[Intervention]) -> str:
    return ", ".join(edit.to_command().removeprefix("/") for edit in edits if edit.enabled)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


class ChooseSaved(Narrowed):
    """Transcripts and recipes: the result is the path of the one that was taken, behind `replay ` for a replay."""

    CSS = """
    ChooseSaved .dialog { width: 140; max-width: 96%; height: 80%; padding: 0 1; }
    ChooseSaved PagedTable { height: 1fr; margin: 1 0 0 0; }
    ChooseSaved .dialog TextLine { width: 1fr; }
    """

    def __init__(self, all_: Sequence[Saved]) -> None:
        super().__init__()
        self._all = all_

    def compose(self) -> ComposeResult:
        """The line above the list."""
        with Vertical(classes="dialog") as frame:
            frame.border_title = Content("saved: recipes and transcripts")
            frame.border_subtitle = Content("enter open · ^R replay a transcript · esc back")
            yield TextLine(placeholder="type to narrow the list down, by prompt or interventions")
            yield PagedTable(
                [
                    Column("name", "saved", 15, lambda one: one.name),
                    Column("parts", "", 1, lambda one: "R" if one.is_recipe else "└" if one.parent else ""),
                    Column("prompt", "prompt", 20, _prompt, weight=3),
                    Column("edits", "interventions", 16, lambda one: one.edits, weight=2, style="$accent"),
                    Column("tokens", "tokens", 6, lambda one: _shown(one.tokens), right=True),
                    Column("kl", "mean KL", 7, lambda one: _shown(one.mean_kl), right=True),
                ],
                key=lambda one: one.path,
            )
        yield DialogKeys(("enter", "open"), ("^R", "replay a transcript"), ("↓ ↑", "move"), ("esc", "back"))

    def on_mount(self) -> None:
        """All of them, to begin with."""
        table = self.query_one(PagedTable)
        table.can_focus = False
        table.show(self._all)

    def narrow(self, words: str) -> None:
        """Those that hold what was typed in name, prompt or interventions."""
        wanted = words.strip().casefold()
        rows = [s for s in self._all if wanted in safe(f"{s.name} {s.prompt} {s.edits}").casefold()]
        self.query_one(PagedTable).show(rows)

    def taken(self, row: Any) -> str:
        """Its path."""
        return str(row.path)

    def on_key(self, event: Any) -> None:
        """^R: replay the transcript at the cursor."""
        row = self.query_one(PagedTable).row
        if event.key == "ctrl+r" and row is not None and not row.is_recipe:
            event.stop()
            self.dismiss(f"{REPLAY}{row.path}")


REPLAY = "replay "


def _prompt(one: Saved) -> Content:
    if one.wrong:
        return Content.styled(safe(one.wrong), "$error")
    return Content(safe(one.prompt))


def _shown(value: float | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else figure(value)

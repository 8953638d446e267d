"""An SAE from elsewhere, as it is being told: the rows, what its files say to them, what is wrong, its import.

Knows no widget. `Looked.at` reads small files, and SAELens' list the first time, which may take a second.
"""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from core import child, model_facts
from core.errors import ModelError, RunError, SaeTuiError
from core.processing import Processing
from core.sae import facts
from sae_tui.screens import draft
from sae_tui.screens.draft import NAME, THEN
from sae_tui.widgets.form import Entry

SOURCE, MODEL, HOOK, PROCESSING = "source", "model.name", "model.hook", "model.processing"
SETTINGS = (MODEL, HOOK, PROCESSING, "corpus.name")
"""The rows that are fields of a configuration."""
LOOK_S = 0.2
"""Seconds between two looks at whether an import has ended."""
FOLLOWS = {
    "evaluate and analyse": ("--then-all", "--detach"), "evaluate": ("--detach",), "nothing more": ("--no-measure",),
}  # fmt: skip
"""What may come after the import, and the words for it in a shell."""
ENTRIES = (
    Entry(name=SOURCE, label="the SAE", note="a folder, a file, REPO:FOLDER or RELEASE/ID",
          help="Where it is: a folder or a file of SAELens, sparsify, dictionary_learning or Gemma Scope, or tensors "
          "alone; REPO:FOLDER on the hub; RELEASE/ID of SAELens' list, which ^O shows."),
    Entry(name=NAME, label="session", help="The new session's name: a folder beside the others."),
    Entry(name=MODEL, label=MODEL, note="the model it was trained on",
          help="The model it was trained on: a folder, a name on the hub, or smollm2. ^O shows those on this machine."),
    Entry(name=HOOK, label=HOOK, note="where its activations are read",
          help="Where in the model its activations are read, in TransformerLens' names. ^O shows them."),
    Entry(name=PROCESSING, label=PROCESSING, choices=get_args(Processing),
          help="What HookedTransformer had done to the model's weights when it was trained; its files tell."),
    Entry(name="corpus.name", label="corpus.name", placeholder="stdlib", note="the text it is measured on",
          help="The text it is measured and analysed on, as in a run of one's own."),
    Entry(name=THEN, label="then", choices=tuple(FOLLOWS),
          help="What comes after the import, in a process of its own. Measured, its L0 and explained variance are "
          "compared with what its files record."),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What was found out about a source, and about what was typed beside it."""

    found: facts.SaeFacts | None
    wrong: dict[str, str]
    doubts: dict[str, str]

    @classmethod
    def at(cls, root: Path, texts: Mapping[str, str], own: set[str]) -> "Looked":
        """Look at the files; rows that are not one's `own` are what they tell. Reads small files, and a list once."""
        wrong: dict[str, str] = {}
        doubts: dict[str, str] = {}
        found = None
        try:
            if texts[SOURCE]:
                found = facts.read(texts[SOURCE])
        except (SaeTuiError, OSError) as error:
            wrong[SOURCE] = str(error)
        told = told_by(found)
        values = {name: texts[name] if name in own or not told.get(name) else told[name] for name in texts}
        model, hook = values[MODEL], values[HOOK]
        if found is not None:
            wrong |= {
                name: "its files do not say it: type it" if name not in own else "type it"
                for name in (MODEL, HOOK)
                if not values[name]
            }
        try:
            known = model_facts.facts(model) if model else None
            if model and known is None:
                doubts[MODEL] = "not on this machine: fetched, and checked then"
            elif known and hook:
                doubts[HOOK] = known.doubt(hook)
            if model and hook and (misfit := model_facts.misfit(model, "", hook, found.d_in if found else None)):
                wrong[HOOK] = misfit
        except ModelError as error:
            wrong[MODEL] = str(error)
        if (values[NAME] or NAME in own) and (problem := draft.name_problem(root, values[NAME])):
            wrong[NAME] = problem
        return cls(found=found, wrong=wrong, doubts=doubts)


def told_by(found: facts.SaeFacts | None) -> dict[str, str]:
    """What stands in the rows by what an SAE's files tell."""
    if found is None:
        return {}
    told = {MODEL: found.model, HOOK: found.hook, PROCESSING: found.processing}
    return {name: text for name, text in told.items() if text}


async def imported(words: Sequence[str]) -> None:
    """`sae-tui WORDS` in a process of its own, which goes on if this is cancelled. Raises RunError where it fails."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "sae_tui", *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=said, start_new_session=True, env=child.environment(),
        )  # fmt: skip
        while process.poll() is None:
            await asyncio.sleep(LOOK_S)
        said.seek(0)
        lines = said.read().decode("utf-8", "replace").strip().splitlines()
    if process.returncode:
        raise RunError((lines or ["it ended without a word"])[-1].removeprefix("sae-tui: "))

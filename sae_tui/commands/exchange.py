"""Verbs that bring SAEs in and out: import, export."""

import argparse
import shutil
import sys
from pathlib import Path

from core import jobs
from core.errors import SaeTuiError, SessionError, out_of_memory, sentence
from core.session import Session
from sae_tui.commands import runs, work
from sae_tui.commands.output import add_set, as_json, finished, session_of
from sae_tui.text import safe

EXPORTED = ("cfg.json", "sae_weights.safetensors")
"""SAELens' layout; a checkpoint's folder holds more."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verbs."""
    verb = verbs.add_parser(
        "import", help="make a session from an SAE in another's files, here or on the hub",
        description="Makes a session from an SAE in another's files. It is then measured on the test split of the "
        "corpus, and its L0 and explained variance are compared with what its own files record.",
    )  # fmt: skip
    verb.add_argument(
        "source", metavar="SOURCE",
        help="a folder or a file of SAELens, sparsify, dictionary_learning, Gemma Scope or plain tensors; "
        "REPO:FOLDER on the hub; RELEASE/ID of SAELens' list; NAME@STEP, a checkpoint of a session",
    )  # fmt: skip
    verb.add_argument("--as", dest="name", required=True, metavar="NAME", help="the session's name")
    follows = verb.add_mutually_exclusive_group()
    follows.add_argument("--then-all", action="store_true", help="measure and analyse it, with one model")
    follows.add_argument("--no-measure", action="store_true", help="load no model; `sae-tui evaluate` measures later")
    verb.add_argument("--detach", action="store_true", help="do what follows the import in a process of its own")
    add_set(verb)
    verb.set_defaults(run=import_)

    verb = verbs.add_parser("export", help="copy a session's SAE, in SAELens' layout")
    verb.add_argument("name", help="the session")
    verb.add_argument("folder", type=Path, help="a folder that does not exist yet, or is empty")
    verb.add_argument("--force", action="store_true", help="write into a folder that holds something, over its SAE")
    verb.set_defaults(run=export)


def import_(args: argparse.Namespace) -> int:
    """`sae-tui import`."""
    from core import importing

    session = finished(importing.import_sae(args.sessions, args.source, args.name, args.settings))
    verbs = [] if args.no_measure else work.after(args, session) or ["evaluate"]
    if verbs and args.detach:
        work.detached(session, verbs)
    elif verbs and (code := _followed(args, session, verbs)):
        return code
    return runs.show(args)


def _followed(args: argparse.Namespace, session: Session, verbs: list[jobs.Verb]) -> int:
    """Do what follows the import here. What nobody asked for, the measuring alone, may fail: the SAE is there."""
    try:
        return work.foreground(session, verbs, keep=True)
    except Exception as error:
        if args.then_all or not (isinstance(error, SaeTuiError) or out_of_memory(error)):
            raise
        why = f"{session.name} is imported but could not be measured, {sentence(error)}"
        sys.stderr.write(f"sae-tui: {safe(why)}; `sae-tui evaluate {session.name}` tries again\n")
        return 0


def export(args: argparse.Namespace) -> int:
    """`sae-tui export`."""
    from core.sae import files

    session = session_of(args)
    weights, folder = session.weights_dir(), args.folder
    files.require_exportable(weights)
    if folder.exists() and not folder.is_dir():
        raise SessionError(f"{folder} is a file", hint="name a folder")
    if folder.exists() and any(folder.iterdir()) and not args.force:
        raise SessionError(f"{folder} holds something already", hint="name another folder, or add --force")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in EXPORTED:
            shutil.copyfile(weights / name, folder / name)
    except OSError as error:
        raise SaeTuiError(f"{folder} cannot be written", hint=str(error)) from None
    if args.json:
        as_json({"name": session.name, "folder": str(folder)})
    else:
        print(f"{session.name} is in {safe(str(folder))}; sae-lens reads it with SAE.load_from_disk")
    return 0

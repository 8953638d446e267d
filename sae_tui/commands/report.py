"""`sae-tui report`: a session as a page to read, a PDF to print, and JSON for programs."""

import argparse
from pathlib import Path

from core.errors import UsageError
from sae_tui.commands.output import as_json, finished, session_of
from sae_tui.text import safe, size

FEATURES = 50
"""Told in full unless --features says otherwise."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    verb = verbs.add_parser("report", help="a page of HTML with all that is known of an SAE, and of its best features")
    verb.add_argument("name", help="the session")
    verb.add_argument("--out", type=Path, metavar="DIR", help="default: the folder `report` of the session")
    verb.add_argument(
        "--features", type=int, default=FEATURES, metavar="N", help=f"features that are told in full ({FEATURES})"
    )
    verb.add_argument("--pdf", action="store_true", help="also as a PDF")
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """`sae-tui report`."""
    session = session_of(args)
    if args.features < 0:
        raise UsageError(f"--features {args.features}", hint="give 0 or more")
    from core.report.write import (
        write,
    )  # here: matplotlib takes half a second to import, which other verbs can do without

    folder = args.out or session.report_dir
    made = finished(write(session, folder, features=args.features, paper=args.pdf))
    if args.json:
        as_json({"name": session.name, "files": [str(path) for path in made]})
    else:
        for path in made:
            print(f"{safe(str(path))}  {size(path.stat().st_size)}")
    return 0

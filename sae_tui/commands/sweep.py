"""`sae-tui sweep`: runs one after another, here or in a process of their own, and a table of what came of them."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core import sweep
from core.analysis import compare
from core.errors import UsageError
from core.session import Session
from sae_tui.commands import configured
from sae_tui.commands.output import as_json, table
from sae_tui.commands.work import STOPPED, foreground
from sae_tui.text import sweep_line

BY = "specialists_by_category"
"""What of a row is no cell of the table, but a table of its own."""
CATEGORIES = 10
"""Of that, those with the most specialists."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verbs."""
    verb = verbs.add_parser("sweep", help="train and measure a grid of SAEs on one set of activations")
    verb.add_argument(
        "config", nargs="?", type=Path, metavar="CONFIG|NAME",
        help="a TOML file; or, without --grid, a session of a sweep that is to go on",
    )  # fmt: skip
    add_runs(verb)
    verb.add_argument(
        "--grid", action="append", default=[], metavar="KEY=A,B",
        help="a field and its values, e.g. sae.k=16,32; several make every combination",
    )  # fmt: skip
    verb.set_defaults(run=run)


def add_runs(verb: argparse.ArgumentParser) -> None:
    """What every verb takes that makes runs from one configuration."""
    configured.add(verb)
    verb.add_argument("--name", help="what the sessions' names begin with (default: that of the file or preset)")
    verb.add_argument(
        "--analyze", action="store_true",
        help="build each one's feature database too: token entropy, specialists and duplicates join the table",
    )  # fmt: skip
    verb.add_argument(
        "--detach", action="store_true", help="do it in a process of its own, which no closed terminal ends"
    )


def run(args: argparse.Namespace) -> int:
    """`sae-tui sweep`."""
    if not args.grid:
        return _done(args, _begun(args))
    base, values = configured.read(args)
    return made(args, sweep.members(args.name or base, values, sweep.grid(args.grid)))


def made(args: argparse.Namespace, found: Sequence[sweep.Member]) -> int:
    """Train and measure each run that is not finished already, and print the table of all."""
    return _done(args, sweep.begin(args.sessions, found))


def _begun(args: argparse.Namespace) -> list[Session]:
    """The members of the sweep that a session is one of. Raises UsageError, SessionError."""
    if args.config is None or args.config.is_file() or args.preset or args.settings or args.name:
        raise UsageError(
            "sweep takes --grid with a configuration; without it the name of a session of a sweep, and nothing else",
            hint="for example --preset demo --grid sae.k=16,32",
        )
    session = Session.open(args.sessions, str(args.config))
    if not session.sweep():
        raise UsageError(f"session {session.name!r} is part of no sweep", hint=f"`sae-tui resume {session.name}`")
    return [Session(args.sessions / name) for name in session.sweep()]


def _done(args: argparse.Namespace, sessions: Sequence[Session]) -> int:
    at_work = next((session for session in sessions if session.observed().active), None)
    if at_work is None and args.detach and (started := sweep.start(sessions, analyze=args.analyze)):
        at_work, _ = started
    if at_work is not None:
        verbs = f"`sae-tui logs -f {at_work.name}` follows it, `sae-tui stop {at_work.name}` stops all"
        sys.stderr.write(f"{sweep_line(sweep.place(at_work))}; {verbs}\n")
    elif code := _worked(args, sessions):
        return code
    return _told(args, sessions)


def _worked(args: argparse.Namespace, sessions: Sequence[Session]) -> int:
    """Do here what is missing, and return the exit code."""
    from core import flow

    load = flow.loaded_once()
    for number, session in enumerate(sessions, 1):
        if not (verbs := sweep.missing(session, analyze=args.analyze)):
            continue
        sys.stderr.write(f"{number} of {len(sessions)}: {session.name}\n")
        if code := foreground(session, verbs, keep=True, load=load):
            ended = "is stopped" if code == STOPPED else f"ends with {session.name}, which failed"
            sys.stderr.write(f"the {args.verb} {ended}; the same command goes on with it\n")
            return code
    return 0


def _told(args: argparse.Namespace, sessions: Sequence[Session]) -> int:
    """Print the table."""
    varied = sessions[0].sweep()
    rows = sweep.results(args.sessions, varied)
    analysed = args.analyze and all(session.database_path.is_file() for session in sessions)
    if analysed:
        rows = [{**row, **_interpretability(s)} for row, s in zip(rows, sessions, strict=True)]
    if args.json:
        as_json(rows)
        return 0
    columns = list(dict.fromkeys(name for row in rows for name in row if name not in ("best", BY)))
    text = ["name", *(name for fields in varied.values() for name in fields)]
    drawn = (["*" if row["best"] else "", *(_percent(c, row.get(c)) for c in columns)] for row in rows)
    table(["", *(PERCENT.get(c, c) for c in columns)], drawn, left=["", *text])
    if analysed:
        _specialists(rows)
    print("\n* no other has a lower FVU at the same L0 or less; in the workbench: space marks runs, d compares them")
    return 0


def _interpretability(session: Session) -> dict[str, Any]:
    """How plain its features are, by its database: medians, counts, a share, and the mean score of tested labels."""
    found = compare.summary(session)
    names = ("token_entropy", "category_entropy", "specialists", "duplicate_share", "label_score")
    return {**{name: found.figures[name] for name in names}, BY: found.specialists}


def _specialists(rows: Sequence[dict[str, Any]]) -> None:
    most = Counter[str]()
    for row in rows:
        most |= Counter(row[BY])
    names = [category for category, _ in most.most_common(CATEGORIES)]
    if names:
        print("\nspecialists by category")
        counts = ([name, *(row[BY].get(name, 0) for row in rows)] for name in names)
        table(["", *(row["name"] for row in rows)], counts, left=[""])


PERCENT = {"sparsity": "sparsity %", "duplicate_share": "duplicates %"}
"""Columns that a table shows in percent, and their names there."""


def _percent(column: str, value: Any) -> Any:
    return 100 * value if column in PERCENT and value is not None else value

"""`sae-tui sweep`: runs one after another, and a table of what came of them."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core import jobs, sweep
from core.analysis import compare
from core.session import Session
from sae_tui.commands import configured
from sae_tui.commands.output import as_json, table
from sae_tui.commands.work import STOPPED, foreground

BY = "specialists_by_category"
"""What of a row is no cell of the table, but a table of its own."""
CATEGORIES = 10
"""Of that, those with the most specialists."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verbs."""
    verb = verbs.add_parser("sweep", help="train and measure a grid of SAEs on one set of activations")
    verb.add_argument("config", nargs="?", type=Path, help="a TOML file; `sae-tui config --example` prints one")
    add_runs(verb)
    verb.add_argument(
        "--grid", action="append", default=[], required=True, metavar="KEY=A,B",
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


def run(args: argparse.Namespace) -> int:
    """`sae-tui sweep`."""
    base, values = configured.read(args)
    return done(args, sweep.members(args.name or base, values, sweep.grid(args.grid)))


def done(args: argparse.Namespace, found: Sequence[sweep.Member]) -> int:
    """Train and measure each run that is not finished already, and print the table of all."""
    sessions = [sweep.session(args.sessions, member) for member in found]
    from core import flow

    load = flow.loaded_once()
    for number, session in enumerate(sessions, 1):
        verbs: list[jobs.Verb] = []
        if not session.finished:
            verbs.append("train")
        if not session.evaluation():
            verbs.append("evaluate")
        if args.analyze and not session.database_path.is_file():
            verbs.append("analyze")
        if not verbs:
            continue
        sys.stderr.write(f"{number} of {len(sessions)}: {session.name}\n")
        if code := foreground(session, verbs, keep=True, load=load):
            ended = "is stopped" if code == STOPPED else f"ends with {session.name}, which failed"
            sys.stderr.write(f"the {args.verb} {ended}; the same command goes on with it\n")
            return code
    rows = sweep.results(args.sessions, found)
    if args.analyze:
        rows = [{**row, **_interpretability(s)} for row, s in zip(rows, sessions, strict=True)]
    if args.json:
        as_json(rows)
        return 0
    columns = list(dict.fromkeys(name for row in rows for name in row if name not in ("best", BY)))
    text = ["name", *(name for member in found for name in member.varied)]
    drawn = (["*" if row["best"] else "", *(_percent(c, row.get(c)) for c in columns)] for row in rows)
    table(["", *(PERCENT.get(c, c) for c in columns)], drawn, left=["", *text])
    if args.analyze:
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

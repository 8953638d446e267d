"""`sae-tui query`: a person's SQL, as a table, or all its rows as CSV, JSON or Parquet."""

import argparse
import sys
from pathlib import Path
from typing import get_args

from core.analysis import answering, export
from core.analysis.store import Store
from core.errors import UsageError
from core.session import Session
from sae_tui.commands.output import as_json, session_of, table, watched
from sae_tui.text import safe

ROWS = 1_000
"""Printed unless --limit says otherwise."""
ALL = 2**40


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    verb = verbs.add_parser("query", help="one SELECT over the feature database; prints or exports its rows")
    verb.add_argument("name", help="the session")
    verb.add_argument("sql", help="the query; tables: features, examples, tokens, activations, logits, ...")
    verb.add_argument(
        "--with", action="append", default=[], metavar="NAME", dest="others",
        help="another session to join, `s2` in the query as the first is `s1`; may be repeated",
    )  # fmt: skip
    verb.add_argument(
        "--format", choices=("table", *get_args(export.Format)), help="default: a table; with --out, as FILE ends"
    )
    verb.add_argument("--out", type=Path, metavar="FILE", help="write all rows to a .csv, .json or .parquet file")
    verb.add_argument(
        "--limit", type=int, metavar="N", help=f"rows at most, 0: all (printed: {ROWS:,}; with --out: all)"
    )
    verb.set_defaults(run=query)


def query(args: argparse.Namespace) -> int:
    """`sae-tui query`."""
    sessions = [session_of(args), *(Session.open(args.sessions, name) for name in args.others)]
    limit = args.limit if args.limit is not None else 0 if args.out else ROWS
    if limit < 0:
        raise UsageError(f"--limit {limit}", hint="give 0, for all, or more")
    with answering.bounded():
        return _to_file(args, sessions, limit) if args.out else _printed(args, sessions, limit)


def _printed(args: argparse.Namespace, sessions: list[Session], limit: int) -> int:
    form = "json" if args.json else args.format
    if form == "parquet":
        raise UsageError("Parquet is for a file", hint="name it with --out FILE")
    if form in ("csv", "json"):
        with export.Export(sessions, args.sql, limit=limit or None) as asked:
            for _ in asked.to_text(_Safe() if sys.stdout.isatty() else sys.stdout, form):
                pass
            more = asked.more
    else:
        with Store.open(sessions) as store:
            result = store.query(args.sql, limit or ALL)
        table(result.columns, result.rows)
        more = result.truncated
    if more:
        sys.stderr.write(f"sae-tui: the first {limit:,} rows; --limit raises that\n")
    return 0


def _to_file(args: argparse.Namespace, sessions: list[Session], limit: int) -> int:
    if args.format == "table":
        raise UsageError("a table is for a terminal", hint="with --out give --format csv, json or parquet")
    form = args.format or export.format_of(args.out)
    rows = 0
    with export.Export(sessions, args.sql, limit=limit or None) as asked:
        for progress in watched(asked.to_file(args.out, form)):
            rows = int(progress.done)
    if args.json:
        as_json({"file": str(args.out), "format": form, "rows": rows})
    else:
        print(f"{rows:,} rows are in {safe(str(args.out))}")
    return 0


class _Safe:
    """The terminal, to which CSV may say nothing but text."""

    def write(self, text: str) -> int:
        return sys.stdout.write(safe(text, newlines=True))

"""`sae-tui sweep`: a grid of runs one after another, and a table of what came of them."""

import argparse
import sys
from pathlib import Path

from core import config as configs
from core import jobs, sweep
from core.errors import UsageError
from sae_tui.commands.output import add_set, as_json, table, watched


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    verb = verbs.add_parser("sweep", help="train and measure a grid of SAEs on one set of activations")
    verb.add_argument("config", nargs="?", type=Path, help="a TOML file; `sae-tui config --example` prints one")
    verb.add_argument("--preset", metavar="P", help="a shipped configuration instead of a file: demo, relu")
    verb.add_argument(
        "--grid", action="append", default=[], required=True, metavar="KEY=A,B",
        help="a field and its values, e.g. sae.k=16,32; several make every combination",
    )  # fmt: skip
    verb.add_argument("--name", help="what the sessions' names begin with (default: that of the file or preset)")
    add_set(verb)
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """`sae-tui sweep`: what is finished already is not done again."""
    if (args.config is None) == (args.preset is None):
        raise UsageError("sweep takes a configuration file or --preset", hint="try `sae-tui sweep --preset demo ...`")
    values = configs.preset(args.preset) if args.preset else configs.read_values(args.config)
    base = args.name or args.preset or args.config.stem.lower()
    found = sweep.members(base, configs.with_settings(values, args.settings), sweep.grid(args.grid))
    sessions = [sweep.session(args.sessions, member) for member in found]
    from core import flow

    load = flow.loaded_once()
    for number, session in enumerate(sessions, 1):
        verbs: list[jobs.Verb] = []
        if not session.finished:
            verbs.append("train")
        if not session.evaluation():
            verbs.append("evaluate")
        if not verbs:
            continue
        sys.stderr.write(f"{number} of {len(sessions)}: {session.name}\n")
        for _ in watched(jobs.chain(session, verbs, flow.stages(session, load=load))):
            pass
        if session.status().state == "stopped":
            sys.stderr.write("the sweep is stopped; the same command goes on with it\n")
            return 130
    rows = sweep.results(args.sessions, found)
    if args.json:
        as_json(rows)
        return 0
    columns = list(dict.fromkeys(name for row in rows for name in row if name != "best"))
    text = ["name", *(name for member in found for name in member.varied)]
    table(
        ["", *columns], (["*" if row["best"] else "", *(row.get(c) for c in columns)] for row in rows), left=["", *text]
    )
    print("\n* no other has a lower FVU at the same L0 or less; in the workbench: space marks runs, d compares them")
    return 0

"""`sae-tui study`: a question about SAEs, answered by a sweep of new runs, or by the databases of finished ones."""

import argparse
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from core import study
from core.analysis import studies
from core.errors import UsageError
from core.session import Session
from sae_tui import pictures
from sae_tui.commands import configured, sweep
from sae_tui.commands.output import as_json, table
from sae_tui.widgets import multiples

QUESTIONS = {
    "activation": "how do activation functions compare at about the same L0? (a configuration)",
    "fidelity": "how does fidelity fall as sparsity rises? (a configuration)",
    "frequency": "does how often a feature fires tell whether it is a specialist? (sessions)",
    "emergence": "how did features come to be in training? (sessions)",
}

WIDTH = 200
"""Columns where there is no terminal."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    verb = verbs.add_parser(
        "study", help="compare activation functions, or ask how fidelity, frequency or emergence behave",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="\n".join(f"{name:<11} {words}" for name, words in QUESTIONS.items()),
    )  # fmt: skip
    verb.add_argument("question", choices=tuple(QUESTIONS))
    verb.add_argument("of", nargs="*", metavar="CONFIG|NAME", help="a TOML file, or the names of analysed sessions")
    verb.add_argument(
        "--feature", type=int, action="append", default=[], metavar="ID", dest="features",
        help="of emergence: tell of this feature, in place of a choice; may be repeated",
    )  # fmt: skip
    sweep.add_runs(verb)
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """`sae-tui study`."""
    if args.question in ("activation", "fidelity"):
        if len(args.of) > 1:
            raise UsageError(f"study {args.question} takes one configuration", hint="give one TOML file, or --preset")
        args.config = Path(args.of[0]) if args.of else None
        base, values = configured.read(args)
        return sweep.made(args, getattr(study, args.question)(args.name or base, values))
    if not args.of:
        raise UsageError(f"study {args.question} takes sessions", hint="`sae-tui ls` lists them")
    sessions = [Session.open(args.sessions, name) for name in args.of]
    found: list[studies.Frequency | studies.Emergence] = [
        studies.frequency(session)
        if args.question == "frequency"
        else studies.emergence(session, features=args.features)
        for session in sessions
    ]
    if args.json:
        as_json([one.to_json() for one in found])
        return 0
    for one in found:
        for line in _frequency(one) if isinstance(one, studies.Frequency) else _emergence(one):
            print(line)
        if isinstance(one, studies.Emergence):
            columns = ("step", "alive", "born", "died", "density", "density_rho", "jaccard", "drift", "drift_final")
            table(columns, ([step[c] for c in columns] for step in one.steps))
            print()
            for line in _multiples(one):
                print(line)
    return 0


def _frequency(found: studies.Frequency) -> Iterator[str]:
    yield f"{found.name}: Spearman's rank correlation of density, over features that fired {studies.LEAST} times, with"
    for c in found.correlations:
        if c.rho is None:
            yield f"  {c.of:<18} nothing to compare: {c.n:,} features have one"
        else:
            yield f"  {c.of:<18} {c.rho:+.3f}   95 % of samples {c.low:+.3f} to {c.high:+.3f}   {c.n:,} features"
    yield "Entropies are small for a specialist, the score is large."
    r, full = (found.reliability[name] for name in studies.RELIABILITY)
    if r is not None and full is not None:
        yield f"Densities agree between halves of the test split: r {r:.3f}, and {full:.3f} for samples twice as large."
    yield ""


def _emergence(found: studies.Emergence) -> Iterator[str]:
    first, last = found.steps[0], found.steps[-1]
    born = sum(step["born"] for step in found.steps[1:])
    died = sum(step["died"] for step in found.steps)
    yield (
        f"{found.name}: {first['alive']:,} features were active at step {first['step']:,}, {born:,} came later, "
        f"{died:,} fell silent, {last['alive']:,} were active at step {last['step']:,}"
    )
    if found.stability["median"] is not None:
        low, middle, high = (found.stability[name] for name in ("p10", "median", "p90"))
        yield (
            f"stability of features, the Jaccard index of what one fires on at a snapshot and at the next: median "
            f"{middle:.2f}, 10 % below {low:.2f}, 10 % above {high:.2f}"
        )
    yield ""


def _multiples(found: studies.Emergence) -> Iterator[str]:
    """A picture a snapshot of each feature, or a bar where there are no pictures."""
    terminal = sys.stdout.isatty()
    depth = pictures.depth(terminal=terminal)
    width = shutil.get_terminal_size().columns if terminal else WIDTH
    steps = [step["step"] for step in found.steps]
    for one in map(asdict, found.features):
        if not one["pictures"]:
            yield f"{multiples.bars(one, ascii_only=False)}  {multiples.title(one)}"
            continue
        yield multiples.title(one)
        columns = multiples.columns(one, steps, width)
        yield (" " * multiples.GAP).join(column.caption for column in columns).rstrip()
        yield from pictures.beside([pictures.lines(column.pattern, depth, heat=True) for column in columns])
        yield from pictures.beside([pictures.lines(column.image, depth) for column in columns])
        yield ""
    if any(one.pictures for one in found.features):
        yield "Above what each read from the pixels, its activation's gradient; below the image it was strongest on."

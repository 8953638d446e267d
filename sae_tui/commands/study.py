"""`sae-tui study`: a question about SAEs, answered by a sweep of new runs, or by the databases of finished ones."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from core import study
from core.analysis import studies
from core.errors import UsageError
from core.session import Session
from sae_tui.commands import sweep
from sae_tui.commands.output import as_json, table

QUESTIONS = {
    "activation": "how do activation functions compare at about the same L0? (a configuration)",
    "fidelity": "how does fidelity fall as sparsity rises? (a configuration)",
    "frequency": "does how often a feature fires tell whether it is a specialist? (sessions)",
    "emergence": "how did features come to be in training? (sessions)",
}


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    verb = verbs.add_parser(
        "study", help="compare activation functions, or ask how fidelity, frequency or emergence behave",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="\n".join(f"{name:<11} {words}" for name, words in QUESTIONS.items()),
    )  # fmt: skip
    verb.add_argument("question", choices=tuple(QUESTIONS))
    verb.add_argument("of", nargs="*", metavar="CONFIG|NAME", help="a TOML file, or the names of analysed sessions")
    sweep.add_runs(verb)
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """`sae-tui study`."""
    if args.question in ("activation", "fidelity"):
        if len(args.of) > 1:
            raise UsageError(f"study {args.question} takes one configuration", hint="give one TOML file, or --preset")
        args.config = Path(args.of[0]) if args.of else None
        base, values = sweep.configured(args)
        return sweep.done(args, getattr(study, args.question)(base, values))
    if not args.of:
        raise UsageError(f"study {args.question} takes sessions", hint="`sae-tui ls` lists them")
    sessions = [Session.open(args.sessions, name) for name in args.of]
    answer = studies.frequency if args.question == "frequency" else studies.emergence
    found = [answer(session) for session in sessions]
    if args.json:
        as_json([one.to_json() for one in found])
        return 0
    for one in found:
        for line in _frequency(one) if isinstance(one, studies.Frequency) else _emergence(one):
            print(line)
        if isinstance(one, studies.Emergence):
            columns = ("step", "alive", "born", "died", "density", "density_rho", "drift", "drift_final")
            table(columns, ([step[c] for c in columns] for step in one.steps))
            print()
    return 0


def _frequency(found: studies.Frequency) -> Iterator[str]:
    yield f"{found.name}: Spearman's rank correlation of density, over features that fired {studies.LEAST} times, with"
    for c in found.correlations:
        if c.rho is None:
            yield f"  {c.of:<18} nothing to compare: {c.n:,} features have one"
        else:
            yield f"  {c.of:<18} {c.rho:+.3f}   95 % of samples {c.low:+.3f} to {c.high:+.3f}   {c.n:,} features"
    yield "Entropies are small for a specialist, the score is large."
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
            f"steadiness of a feature's density from snapshot to snapshot: median {middle:.2f}, 10 % below {low:.2f}, "
            f"10 % above {high:.2f} (1: it always fires as often)"
        )
    yield ""

"""The verb experiment: what steering does, measured: by strength, by pairs of features, over texts."""

import argparse
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from typing import Any

from core.analysis.given import gathered
from core.errors import UsageError
from core.experiments.kept import save, to_json
from core.experiments.records import Dose, Outcome
from core.experiments.requests import (
    BEGINNING,
    DOSED,
    SAMPLED,
    STRENGTHS,
    DoseRequest,
    EffectRequest,
    Limits,
    PairRequest,
    Request,
)
from core.session import Session
from core.steering.interventions import UNITS, from_option
from sae_tui.commands.output import as_json, session_of, table, watched
from sae_tui.commands.steering_options import add_edits, add_sampling, sampling_of
from sae_tui.commands.texts import add_texts, names

KINDS = {
    "dose": "a sweep of strengths: what they do to a target, what they cost, and which strengths are of use",
    "pair": "interference: what edits of two features do beyond what each does",
    "effect": "what an edit of a feature changes over texts, beside that of another one of like density",
}
OF_DOSE = {
    "prompt", "feature", "strengths", "kind", "unit", "where", "tokens", "seeds", "limit", "rows", "chat", "system",
    *SAMPLED,
}  # fmt: skip
OF_TEXTS = {"edits", "texts", "text"}
TAKEN = {
    "dose": OF_DOSE | {"target", "mode"}, "pair": OF_TEXTS | {"mode"},
    "effect": OF_TEXTS | {"target", "mode", "seed", "like"},
}  # fmt: skip
"""Which options an experiment has a use for."""
LIMITS = tuple(field.name for field in fields(Limits))


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    verb = verbs.add_parser(
        "experiment", help="measure what steering does: by strength, by pairs of features, over texts",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="\n".join(f"{name:<7} {words}" for name, words in KINDS.items()),
    )  # fmt: skip
    verb.add_argument("kind_of", choices=tuple(KINDS), metavar="dose|pair|effect")
    verb.add_argument("name", help="the session")
    verb.add_argument("--target", metavar="TEXT", help="dose: what the prompt should go on with; effect: one token")
    verb.add_argument("--mode", help="error-kept (default) or replace by the reconstruction")
    dose = verb.add_argument_group("dose")
    dose.add_argument("--prompt", metavar="TEXT", help="the text to go on from")
    dose.add_argument("--feature", action="append", type=int, metavar="ID", help="a feature; may be repeated")
    dose.add_argument("--strengths", metavar="S,S,...", help="such as 0.5,1,2,4 (default: eight of them)")
    dose.add_argument("--kind", choices=DOSED, help="what is done to the feature (add)")
    dose.add_argument("--unit", choices=tuple(UNITS.values()), help="of strengths, but of scale's (max)")
    dose.add_argument("--where", help="where interventions hold, as steer has it (everywhere)")
    dose.add_argument("--tokens", type=int, help="how many to generate at each strength (30)")
    add_sampling(dose, BEGINNING, SAMPLED)
    dose.add_argument("--seeds", type=int, metavar="N", help="texts at each strength (5)")
    dose.add_argument("--limit", action="append", metavar="NAME=V", help=f"of use is within: {', '.join(LIMITS)}")
    dose.add_argument("--rows", type=int, metavar="N", help="strengths in one batch at most (32)")
    dose.add_argument("--chat", action="store_true", default=None, help="the prompt is a turn of a chat")
    dose.add_argument("--system", metavar="TEXT", help="the chat's system prompt")
    over = verb.add_argument_group("pair, effect", "what is done, as steer has it: pair takes two of these")
    add_edits(over)
    add_texts(verb)
    over.add_argument("--seed", type=int, help="effect: of the draw of the other feature (0)")
    over.add_argument("--like", type=float, metavar="X", help="effect: its density is within this factor (1.5)")
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """`sae-tui experiment`."""
    asked = _asked(args)
    session = session_of(args)
    outcome = _measured(session, asked)
    path = save(session, outcome)
    if args.json:
        as_json({**to_json(outcome), "file": str(path)})
        return 0
    _print(session, outcome)
    print(f"\nkept as {path}")
    return 0


def _measured(session: Session, request: Request) -> Outcome:
    """Run it; progress on stderr. Ctrl-C stops it and keeps what is whole."""
    from core import flow
    from core.experiments import run as experiments

    found: Outcome | None = None

    def work() -> Iterator[Any]:
        model, sae = yield from flow.load_text(session)
        yield from experiments.run(model, sae, session, request)

    try:
        for record in watched(work()):
            found = record if isinstance(record, Outcome) else found
    except KeyboardInterrupt:
        if found is None:
            raise
        sys.stderr.write("sae-tui: stopped; what is whole is kept\n")
    assert found is not None, "it ended without an outcome"
    return found


def _asked(args: argparse.Namespace) -> Request:
    """The request. Raises UsageError."""
    taken = TAKEN[args.kind_of]
    given = {name: value for name in set().union(*TAKEN.values()) if (value := getattr(args, name)) not in (None, [])}
    for name in given.keys() - taken:
        raise UsageError(
            f"experiment {args.kind_of} has no use for {_options([name])}", hint=f"it takes {_options(taken)}"
        )
    if args.kind_of == "dose":
        return _dose_asked(given)
    edits = [from_option(kind, text) for kind, text in given.pop("edits", [])]
    texts = tuple(text.text for text in gathered(given.pop("texts", []), given.pop("text", [])))
    wanted = 2 if args.kind_of == "pair" else 1
    if len(edits) != wanted:
        raise UsageError(
            f"experiment {args.kind_of} takes {'two interventions' if wanted == 2 else 'one intervention'}",
            hint="such as --ablate 12" + (" --ablate 88" if wanted == 2 else ""),
        )
    if args.kind_of == "pair":
        return PairRequest(one=edits[0], other=edits[1], texts=texts, **given)
    return EffectRequest(edit=edits[0], texts=texts, **given)


def _dose_asked(given: dict[str, Any]) -> DoseRequest:
    if not given.get("feature") or not given.get("prompt"):
        raise UsageError("experiment dose takes --feature ID and --prompt TEXT")
    kind = given.get("kind", "add")
    values: dict[str, Any] = {
        "features": tuple(given.pop("feature")),
        "strengths": _numbers(given.pop("strengths")) if "strengths" in given else STRENGTHS[kind],
        "limits": _limits(given.pop("limit", [])),
        "sampling": sampling_of(given, BEGINNING),
    }
    if "seeds" in given:
        values["seeds"] = tuple(range(given.pop("seeds")))
    return DoseRequest(**values, **given)


def _numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between. Raises UsageError."""
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise UsageError(f"{text!r} are no strengths", hint="give numbers with commas, as in 0.5,1,2,4") from None


def _limits(given: Iterable[str]) -> Limits:
    """The limits of use, some of them given as `kl=0.5`. Raises UsageError."""
    limits = Limits()
    for text in given:
        name, _, value = text.partition("=")
        try:
            limits = replace(limits, **{name: float(value)})
        except (TypeError, ValueError):
            raise UsageError(f"{text!r} is no limit", hint=f"as in kl=0.5; there are {', '.join(LIMITS)}") from None
    return limits


def _options(names_: Iterable[str]) -> str:
    shown = ("interventions" if name == "edits" else f"--{name.replace('_', '-')}" for name in sorted(names_))
    return ", ".join(shown)


def _print(session: Session, outcome: Outcome) -> None:
    from sae_tui.widgets import dosed, measured

    called = names(session, measured.mentioned(outcome))
    width = shutil.get_terminal_size((100, 24)).columns
    for line in measured.lines(outcome, lambda feature: called.get(feature, ""), width):
        print(line.plain.rstrip())
    if isinstance(outcome, Dose):
        for curve in outcome.curves:
            print(f"\nfeature {curve.feature}, strengths in {outcome.request.unit_words}")
            table(dosed.COLUMNS, map(dosed.cells, curve.points))

"""`sae-tui labels`: list, import and export them; propose some from statistics; ask a language model for some."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from core import explanations, labels
from core.analysis import explain, naming
from core.analysis.store import Store
from core.errors import QueryError, SaeTuiError, SessionError, UsageError
from core.labels import Label
from core.records import Progress
from core.session import Session
from sae_tui.commands.output import as_json, session_of, table, watched
from sae_tui.text import safe


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    verb = verbs.add_parser("labels", help="list, import, export and propose labels of features")
    verb.add_argument("name", help="the session")
    what = verb.add_mutually_exclusive_group()
    what.add_argument("--export", metavar="FILE", help="write them as JSON lines; - is standard output")
    what.add_argument(
        "--import", dest="given", metavar="FILE",
        help="read JSON lines with `feature` and `label`, or Neuronpedia's explanations",
    )  # fmt: skip
    what.add_argument("--propose", action="store_true", help="make some from token statistics, without any model")
    what.add_argument(
        "--ask", metavar="URL", nargs="?", const="",
        help=f"ask a language model at an OpenAI-compatible address, or at that which {explanations.URL} in the "
        f"environment holds; {explanations.KEY} there is its key",
    )  # fmt: skip
    verb.add_argument("--model", metavar="M", help=f"with --ask: the model's name there ({explanations.MODEL})")
    verb.add_argument("--offer", action="store_true", help="with --ask: show what it says, and write no label")
    verb.add_argument(
        "--where", default="NOT dead", metavar="SQL", help="which features are labelled (those that fired)"
    )
    verb.add_argument("--limit", type=int, metavar="N", help="how many, the strongest first (with --ask: 20)")
    verb.add_argument("--replace", action="store_true", help="take the place of labels that are there")
    verb.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """`sae-tui labels`."""
    session = session_of(args)
    if args.export:
        _export(args, session)
    elif args.given:
        _added(args, session, _read(args.given, session), "imported")
    elif args.propose:
        with Store.open([session]) as store:
            new = naming.labels(store, _features(args, store, store.d_sae))
        _added(args, session, new, "proposed")
    elif args.ask is not None:
        _ask(args, session)
    else:
        _list(args, session)
    return 0


def _export(args: argparse.Namespace, session: Session) -> None:
    found = list(labels.lines(session))
    text = "".join(f"{line}\n" for line in found)
    if args.export == "-":
        sys.stdout.write(text)
        return
    try:
        Path(args.export).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SaeTuiError(f"{args.export} cannot be written", hint=str(error)) from error
    if args.json:
        as_json({"file": args.export, "labels": len(found)})
    else:
        print(f"{len(found):,} labels are in {safe(args.export)}")


def _read(path: str, session: Session) -> list[Label]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read", hint=str(error)) from error
    # not `splitlines`, which also parts a line where a label holds U+2028 or U+0085
    return list(labels.from_lines(text.split("\n"), source=Path(path).name, width=_width(session)))


def _width(session: Session) -> int | None:
    """How many features its SAE has; None where there is neither an SAE nor a database yet."""
    with contextlib.suppress(SessionError):
        width = session.weights_config().get("d_sae")
        if isinstance(width, int):
            return width
    with contextlib.suppress(QueryError), Store.open([session]) as store:
        return store.d_sae
    return None


def _added(args: argparse.Namespace, session: Session, new: Sequence[Label], how: str) -> None:
    written, left = labels.add(session, new, replace_labels=args.replace)
    if args.json:
        as_json({"written": written, "left": left})
        return
    stay = f"; {left:,} features keep the label they had (--replace puts the new one there)" if left else ""
    print(f"{written:,} labels {how}{stay}")


def _features(args: argparse.Namespace, store: Store, limit: int) -> list[int]:
    """Those that are asked for, the strongest first, without those that have a label, where that one would stay."""
    found = store.features(sort="max", where=args.where, limit=store.d_sae)
    kept = [row["feature"] for row in found if args.replace or args.offer or not row["label"]]
    return kept[: args.limit if args.limit is not None else limit]


def _ask(args: argparse.Namespace, session: Session) -> None:
    url, model = explanations.configured(args.ask, args.model)
    speaker = explain.Address(url, model, key=os.environ.get(explanations.KEY, ""))
    found: list[explanations.Explanation] = []
    with Store.open([session]) as store:
        features = _features(args, store, 20)

        def work() -> Iterator[Progress]:
            for done, feature in enumerate(features):
                yield Progress(phase=f"asking {model}", done=done, total=len(features), unit="features")
                one = explain.explained(store, speaker, feature)
                explanations.keep(session, one)
                if not args.offer:
                    said = Label(feature=feature, label=one.label, source=model)
                    labels.add(session, [said], replace_labels=args.replace)
                found.append(one)

        for _ in watched(work()):
            pass
    if args.json:
        as_json([asdict(one) for one in found])
        return
    table(("feature", "score", "label"), ((one.feature, one.score, one.label) for one in found), left=("label",))
    print(
        "\nscore: 1 where the label tells firing from silent contexts it was not made from, 0.5 where it tells nothing"
    )


def _list(args: argparse.Namespace, session: Session) -> None:
    found = [label for _, label in sorted(labels.read(session).items())]
    if args.json:
        as_json([asdict(label) for label in found])
        return
    rows = (
        (one.feature, "★" if one.starred else "", one.label, one.note, ", ".join(one.tags), one.source) for one in found
    )
    table(("feature", "", "label", "note", "tags", "by"), rows, left=("", "label", "note", "tags", "by"))

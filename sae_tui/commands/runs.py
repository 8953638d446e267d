"""Verbs of a session's life: train, resume, clone, stop, logs, ls, show, rm."""

import argparse
import sys
from pathlib import Path
from typing import Any

from core import config as configs
from core import continuing, jobs, recorded, sweep
from core.errors import SessionError, UsageError
from core.session import Session, free_name, listing
from sae_tui.commands import configured, work
from sae_tui.commands.output import add_set, as_json, figures, session_of, table
from sae_tui.text import age, safe, size, sweep_line


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verbs."""
    verb = verbs.add_parser("train", help="train an SAE from a configuration")
    verb.add_argument("config", nargs="?", type=Path, help="a TOML file; `sae-tui config --example` prints one")
    configured.add(verb)
    verb.add_argument("--name", help="the session's name (default: that of the file or preset)")
    verb.add_argument("--detach", action="store_true", help="train in a process of its own and return at once")
    verb.add_argument("--then-all", action="store_true", help="then evaluate and analyse, with the same model")
    verb.set_defaults(run=train)

    verb = verbs.add_parser("resume", help="go on with a training that was stopped, failed or interrupted")
    verb.add_argument("name", help="the session")
    verb.add_argument("--detach", action="store_true", help="train in a process of its own and return at once")
    verb.add_argument("--then-all", action="store_true", help="then evaluate and analyse, with the same model")
    verb.set_defaults(run=resume)

    verb = verbs.add_parser("clone", help="a new session with the configuration of another, to be trained anew or on")
    verb.add_argument("name", help="the session to take the configuration of")
    verb.add_argument("new", nargs="?", default=argparse.SUPPRESS, metavar="NEW", help="the same as --as NEW")
    verb.add_argument("--as", dest="new", metavar="NEW", help="the new one's name (default: NAME-2, NAME-3, ...)")
    verb.add_argument(
        "--continue", action="store_true", dest="goes_on",
        help="train on from the end, or the last checkpoint, of the other, under a larger budget",
    )  # fmt: skip
    verb.add_argument("--detach", action="store_true", help="train it at once, in a process of its own")
    verb.add_argument("--then-all", action="store_true", help="with --detach: then evaluate and analyse it")
    add_set(verb)
    verb.set_defaults(run=clone)

    for name, run, text in (
        ("stop", stop, "stop the session's job; a training keeps a checkpoint"),
        ("show", show, "one session: state, progress, numbers"),
        ("rm", remove, "delete a session, after asking"),
        ("logs", logs, "what the session's jobs printed"),
    ):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("name", help="the session")
        verb.set_defaults(run=run)
    verbs.choices["rm"].add_argument("--yes", action="store_true", help="do not ask")
    verbs.choices["logs"].add_argument("-f", "--follow", action="store_true", help="print lines as they come")
    verbs.choices["logs"].add_argument("-n", type=int, default=50, help="how many of the last lines (50)")

    verbs.add_parser("ls", help="all sessions").set_defaults(run=ls)


def train(args: argparse.Namespace) -> int:
    """`sae-tui train`."""
    base, values = configured.read(args)
    config = configs.with_absolute_paths(configs.parse(values))
    session = Session.create(args.sessions, args.name or free_name(args.sessions, base), config)
    return _trained(args, session)


def resume(args: argparse.Namespace) -> int:
    """`sae-tui resume`."""
    session = session_of(args)
    if (seen := session.observed()).active:
        raise SessionError(
            f"a job works on session {session.name!r} already: {session.status().job}, {seen.state}",
            hint=f"`sae-tui logs -f {session.name}` follows it",
        )
    if session.finished:
        raise SessionError(
            f"the training of session {session.name!r} has ended: there is nothing to resume",
            hint=f"`sae-tui clone {session.name} --continue --set budget.activations=...` trains on in a new one",
        )
    if seen.state == "new" and session.resumable() is None:
        raise SessionError(
            f"the training of session {session.name!r} never began: there is nothing to resume",
            hint=f"`sae-tui clone {session.name} --detach` trains its configuration from the beginning",
        )
    if session.resumable() is None and not session.checkpoint_steps():
        sys.stderr.write(f"{session.name} had not come to its first checkpoint: it is trained from the beginning\n")
    return _trained(args, session, keep=True)


def _trained(args: argparse.Namespace, session: Session, *, keep: bool = False) -> int:
    """Train the session, here or in a process of its own, and what `--then-all` asks for besides."""
    if args.detach:
        return _started(args, session)
    code = work.foreground(session, ("train", *work.after(args, session)), keep=keep)
    if code == 0 or args.json:
        _show(args, session)
    return code


def clone(args: argparse.Namespace) -> int:
    """`sae-tui clone`."""
    values = session_of(args).config().model_dump(exclude_none=True)
    config = configs.with_absolute_paths(configs.parse(configs.with_settings(values, args.settings)))
    name = args.new or free_name(args.sessions, args.name)
    if args.goes_on:
        session = continuing.continued(session_of(args), args.sessions, name, config)
    else:
        session = Session.create(args.sessions, name, config)
    if args.detach:
        return _started(args, session)
    if args.json:
        as_json(session.summary())
    else:
        print(session.name)
    if args.goes_on:
        sys.stderr.write(f"`sae-tui resume {session.name}` trains it on from step {session.resumable():,}\n")
    return 0


def _started(args: argparse.Namespace, session: Session) -> int:
    """Train the session, and what `--then-all` asks for besides, in a process of its own."""
    work.detached(session, ("train", *work.after(args, session)))
    if args.json:
        as_json(session.summary())
    else:
        print(f"{session.name} is training; `sae-tui logs -f {session.name}` follows it, `sae-tui stop` ends it")
    return 0


def stop(args: argparse.Namespace) -> int:
    """`sae-tui stop`."""
    session = session_of(args)
    seen = jobs.stop(session)
    if args.json:
        as_json(session.summary())
    else:
        print(f"{session.name} is {seen.state}")
    return 0 if not seen.active else 1


def logs(args: argparse.Namespace) -> int:
    """`sae-tui logs`."""
    session = session_of(args)
    lines = jobs.follow(session, args.n) if args.follow else iter(jobs.tail(session, args.n))
    if args.json:
        as_json(list(lines))
        return 0
    for line in lines:
        print(safe(line), flush=True)
    return 0


def ls(args: argparse.Namespace) -> int:
    """`sae-tui ls`."""
    summaries = [s.summary() for s in listing(args.sessions)]
    if args.json:
        as_json(summaries)
    elif not summaries:
        print(f"no sessions in {safe(str(args.sessions))}; `sae-tui demo` makes a first one")
    else:
        rows = [
            (
                s["name"], s["state"], s["phase"] if s["state"] == "running" else s["job"],
                f"{s['step']}/{s['steps']}" if s["steps"] else None,
                s["evaluation"].get("fvu", s["latest"].get("fvu")), s["evaluation"].get("l0", s["latest"].get("l0")),
                s["evaluation"].get("ce_loss_score"), s["has_features"], size(s["size_bytes"]), age(s["started"]),
            )
            for s in summaries
        ]  # fmt: skip
        names = ("name", "state", "doing", "step", "FVU", "L0", "CE score", "features", "size", "age")
        table(names, rows, left=("name", "state", "doing"))
    return 0


def show(args: argparse.Namespace) -> int:
    """`sae-tui show`."""
    _show(args, session_of(args))
    return 0


def _show(args: argparse.Namespace, session: Session) -> None:
    summary, members = session.summary(), session.sweep()
    known = summary["recorded"] = recorded.read(session.sae_dir)
    if args.json:
        as_json({**summary, "sweep": sweep.results(args.sessions, members)} if members else summary)
        return
    config = session.config()
    source = config.training.source
    lines: list[tuple[str, Any]] = [
        ("session", session.name),
        ("state", f"{summary['state']} ({summary['job']})" if summary["job"] else summary["state"]),
        ("note", summary["note"]),
        ("model", "" if source else f"{config.model.name}  {config.model.hook}  {config.model.dtype}"),
        ("source", source),
        ("sae", f"{config.sae.architecture} {config.sae.sparsity}"),
        ("recorded", f"{recorded.words(known)}, by its own files" if known else ""),
        ("corpus", "" if source else config.corpus.name),
        ("step", f"{summary['step']} of {summary['steps']}" if summary["steps"] else ""),
        ("resume", _resume_line(session, summary)),
        ("sweep", sweep_line(sweep.place(session))),
        ("size", size(summary["size_bytes"])),
        (
            "features",
            "analysed" if summary["has_features"] else f"none yet: `sae-tui analyze {session.name}`",
        ),
    ]
    for name, value in lines:
        if value:
            print(f"{name:<10}{safe(str(value))}")
    values = summary["evaluation"] or summary["latest"]
    if values:
        print("\non the test split" if "tokens" in values else "\nlast training batch")
        for line in figures(values, "images" if config.model.reads_images else "tokens"):
            print(f"  {line}")
    if told := recorded.warning(known, summary["evaluation"]):
        print(f"\n{told}")


def _resume_line(session: Session, summary: dict[str, Any]) -> str:
    if summary["resumable"] is None or session.observed().active:
        return ""
    return f"from step {summary['resumable']:,}: `sae-tui resume {session.name}`"


def remove(args: argparse.Namespace) -> int:
    """`sae-tui rm`."""
    session = session_of(args)
    if not args.yes:
        if not sys.stdin.isatty():
            raise UsageError(f"rm asks before it deletes {session.name!r}", hint="add --yes where nobody can answer")
        sys.stderr.write(f"delete {session.name} ({size(session.size_bytes())})? [y/N] ")
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return 1
    session.delete()
    if args.json:
        as_json({"name": session.name, "deleted": True})
    else:
        print(f"{session.name} is deleted")
    return 0

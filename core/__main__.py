"""`python -m core train|analyze|evaluate|engine SESSION_PATH`: what a detached job or a batch queue starts.

`train SESSION_PATH --then evaluate --then analyze` does one after another with the model loaded once; with `--sweep`
what is missing of it is done for the other members of the session's sweep too, each as a job of its own. `train` goes
on from the newest checkpoint by itself: the same line may be run again after a SIGTERM, a crash or a requeue. Where
`training.devices` asks for several processes it starts them as `torchrun --nproc-per-node N -m core train SESSION_PATH`
does, which may be run as well; the first of the N is the job. The only module of core that prints: what the records
tell, sparingly. Exit codes: 0 done, 1 failed, 2 bad usage, 130 stopped. Knows no stage: the work is `flow`'s, the state
the job's.
"""

import argparse
import contextlib
import faulthandler
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from core import jobs, sweep
from core.errors import SaeTuiError, SessionError, sentence
from core.log import Sparing
from core.records import Evaluation, Notice, Progress, StepReport
from core.session import LOG_HEAD, Session


def main(argv: list[str] | None = None) -> int:
    """Run one verb on a session, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m core", description=__doc__)
    parser.add_argument("verb", choices=["train", "analyze", "evaluate", "engine"])
    parser.add_argument("session", type=Path, help="the session's folder")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="analyze, evaluate: one field, for this job"
    )
    parser.add_argument(
        "--then", action="append", default=[], choices=["train", "analyze", "evaluate"],
        help="do this as well, with the same model; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--measure", action="store_true",
        help="train: first give the session budgets that this machine does in about two minutes",
    )  # fmt: skip
    parser.add_argument(
        jobs.SWEEP, action="store_true", help="then do what is missing of the other members of the session's sweep"
    )
    given = parser.parse_args(argv)
    faulthandler.enable()  # a crash in a library leaves its stack in the log
    session = Session(given.session.resolve())
    try:
        if not session.config_path.is_file():
            raise SessionError(f"{session.path} is no session: it has no config.toml")
        verbs = [given.verb, *given.then]
        if given.verb == "engine":
            _engine(session)
        elif given.sweep:
            return _swept(session, verbs)
        elif "train" in verbs and "WORLD_SIZE" not in os.environ and (processes := _processes(session)) > 1:
            from core import several

            return several.run(processes, sys.argv[1:] if argv is None else argv)
        elif os.environ.get("WORLD_SIZE", "1") != "1" and os.environ.get("RANK", "0") != "0":
            return _beside(session, verbs)
        else:
            return _done(session, verbs, _work(session, measure=given.measure, settings=given.set))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        with contextlib.suppress(OSError):
            print(f"error: {sentence(error)}", file=sys.stderr, flush=True)
        return error.exit_code if isinstance(error, SaeTuiError) else 1
    return 0


def _done(session: Session, verbs: Sequence[jobs.Verb], work: Callable[[jobs.Verb], Iterator[jobs.Record]]) -> int:
    """Do the verbs as a job of this process, and return the exit code."""
    sparing = Sparing()

    def turn(verb: jobs.Verb) -> Iterator[jobs.Record]:
        _say(*sparing.rest())  # ahead of what the verb prints itself
        return work(verb)

    try:
        for record in jobs.chain(session, verbs, turn):
            _say(*sparing.lines(record, _line(record)))
    finally:
        _say(*sparing.rest())
    return 130 if session.status().state == "stopped" else 0


def _swept(session: Session, verbs: Sequence[jobs.Verb]) -> int:
    """Do what is missing of a sweep: the session first, then the others in order. A stop or a failure ends it all.

    One that has a job of its own already is left to that.
    """
    others = [Session(session.path.parent / name) for name in session.sweep() if name != session.name]
    before, load = session, None
    for member in (session, *others):
        wanted = sweep.missing(member, analyze="analyze" in verbs)
        if not wanted or (member is not session and member.observed().active):
            continue
        if member is not session:
            _print_to(before, member)
            _say(_head(wanted[0]))
        before = member
        if "train" in wanted and (processes := _processes(member)) > 1:
            from core import several

            then = [word for verb in wanted[1:] for word in ("--then", verb)]
            code = several.run(processes, [wanted[0], str(member.path), *then])
        else:
            if load is None:
                from core import flow

                load = flow.loaded_once()
            code = _done(member, wanted, _work(member, load=load))
        if code:
            return code
    return 0


def _print_to(before: Session, member: Session) -> None:
    """Print to the log of `member` where it was that of `before`; what a queue or a terminal takes stays there."""
    with contextlib.suppress(OSError):
        if os.path.samestat(os.fstat(1), before.log_path.stat()):
            with member.log_path.open("ab") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)


def _head(verb: jobs.Verb) -> str:
    return f"{LOG_HEAD}{verb}, {time.strftime('%Y-%m-%d %H:%M:%S')}"


def _processes(session: Session) -> int:
    """In how many processes the session is to be trained on this machine."""
    config = session.config()
    if config.training.devices == 1:  # torch is not needed to say so
        return 1
    from core import several

    return several.wanted(config)


def _engine(session: Session) -> None:
    from core.engine import server
    from core.engine.backend import Backend, ModelBackend

    def backend() -> Backend:
        from core import flow

        return ModelBackend(session, flow.load_engine)

    server.serve(session, backend)


def _beside(session: Session, verbs: list[str]) -> int:
    """Take part in a training as another process than the first, which alone is the job and alone hears of a stop."""
    for signum in jobs.SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    if "train" in verbs:
        from core import flow

        for _ in flow.train(session):
            pass
    return 0


def _work(session: Session, **how: Any) -> Callable[[jobs.Verb], Iterator[jobs.Record]]:
    """The stages of a session, `how` being as `flow.stages` takes it."""
    stages: Callable[[jobs.Verb], Iterator[jobs.Record]] | None = None

    def work(verb: jobs.Verb) -> Iterator[jobs.Record]:
        nonlocal stages
        if stages is None:
            from core import flow  # torch: here, so that a failure to import it is a failure of the job

            stages = flow.stages(session, **how)
        else:
            _say(_head(verb))
        yield from stages(verb)

    return work


def _say(*lines: str) -> None:
    try:
        for line in lines:
            print(line, flush=True)
    except OSError:  # the terminal is gone or the disk beneath the log is full: the work goes on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _line(record: jobs.Record) -> str:
    match record:
        case Progress():
            of = "" if record.total is None else f" of {record.total:,.0f}"
            count = f": {record.done:,.0f}{of} {record.unit}".rstrip() if record.done or of else ""
            return record.phase + count
        case Notice():
            return f"note: {record.message}"
        case StepReport():
            return (
                f"step {record.step}  {record.activations:,} activations  loss {record.loss:.4g}  "
                f"fvu {_figure(record.fvu)}  l0 {record.l0:.1f}  dead {record.dead}  "
                f"{record.activations_per_s:,.0f} activations/s"
            )
        case Evaluation():
            return "  ".join(f"{name} {_figure(value)}" for name, value in record.metrics.items())


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


if __name__ == "__main__":
    sys.exit(main())

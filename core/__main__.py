"""`python -m core train|analyze|evaluate|engine SESSION_PATH`: what a detached job or a batch queue starts.

`train SESSION_PATH --then evaluate --then analyze` does one after another with the model loaded once. `train` goes on
from the newest checkpoint by itself: the same line may be run again after a SIGTERM, a crash or a requeue. Where
`training.devices` asks for several processes it starts them as `torchrun --nproc-per-node N -m core train SESSION_PATH`
does, which may be run as well; the first of the N is the job. The only module of core that prints: a line for each
record. Exit codes: 0 done, 1 failed, 2 bad usage, 130 stopped. Knows no
stage: the work is `flow`'s, the state the job's.
"""

import argparse
import contextlib
import faulthandler
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from core import jobs
from core.errors import SaeTuiError, SessionError, sentence
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
    given = parser.parse_args(argv)
    faulthandler.enable()  # a crash in a library leaves its stack in the log
    session = Session(given.session.resolve())
    try:
        if not session.config_path.is_file():
            raise SessionError(f"{session.path} is no session: it has no config.toml")
        verbs = [given.verb, *given.then]
        if given.verb == "engine":
            _engine(session)
        elif "train" in verbs and "WORLD_SIZE" not in os.environ and (processes := _processes(session)) > 1:
            from core import several

            return several.run(processes, sys.argv[1:] if argv is None else argv)
        elif os.environ.get("WORLD_SIZE", "1") != "1" and os.environ.get("RANK", "0") != "0":
            return _beside(session, verbs)
        else:
            said = ""
            work = _work(session, given.measure, given.set)
            for record in jobs.chain(session, verbs, work):
                if (line := _line(record)) != said:
                    _say(said := line)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        with contextlib.suppress(OSError):
            print(f"error: {sentence(error)}", file=sys.stderr, flush=True)
        return error.exit_code if isinstance(error, SaeTuiError) else 1
    return 130 if session.status().state == "stopped" else 0


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


def _work(session: Session, measure: bool, settings: list[str]) -> Callable[[jobs.Verb], Iterator[jobs.Record]]:
    stages: Callable[[jobs.Verb], Iterator[jobs.Record]] | None = None

    def work(verb: jobs.Verb) -> Iterator[jobs.Record]:
        nonlocal stages
        if stages is None:
            from core import flow  # torch: here, so that a failure to import it is a failure of the job

            stages = flow.stages(session, measure=measure, settings=settings)
        else:
            _say(f"{LOG_HEAD}{verb}, {time.strftime('%Y-%m-%d %H:%M:%S')}")
        yield from stages(verb)

    return work


def _say(line: str) -> None:
    try:
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

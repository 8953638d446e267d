"""Doing a session's verbs: in this process, in several that are followed from here, or in one of its own."""

import argparse
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from core import jobs
from core.errors import UsageError
from core.session import Session
from sae_tui.commands.output import watched
from sae_tui.text import safe

if TYPE_CHECKING:
    from core.models.load import Loader

STOPPED = 130
"""The exit code where a person stopped it."""


def after(args: argparse.Namespace, session: Session) -> list[jobs.Verb]:
    """What `--then-all` asks for besides; activations without a text cannot be analysed."""
    if not args.then_all:
        return []
    return ["evaluate"] if session.config().training.source else ["evaluate", "analyze"]


def foreground(
    session: Session, verbs: Sequence[jobs.Verb], *, measure: bool = False, keep: bool = False,
    load: "Loader | None" = None,
) -> int:  # fmt: skip
    """Do the verbs, and wait for their end; a session whose training could not even begin is removed, unless `keep`.

    Where `training.devices` wants several processes they are done in those. `measure` and `load` are as `flow.stages`
    takes them, and of use where the work is done in this one. Returns the exit code.
    """
    try:
        from core import flow, several

        if "train" in verbs and several.wanted(session.config()) > 1:
            return _followed(session, verbs)
        for _ in watched(jobs.chain(session, verbs, flow.stages(session, measure=measure, load=load))):
            pass
    except UsageError:
        if not keep and not session.checkpoints_dir.exists():
            session.delete()
        raise
    return _ended(session)


def detached(session: Session, verbs: Sequence[jobs.Verb]) -> subprocess.Popen[bytes]:
    """Begin the verbs in a process that outlives this one."""
    return jobs.start(session, verbs[0], [word for verb in verbs[1:] for word in ("--then", verb)])


def _followed(session: Session, verbs: Sequence[jobs.Verb]) -> int:
    """Do the verbs in several processes, and show what they print; whatever would end this process stops them."""
    before = {signum: signal.signal(signum, signal.default_int_handler) for signum in jobs.SIGNALS}
    try:
        process = detached(session, verbs)
        try:
            for line in jobs.follow(session, 1):
                sys.stderr.write(f"{safe(line)}\n")
        except KeyboardInterrupt:
            jobs.stop(session)
        process.wait()
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    return _ended(session)


def _ended(session: Session) -> int:
    """The exit code of the job that has just ended here, after a word on what a stopped one leaves."""
    if session.observed().state == "stopped":
        kept = "nothing to keep"
        if session.checkpoints_dir.exists():
            kept = f"a checkpoint is in {session.checkpoints_dir}"
        if session.resumable():
            kept += f"; `sae-tui resume {session.name}` goes on from it"
        sys.stderr.write(f"sae-tui: stopped; {safe(kept)}\n")
        return STOPPED
    return 0 if session.observed().state == "done" else 1

"""The command line: reads arguments, calls the verb, turns errors into one sentence and an exit code.

Exit codes: 0 done, 1 failed, 2 bad usage, 130 stopped by Ctrl-C (with a checkpoint kept). Results go to stdout,
progress and errors to stderr.
"""

import argparse
import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.errors import SaeTuiError, sentence
from core.session import default_root
from sae_tui.commands.workbench import workbench
from sae_tui.text import safe


class _Parser(argparse.ArgumentParser):
    """Takes options by their whole names: `--then` is not `--then-all`."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given, allow_abbrev=False)


def _shared() -> argparse.ArgumentParser:
    """What stands before a verb."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--sessions", type=Path, default=default_root(), metavar="DIR",
        help="where sessions live (default: SAE_TUI_SESSIONS, or ./sessions)",
    )  # fmt: skip
    return shared


def parser() -> argparse.ArgumentParser:
    """Every verb with its options."""
    from importlib.metadata import version

    from sae_tui.commands import (
        compare,
        directions,
        exchange,
        experiment,
        features,
        labels,
        probe,
        query,
        report,
        runs,
        setup,
        steer,
        study,
        sweep,
        texts,
    )

    top = argparse.ArgumentParser(
        prog="sae-tui",
        parents=[_shared()],
        description="Train sparse autoencoders on a model's activations, query their features, steer with them. "
        "Without a verb: the workbench.",
    )
    top.add_argument("--version", action="version", version=f"sae-tui {version('sae-tui')}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)
    modules = (
        *(setup, runs, sweep, study, exchange, features, query, labels, directions),
        *(probe, texts, compare, report, steer, experiment),
    )
    for module in modules:
        module.add(verbs)
    for verb in verbs.choices.values():
        verb.add_argument("--json", action="store_true", help="print the result as JSON, for scripts")
    return top


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. Raises SystemExit only for --help, --version and bad options."""
    # The libraries' own progress bars would fall between our lines.
    os.environ.setdefault("TQDM_DISABLE", "1")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that is not UTF-8 gets question marks, not an error
            stream.reconfigure(errors="replace")
    # The verbs are imported only where there is one: they would take longer than the workbench's first frame.
    shared, rest = _shared().parse_known_args(arguments)
    try:
        if not rest:
            return workbench(shared.sessions)
        args = parser().parse_args(arguments)
        return args.run(args)
    except SaeTuiError as error:
        sys.stderr.write(f"sae-tui: {safe(str(error))}\n")
        return error.exit_code
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        sys.stderr.write("sae-tui: stopped\n")
        return 130
    except Exception as error:
        sys.stderr.write(f"sae-tui: {safe(sentence(error, str(_kept_traceback())))}\n")
        return 1


def _kept_traceback() -> Path:
    """Write the traceback of the error at hand where a person can find it, and return the file."""
    from platformdirs import user_state_path

    path = user_state_path("sae-tui", ensure_exists=True) / "error.txt"
    path.write_text(traceback.format_exc(), encoding="utf-8")
    return path

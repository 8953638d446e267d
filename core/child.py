"""How this package starts itself again, as a process of its own: the command and the environment.

Knows neither what the process will do nor who waits for it.
"""

import os
import sys
from pathlib import Path

import core

ROOT = Path(core.__file__).resolve().parent.parent


def command(verb: str, session_path: Path, *args: str) -> list[str]:
    """`python -m core VERB SESSION_PATH ARGS`, its output unbuffered: one that is killed leaves it all."""
    # -P: a folder named `core` where the user happens to stand must not be taken for this package.
    return [sys.executable, "-P", "-u", "-m", "core", verb, str(session_path.resolve()), *args]


def environment(**defaults: str) -> dict[str, str]:
    """This process' environment with `core` to be found from anywhere, and `defaults` for what is not set."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**defaults, **os.environ, "PYTHONPATH": path}

"""The workbench itself, where no verb is given: needs a terminal, and shows there at once that it comes.

Imports nothing before it is called: what it would import takes longer than the first sign of life may.
"""

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from core.errors import UsageError

if TYPE_CHECKING:
    from core.overview import Overview
    from sae_tui.state import State


def require_terminal() -> None:
    """Raises UsageError where there is no terminal for the workbench."""
    terminal = sys.__stderr__
    if terminal is None or not terminal.isatty() or sys.__stdin__ is None or not sys.__stdin__.isatty():
        raise UsageError("the workbench needs a terminal", hint="`sae-tui --help` lists the commands, which need none")


def workbench(sessions: Path, **where: Any) -> int:
    """Open the workbench, `where` being what else `app.open_workbench` takes. Raises UsageError without a terminal."""
    require_terminal()
    terminal = sys.__stderr__
    assert terminal is not None
    terminal.write("\x1b[?1049h\x1b[H\x1b[2J sae-tui")
    terminal.flush()
    gc.disable()  # until all is imported: nothing of it goes, and walking it takes a tenth of the time
    try:
        state, overview = _painted(sessions, terminal, where.get("mode"))
        from sae_tui.app import open_workbench

        return open_workbench(sessions, state, overview, **where)
    except BaseException:
        terminal.write("\x1b[?1049l")
        terminal.flush()
        raise


def _painted(sessions: Path, terminal: TextIO, mode: str | None) -> "tuple[State, Overview]":
    """Show the sessions, as far as that is what the first frame will show; what was read for it."""
    from core.overview import Overview
    from sae_tui.first_paint import first_paint
    from sae_tui.state import State

    state, overview = State(sessions), Overview(sessions)
    seen = overview.read(sizes=False)
    if mode in (None, "runs"):
        terminal.write(first_paint(seen, state, os.get_terminal_size(terminal.fileno())))
        terminal.flush()
    return state, overview

"""How the workbench ends when it is told to from outside, whatever state its terminal is in.

Textual writes to the terminal in a thread of its own, through a short queue. Where the terminal does not read, or is
gone and the thread has died of it, the next write waits for ever, and the event loop with it. So signals are heard
below the event loop: without this, each dropped link would leave a process behind, and its engine.
"""

import asyncio
import contextlib
import os
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from textual.app import App

GRACE_S = 0.8
"""How long an orderly end may take."""
TRIES = 100
"""Times it is tried to say so to a terminal that does not read, 2 ms apart: what waits may be a frame of 100 KB."""
RESTORE = "\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?2004l\x1b[<u\x1b[?1004l\x1b[?7h\x1b[?1049l\x1b[?25h"
"""What an orderly end sends last: no mouse, no paste mode, wrapped lines, the screen as it was, a cursor."""
_ENDING = threading.Lock()
"""Held by who ends this process: once its output goes nowhere, an orderly end is near, and must not come first."""


def watch(app: App[int], loop: asyncio.AbstractEventLoop, remember: Callable[[], None]) -> None:
    """From now on end orderly on SIGTERM, and at once where the terminal is gone; `remember` keeps the state."""
    try:
        before = termios.tcgetattr(sys.__stdin__.fileno()) if sys.__stdin__ else None
    except (termios.error, ValueError):
        before = None

    def gone(*_: object) -> None:
        with contextlib.suppress(Exception):
            remember()
        os._exit(128 + signal.SIGHUP)

    def ended(signum: int, _frame: object) -> None:
        loop.call_soon_threadsafe(app.exit, 128 + signum)
        timer = threading.Timer(GRACE_S, _give_up, (128 + signum, before))
        timer.daemon = True
        timer.start()

    def died(what: threading.ExceptHookArgs) -> None:
        if what.thread is not None and what.thread.name == "textual-output" and isinstance(what.exc_value, OSError):
            os._exit(128 + signal.SIGHUP)
        threading.__excepthook__(what)

    signal.signal(signal.SIGHUP, gone)
    signal.signal(signal.SIGTERM, ended)
    threading.excepthook = died


def end(code: int) -> NoReturn:
    """End this process, now that the terminal is restored."""
    with _ENDING:
        os._exit(code)


def _give_up(code: int, before: list[Any] | None) -> None:
    """The terminal does not read: restore what can be, without waiting for it, and end."""
    with _ENDING, contextlib.suppress(OSError, termios.error, ValueError, AttributeError):
        descriptor = sys.__stderr__.fileno()  # pyright: ignore[reportOptionalMemberAccess]
        terminal = os.dup(descriptor)
        # What Textual's writer has left to write would fill what is freed here: it goes nowhere from now on.
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
        os.set_blocking(terminal, False)
        if before is not None:
            termios.tcsetattr(terminal, termios.TCSANOW, before)
        for _ in range(TRIES):
            termios.tcflush(terminal, termios.TCOFLUSH)  # what it has not read yet, so that this has room
            with contextlib.suppress(BlockingIOError):
                if os.write(terminal, RESTORE.encode()) == len(RESTORE):
                    break
            time.sleep(0.002)
    os._exit(code)

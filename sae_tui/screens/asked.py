"""A screen that asks a verb of the command line, whose imports the workbench must not have: in a process of its own.

The process ends with the question: by its answer, by esc, or when the screen is left.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from core import child
from core.errors import RunError
from sae_tui.screens.page import Page
from sae_tui.text import safe, span


class Verb:
    """`sae-tui WORDS --json` and what comes of it."""

    def __init__(self, root: Path, words: Sequence[str]) -> None:
        """`root` is the folder of sessions. Nothing runs before `answer`."""
        self._words = ["--sessions", str(root.resolve()), *words, "--json"]
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self.stopped = False
        self.line = ""
        """What it said last."""

    def answer(self) -> Any:
        """Run it, and return what it prints. Blocks. Raises RunError with what it said where it fails."""
        with tempfile.TemporaryFile() as printed:
            with self._lock:
                if self.stopped:
                    raise RunError("stopped")
                process = self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "sae_tui", *self._words], stdin=subprocess.DEVNULL, stdout=printed,
                    stderr=subprocess.PIPE, start_new_session=True, env=child.environment(),
                )  # fmt: skip
            assert process.stderr is not None
            with process.stderr as said:
                for line in said:
                    self.line = line.decode(errors="replace").strip() or self.line
            if process.wait():
                raise RunError(self.line.removeprefix("sae-tui: ") or "it ended without a word")
            printed.seek(0)
            return json.load(printed)

    def stop(self) -> None:
        """End it, whatever it does; what verbs write, they put in its place whole."""
        with self._lock:
            self.stopped = True
            if self._process is not None:
                self._process.kill()


class Asks(Page):
    """One question at a time. What it shows while a verb works is `asking`, anew every second."""

    make_verb: Callable[[Path, Sequence[str]], Verb] = staticmethod(Verb)
    """What runs a verb."""

    def __init__(self) -> None:
        super().__init__()
        self._verb: Verb | None = None
        self._since = 0.0

    @property
    def asking(self) -> str:
        """What the verb that runs does, since when; empty where none does. Safe."""
        if self._verb is None:
            return ""
        return f"{safe(self._verb.line) or 'starting'} · {span(time.monotonic() - self._since)} · esc stops"

    def ask(self, words: Sequence[str], then: Callable[[Any], object], failed: Callable[[Exception], object]) -> None:
        """Ask it, in the place of what is asked now."""
        self.stop_asking()
        verb = self._verb = self.make_verb(self.app.root, words)
        self._since = time.monotonic()

        def ended(act: Callable[[Any], object], found: Any) -> None:
            if self._verb is verb:
                self._verb = None
                act(found)

        self.background(
            verb.answer, lambda found: ended(then, found), group="verb", failed=lambda error: ended(failed, error)
        )

    def stop_asking(self) -> bool:
        """End the verb that runs; whether one did."""
        verb, self._verb = self._verb, None
        if verb is not None:
            verb.stop()
        return verb is not None

    def action_back(self) -> None:
        """Back; what has been worked on for a while is not thrown away by a key that does not say so."""
        if self._verb is not None:
            self.app.say("still at work: esc stops it")
        else:
            super().action_back()

    def on_unmount(self) -> None:
        """Nobody hears the answer."""
        self.stop_asking()

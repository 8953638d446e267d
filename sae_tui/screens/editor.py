"""A text in a person's own editor."""

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from textual.app import App, SuspendNotSupported

from core.errors import RunError


def edited(app: App[Any], text: str, suffix: str) -> str:
    """`text` as it was left in $VISUAL, $EDITOR or vi, which has the terminal meanwhile: everything waits.

    `suffix` tells the editor what it is: `.toml`. Raises RunError where there is no such editor, or it fails.
    """
    words = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"text{suffix}"
        path.write_text(text, encoding="utf-8")
        try:
            with app.suspend():
                subprocess.run([*words, str(path)], check=True)
            return path.read_text(encoding="utf-8")
        except SuspendNotSupported:
            raise RunError("this terminal cannot be left for an editor") from None
        except (OSError, UnicodeDecodeError, subprocess.CalledProcessError) as error:
            hint = f"set VISUAL or EDITOR to an editor ({error})"
            raise RunError(f"{words[0]} failed", hint=hint) from None

"""What survives quitting and a dropped link: `state.json` in the state folder, replaced whenever it changes, never only
at the end.
"""

import json
from pathlib import Path
from typing import Any

from platformdirs import user_state_path

from core.storage import read_json, replace_file


class State:
    """What the workbench looked like, one entry for each sessions folder. A torn or foreign file reads as empty."""

    def __init__(self, root: Path, path: Path | None = None) -> None:
        self._path = path or user_state_path("sae-tui") / "state.json"
        self._root = str(root.resolve())
        found = read_json(self._path).get(self._root)
        self.values: dict[str, Any] = found if isinstance(found, dict) else {}

    @property
    def folder(self) -> Path:
        """Where the state is kept, and what else should survive quitting."""
        return self._path.parent

    def part(self, name: str) -> dict[str, Any]:
        """What one screen left; empty where it left nothing."""
        found = self.values.get(name)
        return found if isinstance(found, dict) else {}

    def keep(self, values: dict[str, Any]) -> None:
        """Write the state, where it differs from what was written last. A full or read-only disk is no matter here.

        Not synced: it is written while a person types, and a state lost with the power is one screen that opens anew.
        """
        values = json.loads(json.dumps(values))
        if values == self.values:
            return
        self.values = values
        try:
            replace_file(self._path, json.dumps({**read_json(self._path), self._root: values}, indent=1), sync=False)
        except OSError:
            return

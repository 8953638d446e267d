"""A person's settings, and the state that survives quitting and a dropped link.

`settings.toml` in the user's configuration folder is theirs to write and is only read here; `state.json` in the state
folder is the workbench's own, replaced whenever it changes, never only at the end.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platformdirs import user_config_path, user_state_path

from core.errors import ConfigError, nearest
from core.storage import read_json, replace_file
from sae_tui import keys

THEMES = ("sae-dark", "sae-light", "ansi-dark", "ansi-light")
GRAPHS = ("braille", "block", "ascii")
EXAMPLE = """\
theme = "sae-dark"   # or sae-light; ansi-dark, ansi-light: the terminal's own colours
graph = "braille"    # how charts are drawn: braille, block or ascii

[keys]               # action = "keys", several with commas between; the ids stand in the help (?)
# "runs.new" = "n,insert"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`settings.toml`."""

    theme: str = THEMES[0]
    graph: str = GRAPHS[0]
    keys: Mapping[str, str] = field(default_factory=dict)
    """Keys by the id of the action they take the place of."""


def settings_path() -> Path:
    """Where a person's settings are looked for: `SAE_TUI_SETTINGS`, or the user's configuration folder."""
    return Path(os.environ.get("SAE_TUI_SETTINGS") or user_config_path("sae-tui") / "settings.toml")


def read(path: Path) -> Settings:
    """The settings in a file; the defaults where there is none. Raises ConfigError naming file, key and nearest key."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as TOML", hint=str(error)) from None
    known = ("theme", "graph", "keys")
    for name in values:
        if name not in known:
            raise ConfigError(f"{path}: unknown setting {name!r}", hint=nearest(name, known))
    for name, allowed in (("theme", THEMES), ("graph", GRAPHS)):
        if values.get(name, allowed[0]) not in allowed:
            raise ConfigError(f"{path}: {name} = {values[name]!r}", hint=nearest(str(values[name]), allowed))
    keymap = values.get("keys", {})
    if not isinstance(keymap, dict):
        raise ConfigError(f"{path}: keys is a table", hint='write [keys] and "runs.new" = "n" below it')
    ids = [action.id for action in keys.ACTIONS]
    for action, pressed in keymap.items():
        if action not in ids:
            raise ConfigError(f"{path}: there is no action {action!r}", hint=nearest(action, ids))
        if not isinstance(pressed, str) or not pressed.strip():
            raise ConfigError(f"{path}: keys.{action!r} = {pressed!r}", hint='keys read like "n" or "n,ctrl+n"')
    return Settings(**{**values, "keys": keymap})


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

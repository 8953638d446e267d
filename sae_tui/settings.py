"""A person's settings: `settings.toml` in the user's configuration folder, theirs to write and only read here."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_config_path

from core.errors import ConfigError, nearest
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

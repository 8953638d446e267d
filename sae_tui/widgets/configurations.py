"""What sessions were configured with, as their files say, unchecked: pydantic takes longer to import than a frame may.

Blocks: for the background.
"""

import tomllib
from collections.abc import Mapping
from typing import Any

from core.session import Session


class Configurations:
    """Configurations that were read, each kept until its file is another one."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, Mapping[str, Any]]] = {}

    def of(self, session: Session) -> Mapping[str, Any]:
        """A session's configuration as TOML has it; empty where it cannot be read."""
        try:
            stamp = session.config_path.stat().st_mtime
            kept = self._kept.get(session.name)
            if kept is None or kept[0] != stamp:
                kept = stamp, tomllib.loads(session.config_path.read_text(encoding="utf-8"))
                self._kept[session.name] = kept
        except (OSError, ValueError):
            return {}
        return kept[1]

"""Everything a thread may post to a screen."""

from dataclasses import dataclass
from typing import Any

from textual.message import Message

from core.engine.operator import Told


@dataclass
class EngineSaid(Message):
    """The engine has told something of what it was asked for."""

    key: Any
    """What it was asked with."""
    told: Told

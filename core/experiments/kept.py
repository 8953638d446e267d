"""Outcomes of experiments in the session's `steering/experiments/`: each a JSON file that is never changed."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.errors import SaeTuiError, SessionError, UsageError
from core.experiments.records import Dose, Effect, Outcome, Pair
from core.plain import made
from core.session import Session
from core.storage import replace_file, unused_path

OUTCOMES: dict[str, type[Outcome]] = {"dose": Dose, "pair": Pair, "effect": Effect}


def name_of(outcome: Outcome) -> str:
    """`dose`, `pair` or `effect`."""
    return type(outcome).__name__.lower()


def to_json(outcome: Outcome) -> dict[str, Any]:
    """All of it beneath what it is."""
    return {"experiment": name_of(outcome), "whole": outcome.whole, **asdict(outcome)}


def from_json(values: Mapping[str, Any]) -> Outcome:
    """The inverse of `to_json`. Raises UsageError."""
    rest = {name: value for name, value in values.items() if name not in ("experiment", "whole", "at")}
    try:
        return made(OUTCOMES[values["experiment"]], rest)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError("not the outcome of an experiment", hint=repr(error)) from None


def save(session: Session, outcome: Outcome) -> Path:
    """Keep it in the session's `steering/experiments/`, atomically, under a name that sorts by time; its path."""
    at = datetime.now(UTC)
    path = unused_path(session.experiments_dir, at, f"-{name_of(outcome)}.json")
    values = {**to_json(outcome), "at": at.isoformat()}
    replace_file(path, json.dumps(values, indent=1, allow_nan=False))
    return path


def load(path: Path) -> Outcome:
    """One that was kept. Raises SessionError where the file is missing or torn."""
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise SessionError(f"there is no experiment {path.name!r}", hint=f"see {path.parent}") from None
    except (OSError, ValueError, SaeTuiError) as error:
        raise SessionError(f"experiment {path.name!r} cannot be read", hint=str(error)) from None

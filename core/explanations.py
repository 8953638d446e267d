"""What language models said of features, and how well it told them: the file of it, `explanations.jsonl` in a session.

Alone knows the shape of its lines, which score belongs to a label, and where a model is that may be asked.
"""

import functools
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.errors import UsageError
from core.labels import Label
from core.session import Session
from core.storage import append_line, read_lines

SAID = ("prompt", "answer", "test_prompt", "test_answer")
"""What was said to a model and by it."""
URL, MODEL, KEY = "SAE_TUI_LLM_URL", "SAE_TUI_LLM_MODEL", "SAE_TUI_LLM_KEY"
"""Of the environment: a model's address, its name there, and what opens the address, never written anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What was said of one feature, and how it was come by."""

    feature: int
    label: str
    score: float | None
    """Detection score, 0 to 1; None where the feature fires, or is silent, in too few other places to be tested."""
    positives: int
    negatives: int
    model: str
    prompt: str
    answer: str
    test_prompt: str
    test_answer: str
    at: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))


def configured(url: str | None = None, model: str | None = None) -> tuple[str, str]:
    """The address and the name of the model to ask: those given, else the environment's. Raises UsageError."""
    url, model = url or os.environ.get(URL), model or os.environ.get(MODEL)
    if not url or not model:
        raise UsageError(
            "no language model is configured" if not url else "the language model has no name",
            hint=f"set {URL} to the root of an OpenAI-compatible API and {MODEL} to the model's name there; "
            "`sae-tui labels` also takes --ask and --model",
        )
    return url, model


def keep(session: Session, explanation: Explanation) -> None:
    """Add it to the session's explanations."""
    append_line(session.explanations_path, json.dumps(asdict(explanation)))


def tested(session: Session, said: Mapping[int, Label]) -> dict[int, dict[str, Any]]:
    """Of the features in `said` whose label was tested, the last line of `explanations.jsonl` with its score, but SAID.

    A score belongs to a label while both text and source are those of the model that was asked: one that a person
    wrote has none, in whatever words.
    """
    try:
        stat = session.explanations_path.stat()
    except OSError:
        return {}
    found: dict[int, dict[str, Any]] = {}
    for line in _scored(session.explanations_path, stat.st_mtime_ns, stat.st_size):
        label = said.get(line["feature"])
        if label and label.label and (label.label, label.source) == (line.get("label"), line.get("model")):
            found[line["feature"]] = line
    return found


@functools.lru_cache(maxsize=4)
def _scored(path: Path, _changed: int, _size: int) -> list[dict[str, Any]]:
    """The lines that have a score, without the texts that went to and fro, which are nearly all of the file."""
    found = []
    for line in read_lines(path):
        feature, score = line.get("feature"), line.get("score")
        if isinstance(feature, int) and isinstance(score, int | float) and 0 <= score <= 1:
            found.append({name: value for name, value in line.items() if name not in SAID})
    return found

"""Texts that an SAE is asked about: from a person's file, typed, or the probe set that is shipped.

The probe set, `probes.jsonl`, is 70 short texts that were written for this, ten in each of seven categories; those that
are not English name their language as the source. Knows no torch.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import CorpusError, UsageError

PROBES = Path(__file__).with_name("probes.jsonl")
STANDARD = "standard"
"""What the shipped probe set is called."""


@dataclass(frozen=True, slots=True)
class Given:
    """One text."""

    text: str
    category: str = ""
    """What it is an example of; empty where nobody says."""
    source: str = ""
    """Where it is from: what its row says, else its file and line."""


def standard() -> tuple[Given, ...]:
    """The probe set that is shipped."""
    return from_file(PROBES)


def from_file(path: Path) -> tuple[Given, ...]:
    """The texts of a file: `.jsonl` with `text` and perhaps `category` and `source` in each row, or `.txt`, one a line.

    Blank lines are left out. Raises CorpusError, naming the line.
    """
    if path.suffix not in (".jsonl", ".txt"):
        raise CorpusError(f"{path} is no file of texts", hint="give a .jsonl with `text` in each row, or a .txt")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise CorpusError(f"{path} is not UTF-8 text", hint="convert it, as with `iconv -t utf-8`") from None
    except OSError as error:
        raise CorpusError(f"{path} cannot be read", hint=error.strerror or str(error)) from None
    rows = ((f"{path.name}:{n}", line) for n, line in enumerate(lines, 1) if line.strip())
    found = tuple(_rows(rows) if path.suffix == ".jsonl" else (Given(line.strip(), "", at) for at, line in rows))
    if not found:
        raise CorpusError(f"{path} holds no text", hint="one text a line is what it takes")
    return found


def gathered(files: Sequence[Path], typed: Sequence[str]) -> tuple[Given, ...]:
    """The texts of files, then those that were typed. Raises CorpusError, UsageError for a blank one."""
    texts = [text for path in files for text in from_file(path)]
    for text in typed:
        if not text.strip():
            raise UsageError("a text is empty", hint="give at least a word")
        texts.append(Given(text, "", "typed"))
    return tuple(texts)


def _rows(lines: Iterator[tuple[str, str]]) -> Iterator[Given]:
    for at, line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            raise CorpusError(f"{at} is not JSON", hint='each line is an object, as in {"text": "..."}') from None
        text = row.get("text") if isinstance(row, dict) else None
        if not isinstance(text, str) or not text.strip():
            raise CorpusError(f"{at} has no `text`", hint='each line is an object, as in {"text": "..."}')
        yield Given(text, str(row.get("category") or ""), str(row.get("source") or at))

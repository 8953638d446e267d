"""A person's labels, notes and stars for features: the file of them, `labels.jsonl` in a session's folder.

Alone knows the shape of its lines. It only grows, one line in one write, and a feature's last line wins; so nothing
that is torn or written by two at once loses what was there before.
"""

import json
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from core.errors import UsageError
from core.session import Session
from core.storage import read_lines

_changing = threading.Lock()
"""Two changes of one feature, made at once, must not each leave out the other's."""


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """All that is said of one feature."""

    feature: int
    label: str = ""
    """What it stands for, in a few words."""
    note: str = ""
    tags: tuple[str, ...] = ()
    starred: bool = False
    source: str = "person"
    """Who says so: a person, or the name of what proposed it."""
    at: str = field(default_factory=_now)
    """When, in UTC: 2026-01-31T12:00:00Z."""


def append(session: Session, label: Label) -> None:
    """Add one line to the session's labels, in a single write; it takes the place of the feature's earlier ones."""
    line = json.dumps(asdict(label)) + "\n"
    descriptor = os.open(session.labels_path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        end = os.fstat(descriptor).st_size
        # a line torn by a crash must not swallow this one
        torn = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
        os.write(descriptor, ("\n" + line if torn else line).encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(session: Session) -> dict[int, Label]:
    """The session's labels by feature, the last line of each; lines that are no label are left out."""
    found: dict[int, Label] = {}
    for line in read_lines(session.labels_path):
        if isinstance(line, dict) and type(line.get("feature")) is int:
            tags = line.get("tags")
            found[line["feature"]] = Label(
                feature=line["feature"],
                label=str(line.get("label") or ""),
                note=str(line.get("note") or ""),
                tags=tuple(str(t) for t in tags) if isinstance(tags, list) else (),
                starred=line.get("starred") is True,
                source=str(line.get("source") or ""),
                at=str(line.get("at") or ""),
            )
    return found


def change(session: Session, feature: int, **fields: Any) -> Label:
    """Change some fields of a feature's label, as a person; the others stay. Returns the label as it is now.

    A label proposed by another stays that one's while a person changes what is around it.
    """
    with _changing:
        before = read(session).get(feature, Label(feature=feature))
        source = before.source if before.label and "label" not in fields else "person"
        label = replace(before, source=source, at=_now(), **fields)
        append(session, label)
    return label


def tags_in(text: str) -> tuple[str, ...]:
    """The tags a person wrote with commas between, each once."""
    return tuple(dict.fromkeys(tag for one in text.split(",") if (tag := one.strip())))


def lines(session: Session) -> Iterator[str]:
    """The session's labels as they are exported: a JSON object a line, by feature; what says nothing is left out."""
    for _, label in sorted(read(session).items()):
        if label.label or label.note or label.tags or label.starred:
            yield json.dumps(asdict(label))


def from_lines(text: Iterable[str], *, source: str, width: int | None = None) -> Iterator[Label]:
    """Labels from JSON lines, as `lines` writes them, or with the names Neuronpedia's explanations have.

    Those are `index` for the feature, `description` for the label. `source` is who says so where a line does not.
    `width` is how many features there are, None where that is not known. Raises UsageError for a line that is no label,
    and for one of a feature beyond them.
    """
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            said = value.get("feature", value.get("index"))
            feature = int(said)
            if feature < 0 or feature != float(said) or isinstance(said, bool):
                raise ValueError(said)
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise UsageError(
                f"line {number} is no label", hint='each is as {"feature": 12, "label": "months"}'
            ) from error
        if width is not None and feature >= width:
            raise UsageError(
                f"line {number} is of feature {feature:,}, and the SAE has {width:,}",
                hint=f"their numbers go from 0 to {width - 1:,}; is the file of another SAE?",
            )
        tags = value.get("tags")
        yield Label(
            feature=feature, label=str(value.get("label") or value.get("description") or ""),
            note=str(value.get("note") or ""), tags=tuple(map(str, tags)) if isinstance(tags, list) else (),
            starred=value.get("starred") is True, source=str(value.get("source") or source),
            at=str(value.get("at") or _now()),
        )  # fmt: skip


def add(session: Session, new: Iterable[Label], *, replace_labels: bool = False) -> tuple[int, int]:
    """Add labels that came from elsewhere; how many were written, and how many left since a label was there.

    With `replace_labels` they take its place. Note, tags and star of before stay where the new one has none.
    """
    with _changing:
        known, written, left = read(session), 0, 0
        for label in new:
            before = known.get(label.feature)
            if before and before.label and label.label and not replace_labels:
                left += 1
                continue
            if before:
                label = replace(
                    label, label=label.label or before.label, note=label.note or before.note,
                    tags=label.tags or before.tags, starred=label.starred or before.starred,
                )  # fmt: skip
            append(session, label)
            known[label.feature] = label
            written += 1
    return written, left

"""Where documents come from: the standard library, local files, saved and hub data sets.

Alone owns how a text falls into a split, how it is cut into documents, and in which order they come.
Knows nothing of tokens or models, nor of how rows come from the hub (`core.hub`). What is wrong with a
corpus leaves here as a CorpusError.
"""

import gzip
import hashlib
import json
import os
import random
import sysconfig
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO, TypeVar

from core import hub
from core.errors import CorpusError, nearest
from core.options import CorpusConfig

Split = Literal["train", "calibration", "test"]
T = TypeVar("T")

SHUFFLE_DOCUMENTS = 4_096
"""Documents held in memory to be mixed."""
TEXT, ROWS = (".txt",), (".jsonl", ".jsonl.gz")
SUPPORTED = "a .txt, .jsonl or .jsonl.gz file, a folder of them, or a folder of `datasets.save_to_disk`"
NOT_LIBRARY = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
"""Folders below the standard library's that are test suites, other people's packages or no source."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text, or a piece of one that was too long."""

    text: str
    category: str
    """What statistics group by; empty where the corpus says nothing."""
    source: str
    """Where it is from: a file with its line, a row of a data set, or what the row itself says."""


def documents(config: CorpusConfig, split: Split, *, seed: int, mixed: int = SHUFFLE_DOCUMENTS) -> Iterator[Document]:
    """The documents of one split, `mixed` of them held to be mixed; the same `seed`, the same order.

    A text longer than `config.document_chars` comes in pieces, whose sources end in `:LINE`, the line of the
    text at which each begins. Raises CorpusError, at the latest when nothing was found.
    """
    rng = random.Random(f"{split} {seed}")
    yield from shuffled(_in_split(config, split), mixed, rng)


def split_of(text: str, config: CorpusConfig) -> Split:
    """The split a whole text belongs to, by its hash alone.

    So neither order nor growth of a corpus moves a text, and duplicates fall on the same side.
    """
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    share = int.from_bytes(digest, "big") / 2**64
    if share < config.test_share:
        return "test"
    return "calibration" if share < config.test_share + config.calibration_share else "train"


def shuffled(items: Iterable[T], size: int, rng: random.Random) -> Iterator[T]:
    """Every item exactly once, in an order drawn from `rng`, with at most `size` items held."""
    assert size > 0, size
    held: list[T] = []
    for item in items:
        if len(held) < size:
            held.append(item)
            continue
        at = rng.randrange(size)
        item, held[at] = held[at], item
        yield item
    rng.shuffle(held)
    yield from held


def cut(text: str, limit: int) -> Iterator[tuple[int, str]]:
    """Pieces of at most `limit` characters, which joined are the text, each with its line (from 1).

    They end at line ends; a line longer than `limit` is cut where the limit falls.
    """
    start, line = 0, 1
    while start < len(text):
        end = start + limit
        if end < len(text):
            end = text.rfind("\n", start, end) + 1 or end
        piece = text[start:end]
        yield line, piece
        line += piece.count("\n")
        start = end


def _in_split(config: CorpusConfig, split: Split) -> Iterator[Document]:
    texts = found = 0
    for whole in _texts(config):
        # JSON may hold lone surrogates, which no tokenizer takes
        text = whole.text.encode("utf-8", "replace").decode("utf-8")
        if not text.strip():
            continue
        texts += 1
        if split_of(text, config) != split:
            continue
        found += 1
        if len(text) <= config.document_chars:
            yield Document(text, whole.category, whole.source)
            continue
        for line, piece in cut(text, config.document_chars):
            if piece.strip():
                yield Document(piece, whole.category, f"{whole.source}:{line}")
    if not texts:
        raise CorpusError(f"corpus {config.name!r} holds no text", hint="all it has is empty or blank")
    if not found:
        raise CorpusError(
            f"none of the {texts} texts of corpus {config.name!r} fell into the {split} split",
            hint="texts are divided whole: give more or shorter ones"
            + ("" if split == "train" else f", or raise corpus.{split}_share"),
        )


def _texts(config: CorpusConfig) -> Iterator[Document]:
    """Whole texts in a stable order, from the source that `config.name` names."""
    name, path = config.name, Path(config.name).expanduser()
    if name == "stdlib":
        return _library(config)
    if path.is_dir():
        saved = any((path / f).is_file() for f in ("dataset_info.json", "dataset_dict.json"))
        return _rows(hub.saved_rows(path, config), config) if saved else _folder(path, config)
    if path.exists():
        if not path.name.lower().endswith(TEXT + ROWS):
            raise CorpusError(f"{name} is no corpus this reads", hint=f"supported are {SUPPORTED}")
        return _file(path, path.name, "", config)
    if name.lower().endswith(TEXT + ROWS) or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise CorpusError(f"there is no corpus at {name}", hint=f"give {SUPPORTED}")
    return _rows(hub.hub_rows(config), config)


def _library(config: CorpusConfig) -> Iterator[Document]:
    _refuse_category("the standard library", config)
    root = Path(sysconfig.get_path("stdlib"))
    files: list[str] = []
    for folder, below, names in os.walk(root):
        below[:] = [b for b in below if b not in NOT_LIBRARY]
        files += [(Path(folder) / n).relative_to(root).as_posix() for n in names if n.endswith(".py")]
    for source in sorted(files):
        category = source.partition("/")[0].removesuffix(".py")
        yield Document((root / source).read_text(encoding="utf-8", errors="ignore"), category, source)


def _folder(root: Path, config: CorpusConfig) -> Iterator[Document]:
    names = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    names = sorted(n for n in names if n.lower().endswith(TEXT + ROWS))
    if not names:
        raise CorpusError(f"{config.name} holds no file this reads", hint=f"supported are {SUPPORTED}")
    for name in names:
        yield from _file(root / name, name, Path(name).stem if len(names) > 1 else "", config)


def _file(path: Path, name: str, category: str, config: CorpusConfig) -> Iterator[Document]:
    """The texts of one local file; `name` is what their sources call it."""
    try:
        if name.lower().endswith(ROWS):
            yield from _rows(_json_rows(path, name), config)
            return
        _refuse_category(name, config)
        with path.open(encoding="utf-8-sig") as file:
            for line, text in _grouped(_paragraphs(file, config.document_chars), config.document_chars):
                yield Document(text, category, f"{name}:{line}")
    except UnicodeDecodeError:
        raise CorpusError(f"{name} is not UTF-8 text", hint="convert it, as with `iconv -t utf-8`") from None
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{name} cannot be read", hint=str(error)) from error


def _paragraphs(file: TextIO, limit: int) -> Iterator[tuple[int, str]]:
    """What stands between blank lines, with its first line's number; cut at `limit`, to bound the memory."""
    lines: list[str] = []
    held, first, number = 0, 1, 1
    for line in iter(lambda: file.readline(limit), ""):
        blank = not line.strip()
        if lines and (blank or held + len(line) > limit):
            yield first, "".join(lines).rstrip("\n")
            lines, held = [], 0
        if not blank:
            first = first if lines else number
            lines.append(line)
            held += len(line)
        number += line.endswith("\n")
    if lines:
        yield first, "".join(lines).rstrip("\n")


def _grouped(paragraphs: Iterable[tuple[int, str]], limit: int) -> Iterator[tuple[int, str]]:
    """Paragraphs joined to texts of at most `limit` characters, each with its first line's number."""
    text, first = "", 1
    for line, paragraph in paragraphs:
        joined = f"{text}\n\n{paragraph}"
        if text and len(joined) <= limit:
            text = joined
            continue
        if text:
            yield first, text
        text, first = paragraph, line
    if text:
        yield first, text


def _json_rows(path: Path, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    with gzip.open(path, "rb") if name.lower().endswith(".gz") else path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"{name}:{number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise CorpusError(f"{where} is not JSON", hint=str(error)) from None
            if not isinstance(row, dict):
                raise CorpusError(f"{where} is no JSON object", hint="a line is a row: {column: value, ...}")
            yield where, row


def _rows(rows: Iterable[tuple[str, Mapping[str, Any]]], config: CorpusConfig) -> Iterator[Document]:
    """The text of each row; beside a row stands where it is, for its source and for what is wrong with it."""
    for where, row in rows:
        for field in ("text_column", "category_column"):
            column = getattr(config, field)
            if column and column not in row:
                hint = f"set corpus.{field}; {nearest(column, row)}"
                raise CorpusError(f"{where} has no column {column!r}", hint=hint)
        text = row[config.text_column]
        if not isinstance(text, str | None):
            raise CorpusError(
                f"column {config.text_column!r} at {where} holds {type(text).__name__}, not text",
                hint="set corpus.text_column to the column with the text",
            )
        category, source = row.get(config.category_column or "category"), row.get("source")
        yield Document(
            text=text or "",
            category="" if category is None else str(category),
            source=source if isinstance(source, str) and source else where,
        )


def _refuse_category(what: str, config: CorpusConfig) -> None:
    if config.category_column:
        raise CorpusError(
            f"{what} has no columns, so none named {config.category_column!r}",
            hint="leave corpus.category_column empty",
        )

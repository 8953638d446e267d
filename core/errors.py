"""The errors a person may meet. Each says what is wrong and what to do next.

SaeTuiError
├── UsageError              exit code 2: something given can be mended and tried again
│   ├── ConfigError         a field of a configuration
│   ├── SessionError        a session's name, or the state of its folder
│   ├── ModelError          a model or a hook point
│   ├── CorpusError         a corpus, its columns, its size
│   └── QueryError          SQL, or a feature that does not exist
└── RunError                exit code 1: the work was begun and failed
    ├── DivergedError       the loss is no longer a number
    └── EngineError         the engine died or answered with an error

Inner code raises these and nothing else for what people can cause; broken invariants are asserts.
"""

import difflib
import errno
from collections.abc import Iterable


class SaeTuiError(Exception):
    """The base of all: a message, and a hint that names the next step."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}: {self.hint}" if self.hint else self.message


class UsageError(SaeTuiError):
    """Something that was given can be mended and tried again."""

    exit_code = 2


class ConfigError(UsageError):
    """A field of a configuration."""


class SessionError(UsageError):
    """A session's name, or the state of its folder."""


class ModelError(UsageError):
    """A model or a hook point."""


class CorpusError(UsageError):
    """A corpus, its columns, its size."""


class QueryError(UsageError):
    """SQL, or a feature that does not exist."""


class RunError(SaeTuiError):
    """The work was begun and failed."""


class DivergedError(RunError):
    """The loss is no longer a number."""


class EngineError(RunError):
    """The engine died or answered with an error."""


LISTED = 40


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` for the known word closest to `word`, or the list of them, LISTED at most."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    more = f" and {len(known) - LISTED:,} more" if len(known) > LISTED else ""
    return "known are " + ", ".join(known[:LISTED]) + more


def out_of_memory(error: BaseException) -> bool:
    """Whether it says that there is no memory left, of this machine or of a GPU: Python's, torch's or DuckDB's."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ in ("OutOfMemoryError", "OutOfMemoryException")
        or "DefaultCPUAllocator" in text
        or "CUDA error: out of memory" in text
    )


def sentence(error: BaseException, log: str = "log.txt") -> str:
    """What went wrong and what to do, in one sentence; `log` is where the traceback is."""
    text, kind = str(error), type(error).__name__
    if isinstance(error, SaeTuiError):
        return text
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left on device" in text:  # safetensors and DuckDB say it in their own errors' text
        return "the disk is full: free some space and start again; what was complete before is kept"
    if kind == "OutOfMemoryError":  # of torch, for a GPU
        return (
            "the GPU's memory is full: see with `nvidia-smi` who else uses it, make the batches or the SAE "
            'smaller, or set device = "cpu"'
        )
    if out_of_memory(error):
        return "the memory is full: make `training.buffer_activations`, the batches or the SAE smaller"
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return f"{kind}: {line}; see {log}" if line else f"{kind}; see {log}"

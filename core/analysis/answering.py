"""A person's queries, answered in a process of their own whose memory is bounded: `python -m core.analysis.answering`.

DuckDB's limit leaves out what a function makes of one row, as `repeat('x', 3000000000)` does, and is deaf meanwhile. So
the bound is the system's, and to stop a query is to kill its process, which `console` does. A request is a pickle on
standard input, (folders of sessions, SQL, limit); its answer, a Result or a QueryError, one on standard output.
"""

import contextlib
import math
import os
import pickle
import queue
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from core import child
from core.errors import QueryError
from core.session import Session
from core.storage import stamp

if TYPE_CHECKING:
    from core.analysis.store import Result, Store

BESIDE_BYTES = 1_000_000_000
"""What the process may take beside DuckDB's own limit: the program, the rows of an answer, values DuckDB forgets."""
ANSWER_BYTES = 64_000_000
"""Of an answer: whoever asked holds it too."""


class Opened:
    """A store of the sessions asked for last, opened anew where its files have changed since."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: object = None
        self._store: "Store | None" = None

    def get(self, sessions: Sequence[Session]) -> "Store":
        """The store; its user may not close it. Raises QueryError."""
        from core.analysis.store import Store  # here: DuckDB takes as long to import as a first frame may

        read = [(s.path, s.database_path, s.labels_path, s.explanations_path) for s in sessions]
        key = [(str(path), *map(stamp, files)) for path, *files in read]
        with self._lock:
            if self._store is None or key != self._key:
                self._store, self._key = Store.open(sessions), key
            return self._store

    def forget(self) -> "Store | None":
        """Hold no store any more; returns the one there was."""
        with self._lock:
            store, self._store, self._key = self._store, None, None
        return store


def start() -> "subprocess.Popen[bytes]":
    """The process; `end` it after it was killed or its input was closed."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "core.analysis.answering"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, start_new_session=True, env=child.environment(),
    )  # fmt: skip


def end(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a process that ends, and close its pipes."""
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):  # what was not yet sent
            if pipe is not None:
                pipe.close()


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Bound what this process takes, while the block lasts, to a query's memory and BESIDE_BYTES more than it has now.

    To be entered before a store is opened, by a process that does nothing besides. Raises QueryError where the block
    meets the bound outside of DuckDB, whose errors are explained as any.
    """
    from core.analysis.connection import memory_bytes

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    has = getattr(psutil.Process().memory_info(), "data", 0)  # what the limit counts, where the system tells it
    bound = has + memory_bytes() + BESIDE_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (bound if soft == resource.RLIM_INFINITY else min(soft, bound), hard))
    try:
        yield
    except MemoryError:
        raise QueryError("the rows need more memory than a query may use", hint="narrow it, or add a LIMIT") from None
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def main() -> None:
    """Answer until standard input ends: then whoever asked has gone, and a query that runs is of no use."""
    with bounded():
        _answer()


def _answer() -> None:
    requests: queue.SimpleQueue[tuple[list[str], str, int]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    opened = Opened()
    while True:
        paths, sql, limit = requests.get()
        answer: "Result | QueryError"
        try:
            answer = opened.get([Session(Path(path)) for path in paths]).query(sql, limit, value=_exact)
        except QueryError as error:
            answer = error
        text = pickle.dumps(answer)
        if len(text) > ANSWER_BYTES:
            text = pickle.dumps(
                QueryError(f"the answer has {len(text) / 1e6:,.0f} MB", hint="ask for fewer rows or shorter values")
            )
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()


def _listen(requests: "queue.SimpleQueue[tuple[list[str], str, int]]") -> None:
    while True:
        try:
            requests.put(pickle.load(sys.stdin.buffer))
        except EOFError:
            os._exit(0)


def _exact(value: Any) -> Any:
    """A value of DuckDB's, numbers that are none among them."""
    from core.analysis.store import plain

    return value if isinstance(value, float) and not math.isfinite(value) else plain(value)


if __name__ == "__main__":
    main()

"""Stores that are kept open: one for each session asked for, opened anew where its database has been replaced.

Safe to use from several threads; opening takes tens of milliseconds, so not from one that draws.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from core.session import Session
from core.storage import stamp

if TYPE_CHECKING:
    from core.analysis.store import Store


class Stores:
    """The open stores of a program, by session."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, tuple[tuple[int, int, int], Store]] = {}

    def get(self, session: Session) -> "Store":
        """The session's store. Raises QueryError where it was not analysed or its database cannot be read."""
        from core.analysis.store import Store  # here: DuckDB takes as long to import as a first frame may

        with self._lock:
            key = str(session.path)
            now = stamp(session.database_path)
            kept = self._open.get(key)
            if kept and kept[0] == now:
                return kept[1]
            store = Store.open([session])
            self._open[key] = (now, store)
        if kept:
            kept[1].close()
        return store

    def interrupt(self) -> None:
        """Stop every query that runs."""
        self._each(lambda store: store.interrupt())

    def forget(self, session: Session) -> None:
        """Close the session's store: after this its folder may go."""
        with self._lock:
            kept = self._open.pop(str(session.path), None)
        if kept:
            kept[1].close()

    def _each(self, act: "Callable[[Store], None]") -> None:
        with self._lock:
            stores = [store for _, store in self._open.values()]
        for store in stores:
            act(store)

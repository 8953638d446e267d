"""Rows by number, for a table of any length: in pages, fetched when they are needed, the last used kept."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

PAGE = 200
"""Rows fetched at once."""
PAGES_KEPT = 24


class Source:
    """Rows by number. Safe to use from several threads."""

    def __init__(self, fetch: Callable[[int, int], Sequence[Any]], count: int, *, kept: int = PAGES_KEPT) -> None:
        """`fetch(first, n)` gives the rows from number `first` on; it may block, and may raise."""
        self.count = count
        self.failed = False
        """A page could not be fetched: nobody should try again and again."""
        self._fetch, self._kept = fetch, kept
        self._lock = threading.Lock()
        self._pages: OrderedDict[int, Sequence[Any]] = OrderedDict()

    @classmethod
    def of(cls, rows: Sequence[Any]) -> "Source":
        """Rows that are all there."""
        source = cls(lambda first, n: rows[first : first + n], len(rows), kept=len(rows))
        source._pages.update((first // PAGE, rows[first : first + PAGE]) for first in range(0, len(rows), PAGE))
        return source

    def row(self, index: int) -> Any | None:
        """A row; None where there is none, or its page has not come yet."""
        with self._lock:
            page = self._pages.get(index // PAGE)
            if page is None:
                return None
            self._pages.move_to_end(index // PAGE)
        return page[index % PAGE] if 0 <= index < self.count and index % PAGE < len(page) else None

    def missing(self, first: int, last: int) -> int | None:
        """A page that the rows from `first` to `last` need and that has not come yet."""
        if not self.count:
            return None
        with self._lock:
            pages = range(max(0, first) // PAGE, min(last, self.count - 1) // PAGE + 1)
            return next((page for page in pages if page not in self._pages), None)

    def load(self, index: int, around: int) -> None:
        """Fetch the rows so far from one, at once. Blocks; raises what `fetch` raises."""
        if self.missing(index - around, index + around) is not None:
            last = min(index + around, self.count - 1) // PAGE
            self._take(max(0, index - around) // PAGE, last)

    def fetch_page(self, page: int) -> None:
        """Fetch one page. Blocks; raises what `fetch` raises."""
        self._take(page, page)

    def _take(self, first: int, last: int) -> None:
        try:
            rows = self._fetch(first * PAGE, (last - first + 1) * PAGE)
        except BaseException:
            self.failed = True
            raise
        with self._lock:
            for page in range(first, last + 1):
                self._pages[page] = rows[(page - first) * PAGE : (page - first + 1) * PAGE]
            while len(self._pages) > self._kept:
                self._pages.popitem(last=False)

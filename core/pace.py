"""How long work will still take: from how far it came in the last minute or so, by the clock on the wall.

So a job that stalls is said to take longer and longer, not as long as before.
"""

import math
from collections import deque

WINDOW_S = 90.0
ENOUGH_S = 4.0
"""Watched for less, nothing is said."""


class Pace:
    """One job's progress, as it is seen now and then."""

    def __init__(self) -> None:
        self._phase: object = None
        self._seen: deque[tuple[float, float]] = deque()

    def note(self, now: float, phase: object, done: float) -> None:
        """At `now` seconds `done` units of `phase` are finished; another phase, or less done, begins anew."""
        if phase != self._phase or (self._seen and done < self._seen[-1][1]):
            self._phase = phase
            self._seen.clear()
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW_S:
            self._seen.popleft()

    def forget(self) -> None:
        """Begin anew: what was seen says nothing of what comes, as after a pause."""
        self._phase = None
        self._seen.clear()

    @property
    def per_second(self) -> float | None:
        """Units a second; None until it was watched for long enough."""
        if not self._seen or self._seen[-1][0] - self._seen[0][0] < ENOUGH_S:
            return None
        (then, before), (now, done) = self._seen[0], self._seen[-1]
        return (done - before) / (now - then)

    def left(self, total: float | None) -> float | None:
        """Seconds until `total` units are finished; None where that cannot be said, infinite where nothing moves."""
        rate = self.per_second
        if rate is None or total is None:
            return None
        rest = total - self._seen[-1][1]
        return 0.0 if rest <= 0 else rest / rate if rate > 0 else math.inf

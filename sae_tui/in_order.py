"""Keys in the order they were pressed, also where a slow line brings several at once.

Textual hands a key to what has the focus and takes the next one at once; what a key is bound to runs later, when no
widget has wanted it. So `/` and a word that come in one packet would be commands of the list, and then an empty filter.
"""

import time
from collections import deque
from functools import partial
from typing import TypeVar

from textual import events
from textual.app import App
from textual.message import Message

T = TypeVar("T")
LOST_S = 0.25
"""A key waits twice that at most: what was to tell that the one before is done may be gone with its widget.

Twice, because where the event loop was held meanwhile, by an import say, the first time is over before anything was
handled.
"""


class KeyHandled(Message):
    """Goes the way of a key, behind it: where it has come, the key was handled."""

    def __init__(self, turn: object) -> None:
        super().__init__()
        self.turn = turn


class InOrder(App[T]):
    """An application in which a key, or a paste, waits until what the one before it does is done."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[events.Event] = deque()
        self._turn: object = None
        """Of the key that is being handled; None while none is."""
        self.pressed_at = 0.0
        """When the last key came, by `time.monotonic`."""

    async def on_event(self, event: events.Event) -> None:
        """Take keys one by one, all else as it comes."""
        if not isinstance(event, (events.Key, events.Paste)) or event.is_forwarded:
            await super().on_event(event)
            return
        self.pressed_at = time.monotonic()
        self._waiting.append(event)
        if self._turn is None:
            await self._take()
        else:
            again = partial(self.set_timer, LOST_S, partial(self._done, self._turn))
            self.set_timer(LOST_S, again)

    async def on_key_handled(self, message: KeyHandled) -> None:
        """It was handled. What it has brought, another screen or focus, comes first."""
        if not self.screen.call_later(self.call_later, self._done, message.turn):
            await self._done(message.turn)

    async def _take(self) -> None:
        """Handle the next one, if there is one."""
        if not self._waiting:
            return
        event = self._waiting.popleft()
        self._turn = turn = object()
        target = self.focused or self.screen
        await super().on_event(event)
        if not target.post_message(KeyHandled(turn)):
            await self._done(turn)

    async def _done(self, turn: object) -> None:
        if turn is self._turn:
            self._turn = None
            await self._take()

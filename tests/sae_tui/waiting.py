"""Waiting for what threads bring: long enough for a machine under load, over as soon as it is there."""

import asyncio
import time
from collections.abc import Callable

from textual.pilot import Pilot

PATIENCE_S = 30.0
STILL_S = 0.3


async def until(holds: Callable[[], object], what: str = "it did not come", *, within_s: float = PATIENCE_S) -> None:
    """Return once `holds` is true; what it looks up may not be there yet. `AssertionError` says `what` in the end."""
    begun = time.monotonic()
    error: Exception | None = None
    while time.monotonic() - begun < within_s:
        try:
            if holds():
                await asyncio.sleep(0.02)
                return
        except Exception as raised:
            error = raised
        await asyncio.sleep(0.01)  # not by Pilot, which waits for an idle processor
    raise AssertionError(what) from error


async def still(pilot: Pilot) -> None:
    """Return once no work goes on and the picture has stayed the same for a while."""
    begun = same_since = time.monotonic()
    seen = ""
    while time.monotonic() - same_since < STILL_S:
        await asyncio.sleep(0.05)
        await pilot.pause()
        picture = pilot.app.export_screenshot()
        if picture != seen or any(not worker.is_finished for worker in pilot.app.workers):
            seen, same_since = picture, time.monotonic()
        if time.monotonic() - begun > PATIENCE_S:
            raise AssertionError("the screen does not come to rest")

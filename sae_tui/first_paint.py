"""The sessions on the terminal while the workbench is still being imported, in the places where its list has them.

Textual takes most of the time to the first frame. Who opens the workbench to see how the runs are doing has seen it by
then; keys that are pressed meanwhile wait in the terminal.
"""

from collections.abc import Sequence

from core.overview import Seen
from sae_tui.state import State
from sae_tui.text import STATES, safe, shortened

TOP = 4
"""The line of the first session, from 1: below the title, the frame and the header."""
LEFT = 6
"""The column where a session's state begins, from 1."""


def first_paint(seen: Sequence[Seen], state: State, size: tuple[int, int]) -> str:
    """What to send to a terminal of `size` cells to have the sessions on it, one a line.

    Nothing where the workbench comes back on another screen than Runs, or with the list in an order or a filter of a
    person's own: what is drawn now is not to move then.
    """
    columns, lines = size
    runs = state.part("runs")
    if state.part("app").get("mode", "runs") != "runs" or runs.get("filter") or runs.get("sort"):
        return ""
    states = max((len(one.observed.state) for one in seen), default=0)
    drawn = []
    for line, one in enumerate(seen[: max(0, lines - TOP - 1)], TOP):
        glyph, _ = STATES.get(one.observed.state, ("·", ""))
        words = f"{glyph} {safe(one.observed.state):<{states}}  {safe(one.name)}"
        drawn.append(f"\x1b[{line};{LEFT}H{shortened(words, columns - LEFT)}")
    return "".join(drawn)

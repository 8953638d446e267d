"""What the Features screen says about its list."""

from textual.content import Content

from core.analysis.browse import Kind
from core.overview import Seen
from sae_tui.screens.browsing import Found
from sae_tui.text import safe, shortened

TROUBLE_ROWS = 6
"""Lines that what is wrong may take, as in features.tcss: all columns there are fit in them."""


def title(found: Found, kind: Kind, marks: int) -> Content:
    """How many there are of how many, of which kind, in which order, and how long that took."""
    order = found.order
    parts = [
        f"features {order.count:,} of {found.store.d_sae:,}",
        *([safe(kind.words)] if kind.words else []),
        f"{safe(order.sort)} {'↓' if order.descending else '↑'}",
        *([f"{marks} marked"] if marks else []),
        f"{1e3 * order.elapsed_s:.1f} ms",
    ]
    return Content(" · ".join(parts))


def ran(found: Found | None, *, trouble: str, asking: bool, width: int) -> Content:
    """Beneath the filter box: what is wrong with what stands there, or the condition that ran; else the order."""
    where = found.order.where if found else ""

    def fitting(besides: int) -> str:
        return shortened(" ".join(safe(where, newlines=True).split()), max(10, width - besides))

    if trouble:
        return Content.styled(shortened(safe(trouble), TROUBLE_ROWS * width), "$error")
    if asking:
        return Content.styled("looking … esc stops it", "$text-muted")
    if where and found and not found.order.count:
        return Content.assemble(("no feature fulfils  ", "$warning"), fitting(38), ("   esc clears it", "$text-muted"))
    if where or not found:
        return Content.assemble(("WHERE  ", "$text-muted"), fitting(7)) if where else Content()
    falls = "DESC" if found.order.descending else "ASC"
    return Content.assemble(("ORDER BY  ", "$text-muted"), f"{safe(found.order.sort)} {falls}")


def nothing(seen: Seen | None, trouble: str) -> Content:
    """Why there are no features to list, and what to do."""
    if seen is None:
        return Content("no session yet: press 1, and there n starts one")
    if trouble and seen.has_features:
        return Content.assemble((safe(trouble), "$error"), "\n\npress ", ("A", "bold"), " to analyse anew")
    status, observed = seen.status, seen.observed
    if observed.active:
        share = f" {status.done / status.total:.0%}" if status.total else ""
        return Content.assemble(
            (f"{safe(status.job)} {safe(observed.state)}: {safe(status.phase)}{share}", "bold"),
            "\n\nfeatures come here once an analysis is done; 2 shows the run",
        )
    if not seen.has_sae:
        return Content("there is no SAE in this session yet: press 2 for its training, or 1 for all sessions")
    last = (
        f"the last one {observed.state}: {safe(observed.note)}\n\n" if status.job == "analyze" and observed.note else ""
    )
    return Content.assemble(("analysis not done", "bold"), f"\n\n{last}press ", ("A", "bold"), " to start it")

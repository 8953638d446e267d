"""A run of a million logged steps: how long its curves take to open, to follow, to zoom and to draw.

    python -m tests.benchmarks.curves [LINES]

Writes some 370 MB into a temporary folder, and deletes them. Prints the median of five.
"""

import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from core.curves import Curves
from sae_tui.widgets import plots
from sae_tui.widgets.plots import draw
from sae_tui.widgets.traces import Run, Traces, View


def write(path: Path, first: int, last: int, steps: int) -> None:
    """Append the lines of some steps, as a job does."""
    rng = random.Random(first)
    with path.open("a") as file:
        for step in range(first, last + 1):
            loss = 200 * math.exp(-5 * step / steps) + 3 + rng.random()
            values = {
                "step": step, "steps": steps, "activations": step * 2048, "elapsed_s": round(step * 0.05, 3),
                "loss": loss, "mse": loss * 0.98, "fvu": loss / 230, "l0": 32.0, "l1": 60.1685028 + rng.random(),
                "sparsity_loss": 0.0, "aux_loss": rng.random(), "dead": step % 100, "dead_share": step % 100 / 4608,
                "lr": 0.003 * (1 - step / steps), "activations_per_s": 40_000 + 500 * rng.random(),
            }  # fmt: skip
            file.write(json.dumps(values) + "\n")


def timed(what: str, work: Callable[[], object], before: Callable[[], object] = lambda: None) -> None:
    """Print the median time of five calls, each after one of `before`."""
    seconds = []
    for _ in range(5):
        before()
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    print(f"{what:<48} {1000 * statistics.median(seconds):8.1f} ms")


def main() -> None:
    """Measure with as many lines as asked for."""
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.jsonl"
        write(path, 1, lines, lines)
        print(f"{lines:,} lines, {path.stat().st_size / 1e6:,.0f} MB")
        timed("open: read, sampled", lambda: Curves(path).read())
        curves = Curves(path)
        curves.read()
        timed("look again, nothing new", curves.read)
        at = lines

        def more() -> None:
            nonlocal at
            write(path, at + 1, at + 20, lines)
            at += 20

        timed("look again, 20 lines more", curves.read, more)
        timed("zoom into a hundredth", lambda: curves.part("step", lines * 0.5, lines * 0.51).read())
        run, view = [Run(label="run", path=path, live=True)], View(weight=0.9)
        timed("open: read, smooth, make six plots", lambda: Traces().read(run, view))
        found = Traces().read(run, view)
        assert found is not None
        timed(
            "draw one of them, 120 by 26",
            lambda: draw(found.plots["loss"], 120, 26, "braille"),
            plots.built.cache_clear,
        )


if __name__ == "__main__":
    main()

"""How long a step takes: contenders in turn, in blocks, in two processes that differ by their settings.

`tuned`     our jobs' settings of malloc, and the precision of matrix products that `device.tune` sets
`installed` neither: what a peer's own trainer does when it is called

Each process waits while the other works. Ours is timed in the first alone: its jobs set both for themselves. On a
machine that others use too, one thread and the processor's time stand for what a clock would say.
"""

import os
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import torch

from core import device
from core.jobs import MALLOC
from tests.benchmarks.peers import contenders, ours
from tests.benchmarks.peers.contender import Contender, Task
from tests.benchmarks.peers.data import read

STEPS = 3
"""In a block. The first is not counted: it finds the caches and the heap as another contender left them."""
BFLOAT16 = "sae-tui bfloat16"
"""Ours with its product in bfloat16, which is timed where the machine has that in hardware."""


class Timed(NamedTuple):
    """Median milliseconds of a step, and the active features on average at its end."""

    tuned: float
    installed: float | None
    l0: float


class _Worker:
    """One process' contenders."""

    def __init__(self, path: Path, task: Task, *, tuned: bool, shared: bool) -> None:
        data = read(path, "")
        self.tuned = tuned
        self.clock = time.process_time if shared else time.perf_counter
        if shared:
            torch.set_num_threads(1)
        self.x = next(data.batches(1, task.rows))
        start = ours.timed_start(task, self.x)
        made = [contender(task, start) for contender in contenders.PEERS.values() if task.architecture in contender.of]
        if tuned:
            if device.fastest_dtype(torch.device("cpu")) == "bfloat16":
                made = [ours.contender(task, data, {"training.precision": "bfloat16"}, BFLOAT16), *made]
            made = [ours.contender(task, data), *made]
        self.contenders: dict[str, Contender] = {contender.name: contender for contender in made}

    def block(self, name: str) -> list[float]:
        """Seconds of each of the steps that count."""
        contender = self.contenders[name]
        if self.tuned:
            device.tune(torch.device("cpu"))
        else:
            torch.set_float32_matmul_precision(contender.precision)
        seconds = []
        for _ in range(STEPS):
            began = self.clock()
            contender.step(self.x)
            seconds.append(self.clock() - began)
        return seconds[1:]

    @torch.no_grad()
    def l0(self, name: str) -> float:
        """Active features on average."""
        return float((self.contenders[name].code(self.x)[0] != 0).sum() / len(self.x))


_worker: _Worker | None = None


def _prepare(path: Path, task: Task, tuned: bool, shared: bool) -> list[str]:
    global _worker
    _worker = None  # what it holds goes before its successor comes
    _worker = _Worker(path, task, tuned=tuned, shared=shared)
    return list(_worker.contenders)


def _block(name: str) -> list[float]:
    assert _worker is not None
    return _worker.block(name)


def _l0(name: str) -> float:
    assert _worker is not None
    return _worker.l0(name)


@contextmanager
def processes() -> Iterator[dict[str, ProcessPoolExecutor]]:
    """A process of each kind; malloc reads its settings once, when a process begins."""
    pools = {}
    for kind, settings in {"tuned": MALLOC, "installed": {}}.items():
        before = {name: os.environ.pop(name, None) for name in MALLOC}
        os.environ.update(settings)
        pools[kind] = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        pools[kind].submit(os.getpid).result()
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
    try:
        yield pools
    finally:
        for pool in pools.values():
            pool.shutdown()


def measure(
    pools: dict[str, ProcessPoolExecutor], path: Path, task: Task, rounds: int, *, shared: bool
) -> dict[str, Timed]:
    """Each contender's figures on `task`, ours first. Of the first round, which warms up, nothing is counted."""
    names = {
        kind: pool.submit(_prepare, path, task, kind == "tuned", shared).result() for kind, pool in pools.items()
    }  # fmt: skip
    seconds: dict[tuple[str, str], list[float]] = {}
    for turn in range(rounds + 1):
        for name in names["tuned"]:
            for kind, pool in pools.items():
                if name in names[kind]:
                    block = pool.submit(_block, name).result()
                    seconds.setdefault((name, kind), []).extend(block if turn else [])
    medians = {key: 1e3 * statistics.median(times) for key, times in seconds.items()}
    return {
        name: Timed(medians[name, "tuned"], medians.get((name, "installed")), pools["tuned"].submit(_l0, name).result())
        for name in names["tuned"]
    }

"""What a training comes to: held-out FVU after the same batches, each trainer with its own defaults.

A peer's coefficient is searched, in a few whole runs, for the number of active features that ours has.
"""

import dataclasses
import math
import time
from typing import NamedTuple

import torch

from tests.benchmarks.peers import contenders, ours
from tests.benchmarks.peers.contender import PENALISED, Contender, Task
from tests.benchmarks.peers.data import Data

ROWS = 4096
SEARCHES, NEAR = 3, 0.1
"""Runs for a coefficient at most; fewer once the target is met to within this share."""
FIRST = {("relu", "dictionary_learning"): 1.0, ("gated", "dictionary_learning"): 1.0}
"""Coefficients to begin with; others begin with the peer's own default of 1."""
STEEP = 1.0
"""By how much ln L0 falls as ln coefficient rises, until two runs tell."""


class Figures(NamedTuple):
    """Of the test part, as the SAE is used."""

    fvu: float
    l0: float
    dead_share: float
    seconds: float
    coefficient: float | None = None


def measure(task: Task, data: Data, name: str) -> Figures:
    """The figures of one trainer on `task`."""
    if name == "sae-tui":
        return trained(task, data, ours.contender(task, data))
    make = contenders.PEERS[name]
    if task.architecture not in PENALISED:
        return trained(task, data, make(task, None))
    coefficient, found = FIRST.get((task.architecture, name), 1.0), list[Figures]()
    for _ in range(SEARCHES):
        tried = dataclasses.replace(task, coefficient=coefficient)
        found.append(trained(tried, data, make(tried, None)))
        if abs(found[-1].l0 / task.k - 1) < NEAR:
            break
        coefficient = _next(found, task.k)
    return min(found, key=lambda figures: abs(math.log(max(figures.l0, 1e-3) / task.k)))


def _next(found: list[Figures], target: int) -> float:
    """The coefficient at which a straight line through the last two runs meets the target, both as logarithms."""
    points = [(math.log(figures.coefficient or 1.0), math.log(max(figures.l0, 1e-3))) for figures in found[-2:]]
    (x0, y0), (x1, y1) = points[0], points[-1]
    slope = (y1 - y0) / (x1 - x0) if x1 != x0 and y1 != y0 else -STEEP
    if slope > -0.2:
        slope = -STEEP
    return math.exp(x1 + max(-2.5, min(2.5, (math.log(target) - y1) / slope)))


def trained(task: Task, data: Data, contender: Contender) -> Figures:
    """The figures of one training on `task`."""
    began = time.perf_counter()
    for x in data.batches(task.steps, task.rows):
        contender.step(x)
    seconds = time.perf_counter() - began
    contender.finish()
    return _tested(contender, data, task.d_sae, seconds, task.coefficient)


@torch.no_grad()
def _tested(contender: Contender, data: Data, d_sae: int, seconds: float, coefficient: float | None) -> Figures:
    error = active = 0.0
    fired = torch.zeros(d_sae, dtype=torch.bool)
    for x in data.test.split(ROWS):
        z, x_hat = contender.code(x)
        error += float((x - x_hat).double().pow(2).sum())
        active += float((z != 0).sum())
        fired |= (z != 0).any(dim=0)
    variance = float((data.test - data.test.mean(dim=0)).double().pow(2).sum())
    dead_share = 1 - float(fired.float().mean())
    return Figures(error / variance, active / len(data.test), dead_share, seconds, coefficient)

"""Bootstrap intervals against a plain version, and what they must be for samples that do not vary."""

import random
import statistics

import numpy as np
import pytest

from core.experiments.intervals import Bootstrap


def test_the_mean_is_of_all_counted_things_not_of_the_units_means():
    found = Bootstrap(2).mean(np.array([3.0, 10.0]), np.array([1.0, 9.0]))
    assert found.mean == pytest.approx(1.3) and found.n == 2


def test_the_interval_is_that_of_drawing_units_again_and_again():
    rng = np.random.default_rng(3)
    sums, counts = rng.normal(size=40) * 5, rng.integers(1, 9, size=40).astype(float)
    draw = random.Random(5)
    means = []
    for _ in range(20_000):
        units = draw.choices(range(40), k=40)
        means.append(sum(sums[i] for i in units) / sum(counts[i] for i in units))
    cuts = statistics.quantiles(means, n=40)
    found = Bootstrap(40, draws=20_000).mean(sums, counts)
    spread = cuts[-1] - cuts[0]
    assert found.low == pytest.approx(cuts[0], abs=0.03 * spread)
    assert found.high == pytest.approx(cuts[-1], abs=0.03 * spread)


def test_a_difference_is_of_the_same_samples_so_what_units_share_goes_out_of_it():
    shared = np.random.default_rng(1).normal(size=30) * 100
    n = np.ones(30)
    samples = Bootstrap(30)
    found = samples.difference((shared + 2, n), (shared, n))
    assert (found.mean, found.low, found.high) == (pytest.approx(2), pytest.approx(2), pytest.approx(2))
    assert samples.mean(shared, n).high - samples.mean(shared, n).low > 10


def test_nothing_counted_has_no_mean_and_one_unit_no_interval():
    samples = Bootstrap(3)
    assert samples.mean(np.zeros(3), np.zeros(3)) is None
    alone = samples.mean(np.array([0.0, 4.0, 0.0]), np.array([0.0, 2.0, 0.0]))
    assert (alone.mean, alone.low, alone.high, alone.n) == (2.0, None, None, 1)
    assert samples.difference((np.ones(3), np.ones(3)), (np.zeros(3), np.zeros(3))) is None


def test_the_same_seed_draws_the_same_samples():
    sums, counts = np.arange(9.0), np.ones(9)
    assert Bootstrap(9).mean(sums, counts) == Bootstrap(9).mean(sums, counts)
    assert Bootstrap(9).mean(sums, counts) != Bootstrap(9, seed=1).mean(sums, counts)

"""How alike the decoder's directions are, against all pairs one by one, and at which steps that is measured."""

import math

import pytest
import torch

from core.records import StepReport
from core.training import cosines
from tests.core.training.test_loop import data, parsed, run
from tests.core.training.test_optimizers import batches, begun


def naive(rows):
    """The mean and the largest cosine of two rows that are not 0."""
    rows = [row for row in rows.double().tolist() if any(row)]
    found = [
        sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))
        for i, one in enumerate(rows)
        for other in rows[:i]
    ]
    return sum(found) / len(found), max(found)


@pytest.mark.parametrize(("n", "entries"), [(2, 2**23), (7, 1), (50, 170), (50, 2**23)])
def test_mean_and_largest_are_those_of_all_pairs(monkeypatch, n, entries):
    monkeypatch.setattr(cosines, "ENTRIES", entries)
    rows = torch.randn(n, 6, generator=torch.Generator().manual_seed(n)) + 0.3
    assert cosines.alike(rows) == pytest.approx(naive(rows), abs=1e-6)


def test_rows_that_are_as_far_apart_as_can_be_have_a_largest_cosine_below_0_and_rows_of_zeros_do_not_count():
    rows = torch.tensor([[1.0, 0], [0, 0], [-0.5, 0.75**0.5], [-2.0, -(12**0.5)], [0, 0]])
    assert cosines.alike(rows) == pytest.approx((-0.5, -0.5), abs=1e-6)


def test_two_rows_alike_have_a_cosine_of_1_wherever_they_are():
    for one, other in ((0, 1), (3, 40), (38, 40)):
        rows = torch.randn(41, 5, generator=torch.Generator().manual_seed(1))
        rows[other] = 3 * rows[one]
        found = cosines.alike(rows)
        assert found and found[1] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("rows", [torch.zeros(3, 4), torch.eye(3, 4)[:1]])
def test_fewer_than_two_directions_have_no_cosine(rows):
    assert cosines.alike(rows) is None


def test_between_two_measurements_are_so_many_steps_that_they_cost_little():
    assert cosines.steps_between(4_608, 4_096) == 57 and cosines.steps_between(18_432, 4_096) == 225
    assert cosines.steps_between(10, 4_096) == 1


def test_reports_tell_the_cosines_of_what_takes_raw_activations_as_they_were_measured_last():
    training, sae = begun(budget={"activations": 7_000}, sae={"normalize": "standardize"})[0], {}
    told = {}
    for x in batches(70):
        training.step(x * torch.arange(1, 17))
        report = training.report()
        told[report.step] = (report.decoder_cosine_mean, report.decoder_cosine_max)
        sae[report.step] = training.made().W_dec
    for step in (1, 32, 64, 70):  # the first, every 50 · 64 / 100, the last
        assert told[step] == pytest.approx(naive(sae[step]), abs=1e-6)
    assert told[31] == told[1] and told[33] == told[63] == told[32] and told[69] == told[64]
    assert len(set(told.values())) == 4


def test_with_seldom_reports_each_measurement_waits_for_the_next():
    cfg = parsed(budget={"activations": 7_000}, training={"log_every_steps": 9})
    _, records, _ = run(cfg, data(n=70))
    told = {r.step: r.decoder_cosine_max for r in records if isinstance(r, StepReport)}
    assert list(told) == [9, 18, 27, 36, 45, 54, 63]
    assert [told[one] == told[other] for one, other in ((9, 18), (18, 27), (27, 36), (36, 45), (45, 54))] == [
        True, True, False, True, True
    ]  # fmt: skip
    assert told[63] != told[54]

"""A number of active features to reach: lambda that follows it, and thresholds moved to hit it."""

import math

import pytest
import torch

from core.errors import RunError
from core.sae.batchtopk import BatchTopK
from core.sae.build import build
from core.sae.gated import Gated
from core.sae.jumprelu import JumpReLU
from core.sae.relu import ReLU
from core.sae.topk import TopK
from core.training import coefficient, thresholds
from core.training.run import Run
from tests.core.training.test_loop import data, parsed

MAKES = [
    lambda: ReLU(12, 40), lambda: Gated(12, 40), lambda: JumpReLU(12, 40, threshold=0.3), lambda: BatchTopK(12, 40, 5),
]  # fmt: skip


def begun(make):
    sae = make()
    sae.initialise(torch.zeros(12), torch.Generator().manual_seed(0))
    with torch.no_grad():
        if "threshold" in sae.names:
            sae.threshold += 0.2
        if isinstance(sae, ReLU | Gated):
            sae.W_dec *= 0.5 + torch.rand(40, 1, generator=torch.Generator().manual_seed(3))
    return sae


def batch(n=300):
    return torch.randn(n, 12, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("target", [3.0, 7.5, 11.0])
@pytest.mark.parametrize("make", MAKES)
def test_the_target_is_hit_exactly_both_ways(make, target):
    sae, x = begun(make), batch()
    was = float((sae.encode(x) > 0).sum(1).double().mean())
    found = thresholds.move(sae, x, target=target, coefficient=2.0)
    assert found.l0 == pytest.approx(target, abs=2 / len(x))
    assert float((sae.encode(x) > 0).sum(1).double().mean()) == pytest.approx(found.l0)
    assert found.l0_before == pytest.approx(was)
    assert (found.moved_by > 0) == (was > target)
    assert found.fvu is not None and found.fvu_before is not None and found.coefficient == 2.0


@pytest.mark.parametrize("make", MAKES)
def test_margins_say_what_is_active(make):
    sae, x = begun(make), batch()
    assert torch.equal(sae.margins(sae.pre_activations(x)) > 0, sae.encode(x) > 0)


def test_a_gate_that_moves_leaves_the_magnitudes():
    sae, x = begun(MAKES[1]), batch()
    before = sae.encode(x)
    sae.raise_thresholds(0.2)
    after = sae.encode(x)
    kept = after > 0
    assert kept.sum() < (before > 0).sum()
    torch.testing.assert_close(after[kept], before[kept])


def test_what_no_threshold_can_reach_is_said():
    with pytest.raises(RunError, match=r"as many active features .* lower sae\.target_l0"):
        thresholds.move(begun(MAKES[2]), batch(), target=39.0, coefficient=None)


def test_chunks_make_no_difference(monkeypatch):
    a, b, x = begun(MAKES[2]), begun(MAKES[2]), batch()
    first = thresholds.move(a, x, target=4.0, coefficient=None)
    monkeypatch.setattr(thresholds, "ENTRIES", 40 * 7)
    assert thresholds.move(b, x, target=4.0, coefficient=None).moved_by == first.moved_by


def test_topk_has_no_thresholds():
    with pytest.raises(NotImplementedError):
        TopK(12, 40, 3).raise_thresholds(1.0)


@pytest.mark.parametrize("architecture", ["relu", "gated", "jumprelu"])
def test_lambda_finds_the_target(architecture):
    cfg = parsed(
        sae={"architecture": architecture, "target_l0": 6},
        budget={"activations": 40_000},
        training={"lr": 1e-2},
    )
    stream = [x for x in data(n=400) if not isinstance(x, int)]
    run = Run.begun(build(cfg.sae, 16), cfg, stream[0], None)
    found = []
    for x in stream:
        run.step(x)
        found.append((run.report().l0, run.report().coefficient))
    assert found[0][0] == pytest.approx(6, rel=0.1)
    assert sum(l0 for l0, _ in found[-40:]) / 40 == pytest.approx(6, rel=0.25)
    fixed = {c for _, c in found[int(coefficient.FIXED_FROM * 400) :]}
    assert len(fixed) == 1


def test_lambda_is_the_naive_one_and_survives_a_checkpoint():
    cfg = parsed(sae={"architecture": "relu", "target_l0": 6, "l1_coefficient": 2.0}, budget={"activations": 40_000})
    sae = build(cfg.sae, 16)
    follows = coefficient.Coefficient(sae, cfg)
    assert follows.value == pytest.approx(0.2)
    log, gain = math.log(0.2), max(0.03, 9 / 400)
    for step, l0 in enumerate([30, 25, 20, 4]):
        progress = step / 100
        way = progress / 0.3
        error = max(-1, min(1, math.log(l0) - ((1 - way) * math.log(30) + way * math.log(6))))
        log += gain * error
        follows.follow(l0, progress)
        assert follows.value == pytest.approx(math.exp(log + 0.3 * error))
    other = coefficient.Coefficient(build(cfg.sae, 16), cfg)
    other.restore(follows.state())
    for either in (follows, other):
        either.follow(9, 0.5)
    assert other.value == follows.value
    follows.follow(9, 0.9)
    assert follows.value == pytest.approx(math.exp(follows.state()["coefficient_log"]))


@pytest.mark.parametrize(
    ("sae", "value"),
    [({"architecture": "relu", "l1_coefficient": 3.0}, 3.0), ({"architecture": "topk", "k": 4}, None),
     ({"architecture": "jumprelu", "l0_penalty": "quadratic", "target_l0": 5, "l0_coefficient": 0.7}, 0.7)],
)  # fmt: skip
def test_without_a_target_to_follow_lambda_stays(sae, value):
    cfg = parsed(sae=sae)
    follows = coefficient.Coefficient(build(cfg.sae, 16), cfg)
    follows.follow(50, 0.1)
    assert follows.value == value

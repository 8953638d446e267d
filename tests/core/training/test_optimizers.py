"""Optimisers, schedules, the mean of weights, resampling: against the naive, and bit for bit after a resume."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from core import config
from core.sae.build import build
from core.sae.gated import Gated
from core.sae.jumprelu import JumpReLU
from core.sae.topk import TopK
from core.training import optimizers, schedules
from core.training.resampling import resample
from core.training.run import Run
from tests.core.training.test_loop import data, parsed


def batches(n, seed=0):
    return [x for x in data(n=n, seed=seed) if not isinstance(x, int)]


def begun(**parts):
    cfg = parsed(**parts)
    return Run.begun(build(cfg.sae, 16), cfg, batches(1)[0], None), cfg


def test_signum_is_the_naive_one():
    weights = torch.nn.Parameter(torch.randn(5, 3))
    [signum] = optimizers.build("signum", [("w", weights)], 0.1)
    naive, mean = weights.detach().clone(), torch.zeros(5, 3)
    for seed in range(4):
        weights.grad = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))
        mean = 0.9 * mean + 0.1 * weights.grad
        naive -= 0.1 * mean.sign()
        signum.step()
    torch.testing.assert_close(weights.detach(), naive)


def test_adam_is_torchs_own_bit_for_bit_however_a_matrix_lies_in_memory():
    start = torch.randn(5, 3)
    transposed, plain = torch.nn.Parameter(start.T.contiguous().T), torch.nn.Parameter(start.clone())
    [adam], theirs = optimizers.build("adam", [("w", transposed)], 0.1), torch.optim.Adam([plain], lr=0.1, fused=True)
    for seed in range(4):
        grad = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))
        transposed.grad, plain.grad = grad.T.contiguous().T, grad
        adam.step()
        theirs.step()
        assert torch.equal(transposed.detach(), plain.detach())
        assert transposed.stride() == (1, 5)
        assert torch.equal(transposed.grad, grad)
        assert torch.equal(adam.state[transposed]["exp_avg"], theirs.state[plain]["exp_avg"])


@pytest.mark.parametrize("optimizer", ["adam", "signum", "muon"])
def test_each_optimizer_learns_and_goes_on_bit_for_bit(optimizer):
    parts = {
        "budget": {"activations": 3_000},
        "training": {"optimizer": optimizer, "ema_decay": 0.9, "resample_every_steps": 3, "dead_after_activations": 300,
                     "lr": 1e-2, "decay": "cosine", "lr_floor": 0.1},
    }  # fmt: skip
    whole, cfg = begun(**parts)
    for x in batches(30):
        whole.step(x)
    first, _ = begun(**parts)
    stream = batches(30)
    for x in stream[:11]:
        first.step(x)
    state = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in first.state().items()}
    torch.rand(7)  # whatever else drew in between
    second = Run.restored(build(cfg.sae, 16), cfg, state)
    for x in stream[11:]:
        second.step(x)
    assert whole.report().fvu < 0.8
    for run in (whole, second):
        run.made()
    for name, weights in whole.made().named_parameters():
        assert torch.equal(weights, dict(second.made().named_parameters())[name]), name


def test_the_mean_of_weights_is_the_naive_one_and_is_what_is_made():
    run, _ = begun(sae={"architecture": "relu", "normalize": "none"}, training={"ema_decay": 0.8})
    mean = run.sae.b_enc.detach().clone()
    for x in batches(5):
        run.step(x)
        mean = 0.8 * mean + 0.2 * run.sae.b_enc.detach()
    torch.testing.assert_close(run.made().b_enc.detach(), mean)
    assert not torch.equal(run.made().b_enc, run.sae.b_enc)


@pytest.mark.parametrize(
    ("decay", "floor", "at_end"), [("constant", 0.0, 1.0), ("linear", 0.25, 0.25), ("cosine", 0.5, 0.5)]
)
def test_the_rate_falls_as_it_says(decay, floor, at_end):
    factors = [
        schedules.lr_factor(s, 1000, warmup_steps=10, decay=decay, decay_share=0.4, floor=floor) for s in range(1000)
    ]
    assert factors[:10] == pytest.approx([(s + 1) / 10 for s in range(10)])
    assert all(f == 1.0 for f in factors[10:600])
    assert factors[-1] == pytest.approx(at_end, abs=0.01)
    if decay == "cosine":
        assert factors[800] == pytest.approx(0.5 + 0.5 * (1 - math.cos(math.pi * 0.5)) / 2)
    assert factors[600:] == sorted(factors[600:], reverse=True)


@pytest.mark.parametrize(
    "make", [lambda: TopK(16, 64, 4), lambda: JumpReLU(16, 64, threshold=0.3), lambda: Gated(16, 64)]
)
def test_dead_features_begin_anew_from_the_worst_activations_and_nothing_else_moves(make):
    sae = make()
    x = batches(1)[0]
    sae.initialise(x.mean(0), torch.Generator().manual_seed(0))
    optimizer = optimizers.build("adam", sae.named_parameters(), 1e-2)
    sae.losses(x, dead=torch.zeros(64, dtype=torch.bool), warmth=1.0).total.backward()
    optimizer[0].step()
    dead = torch.zeros(64, dtype=torch.bool)
    dead[[3, 17, 40]] = True
    before = {n: w.detach().clone() for n, w in sae.named_parameters()}
    torch.manual_seed(0)
    assert resample(sae, x, dead, optimizer) == 3
    assert torch.equal(sae.W_dec[~dead], before["W_dec"][~dead])
    assert torch.equal(sae.W_enc[:, ~dead], before["W_enc"][:, ~dead])
    rows = sae.W_dec[dead].detach()
    r = torch.nn.functional.normalize(x - sae.b_dec.detach(), dim=1)
    cosines = torch.nn.functional.normalize(rows, dim=1) @ r.T
    assert cosines.max(dim=1).values.tolist() == pytest.approx([1, 1, 1], abs=1e-5)  # each is one of the activations
    assert len(set(cosines.argmax(dim=1).tolist())) == 3  # and no two the same
    torch.testing.assert_close(rows.norm(dim=1), before["W_dec"][~dead].norm(dim=1).mean().expand(3))
    wanted = sae.reborn * before["W_enc"][:, ~dead].norm(dim=0).mean()
    torch.testing.assert_close(sae.W_enc[:, dead].norm(dim=0).detach(), wanted.expand(3))
    assert (sae.b_enc[dead] == 0).all()
    if isinstance(sae, JumpReLU):
        assert (sae.threshold[dead] == 0.3).all()
    for name, weights in sae.named_parameters():
        for field in ("exp_avg", "exp_avg_sq"):
            moment = optimizer[0].state[weights][field]
            of_dead = moment[:, dead] if name == "W_enc" else moment[dead] if name != "b_dec" else torch.zeros(1)
            assert (of_dead == 0).all(), name
        assert bool(optimizer[0].state[weights]["exp_avg"].any()), name


def test_the_worst_activations_are_drawn_most():
    sae = TopK(16, 64, 4)
    x = batches(1)[0]
    sae.initialise(torch.zeros(16), torch.Generator().manual_seed(0))
    x = torch.cat([x, 100 * torch.randn(1, 16, generator=torch.Generator().manual_seed(5))])
    dead = torch.zeros(64, dtype=torch.bool)
    dead[9] = True
    resample(sae, x, dead, optimizers.build("adam", sae.named_parameters(), 1e-2))
    assert torch.cosine_similarity(sae.W_dec[9], x[-1] - sae.b_dec, dim=0) > 0.999


def test_resampling_revives_what_is_dead():
    def dead_at_the_end(every):
        run, _ = begun(
            sae={"aux_coefficient": 0.0, "d_sae": 512, "k": 2},
            budget={"activations": 12_000},
            training={"resample_every_steps": every, "dead_after_activations": 1_000, "lr": 3e-3},
        )
        for x in batches(120):
            run.step(x)
        return int(run.dead().sum())

    assert dead_at_the_end(15) < 0.8 * dead_at_the_end(0)


def test_dense_and_dead_are_counted_and_the_histogram_holds_every_feature():
    run, _ = begun(budget={"activations": 2_000}, training={"dead_after_activations": 500})
    fired = torch.zeros(64)
    for x in batches(20):
        u = run.sae.encode(run.inputs.apply(x))
        fired += (u > 0).sum(0)
        run.step(x)
    torch.testing.assert_close(run.density, fired / 2_000)
    report, seen = run.report(), run.densities()
    assert report.dense == int((fired > 200).sum()) and report.coefficient is None
    assert sum(seen.counts) + seen.rarer == 64 and len(seen.counts) == 25


def test_bfloat16_is_of_the_product_alone():
    run, _ = begun(training={"precision": "bfloat16"})
    same, _ = begun()
    x = batches(1)[0]
    run.step(x)
    same.step(x)
    assert all(w.dtype == torch.float32 for w in run.sae.parameters())
    assert run.report().mse != same.report().mse
    assert run.report().mse == pytest.approx(same.report().mse, rel=0.02)


class Products(TorchDispatchMode):
    """Notes each product of matrices, and the precision that is asked for it."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if "mm" in (name := function.overloadpacket.__name__) or "mv" in name:
            self.asked.append((name, torch.get_float32_matmul_precision()))
        return function(*args, **(kwargs or {}))


def test_tf32_is_of_the_product_alone():
    run, _ = begun()
    run.sae.precision = "tf32"  # a CPU has none: torch is only asked for it
    before = torch.get_float32_matmul_precision()
    with Products() as products:
        run.step(batches(1)[0])
    assert [name for name, precision in products.asked if precision != before] == ["mm"] and len(products.asked) > 1
    assert torch.get_float32_matmul_precision() == before


def test_muon_is_refused_in_a_sentence_where_torch_has_none(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(config.ConfigError, match=r"has no Muon: set training\.optimizer"):
        optimizers.build("muon", [("w", torch.nn.Parameter(torch.zeros(2, 2)))], 1.0)

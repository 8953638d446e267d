"""What an architecture can be told besides: tied weights, plain and annealed penalties, k that warms up, a sigmoid."""

import pytest
import torch

from core.config import parse
from core.sae import jumprelu
from core.sae.build import build
from core.sae.jumprelu import JumpReLU
from core.sae.relu import TINY, ReLU
from core.sae.topk import TopK
from tests.core.sae.test_formulas import (
    D_IN,
    D_SAE,
    K,
    N,
    assert_same_gradients,
    batch,
    doubles,
    initialised,
    none_dead,
)


def relu_loss(p, x, power, plain):
    z = ((x - p["b_dec"]) @ p["W_enc"] + p["b_enc"]).relu()
    x_hat = z @ p["W_dec"] + p["b_dec"]
    cost = z if plain else z * p["W_dec"].norm(dim=1)
    if power < 1:
        cost = (cost + TINY) ** power - TINY**power
    return (x_hat - x).pow(2).sum(1).mean() + 0.5 * 0.7 * cost.sum(1).mean()


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize(("progress", "power"), [(0.0, 1.0), (0.2, 1.0), (0.6, 0.75), (1.0, 0.5)])
def test_relu_penalties_equal_the_naive_ones(plain, progress, power):
    sae = initialised(ReLU(D_IN, D_SAE, l1_coefficient=0.7, l1="plain" if plain else "norm_weighted", p_end=0.5))
    sae.progress = progress
    assert sae.power == pytest.approx(power)
    x, p = batch(), doubles(sae)
    losses = sae.losses(x, dead=none_dead(), warmth=0.5)
    naive = relu_loss(p, x.double(), power, plain)
    assert losses.total.item() == pytest.approx(naive.item(), rel=1e-5)
    losses.total.backward()
    naive.backward()
    assert_same_gradients(sae, p)


@pytest.mark.parametrize(("l1", "free"), [("plain", False), ("norm_weighted", True)])
def test_only_a_weighted_penalty_leaves_norms_free(l1, free):
    sae = initialised(ReLU(D_IN, D_SAE, l1=l1))
    sae.losses(batch(), dead=none_dead(), warmth=1.0).total.backward()
    sae.constrain_gradients()
    along = (sae.W_dec.grad * sae.W_dec).sum(1).abs().max()
    torch.optim.Adam(sae.parameters(), lr=1e-2).step()
    sae.constrain()
    off = (sae.W_dec.norm(dim=1) - 1).abs().max()
    assert (along > 1e-3 and off > 1e-3) == free
    assert free or (along < 1e-4 and off < 1e-5)


@pytest.mark.parametrize("architecture", ["topk", "relu", "batchtopk", "matryoshka"])
def test_a_tied_encoder_stays_the_transpose_and_both_gradients_count(architecture):
    config = parse({"sae": {"architecture": architecture, "d_sae": D_SAE, "k": K, "tied": True}}).sae
    sae = build(config, D_IN)
    sae.initialise(torch.zeros(D_IN), torch.Generator().manual_seed(0))
    loose = build(config, D_IN)
    loose.load_state_dict(sae.state_dict())
    loose.tied = False
    for each in (sae, loose):
        each.losses(batch(), dead=none_dead(), warmth=1.0).total.backward()
    both = loose.W_dec.grad + loose.W_enc.grad.T
    if architecture != "relu":  # whose decoder's norms are free
        both = both - (both * sae.W_dec).sum(1, keepdim=True) * sae.W_dec
    sae.constrain_gradients()
    torch.testing.assert_close(sae.W_dec.grad, both.detach(), rtol=1e-4, atol=1e-5)
    assert sae.W_enc.grad is None
    torch.optim.Adam(sae.parameters(), lr=1e-2).step()
    sae.constrain()
    assert torch.equal(sae.W_enc, sae.W_dec.T)


@pytest.mark.parametrize("architecture", ["gated", "jumprelu"])
def test_what_cannot_be_tied_is_refused(architecture):
    from core.errors import ConfigError

    with pytest.raises(ConfigError, match="tied is for"):
        parse({"sae": {"architecture": architecture, "tied": True}})


@pytest.mark.parametrize(("warmth", "k"), [(0.0, 40), (0.5, round(K * 4.5)), (1.0, K)])
@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "matryoshka"])
def test_k_warms_up_from_eight_times_as_many(architecture, warmth, k):
    sae = initialised(build(parse({"sae": {"architecture": architecture, "d_sae": D_SAE, "k": K}}).sae, D_IN))
    x = batch()
    positive = (sae.pre_activations(x) > 0).sum()
    l0 = sae.losses(x, dead=none_dead(), warmth=warmth).l0
    assert l0 * N <= min(k * N, positive) + 0.5
    assert l0 * N >= min(k * N, positive) * (0.5 if architecture == "topk" else 1) - 0.5
    assert isinstance(sae, TopK) and sae.warm_k(warmth) == k


def test_a_sigmoid_surrogate_is_the_naive_one(monkeypatch):
    eps, lam = 0.1, 0.3
    sae = initialised(JumpReLU(D_IN, D_SAE, l0_coefficient=lam, bandwidth=eps, surrogate="sigmoid", threshold=0.2))
    x, p = batch(), doubles(sae)

    class Naive(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u, theta):
            ctx.save_for_backward(u, theta)
            return u * (u > theta), (u > theta).double()

        @staticmethod
        def backward(ctx, gz, gh):
            u, theta = ctx.saved_tensors
            v = (u - theta) / eps
            slope = torch.sigmoid(v) * (1 - torch.sigmoid(v)) * (v.abs() < 6)
            return gz * (u > theta), (-(theta / eps) * slope * gz - slope / eps * gh).sum(0)

    u = (x.double() - p["b_dec"]) @ p["W_enc"] + p["b_enc"]
    z, step = Naive.apply(u, p["threshold"])
    naive = (z @ p["W_dec"] + p["b_dec"] - x).pow(2).sum(1).mean() + lam * step.sum(1).mean()
    losses = sae.losses(x, dead=none_dead(), warmth=1.0)
    assert losses.total.item() == pytest.approx(naive.item(), rel=1e-5)
    losses.total.backward()
    naive.backward()
    assert_same_gradients(sae, p)
    assert sae.threshold.grad.abs().max() > 0 and jumprelu.REACH["sigmoid"] == 6


@pytest.mark.parametrize("kind", ["mean", "zero", "geometric_median"])
def test_the_decoders_bias_begins_as_asked(kind):
    from core.training import starting

    x = batch().double()
    x[0] += 1e3  # which moves a mean, and no median
    begun = starting.b_dec(kind, x.float()).double()
    if kind == "zero":
        assert not begun.any()
    elif kind == "mean":
        torch.testing.assert_close(begun, x.mean(0), rtol=1e-4, atol=1e-4)
    else:
        here = (x - begun).norm(dim=1).sum()
        for step in torch.randn(50, D_IN, generator=torch.Generator().manual_seed(4)).double():
            assert (x - begun - 0.05 * step).norm(dim=1).sum() > here

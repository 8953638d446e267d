"""Each architecture's code, loss and gradients against a naive float64 version."""

import pytest
import torch

from core.sae import sparse_ops
from core.sae.batchtopk import BatchTopK
from core.sae.gated import Gated
from core.sae.jumprelu import JumpReLU
from core.sae.matryoshka import Matryoshka
from core.sae.relu import ReLU
from core.sae.topk import TopK

N, D_IN, D_SAE, K = 50, 12, 40, 5


def positive(sae):
    """With thresholds and magnitudes that are not those it begins with."""
    with torch.no_grad():
        for name in set(sae.names) & {"threshold", "r_mag", "b_mag"}:
            getattr(sae, name).add_(0.2)
    return sae


EACH = [
    lambda: TopK(D_IN, D_SAE, K),
    lambda: ReLU(D_IN, D_SAE),
    lambda: positive(JumpReLU(D_IN, D_SAE)),
    lambda: positive(Gated(D_IN, D_SAE)),
    lambda: positive(BatchTopK(D_IN, D_SAE, K)),
    lambda: positive(Matryoshka(D_IN, D_SAE, K)),
]


def initialised(sae, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sae.initialise(torch.randn(D_IN, generator=generator), generator)
    with torch.no_grad():
        sae.b_enc += 0.1 * torch.randn(D_SAE, generator=generator)
        sae.W_enc += 0.1 * torch.randn(D_IN, D_SAE, generator=generator)
    return sae


def batch(seed=1):
    return torch.randn(N, D_IN, generator=torch.Generator().manual_seed(seed))


def doubles(sae):
    return {n: p.detach().double().requires_grad_() for n, p in sae.named_parameters()}


def naive_topk(p, x, k, subtract=True):
    """The code row by row, as the definition reads."""
    u = naive_u(p, x, subtract)
    z = torch.zeros_like(u)
    for t in range(len(x)):
        for j in u[t].argsort(descending=True)[:k]:
            z[t, j] = u[t, j].clamp_min(0)
    return u, z


def assert_same_gradients(sae, p):
    for name, parameter in sae.named_parameters():
        torch.testing.assert_close(parameter.grad.double(), p[name].grad, rtol=1e-4, atol=1e-5, msg=name)


@pytest.fixture(params=["sparse", "dense"])
def path(request, monkeypatch):
    """Each loss on the sparse path, and on the dense one."""
    monkeypatch.setattr(
        sparse_ops.Encoder.above, "__kwdefaults__", {"at_most": 1.0 if request.param == "sparse" else 0}
    )


def test_topk_loss_and_gradients_equal_the_naive_ones():
    sae, x = initialised(TopK(D_IN, D_SAE, K)), batch()
    losses = sae.losses(x, dead=torch.zeros(D_SAE, dtype=torch.bool), warmth=1.0)
    losses.total.backward()
    p = doubles(sae)
    _, z = naive_topk(p, x.double(), K)
    expected = ((z @ p["W_dec"] + p["b_dec"] - x.double()) ** 2).sum(1).mean()
    expected.backward()
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses.l0.item() == pytest.approx((z > 0).sum(1).double().mean().item())
    assert losses.l1.item() == pytest.approx(z.sum(1).mean().item(), rel=1e-5)
    assert torch.equal(losses.fired, (z > 0).sum(0))
    assert_same_gradients(sae, p)


@pytest.mark.parametrize("subtract", [True, False])
def test_topk_auxiliary_loss_and_gradients_equal_the_naive_ones(subtract):
    sae = initialised(TopK(D_IN, D_SAE, K, aux_coefficient=0.25, apply_b_dec_to_input=subtract))
    x = batch()
    dead = torch.zeros(D_SAE, dtype=torch.bool)
    dead[[1, 7, 8, 20]] = True
    losses = sae.losses(x, dead=dead, warmth=1.0)
    losses.total.backward()
    p = doubles(sae)
    u, z = naive_topk(p, x.double(), K, subtract)
    x_hat = z @ p["W_dec"] + p["b_dec"]
    residual = (x.double() - x_hat).detach()
    k_aux = D_IN // 2
    z_dead = (u * dead).clamp_min(0)  # only 4 are dead, fewer than k_aux: all of them are taken
    aux = 0.25 * (4 / k_aux) * ((residual - z_dead @ p["W_dec"]) ** 2).sum(1).mean()
    (((x_hat - x.double()) ** 2).sum(1).mean() + aux).backward()
    assert losses.aux.item() == pytest.approx(aux.item(), rel=1e-5)
    assert_same_gradients(sae, p)


def test_topk_auxiliary_loss_takes_only_the_largest_of_many_dead_features():
    sae, x = initialised(TopK(D_IN, D_SAE, K)), batch()
    dead = torch.ones(D_SAE, dtype=torch.bool)
    residual = batch(5)
    u = (x.double() - sae.b_dec.double()) @ sae.W_enc.double() + sae.b_enc.double()
    z = torch.zeros_like(u)
    for t in range(N):
        for j in u[t].argsort(descending=True)[: D_IN // 2]:
            z[t, j] = u[t, j].clamp_min(0)
    expected = sae.aux_coefficient * ((residual.double() - z @ sae.W_dec.double()) ** 2).sum(1).mean()
    assert sae.auxiliary_loss(x, x - residual, dead).item() == pytest.approx(expected.item(), rel=1e-5)


def test_relu_loss_and_gradients_equal_the_naive_ones(path):
    sae, x = initialised(ReLU(D_IN, D_SAE, l1_coefficient=0.3)), batch()
    with torch.no_grad():
        sae.W_dec *= torch.rand(D_SAE, 1, generator=torch.Generator().manual_seed(2)) + 0.5
    losses = sae.losses(x, dead=torch.zeros(D_SAE, dtype=torch.bool), warmth=0.5)
    losses.total.backward()
    p = doubles(sae)
    z = ((x.double() - p["b_dec"]) @ p["W_enc"] + p["b_enc"]).clamp_min(0)
    mse = ((z @ p["W_dec"] + p["b_dec"] - x.double()) ** 2).sum(1).mean()
    penalty = 0.5 * 0.3 * (z * p["W_dec"].norm(dim=1)).sum(1).mean()
    (mse + penalty).backward()
    assert losses.mse.item() == pytest.approx(mse.item(), rel=1e-5)
    assert losses.sparsity.item() == pytest.approx(penalty.item(), rel=1e-5)
    assert_same_gradients(sae, p)


@pytest.mark.parametrize("make", EACH)
def test_the_sparse_code_holds_the_dense_codes_positive_entries(make):
    sae, x = initialised(make()), batch()
    z, code = sae.encode(x), sae.encode_sparse(x)
    dense = torch.zeros_like(z)
    dense[code.row, code.feature] = code.value
    assert torch.equal(dense, z)
    assert (code.value > 0).all() and (code.row.diff() >= 0).all()


@pytest.mark.parametrize("make", EACH)
def test_a_folded_scale_takes_raw_activations_to_the_same_reconstruction(make):
    sae, x = initialised(make()), batch()
    scale = 3.7
    scaled = sae(x * scale) / scale
    code = sae.encode(x * scale) / scale
    sae.fold_scale(scale)
    torch.testing.assert_close(sae(x), scaled, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sae.encode(x), code, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [EACH[1], EACH[2], EACH[3]])
def test_folded_decoder_norms_leave_the_reconstruction_as_it_was(make):
    sae, x = initialised(make()), batch()
    with torch.no_grad():
        sae.W_dec *= torch.rand(D_SAE, 1, generator=torch.Generator().manual_seed(2)) + 0.5
    before = sae(x)
    sae.fold_decoder_norms()
    torch.testing.assert_close(sae(x), before, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(D_SAE))


def test_the_constraint_keeps_unit_rows_and_gradients_across_them():
    sae, x = initialised(TopK(D_IN, D_SAE, K)), batch()
    optimizer = torch.optim.Adam(sae.parameters(), lr=1e-2, fused=True)
    sae.losses(x, dead=torch.zeros(D_SAE, dtype=torch.bool), warmth=1.0).total.backward()
    sae.constrain_gradients()
    assert (sae.W_dec.grad * sae.W_dec).sum(1).abs().max() < 1e-5
    optimizer.step()
    sae.constrain()
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(D_SAE))


def test_the_same_batch_gives_the_same_bits():
    grads = []
    for _ in range(2):
        sae = initialised(TopK(D_IN, D_SAE, K))
        sae.losses(batch(), dead=torch.zeros(D_SAE, dtype=torch.bool), warmth=1.0).total.backward()
        grads.append([p.grad for p in sae.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def none_dead():
    return torch.zeros(D_SAE, dtype=torch.bool)


def naive_u(p, x, subtract=True):
    return (x.double() - (p["b_dec"] if subtract else 0)) @ p["W_enc"] + p["b_enc"]


def naive_error(p, z, x):
    return ((z @ p["W_dec"] + p["b_dec"] - x.double()) ** 2).sum(1).mean()


def passing(u, threshold, bandwidth, slope):
    """A term of value 0 whose gradient to the threshold is `-slope/bandwidth` where u is near it."""
    near = (((u - threshold) / bandwidth).abs() < 0.5).double().detach()
    return -(slope / bandwidth).detach() * near * (threshold - threshold.detach())


@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize("penalty", ["step", "tanh", "quadratic"])
def test_jumprelu_loss_and_gradients_equal_the_naive_ones(penalty, subtract, path):
    sae = initialised(
        JumpReLU(
            D_IN, D_SAE, penalty=penalty, l0_coefficient=0.4, target_l0=7.0, bandwidth=0.6, pre_act_coefficient=0.2,
            apply_b_dec_to_input=subtract,
        )
    )  # fmt: skip
    x, dead = batch(), none_dead()
    dead[[2, 9, 30]] = True
    with torch.no_grad():
        sae.threshold.copy_(torch.rand(D_SAE, generator=torch.Generator().manual_seed(4)) * 1.5)
    losses = sae.losses(x, dead=dead, warmth=0.5)
    losses.total.backward()
    p = doubles(sae)
    u, theta = naive_u(p, x, subtract), p["threshold"]
    active = (u > theta).double()
    z = u * active + passing(u, theta, 0.6, theta.expand_as(u))
    norms = p["W_dec"].norm(dim=1)
    l0 = (active + passing(u.detach(), theta, 0.6, torch.ones_like(u))).sum(1)
    each = {"step": l0, "tanh": torch.tanh(4 * z * norms).sum(1), "quadratic": 2 / 7.0 * (l0 - 7.0) ** 2}[penalty]
    lift = 0.2 * ((theta - u).clamp_min(0) * norms)[:, dead].sum(1).mean()
    mse, sparsity = naive_error(p, z, x), 0.5 * 0.4 * each.mean()
    (mse + sparsity + lift).backward()
    assert losses.mse.item() == pytest.approx(mse.item(), rel=1e-5)
    assert losses.sparsity.item() == pytest.approx(sparsity.item(), rel=1e-5)
    assert losses.aux.item() == pytest.approx(lift.item(), rel=1e-5)
    assert losses.l0.item() == pytest.approx(active.sum(1).mean().item())
    assert torch.equal(losses.fired, active.sum(0))
    assert_same_gradients(sae, p)


def test_jumprelus_thresholds_stay_positive_and_its_rows_at_unit_norm():
    sae = initialised(JumpReLU(D_IN, D_SAE))
    with torch.no_grad():
        sae.threshold -= 1
        sae.W_dec *= 3
    sae.constrain()
    assert (sae.threshold == 0).all()
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(D_SAE))


@pytest.mark.parametrize("subtract", [True, False])
def test_gated_loss_and_gradients_equal_the_naive_ones(subtract, path):
    sae, x = initialised(Gated(D_IN, D_SAE, l1_coefficient=0.3, apply_b_dec_to_input=subtract)), batch()
    with torch.no_grad():
        sae.r_mag += 0.3 * torch.randn(D_SAE, generator=torch.Generator().manual_seed(4))
        sae.b_mag += 0.3 * torch.randn(D_SAE, generator=torch.Generator().manual_seed(5))
    losses = sae.losses(x, dead=none_dead(), warmth=0.5)
    losses.total.backward()
    p = doubles(sae)
    gate = naive_u(p, x, subtract)
    product = gate - p["b_enc"]
    z = (gate > 0) * (product * p["r_mag"].exp() + p["b_mag"]).clamp_min(0)
    mse = naive_error(p, z, x)
    sparsity = 0.5 * 0.3 * (gate.clamp_min(0) * p["W_dec"].norm(dim=1)).sum(1).mean()
    by_gate = naive_error(p, gate.clamp_min(0), x)
    (mse + sparsity + by_gate).backward()
    assert losses.mse.item() == pytest.approx(mse.item(), rel=1e-5)
    assert losses.sparsity.item() == pytest.approx(sparsity.item(), rel=1e-5)
    assert losses.aux.item() == pytest.approx(by_gate.item(), rel=1e-5)
    assert_same_gradients(sae, p)


def naive_batchtopk(p, x, k):
    u = naive_u(p, x)
    least = u.detach().clamp_min(0).flatten().sort(descending=True).values[k * len(x) - 1]
    return u * ((u >= least) & (u > 0)), least


def test_batchtopk_loss_and_gradients_equal_the_naive_ones():
    sae, x = initialised(BatchTopK(D_IN, D_SAE, K)), batch()
    for _ in range(2):  # the second time with candidates from the threshold of the first
        sae.zero_grad()
        before = sae.threshold.item()
        losses = sae.losses(x, dead=none_dead(), warmth=1.0)
        losses.total.backward()
        p = doubles(sae)
        z, least = naive_batchtopk(p, x, K)
        mse = naive_error(p, z, x)
        mse.backward()
        assert losses.total.item() == pytest.approx(mse.item(), rel=1e-5)
        assert losses.l0.item() == pytest.approx(K)
        expected = before + 0.1 * (least.item() - before) if before else least.item()
        assert sae.threshold.item() == pytest.approx(expected, rel=1e-5)
        assert_same_gradients(sae, p)
    z = sae.encode(x)
    assert torch.equal(z, torch.where(sae.pre_activations(x) > sae.threshold, sae.pre_activations(x), 0.0))


def test_batchtopk_keeps_what_is_positive_where_that_is_less_than_k():
    sae, x = initialised(BatchTopK(D_IN, D_SAE, K)), batch()
    with torch.no_grad():
        sae.b_enc -= 2.5
        sae.threshold.fill_(1.0)
    positive = int((sae.pre_activations(x) > 0).sum())
    assert 0 < positive < K * N
    assert round(sae.losses(x, dead=none_dead(), warmth=1.0).l0.item() * N) == positive
    with torch.no_grad():
        sae.b_enc -= 50
    before = sae.threshold.item()
    losses = sae.losses(x, dead=none_dead(), warmth=1.0)
    losses.total.backward()
    assert losses.l0.item() == 0 and sae.threshold.item() == before


def test_matryoshka_loss_and_gradients_equal_the_naive_ones():
    sae, x = initialised(Matryoshka(D_IN, D_SAE, K, levels=3)), batch()
    assert sae.widths == (10, 20, 40)
    losses = sae.losses(x, dead=none_dead(), warmth=1.0)
    losses.total.backward()
    p = doubles(sae)
    z, _ = naive_batchtopk(p, x, K)
    errors = [naive_error({**p, "W_dec": p["W_dec"][:m]}, z[:, :m], x) for m in sae.widths]
    sum(errors).backward()
    assert losses.mse.item() == pytest.approx(errors[-1].item(), rel=1e-5)
    assert losses.aux.item() == pytest.approx((errors[0] + errors[1]).item(), rel=1e-5)
    assert_same_gradients(sae, p)


@pytest.mark.parametrize("make", [JumpReLU, Gated, ReLU])
def test_without_b_dec_in_the_encoder_the_loss_reads_what_the_encoder_does(make):
    sae, x = initialised(make(D_IN, D_SAE, apply_b_dec_to_input=False)), batch()
    losses = sae.losses(x, dead=none_dead(), warmth=1.0)
    losses.total.backward()
    assert losses.l0.item() == pytest.approx((sae.encode(x) > 0).sum(1).double().mean().item())
    assert sae.b_dec.grad is not None

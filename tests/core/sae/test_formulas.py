"""Each architecture's code, loss and gradients against a naive float64 version."""

import pytest
import torch

from core.sae.relu import ReLU
from core.sae.topk import TopK

N, D_IN, D_SAE, K = 50, 12, 40, 5


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


def naive_topk(p, x, k):
    """The code row by row, as the definition reads."""
    u = (x - p["b_dec"]) @ p["W_enc"] + p["b_enc"]
    z = torch.zeros_like(u)
    for t in range(len(x)):
        for j in u[t].argsort(descending=True)[:k]:
            z[t, j] = u[t, j].clamp_min(0)
    return u, z


def assert_same_gradients(sae, p):
    for name, parameter in sae.named_parameters():
        torch.testing.assert_close(parameter.grad.double(), p[name].grad, rtol=1e-4, atol=1e-5, msg=name)


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
    assert torch.equal(losses.fired, (z > 0).any(0))
    assert_same_gradients(sae, p)


def test_topk_auxiliary_loss_and_gradients_equal_the_naive_ones():
    sae, x = initialised(TopK(D_IN, D_SAE, K, aux_coefficient=0.25)), batch()
    dead = torch.zeros(D_SAE, dtype=torch.bool)
    dead[[1, 7, 8, 20]] = True
    losses = sae.losses(x, dead=dead, warmth=1.0)
    losses.total.backward()
    p = doubles(sae)
    u, z = naive_topk(p, x.double(), K)
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
    assert sae.auxiliary_loss(x, residual, dead).item() == pytest.approx(expected.item(), rel=1e-5)


def test_relu_loss_and_gradients_equal_the_naive_ones():
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


@pytest.mark.parametrize("make", [lambda: TopK(D_IN, D_SAE, K), lambda: ReLU(D_IN, D_SAE)])
def test_the_sparse_code_holds_the_dense_codes_positive_entries(make):
    sae, x = initialised(make()), batch()
    z, code = sae.encode(x), sae.encode_sparse(x)
    dense = torch.zeros_like(z)
    dense[code.row, code.feature] = code.value
    assert torch.equal(dense, z)
    assert (code.value > 0).all() and (code.row.diff() >= 0).all()


@pytest.mark.parametrize("make", [lambda: TopK(D_IN, D_SAE, K), lambda: ReLU(D_IN, D_SAE)])
def test_a_folded_scale_takes_raw_activations_to_the_same_reconstruction(make):
    sae, x = initialised(make()), batch()
    scale = 3.7
    scaled = sae(x * scale) / scale
    code = sae.encode(x * scale) / scale
    sae.fold_scale(scale)
    torch.testing.assert_close(sae(x), scaled, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sae.encode(x), code, rtol=1e-4, atol=1e-5)


def test_folded_decoder_norms_leave_relus_reconstruction_as_it_was():
    sae, x = initialised(ReLU(D_IN, D_SAE)), batch()
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

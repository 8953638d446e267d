"""Ours beside the real sae-lens package: codes, reconstructions, losses, files, metrics. Runs in .venv-peers.

What is another there, by choice:

    topk        dead features add no negative value to the auxiliary loss: a code never holds one. Decoder rows are
                kept at unit norm, where theirs ranks by u · ‖W_dec[j]‖ and lets gradients flow through the norms
    batchtopk   the threshold follows ten times as fast, and chooses over the batch of all processes
    jumprelu    decoder rows are kept at unit norm besides
    metrics     relative_reconstruction_bias is a ratio of sums over all batches, not a mean of their ratios
"""

import pytest
import sae_lens
import torch

from core.evaluate import Reconstruction
from core.sae import files, registry
from core.sae.batchtopk import BatchTopK
from core.sae.gated import Gated
from core.sae.jumprelu import JumpReLU
from core.sae.matryoshka import Matryoshka
from core.sae.relu import ReLU
from core.sae.topk import TopK
from tests import releases

D_IN, D_SAE, K = 16, 64, 6
METADATA = {
    "model_name": "toy",
    "hook_name": "blocks.1.hook_resid_post",
    "prepend_bos": True,
    "context_size": 32,
}


def initialised(sae, *, unit=False):
    generator = torch.Generator().manual_seed(0)
    sae.initialise(torch.randn(D_IN, generator=generator), generator)
    with torch.no_grad():
        sae.b_enc += 0.1 * torch.randn(D_SAE, generator=generator)
        if not unit:
            sae.W_dec *= torch.rand(D_SAE, 1, generator=generator) * 2 + 0.3
    return sae


def batch(rows=200):
    return torch.randn(rows, D_IN, generator=torch.Generator().manual_seed(1))


def gated(**options):
    """With magnitudes unlike those it begins with."""
    sae = Gated(D_IN, D_SAE, **options)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        sae.r_mag += 0.3 * torch.randn(D_SAE, generator=generator)
        sae.b_mag += 0.3 * torch.randn(D_SAE, generator=generator)
    return sae


def jumprelu(**options):
    """With thresholds unlike those it begins with."""
    sae = JumpReLU(D_IN, D_SAE, **options)
    with torch.no_grad():
        sae.threshold.copy_(torch.rand(D_SAE, generator=torch.Generator().manual_seed(5)))
    return sae


def batchtopk(kind=BatchTopK):
    """With a threshold."""
    sae = kind(D_IN, D_SAE, K)
    sae.threshold.fill_(0.8)
    return sae


def matryoshka():
    """With a threshold."""
    return batchtopk(Matryoshka)


@pytest.mark.parametrize(
    "make", [lambda: TopK(D_IN, D_SAE, K), lambda: ReLU(D_IN, D_SAE), gated, jumprelu, batchtopk, matryoshka]
)
def test_what_we_write_sae_lens_loads_and_runs_to_the_same_output(make, tmp_path):
    sae, x = initialised(make()), batch()
    files.save(sae, tmp_path / "sae", METADATA)
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "sae")
    torch.testing.assert_close(theirs.encode(x), sae.encode(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(theirs(x), sae(x), rtol=1e-5, atol=1e-5)
    assert theirs.cfg.metadata.hook_name == METADATA["hook_name"]


def their_topk(rescale):
    cfg = sae_lens.TopKSAEConfig(d_in=D_IN, d_sae=D_SAE, k=K, rescale_acts_by_decoder_norm=rescale)
    return sae_lens.TopKSAE(cfg)


def their_standard():
    return sae_lens.StandardSAE(sae_lens.StandardSAEConfig(d_in=D_IN, d_sae=D_SAE))


def their_gated():
    return sae_lens.GatedSAE(sae_lens.GatedSAEConfig(d_in=D_IN, d_sae=D_SAE))


def their_jumprelu():
    return sae_lens.JumpReLUSAE(sae_lens.JumpReLUSAEConfig(d_in=D_IN, d_sae=D_SAE))


def saved(theirs, folder):
    """With random weights, in a folder as sae-lens writes it."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    theirs.cfg.metadata.hook_name = "blocks.1.hook_resid_post"
    theirs.save_model(folder)
    return folder


@pytest.mark.parametrize(
    "make", [lambda: their_topk(False), lambda: their_topk(True), their_standard, their_gated, their_jumprelu]
)
def test_what_sae_lens_writes_we_load_and_run_to_the_same_output(make, tmp_path):
    theirs, x = make(), batch()
    sae = files.load(saved(theirs, tmp_path / "theirs"))
    torch.testing.assert_close(sae(x), theirs(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sae.encode(x), theirs.encode(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["constant_norm_rescale", "layer_norm"])
@pytest.mark.parametrize("make", [lambda: their_topk(False), their_standard, their_jumprelu])
def test_activations_normalised_one_by_one_are_read_and_written_as_theirs(make, kind, tmp_path):
    theirs, x = make(), 3 + batch()
    theirs.cfg.normalize_activations = kind
    theirs = sae_lens.SAE.load_from_disk(saved(theirs, tmp_path / "theirs"), device="cpu")
    sae = files.load(tmp_path / "theirs")
    torch.testing.assert_close(sae(x), theirs(x), rtol=1e-4, atol=1e-4)
    files.save(sae, tmp_path / "ours", {"model_name": "m", "hook_name": "blocks.1.hook_resid_post"})
    again = sae_lens.SAE.load_from_disk(tmp_path / "ours", device="cpu")
    torch.testing.assert_close(again(x), sae(x), rtol=1e-4, atol=1e-4)


def test_what_theirs_has_not_they_refuse(tmp_path):
    sae = TopK(D_IN, D_SAE, K)
    sae.per_token, sae.centre = "unit_norm", torch.ones(D_IN)
    files.save(sae, tmp_path / "ours", {"model_name": "m", "hook_name": "blocks.1.hook_resid_post"})
    with pytest.raises(Exception, match="centre|centred"):
        sae_lens.SAE.load_from_disk(tmp_path / "ours", device="cpu")


THEIR = {"b_enc": "b_gate"}


def named(ours, name, theirs):
    """A tensor of theirs by our name."""
    return getattr(theirs, THEIR.get(name, name) if isinstance(ours, Gated) else name)


def copied(ours, theirs):
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            named(ours, name, theirs).copy_(parameter)
    return theirs


def their_losses(theirs, x, dead, coefficients):
    from sae_lens.saes.sae import TrainStepInput

    step = TrainStepInput(
        sae_in=x, coefficients=coefficients, dead_neuron_mask=dead, n_training_steps=0, is_logging_step=False
    )
    return theirs.training_forward_pass(step)


def assert_same_gradients(ours, theirs):
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad,
            named(ours, name, theirs).grad,
            rtol=1e-3,
            atol=1e-4,
            msg=lambda m, n=name: f"{n}: {m}",
        )


@pytest.mark.parametrize("n_dead", [0, 3, 40])
def test_topk_loss_auxiliary_loss_and_gradients_equal_sae_lens(n_dead):
    ours, x = initialised(TopK(D_IN, D_SAE, K, aux_coefficient=0.5), unit=True), batch()
    theirs = copied(
        ours,
        sae_lens.TopKTrainingSAE(sae_lens.TopKTrainingSAEConfig(d_in=D_IN, d_sae=D_SAE, k=K, aux_loss_coefficient=0.5)),
    )
    dead = torch.zeros(D_SAE, dtype=torch.bool)
    dead[:n_dead] = True
    if n_dead == 3:  # where all dead pre-activations are positive our relu changes nothing
        with torch.no_grad():
            ours.b_enc[:n_dead] += 20
            theirs.b_enc[:n_dead] += 20
    losses = ours.losses(x, dead=dead, warmth=1.0)
    out = their_losses(theirs, x, dead, {})
    assert losses.mse.item() == pytest.approx(out.losses["mse_loss"].item(), rel=1e-5)
    assert losses.aux.item() == pytest.approx(
        torch.as_tensor(out.losses["auxiliary_reconstruction_loss"]).item(), rel=1e-4
    )
    losses.total.backward()
    out.loss.backward()
    # Unit rows: ranking by u and by u·d is the same, but theirs lets gradients flow through the norms besides. What
    # is left across the rows, which our constraint keeps, must agree.
    ours.constrain_gradients()
    along = (theirs.W_dec.grad * theirs.W_dec).sum(1, keepdim=True)
    theirs.W_dec.grad -= along * theirs.W_dec.detach()
    assert_same_gradients(ours, theirs)


def test_relu_loss_and_gradients_equal_sae_lens():
    ours, x = initialised(ReLU(D_IN, D_SAE, l1_coefficient=0.7)), batch()
    theirs = copied(
        ours,
        sae_lens.StandardTrainingSAE(sae_lens.StandardTrainingSAEConfig(d_in=D_IN, d_sae=D_SAE, l1_coefficient=0.7)),
    )
    losses = ours.losses(x, dead=torch.zeros(D_SAE, dtype=torch.bool), warmth=1.0)
    out = their_losses(theirs, x, None, {"l1": 0.7})
    assert losses.total.item() == pytest.approx(out.loss.item(), rel=1e-5)
    assert losses.sparsity.item() == pytest.approx(out.losses["l1_loss"].item(), rel=1e-5)
    losses.total.backward()
    out.loss.backward()
    assert_same_gradients(ours, theirs)


def test_gated_loss_and_gradients_equal_sae_lens():
    ours, x = initialised(gated(l1_coefficient=0.7)), batch()
    theirs = copied(
        ours, sae_lens.GatedTrainingSAE(sae_lens.GatedTrainingSAEConfig(d_in=D_IN, d_sae=D_SAE, l1_coefficient=0.7))
    )
    losses = ours.losses(x, dead=torch.zeros(D_SAE, dtype=torch.bool), warmth=1.0)
    out = their_losses(theirs, x, None, {"l1": 0.7})
    assert losses.total.item() == pytest.approx(out.loss.item(), rel=1e-5)
    losses.total.backward()
    out.loss.backward()
    assert_same_gradients(ours, theirs)


@pytest.mark.parametrize("penalty", ["step", "tanh", "quadratic"])
def test_jumprelu_loss_and_gradients_equal_sae_lens(penalty):
    ours = jumprelu(penalty=penalty, l0_coefficient=0.3, target_l0=9.0, bandwidth=0.4, pre_act_coefficient=0.1)
    ours, x = initialised(ours), batch()
    config = sae_lens.JumpReLUTrainingSAEConfig(
        d_in=D_IN, d_sae=D_SAE, l0_coefficient=0.3, jumprelu_bandwidth=0.4, pre_act_loss_coefficient=0.1,
        jumprelu_sparsity_loss_mode=penalty, target_l0=9.0, jumprelu_tanh_scale=4.0,
    )  # fmt: skip
    theirs = copied(ours, sae_lens.JumpReLUTrainingSAE(config))
    dead = torch.zeros(D_SAE, dtype=torch.bool)
    dead[:5] = True
    losses = ours.losses(x, dead=dead, warmth=1.0)
    out = their_losses(theirs, x, dead, {"l0": 0.3})
    assert losses.total.item() == pytest.approx(out.loss.item(), rel=1e-5)
    losses.total.backward()
    out.loss.backward()
    assert_same_gradients(ours, theirs)


@pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka"])
def test_batchtopk_and_matryoshka_losses_and_gradients_equal_sae_lens(architecture):
    if architecture == "batchtopk":
        ours = BatchTopK(D_IN, D_SAE, K)
        theirs = sae_lens.BatchTopKTrainingSAE(
            sae_lens.BatchTopKTrainingSAEConfig(d_in=D_IN, d_sae=D_SAE, k=K, rescale_acts_by_decoder_norm=False)
        )
    else:
        ours = Matryoshka(D_IN, D_SAE, K, levels=3)
        theirs = sae_lens.MatryoshkaBatchTopKTrainingSAE(
            sae_lens.MatryoshkaBatchTopKTrainingSAEConfig(
                d_in=D_IN, d_sae=D_SAE, k=K, matryoshka_widths=list(ours.widths), rescale_acts_by_decoder_norm=False
            )
        )
    ours, x = initialised(ours, unit=True), batch()
    theirs = copied(ours, theirs)
    losses = ours.losses(x, dead=torch.zeros(D_SAE, dtype=torch.bool), warmth=1.0)
    out = their_losses(theirs, x, None, {})
    assert losses.total.item() == pytest.approx(out.loss.item(), rel=1e-5)
    losses.total.backward()
    out.loss.backward()
    assert_same_gradients(ours, theirs)


def test_reconstruction_metrics_equal_those_of_sae_lens_evals():
    from sae_lens.evals import get_sparsity_and_variance_metrics  # noqa: F401  the definitions below are its own

    sae, x = initialised(TopK(D_IN, D_SAE, K), unit=True), batch()
    z = sae.encode(x)
    x_hat = sae.decode(z)
    sums = Reconstruction(D_IN, D_SAE, torch.device("cpu"))
    sums.add(x, z, x_hat)
    found = sums.metrics()
    error = (x - x_hat).pow(2).sum(-1)
    variance = x.pow(2).sum(-1).mean() - x.mean(0).pow(2).sum()
    assert found["explained_variance"] == pytest.approx((1 - error.mean() / variance).item(), rel=1e-4)
    assert found["mse"] == pytest.approx(error.mean().item(), rel=1e-5)
    assert found["l0"] == pytest.approx((z > 0).sum(-1).float().mean().item())


def test_the_copy_of_the_list_of_releases_is_what_its_maker_makes():
    assert registry._copied() == releases.slim(registry.releases())

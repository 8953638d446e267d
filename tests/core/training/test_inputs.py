"""What is done to activations before they train: formulas, and that an SAE takes raw ones afterwards."""

import pytest
import torch

from core.sae import files
from core.sae.gated import Gated
from core.sae.jumprelu import JumpReLU
from core.sae.relu import ReLU
from core.sae.topk import TopK
from core.training.inputs import Inputs

D_IN, D_SAE = 12, 40
KINDS = ("none", "average_norm", "standardize", "unit_norm", "layer_norm")
MAKES = [
    lambda **k: TopK(D_IN, D_SAE, 5, **k), lambda **k: ReLU(D_IN, D_SAE, **k), lambda **k: JumpReLU(D_IN, D_SAE, **k),
    lambda **k: Gated(D_IN, D_SAE, **k),
]  # fmt: skip


def raw(n=200, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 5 + torch.randn(n, D_IN, generator=generator) * (1 + torch.arange(D_IN))


def begun(sae):
    sae.initialise(0.1 * torch.ones(D_IN), torch.Generator().manual_seed(1))
    with torch.no_grad():
        for name in set(sae.names) - {"W_enc", "W_dec"}:
            weights = getattr(sae, name)
            weights += 0.1 * torch.rand(weights.shape, generator=torch.Generator().manual_seed(2))
    return sae


@pytest.mark.parametrize("kind", KINDS)
def test_the_formula_is_the_naive_one(kind):
    x = raw()
    row, d = x.double(), D_IN**0.5
    naive = {
        "none": row,
        "average_norm": row * d / row.norm(dim=1).mean(),
        "standardize": (row - row.mean(0)) / row.std(0, correction=0),
        "unit_norm": torch.stack([d * (r - row.mean(0)) / (r - row.mean(0)).norm() for r in row]),
        "layer_norm": torch.stack([(r - r.mean()) / (r.std() + 1e-5) for r in row]),
    }[kind]
    torch.testing.assert_close(Inputs.fitted(kind, x).apply(x).double(), naive, rtol=1e-4, atol=1e-5)


def test_a_dimension_that_never_changes_is_not_blown_up():
    x = raw()
    x[:, 3] = 7.0
    assert Inputs.fitted("standardize", x).apply(x).abs().max() < 100


@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("kind", KINDS)
def test_folded_an_sae_takes_raw_activations_and_unfolded_it_is_as_before(kind, make, subtract):
    x = raw()
    inputs = Inputs.fitted(kind, x)
    sae = begun(make(apply_b_dec_to_input=subtract))
    before = {name: getattr(sae, name).detach().clone() for name in sae.names}
    inside = sae(inputs.apply(x)).detach()
    back = {
        "none": inside,
        "average_norm": inside / inputs.scale,
        "standardize": inside * inputs.deviation + inputs.mean,
        "unit_norm": inside * (x - inputs.mean).norm(dim=1, keepdim=True) / D_IN**0.5 + inputs.mean,
        "layer_norm": inside * x.std(dim=1, keepdim=True) + x.mean(dim=1, keepdim=True),
    }[kind]
    inputs.fold(sae)
    torch.testing.assert_close(sae(x).detach(), back, rtol=1e-3, atol=1e-3)
    inputs.unfold(sae)
    for name, value in before.items():
        torch.testing.assert_close(getattr(sae, name).detach(), value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("kind", ["unit_norm", "layer_norm"])
def test_normalised_one_by_one_codes_are_in_raw_units_and_files_hold_it(kind, make, tmp_path):
    x = raw()
    sae = begun(make())
    Inputs.fitted(kind, x).fold(sae)
    z, code = sae.encode(x), sae.encode_sparse(x)
    dense = torch.zeros_like(z)
    dense[code.row, code.feature] = code.value
    torch.testing.assert_close(dense, z)
    changed = z.detach().clone()
    changed[:, 3] += 2.0  # what an edit adds to the code is added to the residual stream by its decoder row
    torch.testing.assert_close(
        sae.decode(changed, x) - sae.decode(z, x), 2.0 * sae.W_dec[3].expand_as(x), rtol=1e-4, atol=1e-4
    )
    files.save(sae, tmp_path / "sae", {"model_name": "m", "hook_name": "h"})
    read = files.load(tmp_path / "sae")
    assert torch.equal(read(x), sae(x))


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_gives_back_what_was_estimated(kind):
    x = raw()
    inputs = Inputs.fitted(kind, x)
    again = Inputs.restored(kind, {"other": 1, **inputs.state()})
    assert torch.equal(again.apply(x), inputs.apply(x)) and again.told(9) == inputs.told(9)

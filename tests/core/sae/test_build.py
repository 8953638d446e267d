"""From a configuration to an SAE."""

from typing import get_args

import pytest
import torch

from core import config
from core.errors import ConfigError
from core.options import SaeConfig
from core.sae import files
from core.sae.build import build

ARCHITECTURES = get_args(SaeConfig.model_fields["architecture"].annotation)


def configured(architecture, **values):
    return config.parse({"sae": {"architecture": architecture, "d_sae": 48, "k": 4, "target_l0": 4, **values}}).sae


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_architecture_is_built_trained_a_step_and_written(architecture, tmp_path):
    sae = build(configured(architecture), 12)
    x = torch.randn(64, 12, generator=torch.Generator().manual_seed(1))
    sae.initialise(x.mean(0), torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(sae.parameters(), lr=1e-2)
    seen = []
    for _ in range(30):
        losses = sae.losses(x, dead=torch.zeros(48, dtype=torch.bool), warmth=0.1)
        optimizer.zero_grad()
        losses.total.backward()
        sae.constrain_gradients()
        optimizer.step()
        sae.constrain()
        seen.append(losses.mse.item())
    assert sae.architecture == architecture and seen[-1] < 0.7 * seen[0]
    files.save(sae, tmp_path / "sae", {"model_name": "toy", "hook_name": "blocks.0.hook_resid_post"})
    torch.testing.assert_close(files.load(tmp_path / "sae")(x), sae(x))


@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "matryoshka"])
def test_more_active_features_than_there_are_is_refused(architecture):
    with pytest.raises(ConfigError, match=r"sae.k = 4 is larger than the 2 features"):
        build(configured(architecture, d_sae=None, expansion=0.125), 16)
    with pytest.raises(ConfigError, match="larger than d_sae"):
        configured(architecture, k=100)


def test_a_quadratic_penalty_needs_its_target():
    with pytest.raises(ConfigError, match=r"sae\.target_l0"):
        configured("jumprelu", l0_penalty="quadratic", target_l0=None)

"""Files of others as sae-lens' own loaders read them, beside ours. Runs in .venv-peers."""

import json

import numpy as np
import pytest
import sae_lens
import torch
from sae_lens.loading import pretrained_sae_loaders as loaders
from safetensors.torch import save_file

from core.sae import foreign

D_IN, D_SAE, K = 16, 64, 6
GENERATOR = torch.Generator().manual_seed(0)
W_ENC, B_ENC, W_DEC, B_DEC = (
    torch.randn(*shape, generator=GENERATOR) * 0.5 for shape in ((D_IN, D_SAE), (D_SAE,), (D_SAE, D_IN), (D_IN,))
)  # fmt: skip
TENSORS = {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC}
THRESHOLD = torch.rand(D_SAE, generator=GENERATOR)
X = torch.randn(200, D_IN, generator=GENERATOR)


def same(ours, theirs):
    torch.testing.assert_close(ours.sae.encode(X), theirs.encode(X).detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.sae(X), theirs(X).detach(), rtol=1e-5, atol=1e-5)
    metadata = theirs.cfg.metadata
    assert ours.metadata["hook_name"] == metadata.hook_name and ours.metadata["prepend_bos"] == metadata.prepend_bos


@pytest.mark.parametrize(
    ("changes", "tensors"),
    [
        ({}, {}),
        ({"apply_b_dec_to_input": False, "prepend_bos": False}, {}),
        ({"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}}, {}),
        ({"architecture": "jumprelu"}, {"threshold": THRESHOLD}),
        ({"architecture": "gated"}, {"b_gate": B_ENC, "r_mag": THRESHOLD, "b_mag": B_ENC + 0.3}),
    ],
)
def test_files_of_sae_lens_before_6_are_read_as_sae_lens_reads_them(tmp_path, changes, tensors):
    values = {
        "d_in": D_IN, "d_sae": D_SAE, "dtype": "float32", "model_name": "gpt2-small", "context_size": 128,
        "hook_point": "blocks.8.hook_resid_pre", "normalize_activations": False, "activation_fn_str": "relu",
    }  # fmt: skip
    (tmp_path / "cfg.json").write_text(json.dumps(values | changes))
    kept = {k: v for k, v in TENSORS.items() if not ("b_gate" in tensors and k == "b_enc")}
    save_file({**kept, **tensors}, tmp_path / "sae_weights.safetensors")
    same(foreign.read(tmp_path), sae_lens.SAE.load_from_disk(tmp_path))


def test_gemma_scope_is_read_as_sae_lens_reads_it(tmp_path, monkeypatch):
    repository, folder = "google/gemma-scope-2b-pt-res", "layer_20/width_16k/average_l0_71"
    (tmp_path / folder).mkdir(parents=True)
    arrays = {"w_enc": W_ENC, "b_enc": B_ENC, "w_dec": W_DEC, "b_dec": B_DEC, "threshold": THRESHOLD}
    np.savez(tmp_path / folder / "params.npz", **{k: v.numpy() for k, v in arrays.items()})
    monkeypatch.setattr(
        loaders, "hf_hub_download", lambda repo_id, filename, subfolder, force_download: tmp_path / subfolder / filename
    )
    sizes = {"d_in": D_IN, "d_sae": D_SAE}
    values, tensors, _ = loaders.gemma_2_sae_huggingface_loader(repository, folder, cfg_overrides=sizes)
    theirs = sae_lens.SAE.from_dict(loaders.handle_config_defaulting(values))
    theirs.load_state_dict(tensors)
    found = foreign.read(tmp_path / folder, place=f"{repository}:{folder}")
    same(found, theirs)
    assert found.metadata["model_name"].endswith(theirs.cfg.metadata.model_name)

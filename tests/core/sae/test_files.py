"""An SAE on disk: SAELens' layout, out and in, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import ModelError
from core.sae import files
from core.sae.relu import ReLU
from core.sae.topk import TopK

METADATA = {"model_name": "toy", "hook_name": "blocks.1.hook_resid_post"}


@pytest.fixture(params=["topk", "relu"])
def sae(request):
    sae = TopK(8, 24, 3) if request.param == "topk" else ReLU(8, 24)
    generator = torch.Generator().manual_seed(0)
    sae.initialise(torch.randn(8, generator=generator), generator)
    return sae


def test_what_is_saved_is_loaded_bit_for_bit(sae, tmp_path):
    files.save(sae, tmp_path / "sae", METADATA)
    loaded = files.load(tmp_path / "sae")
    x = torch.randn(20, 8, generator=torch.Generator().manual_seed(1))
    assert type(loaded) is type(sae)
    assert torch.equal(loaded.encode(x), sae.encode(x)) and torch.equal(loaded(x), sae(x))
    assert not any(p.requires_grad for p in loaded.parameters())


def test_the_files_have_the_layouts_names_and_shapes(sae, tmp_path):
    files.save(sae, tmp_path / "sae", METADATA)
    values = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    assert values["architecture"] == {"topk": "topk", "relu": "standard"}[sae.architecture]
    assert values["metadata"]["hook_name"] == METADATA["hook_name"]
    assert values["metadata"]["sae_lens_version"] >= "6"
    tensors = load_file(tmp_path / "sae" / "sae_weights.safetensors")
    assert {n: tuple(t.shape) for n, t in tensors.items()} == {
        "W_enc": (8, 24), "b_enc": (24,), "W_dec": (24, 8), "b_dec": (8,),
    }  # fmt: skip


def test_saving_again_replaces_the_folder_whole(sae, tmp_path):
    files.save(sae, tmp_path / "sae", METADATA)
    (tmp_path / "sae" / "stray").write_text("x")
    files.save(sae, tmp_path / "sae", METADATA)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sae"]
    assert sorted(p.name for p in (tmp_path / "sae").iterdir()) == ["cfg.json", "sae_weights.safetensors"]


def test_values_ranked_by_decoder_norms_are_read_as_such(tmp_path):
    sae = TopK(8, 24, 3)
    generator = torch.Generator().manual_seed(0)
    sae.initialise(torch.randn(8, generator=generator), generator)
    with torch.no_grad():
        sae.W_dec *= torch.rand(24, 1, generator=generator) * 3 + 0.2
    files.save(sae, tmp_path / "sae", METADATA)
    edit_config(tmp_path / "sae", rescale_acts_by_decoder_norm=True)
    x = torch.randn(20, 8, generator=torch.Generator().manual_seed(1))
    norms = sae.W_dec.norm(dim=1)
    ranked = sae.code(sae.pre_activations(x) * norms)  # the k largest of u·d; decoded by unit rows
    expected = ranked @ (sae.W_dec / norms[:, None]) + sae.b_dec
    torch.testing.assert_close(files.load(tmp_path / "sae")(x), expected, rtol=1e-4, atol=1e-5)


def edit_config(folder, **changes):
    values = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps({**values, **changes}))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: (f / "cfg.json").unlink(), "holds no cfg.json"),
        (lambda f: (f / "cfg.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "cfg.json").write_text('{"architecture": "standard", "d_in": 8}'), "before 6.0"),
        (lambda f: edit_config(f, architecture="temporal"), "temporal"),
        (lambda f: edit_config(f, normalize_activations="layer_norm"), "layer_norm"),
        (lambda f: edit_config(f, d_sae=25), "W_enc is"),
        (lambda f: (f / "sae_weights.safetensors").unlink(), "missing"),
        (lambda f: (f / "sae_weights.safetensors").write_bytes(b"torn"), "torn"),
        (lambda f: save_file({"W_enc": torch.zeros(8, 24)}, f / "sae_weights.safetensors"), "b_enc is None"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(sae, tmp_path, damage, says):
    files.save(sae, tmp_path / "sae", METADATA)
    damage(tmp_path / "sae")
    with pytest.raises(ModelError, match=says):
        files.load(tmp_path / "sae")

"""An SAE on disk: SAELens' layout, out and in, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import ModelError
from core.sae import files
from core.sae.batchtopk import BatchTopK
from core.sae.gated import Gated
from core.sae.jumprelu import JumpReLU
from core.sae.relu import ReLU
from core.sae.topk import TopK

METADATA = {"model_name": "toy", "hook_name": "blocks.1.hook_resid_post"}


MAKE = {
    "topk": lambda: TopK(8, 24, 3), "relu": lambda: ReLU(8, 24), "jumprelu": lambda: JumpReLU(8, 24, threshold=0.2),
    "gated": lambda: Gated(8, 24),
}  # fmt: skip


@pytest.fixture(params=MAKE)
def sae(request):
    sae = MAKE[request.param]()
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
    assert values["architecture"] == {"relu": "standard"}.get(sae.architecture, sae.architecture)
    assert values["metadata"]["hook_name"] == METADATA["hook_name"]
    assert values["metadata"]["sae_lens_version"] >= "6"
    tensors = load_file(tmp_path / "sae" / "sae_weights.safetensors")
    bias = "b_gate" if sae.architecture == "gated" else "b_enc"
    others = {"jumprelu": ["threshold"], "gated": ["r_mag", "b_mag"]}.get(sae.architecture, [])
    assert {n: tuple(t.shape) for n, t in tensors.items()} == {
        "W_enc": (8, 24), bias: (24,), "W_dec": (24, 8), "b_dec": (8,), **dict.fromkeys(others, (24,)),
    }  # fmt: skip


def test_one_threshold_of_all_features_is_written_for_each_and_read_as_jumprelu(tmp_path):
    sae = BatchTopK(8, 24, 3)
    generator = torch.Generator().manual_seed(0)
    sae.initialise(torch.randn(8, generator=generator), generator)
    sae.threshold.fill_(0.7)
    files.save(sae, tmp_path / "sae", METADATA)
    values = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    assert values["architecture"] == "jumprelu" and values["metadata"]["training_architecture"] == "batchtopk"
    loaded = files.load(tmp_path / "sae")
    x = torch.randn(20, 8, generator=generator)
    assert isinstance(loaded, JumpReLU) and torch.equal(loaded.encode(x), sae.encode(x))


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
        (lambda f: edit_config(f, normalize_activations="by_moonlight"), "by_moonlight"),
        (lambda f: edit_config(f, normalize_activations="centred_norm_rescale"), "lacks the tensor `centre`"),
        (lambda f: edit_config(f, d_sae=25), "W_enc is"),
        (lambda f: (f / "sae_weights.safetensors").unlink(), "missing"),
        (lambda f: (f / "sae_weights.safetensors").write_bytes(b"torn"), "torn"),
        (lambda f: save_file({"W_enc": torch.zeros(8, 24)}, f / "sae_weights.safetensors"), "b_(enc|gate) is None"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(sae, tmp_path, damage, says):
    files.save(sae, tmp_path / "sae", METADATA)
    damage(tmp_path / "sae")
    with pytest.raises(ModelError, match=says):
        files.load(tmp_path / "sae")

"""SAEs in others' files: each format written by hand, and run as its authors define it, in float64."""

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from core import recorded
from core.errors import ModelError
from core.sae import foreign

D, N, K = 8, 24, 3
GENERATOR = torch.Generator().manual_seed(0)
W_ENC, B_ENC, W_DEC, B_DEC = (
    torch.randn(*shape, generator=GENERATOR) * 0.5 for shape in ((D, N), (N,), (N, D), (D,))
)  # fmt: skip
THRESHOLD = torch.rand(N, generator=GENERATOR)
R_MAG, B_MAG, MEAN = (torch.randn(n, generator=GENERATOR) * 0.3 for n in (N, N, D))
X = torch.randn(40, D, generator=GENERATOR)


def naive(code, *, b_dec=B_DEC, subtract=True, shift=0.0):
    """`code(u)` and the reconstruction in float64; u is the pre-activation, `shift` the mean taken off and put back."""
    x = X.double() - shift - (b_dec.double() if subtract else 0)
    z = code(x @ W_ENC.double() + B_ENC.double())
    return z, z @ W_DEC.double() + b_dec.double() + shift


def relu(u):
    return u.clamp_min(0)


def largest(u):
    kept = u.clamp_min(0).topk(K, dim=1).indices
    return torch.zeros_like(u).scatter(1, kept, u.clamp_min(0).gather(1, kept))


def above(threshold):
    return lambda u: u.clamp_min(0) * (u > threshold)


def gated(u):
    return (u > 0) * ((u - B_ENC.double()) * R_MAG.double().exp() + B_MAG.double()).clamp_min(0)


def same(found, expected, *, unit=False):
    """That codes and reconstructions agree; with `unit`, codes are those of unit decoder rows."""
    z, x_hat = expected
    z = z * W_DEC.double().norm(dim=1) if unit else z
    torch.testing.assert_close(found.sae.encode(X).double(), z, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.sae(X).double(), x_hat, rtol=1e-4, atol=1e-5)
    assert 0 < (z > 0).double().mean() < 0.9
    assert not any(p.requires_grad for p in found.sae.parameters())


def told(found):
    return {k: v for k, v in found.metadata.items() if k in ("model_name", "hook_name", "context_size") and v}


@pytest.fixture
def sparsify(tmp_path):
    folder = tmp_path / "run" / "layers.10"
    folder.mkdir(parents=True)
    cfg = {"activation": "topk", "expansion_factor": 3, "num_latents": 0, "k": K, "multi_topk": True, "d_in": D}
    (folder / "cfg.json").write_text(json.dumps(cfg | {"skip_connection": False, "transcode": False}))
    tensors = {"encoder.weight": W_ENC.T.contiguous(), "encoder.bias": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC}
    save_file(tensors, folder / "sae.safetensors")
    (tmp_path / "run" / "config.json").write_text(json.dumps({"model": "EleutherAI/pythia-70m", "ctx_len": 256}))
    return folder


def test_sparsify(sparsify):
    found = foreign.read(sparsify)
    same(found, naive(largest))
    assert told(found) == {
        "model_name": "EleutherAI/pythia-70m", "hook_name": "blocks.10.hook_resid_post", "context_size": 256,
    }  # fmt: skip
    same(foreign.read(sparsify / "sae.safetensors"), naive(largest))
    seeded = sparsify.rename(sparsify.parent / "seed1")
    sparsify.mkdir()
    found = foreign.read(seeded.rename(sparsify / "seed1"))
    assert told(found)["hook_name"] == "blocks.10.hook_resid_post"


LINEAR = {"encoder.weight": W_ENC.T, "encoder.bias": B_ENC, "decoder.weight": W_DEC.T}
PARAMETERS = {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC}
GATED = {
    "encoder.weight": W_ENC.T, "decoder.weight": W_DEC.T, "decoder_bias": B_DEC, "gate_bias": B_ENC, "r_mag": R_MAG,
    "mag_bias": B_MAG,
}  # fmt: skip
BATCH = {"k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(0.6)}
GROUPS = {"group_sizes": torch.tensor([8, 16])}


def dictionary(folder, class_, tensors, **trainer):
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, folder / "ae.pt")
    values = {"dict_class": class_, "activation_dim": D, "dict_size": N, "layer": 3, "lm_name": "google/gemma-2-2b"}
    config = {"trainer": {**values, **trainer}, "buffer": {"ctx_len": 128}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("class_", "tensors", "expected"),
    [
        ("AutoEncoder", {**LINEAR, "bias": B_DEC}, naive(relu)),
        ("AutoEncoderNew", {**LINEAR, "decoder.bias": B_DEC}, naive(relu, subtract=False)),
        ("GatedAutoEncoder", GATED, naive(gated)),
        ("JumpReluAutoEncoder", {**PARAMETERS, "threshold": THRESHOLD}, naive(above(THRESHOLD), subtract=False)),
        ("AutoEncoderTopK", {**LINEAR, "b_dec": B_DEC, **BATCH}, naive(largest)),
        ("BatchTopKSAE", {**LINEAR, "b_dec": B_DEC, **BATCH}, naive(above(0.6))),
        ("BatchTopKSAE", {**LINEAR, "b_dec": B_DEC, **BATCH, "threshold": torch.tensor(-1.0)}, naive(largest)),
        ("MatryoshkaBatchTopKSAE", {**PARAMETERS, **BATCH, **GROUPS}, naive(above(0.6))),
    ],
)
def test_dictionary_learning(tmp_path, class_, tensors, expected):
    k = {"k": K} if "k" in tensors else {}
    found = foreign.read(dictionary(tmp_path / "resid_post_layer_3" / "trainer_0", class_, tensors, **k))
    same(found, expected, unit=class_ == "AutoEncoder")
    assert told(found) == {
        "model_name": "google/gemma-2-2b", "hook_name": "blocks.3.hook_resid_post", "context_size": 128,
    }  # fmt: skip


def scope(folder, **changes):
    folder.mkdir(parents=True)
    tensors = {"w_enc": W_ENC, "b_enc": B_ENC, "w_dec": W_DEC, "b_dec": B_DEC, "threshold": THRESHOLD, **changes}
    np.savez(folder / "params.npz", **{name: tensor.numpy() for name, tensor in tensors.items()})
    return folder


def test_gemma_scope(tmp_path):
    folder = scope(tmp_path / "gemma-scope-9b-pt-mlp" / "layer_20" / "width_16k" / "average_l0_71")
    found = foreign.read(folder)
    same(found, naive(above(THRESHOLD), subtract=False))
    assert told(found) == {"model_name": "google/gemma-2-9b", "hook_name": "blocks.20.hook_mlp_out"}
    place = "google/gemma-scope-2b-pt-res:layer_7/width_16k/average_l0_71"
    assert told(foreign.read(folder / "params.npz", place=place))["hook_name"] == "blocks.7.hook_resid_post"


def test_gemma_scope_2(tmp_path):
    folder = tmp_path / "gemma-scope-2-1b-pt" / "attn_out" / "layer_13_width_16k_l0_big"
    folder.mkdir(parents=True)
    tensors = {"w_enc": W_ENC, "b_enc": B_ENC, "w_dec": W_DEC, "b_dec": B_DEC, "threshold": THRESHOLD}
    save_file(tensors, folder / "params.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": "jump_relu", "model_name": "gemma-v3-1b-pt"}))
    found = foreign.read(folder)
    same(found, naive(above(THRESHOLD), subtract=False))
    assert told(found) == {"model_name": "google/gemma-3-1b-pt", "hook_name": "blocks.13.attn.hook_z"}
    save_file({**tensors, "affine_skip_connection": torch.zeros(D, D)}, folder / "params.safetensors")
    with pytest.raises(ModelError, match="not transcoders"):
        foreign.read(folder)


def before_6(folder, tensors=PARAMETERS, **changes):
    folder.mkdir(exist_ok=True)
    values = {"d_in": D, "d_sae": N, "dtype": "float32", "model_name": "gpt2-small", "context_size": 128}
    values |= {"hook_point": "blocks.8.hook_resid_pre", "activation_fn_str": "relu", "normalize_activations": "none"}
    (folder / "cfg.json").write_text(json.dumps(values | changes))
    save_file(tensors, folder / "sae_weights.safetensors")
    return folder


def test_saelens_before_6(tmp_path):
    found = foreign.read(before_6(tmp_path / "a", model_from_pretrained_kwargs={"center_writing_weights": True}))
    same(found, naive(relu))
    assert told(found) == {"model_name": "gpt2-small", "hook_name": "blocks.8.hook_resid_pre", "context_size": 128}
    assert found.metadata["prepend_bos"] and found.metadata["model_from_pretrained_kwargs"]
    topk = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}, "normalize_activations": False}
    same(foreign.read(before_6(tmp_path / "b", **topk)), naive(largest))
    ones = {"scaling_factor": torch.ones(N)}
    folder = before_6(tmp_path / "c", {**PARAMETERS, **ones}, apply_b_dec_to_input=False)
    same(foreign.read(folder), naive(relu, subtract=False))
    logs = {**PARAMETERS, "log_threshold": THRESHOLD.log()}
    same(foreign.read(before_6(tmp_path / "d", logs, architecture="jumprelu")), naive(above(THRESHOLD)))


def test_what_a_release_says_goes_before_the_files(tmp_path):
    """A scale s that the files lack: `z(s x) / s`, by which the code has the units of x."""
    folder = before_6(tmp_path / "a", normalize_activations="expected_average_only_in")
    with pytest.raises(ModelError, match="expected_average_only_in"):
        foreign.read(folder)
    found = foreign.read(folder, overrides={"norm_scaling_factor": 2.5})
    x = X.double() * 2.5 - B_DEC.double()
    z = relu(x @ W_ENC.double() + B_ENC.double())
    same(found, (z / 2.5, (z @ W_DEC.double() + B_DEC.double()) / 2.5))


@pytest.mark.parametrize(
    ("tensors", "given", "expected"),
    [
        (LINEAR, {}, naive(relu, b_dec=torch.zeros(D))),
        ({**LINEAR, "decoder.bias": B_DEC}, {}, naive(relu, subtract=False)),
        ({**LINEAR, "decoder.bias": B_DEC, "mean": MEAN}, {}, naive(relu, subtract=False, shift=MEAN.double())),
        ({**LINEAR, "mean": MEAN}, {"k": K}, naive(largest, b_dec=torch.zeros(D), shift=MEAN.double())),
        ({**PARAMETERS, "mean": MEAN}, {}, naive(relu, shift=MEAN.double())),
        (PARAMETERS, {"k": K, "apply_b_dec_to_input": False}, naive(largest, subtract=False)),
        ({**PARAMETERS, "threshold": THRESHOLD}, {"apply_b_dec_to_input": True}, naive(above(THRESHOLD))),
        ({**LINEAR, "b_dec": B_DEC, "k": K}, {}, naive(largest)),
        ({**LINEAR, "b_dec": B_DEC, **BATCH}, {"architecture": "batchtopk"}, naive(above(0.6))),
        (GATED, {}, naive(gated)),
        (
            {
                "pre_bias": B_DEC, "encoder.weight": W_ENC.T, "latent_bias": B_ENC, "decoder.weight": W_DEC.T,
                "stats_last_nonzero": torch.zeros(N), "activation": "ReLU", "activation_state_dict": {},
            },
            {},
            naive(relu),
        ),
    ],
)  # fmt: skip
def test_tensors_alone(tmp_path, tensors, given, expected):
    torch.save(tensors, tmp_path / "weights.pth")
    same(foreign.read(tmp_path, given=given), expected)
    found = foreign.read(tmp_path / "weights.pth", given=given)
    same(found, expected)
    assert not found.metadata


class Harm:
    """What an unpickler would run."""

    def __reduce__(self):
        return (print, ("harm",))


def pickled(folder, value):
    with (folder / "sae.pt").open("wb") as file:
        pickle.dump(value, file)
    return folder


def saved(folder, tensors):
    torch.save(tensors, folder / "sae.pt")
    return folder


def changed(folder, **changes):
    values = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps({**values, **changes}))
    return folder


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda f: f / "gone", "there is no .*REPO:FOLDER"),
        (lambda f: f, "holds no cfg.json, nor any other SAE"),
        (lambda f: saved(f, [1]), "holds no tensors by name"),
        (lambda f: saved(f, {"W_enc": W_ENC, "other": 1}), "'other', of which nothing is known"),
        (lambda f: saved(f, {"other.weight": W_ENC}), "nothing is known"),
        (lambda f: saved(f, {"b_dec": B_DEC}), "no encoder's matrix"),
        (lambda f: saved(f, {**PARAMETERS, "bias": B_DEC}), "b_dec twice"),
        (lambda f: saved(f, {**PARAMETERS, "W_dec": W_DEC.T}), r"W_dec is \(8, 24\), not \(24, 8\)"),
        (lambda f: saved(f, {**PARAMETERS, "mean": MEAN[:3]}), r"its mean is \(3,\)"),
        (lambda f: saved(f, {**PARAMETERS, "threshold": THRESHOLD}), "set sae.apply_b_dec_to_input"),
        (lambda f: saved(f, {**PARAMETERS, **BATCH}), "set sae.architecture"),
        (lambda f: saved(f, {**PARAMETERS, "k": 25}), "k = 25 of 24"),
        (lambda f: saved(f, {**LINEAR, "pre_bias": B_DEC, "activation": "TopK"}), "normalise activations"),
        (lambda f: pickled(f, {"W_enc": Harm()}), "could run code"),
        (lambda f: (f / "a.pt").write_bytes(b"torn") and f, "is torn"),
        (lambda f: (f / "a.npz").write_bytes(b"torn") and f, "is torn"),
        (lambda f: np.savez(f / "a.npz", W_enc=np.array([Harm()], dtype=object)) or f, "is torn or no archive"),
        (lambda f: dictionary(f, "CrossCoder", PARAMETERS), "CrossCoder"),
        (lambda f: dictionary(f, "AutoEncoderTopK", {**LINEAR, "b_dec": B_DEC}), "lacks k"),
        (lambda f: dictionary(f, "AutoEncoder", {**LINEAR, "bias": B_DEC}, dict_size=25), "W_enc is"),
        (lambda f: scope(f / "layer_1" / "transcoder"), "not transcoders"),
        (lambda f: scope(f / "embedding" / "width_4k"), "embeddings"),
        (lambda f: before_6(f, activation_fn_str="tanh-relu"), "tanh-relu"),
        (lambda f: before_6(f, hook_point_head_index=3), "one attention head"),
        (lambda f: before_6(f, normalize_activations="by_moonlight"), "by_moonlight"),
        (lambda f: before_6(f, d_sae=25), "W_enc is"),
        (lambda f: before_6(f, {**PARAMETERS, "scaling_factor": torch.full((N,), 2.0)}), "finetuned"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(tmp_path, capsys, make, says):
    with pytest.raises(ModelError, match=says):
        foreign.read(make(tmp_path))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"transcode": True}, "transcode"),
        ({"skip_connection": True}, "skip_connection"),
        ({"signed": True}, "signed"),
        ({"activation": "groupmax"}, "groupmax"),
        ({"num_latents": 25}, "W_enc is"),
        ({"k": None}, "lacks k"),
        ({"k": True}, "lacks k"),
    ],
)
def test_a_sparsify_coder_that_is_no_sae_is_refused(sparsify, changes, says):
    with pytest.raises(ModelError, match=says):
        foreign.read(changed(sparsify, **changes))


def test_what_the_files_record_of_an_sae_is_told(tmp_path, sparsify):
    def known(found):
        return {name: found.metadata[name] for name in recorded.NAMES if name in found.metadata}

    assert known(foreign.read(sparsify)) == {}
    trained = dictionary(tmp_path / "trainer_0", "AutoEncoder", {**LINEAR, "bias": B_DEC})
    assert known(foreign.read(trained)) == {}
    results = {"l0": 52.5, "frac_variance_explained": 0.81, "hyperparameters": {"n_inputs": 200}}
    (trained / "eval_results.json").write_text(json.dumps(results))
    assert known(foreign.read(trained)) == {"l0": 52.5, "explained_variance": 0.81}

    folder = scope(tmp_path / "gemma-scope-2b-pt-res" / "layer_20" / "width_16k" / "average_l0_71")
    assert known(foreign.read(folder)) == {"l0": 71.0}
    place = "google/gemma-scope-2b-pt-res:layer_20/width_16k/average_l0_38"
    assert known(foreign.read(folder, place=place)) == {"l0": 38.0}
    second = scope(tmp_path / "gemma-scope-2-1b-pt" / "resid_post" / "layer_13_width_16k_l0_big")
    (second / "config.json").write_text(json.dumps({"model_name": "google/gemma-3-1b-pt", "l0": 150}))
    assert known(foreign.read(second)) == {"l0": 150.0}


def test_saelens_records_l0_in_its_metadata_or_by_how_often_features_fired(tmp_path):
    folder = before_6(tmp_path / "a")
    assert "l0" not in foreign.read(folder).metadata
    fired = torch.full((N,), 0.25)
    for tensor, l0 in ((torch.log10(fired + 1e-10), 6.0), (fired, None), (torch.log10(fired[1:]), None)):
        save_file({"sparsity": tensor}, folder / "sparsity.safetensors")
        assert foreign.read(folder).metadata.get("l0") == (l0 and pytest.approx(l0, rel=1e-6))
    (folder / "sparsity.safetensors").write_bytes(b"torn")
    assert "l0" not in foreign.read(folder).metadata
    save_file({"sparsity": torch.log10(fired)}, folder / "sparsity.safetensors")
    values = {"architecture": "standard", "d_in": D, "d_sae": N, "metadata": {"l0": 5.5}}
    (folder / "cfg.json").write_text(json.dumps(values))
    assert foreign.read(folder).metadata["l0"] == 5.5

"""What is told of a foreign SAE by the small files beside it."""

import json

import pytest

from core.errors import ModelError
from core.sae import facts, registry


def written(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def test_each_format_tells_what_it_has(tmp_path):
    written(tmp_path / "run" / "config.json", {"model": "gpt2", "ctx_len": 64})
    written(tmp_path / "run" / "h.5" / "cfg.json", {"d_in": 768, "num_latents": 24_576})
    (tmp_path / "run" / "h.5" / "sae.safetensors").touch()
    found = facts.read(str(tmp_path / "run" / "h.5"))
    assert (found.kind, found.model, found.hook) == ("sparsify", "gpt2", "blocks.5.hook_resid_post")
    assert (found.d_in, found.d_sae, found.processing) == (768, 24_576, "none")

    trainer = {"lm_name": "gpt2", "activation_dim": 768, "dict_size": 1_000, "submodule_name": "resid_post_layer_8"}
    written(tmp_path / "dl" / "config.json", {"trainer": trainer})
    (tmp_path / "dl" / "ae.pt").touch()
    for source in (tmp_path / "dl", tmp_path / "dl" / "ae.pt"):
        found = facts.read(str(source))
        assert (found.kind, found.hook, found.d_in) == ("dictionary_learning", "blocks.8.hook_resid_post", 768)

    place = tmp_path / "gemma-scope-2b-pt-res" / "layer_20" / "average_l0_71"
    place.mkdir(parents=True)
    (place / "params.npz").touch()
    found = facts.read(str(place))
    assert (found.model, found.hook) == ("google/gemma-2-2b", "blocks.20.hook_resid_post")

    kwargs = {"center_writing_weights": True}
    old = {"model_name": "gpt2-small", "hook_point": "blocks.8.hook_resid_pre", "d_in": 768, "d_sae": 24_576}
    written(tmp_path / "old" / "cfg.json", {**old, "model_from_pretrained_kwargs": kwargs})
    new = {"model_name": "gpt2-small", "hook_name": "blocks.8.hook_resid_pre", "model_from_pretrained_kwargs": kwargs}
    written(tmp_path / "new" / "cfg.json", {"d_in": 768, "d_sae": 24_576, "metadata": new})
    assert facts.read(str(tmp_path / "old")) == facts.read(str(tmp_path / "new"))
    assert facts.read(str(tmp_path / "old")).processing == "centred"

    (tmp_path / "alone.pth").touch()
    assert facts.read(str(tmp_path / "alone.pth")).kind == "tensors alone"


def test_what_is_not_there_or_torn_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "releases", dict)
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "cfg.json").write_text("{")
    (tmp_path / "empty").mkdir()
    for source, says in (
        (tmp_path / "torn", "cannot be read"), (tmp_path / "empty", "holds no SAE"), (tmp_path / "no", "there is no"),
        ("res-jb/blocks.8.hook_resid_pre", "no release 'res-jb'"),
    ):  # fmt: skip
        with pytest.raises(ModelError, match=says):
            facts.read(str(source))


def test_a_name_on_the_hub_tells_what_its_words_say():
    found = facts.read("google/gemma-scope-2b-pt-res:layer_20/width_16k/average_l0_71")
    assert (found.model, found.hook) == ("google/gemma-2-2b", "blocks.20.hook_resid_post")

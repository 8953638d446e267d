"""Names of modules, folders and repositories, and the models and hook points they stand for."""

import pytest

from core.sae import provenance


@pytest.mark.parametrize(
    ("module", "model", "hook"),
    [
        ("layers.10", None, "blocks.10.hook_resid_post"),
        ("h.5", "gpt2", "blocks.5.hook_resid_post"),
        ("transformer.h.5.attn", "gpt2", "blocks.5.hook_attn_out"),
        ("model.layers.10.mlp", "meta-llama/Llama-3.1-8B", "blocks.10.hook_mlp_out"),
        ("model.layers.10.mlp", "google/gemma-2-2b", None),
        ("model.layers.10.mlp", None, None),
        ("layers.10.mlp.act_fn", "gpt2", None),
        ("embed_tokens", "gpt2", None),
    ],
)
def test_a_module_is_a_hook_point_only_where_that_is_plain(module, model, hook):
    assert provenance.hook_of_module(module, model) == hook


@pytest.mark.parametrize(
    ("place", "model", "hook"),
    [
        ("google/gemma-scope-2b-pt-res:layer_20/width_16k/average_l0_71", "google/gemma-2-2b", "20.hook_resid_post"),
        ("google/gemma-scope-9b-it-res:layer_9/width_16k/average_l0_88", "google/gemma-2-9b-it", "9.hook_resid_post"),
        ("google/gemma-scope-2b-pt-att:layer_0/width_16k/average_l0_7", "google/gemma-2-2b", "0.attn.hook_z"),
        ("google/gemma-scope-2-270m-pt:mlp_out/layer_12_width_16k", "google/gemma-3-270m", "12.hook_mlp_out"),
        ("google/gemma-scope-2-4b-it:resid_post/layer_17_width", "google/gemma-3-4b-it", "17.hook_resid_post"),
        ("some/other:layer_3/width_16k", None, None),
    ],
)  # fmt: skip
def test_gemma_scopes_names_tell_model_and_hook(place, model, hook):
    assert provenance.scope(place, {}) == (model, hook and f"blocks.{hook}")


@pytest.mark.parametrize(
    ("module", "model", "name", "hook"),
    [
        ("model.layers.13.output", "gemma-v3-1b-pt", "google/gemma-3-1b-pt", "blocks.13.hook_resid_post"),
        ("model.layers.0.self_attn.o_proj.input", "google/gemma-3-4b", "google/gemma-3-4b", "blocks.0.attn.hook_z"),
        ("model.layers.5.post_feedforward_layernorm.output", "x-270m-pt", "google/x-270m", "blocks.5.hook_mlp_out"),
        ("model.layers.5.pre_feedforward_layernorm.output", None, None, None),
    ],
)  # fmt: skip
def test_gemma_scope_2s_config_tells_them_where_the_place_does_not(module, model, name, hook):
    assert provenance.scope("some/where", {"hf_hook_point_in": module, "model_name": model}) == (name, hook)


@pytest.mark.parametrize(
    ("place", "across"),
    [
        ("google/gemma-scope-2-1b-pt:transcoder_all/layer_0", True),
        ("google/gemma-scope-2b-pt-transcoders:layer_0", True),
        ("a/clt/layer_0", True),
        ("home/cltest/layer_0", False),
    ],
)
def test_a_place_tells_of_transcoders(place, across):
    assert bool(provenance.ACROSS.search(place)) is across


def test_dictionary_learnings_words_tell_the_hook():
    assert provenance.hook_of_words("resid_post", 8) == "blocks.8.hook_resid_post"
    assert provenance.hook_of_words("mlp_out_layer_4", 4) == "blocks.4.hook_mlp_out"
    assert provenance.hook_of_words("trainer_0", 4) is None


@pytest.mark.parametrize(
    ("metadata", "page"),
    [
        ({"neuronpedia_id": "gpt2-small/6-res-jb"}, "https://www.neuronpedia.org/gpt2-small/6-res-jb/12"),
        ({"neuronpedia_id": None}, None),
        ({"neuronpedia_id": 'a/b"><script>'}, None),
        ({"neuronpedia_id": "javascript:alert(1)"}, None),
        ({"neuronpedia_id": "a/b/c"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_feature_has_a_page_where_its_sae_is_named_on_neuronpedia(metadata, page):
    assert provenance.neuronpedia_page({"metadata": metadata}, 12) == page

"""The language model: its hooks, its cache, its edits, on three architectures and both TransformerLens lines."""

import math

import pytest
import torch

from core.errors import ModelError
from tests.conftest import FAMILIES, language_model


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def model(family, model_folders):
    return language_model(model_folders[family])


def ids_for(model, rows=2, length=12):
    return torch.randint(2, model.n_vocab, (rows, length), generator=torch.Generator().manual_seed(3))


def reference(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder).eval()


def test_activations_equal_the_hidden_states_of_the_bare_model(model, family, model_folders):
    ids = ids_for(model)
    with torch.no_grad():
        hidden = reference(model_folders[family])(ids, output_hidden_states=True).hidden_states
    x = model.activations(ids)
    assert x.shape == (2, 12, 32) and x.dtype == torch.float32
    torch.testing.assert_close(x, hidden[2], rtol=2e-4, atol=2e-4)


def test_native_attention_gives_the_activations_of_the_bridges_own(family, model_folders):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from core.models.language import boot

    folder = model_folders[family]
    model = language_model(folder, "blocks.2.hook_resid_post")
    ids = ids_for(model)
    plain = boot("x", AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder), model.device)
    seen = []
    with (
        torch.no_grad(),
        plain.hooks(fwd_hooks=[("blocks.2.hook_resid_post", lambda x, hook: seen.append(x))]),
    ):
        plain(ids)
    torch.testing.assert_close(model.activations(ids), seen[0], rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(
    ("hook", "width"),
    [("blocks.0.hook_resid_pre", 32), ("blocks.1.hook_mlp_out", 32), ("blocks.2.hook_attn_out", 32),
     ("blocks.1.attn.hook_z", 32), ("hook_embed", 32)],
)  # fmt: skip
def test_other_hook_points_fire_and_have_their_width(model_folders, family, hook, width):
    model = language_model(model_folders[family], hook)
    assert model.d_in == width
    assert model.activations(ids_for(model)).shape == (2, 12, width)


@pytest.mark.parametrize("hook", ["blocks.9.hook_resid_post", "blocks.1.hook_resid_pots", "nonsense"])
def test_a_hook_point_that_does_not_fire_is_an_error_that_names_the_nearest(model_folders, family, hook):
    with pytest.raises(ModelError, match="no hook point"):
        language_model(model_folders[family], hook)


def test_without_an_edit_the_logits_are_the_bridges_own_bit_for_bit(model):
    ids = ids_for(model)
    with torch.no_grad():
        own, own_cache = model.bridge(ids, return_type="logits_and_cache", use_cache=True, logits_to_keep=1)
        logits, cache = model.next_logits(ids)
        assert torch.equal(logits, own[:, -1])
        after = ids[:, :1]
        own, _ = model.bridge(after, return_type="logits_and_cache", past_key_values=own_cache, logits_to_keep=1)
        logits, _ = model.next_logits(after, cache=cache)
    assert torch.equal(logits, own[:, -1])


def test_cached_decoding_agrees_with_a_full_pass(model, family, model_folders):
    ids = ids_for(model)
    with torch.no_grad():
        full = reference(model_folders[family])(ids).logits[:, -1]
    logits, cache = model.next_logits(ids[:, :7])
    for t in range(7, 12):
        logits, cache = model.next_logits(ids[:, t : t + 1], cache=cache)
    torch.testing.assert_close(logits, full, rtol=1e-3, atol=1e-3)


def test_an_edit_of_one_row_leaves_the_other_as_it_was(model):
    ids = ids_for(model)
    plain, _ = model.next_logits(ids)

    def edit(x):
        x = x.clone()
        x[1] += 3
        return x

    edited, _ = model.next_logits(ids, edit=edit)
    assert torch.equal(edited[0], plain[0])
    assert not torch.allclose(edited[1], plain[1])
    again, _ = model.next_logits(ids)
    assert torch.equal(again, plain)  # no hook was left behind


@pytest.mark.parametrize("hook", ["blocks.1.hook_resid_post", "blocks.2.hook_mlp_out", "blocks.0.hook_resid_pre"])
def test_a_split_pass_equals_whole_passes_with_the_same_edit(model_folders, family, hook):
    model = language_model(model_folders[family], hook)
    ids = ids_for(model)
    split = model.split_pass(ids)
    torch.testing.assert_close(split.logits_with(split.x), split.logits, rtol=1e-4, atol=1e-4)
    x = split.x + 0.5
    with torch.no_grad(), model._editing(lambda _: x):
        whole = model.bridge(ids)
    torch.testing.assert_close(split.logits_with(x), whole, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        assert torch.equal(model.bridge(ids), split.logits)  # the blocks run again


def test_unembed_is_the_direction_through_final_norm_and_unembedding(model, family, model_folders):
    hf = reference(model_folders[family])
    directions = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    norm = {"gpt2": lambda: hf.transformer.ln_f.weight, "llama": lambda: hf.model.norm.weight}
    gamma = norm[family]() if family in norm else 1 + hf.model.norm.weight
    d = directions - directions.mean(1, keepdim=True) if family == "gpt2" else directions
    with torch.no_grad():
        expected = (d * gamma) @ hf.get_output_embeddings().weight.T
    expected -= expected.mean(1, keepdim=True)
    torch.testing.assert_close(model.unembed(directions), expected, rtol=1e-4, atol=1e-4)


def test_unembed_refuses_a_hook_outside_the_residual_space(model_folders):
    model = language_model(model_folders["llama"], "blocks.1.mlp.hook_post")
    with pytest.raises(ModelError, match="dimensions"):
        model.unembed(torch.zeros(1, model.d_in))


def test_the_probe_lists_what_fires_with_its_module(model):
    from core.models.language import fired_hooks

    found = {h.name: h for h in fired_hooks(model.bridge, model.device)}
    assert found["blocks.1.hook_resid_post"].shape == (32,)
    assert "1" in found["blocks.1.hook_resid_post"].module
    assert "mlp" in found["blocks.1.hook_mlp_out"].module or "post" in found["blocks.1.hook_mlp_out"].module
    assert math.prod(found["blocks.1.hook_resid_post"].shape) == model.d_in


def test_tokens_round_trip_and_specials_are_known(model):
    [ids] = model.tokens.encode(["the cat sat\non a mat"])
    assert model.tokens.decode(ids) == "the cat sat\non a mat"
    assert "".join(model.tokens.text(i) for i in ids) == "the cat sat\non a mat"
    assert model.tokens.bos_id == 0 and 1 in model.tokens.eos_ids
    assert {0, 1} <= model.tokens.special_ids


@pytest.mark.parametrize("hook", ["blocks.1.attn.hook_pattern", "unembed.hook_in.x"])
def test_a_hook_point_that_holds_no_vector_for_each_token_is_refused(model_folders, hook):
    with pytest.raises(ModelError, match=r"no vector|no hook point"):
        language_model(model_folders["llama"], hook)


def test_a_token_keeps_its_space_where_decoding_drops_the_first_one(model_folders, tmp_path):
    from transformers import AutoTokenizer

    from core.models.language import TextTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folders["llama"])

    class Stripping:
        def __call__(self, *args, **kwargs):
            return tokenizer(*args, **kwargs)

        def __getattr__(self, name):
            return getattr(tokenizer, name)

        def decode(self, ids, **kwargs):
            return tokenizer.decode(ids, **kwargs).removeprefix(" ")

    tokens = TextTokenizer(Stripping())
    [ids] = tokens.encode([" the cat sat"])
    assert "".join(tokens.text(i) for i in ids) == " the cat sat"

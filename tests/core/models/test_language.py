"""The language model: its hooks, its cache, its edits, on three architectures and both TransformerLens lines."""

import math

import pytest
import torch

from core.errors import ModelError
from core.models.bridge import native
from core.models.few_rows import hasten
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
    assert torch.equal(x, hidden[2])
    assert torch.equal(model.split_pass(ids).x, x)


def test_a_pass_that_is_only_read_ends_at_the_hook_point_and_leaves_no_hook(model):
    ids, ran = ids_for(model), []
    handles = [
        module.register_forward_hook(lambda *_, i=i: ran.append(i))
        for i, block in enumerate(model.bridge.blocks)
        for module in (block, block.original_component)
    ]
    model.activations(ids)
    assert max(ran) == model.layer
    ran.clear()
    with torch.no_grad():
        model.bridge(ids)
    assert max(ran) == model.n_layers - 1
    assert not model._point.fwd_hooks
    for handle in handles:
        handle.remove()


def loud(model):
    """The same model with biases and norms that say something."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 1:
                weights += 0.3 * torch.randn(weights.shape, generator=generator)
    return model


def processed(folder, hook, processing):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from core.models.language import LanguageModel

    model = loud(AutoModelForCausalLM.from_pretrained(folder).eval())
    return LanguageModel("x", model, AutoTokenizer.from_pretrained(folder), hook, torch.device("cpu"), processing)


@pytest.mark.parametrize("processing", ["centred", "processed"])
@pytest.mark.parametrize(
    "hook", ["blocks.1.hook_resid_pre", "blocks.2.hook_resid_post", "blocks.1.hook_mlp_out", "blocks.0.hook_attn_out"]
)
def test_processed_weights_write_what_has_no_mean_and_say_the_same(model_folders, hook, processing):
    own, other = (processed(model_folders["gpt2"], hook, kind) for kind in ("none", processing))
    ids = ids_for(own)
    x = own.activations(ids).double()
    torch.testing.assert_close(other.activations(ids).double(), x - x.mean(dim=-1, keepdim=True), rtol=0, atol=1e-5)
    logits = [model.next_logits(ids)[0].log_softmax(dim=-1) for model in (own, other)]
    torch.testing.assert_close(*logits, rtol=0, atol=1e-4)


def test_the_values_biases_leave_the_heads_where_they_are_folded(model_folders):
    own, centred, folded = (
        processed(model_folders["gpt2"], "blocks.1.attn.hook_z", kind) for kind in ("none", "centred", "processed")
    )
    ids = ids_for(own)
    x = own.activations(ids)
    block = reference(model_folders["gpt2"])
    block = loud(block).transformer.h[1]
    weight, bias = block.attn.c_attn.weight[:, 64:], block.attn.c_attn.bias[64:]  # the values', after queries and keys
    bias = bias + block.ln_1.bias @ weight  # the norm's is folded into it first
    torch.testing.assert_close(centred.activations(ids), x, rtol=0, atol=1e-5)
    torch.testing.assert_close(folded.activations(ids), x - bias, rtol=0, atol=1e-5)


@pytest.mark.parametrize("processing", ["centred", "processed"])
def test_an_edit_through_processed_weights_does_what_it_does_through_the_models_own(model_folders, processing):
    hook = "blocks.1.hook_resid_pre"
    own, other = (processed(model_folders["gpt2"], hook, kind) for kind in ("none", processing))
    ids = ids_for(own)
    direction = torch.randn(32, generator=torch.Generator().manual_seed(1))
    direction -= direction.mean()  # what a norm discards anyway
    edited = [model.next_logits(ids, edit=lambda x: x + direction)[0].log_softmax(dim=-1) for model in (own, other)]
    clean, _ = own.next_logits(ids)
    torch.testing.assert_close(*edited, rtol=0, atol=1e-4)
    assert (edited[0] - clean.log_softmax(dim=-1)).abs().max() > 0.1
    split = other.split_pass(ids)
    replaced = split.logits_with(split.x + direction)[:, -1].log_softmax(dim=-1)
    torch.testing.assert_close(replaced, edited[1], rtol=0, atol=1e-4)
    _, cache = other.next_logits(ids[:, :-1], edit=lambda x: x + direction)
    cached, _ = other.next_logits(ids[:, -1:], cache=cache, edit=lambda x: x + direction)
    torch.testing.assert_close(cached.log_softmax(dim=-1), edited[1], rtol=0, atol=1e-4)
    torch.testing.assert_close(other.unembed(direction[None]), own.unembed(direction[None]), rtol=0, atol=1e-3)


def test_root_mean_square_norms_leave_nothing_to_centre(model_folders):
    for family in ("llama", "gemma2"):
        own, other = (
            processed(model_folders[family], "blocks.1.hook_resid_post", kind) for kind in ("none", "processed")
        )
        ids = ids_for(own)
        torch.testing.assert_close(other.activations(ids), own.activations(ids), rtol=0, atol=1e-5)


def test_weights_that_are_processed_into_another_model_are_refused(model_folders, monkeypatch):
    from transformer_lens.model_bridge import TransformerBridge

    def broken(bridge, **_):
        with torch.no_grad():
            bridge.original_model.transformer.h[0].mlp.c_fc.weight.mul_(2)

    monkeypatch.setattr(TransformerBridge, "process_weights", broken)
    with pytest.raises(ModelError, match="with processed weights x is another model"):
        processed(model_folders["gpt2"], "blocks.1.hook_resid_pre", "centred")
    monkeypatch.setattr(TransformerBridge, "process_weights", lambda bridge, **_: 1 / 0)
    with pytest.raises(ModelError, match="cannot process the weights of x"):
        processed(model_folders["gpt2"], "blocks.1.hook_resid_pre", "centred")


def test_native_attention_gives_the_activations_of_the_bridges_own(family, model_folders):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from core.models.bridge import boot

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


def test_without_an_edit_the_logits_are_the_models_own_bit_for_bit(model, family, model_folders):
    alone = reference(model_folders[family]).requires_grad_(False)  # with gradients another product is chosen
    hasten(alone)  # as every model is that is loaded
    alone.set_attn_implementation(model.bridge.original_model.config._attn_implementation)
    ids = ids_for(model)
    with torch.no_grad():
        own = alone(ids, use_cache=True, logits_to_keep=1)
        logits, cache = model.next_logits(ids)
        assert torch.equal(logits, own.logits[:, -1])
        after = ids[:, :1]
        own = alone(after, past_key_values=own.past_key_values, use_cache=True, logits_to_keep=1)
        logits, _ = model.next_logits(after, cache=cache)
    assert torch.equal(logits, own.logits[:, -1])


def test_after_a_token_the_bridge_is_whole_again(model):
    ids = ids_for(model)
    with torch.no_grad():
        before = model.bridge(ids)
        model.next_logits(ids, edit=lambda x: x + 1)
        assert torch.equal(model.bridge(ids), before)
    seen = []
    with model.bridge.hooks(fwd_hooks=[("blocks.0.hook_resid_pre", lambda x, hook: seen.append(x.shape))]):
        model.bridge(ids)
    assert len(seen) == 1


def test_a_cache_is_cut_to_its_first_tokens_or_told_to_be_no_longer_whole(model, family):
    ids = ids_for(model)
    _, cache = model.next_logits(ids[:, :7])
    first, cache = model.next_logits(ids[:, 7:8], cache=cache)
    cut = model.cropped(cache, 7)
    if family == "gemma2":  # of a sliding window
        assert cut is None
        return
    assert cut.get_seq_length() == 7 and model.cropped(cut, 8) is None
    assert torch.equal(model.next_logits(ids[:, 7:8], cache=cut)[0], first)


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
    with torch.no_grad(), native(model._unread):
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
    from core.models.bridge import fired_hooks

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

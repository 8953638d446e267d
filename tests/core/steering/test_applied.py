"""Interventions on a model as it stands: tiny random models of three families, at hook points and plain modules."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AutoModelForCausalLM

from core.errors import ModelError, QueryError, UsageError
from core.sae.relu import ReLU
from core.steering.applied import applied
from core.steering.edit import Positions, edited, rows_edit
from core.steering.interventions import Intervention, resolve
from core.steering.recipe import Recipe
from core.steering.request import GenerationRequest
from tests.conftest import FAMILIES, language_model

HOOKS = ("hook_resid_pre", "hook_resid_post", "hook_mlp_out", "hook_attn_out", "attn.hook_z")
D_SAE = 40
EDITS = (Intervention("add", 3, 2.0), Intervention("scale", 5, 3.0), Intervention("set", 7, 1.0, where="from:4"))
SCALES = {3: {"p99": 2.0, "max": 3.0, "mean": 0.5}}


def made_sae(d_in):
    sae = ReLU(d_in, D_SAE)
    draw = torch.Generator().manual_seed(7)
    sae.initialise(torch.randn(d_in, generator=draw) / 10, draw)
    return sae.requires_grad_(False)


def ids_for(n_vocab, rows=2, length=9):
    return torch.randint(2, n_vocab, (rows, length), generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def bare(model_folders):
    return AutoModelForCausalLM.from_pretrained(model_folders["llama"]).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def ids(bare):
    return ids_for(bare.config.vocab_size)


def by_hand(x, sae, interventions, first=0):
    """x' of a pass, token by token."""
    d_in, result = sae.d_in, x.clone().flatten(2)
    for b in range(x.shape[0]):
        for t in range(first, x.shape[1]):
            token = result[b, t].double()
            z = sae.double().encode(token.reshape(1, d_in))[0]
            after = z.clone()
            for i in interventions:
                if i.where == "everywhere" or t >= int(i.where.removeprefix("from:")):
                    after[i.feature] = {"add": z[i.feature] + i.value, "scale": z[i.feature] * i.value, "set": i.value}[
                        i.kind
                    ]
            result[b, t] = (token + (after - z) @ sae.W_dec).float()
    sae.float()
    return result.reshape(x.shape)


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_language_model_computes_with_edited_activations_inside_and_as_ever_outside(model_folders, family, hook):
    model = language_model(model_folders[family], f"blocks.1.{hook}")
    sae, ids = made_sae(model.d_in), ids_for(model.n_vocab)
    before = model.bridge(ids)
    with applied(model, sae, EDITS):
        inside = model.bridge(ids)
    fwd_hooks = [(model.hook, lambda x, hook: by_hand(x, sae, EDITS))]
    expected = model.bridge.run_with_hooks(ids, fwd_hooks=fwd_hooks)
    torch.testing.assert_close(inside, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(inside, before, atol=1e-2)
    assert torch.equal(model.bridge(ids), before)


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_to_the_last_bit_what_generation_does(model_folders, family, hook):
    model = language_model(model_folders[family], f"blocks.1.{hook}")
    sae, ids = made_sae(model.d_in), ids_for(model.n_vocab)
    rows = [resolve(EDITS, None, D_SAE)] * 2
    at = [Positions(counted=torch.ones(ids.shape[1], dtype=torch.bool), prompt_length=0)] * 2
    with applied(model, sae, EDITS):
        inside, _ = model.next_logits(ids)
    assert torch.equal(inside, model.next_logits(ids, edit=rows_edit(sae, rows, at))[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bridge_is_edited_at_the_hook_point_that_is_named(model_folders, family):
    model = language_model(model_folders[family], "blocks.1.hook_mlp_out")
    sae, ids = made_sae(model.d_model), ids_for(model.n_vocab)
    with applied(model, sae, EDITS):
        expected = model.bridge(ids)
    with applied(model.bridge, sae, EDITS, hook="blocks.1.hook_mlp_out"):
        assert torch.equal(model.bridge(ids), expected)
    with applied(model, sae, EDITS, hook="blocks.0.hook_mlp_out"):
        assert not torch.equal(model.bridge(ids), expected)


def test_a_hooked_transformer_is_edited_at_the_hook_point_that_is_named():
    try:
        from transformer_lens import HookedTransformer, HookedTransformerConfig
    except ImportError:
        pytest.skip("TransformerLens 4 has none")
    torch.manual_seed(0)
    config = HookedTransformerConfig(
        n_layers=2, d_model=32, n_ctx=16, d_head=8, n_heads=4, d_mlp=64, d_vocab=50, act_fn="gelu", seed=1, device="cpu"
    )
    model = HookedTransformer(config).eval().requires_grad_(False)
    sae, ids = made_sae(32), ids_for(50)
    before = model(ids)
    with applied(model, sae, EDITS, hook="blocks.1.attn.hook_z"):
        inside = model(ids)
    expected = model.run_with_hooks(ids, fwd_hooks=[("blocks.1.attn.hook_z", lambda x, hook: by_hand(x, sae, EDITS))])
    torch.testing.assert_close(inside, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(model(ids), before)


class SAEIntervenableMLP(nn.Module):
    """The notebook's: the module, then the SAE with its code edited, its output in the module's place."""

    def __init__(self, mlp, sae, change):
        super().__init__()
        self.mlp, self.sae, self.change = mlp, sae, change

    def forward(self, x):
        x = self.mlp(x)
        rows = []
        for row in x:
            z = self.sae.encode(row)
            rows.append(self.sae.decode(self.change(z), row))
        return torch.stack(rows)


def test_replace_is_the_module_with_the_sae_behind_it_to_the_last_bit(bare, ids):
    sae, layer = made_sae(32), bare.model.layers[1]

    def change(z):
        z = z.clone()
        z[:, 3] = 2.5
        z[:, 5] *= 3
        return z

    edits = [Intervention("set", 3, 2.5), Intervention("scale", 5, 3.0)]
    for interventions, by_hand in ((edits, change), ([], lambda z: z)):
        with applied(layer.mlp, sae, interventions, mode="replace"):
            inside = bare(ids).logits
        own = layer.mlp
        layer.mlp = SAEIntervenableMLP(own, sae, by_hand)
        try:
            expected = bare(ids).logits
        finally:
            layer.mlp = own
        assert torch.equal(inside, expected)
        assert not torch.equal(inside, bare(ids).logits)


def test_of_several_outputs_the_first_is_edited(bare, ids):
    sae, part = made_sae(32), bare.model.layers[1].self_attn
    seen = []
    with applied(part, sae, EDITS):
        handle = part.register_forward_hook(lambda module, inputs, output: seen.append(output))
        bare(ids)
        handle.remove()
    handle = part.register_forward_hook(lambda module, inputs, output: seen.append(output))
    bare(ids)
    handle.remove()
    (edited_output, *rest), (plain, *plain_rest) = seen
    torch.testing.assert_close(edited_output, by_hand(plain, sae, EDITS), atol=1e-4, rtol=1e-4)
    assert len(rest) == len(plain_rest)


def test_one_text_without_a_batch_is_edited_too_and_the_precision_stays():
    sae, module = made_sae(32), nn.Linear(32, 32)
    x = torch.randn(6, 32, generator=torch.Generator().manual_seed(1))
    with applied(module, sae, EDITS):
        torch.testing.assert_close(module(x), by_hand(nn.Linear.forward(module, x)[None], sae, EDITS)[0])
    half = module.bfloat16()
    with applied(half, sae, [Intervention("add", 3, 0.0)]):
        got = half(x.bfloat16())
    assert got.dtype == torch.bfloat16 and torch.equal(got, half(x.bfloat16()))


def test_no_intervention_changes_no_bit(bare, ids):
    before = bare(ids).logits
    with applied(bare.model.layers[1].mlp, made_sae(32), [Intervention("ablate", 3, enabled=False)]):
        assert torch.equal(bare(ids).logits, before)


def test_padding_and_whatever_else_does_not_count_passes_through_bit_for_bit():
    counted = torch.tensor([[False, False, True, True, True], [True, True, True, True, False]])
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1))
    module = nn.Identity()
    for mode in ("error-kept", "replace"):
        with applied(module, made_sae(32), EDITS[:1], mode=mode, counted=counted):
            got = module(x)
        assert torch.equal(got[~counted], x[~counted])
        assert (got[counted] != x[counted]).any(dim=1).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(0, 14), st.sampled_from(["prompt", "generated", "from:3", "until:4", "firing"]))
def test_a_place_counts_from_the_first_token_of_the_pass(length, prompt_length, where):
    sae, module = made_sae(32), nn.Identity()
    x = torch.randn(2, length, 32, generator=torch.Generator().manual_seed(length))
    edits = [Intervention("add", 3, 2.0, where=where)]
    with applied(module, sae, edits, prompt_length=prompt_length):
        changed = (module(x) != x).any(dim=2)
    z = sae.encode(x.flatten(0, 1)).reshape(2, length, D_SAE)
    wanted = {
        "prompt": lambda b, t: t < prompt_length,
        "generated": lambda b, t: t >= prompt_length,
        "from:3": lambda b, t: t >= 3,
        "until:4": lambda b, t: t < 4,
        "firing": lambda b, t: bool(z[b, t, 3] > 0),
    }[where]
    assert changed.tolist() == [[wanted(b, t) for t in range(length)] for b in range(2)]


def test_the_rows_of_a_pass_do_not_influence_each_other():
    sae, module = made_sae(32), nn.Identity()
    x = torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(1))
    with applied(module, sae, EDITS):
        together, alone = module(x), [module(x[i : i + 1])[0] for i in range(3)]
    assert all(torch.equal(together[i], alone[i]) for i in range(3))
    at = Positions(counted=torch.ones(5, dtype=torch.bool), prompt_length=0)
    assert torch.equal(together[0], edited(x[0], sae, resolve(EDITS, None, D_SAE), at))


def test_what_a_pass_cannot_know_is_refused(bare, ids):
    sae, part = made_sae(32), bare.model.layers[1].mlp
    for where in ("prompt", "generated,firing"):
        with (
            pytest.raises(UsageError, match="prompt_length"),
            applied(part, sae, [Intervention("ablate", 3, where=where)]),
        ):
            pass
    with (
        pytest.raises(UsageError, match="no turns"),
        applied(part, sae, [Intervention("ablate", 3, where="role:user")]),
    ):
        pass
    edits = [Intervention("add", 3, 2.0, where="generated")]
    with applied(part, sae, edits, prompt_length=9):
        cache = bare(ids, use_cache=True).past_key_values
        with pytest.raises(UsageError, match="use_cache=False"):
            bare(ids[:, :1], past_key_values=cache)
    with applied(part, sae, [Intervention("add", 3, 2.0, where="firing")]):
        bare.generate(ids, max_new_tokens=3, do_sample=False)


def test_a_text_that_is_generated_is_edited_where_it_is_generated(bare, ids):
    sae, part = made_sae(32), bare.model.layers[1].mlp
    arguments = {"max_new_tokens": 4, "do_sample": False, "use_cache": False, "output_logits": True}
    plain = bare.generate(ids, return_dict_in_generate=True, **arguments)
    with applied(part, sae, [Intervention("add", 3, 50.0, where="generated")], prompt_length=ids.shape[1]):
        steered = bare.generate(ids, return_dict_in_generate=True, **arguments)
    assert torch.equal(steered.logits[0], plain.logits[0])
    assert not torch.equal(steered.logits[1], plain.logits[1])


def test_strengths_are_in_units_of_the_scales_and_a_recipe_is_attached_by_its_interventions():
    recipe = Recipe(request=GenerationRequest(prompt="", interventions=(Intervention("add", 3, 2.0, "p99"),)))
    sae, module = made_sae(32), nn.Identity()
    x = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(1))
    with applied(module, sae, recipe.interventions, SCALES):
        torch.testing.assert_close(module(x), x + 4 * sae.W_dec[3])
    with (
        pytest.raises(QueryError, match="the p99 of feature 3 is not known"),
        applied(module, sae, recipe.interventions),
    ):
        pass
    with pytest.raises(QueryError, match="no feature 99"), applied(module, sae, [Intervention("ablate", 99)]):
        pass


def test_after_an_error_the_model_is_as_it_was_and_the_error_is_the_one_that_was_raised(bare, ids):
    sae, part = made_sae(32), bare.model.layers[1].mlp
    before = bare(ids).logits
    with pytest.raises(ZeroDivisionError), applied(part, sae, EDITS):
        _ = 1 / 0
    assert not part._forward_hooks
    assert torch.equal(bare(ids).logits, before)


def test_after_an_error_a_language_model_is_as_it_was(model_folders):
    model = language_model(model_folders["gpt2"])
    ids = ids_for(model.n_vocab)
    before = model.bridge(ids)
    with pytest.raises(ZeroDivisionError), applied(model, made_sae(32), EDITS):
        model.bridge(ids)
        _ = 1 / 0
    assert torch.equal(model.bridge(ids), before)


def test_a_hook_that_did_not_fire_is_an_error(bare, ids, model_folders):
    model, part = language_model(model_folders["llama"]), bare.model.layers[1].mlp
    with pytest.raises(ModelError, match="LlamaMLP did not fire: nothing"), applied(part, made_sae(32), EDITS):
        pass
    with pytest.raises(ModelError, match=r"blocks.1.hook_resid_post did not fire"), applied(model, made_sae(32), EDITS):
        pass


def test_what_cannot_be_edited_is_said_in_a_sentence(bare, ids, model_folders):
    model, sae = language_model(model_folders["llama"]), made_sae(32)
    cases = [
        (lambda: applied(model.bridge, sae, EDITS, hook="blocks.1.hook_mlp_ou"), ModelError, "did you mean"),
        (lambda: applied(model.bridge, sae, EDITS), UsageError, "name one"),
        (lambda: applied(bare.model.layers[1], sae, EDITS, hook="mlp"), UsageError, "give the part itself"),
        (lambda: applied("smollm2", sae, EDITS), UsageError, "a str is no model"),
    ]
    for make, kind, says in cases:
        with pytest.raises(kind, match=says), make():
            pass
    with (
        pytest.raises(ModelError, match="the SAE reads 16 numbers a token"),
        applied(bare.lm_head, made_sae(16), EDITS),
    ):
        bare(ids)
    part, counted = bare.model.layers[1].mlp, torch.ones(3, dtype=torch.bool)
    with (
        pytest.raises(UsageError, match="is of 3 positions, and a pass has 9"),
        applied(part, sae, EDITS, counted=counted),
    ):
        bare(ids)

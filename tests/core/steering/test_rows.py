"""Rows of a batch on real tiny models: the model's own bits, rows apart from each other, back and on again."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.errors import RunError
from core.models.language import LanguageModel
from core.options import TokensConfig
from core.sae.topk import TopK
from core.steering.interventions import Resolved
from core.steering.prompts import read
from core.steering.rows import Rows

HOOKS = (
    "blocks.1.hook_resid_pre", "blocks.1.hook_resid_post", "blocks.1.hook_mlp_out", "blocks.1.hook_attn_out",
    "blocks.1.attn.hook_z",
)  # fmt: skip
ADD = (Resolved("add", 3, 4.0, "everywhere"),)
SCALE = (Resolved("set", 5, 9.0, "generated"), Resolved("ablate", 2, 0.0, "everywhere"))


@pytest.fixture(params=["gpt2", "llama", "gemma2"])
def family(request):
    return request.param


def loaded(folder, hook):
    return LanguageModel(
        folder.name, AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder), hook,
        torch.device("cpu"),
    )  # fmt: skip


def sae_for(model):
    sae = TopK(model.d_in, 24, 6)
    draw = torch.Generator().manual_seed(7)
    sae.initialise(torch.randn(model.d_in, generator=draw) / 10, draw)
    return sae


@pytest.fixture
def make(model_folders, family):
    def make(hook=HOOKS[1], n=2, mode="error-kept", text="the cat sat on a green mat"):
        model = loaded(model_folders[family], hook)
        prompt = read(text, model, TokensConfig())
        return Rows(model, sae_for(model), prompt, n, mode), model

    return make


def run(rows, edits, steps):
    """The logits of some steps, each row going on by its own likeliest token."""
    found = []
    for _ in range(steps):
        found.append(rows.logits(edits))
        rows.take(found[-1].argmax(dim=1).tolist())
    return torch.stack(found)


@pytest.mark.parametrize("hook", HOOKS)
def test_without_interventions_the_logits_are_the_models_own_bit_for_bit(make, model_folders, family, hook):
    rows, model = make(hook)
    alone = AutoModelForCausalLM.from_pretrained(
        model_folders[family], attn_implementation=model.bridge.original_model.config._attn_implementation
    )
    got = run(rows, [None, ()], 6)
    ids = torch.from_numpy(rows.prompt.block.ids).repeat(2, 1)
    cache = None
    for logits in got:
        with torch.no_grad():
            out = alone(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        # A block that is hooked runs through the bridge, whose attention computes the same in another order.
        if "attn" in hook:
            torch.testing.assert_close(logits, out.logits[:, -1].double(), rtol=1e-4, atol=1e-4)
        else:
            assert torch.equal(logits, out.logits[:, -1].double())
        ids = logits.argmax(dim=1, keepdim=True)


@pytest.mark.parametrize("hook", HOOKS)
def test_cached_passes_are_the_whole_pass_with_the_same_edits(make, hook):
    rows, model = make(hook)
    got = run(rows, [None, ADD], 5)
    whole = torch.tensor([rows.tokens(row)[:-1] for row in range(2)])
    shift = ADD[0].value * rows._sae.W_dec[3].detach()

    def edit(x):
        x = x.clone()
        special = torch.isin(whole[1], torch.tensor(sorted(model.tokens.special_ids)))
        x[1, ~special] += shift
        return x

    expected = model.next_logits(whole, edit=edit)[0].double()
    torch.testing.assert_close(got[-1], expected, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(got[-1][0], got[-1][1])


@pytest.mark.parametrize("mode", ["error-kept", "replace"])
def test_a_row_is_bit_for_bit_the_same_whatever_is_in_the_others(make, mode):
    alone = run(make(n=4, mode=mode)[0], [ADD, None, None, None], 5)[:, 0]
    beside = run(make(n=4, mode=mode)[0], [ADD, SCALE, None, ADD], 5)
    assert torch.equal(alone, beside[:, 0]) and torch.equal(alone, beside[:, 3])
    plain = run(make(n=4, mode=mode)[0], [None] * 4, 5)
    assert torch.equal(plain[:, 0], beside[:, 2])


@pytest.mark.parametrize("back", [0, 1, 4])
def test_going_back_and_on_again_gives_the_same_bits(make, back):
    rows, _ = make()
    first = run(rows, [None, ADD], 7)
    rows.rewind(back)
    assert rows.length == back
    assert torch.equal(run(rows, [None, ADD], 7 - back), first[back:])


def test_what_held_before_the_place_one_goes_back_to_stays(make):
    rows, _ = make()
    held = [[None, ADD]] * 3 + [[None, SCALE]] * 2
    for edits in held:
        rows.take(rows.logits(edits).argmax(dim=1).tolist())
    fresh, _ = make()
    for edits, tokens in zip(held[:4], rows._taken, strict=False):
        fresh.logits(edits)
        fresh.take(tokens)
    rows.rewind(4)
    assert torch.equal(rows.logits([None, ()]), fresh.logits([None, ()]))


def test_a_window_that_forgets_is_read_again_step_by_step(model_folders):
    model = loaded(model_folders["gemma2"], HOOKS[1])
    rows = Rows(model, sae_for(model), read("the cat sat on a mat " * 4, model, TokensConfig()), 2)
    first = run(rows, [None, ADD], 6)
    rows.rewind(3)
    assert rows.behind == 3
    rows.catch_up()
    assert rows.behind == 2
    assert torch.equal(run(rows, [None, ADD], 3), first[3:])


def test_a_call_that_was_interrupted_is_made_again(make, monkeypatch):
    rows, model = make()
    first = run(rows, [None, ADD], 5)
    rows.rewind(3)
    whole, calls = model.next_logits, []

    def torn(ids, *, cache=None, edit=None):
        whole(ids, cache=cache, edit=edit)
        if not calls:
            calls.append(1)
            raise KeyboardInterrupt
        return whole(ids, cache=cache, edit=edit)

    monkeypatch.setattr(model, "next_logits", torn)
    with pytest.raises(KeyboardInterrupt):
        rows.logits([None, ADD])
    monkeypatch.setattr(model, "next_logits", whole)
    assert torch.equal(run(rows, [None, ADD], 2), first[3:])


def test_shared_counts_the_steps_with_the_same_edits_and_tokens(make):
    rows, _ = make()
    run(rows, [None, ADD], 3)
    made = [((None, ADD), tokens) for tokens in rows._taken]
    assert rows.shared(made) == 3 and rows.shared(made[:2]) == 2 and rows.shared([]) == 0
    assert rows.shared([*made, ((None, ADD), (1, 1))]) == 3
    assert rows.shared([made[0], ((None, SCALE), made[1][1]), made[2]]) == 1
    assert rows.shared([(made[0][0], (0, 0))]) == 0


def test_a_full_memory_is_said_in_numbers_and_what_was_kept_is_let_go_of(make, monkeypatch):
    rows, model = make(n=8)
    first = run(rows, [None] * 8, 2)
    whole = model.next_logits

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model, "next_logits", full)
    length = len(rows.prompt) + 2
    with pytest.raises(RunError, match=rf"does not hold 8 rows of {length} tokens: take 4 rows at a time") as error:
        rows.logits([None] * 8)
    assert rows._cache is None and error.value.__cause__ is None
    monkeypatch.setattr(model, "next_logits", whole)
    again = rows.logits([None] * 8)
    rows.rewind(0)
    assert torch.equal(run(rows, [None] * 8, 2), first)
    assert torch.equal(rows.logits([None] * 8), again)

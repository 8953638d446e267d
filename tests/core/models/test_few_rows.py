"""Linear layers of a few rows: the same sums, rows apart from each other, a model's own call when it is so."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import AutoModelForCausalLM

from core.models.few_rows import MOST, FewRows, hasten
from tests.conftest import language_model


def layer(n_in=48, n_out=80, *, bias=True):
    made = nn.Sequential(nn.Linear(n_in, n_out, bias=bias))
    hasten(made)
    assert isinstance(made[0], FewRows)
    return made[0]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1,), (2,), (2, 1), (1, 3), (MOST, 1), (MOST + 1,), (2, 9)])
@torch.no_grad()
def test_the_sums_are_those_of_float64(shape, bias):
    one, x = layer(bias=bias), torch.randn(*shape, 48)
    y = one(x)
    slow = x.double() @ one.weight.double().T + (one.bias.double() if bias else 0)
    torch.testing.assert_close(y.double(), slow, rtol=1e-5, atol=1e-5)
    assert y.shape == (*shape, 80) and y.is_contiguous()
    rows = x.numel() // 48
    if rows == 1 or rows > MOST:
        assert torch.equal(y, functional.linear(x, one.weight, one.bias))


@pytest.mark.parametrize("rows", range(2, MOST + 1))
@torch.no_grad()
def test_a_row_is_bit_for_bit_the_same_whatever_the_others_are_and_wherever_it_stands(rows):
    for n_in, n_out in ((48, 80), (576, 192), (576, 1536)):
        one, x = layer(n_in, n_out), torch.randn(n_in)
        found = [one(torch.stack([x if i == at else torch.randn(n_in) for i in range(rows)]))[at] for at in range(rows)]
        assert all(torch.equal(y, found[0]) for y in found)


def test_gradients_pass():
    one, x = layer(), torch.randn(2, 48, requires_grad=True)
    one(x).sum().backward()
    torch.testing.assert_close(x.grad, one.weight.detach().sum(dim=0).expand(2, -1), rtol=1e-4, atol=1e-4)


def test_only_plain_float32_layers_are_so():
    class Own(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(4, 4), Own(4, 4), nn.Linear(4, 4, dtype=torch.bfloat16))
    hasten(model)
    assert [type(module) for module in model] == [FewRows, Own, nn.Linear]


@torch.no_grad()
def test_a_loaded_model_gives_its_own_calls_logits_bit_for_bit_and_the_plain_ones_closely(model_folders):
    model = language_model(model_folders["llama"])
    plain = AutoModelForCausalLM.from_pretrained(model_folders["llama"])
    own = AutoModelForCausalLM.from_pretrained(model_folders["llama"])
    hasten(own)
    ids, caches = torch.arange(7).repeat(2, 1), [None, None, None]
    for _ in range(4):
        logits, caches[0] = model.next_logits(ids, cache=caches[0])
        others = []
        for i, one in enumerate((own, plain), 1):
            out = one(ids, past_key_values=caches[i], use_cache=True, logits_to_keep=1)
            caches[i] = out.past_key_values
            others.append(out.logits[:, -1])
        assert torch.equal(logits, others[0]) and torch.equal(logits[0], logits[1])
        torch.testing.assert_close(logits, others[1], rtol=1e-4, atol=1e-4)
        ids = logits.argmax(dim=1, keepdim=True)

"""The edit of activations against a plain float64 version, and what it must leave alone."""

import pytest
import torch

from core.sae.relu import ReLU
from core.steering.edit import edited, row_edit
from core.steering.interventions import Resolved

N, PROMPT = 9, 5


@pytest.fixture
def x(sae):
    return torch.randn(N, sae.d_in, generator=torch.Generator().manual_seed(1)) * 3


@pytest.fixture
def counted():
    return torch.arange(N) > 0


def on(kind, feature, value=0.0, where="everywhere"):
    return Resolved(kind, feature, value, where)


def naive(x, sae, resolved, counted, mode="error-kept", start=0):
    """Position by position, feature by feature, in float64."""
    sae = sae.double()
    result = []
    for i, row in enumerate(x.double()):
        position = start + i
        z = sae.encode(row.unsqueeze(0))[0]
        after = z.clone()
        for r in resolved:
            here = {
                "everywhere": True,
                "prompt": position < PROMPT,
                "generated": position >= PROMPT,
                "from:3": position >= 3,
            }[r.where]
            if here:
                old = after[r.feature]
                new = {"ablate": 0 * old, "scale": r.value * old, "set": r.value, "add": old + r.value}
                after[r.feature] = new[r.kind]
        if not counted[i]:
            result.append(row)
        elif mode == "replace":
            result.append(sae.decode(after.unsqueeze(0))[0])
        else:
            result.append(row + sum((after - z)[f] * sae.W_dec[f] for f in range(sae.d_sae)))
    sae.float()
    return torch.stack(result).detach()


EDITS = {
    "ablate": [on("ablate", 3)],
    "scale": [on("scale", 3, 4.0), on("scale", 5, -1.0)],
    "set": [on("set", 7, 2.5)],
    "add": [on("add", 0, -1.5), on("add", 23, 3.0)],
    "prompt": [on("add", 3, 2.0, "prompt")],
    "generated": [on("add", 3, 2.0, "generated")],
    "from": [on("set", 3, 2.0, "from:3")],
    "one feature in order": [on("set", 3, 2.0), on("scale", 3, 3.0, "generated"), on("add", 3, 1.0)],
    "mixed": [on("ablate", 3, where="prompt"), on("add", 8, 2.0, "generated"), on("scale", 11, 5.0)],
}


@pytest.mark.parametrize("mode", ["error-kept", "replace"])
@pytest.mark.parametrize("resolved", EDITS.values(), ids=EDITS)
def test_an_edit_equals_the_plain_float64_version(x, sae, counted, resolved, mode):
    got = edited(x, sae, resolved, counted=counted, prompt_length=PROMPT, mode=mode)
    expected = naive(x, sae, resolved, counted, mode)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected.float(), atol=1e-5, rtol=1e-5)


def test_an_edit_holds_for_an_sae_that_does_not_keep_to_k_features(x, counted):
    sae = ReLU(16, 24)
    sae.initialise(torch.zeros(16), torch.Generator().manual_seed(3))
    resolved = EDITS["mixed"]
    got = edited(x, sae, resolved, counted=counted, prompt_length=PROMPT)
    torch.testing.assert_close(got, naive(x, sae, resolved, counted).float(), atol=1e-5, rtol=1e-5)


def test_positions_count_from_the_beginning_of_the_text_not_of_the_tensor(x, sae, counted):
    resolved = EDITS["mixed"]
    whole = edited(x, sae, resolved, counted=counted, prompt_length=PROMPT)
    for i in range(N):
        part = edited(x[i : i + 1], sae, resolved, counted=counted[i : i + 1], prompt_length=PROMPT, start=i)
        torch.testing.assert_close(part[0], whole[i])


@pytest.mark.parametrize("mode", ["error-kept", "replace"])
def test_uncounted_positions_pass_through_bit_for_bit(x, sae, mode):
    counted = torch.tensor([False, True, True, False, True, True, False, True, True])
    got = edited(x, sae, EDITS["add"], counted=counted, prompt_length=PROMPT, mode=mode)
    assert torch.equal(got[~counted], x[~counted])
    assert (got[counted] != x[counted]).any(dim=1).all()


@pytest.mark.parametrize(("where", "first", "end"), [("prompt", 1, 5), ("generated", 5, 9), ("from:3", 3, 9)])
def test_outside_its_place_an_error_kept_edit_changes_no_bit(x, sae, counted, where, first, end):
    got = edited(x, sae, [on("add", 3, 2.0, where)], counted=counted, prompt_length=PROMPT)
    changed = (got != x).any(dim=1)
    assert changed.nonzero().flatten().tolist() == list(range(first, end))


@pytest.mark.parametrize("resolved", [[on("scale", f, 1.0) for f in range(24)], [on("add", 3, 0.0)], []])
def test_an_edit_that_changes_no_code_changes_no_activation(x, sae, counted, resolved):
    assert torch.equal(edited(x, sae, resolved, counted=counted, prompt_length=PROMPT), x)


def test_without_interventions_replace_splices_the_reconstruction_in(x, sae, counted):
    got = edited(x, sae, [], counted=counted, prompt_length=PROMPT, mode="replace")
    with torch.no_grad():
        assert torch.equal(got[1:], sae(x[1:]))
    assert torch.equal(got[0], x[0])


def test_without_interventions_the_error_kept_no_hook_is_made(sae, counted):
    assert row_edit(sae, [], row=1, counted=counted, prompt_length=PROMPT) is None
    assert row_edit(sae, [], row=1, counted=counted, prompt_length=PROMPT, mode="replace") is not None


def test_an_edit_of_a_row_leaves_the_other_and_its_input_as_they_were(x, sae, counted):
    both = torch.stack([x, x])
    edit = row_edit(sae, EDITS["add"], row=1, counted=counted, prompt_length=PROMPT)
    got = edit(both)
    assert torch.equal(got[0], x)
    assert torch.equal(both, torch.stack([x, x]))
    assert torch.equal(got[1], edited(x, sae, EDITS["add"], counted=counted, prompt_length=PROMPT))
    assert not got.requires_grad

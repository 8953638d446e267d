"""The edit of activations against a plain float64 version, and what it must leave alone."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UsageError
from core.sae.relu import ReLU
from core.sae.topk import TopK
from core.steering.edit import Positions, edited, rows_edit
from core.steering.interventions import Resolved
from core.steering.places import place

D, D_SAE, N, PROMPT = 16, 24, 9, 5
ROLES = ("system", "system", None, "user", "user", None, "assistant", "assistant", "assistant")


def made(kind=TopK):
    sae = kind(D, D_SAE, 6) if kind is TopK else kind(D, D_SAE)
    draw = torch.Generator().manual_seed(7)
    sae.initialise(torch.randn(D, generator=draw) / 10, draw)
    return sae.requires_grad_(False)


SAES = {"topk": made(), "relu": made(ReLU)}


def activations(seed, n=N):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.fixture
def x():
    return activations(1)


def positions(counted=None, **changes):
    counted = torch.arange(N) > 0 if counted is None else torch.as_tensor(counted)
    return Positions(**{"counted": counted, "prompt_length": PROMPT, "roles": ROLES[: len(counted)], **changes})


def on(kind, feature, value=0.0, where="everywhere"):
    return Resolved(kind, feature, value, where)


def holds(where, position, at, z, feature):
    """Whether all conditions hold, by the words of the grammar."""
    for word in where.split(","):
        name, _, rest = word.partition(":")
        role = at.roles[position - at.start] if at.roles else None
        there = {
            "everywhere": lambda: True,
            "prompt": lambda: position < at.prompt_length,
            "generated": lambda: position >= at.prompt_length,
            "from": lambda rest=rest: position >= int(rest),
            "until": lambda rest=rest: position < int(rest),
            "role": lambda rest=rest, role=role: role == rest,
            "firing": lambda: z[feature] > 0,
            "while": lambda rest=rest: z[int(rest.split(">")[0])] > float(rest.split(">")[1]),
        }[name]()
        if not there:
            return False
    return True


def naive(x, sae, resolved, at, mode="error-kept"):
    """Position by position, feature by feature, in float64."""
    sae = sae.double()
    result = []
    for i, row in enumerate(x.double()):
        z = sae.encode(row.unsqueeze(0))[0]
        after = z.clone()
        for r in resolved:
            if holds(r.where, at.start + i, at, z, r.feature):
                old, v = float(after[r.feature]), r.value
                after[r.feature] = {
                    "ablate": 0, "mean-ablate": v, "scale": v * old, "set": v, "add": old + v, "cap": min(old, v),
                }[r.kind]  # fmt: skip
        if not at.counted[i]:
            result.append(row)
        elif mode == "replace":
            result.append(sae.decode(after.unsqueeze(0))[0])
        else:
            result.append(row + sum((after - z)[f] * sae.W_dec[f] for f in range(sae.d_sae)))
    sae.float()
    return torch.stack(result).detach()


EDITS = {
    "ablate": [on("ablate", 3)],
    "mean-ablate": [on("mean-ablate", 3, 0.25), on("mean-ablate", 11, 0.5, "generated")],
    "scale": [on("scale", 3, 4.0), on("scale", 5, -1.0)],
    "set": [on("set", 7, 2.5)],
    "add": [on("add", 0, -1.5), on("add", 23, 3.0)],
    "cap": [on("cap", f, 0.5) for f in range(D_SAE)],
    "cap below 0": [on("cap", 3, -2.0)],
    "prompt": [on("add", 3, 2.0, "prompt")],
    "generated": [on("add", 3, 2.0, "generated")],
    "from": [on("set", 3, 2.0, "from:3")],
    "until": [on("set", 3, 2.0, "until:3")],
    "role": [on("set", 3, 2.0, "role:user"), on("add", 4, 1.0, "role:system")],
    "firing": [on("add", f, 2.0, "firing") for f in range(D_SAE)],
    "while": [on("add", 3, 2.0, "while:5>0.5"), on("add", 5, 9.0, "while:3>0.2,from:2")],
    "one feature in order": [on("set", 3, 2.0), on("scale", 3, 3.0, "generated"), on("add", 3, 1.0)],
    "silenced, and still where it fired": [on("ablate", 3), on("add", 3, 2.0, "firing")],
    "mixed": [on("ablate", 3, where="prompt"), on("add", 8, 2.0, "generated"), on("scale", 11, 5.0)],
}


@pytest.mark.parametrize("mode", ["error-kept", "replace"])
@pytest.mark.parametrize("kind", SAES)
@pytest.mark.parametrize("resolved", EDITS.values(), ids=EDITS)
def test_an_edit_equals_the_plain_float64_version(x, resolved, kind, mode):
    got = edited(x, SAES[kind], resolved, positions(), mode)
    expected = naive(x, SAES[kind], resolved, positions(), mode)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected.float(), atol=1e-5, rtol=1e-5)


@dataclass
class Case:
    """A random text with random edits."""

    sae: object
    x: torch.Tensor
    at: Positions
    resolved: list[Resolved]


WORDS = st.sampled_from([
    "everywhere", "prompt", "generated", "from:0", "from:4", "from:11", "until:3", "until:12", "role:user",
    "role:assistant", "firing", "while:2>0", "while:7>0.8", "while:5>-1",
])  # fmt: skip


def possible(where):
    try:
        place(where)
    except UsageError:
        return False
    return True


@st.composite
def cases(draw):
    n = draw(st.integers(1, 12))
    roles = st.sampled_from(["user", "assistant", "system", None])
    at = Positions(
        counted=torch.tensor(draw(st.lists(st.booleans(), min_size=n, max_size=n))),
        prompt_length=draw(st.integers(0, 14)),
        start=draw(st.integers(0, 6)),
        roles=tuple(draw(st.lists(roles, min_size=n, max_size=n))),
    )
    edit = st.builds(
        Resolved,
        st.sampled_from(["ablate", "mean-ablate", "scale", "set", "add", "cap"]),
        st.integers(0, D_SAE - 1),
        st.floats(-4, 4, width=32),
        st.lists(WORDS, min_size=1, max_size=3).map(",".join).filter(possible),
    )
    sae = SAES[draw(st.sampled_from(sorted(SAES)))]
    return Case(sae, activations(draw(st.integers(0, 99)), n), at, draw(st.lists(edit, max_size=4)))


@settings(max_examples=150, deadline=None)
@given(cases(), st.sampled_from(["error-kept", "replace"]))
def test_any_edits_of_any_text_equal_the_plain_version_and_touch_nothing_else(case, mode):
    got = edited(case.x, case.sae, case.resolved, case.at, mode)
    torch.testing.assert_close(got, naive(case.x, case.sae, case.resolved, case.at, mode).float(), atol=2e-5, rtol=2e-5)
    z = case.sae.encode(case.x).detach()
    for i in range(len(case.x)):
        somewhere = any(holds(r.where, case.at.start + i, case.at, z[i], r.feature) for r in case.resolved)
        if not case.at.counted[i] or (mode == "error-kept" and not somewhere):
            assert same_bits(got[i], case.x[i])


@settings(max_examples=50, deadline=None)
@given(cases(), WORDS)
def test_a_place_touches_its_positions_and_no_other(case, where):
    resolved = [on("add", 3, 2.0, where)]
    z = case.sae.encode(case.x).detach()
    wanted = [
        bool(case.at.counted[i]) and holds(where, case.at.start + i, case.at, z[i], 3) for i in range(len(case.x))
    ]
    got = edited(case.x, case.sae, resolved, case.at)
    assert (got != case.x).any(dim=1).tolist() == wanted


@settings(max_examples=50, deadline=None)
@given(cases(), st.randoms(use_true_random=False), st.sampled_from(["error-kept", "replace"]))
def test_the_order_of_edits_of_different_features_is_of_no_consequence_to_the_last_bit(case, random, mode):
    resolved = list({r.feature: r for r in case.resolved}.values())
    shuffled = random.sample(resolved, len(resolved))
    assert same_bits(*(edited(case.x, case.sae, edits, case.at, mode) for edits in (resolved, shuffled)))


@pytest.mark.parametrize("kind", SAES)
def test_ablation_takes_exactly_the_features_contribution_away(x, kind):
    sae, at = SAES[kind], positions()
    z = sae.encode(x).detach()
    for feature in range(D_SAE):
        got = edited(x, sae, [on("ablate", feature)], at)
        contribution = z[:, feature : feature + 1] * sae.W_dec[feature].detach()
        torch.testing.assert_close((got - x)[1:], -contribution[1:], atol=1e-6, rtol=1e-5)
        silent = z[:, feature] == 0
        assert same_bits(got[silent], x[silent])


def test_ablation_shows_when_it_is_encoded_again_where_the_sae_allows(x):
    sae = made(ReLU)
    draw = torch.randn(D, D, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():  # orthonormal rows: what a feature writes only its opposite reads too
        sae.W_dec.copy_(torch.linalg.qr(draw)[0].repeat(2, 1)[:D_SAE])
        sae.W_dec[D:] *= -1
        sae.W_enc.copy_(sae.W_dec.T)
    z = sae.encode(x).detach()
    again = sae.encode(edited(x, sae, [on("ablate", 3)], positions())).detach()
    assert (z[1:, 3] > 0).any()
    torch.testing.assert_close(again[1:, 3], torch.zeros(N - 1), atol=1e-5, rtol=0)
    others = [f for f in range(D_SAE) if f not in (3, 3 + D)]
    torch.testing.assert_close(again[1:, others], z[1:, others], atol=1e-5, rtol=1e-5)


def test_positions_count_from_the_beginning_of_the_text_not_of_the_tensor(x):
    sae, resolved = SAES["topk"], [*EDITS["mixed"], *EDITS["role"][1:], on("set", 9, 1.0, "from:2,until:7")]
    whole = edited(x, sae, resolved, positions())
    for i in range(N):
        at = positions([i > 0], start=i, roles=ROLES[i : i + 1])
        torch.testing.assert_close(edited(x[i : i + 1], sae, resolved, at)[0], whole[i])


@pytest.mark.parametrize("mode", ["error-kept", "replace"])
def test_uncounted_positions_pass_through_bit_for_bit(x, mode):
    counted = torch.tensor([False, True, True, False, True, True, False, True, True])
    got = edited(x, SAES["topk"], EDITS["add"], positions(counted), mode)
    assert same_bits(got[~counted], x[~counted])
    assert (got[counted] != x[counted]).any(dim=1).all()


@pytest.mark.parametrize("resolved", [[on("scale", f, 1.0) for f in range(D_SAE)], [on("add", 3, 0.0)], []])
def test_an_edit_that_changes_no_code_changes_no_bit(x, resolved):
    x[:, ::3] = -0.0
    assert same_bits(edited(x, SAES["topk"], resolved, positions()), x)


def test_without_interventions_replace_splices_the_reconstruction_in(x):
    got = edited(x, SAES["topk"], [], positions(), "replace")
    with torch.no_grad():
        assert torch.equal(got[1:], SAES["topk"](x[1:]))
    assert same_bits(got[0], x[0])


def test_a_role_in_a_text_without_roles_is_refused(x):
    with pytest.raises(UsageError, match="no turns of the user"):
        edited(x, SAES["topk"], EDITS["role"], positions(roles=None))


def test_where_no_row_has_anything_to_do_no_hook_is_made():
    at, sae = [positions()] * 2, SAES["topk"]
    assert rows_edit(sae, [None, ()], at) is None
    assert rows_edit(sae, [(), ()], at) is None
    assert rows_edit(sae, [None, None], at, "replace") is None
    assert rows_edit(sae, [None, ()], at, "replace") is not None


@pytest.mark.parametrize("mode", ["error-kept", "replace"])
def test_rows_are_as_if_each_were_alone_and_a_row_of_none_is_left_alone(mode):
    sae, rows = SAES["topk"], [None, EDITS["add"], (), EDITS["while"], EDITS["ablate"]]
    x = torch.stack([activations(i) for i in range(5)])
    before = x.clone()
    at = [positions(torch.arange(N) > i) for i in range(5)]
    got = rows_edit(sae, rows, at, mode)(x)
    assert same_bits(x, before) and same_bits(got[0], x[0])
    assert not got.requires_grad
    for i in range(1, 5):
        assert same_bits(got[i], edited(x[i], sae, rows[i], at[i], mode))
        alone = rows_edit(sae, [rows[i]], [at[i]], mode)
        assert same_bits(got[i], x[i] if alone is None else alone(x[i : i + 1])[0])
    assert same_bits(got[2], x[2]) == (mode == "error-kept")


@settings(max_examples=40, deadline=None)
@given(st.lists(cases(), min_size=2, max_size=4), st.integers(0, 99), st.sampled_from(["error-kept", "replace"]))
def test_what_is_in_one_row_changes_no_bit_of_another(texts, seed, mode):
    n, sae = min(len(t.x) for t in texts), SAES["topk"]
    at = [
        Positions(counted=t.at.counted[:n], prompt_length=t.at.prompt_length, start=t.at.start, roles=t.at.roles[:n])
        for t in texts
    ]
    x = torch.stack([t.x[:n] for t in texts])
    rows = [t.resolved for t in texts]
    edit, other = (rows_edit(sae, [first, *rows[1:]], at, mode) for first in (rows[0], [on("add", 1, 9.0)]))
    changed = x.clone()
    changed[0] = activations(seed, n)
    one = x if edit is None else edit(x)
    assert same_bits(one[1:], other(changed)[1:])


def same_bits(a, b):
    return torch.equal(a.detach().view(torch.int32), b.detach().view(torch.int32))

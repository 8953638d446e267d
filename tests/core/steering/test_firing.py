"""What fires on the tokens of a text, before and behind interventions, and how likely the model finds them."""

import pytest
import torch

from core.activations import PLACES
from core.options import TokensConfig
from core.records import TokenReport
from core.steering.firing import firing
from core.steering.generate import generate
from core.steering.interventions import Intervention
from core.steering.request import GREEDY, GenerationRequest
from core.steering.transcript import Change


def ask(prompt, *interventions, **more):
    return GenerationRequest(prompt=prompt, interventions=interventions, **more)


def test_what_fires_on_a_text_is_listed_by_token_strongest_first(model, sae, config, ids):
    found = firing(model, sae, ask("héy"), config, top=4)
    assert [f.token_id for f in found] == [ids.bos, *"héy".encode()]
    assert [f.counted for f in found] == [False, True, True, True, True]
    assert found[0].features == ()
    assert found[1].text == "h"
    x = model.activations(torch.tensor([[f.token_id for f in found]]))[0]
    z = sae.encode(x).detach()
    for i, token in enumerate(found[1:], start=1):
        values, features = z[i].sort(descending=True)
        assert [f for f, _ in token.features] == features[:4].tolist()
        assert [v for _, v in token.features] == pytest.approx(values[:4].tolist())
        assert token.active == int((z[i] > 0).sum()) and token.z_nonzero == token.active / sae.d_sae
        assert token.x_nonzero == float((x[i] != 0).double().mean()) > 0
        for ranked, row in ((token.x_ranked, x[i]), (token.z_ranked, z[i])):
            sizes, n = row.abs().sort(descending=True).values, min(PLACES, len(row))
            assert ranked == pytest.approx([float(sizes[k * len(row) // n]) for k in range(n)], rel=0.006)
    assert (found[0].active, found[0].x_nonzero, found[0].z_nonzero) == (0, 0.0, 0.0)
    assert found[0].x_ranked == found[0].z_ranked == ()
    assert all(v > 0 for f in firing(model, sae, ask("héy"), config, top=99) for _, v in f.features)
    assert all(len(f.features) <= 6 for f in firing(model, sae, ask("héy"), config, top=99))


def test_what_fires_on_tokens_that_come_after_a_text_is_listed_as_the_model_reads_them(model, sae, config, ids):
    # Half of a character, and the end token: as text they would not be these tokens.
    found = firing(model, sae, ask("h"), config, top=99, then=[0xC3, ids.eos, ord("y")])
    assert [f.token_id for f in found] == [ids.bos, ord("h"), 0xC3, ids.eos, ord("y")]
    assert [f.counted for f in found] == [False, True, True, False, True]
    z = sae.encode(model.activations(torch.tensor([[f.token_id for f in found]]))[0]).detach()
    assert dict(found[4].features) == pytest.approx({f: float(v) for f, v in enumerate(z[4]) if v > 0})


def test_each_token_but_the_first_has_its_probability_behind_those_before_it(model, sae, config):
    found = firing(model, sae, ask("hello"), config, then=[7, 8])
    ids = torch.tensor([[f.token_id for f in found]])
    assert found[0].logprob is None
    for i in range(1, len(found)):
        logits = model.next_logits(ids[:, :i])[0][0].double()
        assert found[i].logprob == pytest.approx(float(logits.log_softmax(0)[ids[0, i]]), abs=1e-6)


def test_without_interventions_nothing_is_told_of_what_is_behind_them(model, sae, config):
    assert all(token.after == () for token in firing(model, sae, ask("hello"), config))


def test_behind_an_intervention_the_feature_is_what_it_was_set_to_where_it_holds(model, sae, config, active):
    feature = active("hello")[0]
    sae.W_enc.data.zero_()  # an SAE of one feature that reads back just what is written
    sae.W_enc.data[:, feature] = sae.W_dec[feature] / sae.W_dec[feature].square().sum()
    sae.b_enc.data.zero_()
    sae.b_dec.data.zero_()
    held, later = Intervention("set", feature, 3.0, where="prompt"), Intervention("set", feature, 5.0)
    changes = [Change(2, (later,))]
    found = firing(model, sae, ask("hello", held), config, changes=changes, then=[65, 66, 67])
    after = [dict(token.after).get(feature) for token in found]
    assert after[0] is None and found[0].after == ()
    x = model.activations(torch.tensor([[f.token_id for f in found]]))[0]
    under = (x @ sae.W_enc[:, feature]).clamp(max=0).tolist()  # what a feature that is silent leaves to be made up for
    assert after[1:6] == pytest.approx([3.0 + u for u in under[1:6]], rel=1e-4)
    # The first generated token was read for the choice of the second: index 1, where the prompt's edit still holds.
    assert after[6] == pytest.approx(dict(found[6].features).get(feature))
    assert after[7:] == pytest.approx([5.0 + u for u in under[7:]], rel=1e-4)


def test_before_is_what_the_model_computes_without_edits(model, sae, config, active):
    edits = [Intervention("add", active("hello")[0], 4.0)]
    plain = firing(model, sae, ask("hello"), config)
    steered = firing(model, sae, ask("hello", *edits), config)
    assert [t.features for t in plain] == [t.features for t in steered]
    assert any(t.after != t.features for t in steered)


def test_perplexity_of_a_text_is_that_of_the_baseline_that_wrote_it(model, sae, active):
    config = TokensConfig()
    request = ask("hello", tokens=6, sampling=GREEDY)
    reports = [r for r in generate(model, sae, request, config, None) if isinstance(r, TokenReport)]
    tokens = [r.baseline.token_id for r in reports]
    logprobs = [t.logprob for t in firing(model, sae, request, config, then=tokens)][-6:]
    assert logprobs == pytest.approx([r.baseline.logprob_baseline for r in reports], abs=1e-5)

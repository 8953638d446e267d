"""Attribution on the tiny Llama, against float64 arithmetic, finite differences and whole passes one by one."""

import pytest
import torch
from scipy import stats

from core.analysis import attribution
from core.errors import UsageError
from core.models.gradients import gradients
from core.options import TokensConfig
from core.sae.topk import TopK
from core.tokens import prompt_block
from tests.conftest import FAMILIES, finished, language_model

TEXT = "the cat sat on a mat while seven dogs ran"


def sae_for(model, k=6):
    sae = TopK(model.d_in, 48, k)
    draw = torch.Generator().manual_seed(7)
    sae.initialise(torch.randn(model.d_in, generator=draw), draw)
    return sae


@pytest.fixture(scope="module")
def sae(toy_language_model):
    return sae_for(toy_language_model)


def asked(model, sae, text=TEXT, **settings):
    work = attribution.attribute(model, sae, text, TokensConfig(), **{"top": 1_000, **settings})
    return finished(work)


def ids_of(model, text=TEXT):
    return torch.from_numpy(prompt_block(text, model.tokens, TokensConfig()).ids)


def score(model, ids, target, edit=None):
    """ℓ of a whole pass, in float64 from the logits on."""
    logits = model.next_logits(ids.unsqueeze(0), edit=edit)[0][0].double()
    return float(logits[target] - logits.mean())


def shifted(position, by):
    def edit(x):
        x = x.clone()
        x[:, position] += by
        return x

    return edit


def test_every_active_feature_on_every_counted_token_is_listed_with_its_activation(toy_language_model, sae):
    found = asked(toy_language_model, sae)
    ids = ids_of(toy_language_model)
    z = sae.encode(toy_language_model.activations(ids.unsqueeze(0))[0]).detach()
    expected = {(i, f): float(z[i, f]) for i in range(1, len(ids)) for f in z[i].nonzero().flatten().tolist()}
    assert found.pairs == len(found.rows) == len(expected)
    for row in found.rows:
        assert row.activation == pytest.approx(expected[row.position, row.feature], rel=1e-4)
    assert found.position == len(ids) - 1 and [t.token_id for t in found.tokens] == ids.tolist()


def test_the_target_is_the_likeliest_token_unless_another_is_named(toy_language_model, sae):
    ids = ids_of(toy_language_model)
    probabilities = toy_language_model.next_logits(ids.unsqueeze(0))[0][0].softmax(0)
    found = asked(toy_language_model, sae)
    assert found.target_id == int(probabilities.argmax())
    assert found.probability == pytest.approx(float(probabilities.max()), rel=1e-3)
    assert [p for _, p in found.likeliest] == sorted((p for _, p in found.likeliest), reverse=True)
    [cat] = toy_language_model.tokens.encode([" cat"])[0]
    named = asked(toy_language_model, sae, target=" cat")
    assert (named.target_id, named.target) == (cat, " cat")
    assert named.score == pytest.approx(score(toy_language_model, ids, cat), rel=1e-3, abs=1e-3)


def test_gradient_times_activation_is_the_slope_of_whole_passes(toy_language_model, sae):
    ids, found = ids_of(toy_language_model), asked(toy_language_model, sae)
    for row in found.rows[:12]:
        step = 0.01 * row.activation * sae.W_dec[row.feature].detach()
        up = score(toy_language_model, ids, found.target_id, shifted(row.position, step))
        down = score(toy_language_model, ids, found.target_id, shifted(row.position, -step))
        assert row.gradient == pytest.approx((up - down) / 0.02, rel=0.05, abs=2e-2)


def test_ablation_is_what_a_whole_pass_without_the_feature_loses(toy_language_model, sae):
    ids, found = ids_of(toy_language_model), asked(toy_language_model, sae, ablations=10)
    clean = score(toy_language_model, ids, found.target_id)
    measured = [row for row in found.rows if row.ablation is not None]
    assert found.ablated == len(measured) == 10
    assert measured == sorted(found.rows, key=lambda row: -abs(row.gradient))[:10]
    for row in measured:
        without = -row.activation * sae.W_dec[row.feature].detach()
        loss = clean - score(toy_language_model, ids, found.target_id, shifted(row.position, without))
        assert row.ablation == pytest.approx(loss, rel=2e-3, abs=2e-3)


def test_batches_of_ablations_change_nothing(toy_language_model, sae, monkeypatch):
    whole = asked(toy_language_model, sae, ablations=7)
    monkeypatch.setattr(attribution, "ROWS", 3)
    parts = asked(toy_language_model, sae, ablations=7)
    assert [r.feature for r in whole.rows[:7]] == [r.feature for r in parts.rows[:7]]
    assert [r.ablation for r in parts.rows[:7]] == pytest.approx([r.ablation for r in whole.rows[:7]], abs=1e-3)


def test_how_well_the_gradient_predicts_ablation_is_told(toy_language_model, sae):
    found = asked(toy_language_model, sae, ablations=20)
    one, other = zip(*[(r.gradient, r.ablation) for r in found.rows if r.ablation is not None], strict=True)
    assert found.pearson == pytest.approx(stats.pearsonr(one, other).statistic, abs=1e-4)
    assert found.spearman == pytest.approx(stats.spearmanr(one, other).statistic, abs=1e-4)
    assert asked(toy_language_model, sae, ablations=2).pearson is None


def test_the_direct_effect_goes_through_final_norm_and_unembedding_alone(toy_language_model, sae):
    """`⟨z d, (γ ⊙ u) / s − r ⟨r, γ ⊙ u⟩ / (d_model s³)⟩` in float64, for Llama's norm."""
    model, ids = toy_language_model, ids_of(toy_language_model)
    found = asked(model, sae)
    last = f"blocks.{model.n_layers - 1}.hook_resid_post"
    kept = []
    with torch.no_grad(), model.bridge.hooks(fwd_hooks=[(last, lambda x, hook: kept.append(x))]):
        model.bridge(ids.unsqueeze(0))
    r = kept[0][0, -1].double()
    norm = model.bridge.original_model.model.norm
    weight = getattr(norm, "original_component", norm).weight.detach().double()
    u = model.bridge.W_U.detach().double()
    u = u[:, found.target_id] - u.mean(dim=1)
    s = (r.pow(2).mean() + 1e-6).sqrt()
    slope = weight * u / s - r * (r @ (weight * u)) / (len(r) * s**3)
    here = [row for row in found.rows if row.position == found.position]
    assert here
    for row in here:
        expected = row.activation * float(sae.W_dec[row.feature].detach().double() @ slope)
        assert row.direct == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert {row.direct for row in found.rows if row.position < found.position} == {0.0}


@pytest.mark.parametrize("family", FAMILIES)
def test_behind_the_last_block_the_direct_effect_is_all_there_is(model_folders, family):
    model = language_model(model_folders[family], "blocks.2.hook_resid_post")
    for row in asked(model, sae_for(model)).rows:
        assert row.gradient == pytest.approx(row.direct, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_at_the_hook_is_that_of_finite_differences_in_every_family(model_folders, family):
    model = language_model(model_folders[family], "blocks.1.hook_mlp_out")
    ids = ids_of(model)
    found = gradients(model, ids.unsqueeze(0), lambda logits: logits[5] - logits.mean())
    assert found.number == pytest.approx(score(model, ids, 5), rel=1e-3, abs=1e-3)
    torch.testing.assert_close(found.x, model.activations(ids.unsqueeze(0))[0], rtol=1e-4, atol=1e-4)
    assert all(parameter.grad is None for parameter in model.bridge.original_model.parameters())
    direction = found.at_hook[3] / found.at_hook[3].norm()
    step = 0.02 * direction
    slope = (score(model, ids, 5, shifted(3, step)) - score(model, ids, 5, shifted(3, -step))) / 0.04
    assert slope == pytest.approx(float(found.at_hook[3] @ direction), rel=0.05, abs=1e-3)


def test_a_position_ends_the_text_and_the_ranking_can_be_another(toy_language_model, sae):
    found = asked(toy_language_model, sae, position=3, rank="activation", top=4)
    assert found.position == 3 and len(found.tokens) == 4 and max(row.position for row in found.rows) <= 3
    assert [row.activation for row in found.rows] == sorted((row.activation for row in found.rows), reverse=True)
    whole = asked(toy_language_model, sae, position=3)
    assert len(found.rows) == 4 < whole.pairs
    for rank in ("direct", "ablation"):
        values = [abs(getattr(row, rank) or 0) for row in asked(toy_language_model, sae, rank=rank, top=9).rows]
        assert values == sorted(values, reverse=True) and values[0] > 0
    sums = {t.token_idx: t.value for t in whole.tokens}
    for i, value in sums.items():
        assert value == pytest.approx(sum(r.gradient for r in whole.rows if r.position == i), abs=1e-3)


def test_outside_the_residual_streams_space_there_is_no_direct_effect(model_folders):
    model = language_model(model_folders["llama"], "blocks.1.attn.hook_z")
    sae = sae_for(model)
    found = asked(model, sae, ablations=3)
    assert found.rows and all(row.direct is None for row in found.rows)
    with pytest.raises(UsageError, match="direct effect"):
        asked(model, sae, rank="direct")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"target": "the cat sat"}, "is . tokens"),
        ({"target": ""}, "0 tokens"),
        ({"position": 99}, "no token 99"),
        ({"position": -1}, "no token -1"),
        ({"rank": "beauty"}, "not ranked by 'beauty'"),
        ({"text": ""}, "no token"),
        ({"text": "green hills " * 100}, "more than the 128"),
    ],
)
def test_what_cannot_be_attributed_is_an_error(toy_language_model, sae, settings, said):
    with pytest.raises(UsageError, match=said):
        asked(toy_language_model, sae, **settings)


def test_tokens_that_came_after_the_text_are_read_as_they_are(toy_language_model, sae):
    ids = ids_of(toy_language_model).tolist()
    first = toy_language_model.tokens.text(ids[1])
    head = ids_of(toy_language_model, first).tolist()
    whole = asked(toy_language_model, sae)
    parted = asked(toy_language_model, sae, first, then=ids[len(head) :])
    assert head == ids[: len(head)] and len(head) < len(ids)
    assert parted == whole
    with pytest.raises(UsageError, match="chat template"):
        asked(toy_language_model, sae, first, chat=True)

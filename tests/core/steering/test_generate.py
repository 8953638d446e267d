"""Generation: rows, seeds, ends, figures, and interventions that change while it streams."""

import math

import pytest
import torch

from core.errors import QueryError, RunError, UsageError
from core.options import TokensConfig
from core.steering.generate import RowText, choose, firing, generate
from core.steering.interventions import GenerationRequest, Intervention

PROMPT = "def test(self):"


def ask(*interventions, **changes):
    return GenerationRequest(**{"prompt": PROMPT, "interventions": interventions, "tokens": 24, **changes})


def run(model, sae, request, config, now=None, scales=None):
    return list(generate(model, sae, request, config, scales, now))


def tokens(reports, row):
    return [getattr(r, row).token_id for r in reports if getattr(r, row)]


def strong(active, n=3, value=9.0, **where):
    return [Intervention("add", f, value, **where) for f in active(PROMPT)[:n]]


@pytest.fixture
def endless(model):
    """A model that never chooses an end token."""
    model.bias[[256, 257]] = -1e4
    return model


def test_greedy_generation_is_the_argmax_of_repeated_full_passes(endless, sae, config, ids):
    reports = run(endless, sae, ask(temperature=0.0), config)
    text = [ids.bos, *PROMPT.encode()]
    for _ in range(24):
        logits, _ = endless.next_logits(torch.tensor([text]))
        text.append(int(logits.argmax()))
    assert tokens(reports, "baseline") == text[-24:] == tokens(reports, "steered")
    assert all(edit is None for edit in endless.edits)


def test_steered_greedy_generation_is_the_argmax_of_full_passes_edited_at_every_position(
    endless, sae, config, active, ids
):
    edits = strong(active)
    reports = run(endless, sae, ask(*edits, temperature=0.0), config)
    text = [ids.bos, *PROMPT.encode()]
    shift = sum(9.0 * sae.W_dec[i.feature] for i in edits).detach()
    for _ in range(24):

        def edit(x):
            return torch.cat([x[:, :1], x[:, 1:] + shift], dim=1)

        logits, _ = endless.next_logits(torch.tensor([text]), edit=edit)
        text.append(int(logits.argmax()))
    assert tokens(reports, "steered") == text[-24:]
    assert tokens(reports, "steered") != tokens(reports, "baseline")


def test_the_baseline_is_bit_for_bit_the_same_whatever_is_done_to_the_steered_row(endless, sae, config, active):
    plain = run(endless, sae, ask(seed=3), config)
    steered = run(endless, sae, ask(*strong(active), seed=3), config)
    assert tokens(plain, "baseline") == tokens(steered, "baseline")
    assert [r.baseline.logprob_baseline for r in plain] == [r.baseline.logprob_baseline for r in steered]
    assert tokens(steered, "steered") != tokens(steered, "baseline")


def test_the_same_seed_gives_the_same_reports_and_another_gives_others(endless, sae, config, active):
    first, again, other = (run(endless, sae, ask(*strong(active), seed=s), config) for s in (7, 7, 8))
    assert first == again
    assert tokens(first, "baseline") != tokens(other, "baseline")


@pytest.mark.parametrize("items", [[], [Intervention("scale", f, 1.0) for f in range(24)]])
def test_rows_share_their_draws_so_an_edit_that_does_nothing_gives_equal_texts(endless, sae, config, items):
    reports = run(endless, sae, ask(*items, temperature=1.3), config)
    assert len(set(tokens(reports, "baseline"))) > 3
    assert tokens(reports, "baseline") == tokens(reports, "steered")
    assert all(r.kl < 1e-9 and r.same_context for r in reports)


def test_draws_follow_the_softmax_at_the_temperature():
    logits = torch.randn(1, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    draw = torch.Generator().manual_seed(1)
    n = 4_000
    counts = torch.bincount(torch.tensor([choose(logits, 0.7, draw)[0] for _ in range(n)]), minlength=5)
    expected = (logits[0] / 0.7).softmax(0)
    assert ((counts / n - expected).abs() < 5 * (expected * (1 - expected) / n).sqrt() + 1e-9).all()


def test_a_step_reports_log_probs_under_both_rows_and_their_kl(endless, sae, config, active, ids):
    edits = strong(active, where="prompt")
    report = run(endless, sae, ask(*edits, temperature=0.9), config)[0]
    text = torch.tensor([[ids.bos, *PROMPT.encode()]])
    shift = sum(9.0 * sae.W_dec[i.feature] for i in edits).detach()
    q = endless.next_logits(text)[0][0].double().softmax(0)
    edit_all = endless.next_logits(text, edit=lambda x: torch.cat([x[:, :1], x[:, 1:] + shift], dim=1))
    p = edit_all[0][0].double().softmax(0)
    for choice in (report.baseline, report.steered):
        assert choice.logprob_baseline == pytest.approx(math.log(q[choice.token_id]), abs=1e-4)
        assert choice.logprob_steered == pytest.approx(math.log(p[choice.token_id]), abs=1e-4)
    possible = p > 0
    assert report.kl == pytest.approx(float((p * (p / q).log())[possible].sum()), rel=1e-4)
    assert report.kl > 0.01


def test_the_contexts_are_the_same_until_the_token_after_the_first_difference(endless, sae, config, active):
    reports = run(endless, sae, ask(*strong(active), seed=1), config)
    differs = next(i for i, r in enumerate(reports) if r.baseline.token_id != r.steered.token_id)
    assert [r.same_context for r in reports] == [i <= differs for i in range(len(reports))]


def test_a_change_while_it_streams_holds_from_the_next_token_on(endless, sae, config, active):
    current = []
    stream = generate(endless, sae, ask(seed=2), config, None, lambda: current)
    before = [next(stream) for _ in range(10)]
    current = strong(active)
    after = list(stream)
    assert tokens(before, "baseline") == tokens(before, "steered")
    assert all(r.kl < 1e-9 for r in before)
    assert after[0].same_context
    assert after[0].kl > 0.01
    assert [e is None for e in endless.edits] == [True] * 10 + [False] * 14


def test_what_only_holds_in_generated_text_leaves_the_first_token_alone(endless, sae, config, active):
    reports = run(endless, sae, ask(*strong(active, where="generated"), temperature=0.0), config)
    assert reports[0].kl < 1e-9
    assert reports[1].kl > 0.01


def test_replace_steers_by_the_reconstruction_alone(endless, sae, config):
    reports = run(endless, sae, ask(mode="replace", temperature=0.0), config)
    plain = run(endless, sae, ask(temperature=0.0), config)
    assert tokens(reports, "baseline") == tokens(plain, "baseline")
    assert reports[0].kl > 0.01


def test_a_special_token_in_the_generated_text_is_not_edited(model, sae, active, ids):
    model.bias[ids.eos] = -1e4
    model.bias[ids.bos] = 12.0
    request = ask(*strong(active, value=1.0, where="generated"), tokens=4, temperature=0.0)
    kept = run(model, sae, request, TokensConfig())
    assert tokens(kept, "steered") == [ids.bos] * 4
    assert all(r.kl < 1e-9 for r in kept)
    edited = run(model, sae, request, TokensConfig(skip_special=False))
    assert edited[1].kl > 1e-6


def test_a_row_ends_with_its_end_token_and_the_other_goes_on(endless, sae, config, active, ids):
    """The end token gets likely under the steering direction only."""
    edits = [Intervention("add", active(PROMPT)[0], 60.0, where="from:18")]
    direction = sae.W_dec[edits[0].feature].detach()
    endless.bias[ids.eos] = -40.0
    endless.unembedding[:, ids.eos] = direction * 10
    reports = run(endless, sae, ask(*edits, temperature=0.0), config)
    end = next(i for i, r in enumerate(reports) if r.steered is None)
    assert reports[end - 1].steered.token_id == ids.eos
    assert "<eos>" not in "".join(r.steered.text for r in reports[:end])
    assert all(r.steered is None and r.baseline for r in reports[end:])
    assert len(reports) == 24
    assert all(math.isfinite(r.kl) for r in reports)


def test_generation_stops_when_both_rows_have_ended(model, sae, config, ids):
    model.bias[ids.eos] = 1e4
    reports = run(model, sae, ask(), config)
    assert [(r.baseline.token_id, r.baseline.text) for r in reports] == [(ids.eos, "")]


def test_closing_the_stream_stops_the_work(endless, sae, config):
    stream = generate(endless, sae, ask(), config, None)
    next(stream)
    stream.close()
    assert len(endless.edits) == 1


@pytest.mark.parametrize("seed", range(5))
def test_the_pieces_of_a_text_are_together_the_decode_of_its_tokens(endless, sae, config, seed):
    reports = run(endless, sae, ask(seed=seed, temperature=2.0), config)
    made = tokens(reports, "baseline")
    assert "".join(r.baseline.text for r in reports) == endless.tokens.decode(made)
    assert any(i > 127 for i in made)


def test_a_character_comes_with_its_last_byte_and_never_in_parts(model):
    row = RowText(model.tokens.decode, after=ord("a"))
    assert [row.add(b) for b in "é→b".encode()] == ["", "é", "", "", "→", "b"]
    assert [row.add(b) for b in b"\xf0\x9f"] == ["", ""]
    assert row.end() == "\ufffd"


def test_a_leading_space_that_the_tokenizer_drops_is_kept_within_a_text():
    def decode(ids):
        return "".join(f" {chr(i)}" for i in ids).removeprefix(" ")

    row = RowText(decode, after=ord("a"))
    assert [row.add(ord("b")), row.add(ord("c"))] == [" b", " c"]


def test_an_empty_prompt_needs_a_bos_token(endless, sae, config):
    assert len(run(endless, sae, ask(prompt="", tokens=3), config)) == 3
    with pytest.raises(UsageError):
        run(endless, sae, ask(prompt=""), TokensConfig(prepend_bos=False))


def test_a_text_longer_than_the_model_reads_is_refused_before_any_work(endless, sae, config):
    with pytest.raises(UsageError, match=r"177 tokens of text and 24 to generate .* 200"):
        run(endless, sae, ask(prompt="a" * 176), config)
    with pytest.raises(UsageError, match="201 tokens of text are more than the 200"):
        firing(endless, sae, "a" * 200, config)
    assert len(run(endless, sae, ask(prompt="a" * 175), config)) == 24
    assert len(firing(endless, sae, "a" * 199, config)) == 200


def test_a_feature_that_does_not_exist_is_refused_before_any_work(endless, sae, config):
    with pytest.raises(QueryError, match="0 to 23"):
        run(endless, sae, ask(Intervention("ablate", 24)), config)
    assert endless.edits == []


def test_strengths_in_units_are_taken_from_the_scales(endless, sae, config, active):
    feature = active(PROMPT)[0]
    scales = {feature: {"p99": 3.0, "max": 9.0}}
    raw = run(endless, sae, ask(Intervention("add", feature, 6.0)), config)
    assert run(endless, sae, ask(Intervention("add", feature, 2.0, "p99")), config, scales=scales) == raw


def test_an_edit_too_strong_for_numbers_is_said(endless, sae, config):
    with pytest.raises(RunError, match="lower its strength"):
        run(endless, sae, ask(Intervention("set", 3, 3e38), Intervention("set", 4, 3e38)), config)


def test_generation_leaves_gradients_on_between_its_tokens(endless, sae, config, active):
    stream = generate(endless, sae, ask(*strong(active)), config, None)
    next(stream)
    assert torch.is_grad_enabled()


def test_what_fires_on_a_text_is_listed_by_token_strongest_first(model, sae, config, ids):
    found = firing(model, sae, "héy", config, top=4)
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
    assert all(v > 0 for f in firing(model, sae, "héy", config, top=99) for _, v in f.features)
    assert all(len(f.features) <= 6 for f in firing(model, sae, "héy", config, top=99))


def test_what_fires_on_tokens_that_come_after_a_text_is_listed_as_the_model_reads_them(model, sae, config, ids):
    # Half of a character, and the end token: as text they would not be these tokens.
    found = firing(model, sae, "h", config, top=99, then=[0xC3, ids.eos, ord("y")])
    assert [f.token_id for f in found] == [ids.bos, ord("h"), 0xC3, ids.eos, ord("y")]
    assert [f.counted for f in found] == [False, True, True, False, True]
    z = sae.encode(model.activations(torch.tensor([[f.token_id for f in found]]))[0]).detach()
    assert dict(found[4].features) == pytest.approx({f: float(v) for f, v in enumerate(z[4]) if v > 0})

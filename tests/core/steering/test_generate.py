"""Generation: rows, seeds, ends, figures, and interventions that change while it streams."""

import math

import pytest
import torch

from core.errors import QueryError, RunError, UsageError
from core.options import TokensConfig
from core.records import TokenReport
from core.steering.firing import firing
from core.steering.generate import Live, RowText, generate
from core.steering.interventions import Intervention
from core.steering.request import SAMPLING, GenerationRequest, Sampling
from core.steering.transcript import Change, as_past

PROMPT = "def test(self):"


def ask(*interventions, **changes):
    sampling = Sampling(**{name: changes.pop(name) for name in SAMPLING if name in changes})
    asked = {"prompt": PROMPT, "interventions": interventions, "tokens": 24, "sampling": sampling, **changes}
    return GenerationRequest(**asked)


def run(model, sae, request, config, now=None, scales=None, **past):
    stream = generate(model, sae, request, config, scales, now, **past)
    return [report for report in stream if isinstance(report, TokenReport)]


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
        firing(endless, sae, GenerationRequest(prompt="a" * 200), config)
    assert len(run(endless, sae, ask(prompt="a" * 175), config)) == 24
    assert len(firing(endless, sae, GenerationRequest(prompt="a" * 199), config)) == 200


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


def test_going_on_from_a_past_gives_what_would_have_come_anyway(endless, sae, config, active):
    request = ask(*strong(active), seed=5)
    whole = run(endless, sae, request, config)
    for at in (0, 1, 9, 23, 24):
        assert run(endless, sae, request, config, past=as_past(whole[:at])) == whole[at:]


def test_a_past_is_read_under_what_held_then(endless, sae, config, active):
    request = ask(*strong(active), seed=5)
    changes = [Change(4, ()), Change(9, tuple(strong(active, 2, 4.0)), Sampling(temperature=1.2, seed=8, top_k=30))]
    whole = run(endless, sae, request, config, changes=changes)
    assert whole[4:] != run(endless, sae, request, config)[4:]
    assert run(endless, sae, request, config, changes=changes, past=as_past(whole[:13])) == whole[13:]
    # And another sampling from there on is a fork, which its own replay finds again.
    forked = [*changes, Change(13, (), Sampling(seed=77))]
    other = run(endless, sae, request, config, changes=forked, past=as_past(whole[:13]))
    assert other != whole[13:]
    assert run(endless, sae, request, config, changes=forked) == whole[:13] + other


def test_what_was_read_just_so_is_not_read_again(endless, sae, config, active):
    live, request = Live(), ask(*strong(active), seed=5)
    whole = run(endless, sae, request, config, live=live)
    endless.edits.clear()
    assert run(endless, sae, request, config, live=live, past=as_past(whole[:20])) == whole[20:]
    assert len(endless.edits) == 4
    endless.edits.clear()
    other = [Change(10, tuple(strong(active, 1)))]
    changed = run(endless, sae, request, config, live=live, past=as_past(whole[:20]), changes=other)
    assert len(endless.edits) == 14
    assert changed == run(endless, sae, request, config, past=as_past(whole[:20]), changes=other)
    endless.edits.clear()
    run(endless, sae, ask(*strong(active), seed=5, mode="replace"), config, live=live, past=as_past(whole[:20]))
    assert len(endless.edits) == 24


def test_progress_tells_of_each_token_that_is_read_again(endless, sae, config):
    whole = run(endless, sae, ask(seed=1), config)
    stream = generate(endless, sae, ask(seed=1), config, None, past=as_past(whole[:3]))
    assert [(p.done, p.total) for p in (next(stream) for _ in range(3))] == [(0, 3), (1, 3), (2, 3)]


def test_an_ended_row_of_the_past_stays_ended(endless, sae, config, active, ids):
    edits = [Intervention("add", active(PROMPT)[0], 60.0, where="from:18")]
    endless.bias[ids.eos] = -40.0
    endless.unembedding[:, ids.eos] = sae.W_dec[edits[0].feature].detach() * 10
    request = ask(*edits, temperature=0.0)
    whole = run(endless, sae, request, config)
    end = next(i for i, r in enumerate(whole) if r.steered is None)
    for at in (end, end + 3):
        assert run(endless, sae, request, config, past=as_past(whole[:at])) == whole[at:]


@pytest.mark.parametrize("past", [((None, 5),), ((5, 258),), ((5, -1),), ((257, 5), (5, 5))])
def test_a_past_that_cannot_be_is_refused(endless, sae, config, past):
    with pytest.raises(UsageError, match="cannot be a token of the past"):
        run(endless, sae, ask(), config, past=past)


def test_a_report_has_the_five_likeliest_tokens_of_each_row(endless, sae, config, active):
    report = run(endless, sae, ask(*strong(active), temperature=0.0), config)[0]
    assert 5 <= len(report.top) <= 10 and len({t.token_id for t in report.top}) == len(report.top)
    assert {report.baseline.token_id, report.steered.token_id} <= {t.token_id for t in report.top}
    best = [max(t.logprob_baseline, t.logprob_steered) for t in report.top]
    assert best == sorted(best, reverse=True)
    for row in ("baseline", "steered"):
        chosen, likeliest = getattr(report, row), max(report.top, key=lambda t: getattr(t, f"logprob_{row}"))
        assert (likeliest.token_id, getattr(likeliest, f"logprob_{row}")) == (
            chosen.token_id, getattr(chosen, f"logprob_{row}"),
        )  # fmt: skip


def test_what_is_no_number_is_told_with_the_token_and_what_held(endless, sae, config, active):
    changes = [Change(3, (Intervention("set", 3, 3e38), Intervention("set", 4, 3e38)))]
    came = []
    with pytest.raises(RunError, match=r"at token 3 .* under: set feature 3 to 3e\+38: .*; set feature 4"):
        came.extend(report.index for report in generate(endless, sae, ask(), config, None, changes=changes))
    assert came == [0, 1, 2]

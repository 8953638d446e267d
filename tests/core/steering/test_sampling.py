"""The choice of a token: against `transformers`' own processors, and the one draw that all rows share."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from core.steering.request import GREEDY, Sampling
from core.steering.sampling import Noise, choose, excluded, penalised


def random(rows, n, seed=0):
    return 3 * torch.randn(rows, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def theirs(logits, sampling, seen):
    """The scores as `generate` makes them, in its order."""
    ids = torch.tensor(seen)
    scores = RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)(ids, logits)
    scores = TemperatureLogitsWarper(sampling.temperature)(ids, scores)
    if sampling.top_k:
        scores = TopKLogitsWarper(sampling.top_k)(ids, scores)
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(sampling.top_p)(ids, scores)
    if sampling.min_p > 0:
        scores = MinPLogitsWarper(sampling.min_p)(ids, scores)
    return scores


@given(
    seed=st.integers(0, 10_000),
    temperature=st.sampled_from([0.3, 0.7, 1.0, 1.9]),
    top_k=st.sampled_from([0, 1, 5, 40, 99]),
    top_p=st.sampled_from([1.0, 0.95, 0.5, 0.01]),
    min_p=st.sampled_from([0.0, 0.02, 0.4, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.8]),
)
def test_what_may_be_chosen_and_how_likely_is_what_transformers_leaves(seed, **how):
    sampling = Sampling(**how)
    logits = random(3, 60, seed)
    seen = torch.randint(0, 60, (3, 7), generator=torch.Generator().manual_seed(seed)).tolist()
    expected = theirs(logits, sampling, seen)
    scores = penalised(logits, sampling.repetition_penalty, seen) / sampling.temperature
    out = excluded(scores, sampling)
    scores = scores if out is None else scores.masked_fill(out, -torch.inf)
    torch.testing.assert_close(scores, expected, rtol=1e-12, atol=1e-12)


@given(seed=st.integers(0, 1_000))
def test_a_token_that_is_left_out_is_never_chosen(seed):
    sampling = Sampling(temperature=1.5, top_k=6, top_p=0.8, min_p=0.05, seed=seed)
    logits, seen = random(4, 40, seed), [[]] * 4
    allowed = theirs(logits, sampling, [[0]] * 4) > -torch.inf
    for step, token in enumerate(choose(logits, sampling, seen, Noise(40), 3)):
        assert allowed[step, token]


def test_greedy_is_the_argmax_of_the_penalised_logits_whatever_else_is_set():
    logits = torch.tensor([[3.0, 2.9, -1.0], [0.0, -0.5, -0.4]], dtype=torch.float64)
    noise = Noise(3)
    assert choose(logits, GREEDY, [[0], [0]], noise, 0) == [0, 0]
    penalty = Sampling(temperature=0.0, repetition_penalty=1.2, top_k=1, top_p=0.1)
    assert choose(logits, penalty, [[0], [0]], noise, 0) == [1, 0]
    assert choose(torch.full((1, 3), -2.0, dtype=torch.float64), penalty, [[0, 1]], noise, 0) == [2]


def test_draws_follow_the_softmax_at_the_temperature():
    logits = random(1, 5) * 2 / 3
    noise, sampling, n = Noise(5), Sampling(temperature=0.7, seed=1), 4_000
    chosen = [choose(logits, sampling, [[]], noise, step)[0] for step in range(n)]
    counts = torch.bincount(torch.tensor(chosen), minlength=5)
    expected = (logits[0] / 0.7).softmax(0)
    assert ((counts / n - expected).abs() < 5 * (expected * (1 - expected) / n).sqrt() + 1e-9).all()


def test_rows_with_the_same_logits_choose_the_same_token():
    logits = random(1, 50).repeat(5, 1)
    sampling = Sampling(temperature=2.0)
    noise = Noise(50)
    chosen = [choose(logits, sampling, [[]] * 5, noise, step) for step in range(20)]
    assert all(len(set(tokens)) == 1 for tokens in chosen) and len({tokens[0] for tokens in chosen}) > 5


@given(steps=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), min_size=1, max_size=12))
def test_the_noise_of_a_step_depends_on_seed_and_step_alone(steps):
    noise = Noise(4)
    for step, seed in steps:
        drawn = torch.Generator().manual_seed(seed)
        vectors = [torch.empty(4, dtype=torch.float64).exponential_(generator=drawn) for _ in range(step + 1)]
        assert torch.equal(noise.at(step, seed), -vectors[-1].log())


@pytest.mark.parametrize("penalty", [1.0, 1.7])
def test_a_penalty_leaves_the_logits_it_is_given_as_they_are(penalty):
    logits = random(2, 9)
    before = logits.clone()
    assert (penalised(logits, penalty, [[1, 1], [2]]) is logits) == (penalty == 1)
    assert torch.equal(logits, before)

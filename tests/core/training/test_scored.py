"""The CE-loss score during training: what `evaluate` says of the same texts, and when it is measured."""

import itertools
import json
from typing import Any

import pytest
import torch

from core import config, flow, tokens
from core.evaluate import evaluate
from core.models.language import LanguageModel
from core.records import StepReport
from core.sae.topk import TopK
from core.training import data, scored
from tests.conftest import finished
from tests.core.test_flow import session_with


@pytest.fixture
def sae():
    made = TopK(32, 96, 8)
    made.initialise(torch.zeros(32), torch.Generator().manual_seed(0))
    return made


@pytest.fixture
def llama(toy_language_model) -> LanguageModel:
    return toy_language_model


def measured(cfg, model, sae, steps, last=None):
    """The steps at which an SAE was asked for, and the score after each step."""
    asked, found = [], []
    score = scored.Scored(cfg, model, last)
    for step in steps:
        score.after(step, lambda step=step: asked.append(step) or sae)
        found.append(score.last)
    return asked, found


def test_the_score_is_what_evaluate_says_of_the_same_texts(toy_values, llama, sae):
    cfg, model = config.parse(toy_values), llama
    [_], [score] = measured(cfg, model, sae, [1])
    blocks = -(-scored.PREDICTIONS // cfg.tokens.context)

    def batches(n):
        return tokens.stacked(itertools.islice(data.blocks(cfg, model, "calibration"), blocks), n)

    whole = finished(evaluate(model, sae, batches, activations=100, ce_tokens=10**9)).metrics
    assert score == pytest.approx(whole["ce_loss_score"], abs=1e-5)


def test_of_long_blocks_the_beginning_is_read(toy_values, llama, sae, monkeypatch):
    cfg, model = config.parse(toy_values), llama
    read = []
    passed = model.split_pass
    monkeypatch.setattr(model, "split_pass", lambda ids: read.append(tuple(ids.shape)) or passed(ids))
    monkeypatch.setattr(scored, "LENGTH", cfg.tokens.context // 2)
    monkeypatch.setattr(scored, "PREDICTIONS", 200)  # no multiple of it
    measured(cfg, model, sae, [1])
    assert {length for _, length in read} == {cfg.tokens.context // 2}
    assert sum(rows * length for rows, length in read) == 208


def test_it_is_measured_at_the_first_report_soon_again_then_seldom_and_at_the_end_and_held_between(
    toy_values, llama, sae, monkeypatch
):
    monkeypatch.setattr(scored, "EARLY", 700)  # 2.7 batches of 256
    monkeypatch.setattr(scored, "AT_LEAST", 2_000)  # 7.8
    cfg = config.parse({**toy_values, "training": {**toy_values.get("training", {}), "log_every_steps": 3}})
    asked, found = measured(cfg, llama, sae, range(1, cfg.steps + 1))
    assert cfg.steps == 24 and asked == [3, 6, 9, 18, 24]
    assert found[:2] == [None, None] and None not in found[2:]


def test_a_large_budget_is_measured_no_more_than_so_often(toy_values, llama, sae, monkeypatch):
    monkeypatch.setattr(scored, "EARLY", 1)
    monkeypatch.setattr(scored, "AT_LEAST", 1)
    monkeypatch.setattr(scored, "TIMES", 4)
    cfg = config.parse({**toy_values, "training": {**toy_values.get("training", {}), "log_every_steps": 1}})
    asked, _ = measured(cfg, llama, sae, range(1, cfg.steps + 1))
    assert asked == [1, 2, 4, 6, 12, 18, 24]


def test_a_training_tells_it_and_one_that_goes_on_begins_with_what_was_measured(tmp_path, toy_values):
    session = session_with(tmp_path, toy_values, training={"warmup_steps": 5})
    work: Any = flow.train(session)
    for record in work:
        if isinstance(record, StepReport) and record.step == 7:
            work.close()
    before = [line["ce_loss_score"] for line in session.metrics()]
    assert None not in before and len(set(before)) == 1
    on = next(r for r in flow.train(session) if isinstance(r, StepReport))
    assert on.step == 8 and on.ce_loss_score == before[-1]


def test_activations_without_their_model_have_no_score(tmp_path, toy_values):
    session = session_with(tmp_path, toy_values, training={"cache": "float32"})
    list(flow.train(session))
    lines = session.metrics_path.read_text().splitlines()
    assert lines and {json.loads(line)["ce_loss_score"] for line in lines} == {None}

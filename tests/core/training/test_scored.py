"""The CE-loss score during training: what `evaluate` says of the same texts, and when it is measured."""

import itertools
import json
from typing import Any

import pytest
import torch

from core import activations, config, corpus, flow, tokens
from core.evaluate import evaluate
from core.models.language import LanguageModel
from core.records import Notice, StepReport
from core.sae.topk import TopK
from core.training import scored
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
    list(score.read())
    for step in steps:
        score.after(step, lambda step=step: asked.append(step) or sae)
        found.append(score.last)
    return asked, found


def test_the_score_is_what_evaluate_says_of_the_same_texts(toy_values, llama, sae):
    cfg, model = config.parse(toy_values), llama
    [_], [score] = measured(cfg, model, sae, [1])
    blocks = -(-scored.PREDICTIONS // cfg.tokens.context)

    def batches(n):
        documents = corpus.documents(cfg.corpus, "calibration", seed=cfg.seed, mixed=scored.MIXED)
        return tokens.stacked(itertools.islice(activations.blocks(model, documents, cfg.tokens), blocks), n)

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
    cfg = config.parse({
        **toy_values, "budget": {"activations": 5_800},
        "training": {**toy_values.get("training", {}), "log_every_steps": 3},
    })  # fmt: skip
    asked, found = measured(cfg, llama, sae, range(1, cfg.steps + 1))
    assert cfg.steps == 23 and asked == [3, 6, 9, 18, 21]
    assert found[:2] == [None, None] and None not in found[2:]


def test_a_large_budget_is_measured_no_more_than_so_often(toy_values, llama, sae, monkeypatch):
    monkeypatch.setattr(scored, "EARLY", 1)
    monkeypatch.setattr(scored, "AT_LEAST", 1)
    monkeypatch.setattr(scored, "TIMES", 4)
    cfg = config.parse({**toy_values, "training": {**toy_values.get("training", {}), "log_every_steps": 1}})
    asked, _ = measured(cfg, llama, sae, range(1, cfg.steps + 1))
    assert asked == [1, 2, 4, 6, 12, 18, 24]


def test_a_corpus_of_one_text_is_trained_on_without_it(tmp_path, toy_values):
    text = tmp_path / "one.txt"
    text.write_text("A book is one text. " * 4_000)
    session = session_with(tmp_path, toy_values, corpus={"name": str(text), "document_chars": 500})
    list(flow.train(session))
    assert session.finished and {line["ce_loss_score"] for line in session.metrics()} == {None}


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory")])
def test_where_memory_does_not_suffice_the_training_goes_on_without_it_and_says_so(
    tmp_path, toy_values, monkeypatch, error
):
    def full(*_):
        raise error

    monkeypatch.setattr(scored.Predictions, "reconstructed", full)
    session = session_with(tmp_path, toy_values)
    said = [r.message for r in flow.train(session) if isinstance(r, Notice)]
    assert session.finished and sum("too little memory" in message for message in said) == 1


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

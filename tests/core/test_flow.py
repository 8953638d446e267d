"""The main line on tiny real parts: train, evaluate, analyze; the same bits; interruptions; bad input."""

import itertools
import json
import math

import pytest
import torch
from safetensors.torch import load_file

from core import budgets, config, flow, importing, jobs
from core.errors import ConfigError, CorpusError, ModelError, SessionError
from core.records import Notice, Progress, StepReport
from core.session import Session
from core.training import checkpoint, data


def imported_from(root, source, *settings):
    """The session that an import makes, and what it says."""
    said = []
    work = importing.import_sae(root, str(source), "theirs", settings)
    while True:
        try:
            said.append(next(work))
        except StopIteration as ended:
            return ended.value, [r.message for r in said if isinstance(r, Notice)]


def session_with(tmp_path, values, name="toy", **parts):
    merged = {**values}
    for part, changes in parts.items():
        merged[part] = {**merged.get(part, {}), **changes} if isinstance(changes, dict) else changes
    return Session.create(tmp_path, name, config.parse(merged))


def test_training_leaves_metrics_checkpoints_and_an_sae_that_loads(tmp_path, toy_values):
    session = session_with(tmp_path, toy_values)
    records = list(jobs.run(session, "train", flow.train(session)))
    reports = [r for r in records if isinstance(r, StepReport)]
    assert reports[-1].activations == 6_000 and len(session.metrics()) == len(reports) == math.ceil(6_000 / 256)
    assert reports[-1].fvu < 0.6 * reports[0].fvu
    assert session.status().state == "done"
    values = json.loads((session.sae_dir / "cfg.json").read_text())
    assert values["metadata"]["hook_name"] == "blocks.1.hook_resid_post"
    assert values["metadata"]["training_activations"] == 6_000
    assert session.metrics()[0].keys() >= {"step", "fvu", "l0", "dead", "lr", "activations"}


def test_a_checkpoint_is_a_session_of_its_own_with_the_configuration_and_the_corpus_of_the_first(tmp_path, toy_values):
    session = session_with(tmp_path, toy_values, training={"checkpoint_minutes": 1e-6})
    list(flow.train(session))
    before = session.checkpoint_steps()[1]
    taken, _ = imported_from(tmp_path, f"toy@{before}", "analysis.activations=500")
    assert taken.finished and taken.config().corpus == session.config().corpus
    assert taken.config().sae == session.config().sae and taken.config().analysis.activations == 500
    weights = [load_file(one.sae_dir / "sae_weights.safetensors")["W_dec"] for one in (taken, session)]
    at_step = load_file(session.checkpoints_dir / str(before) / "sae_weights.safetensors")["W_dec"]
    assert torch.equal(weights[0], at_step) and not torch.equal(*weights)
    list(flow.evaluate(taken))
    assert taken.evaluation()["fvu"] > 0 and {p.name for p in taken.sae_dir.iterdir()} == {
        "cfg.json", "sae_weights.safetensors"
    }  # fmt: skip
    with pytest.raises(SessionError, match=f"no SAE of step 7: it keeps those of {before}, "):
        list(importing.import_sae(tmp_path, "toy@7", "other"))
    with pytest.raises(ModelError, match="there is no nobody@7"):
        list(importing.import_sae(tmp_path, "nobody@7", "other"))


def test_the_same_configuration_gives_the_same_bits(tmp_path, toy_values):
    weights = []
    for name in ("one", "two"):
        session = session_with(tmp_path, toy_values, name)
        list(flow.train(session))
        weights.append(load_file(session.sae_dir / "sae_weights.safetensors"))
    assert all(torch.equal(weights[0][n], weights[1][n]) for n in weights[0])


def test_a_stopped_training_keeps_a_checkpoint_that_can_be_evaluated(tmp_path, toy_values):
    session = session_with(tmp_path, toy_values)
    stream = jobs.run(session, "train", flow.train(session))
    for record in stream:
        if isinstance(record, StepReport) and record.step == 8:
            session.want("stop")
    assert session.status().state == "stopped"
    assert not session.sae_dir.exists() and session.weights_dir().name == "8"
    [result] = [r for r in flow.evaluate(session) if hasattr(r, "metrics")]
    assert 0 < result.metrics["fvu"] < 1.5


def test_stages_load_the_model_once_for_all_verbs(tmp_path, toy_values, monkeypatch):
    loaded = []
    load = flow.load_model
    monkeypatch.setattr(flow, "load_model", lambda cfg: (loaded.append(cfg.model.name), (yield from load(cfg)))[1])
    session = session_with(tmp_path, toy_values)
    verbs = ("train", "evaluate", "analyze")
    list(jobs.chain(session, verbs, flow.stages(session, settings=["analysis.activations=200"])))
    assert len(loaded) == 1 and session.status().job == "analyze" and session.status().state == "done"
    assert session.evaluation()["tokens"]["fvu"] == 1_500 and session.database_path.is_file()


def test_measured_budgets_are_written_before_the_training_and_never_after(tmp_path, toy_values, monkeypatch):
    monkeypatch.setattr(budgets, "_rounded", lambda tokens, least, most: 512)
    session = session_with(tmp_path, toy_values)
    work = flow.stages(session, measure=True)
    phases = [r.phase for r in jobs.run(session, "train", work("train")) if isinstance(r, Progress)]
    assert "measuring this machine" in phases
    config_ = session.config()
    assert config_.budget.activations == config_.evaluation.ce_tokens == 512 == session.metrics()[-1]["activations"]
    assert config_.sae.d_sae == 96
    with pytest.raises(SessionError, match="trained already"):
        list(flow.measured(session))


def test_a_detached_chain_leaves_all_there_is(tmp_path, toy_values):
    import psutil

    session = session_with(tmp_path, toy_values, budget={"activations": 2_000})
    process = jobs.start(session, "train", ["--then", "evaluate", "--then", "analyze"])
    assert process.wait(100) == 0, session.log_path.read_text()
    status = session.status()
    assert (status.job, status.state, status.pid) == ("analyze", "done", process.pid)
    assert session.evaluation()["fvu"] < 1 and session.database_path.is_file()
    log = session.log_path.read_text()
    assert log.count("loading ") == 1 and "== evaluate, " in log and "== analyze, " in log
    assert not psutil.pid_exists(process.pid)


def test_evaluation_is_written_with_its_token_counts(tmp_path, toy_values):
    session = session_with(tmp_path, toy_values)
    list(flow.train(session))
    list(flow.evaluate(session))
    found = json.loads(session.evaluation_path.read_text())
    assert found["tokens"]["fvu"] == 1_500 and found["tokens"]["kl"] == 300
    assert found["l0"] <= 8


def test_analysis_builds_a_database_of_the_test_split(tmp_path, toy_values):
    from core.analysis.store import Store

    session = session_with(tmp_path, toy_values)
    list(flow.train(session))
    list(flow.analyze(session))
    with Store.open([session]) as store:
        assert store.meta()["tokens_counted"] == "1500"
        rows = store.features(limit=3)
        assert rows[0]["density"] >= rows[1]["density"] > 0
        examples = store.examples(rows[0]["feature"], limit=3)
        assert examples and any(t.value > 0 for t in examples[0].tokens)
        assert len(store.logits(rows[0]["feature"])) == 20


def test_settings_hold_for_one_analysis_only(tmp_path, toy_values):
    from core.analysis.store import Store

    session = session_with(tmp_path, toy_values)
    list(flow.train(session))
    before = session.config_path.read_text()
    list(flow.analyze(session, settings=["analysis.activations=200"]))
    with Store.open([session]) as store:
        assert store.meta()["tokens_counted"] == "200"
    assert session.config_path.read_text() == before


def test_a_budget_larger_than_the_corpus_is_said_and_refused_with_strict(tmp_path, toy_values):
    large = {"activations": 10_000_000}
    session = session_with(tmp_path, toy_values, budget=large)
    notices = [r.message for r in flow.train(session) if isinstance(r, Notice)]
    assert any("the corpus ended after" in m for m in notices)
    strict = session_with(tmp_path, toy_values, "strict", budget=large, strict=True)
    with pytest.raises(CorpusError, match="lower budget.activations"):
        list(flow.train(strict))
    assert not strict.checkpoints_dir.exists()


@pytest.mark.parametrize(
    ("part", "changes", "error", "says"),
    [
        ("model", {"name": "./no-such-folder"}, ModelError, "no-such-folder"),
        ("model", {"hook": "blocks.1.hook_resid_pots"}, ModelError, "hook_resid_post"),
        ("corpus", {"name": "missing.jsonl"}, CorpusError, "missing.jsonl"),
        ("corpus", {"text_column": "txet"}, CorpusError, "text"),
        ("sae", {"d_sae": None, "expansion": 0.1}, ConfigError, "sae.k"),
        ("tokens", {"context": 4096}, ConfigError, "tokens.context"),
        ("device", "cuda:77", ConfigError, "CUDA|GPUs"),
    ],
)
def test_bad_input_is_refused_in_a_sentence_that_names_it(tmp_path, toy_values, part, changes, error, says):
    session = session_with(tmp_path, toy_values, **{part: changes})
    with pytest.raises(error, match=says):
        list(flow.train(session))


def test_nothing_trained_means_nothing_to_evaluate(tmp_path, toy_values):
    session = session_with(tmp_path, toy_values)
    for stage in (flow.evaluate, flow.analyze, flow.load_engine):
        with pytest.raises(SessionError, match="no trained SAE"):
            list(stage(session))


def test_an_imported_sae_is_ready_to_be_used(tmp_path, toy_values):
    session = session_with(tmp_path, toy_values)
    list(flow.train(session))

    settings = [f"{part}.{k}={v}" for part in ("corpus", "evaluation") for k, v in toy_values[part].items()]
    imported, said = imported_from(tmp_path, session.sae_dir, *settings)
    assert said == [f"{session.sae_dir} is SAELens's topk: 32 -> 96 features"]
    assert imported.config().model.hook == "blocks.1.hook_resid_post" and imported.config().sae.k == 8
    list(flow.evaluate(imported))
    list(flow.evaluate(session))
    assert json.loads(imported.evaluation_path.read_text()) == json.loads(session.evaluation_path.read_text())


def test_long_work_reports_progress_with_a_total(tmp_path, toy_values):
    session = session_with(tmp_path, toy_values)
    seen = [r for r in flow.train(session) if isinstance(r, Progress)]
    assert any(r.phase == "training" and r.total == 6_000 and r.done == 6_000 for r in seen)


def test_a_trained_session_is_not_trained_over(tmp_path, toy_values):
    session = session_with(tmp_path, toy_values)
    list(flow.train(session))
    before = load_file(session.sae_dir / "sae_weights.safetensors")
    with pytest.raises(SessionError, match="trained already"):
        list(flow.train(session))
    after = load_file(session.sae_dir / "sae_weights.safetensors")
    assert all(torch.equal(before[n], after[n]) for n in before)


def test_a_checkpoint_that_cannot_be_written_on_a_stop_is_a_failure_and_not_silence(tmp_path, toy_values, monkeypatch):
    session = session_with(tmp_path, toy_values, training={"warmup_steps": 1_000})

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.raises(OSError, match="No space"):
        for record in jobs.run(session, "train", flow.train(session)):
            if isinstance(record, StepReport) and record.step == 3:
                session.want("stop")
    status = session.status()
    assert status.state == "failed" and "the disk is full" in status.error


def test_a_last_batch_of_one_activation_leaves_valid_json(tmp_path, toy_values):
    session = session_with(tmp_path, toy_values, budget={"activations": 257})
    list(flow.train(session))
    assert [m["fvu"] is None for m in session.metrics()] == [False, True]


def test_an_imported_sae_that_does_not_say_its_hook_needs_to_be_told(tmp_path, toy_values):
    session = session_with(tmp_path, toy_values)
    list(flow.train(session))
    values = json.loads((session.sae_dir / "cfg.json").read_text())
    del values["metadata"]["hook_name"]
    (session.sae_dir / "cfg.json").write_text(json.dumps(values))
    with pytest.raises(ModelError, match=r"model\.hook"):
        imported_from(tmp_path, session.sae_dir)
    assert not (tmp_path / "theirs").exists()
    imported, _ = imported_from(tmp_path, session.sae_dir, "model.hook=blocks.1.hook_resid_post")
    assert json.loads((imported.sae_dir / "cfg.json").read_text())["metadata"]["hook_name"].endswith("resid_post")


def test_an_imported_sae_that_does_not_fit_its_model_is_refused_before_anything_is_written(tmp_path, toy_values):
    session = session_with(tmp_path, toy_values)
    list(flow.train(session))
    for setting, says in (
        ("model.hook=blocks.1.mlp.hook_post", "takes 32 dimensions, but blocks.1.mlp.hook_post .* has 64"),
        ("model.hook=blocks.9.hook_resid_post", "there is no blocks.9"),
        ("model.hook=blocks.1.hook_nope", "has no hook point blocks.1.hook_nope; the nearest are blocks.1.hook"),
        ("model.name=./nowhere", "no model folder"),
    ):
        with pytest.raises(ModelError, match=says):
            imported_from(tmp_path, session.sae_dir, setting)
    assert not (tmp_path / "theirs").exists()


@pytest.mark.parametrize(("l0", "warned"), [(24.0, True), (8.0, False)])
def test_an_imported_sae_is_measured_beside_what_its_files_record(tmp_path, toy_values, l0, warned):
    from core.sae import files
    from core.sae.topk import TopK

    model, corpus = toy_values["model"], toy_values["corpus"]["name"]
    sae = TopK(32, 96, 8)
    torch.nn.init.normal_(sae.W_enc, generator=torch.Generator().manual_seed(0))
    files.save(sae, tmp_path / "sae", {"model_name": model["name"], "hook_name": model["hook"], "l0": l0})
    small = ["tokens.context=32", "evaluation.activations=500", "evaluation.ce_tokens=50"]
    session, _ = imported_from(tmp_path, tmp_path / "sae", f"corpus.name={corpus}", *small)
    *_, told = [r.message for r in flow.evaluate(session) if isinstance(r, Notice)]
    assert session.evaluation()["l0"] == pytest.approx(8)
    assert ("warning: L0 is 8.00, and 24.0 by its files" in told) == warned
    assert warned or told == "its files record L0 8.00; measured here: L0 8.00"
    elsewhere = list(flow.evaluate(session, settings=["model.hook=blocks.0.hook_resid_post"]))
    assert not [r for r in elsewhere if isinstance(r, Notice)]


@pytest.mark.parametrize(
    ("kwargs", "settings", "kind", "says"),
    [
        ({"center_writing_weights": True, "fold_ln": False}, (), "centred", "so are they here"),
        ({"center_writing_weights": True, "fold_ln": True, "fold_value_biases": True}, (), "processed", "so are they"),
        ({"center_writing_weights": True}, ("model.processing=none",), "none", "worse than published"),
        ({"refactor_factored_attn_matrices": True}, (), "none", "worse than published"),
        ({"center_writing_weights": False, "n_devices": 1}, (), "none", ""),
    ],
)
def test_an_imported_sae_of_processed_weights_gets_them(
    tmp_path, toy_values, model_folders, kwargs, settings, kind, says
):
    from core.sae import files
    from core.sae.topk import TopK

    metadata = {"model_name": str(model_folders["gpt2"]), "hook_name": "blocks.1.hook_resid_pre"}
    kept = {"model_class_name": "HookedTransformer", "model_from_pretrained_kwargs": kwargs}
    files.save(TopK(32, 96, 8), tmp_path / "sae", metadata | kept)
    session, said = imported_from(tmp_path, tmp_path / "sae", *settings)
    assert session.config().model.processing == kind
    assert says in said[-1] and (len(said) == 2) == bool(says)


def test_what_was_trained_on_processed_weights_tells_so_and_is_measured_on_them(tmp_path, toy_values, model_folders):
    model = {"name": str(model_folders["gpt2"]), "hook": "blocks.2.hook_resid_pre", "processing": "centred"}
    session = session_with(tmp_path, toy_values, model=model)
    list(flow.train(session))
    assert abs(float(load_file(session.sae_dir / "sae_weights.safetensors")["b_dec"].mean())) < 1e-3
    again, _ = imported_from(tmp_path, session.sae_dir)
    assert again.config().model.processing == "centred"
    found = [list(flow.evaluate(session, settings=[f"model.processing={kind}"]))[-1] for kind in ("centred", "none")]
    assert found[0].metrics["fvu"] < found[1].metrics["fvu"]
    assert [other["on"]["processing"] for other in session.transfers()] == ["none"]


def test_local_paths_are_kept_absolute(tmp_path, toy_values, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.jsonl").write_text('{"text": "x"}\n')
    relative = config.parse({**toy_values, "corpus": {"name": "toy.jsonl"}})
    assert config.with_absolute_paths(relative).corpus.name == str(tmp_path / "toy.jsonl")
    assert config.with_absolute_paths(config.RunConfig()) == config.RunConfig()


def test_a_default_buffer_mixes_hundreds_of_documents():
    """The blocks that fill it come from at least 500 documents, and neighbours seldom from one."""
    import random

    from core import corpus, tokens

    class Words:
        bos_id, pad_id, special_ids = 0, 0, frozenset([0])

        def encode(self, texts):
            return [list(range(1, 1 + len(text) // 3)) for text in texts]  # about 3 characters a token

    cfg = config.RunConfig()
    documents = corpus.documents(cfg.corpus, "train", seed=0)
    blocks = tokens.blocks(documents, Words(), cfg.tokens)
    mixed = corpus.shuffled(blocks, data.BLOCK_BUFFER, random.Random(0))
    first = [next(mixed) for _ in range(cfg.training.buffer_activations // cfg.tokens.context)]
    seen = [{int(d) for d in block.doc if d >= 0} for block in first]
    assert len(set().union(*seen)) >= 500
    neighbours = sum(bool(a & b) for a, b in itertools.pairwise(seen))
    assert neighbours / len(seen) < 0.02

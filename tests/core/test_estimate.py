"""What a run will cost, against runs that were made; and what is refused before the start."""

import json
import os
import re

import pytest

from core import config, estimate, flow, jobs
from core.model_facts import SMOLLM2
from core.session import Session
from tests.core.test_flow import session_with


@pytest.fixture(scope="module")
def run(tmp_path_factory, toy_values):
    """A session with all there is."""
    session = session_with(tmp_path_factory.mktemp("estimate"), toy_values)
    list(jobs.chain(session, ("train", "evaluate", "analyze"), flow.stages(session)))
    return session


def test_steps_parameters_and_width_are_those_of_the_run(run):
    cfg = run.config()
    known, why = estimate.model(cfg)
    cost = estimate.cost(cfg, known)
    assert why == "" and (cost.d_in, cost.d_sae) == (32, 96)
    assert cost.steps == run.metrics()[-1]["step"]
    from safetensors import safe_open

    with safe_open(run.sae_dir / "sae_weights.safetensors", "pt") as weights:
        stored = sum(len(weights.get_tensor(name).flatten()) for name in weights.keys())  # noqa: SIM118
    assert cost.sae_parameters == stored
    assert 0.5 < cost.disk / run.size_bytes() < 2
    assert cost.disk < cost.disk_peak and cost.seconds is None
    assert cost.memory_bytes == sum(cost.memory.values())
    kept = config.parse(config.with_settings(cfg.model_dump(exclude_none=True), ["analysis.keep_activations=true"]))
    assert estimate.cost(kept, known).disk == cost.disk_peak


def test_the_demos_disk_is_what_it_was_measured_to_be():
    values = {**config.preset("demo"), "budget": {"activations": 79_000}, "analysis": {"activations": 28_000}}
    kept = estimate.cost(config.parse(values), SMOLLM2)
    values["training"] = {**values.get("training", {}), "keep_state": False}
    cost = estimate.cost(config.parse(values), SMOLLM2)
    assert kept.disk - cost.disk == 3 * 4 * cost.sae_parameters
    assert cost.disk == pytest.approx(81.7e6, rel=0.05)
    assert cost.steps == 155 and cost.tokens == round(79_000 * 128 / 127)
    assert 1e9 < cost.memory_bytes < 4e9


def test_snapshots_are_counted_and_need_more_while_the_training_lasts():
    none = estimate.cost(config.parse({"sae": {"d_sae": 4608}}), SMOLLM2)
    some = estimate.cost(config.parse({"sae": {"d_sae": 4608}, "training": {"snapshot_every_steps": 50}}), SMOLLM2)
    rows = (489 // 50 + 2) * 4608
    assert some.disk - none.disk == pytest.approx(45 * rows)
    assert some.disk_peak - none.disk_peak == pytest.approx((2 * 576 + 512) * rows)


def test_the_speed_of_an_earlier_run_gives_the_time(run, toy_values):
    root, cfg = run.path.parent, run.config()
    speed = estimate.measured_speed(root, cfg)
    last = run.metrics()[-1]
    assert speed.session == "toy" and speed.same_sae
    assert speed.per_second == pytest.approx((6_000 - 2_048) / last["elapsed_s"])
    assert estimate.cost(cfg, None, speed).seconds == pytest.approx(6_000 / speed.per_second)
    wider = config.parse({**toy_values, "sae": {"d_sae": 128, "k": 8}})
    assert not estimate.measured_speed(root, wider).same_sae
    other = config.parse({**toy_values, "model": {**toy_values["model"], "hook": "blocks.0.hook_resid_post"}})
    assert estimate.measured_speed(root, other) is None
    assert estimate.measured_speed(root / "none", cfg) is None


def test_runs_that_shared_the_machine_do_not_make_the_speed(run, tmp_path):
    cfg = run.config()
    trained = int(run.metrics()[-1]["activations"]) - 2_048

    def measured(*seconds):
        """The speed after runs that took so long, the newest last."""
        folder = tmp_path / "-".join(map(str, seconds))
        for age, taken in enumerate(reversed(seconds)):
            session = Session.create(folder, f"run{age}", cfg)
            session.metrics_path.write_text(json.dumps({"activations": trained + 2_048, "elapsed_s": taken}) + "\n")
            os.utime(session.config_path, (1e9 - age, 1e9 - age))
        return trained / estimate.measured_speed(folder, cfg).per_second

    assert measured(10, 60) == pytest.approx(10)  # of two the faster: the other had company
    assert measured(10, 11, 12, 50, 60) == pytest.approx(12)
    assert measured(1, 10, 11) == pytest.approx(10)  # and one that had no model to wait for
    assert measured(1, 1, 1, 20, 20, 20, 20, 20) == pytest.approx(20)  # those of long ago say nothing


def test_a_torn_neighbour_is_passed_over(run, tmp_path):
    Session.create(tmp_path, "torn", run.config())
    (tmp_path / "torn" / "metrics.jsonl").write_text(json.dumps({"step": 1}) + "\n")
    (tmp_path / "rubbish").mkdir()
    (tmp_path / "rubbish" / "config.toml").write_text("= x")
    Session.create(tmp_path, "spoilt", run.config()).config_path.write_text("model = 3")
    (tmp_path / "spoilt" / "metrics.jsonl").write_text(json.dumps({"step": 1}) + "\n")
    assert estimate.measured_speed(tmp_path, run.config()) is None


def test_what_is_not_known_is_none_and_not_a_guess():
    cfg = config.parse({"model": {"name": "some/model"}})
    known, why = estimate.model(cfg)
    assert known is None and "checked" in why
    cost = estimate.cost(cfg, known)
    assert cost.steps == 489 and cost.d_sae is cost.sae_parameters is cost.memory_bytes is cost.disk is None
    assert estimate.cost(config.parse({"sae": {"d_sae": 64}}), None).d_sae == 64
    known, why = estimate.model(config.parse({"model": {"name": "./nowhere"}}))
    assert known is None and "no model folder" in why


def test_what_a_start_would_refuse_is_told_field_by_field(tmp_path):
    def troubles(**values):
        return estimate.troubles(config.parse(values), SMOLLM2)

    assert troubles() == {}
    assert "0 to 29" in troubles(model={"hook": "blocks.99.hook_resid_post"})["model.hook"]
    assert "8,192" in troubles(tokens={"context": 10_000})["tokens.context"]
    assert "larger than" in troubles(sae={"expansion": 0.01, "k": 32})["sae.k"]
    assert "no such file" in troubles(corpus={"name": str(tmp_path / "x.txt")})["corpus.name"]
    assert troubles(corpus={"name": str(tmp_path)}) == {} == troubles(corpus={"name": "wikitext"})


def test_free_memory_is_the_gpus_where_there_is_one(monkeypatch):
    def gpus(pids):
        named = {"name": "H100", "busy": None, "job_bytes": None, "total_bytes": 80}
        return tuple(estimate.machine.Gpu(index=i, used_bytes=73 + i, **named) for i in range(2))

    monkeypatch.setattr(estimate.machine, "gpus", gpus)
    assert estimate.free_memory("auto") == ("GPU 0, H100", 7) and estimate.free_memory("cuda:1") == ("GPU 1, H100", 6)
    monkeypatch.setattr(estimate.machine, "gpus", lambda pids: ())
    assert estimate.free_memory("cuda:0") == ("cuda:0", None)
    assert estimate.free_memory("auto")[0] == "CPU" and estimate.free_memory("cpu")[1] > 1e6


def test_a_run_that_does_not_fit_is_told_with_what_to_make_smaller(monkeypatch):
    values = {"model": {"name": "smollm2"}, "device": "cpu", "sae": {"d_sae": 1_000_000}}
    monkeypatch.setattr(estimate.machine, "memory", lambda: (6 * 10**9, 8 * 10**9))
    words = estimate.tight(config.parse(values))
    assert re.search(r"needs about [\d.]+ GB \([\d.]+ GB for SAE and optimizer\) of memory", words)
    assert "the CPU has 8.0 GB, 6.0 GB of it free now" in words and "a lower sae.d_sae (now 1,000,000)" in words
    assert estimate.tight(config.parse({**values, "sae": {"d_sae": 1_024, "k": 8}})) == ""
    values |= {"sae": {"d_sae": 64}, "training": {"buffer_activations": 10**8}, "budget": {"activations": 10**9}}
    assert "a lower training.buffer_activations (now 100,000,000)" in estimate.tight(config.parse(values))


def test_free_disk_is_that_of_a_folder_yet_to_come(tmp_path):
    assert estimate.free_disk(tmp_path / "a" / "b") > 0

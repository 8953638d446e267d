"""Weights & Biases and TensorBoard: what a training really leaves in their files, beside `metrics.jsonl`."""

import importlib.util
import io
import json
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto import wandb_internal_pb2

from core import config, flow
from core.analysis.connection import connected
from core.errors import ConfigError
from core.records import Notice, StepReport
from core.training import logbooks
from tests.core.test_flow import session_with
from tests.core.training.test_resume import until

BOTH = {"wandb": "offline", "wandb_project": "a project", "tensorboard": True}
SECRET = "hf_" + "s" * 34


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    """No network, no files outside of the session, and a key that has to stay secret."""
    for name, value in (
        ("WANDB_MODE", "offline"), ("WANDB_SILENT", "true"), ("WANDB_ERROR_REPORTING", "false"),
        ("WANDB_CACHE_DIR", str(tmp_path / "home")), ("WANDB_CONFIG_DIR", str(tmp_path / "home")),
        ("WANDB_DATA_DIR", str(tmp_path / "home")), ("HF_TOKEN", SECRET),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)


def wandb_records(path):
    """The records of a .wandb file: a log of LevelDB's, which begins with `:W&B` and a version."""
    data, place = path.read_bytes(), 7
    assert data[:4] == b":W&B"
    whole = b""
    while place + 7 <= len(data):
        if 32_768 - place % 32_768 < 7:
            place += 32_768 - place % 32_768
            continue
        length, kind = struct.unpack_from("<4xHB", data, place)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # full, or last of several
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def ended_records(path):
    """All of them: W&B's own process writes the last, that the run has ended, some time after `finish`."""
    deadline = time.monotonic() + 30
    while not (found := list(wandb_records(path))) or found[-1].WhichOneof("record_type") != "exit":
        assert time.monotonic() < deadline, path
        time.sleep(0.01)
    return found


def named(items):
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def wandb_runs(session):
    """Of each file of W&B, oldest first: the run's record, its history by step, its summary."""
    found = []
    for path in sorted(session.wandb_dir.glob("offline-run-*/*.wandb"), key=lambda p: p.parent.stat().st_ctime_ns):
        run, history, summary = None, {}, {}
        for record in ended_records(path):
            match record.WhichOneof("record_type"):
                case "run":
                    run = run or record.run
                case "history":
                    history[record.history.step.num] = named(record.history.item)
                case "summary":
                    summary |= named(record.summary.update)
        found.append((run, history, summary))
    return found


def events(session):
    found = EventAccumulator(str(session.tensorboard_dir), size_guidance={"scalars": 0, "histograms": 0})
    found.Reload()
    return found


def charted(session):
    """What TensorBoard shows: the figures of each step, by name."""
    found, steps = events(session), {}
    for name in found.Tags()["scalars"]:
        for event in found.Scalars(name):
            assert name not in steps.setdefault(event.step, {}), "shown twice"
            steps[event.step][name] = event.value
    return steps


def numbers(line):
    return {name: value for name, value in line.items() if name != "step" and value is not None}


def holds(values, line):
    assert values.keys() == numbers(line).keys()
    assert values == pytest.approx(numbers(line), rel=1e-6)


def messages(records):
    return [r.message for r in records if isinstance(r, Notice)]


def test_both_hold_what_metrics_jsonl_holds_and_nothing_they_were_not_given(tmp_path, toy_values, capfd):
    session = session_with(tmp_path / "sessions", toy_values, logging=BOTH, training={"snapshot_every_steps": 10})
    said = messages(flow.train(session))
    assert not any("takes nothing more" in m for m in said)
    metrics = session.metrics()
    assert len(metrics) == 24
    charts = charted(session)
    [(run, history, _)] = wandb_runs(session)
    assert run.display_name == "toy" and run.project == "a project"
    assert run.run_id == (session.wandb_dir / "id").read_text()
    settings = named(run.config.update)
    assert settings["sae"]["d_sae"] == 96 and settings["budget"] == {"activations": 6_000, "epochs": 1}
    assert charts.keys() == history.keys() == {line["step"] for line in metrics}
    for line in metrics:
        holds(charts[line["step"]], line)
        holds({k: v for k, v in history[line["step"]].items() if not k.startswith("_")}, line)
    [spread] = events(session).Histograms("log10_density")
    assert spread.step == 24 and spread.histogram_value.num <= 96 and spread.histogram_value.max <= 0
    assert capfd.readouterr().out == ""
    for path in (p for p in session.path.rglob("*") if p.is_file()):
        assert SECRET.encode() not in path.read_bytes(), path
    names = {p.name for p in session.wandb_dir.rglob("*")}
    assert not names & {"wandb-metadata.json", "requirements.txt", "output.log", "diff.patch"}


def test_a_training_that_goes_on_goes_on_in_the_same_run(tmp_path, toy_values):
    session = session_with(tmp_path, toy_values, logging=BOTH)
    until(flow.train(session), 9)
    for step in session.checkpoint_steps():
        if step > 5:
            (session.checkpoints_dir / str(step) / "training.json").write_text("torn")
    assert not any("takes nothing more" in m for m in messages(flow.train(session)))
    runs = wandb_runs(session)
    assert len({run.run_id for run, *_ in runs}) == 1
    assert [(min(h), max(h)) for _, h, _ in runs] == [(1, 9), (6, 24)]
    charts = charted(session)  # each step once
    for line in session.metrics():
        holds(charts[line["step"]], line)
    assert len(session.metrics()) == 24 == len(charts)


def test_an_evaluation_adds_its_figures_and_how_densities_are_spread(tmp_path, toy_values):
    session = session_with(tmp_path, toy_values, logging=BOTH)
    list(flow.train(session))
    [found] = [r for r in flow.evaluate(session) if hasattr(r, "densities")]
    assert len(found.densities) == 96 and sum(found.densities) == pytest.approx(found.metrics["l0"])
    expected = {f"test/{k}": v for k, v in session.evaluation().items() if k != "tokens"}
    charts = charted(session)[24]
    assert {k: v for k, v in charts.items() if k.startswith("test/")} == pytest.approx(expected, rel=1e-6)
    *_, (run, history, summary) = wandb_runs(session)
    assert not history and run.run_id == (session.wandb_dir / "id").read_text()
    spread = summary.pop("test/log10_density")
    assert {k: v for k, v in summary.items() if k.startswith("test/")} == pytest.approx(expected)
    log = np.log10([d for d in found.densities if d > 0])
    counts, edges = np.histogram(log, 64)
    assert spread["values"] == counts.tolist() and spread["bins"] == pytest.approx(edges.tolist())
    [drawn] = events(session).Histograms("test/log10_density")
    assert drawn.histogram_value.num == len(log) and drawn.histogram_value.min == pytest.approx(log.min())


def test_an_analysis_adds_pictures_of_all_features_and_a_table(tmp_path, toy_values):
    session = session_with(tmp_path, toy_values, logging=BOTH)
    list(flow.train(session))
    assert not any("takes nothing more" in m for m in messages(flow.analyze(session)))
    with connected([session]) as connection:
        peaks = [p for (p,) in connection.execute("SELECT max FROM features ORDER BY feature").fetchall()]
        alive = connection.execute("SELECT count(*) FROM features WHERE NOT dead").fetchall()[0][0]
    *_, (_, history, summary) = wandb_runs(session)
    assert not history and summary["features/table"]["nrows"] == alive
    for name in ("features/strength", "features/map"):
        [file] = session.wandb_dir.rglob(Path(summary[name]["path"]).name)
        [drawn] = events(session).Images(name)
        kept, shown = (np.asarray(Image.open(source)) for source in (file, io.BytesIO(drawn.encoded_image_string)))
        assert (kept == shown).all() and kept.any() and drawn.step == 24
        if name == "features/strength":  # 96 features in rows of 10, 26 pixels each
            found = kept[13::26, 13::26, 0].ravel()[:96] / 255
            assert kept.shape == (260, 260, 3)
            np.testing.assert_allclose(
                found, np.array([p or 0 for p in peaks]) / max(p or 0 for p in peaks), atol=0.005
            )
    [table] = events(session).Tensors("features/table/text_summary")
    assert table.tensor_proto.string_val[0].decode().count("\n") == alive + 1


def test_nothing_is_written_that_is_not_switched_on(tmp_path, toy_values):
    session = session_with(tmp_path, toy_values)
    list(flow.train(session))
    list(flow.evaluate(session))
    assert not session.wandb_dir.exists() and not session.tensorboard_dir.exists()


@pytest.mark.parametrize(("switch", "package"), [("wandb", "wandb"), ("tensorboard", "tensorboard")])
def test_a_missing_package_is_named_before_the_model_is_loaded(tmp_path, toy_values, monkeypatch, switch, package):
    monkeypatch.setattr(logbooks, "find_spec", lambda name: None if name == package else importlib.util.find_spec(name))
    session = session_with(tmp_path, toy_values, logging={switch: BOTH[switch]})

    def load(_config):
        raise AssertionError("the model was loaded")
        yield

    for stage in (flow.train, flow.evaluate):
        with pytest.raises(ConfigError, match=rf"package {package} is not installed.*pip install 'sae-tui\[logging\]'"):
            list(stage(session, load))


def test_online_without_a_key_is_refused_before_the_model_is_loaded(tmp_path, toy_values, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="no key of Weights & Biases.*wandb login"):
        logbooks.check(config.parse({"logging": {"wandb": "online"}}).logging)


def test_a_logbook_that_fails_is_said_once_and_training_goes_on(tmp_path, toy_values, monkeypatch):
    written = []

    class Full:
        url = "https://example.org/run"

        def __init__(self, *_):
            pass

        def scalars(self, values, step):
            if step == 3:
                raise OSError(28, "No space left on device")
            written.append(step)

        def close(self):
            raise AssertionError("it was left behind")

    def unreachable(*_):
        raise RuntimeError("no such host\nand more")

    monkeypatch.setattr(logbooks, "TensorBoard", Full)
    monkeypatch.setattr(logbooks, "WeightsAndBiases", unreachable)
    session = session_with(tmp_path, toy_values, logging=BOTH)
    records = list(flow.train(session))
    assert "TensorBoard shows it at https://example.org/run" in messages(records)
    said = [m for m in messages(records) if "takes nothing more" in m]
    assert len(said) == 2 and "Weights & Biases" in said[0] and "(no such host)" in said[0] and "\n" not in said[0]
    assert "TensorBoard" in said[1] and "No space left on device" in said[1] and written == [1, 2]
    assert session.finished and sum(isinstance(r, StepReport) for r in records) == 24

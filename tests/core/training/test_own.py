"""Activations of a person's own: three formats and folders, split and shuffled, trained on without a model, resumed."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from core import config, flow
from core.errors import ConfigError, CorpusError, SessionError
from core.records import Evaluation, Notice, StepReport
from core.session import Session
from core.training import own
from tests.core.training.test_resume import killed, left, same, until


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(40, 16, generator=generator)
    code = torch.rand(3_000, 40, generator=generator) * (torch.rand(3_000, 40, generator=generator) < 0.05)
    return code @ directions + torch.linspace(-1, 1, 16)


@pytest.fixture
def files(rows, tmp_path, monkeypatch):
    """The same rows in each format, and in a folder of two files; shards of 256 rows."""
    monkeypatch.setattr(own, "SHARD_ROWS", 256)
    save_file({"x": rows}, tmp_path / "one.safetensors")
    save_file({"early": rows[:9].clone(), "late": rows}, tmp_path / "two.safetensors")
    np.save(tmp_path / "one.npy", rows.numpy())
    torch.save(rows, tmp_path / "one.pt")
    torch.save({"late": rows, "step": 3}, tmp_path / "named.pt")
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / "a.npy", rows[:1_234].numpy())
    torch.save(rows[1_234:].clone(), tmp_path / "folder" / "b.pt")
    (tmp_path / "folder" / "notes.txt").write_text("not a file of activations")
    return tmp_path


def parsed(source, seed=0, **parts):
    values = {
        "device": "cpu", "seed": seed, "sae": {"d_sae": 64, "k": 4}, "budget": {"activations": 1_000_000},
        "training": {"source": str(source), "batch_activations": 100, "buffer_activations": 400, "warmup_steps": 2},
    }  # fmt: skip
    for name, part in parts.items():
        values[name] = {**values.get(name, {}), **part}
    return config.parse(values)


def no_model(_config):
    raise AssertionError("the model was loaded")
    yield


SOURCES = ["one.safetensors", "two.safetensors#late", "one.npy", "one.pt", "named.pt", "named.pt#late", "folder"]


@pytest.mark.parametrize("source", SOURCES)
def test_every_format_gives_every_row_to_one_split(files, rows, source):
    cfg = parsed(files / source)
    splits = [torch.cat(list(own.OwnActivations(cfg, split))) for split in ("train", "calibration", "test")]
    _, calibration, test = splits
    assert 0.03 < len(calibration) / 3_000 < 0.07 < len(test) / 3_000 < 0.13
    assert sorted(torch.cat(splits).tolist()) == sorted(rows.tolist())
    if source != "folder":  # whose shards begin elsewhere
        first = torch.cat(list(own.OwnActivations(parsed(files / "one.npy"), "test")))
        assert torch.equal(test, first)
    assert own.OwnActivations(cfg, "train").d_in == 16


def test_another_seed_keeps_other_rows_and_another_share_more(files):
    def kept(**changes):
        return {
            tuple(row) for x in own.OwnActivations(parsed(files / "one.npy", **changes), "test") for row in x.tolist()
        }

    assert kept() == kept() != kept(seed=1)
    assert len(kept(corpus={"test_share": 0.3})) > 2 * len(kept()) and kept() < kept(corpus={"test_share": 0.3})


@pytest.mark.parametrize("source", ["one.safetensors", "one.npy", "one.pt", "folder"])
def test_a_run_trains_on_them_in_passes_and_is_measured_on_what_was_kept(files, tmp_path, source):
    cfg = parsed(files / source, budget={"epochs": 2})
    session = Session.create(tmp_path / "sessions", "own", cfg)
    reports = [r for r in flow.train(session, no_model) if isinstance(r, StepReport)]
    kept, read = (own.OwnActivations(cfg, split).rows for split in ("test", "train"))
    assert reports[-1].activations == 2 * read and reports[-1].fvu < 0.5 * reports[0].fvu
    said = list(flow.evaluate(session, no_model))
    [result] = [r for r in said if isinstance(r, Evaluation)]
    assert session.evaluation()["tokens"]["fvu"] == kept and 0 < result.metrics["fvu"] < 0.9
    assert result.metrics["l0"] <= 4 and not any(name.startswith("ce_") for name in result.metrics)
    assert any("no cross-entropy figures" in r.message for r in said if isinstance(r, Notice))
    for stage in (flow.analyze, flow.load_engine):
        with pytest.raises(SessionError, match="neither text nor a model.*sae-tui import"):
            list(stage(session))
    for setting in (f"corpus.name={cfg.corpus.name}", "corpus.name=other.txt", "tokens.context=64"):
        with pytest.raises(SessionError, match="neither text nor a model: it cannot be measured on a corpus"):
            list(flow.evaluate(session, no_model, settings=[setting]))
    more = list(flow.evaluate(session, no_model, settings=["corpus.test_share=0.4"]))[-1]
    assert more.tokens["fvu"] > kept
    before = session.evaluation()
    other = "one.pt" if source == "one.npy" else "one.npy"
    list(flow.evaluate(session, no_model, settings=[f"training.source={files / other}"]))
    assert session.evaluation() == before
    assert [found["on"]["source"] for found in session.transfers()] == [str(files / other)]


@pytest.mark.parametrize("steps", [[1], [3, 7], [11, 23, 40]])
def test_stopped_and_resumed_it_ends_with_the_same_bits(files, tmp_path, steps):
    cfg = parsed(files / "folder", budget={"epochs": 2})
    whole = Session.create(tmp_path / "s", "whole", cfg)
    list(flow.train(whole, no_model))
    session = Session.create(tmp_path / "s", "resumed", cfg)
    for step in steps:
        until(flow.train(session, no_model), step)
        assert session.resumable() == step
    list(flow.train(session, no_model))
    assert same(left(session), left(whole))


def test_killed_again_and_again_it_ends_with_the_same_bits(files, tmp_path):
    cfg = parsed(files / "one.npy", training={"checkpoint_minutes": 1e-6}, budget={"epochs": 2})
    whole = Session.create(tmp_path / "s", "whole", cfg)
    list(flow.train(whole, no_model))
    session, kills = Session.create(tmp_path / "s", "killed", cfg), 0
    while not session.finished:
        kills += not killed(session, no_model, 0.4 + kills / 50)  # a busy machine needs longer for a step
        assert kills < 100
    assert kills >= 2 and same(left(session), left(whole))


def test_a_budget_below_all_rows_takes_some_of_every_file(files):
    rows = own.OwnActivations(parsed(files / "folder"), "train")
    from core import cache

    taken = {rows._shards[number][0] for number, _, _ in cache.order(rows.sizes, 0, 1_000, 0, 0)}
    assert taken == {0, 1}


def test_other_rows_than_at_the_checkpoint_are_told(files, tmp_path):
    session = Session.create(tmp_path / "s", "own", parsed(files / "one.npy"))
    until(flow.train(session, no_model), 3)
    np.save(files / "one.npy", np.zeros((3_000, 16), np.float32) + np.eye(16, dtype=np.float32)[0])
    said = " ".join(r.message for r in flow.train(session, no_model) if isinstance(r, Notice))
    assert "the activations are not those of the checkpoint" in said and session.finished


def test_half_precision_and_whole_numbers_are_read_as_float32(tmp_path):
    np.save(tmp_path / "half.npy", np.ones((50, 4), ">f2"))
    np.save(tmp_path / "int.npy", np.ones((50, 4), np.int64))
    save_file({"x": torch.ones(50, 4).bfloat16()}, tmp_path / "x.safetensors")
    for name in ("half.npy", "int.npy", "x.safetensors"):
        [x] = own.OwnActivations(parsed(tmp_path / name), "train")
        assert x.dtype == torch.float32 and (x == 1).all()


def bad(folder):
    np.save(folder / "vector.npy", np.ones(7))
    np.save(folder / "cube.npy", np.ones((2, 3, 4)))
    np.save(folder / "empty.npy", np.ones((0, 4)))
    np.save(folder / "complex.npy", np.ones((3, 4), complex))
    np.save(folder / "objects.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    np.save(folder / "torn.npy", np.ones((100, 40)))
    for name in ("none.npy", "none.pt", "none.safetensors", "torn.pt"):
        (folder / name).write_bytes(b"PK" if name == "torn.pt" else b"")
    (folder / "torn.npy").write_bytes((folder / "torn.npy").read_bytes()[:-9])
    torch.save(torch.nn.Linear(2, 2), folder / "code.pt")
    torch.save({"step": 3}, folder / "other.pt")
    save_file({"a": torch.ones(3, 2), "b": torch.ones(3, 2)}, folder / "two.safetensors")
    np.save(folder / "nan.npy", np.where(np.arange(200).reshape(50, 4) == 90, np.nan, 1))
    (folder / "widths").mkdir()
    np.save(folder / "widths" / "a.npy", np.ones((3, 4)))
    np.save(folder / "widths" / "b.npy", np.ones((3, 5)))
    (folder / "nothing").mkdir()
    (folder / "x.csv").write_text("1,2")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("gone.npy", "there is no .*gone.npy"),
        ("two.safetensors", r"holds 2 tensors: name one: .*two.safetensors#NAME; known are a, b"),
        ("two.safetensors#c", "holds no tensor 'c'"),
        ("vector.npy", r"shape \[7\]: activations are \[n, d_in\]"),
        ("cube.npy", r"shape \[2, 3, 4\]"),
        ("empty.npy", "is empty"),
        ("complex.npy", "cannot be read: it is torn, or holds anything but an array of real numbers"),
        ("objects.npy", "cannot be read"),
        ("torn.npy", "cannot be read"),
        ("torn.pt", "tensors of real numbers as torch.save writes them"),
        ("none.npy", "cannot be read"),
        ("none.pt", "cannot be read"),
        ("none.safetensors", "cannot be read"),
        ("code.pt", "cannot be read"),
        ("other.pt", "holds 0 tensors"),
        ("widths", "b.npy is 5 wide and a.npy 4"),
        ("nothing", "holds no file of activations"),
        ("x.csv", "is no file of activations: known are"),
        ("nan.npy", "row 22 of .*nan.npy, counted from 0, is not finite"),
    ],
)
def test_what_is_no_activations_is_one_sentence(tmp_path, source, says):
    bad(tmp_path)
    session = Session.create(tmp_path / "s", "own", parsed(tmp_path / source))
    with pytest.raises(CorpusError, match=says) as raised:
        list(flow.train(session, no_model))
    assert "\n" not in str(raised.value)


def test_fields_that_do_not_go_together_are_refused(files):
    with pytest.raises(ConfigError, match="leave training.cache off"):
        parsed(files / "one.npy", training={"source": str(files / "one.npy"), "cache": "float16"})


def test_a_path_is_kept_absolute_with_its_name(files, monkeypatch):
    monkeypatch.chdir(files)
    for given in ("one.npy", "two.safetensors#late"):
        assert config.with_absolute_paths(parsed(given)).training.source == f"{files}/{given}"


def test_the_file_says_that_no_model_is_known(files, tmp_path):
    session = Session.create(tmp_path / "s", "own", parsed(files / "one.npy", budget={"activations": 500}))
    list(flow.train(session, no_model))
    from core.sae import files as saes

    values = saes.read_config(session.sae_dir)
    assert values["metadata"]["model_name"] == "" and values["metadata"]["dataset_path"].endswith("one.npy")
    assert load_file(session.sae_dir / "sae_weights.safetensors")["W_enc"].shape == (16, 64)


def test_tf32_is_refused_without_a_gpu(files, tmp_path):
    session = Session.create(tmp_path / "s", "own", parsed(files / "one.npy", training={"precision": "tf32"}))
    with pytest.raises(ConfigError, match=r"training\.precision = 'tf32', but this trains on cpu: set 'float32'"):
        list(flow.train(session, no_model))

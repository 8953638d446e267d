"""Snapshots against a naive count, and the same table from a training that was stopped or killed."""

import os
import shutil
import signal

import duckdb
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from core import flow, storage
from core.records import StepReport
from core.training import data, loop, snapshots
from tests.conftest import finished
from tests.core.test_flow import session_with
from tests.core.training.test_resume import killed, left, same, until


@pytest.fixture(scope="module")
def small(toy_values):
    """Twelve steps of 128 with a snapshot at 1, 5, 10 and 12, and a checkpoint after each."""
    training = {"batch_activations": 128, "buffer_activations": 512, "warmup_steps": 2, "model_batch_blocks": 4}
    training |= {"checkpoint_minutes": 1e-6, "dead_after_activations": 500, "snapshot_every_steps": 5}
    return {**toy_values, "budget": {"activations": 1_500}, "training": training}


@pytest.fixture(scope="module")
def whole(small, load, tmp_path_factory):
    """A training that nobody interrupted, and the SAE and the sample as they were at each snapshot."""
    session = session_with(tmp_path_factory.mktemp("whole"), small, "whole")
    seen = []
    take = snapshots.Snapshots._take

    def kept(self, sae):
        take(self, sae)
        seen.append((sae, self._sample.clone()))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(snapshots.Snapshots, "_take", kept)
        list(flow.train(session, load))
    return session, seen


def rows(session):
    """Its columns, NULL as NaN."""
    table = duckdb.execute("FROM read_parquet($1)", [str(session.snapshots_path)]).fetchnumpy()
    return {name: np.ma.filled(column.astype(float), np.nan) for name, column in table.items()}


def test_the_table_is_what_a_naive_count_gives(whole):
    session, seen = whole
    table = rows(session)
    assert list(table) == ["step", "feature", "density", "mean", "drift", "drift_final", "jaccard"]
    assert sorted(set(table["step"].tolist())) == [1, 5, 10, 12] and len(table["step"]) == 4 * 96
    assert not session.snapshots_dir.exists()
    decoders = [sae.W_dec.detach().double().numpy() for sae, _ in seen]
    last, before = decoders[-1], None
    for i, ((sae, x), step) in enumerate(zip(seen, (1, 5, 10, 12), strict=True)):
        here = table["step"] == step
        assert table["feature"][here].tolist() == list(range(96))
        assert len(x) == 256 and torch.equal(x, seen[0][1])  # half of the buffer, whole batches of it
        z = sae.encode(x).detach().double().numpy()
        n = (z > 0).sum(0)
        assert table["density"][here] == pytest.approx(n / 256)
        assert (np.isnan(table["mean"][here]) == (n == 0)).all()
        assert table["mean"][here][n > 0].tolist() == pytest.approx(z.sum(0)[n > 0] / n[n > 0], rel=1e-6)

        def apart(a, b):
            return 1 - (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))

        assert table["drift_final"][here] == pytest.approx(apart(decoders[i], last), abs=3e-5)  # float16's
        if before is not None:
            either = ((z > 0) | before).sum(0)
            assert (np.isnan(table["jaccard"][here]) == (either == 0)).all()
            expected = ((z > 0) & before).sum(0)[either > 0] / either[either > 0]
            assert table["jaccard"][here][either > 0] == pytest.approx(expected)
            assert table["drift"][here] == pytest.approx(apart(decoders[i], decoders[i - 1]), abs=3e-5)
        else:
            assert np.isnan(table["drift"][here]).all() and np.isnan(table["jaccard"][here]).all()
        before = z > 0
    assert (table["drift_final"][table["step"] == 12] == 0).all() and table["drift_final"].max() > 5e-3


def test_the_sample_is_what_the_first_batches_are_made_of(tmp_path, small, load, whole):
    session = session_with(tmp_path, small)
    until(flow.train(session, load), 1)
    kept = load_file(session.snapshots_dir / "sample.safetensors")["x"]
    assert torch.equal(kept, whole[1][0][1])
    config = session.config()
    batches = data.TrainingActivations(config, finished(load(config)))
    first = [b for b, _ in zip((b for b in batches if not isinstance(b, int)), range(2), strict=False)]
    assert torch.equal(kept, torch.cat(first))


@pytest.mark.parametrize("stops", [[1], [4, 7], [5], [10, 11], [12]])
def test_stopped_and_resumed_it_leaves_the_same_bits(tmp_path, small, load, whole, stops):
    session = session_with(tmp_path, {**small, "training": {**small["training"], "checkpoint_minutes": 5}})
    for step in stops:
        until(flow.train(session, load), step)
        assert not session.snapshots_path.exists()
    list(flow.train(session, load))
    assert session.snapshots_path.read_bytes() == whole[0].snapshots_path.read_bytes()
    assert same(left(session), left(whole[0]))


def test_snapshots_after_the_checkpoint_come_again(tmp_path, small, load, whole):
    session = session_with(tmp_path, {**small, "training": {**small["training"], "checkpoint_minutes": 5}})
    pid = os.fork()
    if not pid:
        for record in flow.train(session, load):  # its one checkpoint is that after the warm-up, of step 2
            if isinstance(record, StepReport) and record.step == 11:
                os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert session.resumable() == 2 and (session.snapshots_dir / "10.safetensors").is_file()
    (session.snapshots_dir / "10.safetensors").rename(session.snapshots_dir / "7.safetensors")
    list(flow.train(session, load))
    assert session.snapshots_path.read_bytes() == whole[0].snapshots_path.read_bytes()


def test_killed_at_random_moments_it_leaves_the_same_bits(tmp_path, small, load, whole):
    session, kills = session_with(tmp_path, small), 0
    rng = np.random.default_rng(0)
    while not session.finished:
        killed(session, load, rng.uniform(0.05, 0.5 + kills / 20))  # a busy machine takes longer
        kills += not session.finished
        assert kills < 100
    assert kills >= 3 and session.snapshots_path.read_bytes() == whole[0].snapshots_path.read_bytes()


def test_a_full_disk_holds_checkpoints_back_until_the_snapshots_are_written(tmp_path, small, load, whole, monkeypatch):
    session = session_with(tmp_path, small)
    monkeypatch.setattr(loop, "RETRY_S", 0.0)
    replacing, full = storage.replacing, False

    def refused(path, **options):
        if full:
            raise OSError(28, "No space left on device")
        return replacing(path, **options)

    monkeypatch.setattr(snapshots, "replacing", refused)
    said = []
    for record in flow.train(session, load):
        said.append(getattr(record, "message", ""))
        if isinstance(record, StepReport):
            full = 4 <= record.step < 8
            assert not 5 <= record.step < 8 or session.resumable() == 4
    assert any("step 5 could not be written: No space left on device" in m for m in said)
    assert session.snapshots_path.read_bytes() == whole[0].snapshots_path.read_bytes()


def test_without_those_of_before_they_begin_where_the_training_goes_on(tmp_path, small, load, whole):
    session = session_with(tmp_path, small)
    until(flow.train(session, load), 6)
    shutil.rmtree(session.snapshots_dir)
    list(flow.train(session, load))
    table = rows(session)
    assert sorted(set(table["step"].tolist())) == [7, 10, 12] and np.isnan(table["drift"][table["step"] == 7]).all()
    assert (table["density"][table["step"] == 7] > 0).any()


def test_none_are_taken_unless_asked_for(tmp_path, small, load, whole):
    session = session_with(tmp_path, small, training={"snapshot_every_steps": 0})
    list(flow.train(session, load))
    assert not session.snapshots_path.exists() and not session.snapshots_dir.exists()
    assert same(left(session), left(whole[0]))  # to look changes nothing


def test_a_row_of_zeros_has_no_direction():
    found = snapshots.drift(torch.tensor([[1.0, 0], [0, 0], [1, 1]]), torch.tensor([[0.0, 2], [1, 0], [1, 1]]))
    assert found[0] == 1 and found[1].isnan() and found[2] == pytest.approx(0, abs=1e-12)

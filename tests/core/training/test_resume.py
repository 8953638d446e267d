"""Training that is stopped, killed or out of disk or memory goes on, and ends with the bits of one that was not."""

import contextlib
import errno
import json
import os
import random
import re
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core import flow, jobs, storage
from core.errors import RunError, SessionError
from core.options import WHOLE_CHECKPOINTS
from core.records import Notice, Progress, StepReport
from core.sae import files
from core.training import checkpoint, loop
from tests.core.test_flow import session_with

TIMES = ("elapsed_s", "activations_per_s", "memory_bytes")


@pytest.fixture(scope="module")
def small(toy_values):
    """Twelve steps whose buffer gives rows out several times, with a checkpoint after each."""
    training = {"batch_activations": 128, "buffer_activations": 512, "warmup_steps": 2, "model_batch_blocks": 4}
    training |= {"checkpoint_minutes": 1e-6, "dead_after_activations": 500}
    return {**toy_values, "budget": {"activations": 1_500}, "training": training}


@pytest.fixture(scope="module")
def whole(small, load, tmp_path_factory):
    """Weights and metrics of a run that nobody interrupted."""
    session = session_with(tmp_path_factory.mktemp("whole"), small, "whole")
    list(flow.train(session, load))
    return left(session)


def left(session):
    """What a finished training left: its weights, and its metrics but for the times."""
    metrics = [{k: v for k, v in line.items() if k not in TIMES} for line in session.metrics()]
    return load_file(session.sae_dir / "sae_weights.safetensors"), metrics


def same(one, other):
    return one[1] == other[1] and all(torch.equal(one[0][n], other[0][n]) for n in one[0] | other[0])


def until(stream, step):
    """Take records until that of `step` came, then close the stream."""
    for record in stream:
        if isinstance(record, StepReport) and record.step == step:
            break
    stream.close()


@pytest.mark.parametrize("steps", [[1], [2, 3], [4, 5, 9], [11], [12]])
def test_stopped_and_resumed_it_ends_with_the_same_bits(tmp_path, small, load, whole, steps):
    session = session_with(tmp_path, {**small, "training": {**small["training"], "checkpoint_minutes": 5}})
    for step in steps:
        until(flow.train(session, load), step)
        assert session.resumable() == step and [m["step"] for m in session.metrics()] == list(range(1, step + 1))
    records = list(flow.train(session, load))
    assert any("from the checkpoint of step" in r.message for r in records if isinstance(r, Notice))
    assert same(left(session), whole)
    times = [m["elapsed_s"] for m in session.metrics()]
    assert times == sorted(times)


@pytest.mark.parametrize("architecture", ["topk", "relu", "batchtopk", "matryoshka", "gated", "jumprelu"])
def test_every_architecture_goes_on_bit_for_bit(tmp_path, small, load, architecture):
    values = {**small, "sae": {**small["sae"], "architecture": architecture}}
    runs = []
    for name, stops in (("whole", []), ("resumed", [3, 7])):
        session = session_with(tmp_path, values, name)
        for step in stops:
            until(flow.train(session, load), step)
        list(flow.train(session, load))
        runs.append(left(session))
    assert same(*runs)


def test_a_corpus_that_ends_before_the_budget_ends_the_same_when_resumed(tmp_path, small, load):
    training = {**small["training"], "checkpoint_minutes": 5, "log_every_steps": 20}
    values = {**small, "budget": {"activations": 1_000_000}, "training": training}
    whole = session_with(tmp_path, values, "whole")
    last = [r for r in flow.train(whole, load) if isinstance(r, Progress)][-1]
    session = session_with(tmp_path, values, "resumed")
    stream = flow.train(session, load)
    for record in stream:
        if isinstance(record, Progress) and record.phase == "training" and record.done >= last.done - 200:
            break  # the text has ended, and the last rows leave the buffer
    stream.close()
    records = list(flow.train(session, load))
    assert not any(isinstance(r, Progress) and "place in the corpus" in r.phase for r in records)
    assert same(left(session), left(whole))


def killed(session, load, after_s):
    """Train in a forked process, whose writes are slow, and kill it; whether it had ended by itself."""
    pid = os.fork()
    if not pid:
        with contextlib.suppress(BaseException):
            sync = storage._sync
            storage._sync = lambda path: (time.sleep(0.01), sync(path))
            list(flow.train(session, load))
        os._exit(0)
    time.sleep(after_s)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments_again_and_again_it_ends_with_the_same_bits(tmp_path, small, load, whole, seed):
    session = session_with(tmp_path, small)
    rng, kills, torn = random.Random(seed), 0, 0
    while not session.finished:
        killed(session, load, rng.uniform(0.05, 0.5 + kills / 20))  # a busy machine takes longer
        kills += not session.finished
        torn += any(session.checkpoints_dir.glob(".*/*"))  # it was killed while it wrote one
        assert kills < 100
    assert kills >= 3 and torn >= 1
    assert same(left(session), whole)


def test_a_job_killed_and_started_again_ends_with_the_same_bits(tmp_path, small, whole, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as here: the same bits need the same number of threads
    session = session_with(tmp_path, small)
    process = jobs.start(session, "train")
    while session.resumable() is None:
        time.sleep(0.005)
    process.kill()
    process.wait()
    if not session.finished:
        assert session.observed().state == "interrupted" and session.resumable()
        assert jobs.start(session, "train").wait(60) == 0
        assert "training goes on from the checkpoint of step" in session.log_path.read_text()
    assert same(left(session), whole)


def test_a_kill_before_the_first_checkpoint_begins_anew(tmp_path, small, load, whole):
    session = session_with(tmp_path, small)
    session.metrics_path.write_text('{"step": 1, "loss": 5.0}\n{"step": 2, "lo')
    assert session.resumable() is None
    list(flow.train(session, load))
    assert same(left(session), whole)


def test_a_torn_checkpoint_is_passed_over_for_the_one_before(tmp_path, small, load, whole):
    session = session_with(tmp_path, small)
    until(flow.train(session, load), 8)
    assert session.checkpoint_steps() == [8, 7]
    path = session.checkpoints_dir / "8" / checkpoint.TENSORS_NAME
    path.write_bytes(path.read_bytes()[:-100])
    stream = flow.train(session, load)
    said = [r.message for r in stream if isinstance(r, Notice)]
    assert any("step 8 is torn" in m for m in said) and any("goes on from the checkpoint of step 7" in m for m in said)
    assert same(left(session), whole)


def test_checkpoints_that_cannot_be_gone_on_from_are_refused_with_what_to_do(tmp_path, small, load):
    session = session_with(tmp_path, small)
    until(flow.train(session, load), 3)
    [newest, *_] = session.checkpoint_steps()
    path = session.checkpoints_dir / str(newest) / "training.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"format": 99}))
    with pytest.raises(SessionError, match="written by a newer sae-tui"):
        list(flow.train(session, load))
    for step in session.checkpoint_steps():
        (session.checkpoints_dir / str(step) / checkpoint.TENSORS_NAME).write_bytes(b"x")
        (session.checkpoints_dir / str(step) / "training.json").write_text("{")
    with pytest.raises(RunError, match="no checkpoint of session 'toy' can be read"):
        list(flow.train(session, load))
    for step in session.checkpoint_steps():
        (session.checkpoints_dir / str(step) / "training.json").unlink()
    with pytest.raises(SessionError, match="hold weights alone.*clone toy"):
        list(flow.train(session, load))


def test_other_versions_and_another_corpus_are_told(tmp_path, small, load):
    values = {**small, "corpus": {"name": str(tmp_path / "own.jsonl")}}
    text = Path(small["corpus"]["name"]).read_text(encoding="utf-8")
    (tmp_path / "own.jsonl").write_text(text)
    session = session_with(tmp_path, values)
    until(flow.train(session, load), 3)
    for step in session.checkpoint_steps():
        path = session.checkpoints_dir / str(step) / "training.json"
        written = json.loads(path.read_text())
        written["made_with"]["torch"] = "1.0"
        path.write_text(json.dumps(written))
    (tmp_path / "own.jsonl").write_text(text.replace("river", "mountain"))
    said = " ".join(r.message for r in flow.train(session, load) if isinstance(r, Notice))
    assert f"torch 1.0 -> {torch.__version__}" in said and "the corpus or its tokenizer is not what it was" in said
    assert session.finished


def test_of_older_checkpoints_the_weights_stay_where_more_are_asked_for(tmp_path, small, load):
    session = session_with(tmp_path, {**small, "training": {**small["training"], "keep_checkpoints": 4}})
    for step in (3, 5, 7, 9):
        until(flow.train(session, load), step)
    steps = session.checkpoint_steps()
    held = [{p.name for p in (session.checkpoints_dir / str(step)).iterdir()} for step in steps]
    weights = {"cfg.json", "sae_weights.safetensors"}
    assert len(steps) == 4 and held[2:] == [weights] * 2 and all("training.json" in names for names in held[:2])
    assert session.state_step() == steps[0]


@pytest.mark.parametrize("keep", [True, False])
def test_a_finished_training_keeps_the_weights_of_its_checkpoints_and_its_last_state(tmp_path, small, load, keep):
    session = session_with(tmp_path, {**small, "training": {**small["training"], "keep_state": keep}})
    list(flow.train(session, load))
    assert session.resumable() is None and len(session.checkpoint_steps()) == WHOLE_CHECKPOINTS
    last, before = ({p.name for p in (session.checkpoints_dir / str(s)).iterdir()} for s in session.checkpoint_steps())
    weights = {"cfg.json", "sae_weights.safetensors"}
    assert before == weights and last == (weights | {"training.json", "training.safetensors"} if keep else weights)
    if keep:  # no activation is in it: all have left the buffer
        size = (session.checkpoints_dir / "12" / "training.safetensors").stat().st_size
        assert size < 3.5 * (session.sae_dir / "sae_weights.safetensors").stat().st_size


def test_a_full_disk_costs_no_checkpoint_and_no_line(tmp_path, small, load, whole, monkeypatch):
    session = session_with(tmp_path, small)
    full, waits = False, loop.RETRY_S
    monkeypatch.setattr(loop, "RETRY_S", 0.0)
    save_file, append_line = checkpoint.save_file, storage.append_line

    def save(tensors, path):
        if full:
            path.write_bytes(b"half of it")
            raise checkpoint.SafetensorError('IoError(Os { code: 28, message: "No space left on device" })')
        save_file(tensors, path)

    def append(path, line):
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append_line(path, line)

    monkeypatch.setattr(checkpoint, "save_file", save)
    monkeypatch.setattr("core.session.append_line", append)
    said = []
    for record in flow.train(session, load):
        if isinstance(record, StepReport):
            full = 5 < record.step < 9
        if isinstance(record, Notice):
            said.append(record.message)
        if full and isinstance(record, Progress):
            assert session.resumable() == 5 and not list(session.checkpoints_dir.glob(".*"))
    assert waits == 60 and same(left(session), whole)
    assert sum("step 6 could not be written: No space left on device" in m for m in said) == 1
    assert any("that of step 5 is kept, training goes on, and it is tried again in a minute" in m for m in said)
    assert any("step 9 is written: the disk takes them again" in m for m in said)
    assert sum("metrics.jsonl cannot be written (No space left on device)" in m for m in said) == 1


def test_a_line_that_does_not_fit_leaves_the_file_as_it_was(tmp_path):
    import resource

    path = tmp_path / "lines.jsonl"
    storage.append_line(path, "x" * 100)
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (150, 150))
        try:
            storage.append_line(path, "y" * 100)
        except OSError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert path.read_text() == "x" * 100 + "\n"


def test_a_final_sae_that_cannot_be_written_is_an_error_and_can_be_made_up_for(
    tmp_path, small, load, whole, monkeypatch
):
    session = session_with(tmp_path, small)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(files, "save", full)
        with pytest.raises(OSError, match="No space"):
            list(flow.train(session, load))
    assert not session.finished and session.resumable() == 12
    list(flow.train(session, load))
    assert same(left(session), whole)


@pytest.mark.parametrize(
    ("sae", "training", "names"),
    [
        ({"d_sae": 10**11, "k": 8}, {}, "sae.d_sae (now 100,000,000,000)"),
        ({}, {"buffer_activations": 10**12}, "training.buffer_activations (now 1,000,000,000,000)"),
    ],
)
def test_too_little_memory_is_one_sentence_with_numbers_and_a_proposal(tmp_path, small, load, sae, training, names):
    values = {**small, "sae": {**small["sae"], **sae}, "training": {**small["training"], **training}}
    session = session_with(tmp_path, {**values, "budget": {"activations": 10**12}})
    said = []
    with pytest.raises(RunError) as raised:
        said.extend(flow.train(session, load))
    words = str(raised.value)
    assert "the memory is full: the run needs about" in words and re.search(r"\([\d,.]+ GB for [a-zA-Z ]+\)", words)
    assert "the CPU has" in words and names in words and "sae-tui clone toy --set" in words and "\n" not in words


def test_an_error_that_is_not_of_memory_is_not_told_as_one(tmp_path, small, load, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr("core.sae.topk.TopK.losses", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        list(flow.train(session_with(tmp_path, small), load))


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_keeps_a_checkpoint_of_the_last_step_and_resumes_to_the_same_bits(
    tmp_path, small, load, whole, signum
):
    session = session_with(tmp_path, {**small, "training": {**small["training"], "checkpoint_minutes": 5}})
    for record in jobs.run(session, "train", flow.train(session, load)):
        if isinstance(record, StepReport) and record.step == 5:
            os.kill(os.getpid(), signum)
    assert session.status().state == "stopped" and session.resumable() == 5
    list(jobs.run(session, "train", flow.train(session, load)))
    assert session.status().state == "done" and same(left(session), whole)

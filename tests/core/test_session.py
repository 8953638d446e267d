"""Names, creation, torn files, and what a status means for a process that lives, is gone or is elsewhere."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from core import config as configs
from core.config import RunConfig
from core.errors import SessionError
from core.session import Session
from core.status import HUNG_AFTER_S, SILENT_AFTER_S, Status, observe
from core.storage import tail


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session.create(tmp_path / "sessions", "toy", RunConfig())


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield sleeper
    sleeper.kill()
    sleeper.wait()


@pytest.mark.parametrize("name", ["../x", "A", "", "a/b", "..", ".hidden", "-x", "a b", "ä", "a\n", "x\0"])
def test_a_name_outside_the_rule_reaches_no_file(tmp_path: Path, name: str):
    for make in (lambda: Session.create(tmp_path, name, RunConfig()), lambda: Session.open(tmp_path, name)):
        with pytest.raises(SessionError, match="cannot name a session"):
            make()
    assert list(tmp_path.iterdir()) == []


def test_create_leaves_nothing_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.config.to_toml", full)
    with pytest.raises(OSError, match="No space"):
        Session.create(tmp_path, "toy", RunConfig())
    assert list(tmp_path.iterdir()) == []


def test_create_refuses_a_name_that_is_taken(session: Session):
    before = session.config_path.read_bytes()
    with pytest.raises(SessionError, match="already exists"):
        Session.create(session.path.parent, "toy", RunConfig(seed=1))
    assert session.config_path.read_bytes() == before


@pytest.mark.parametrize("torn", ["", "{", '{"state": "runn', "[1]", "\0\0\0", "null"])
def test_a_torn_status_reads_as_new(session: Session, torn: str):
    session.status_path.write_text(torn)
    assert session.observed().state == "new"
    assert session.summary()["state"] == "new"


def test_a_torn_last_metrics_line_is_left_out(session: Session):
    session.append_metrics({"step": 1})
    session.append_metrics({"step": 2})
    with session.metrics_path.open("a") as file:
        file.write('{"step": 3, "lo')
    assert [m["step"] for m in session.metrics()] == [1, 2]
    assert session.summary()["latest"] == {"step": 2}


def test_a_status_of_a_newer_version_is_read_without_its_new_fields(session: Session):
    session.status_path.write_text(json.dumps({**asdict(Status(state="done")), "of_tomorrow": 1}))
    assert session.observed().state == "done"


def test_a_running_process_reads_as_running(process: subprocess.Popen[bytes]):
    assert observe(Status.of_process("train", "running", process.pid)).state == "running"


def test_a_killed_process_reads_as_interrupted_while_it_is_a_zombie(process: subprocess.Popen[bytes]):
    status = Status.of_process("train", "running", process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and not reaped
    assert observe(status).state == "interrupted"
    process.wait()
    assert observe(status).state == "interrupted"


def test_a_reused_pid_reads_as_interrupted(process: subprocess.Popen[bytes]):
    status = Status.of_process("train", "running", process.pid)
    assert observe(replace(status, pid_started=status.pid_started - 10)).state == "interrupted"


def test_another_boot_reads_as_interrupted(process: subprocess.Popen[bytes]):
    status = Status.of_process("train", "running", process.pid)
    assert observe(replace(status, boot="of yesterday")).state == "interrupted"


def test_a_job_elsewhere_is_judged_by_its_heartbeat_alone():
    now = time.time()
    status = replace(Status.of_process("train", "running", 2**22 + 1), host="elsewhere", boot="its own")
    assert observe(status, now).state == "running"
    silent = observe(status, now + SILENT_AFTER_S + 1)
    assert silent.state == "silent" and "elsewhere" in silent.note


def test_a_job_that_beats_but_does_not_progress_is_noted(process: subprocess.Popen[bytes]):
    now = time.time()
    status = replace(Status.of_process("train", "running", process.pid), progress_at=now - HUNG_AFTER_S - 1)
    assert observe(status, now).state == "running" and "hung?" in observe(status, now).note
    assert observe(replace(status, state="paused"), now).note == ""


def test_tail_reads_the_last_lines_of_a_long_log(tmp_path: Path):
    log = tmp_path / "log.txt"
    assert tail(log, 3) == []
    log.write_text("".join(f"line {i} {'x' * 100}\n" for i in range(5_000)) + "\n\nend")
    assert [line[:9] for line in tail(log, 3)] == ["line 4998", "line 4999", "end"]
    assert len(tail(log, 2_000)) == 2_000 and tail(log, 0) == []
    assert len(tail(log, 10_000)) == 5_001


def test_a_file_of_any_length_is_sampled_and_a_short_one_read_whole(tmp_path: Path):
    from core.storage import sample_lines

    path = tmp_path / "lines.jsonl"
    assert sample_lines(path, 10) == []
    path.write_text("".join(f'{{"step": {i}}}\n' for i in range(5_000)) + '{"step": 50')
    whole = sample_lines(path, 10)
    assert [line["step"] for _, line in whole] == list(range(5_000))
    sampled = sample_lines(path, 10, whole_bytes=100)
    steps = [line["step"] for _, line in sampled]
    assert steps[0] == 0 and steps == sorted(set(steps)) and len(steps) == 10 and steps[-1] > 4_000
    for place, line in sampled:
        assert path.read_bytes()[place:].startswith(b'{"step": %d}\n' % line["step"])
    middle = sampled[4][0]
    assert sample_lines(path, 10, start=middle)[0] == sampled[4]
    path.write_text('{"step": 1}\n[1]\nnonsense\n{"step": 2}\n')
    assert [line["step"] for _, line in sample_lines(path, 10)] == [1, 2]


def test_metrics_are_cut_to_the_steps_of_a_checkpoint(session):
    session.cut_metrics(0)
    assert not session.metrics_path.exists()
    session.metrics_path.write_text('{"step": 1, "x": 0.1}\nrubbish\n{"step": 3}\n{"step": 2}\n{"x": 1}\n{"step": 2')
    session.cut_metrics(2)
    assert session.metrics_path.read_text() == '{"step": 1, "x": 0.1}\n{"step": 2}\n'


def test_a_training_goes_on_from_the_newest_checkpoint_that_holds_its_state(session):
    assert session.resumable() is None and not session.trained and session.checkpoint_steps() == []
    for step, name in ((2, "training.json"), (10, "training.json"), (11, "cfg.json")):
        folder = session.checkpoints_dir / str(step)
        folder.mkdir(parents=True)
        (folder / name).write_text("{}")
    assert session.checkpoint_steps() == [11, 10, 2] and session.resumable() == 10
    session.sae_dir.mkdir()
    assert session.finished and session.trained and session.resumable() is None


def test_a_session_says_what_its_model_reads_and_refuses_the_other_in_a_sentence(session: Session, tmp_path: Path):
    images = Session.create(tmp_path / "sessions", "digits", configs.parse(configs.preset("mnist")))
    assert (session.reads_images, images.reads_images) == (False, True)
    session.require(images=False)
    images.require(images=True)
    with pytest.raises(SessionError, match="'digits' reads images: it knows no text.*--image N"):
        images.require(images=False)
    with pytest.raises(SessionError, match="'toy' reads text: it knows no images.*--prompt TEXT"):
        session.require(images=True)
    images.config_path.write_text("model = [")
    assert not images.reads_images


def test_a_session_is_deleted_while_the_job_that_has_just_ended_takes_its_lock_away(
    session: Session, monkeypatch: pytest.MonkeyPatch
):
    session.lock_path.write_text("{}", encoding="utf-8")
    unlink = os.unlink

    def late(path: str, **where: int) -> None:
        if str(path) == session.lock_path.name and session.lock_path.exists():
            session.lock_path.unlink()
        unlink(path, **where)

    monkeypatch.setattr("shutil.os.unlink", late)
    session.delete()
    assert not session.path.exists()

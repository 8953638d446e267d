"""Jobs as real processes: started, stopped, paused, killed, refused.

The work is a stand-in for `core.flow`, put in place by a `sitecustomize` that the child finds on its path:
all else is what a user's job runs.
"""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from core import jobs, lock
from core.config import RunConfig
from core.errors import DivergedError, RunError, SessionError
from core.records import Notice, Progress, StepReport
from core.session import Session
from core.status import Status

FLOW = """
import os, sys, time, types
from pathlib import Path

def train(session):
    from core.records import Notice, Progress
    try:
        for n in range(10**9):
            yield Progress(phase="training", done=n, total=1000, unit="activations")
            time.sleep(0.01)
    finally:
        (session.path / "closed").touch()

def analyze(session, settings):
    from core.errors import DivergedError
    from core.records import Progress
    yield Progress(phase="analyzing")
    raise DivergedError("the loss is no longer a number", hint="lower `training.lr`")

def evaluate(session, settings):
    from core.records import Notice
    detached = os.getsid(0) == os.getpid()
    yield Notice(message=f"{os.environ['MALLOC_TOP_PAD_']} {os.getcwd()} {detached}")
    print("printed by a library")

def stages(session, measure, settings):
    work = {"train": lambda: train(session), "analyze": lambda: analyze(session, settings),
            "evaluate": lambda: evaluate(session, settings)}
    return lambda verb: work[verb]()

sys.modules["core.flow"] = types.ModuleType("core.flow")
sys.modules["core.flow"].stages = stages
"""

BROKEN = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "psutil":
            raise ImportError("psutil was built for another Python")
sys.meta_path.insert(0, Missing())
"""


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session.create(tmp_path / "sessions", "toy", RunConfig())


@pytest.fixture(autouse=True)
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file a child runs first."""
    place = tmp_path / "path" / "sitecustomize.py"
    place.parent.mkdir()
    place.write_text(FLOW)
    monkeypatch.setenv("PYTHONPATH", str(place.parent))
    return place


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """`jobs.start`, with what it started ended after the test."""
    started = []

    def start(*args) -> subprocess.Popen[bytes]:
        started.append(jobs.start(*args))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def until(holds: Callable[[], object], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def test_a_job_that_is_left_alone_ends_as_done(session: Session, start, tmp_path, monkeypatch):
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "__init__.py").write_text("raise SystemExit('a stranger')")
    monkeypatch.chdir(tmp_path)
    process = start(session, "evaluate")
    assert session.status().state in ("queued", "running", "done")
    assert process.wait(10) == 0
    status = session.status()
    assert (status.job, status.state, status.pid) == ("evaluate", "done", process.pid)
    assert not session.lock_path.exists()
    head, note, printed = jobs.tail(session, 9)
    assert head.startswith("== evaluate, ") and printed == "printed by a library"
    assert note == f"note: {2**26} {tmp_path} True"


def test_the_status_is_queued_with_the_childs_pid_before_it_begins(session: Session, start, flow):
    flow.write_text("import time; time.sleep(60)")
    process = start(session, "train")
    status = session.status()
    assert (status.state, status.pid) == ("queued", process.pid)
    assert abs(status.pid_started - psutil.Process(process.pid).create_time()) < 1e-6
    assert session.observed().state == "queued"


def test_a_child_that_dies_at_import_reads_as_failed_with_its_last_line(session: Session, start, flow):
    flow.write_text(BROKEN)
    assert start(session, "train").wait(10) == 1
    seen = session.observed()
    assert seen.state == "failed" and not seen.active
    assert seen.note == "the job died before it began: ImportError: psutil was built for another Python"
    assert session.summary()["error"] == seen.note
    flow.write_text(FLOW)
    assert start(session, "evaluate").wait(10) == 0  # its lock is in nobody's way


def test_a_child_killed_before_it_printed_does_not_read_an_older_jobs_line(session: Session, start, flow):
    session.log_path.write_text("what an older job said\n")
    flow.write_text("import os; os.kill(os.getpid(), 9)")
    start(session, "train").wait(10)
    assert session.observed().note == "the job died before it began"


def test_a_starter_that_dies_before_the_status_is_written_starts_nothing(session: Session, tmp_path):
    script = (
        "import os; from pathlib import Path; from core import jobs; from core.session import Session\n"
        "Session.write_status = lambda *_: os.kill(os.getpid(), 9)\n"
        f"jobs.start(Session(Path({str(session.path)!r})), 'evaluate')"
    )
    subprocess.run([sys.executable, "-c", script], env=environment(), timeout=20, check=False)
    time.sleep(0.5)
    assert session.observed().state == "new" and len(jobs.tail(session, 9)) == 1
    with lock.alone(session):
        lock.require_free(session)


def test_a_failed_start_leaves_the_session_free(session: Session, start, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Session, "write_status", full)
        with pytest.raises(OSError, match="No space"):
            start(session, "evaluate")
    assert session.observed().state == "new"
    assert start(session, "evaluate").wait(10) == 0


def test_a_job_survives_the_death_of_its_starter(session: Session):
    script = (
        "import os; from pathlib import Path; from core import jobs; from core.session import Session\n"
        f"jobs.start(Session(Path({str(session.path)!r})), 'train'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script], env=environment(), timeout=20, check=False)
    until(lambda: session.status().state == "running" and session.status().done > 5)
    assert jobs.stop(session).state == "stopped"


def test_a_killed_job_reads_as_interrupted_while_its_starter_lives_and_can_be_started_again(session, start):
    process = start(session, "train")
    until(lambda: session.status().state == "running")
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    assert session.observed().state == "interrupted"
    assert session.lock_path.exists()
    assert start(session, "evaluate").wait(10) == 0
    assert session.observed().state == "done"


def test_a_second_job_is_refused_while_one_runs(session: Session, start):
    first = start(session, "train")
    with pytest.raises(SessionError, match=f"has a job running: train, process {first.pid}"):
        start(session, "analyze")
    until(lambda: session.status().state == "running")
    with pytest.raises(SessionError, match="has a job running"):
        start(session, "analyze")
    with pytest.raises(SessionError, match="has a job running"), jobs.Running(session, "train"):
        pass
    assert session.status().pid == first.pid and first.poll() is None


def test_stop_ends_a_job_as_stopped_with_its_work_closed(session: Session, start):
    process = start(session, "train")
    until(lambda: session.status().done > 1)
    began = time.monotonic()
    assert jobs.stop(session).state == "stopped"
    assert time.monotonic() - began < 2
    assert process.wait(5) == 130
    assert (session.path / "closed").exists() and not session.lock_path.exists()
    with pytest.raises(SessionError, match="no job runs"):
        jobs.stop(session)


def test_stop_reaches_a_job_that_has_not_begun(session: Session, start):
    process = start(session, "train")
    assert jobs.stop(session).state == "stopped"
    assert process.wait(5) == 130
    assert not (session.path / "closed").exists()  # the work was never begun


def test_control_json_alone_stops_a_job(session: Session, start):
    process = start(session, "train")
    until(lambda: session.status().state == "running")
    session.want("stop")
    assert process.wait(5) == 130
    assert session.observed().state == "stopped"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_job_as_stopped(session: Session, start, signum):
    process = start(session, "train")
    until(lambda: session.status().done > 1)
    os.kill(process.pid, signum)
    assert process.wait(5) == 130
    assert session.observed().state == "stopped" and (session.path / "closed").exists()


def test_a_job_pauses_and_goes_on(session: Session, start):
    process = start(session, "train")
    until(lambda: session.status().done > 3)
    session.want("pause")
    until(lambda: session.status().state == "paused")
    done = session.status().done
    time.sleep(0.6)
    assert session.observed().state == "paused" and session.status().done == done
    session.want("run")
    until(lambda: session.status().state == "running" and session.status().done > done)
    session.want("pause")
    until(lambda: session.status().state == "paused")
    assert jobs.stop(session).state == "stopped" and process.wait(5) == 130


def test_work_that_fails_says_why_in_one_sentence(session: Session, start):
    process = start(session, "analyze")
    assert process.wait(10) == 1
    status = session.status()
    assert (status.state, status.phase) == ("failed", "analyzing")
    assert status.error == "the loss is no longer a number: lower `training.lr`"
    assert jobs.tail(session, 1) == [f"error: {status.error}"]
    assert "Traceback" not in session.log_path.read_text()


def test_a_job_whose_library_is_missing_fails_with_a_traceback_in_its_log(session: Session, start, flow):
    flow.write_text("import sys; sys.modules['core.flow'] = None")
    assert start(session, "train").wait(10) == 1
    assert session.status().error.startswith("ModuleNotFoundError: import of core.flow halted")
    assert session.status().error.endswith("; see log.txt")
    assert "Traceback" in session.log_path.read_text()


def test_follow_gives_each_line_until_the_job_ends(session: Session, start):
    start(session, "train")
    lines = jobs.follow(session)
    seen = [next(lines) for _ in range(2)]
    assert seen[0].startswith("== train") and seen[1] == "training: 0 of 1,000 activations"
    jobs.stop(session)
    seen += list(lines)
    assert seen == session.log_path.read_text().splitlines()


def test_a_reader_that_goes_away_does_not_end_the_work(session: Session):
    command = [sys.executable, "-m", "core", "train", str(session.path)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    done = session.status().done
    until(lambda: session.status().done > done + 10)
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 130 and session.status().state == "stopped"


def test_what_is_no_session_is_bad_usage(tmp_path: Path):
    command = [sys.executable, "-m", "core", "train", str(tmp_path)]
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=20, check=False)
    assert ran.returncode == 2 and "is no session" in ran.stderr
    assert list(tmp_path.glob("*.json")) == []


def test_a_chain_is_one_process_whose_status_tells_of_the_verb_at_work(session: Session, start):
    process = start(session, "evaluate", ["--then", "evaluate", "--then", "analyze"])
    assert process.wait(10) == 1
    status = session.status()
    assert (status.job, status.state, status.pid) == ("analyze", "failed", process.pid)
    heads = [line.split(",")[0] for line in jobs.tail(session, 99) if line.startswith("== ")]
    assert heads == ["== evaluate", "== evaluate", "== analyze"]


def test_a_stop_ends_a_chain(session: Session, start):
    process = start(session, "train", ["--then", "evaluate"])
    until(lambda: session.status().done > 1)
    jobs.stop(session)
    assert process.wait(5) == 130
    assert (session.status().job, session.status().state) == ("train", "stopped")


# In this process.


def test_a_chain_holds_the_session_between_its_verbs_and_hears_a_stop_there(session: Session):
    seen = []

    def work(verb: jobs.Verb):
        yield Progress(phase=f"phase of {verb}", done=7)
        seen.append((session.status().job, session.lock_path.exists()))
        if verb == "evaluate":
            session.want("stop")

    list(jobs.chain(session, ["train", "evaluate", "analyze"], work))
    assert seen == [("train", True), ("evaluate", True)]
    status = session.status()
    assert (status.job, status.state, status.phase) == ("evaluate", "stopped", "phase of evaluate")
    assert not session.lock_path.exists()

    def failing(verb: jobs.Verb):
        yield Progress(phase="a")
        raise DivergedError("no number")

    with pytest.raises(DivergedError):
        list(jobs.chain(session, ["train", "evaluate"], failing))
    assert (session.status().job, session.status().state) == ("train", "failed")


def test_run_hands_every_record_on_and_writes_the_status(session: Session):
    records = [Progress(phase="loading", done=3, total=9, unit="tensors"), Notice(message="x"), step(4)]
    assert list(jobs.run(session, "train", iter(records))) == records
    status = session.status()
    assert (status.state, status.phase, status.unit) == ("done", "loading", "tensors")
    assert (status.step, status.steps) == (4, 20)


def test_the_status_follows_each_phase_at_once_and_is_else_written_four_times_a_second(session: Session, monkeypatch):
    written: list[Status] = []
    write = Session.write_status
    monkeypatch.setattr(Session, "write_status", lambda s, status: (written.append(status), write(s, status)))
    with jobs.Running(session, "train") as job:
        job.note(Progress(phase="a"))
        assert session.status().phase == "a"
        before, until_s = len(written), time.monotonic() + 1
        while time.monotonic() < until_s:
            job.note(Progress(phase="a", done=1))
        assert 2 <= len(written) - before <= 5
        job.note(Progress(phase="b"))
        assert session.status().phase == "b"


def test_the_heart_beats_while_the_work_is_silent(session: Session, monkeypatch):
    monkeypatch.setattr(jobs, "HEARTBEAT_S", 0.2)
    with jobs.Running(session, "train"):
        first = session.status()
        until(lambda: session.status().heartbeat > first.heartbeat + 0.2)
        assert session.status().progress_at == first.progress_at


def test_a_consumer_that_leaves_early_stops_the_work(session: Session):
    closed = []

    def work():
        try:
            while True:
                yield Progress(phase="training")
        finally:
            closed.append(session.status().state)

    with contextlib.closing(jobs.run(session, "train", work())) as records:
        next(records)
    assert closed == ["running"] and session.status().state == "stopped"


def test_a_second_signal_interrupts_and_handlers_are_as_before(session: Session):
    before = [signal.getsignal(s) for s in jobs.SIGNALS]
    with pytest.raises(KeyboardInterrupt), jobs.Running(session, "train") as job:
        os.kill(os.getpid(), signal.SIGTERM)
        assert job.should_stop()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert session.status().state == "stopped"
    assert [signal.getsignal(s) for s in jobs.SIGNALS] == before


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (DivergedError("the loss is no number", hint="lower it"), "the loss is no number: lower it"),
        (OSError(errno.ENOSPC, "x"), "the disk is full: free some space and start again"),
        (RuntimeError("IoError(No space left on device)"), "the disk is full: free some space"),
        (MemoryError(), "the memory is full: "),
        (OutOfMemoryError("CUDA out of memory. Tried ..."), "the GPU's memory is full: "),
        (ValueError("\nodd\nmore"), "ValueError: odd; see log.txt"),
        (ZeroDivisionError(), "ZeroDivisionError; see log.txt"),
    ],
)
def test_a_failure_is_told_in_one_sentence(session: Session, error: Exception, words: str):
    def work():
        yield Progress(phase="training")
        raise error

    with pytest.raises(type(error)):
        list(jobs.run(session, "train", work()))
    status = session.status()
    assert status.state == "failed" and status.error.startswith(words) and "\n" not in status.error
    assert ("Traceback" in session.log_path.read_text()) == (not isinstance(error, DivergedError))


def test_the_end_is_told_also_where_no_second_file_fits(session: Session, monkeypatch):
    with jobs.Running(session, "train") as job:
        job.note(Progress(phase="a phase with a long name, so that what replaces it is shorter"))

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Session, "write_status", full)
        job.note(Progress(phase="b"))
    assert (session.status().state, session.status().phase) == ("done", "b")


def test_a_job_that_lost_its_lock_ends_and_writes_no_more(session: Session, monkeypatch):
    monkeypatch.setattr(jobs, "HEARTBEAT_S", 0.1)
    with pytest.raises(RunError, match="no longer holds its session"), jobs.Running(session, "train") as job:
        other = replace(Status.of_process("train", "running", os.getppid()), host="elsewhere")
        session.lock_path.write_text(json.dumps(asdict(other)))
        session.status_path.unlink()
        until(job.should_stop, timeout_s=3)
    assert json.loads(session.lock_path.read_text())["host"] == "elsewhere"


def test_the_lock_of_a_living_host_is_respected_and_of_a_silent_one_taken_over(session: Session):
    there = replace(Status.of_process("train", "running", 1), host="elsewhere", boot="its own")
    session.lock_path.write_text(json.dumps(asdict(there)))
    with pytest.raises(SessionError, match="elsewhere"), jobs.Running(session, "train"):
        pass
    old = replace(there, heartbeat=time.time() - 61)
    session.lock_path.write_text(json.dumps(asdict(old)))
    session.write_status(there)  # which beats: the lock is made once
    with pytest.raises(SessionError, match="elsewhere"), jobs.Running(session, "train"):
        pass
    session.write_status(old)
    with jobs.Running(session, "train"):
        assert session.status().host != "elsewhere"


@pytest.mark.parametrize("torn", ["", '{"pid": 1', "nonsense"])
def test_a_torn_lock_is_taken_over(session: Session, torn: str):
    session.lock_path.write_text(torn)
    with jobs.Running(session, "train"):
        assert json.loads(session.lock_path.read_text())["pid"] == os.getpid()


def test_one_of_many_gets_a_stale_lock(session: Session):
    gone = replace(Status.of_process("train", "running", os.getpid()), boot="of yesterday")
    session.lock_path.write_text(json.dumps(asdict(gone)))
    taken, barrier = [], threading.Barrier(8)

    def contend(n: int) -> None:
        barrier.wait()
        with contextlib.suppress(SessionError), lock.alone(session):
            lock.take(session, replace(Status.of_process("train", "running", os.getpid()), phase=str(n)))
            taken.append(n)

    threads = [threading.Thread(target=contend, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1


def test_what_a_killed_job_left_half_written_is_removed(session: Session):
    left = [session.path / ".sae.abcd1234", session.path / ".status.json.x", session.checkpoints_dir / ".5.y"]
    theirs = session.path / ".control.json.z"
    for folder in (*left, theirs):
        folder.mkdir(parents=True)
    with jobs.Running(session, "train"):
        assert not any(folder.exists() for folder in left) and theirs.exists()


def test_no_torch_is_imported_by_what_the_workbench_imports():
    script = (
        "import sys, core.jobs, core.session, core.engine.client, core.config, core.records\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], env=environment(), timeout=20).returncode == 0


def environment() -> dict[str, str]:
    return jobs.child.environment()


def step(n: int) -> StepReport:
    return StepReport(
        step=n, steps=20, activations=n * 2048, elapsed_s=1, loss=1, mse=1, fvu=1, l0=1, l1=1, sparsity_loss=0,
        aux_loss=0, coefficient=None, dead=0, dead_share=0, dense=0,
        decoder_cosine_mean=None, decoder_cosine_max=None, ce_loss_score=None, lr=1, activations_per_s=1,
        memory_bytes=1, gpu_memory_bytes=None,
    )  # fmt: skip

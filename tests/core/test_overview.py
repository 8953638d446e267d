"""The sessions at a glance: read again only where something changed."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from core import overview
from core.config import RunConfig
from core.overview import Overview
from core.session import Session
from core.status import Status


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for age, name in enumerate(("new", "old")):
        session = Session.create(tmp_path, name, RunConfig())
        os.utime(session.config_path, (time.time() - age, time.time() - age))
    return tmp_path


def line(step: int, fvu: float | None) -> str:
    return json.dumps({"step": step, "steps": 100, "fvu": fvu, "l0": 32.0}) + "\n"


def test_every_session_newest_first_with_what_it_has(root):
    session = Session(root / "old")
    session.metrics_path.write_text("".join(line(i, 1 / i) for i in range(1, 101)) + '{"torn')
    session.evaluation_path.write_text(json.dumps({"fvu": 0.2, "tokens": {"fvu": 10}}))
    session.sae_dir.mkdir()
    (session.sae_dir / "cfg.json").write_text(json.dumps({"metadata": {"l0": 71, "explained_variance": 0.8}}))
    new, old = Overview(root).read()
    assert (new.name, old.name) == ("new", "old")
    assert new.recorded == {} and old.recorded == {"l0": 71.0, "explained_variance": 0.8}
    assert new.latest == {} and new.trend == () and new.figure("fvu") is None and not new.has_sae
    assert old.latest["step"] == 100 and old.figure("fvu") == 0.2 and old.figure("l0") == 32.0
    assert old.figure("tokens") is None
    assert len(old.trend) == overview.TREND_POINTS and old.trend[0] == 1 and old.trend[-1] == 0.01
    assert old.size_bytes == session.size_bytes() > 0


def test_a_member_of_a_sweep_knows_its_place(root):
    seen = Overview(root)
    assert [s.place for s in seen.read()] == [None, None]
    for name in ("new", "old"):
        Session(root / name).sweep_path.write_text(json.dumps({"members": {"old": {}, "new": {}}}))
    assert [(s.name, s.place) for s in seen.read()] == [("new", (2, 2)), ("old", (1, 2))]


def test_sizes_come_when_they_are_asked_for(root):
    seen = Overview(root)
    assert [s.size_bytes for s in seen.read(sizes=False)] == [None, None]
    sizes = [s.size_bytes for s in seen.read()]
    assert all(sizes) and [s.size_bytes for s in seen.read(sizes=False)] == sizes


def test_what_did_not_change_is_not_read_again(root, monkeypatch):
    seen = Overview(root)
    before = seen.read()
    reads = []
    original = overview.sample_lines
    monkeypatch.setattr(overview, "sample_lines", lambda path, *a, **k: reads.append(path) or original(path, *a, **k))
    after = seen.read()
    assert all(a is b for a, b in zip(after, before, strict=True)) and reads == []
    Session(root / "old").metrics_path.write_text(line(1, 0.5) + line(2, None))
    assert seen.read()[1].trend == (0.5,) and len(reads) == 1


def test_an_active_job_is_looked_at_each_time(root):
    session, seen = Session(root / "new"), Overview(root)
    status = Status.of_process("train", "running", os.getpid())
    session.write_status(status)
    assert seen.read()[0].observed.state == "running"
    session.write_status(replace(status, pid_started=status.pid_started - 99))
    found = seen.read()[0]
    assert found.observed.state == "interrupted" and found.status.state == "running"


def test_sessions_that_come_and_go(root):
    seen = Overview(root)
    assert len(seen.read()) == 2
    Session(root / "old").delete()
    assert [s.name for s in seen.read()] == ["new"]
    Session.create(root, "old", RunConfig())
    assert len(seen.read()) == 2
    assert Overview(root / "none").read() == []


def test_a_session_that_is_deleted_meanwhile_is_left_out(root, monkeypatch):
    seen = Overview(root)
    original = Session.status

    def deleted(self: Session) -> Status:
        if self.name == "old":
            raise FileNotFoundError(self.status_path)
        return original(self)

    monkeypatch.setattr(Session, "status", deleted)
    assert [s.name for s in seen.read()] == ["new"]


def test_what_a_hand_has_spoilt_reads_as_if_it_were_not_there(root):
    session = Session(root / "new")
    session.status_path.write_text(json.dumps({"state": "done", "job": 3, "started": "x", "total": "y", "step": None}))
    session.metrics_path.write_text(line(1, 0.5) + '{"step": "x", "fvu": NaN}\n{"fvu": Infinity}\n')
    found = Overview(root).read()[0]
    assert (found.status.state, found.status.job, found.status.started, found.status.total) == ("done", "", 0.0, None)
    assert found.trend == (0.5,) and found.figure("fvu") is None

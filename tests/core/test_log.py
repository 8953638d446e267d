"""A log read as it grows, and what of a job's records is written to it."""

from pathlib import Path

from core.log import Log, Sparing
from core.records import Notice, Progress


def test_lines_come_once_and_whole(tmp_path: Path):
    path = tmp_path / "log.txt"
    log = Log(path)
    assert log.read() == []
    path.write_bytes(b"one\n\xff two\nthr")
    assert log.read() == ["one", "\ufffd two"] and log.rest() == "thr"
    with path.open("ab") as file:
        file.write(b"ee\n\nfour")
    assert log.read() == ["three", ""] and log.read() == [] and log.rest() == "four"


def test_of_a_long_log_the_end_is_read(tmp_path: Path):
    path = tmp_path / "log.txt"
    path.write_text("".join(f"line {i}\n" for i in range(1_000)))
    log = Log(path, last_bytes=100)
    lines = log.read()
    assert log.cut and lines[-1] == "line 999" and lines[0].startswith("line ") and 5 < len(lines) < 15


def test_a_log_that_was_cut_begins_anew(tmp_path: Path):
    path = tmp_path / "log.txt"
    path.write_text("one\ntwo\n")
    log = Log(path)
    assert log.read() == ["one", "two"] and not log.cut
    path.write_text("new\n")
    assert log.read() == ["new"]


def test_of_an_hour_of_progress_the_beginnings_the_ends_and_a_line_now_and_then_are_written():
    now = 0.0
    sparing, written = Sparing(lambda: now), []

    def came(phase, done):
        written.extend(sparing.lines(Progress(phase=phase, done=done), f"{phase} {done}"))

    for second in range(3_600):
        now = float(second)
        came("training", second)
    came("evaluating", 0)
    assert written[:3] == ["training 0", "training 30", "training 60"] and len(written) == 3_600 / 30 + 2
    assert written[-2:] == ["training 3599", "evaluating 0"]
    came("evaluating", 1)
    written.extend(sparing.lines(Notice(message="the disk is full"), "note"))
    assert written[-2:] == ["evaluating 1", "note"]
    came("evaluating", 2)
    assert written[-1] == "note" and list(sparing.rest()) == ["evaluating 2"] and list(sparing.rest()) == []


def test_a_line_that_says_nothing_new_is_written_once():
    now = 0.0
    sparing = Sparing(lambda: now)
    written = []
    for now in (0.0, 1.0, 100.0, 200.0):  # noqa: B007 # the clock reads it
        written.extend(sparing.lines(Progress(phase="loading"), "loading"))
    assert [*written, *sparing.rest()] == ["loading"]

"""A log read as it grows."""

from pathlib import Path

from core.log import Log


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

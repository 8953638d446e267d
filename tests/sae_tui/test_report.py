"""`sae-tui report` writes where it is told, and says so."""

import json

from sae_tui.cli import run
from tests.core.report.conftest import session, told_session  # noqa: F401 # fixtures

FILES = ["report.html", "summary.json", "feature_report.json"]


def called(session, capsys, *words, code=0):  # noqa: F811
    assert run(["--sessions", str(session.path.parent), "report", session.name, *words]) == code
    return capsys.readouterr()


def test_it_goes_into_the_sessions_folder_with_progress(session, capsys):  # noqa: F811
    said = called(session, capsys, "--features", "2")
    assert [line.split()[0].rsplit("/", 1)[1] for line in said.out.splitlines()] == FILES
    assert {path.name for path in session.report_dir.iterdir()} == {*FILES}
    assert "reading features" in said.err and "drawing figures" in said.err


def test_it_goes_where_it_is_told_also_as_pdf(session, capsys, tmp_path):  # noqa: F811
    folder = tmp_path / "elsewhere" / "deep"
    said = json.loads(called(session, capsys, "--out", str(folder), "--features", "1", "--pdf", "--json").out)
    assert said == {"name": "toy", "files": [str(folder / name) for name in (*FILES, "report.pdf")]}
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF") and not session.report_dir.exists()


def test_what_cannot_be_is_said(session, capsys):  # noqa: F811
    assert "give 0 or more" in called(session, capsys, "--features", "-1", code=2).err
    session.database_path.unlink()
    assert "sae-tui analyze toy" in called(session, capsys, code=2).err

"""A report's folder holds whole files."""

import json

import pytest

from core.errors import SaeTuiError
from core.report.write import write
from tests.conftest import finished
from tests.core.report.conftest import EVALUATION, STARRED


def test_the_files_are_written_and_replaced(session, tmp_path):
    folder = tmp_path / "out"
    for n in (1, 3):
        made = finished(write(session, folder, features=n, paper=n == 3))
        assert [path.name for path in made] == ["report.html", "summary.json", "feature_report.json", "report.pdf"][
            : 3 if n == 1 else 4
        ]
        assert len(json.loads((folder / "feature_report.json").read_text())) == n
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in made)
    assert json.loads((folder / "summary.json").read_text())["evaluation"] == EVALUATION
    assert json.loads((folder / "feature_report.json").read_text())[0]["feature"] == STARRED


def test_a_folder_that_cannot_be_written_is_said(session, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SaeTuiError, match="cannot be written"):
        finished(write(session, tmp_path / "file", features=0))

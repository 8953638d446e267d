"""`sae-tui query`: rows printed up to a limit, or all of them in a file."""

import csv
import json
import resource
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from core import config
from core.analysis import answering
from core.errors import QueryError
from sae_tui.cli import run
from tests.core.analysis.conftest import make_case  # noqa: F401 # a fixture

SQL = "SELECT i FROM range(2500) t(i) ORDER BY i"


@pytest.fixture
def called(make_case, capsys):  # noqa: F811
    case = make_case()
    case.build()
    case.session.config_path.write_text(config.example())

    def call(*words, code=0):
        assert run(["--sessions", str(case.session.path.parent), "query", case.session.name, *map(str, words)]) == code
        return capsys.readouterr()

    return call


def test_a_file_takes_all_rows_and_its_name_says_the_format(called, tmp_path):
    for form in ("csv", "json", "parquet"):
        file = tmp_path / f"rows.{form}"
        assert "2,500 rows are in" in called(SQL, "--out", file).out
    assert pq.read_table(tmp_path / "rows.parquet")["i"].to_pylist() == list(range(2500))
    assert [int(row["i"]) for row in csv.DictReader((tmp_path / "rows.csv").open())] == list(range(2500))
    said = json.loads(called(SQL, "--out", tmp_path / "x", "--format", "json", "--limit", 3, "--json").out)
    assert said == {"file": str(tmp_path / "x"), "format": "json", "rows": 3}
    assert json.loads((tmp_path / "x").read_text()) == [{"i": 0}, {"i": 1}, {"i": 2}]


def test_another_session_is_joined(called, make_case, tmp_path):  # noqa: F811
    other = make_case(1, name="other")
    other.build()
    other.session.config_path.write_text(config.example())
    sql = "SELECT feature, a.n AS one, b.n AS other FROM s1.features a JOIN s2.features b USING (feature)"
    counts = [(case > 0).sum(axis=0).tolist() for case in (make_case(name="again").code, other.code)]
    said = json.loads(called(sql, "--with", "other", "--format", "json").out)
    assert [[row["one"], row["other"]] for row in said] == [list(pair) for pair in zip(*counts, strict=True)]
    called(sql, "--with", "other", "--out", tmp_path / "both.parquet")
    assert pq.read_table(tmp_path / "both.parquet").to_pylist() == said
    assert "no session" in called(sql, "--with", "none", code=2).err


@pytest.mark.parametrize("form", ["csv", "json", "table"])
def test_printed_rows_are_a_thousand_unless_told_otherwise(called, form):
    said = called(SQL, "--format", form)
    assert "999" in said.out and "1000" not in said.out and "the first 1,000 rows" in said.err
    said = called(SQL, "--format", form, "--limit", 0)
    assert "2499" in said.out and said.err == ""
    assert called(SQL.replace("2500", "7"), "--format", form, "--limit", 7).err == ""


def test_csv_on_a_terminal_is_made_safe_and_in_a_pipe_is_data(called, monkeypatch, capsys):
    sql = r"SELECT chr(27) || '[2J' || chr(8238) AS t"
    assert called(sql, "--format", "csv").out == "t\n\x1b[2J\u202e\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert called(sql, "--format", "csv").out == "t\n␛[2J\ufffd\n"


def test_what_cannot_be_is_said(called, tmp_path):
    assert "does not say its format" in called(SQL, "--out", tmp_path / "rows.txt", code=2).err
    assert "a table is for a terminal" in called(SQL, "--out", tmp_path / "x", "--format", "table", code=2).err
    assert "name it with --out" in called(SQL, "--format", "parquet", code=2).err
    assert "give 0, for all, or more" in called(SQL, "--limit", -1, code=2).err
    assert "refused" in called("DROP TABLE features", "--out", tmp_path / "x.csv", code=2).err
    assert not list(tmp_path.glob("x*"))


@pytest.mark.parametrize("words", [
    ("query", "toy", "SELECT length(repeat('x', 3000000000))"),
    ("query", "toy", "SELECT length(repeat('x', 3000000000))", "--format", "csv"),
    ("query", "toy", "SELECT length(repeat('x', 3000000000))", "--out", "rows.parquet"),
    ("features", "toy", "--where", "length(repeat('x', 3000000000)) > n"),
    ("features", "toy", "--heat", "--where", "length(repeat('x', 3000000000)) > n"),
], ids=lambda words: "-".join(word.strip("-") for word in words if " " not in word))  # fmt: skip
def test_a_value_larger_than_the_memory_is_refused_in_a_sentence(make_case, tmp_path, words):  # noqa: F811
    case = make_case(name="toy")
    case.build()
    case.session.config_path.write_text(config.example())
    command = [sys.executable, "-P", "-m", "sae_tui", "--sessions", str(case.session.path.parent), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 2 and done.stdout == "" and not (tmp_path / "rows.parquet").exists()
    said = "sae-tui: the query needs more memory than it may use: narrow it, or add a LIMIT"
    assert done.stderr.splitlines() == [said]


def test_the_bound_is_gone_after_the_verb_and_a_lower_one_stays(called):
    before = resource.getrlimit(resource.RLIMIT_DATA)
    called(SQL, "--limit", 1)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    with answering.bounded():
        lower, _ = inner = resource.getrlimit(resource.RLIMIT_DATA)
        assert lower > 0 and inner != before and inner[1] == before[1]
        with answering.bounded():
            assert resource.getrlimit(resource.RLIMIT_DATA)[0] <= lower
    with pytest.raises(QueryError, match="more memory"), answering.bounded():
        bytearray(2**40)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before

"""Tables on a terminal: what is cut where they are too wide, and what is said of columns that have no room."""

import pytest
from rich.console import Console

from sae_tui.commands import output


@pytest.fixture
def printed(capsys, monkeypatch):
    """`printed(width, …)`: the lines of a table on a terminal so many columns wide."""

    def made(width, *args, **options):
        monkeypatch.setattr(output, "Console", lambda **_: Console(width=width, highlight=False))
        output.table(*args, **options)
        return capsys.readouterr().out.splitlines()

    return made


def test_a_table_that_fits_is_whole(printed):
    assert printed(40, ("feature", "label"), [(7, "months of the year")], left=("label",)) == [
        "feature  label             ",
        "      7  months of the year",
    ]


def test_the_widest_columns_are_cut_and_numbers_stay_whole(printed):
    rows = [(i, 0.000012345 * 10**i, "words that take more room than there is", "日本語の言葉") for i in range(3)]
    header, *lines = printed(40, ("feature", "density", "label", "note"), rows, left=("label", "note"))
    assert header.split() == ["feature", "density", "label", "note"]
    assert [line.split()[:2] for line in lines] == [["0", "1.234e-05"], ["1", "0.0001234"], ["2", "0.001234"]]
    assert all("words" in line and "…" in line and "日本" in line for line in lines)


@pytest.mark.parametrize("width", [20, 60, 80, 160, 200])
def test_columns_without_room_are_counted_and_named(printed, width):
    columns = [f"column_{i}" for i in range(40)]
    *lines, last = printed(width, columns, [[i * 1.2345 for i in range(40)]])
    shown = len(lines[0].split())
    assert 0 < shown < 40 and len(lines[1].split()) == shown and "…" not in lines[1]
    assert all(len(line) <= width for line in lines)
    assert last == f"{40 - shown} more columns: {', '.join(columns[shown:])} · --json has all"


def test_one_column_is_shown_however_narrow_it_is_and_names_are_safe(printed):
    lines = printed(10, ("words", "\x1b[2J"), [("so many words that they never fit", "more")], left=("words",))
    assert lines[1].startswith("so many") and lines[-1] == "1 more column: ␛[2J · --json has all"
    assert printed(80, ("a", "b"), []) == ["a  b"]

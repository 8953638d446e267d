"""The result of a query as columns: numbers that can be compared at a glance."""

import pytest

from core.analysis.store import Result
from sae_tui.widgets.result import columns


def shown(values, kind="DOUBLE"):
    rows = [(value,) for value in values]
    [column] = columns(Result(columns=["x"], types=[kind], rows=rows, truncated=False, elapsed_s=0.0))
    cells = [column.cell(row) for row in rows]
    assert all(len(str(cell)) <= column.width for cell in cells[:500])
    return [str(cell) for cell in cells]


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        ([0.5, 0.25, 3.0], ["0.50", "0.25", "3.00"]),
        ([1.0, 20.0, 0.0], ["1", "20", "0"]),
        ([1 / 3, 12.5, None], ["0.3333", "12.5000", "NULL"]),
        ([123456.789, 0.001], ["123456.789", "0.001"]),
        ([-1e-5, 0.5], ["-0.00001", "0.50000"]),
        ([1e20, 1.0], ["1.00000e+20", "1.00000e+00"]),
        ([1e-300], ["1.00000e-300"]),
    ],
)
def test_the_points_of_a_columns_doubles_are_below_each_other(values, cells):
    assert shown(values) == cells


def test_a_double_smaller_than_those_that_were_looked_at_is_not_shown_as_none():
    assert shown([0.5] * 500 + [1e-9])[-1] == "1e-09"


def test_whole_numbers_and_text_are_as_they_are():
    assert shown([1, 2**70], "HUGEINT") == ["1", str(2**70)] and shown(["a", "0.50"], "VARCHAR") == ["a", "0.50"]

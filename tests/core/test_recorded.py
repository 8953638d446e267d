"""What an SAE's files record of it, beside what is measured."""

import json

import pytest

from core import recorded


@pytest.mark.parametrize(
    ("record", "value", "off"),
    [
        ({"l0": 60.0}, {"l0": 20.0}, "L0 is 20.0, and 60.0 by its files"),
        ({"l0": 20.0}, {"l0": 60.0}, "L0 is 60.0, and 20.0 by its files"),
        ({"l0": 20.0}, {"l0": 20.0}, ""),
        ({"l0": 20.0}, {"l0": 39.0}, ""),
        ({"explained_variance": 0.9}, {"explained_variance": 0.69}, "explained variance is 0.690, and 0.900 by its"),
        ({"explained_variance": 0.9}, {"explained_variance": 0.72}, ""),
        ({"explained_variance": 0.15}, {"explained_variance": -3.0}, "explained variance is -3.00, and 0.150 by its"),
        ({"explained_variance": 0.2}, {"explained_variance": 0.9}, "explained variance is 0.900, and 0.200 by its"),
        ({"l0": 20.0, "explained_variance": 0.9}, {"l0": 20.0, "explained_variance": None}, ""),
        ({"l0": 20.0}, {}, ""),
        ({}, {"l0": 20.0}, ""),
    ],
)
def test_what_is_far_from_its_record_is_warned_of(record, value, off):
    told = recorded.warning(record, value)
    assert (off in told and "tokens.prepend_bos" in told) if off else told == ""
    lines = recorded.compared(record, value)
    assert lines[1:] == ([told] if off else []) and bool(lines) == bool(record)


def test_records_and_measures_are_told_in_a_sentence():
    [told] = recorded.compared({"l0": 71.0, "explained_variance": 0.85}, {"l0": 69.3, "explained_variance": 0.84})
    assert told == (
        "its files record L0 71.0, explained variance 0.850; measured here: L0 69.3, explained variance 0.840"
    )


def test_what_cannot_be_true_records_nothing(tmp_path):
    for l0 in (0, 0.0, -1, True, "71", None, float("nan"), float("inf"), 10**400):
        assert recorded.noted(l0, 0.5) == {"explained_variance": 0.5}, l0
    assert recorded.noted(1, 1.1) == {"l0": 1.0} and recorded.noted(1, 0) == {"l0": 1.0}
    assert recorded.in_place("some/repo:layer_20/width_16k") == {} == recorded.read(tmp_path)
    assert recorded.in_place("a/average_l0_5/layer_20/average_l0_71") == {"l0": 71.0}
    (tmp_path / "cfg.json").write_text(json.dumps({"metadata": [1]}))
    assert recorded.read(tmp_path) == {} == recorded.beside(tmp_path)

"""Figures show what there is, and fit into one page."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from core.report import figures
from core.report.figures import drawings, strengths, svg


@pytest.mark.parametrize(("n", "cells"), [(1, 100), (7, 100), (200, 100), (201, 100), (5000, 10**6)])
def test_the_map_of_strengths_has_every_feature_in_its_cell(monkeypatch, n, cells):
    monkeypatch.setattr(figures, "CELLS", cells)
    values = np.random.default_rng(0).gamma(2, 3, n)
    values[::5] = np.nan
    per, grid = strengths(values)
    assert per == -(-n // cells)
    naive = [values[i : i + per][~np.isnan(values[i : i + per])] for i in range(0, n, per)]
    flat = grid.ravel()
    for i, part in enumerate(naive):
        assert flat[i] == part.max() if len(part) else np.isnan(flat[i])
    assert np.isnan(flat[len(naive) :]).all() and grid.shape[1] >= grid.shape[0]


def test_each_figure_is_well_formed_and_takes_the_pages_colours(read):
    found = list(drawings(read()))
    assert [one.name for one in found] == ["curves", "densities", "strengths", "map"]
    ids = []
    for one in found:
        text = svg(one)
        ElementTree.fromstring(text)
        ids += re.findall(r'\bid="([^"]+)"', text)
        assert "currentColor" in text and not any(colour in text for colour in figures.PAGE)
        assert set(re.findall(r'href="(.)', text)) <= {"#", "d"}  # of itself, or data
    assert len(ids) == len(set(ids))


def test_lambda_is_drawn_where_there_is_one(session, read):
    assert "λ" in svg(next(drawings(read())))
    lines = session.metrics_path.read_text().replace('"coefficient"', '"nothing"')
    session.metrics_path.write_text(lines)
    assert "λ" not in svg(next(drawings(read())))


def test_no_curves_are_drawn_of_an_sae_that_was_not_trained_here(session, read):
    session.metrics_path.unlink()
    assert "curves" not in [one.name for one in drawings(read())]


def test_emergence_is_drawn_where_there_are_snapshots(read):
    report = read()
    report.summary["emergence"] = [{"step": s, "active": 5 + s, "born": s, "died": s // 2} for s in (1, 5, 9)]
    [one] = [one for one in drawings(report) if one.name == "emergence"]
    assert "born" in svg(one)

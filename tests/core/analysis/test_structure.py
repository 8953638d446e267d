"""Clusters of directions and their tree, on directions whose clusters are known."""

import sys
import types

import numpy as np
import pyarrow.parquet as pq
import pytest

from core import config
from core.analysis import structure
from core.errors import RunError


def bundles(sizes, seed=0, spread=0.05):
    """Directions around as many orthogonal ones."""
    rng = np.random.default_rng(seed)
    centres = np.eye(8)[: len(sizes)]
    rows = np.concatenate([c + spread * rng.normal(size=(n, 8)) for c, n in zip(centres, sizes, strict=True)])
    return (3 * rows).astype(np.float32)


def test_directions_that_lie_together_are_one_cluster_and_the_largest_is_the_first():
    rows = bundles([5, 20, 10])
    cluster, centres = structure.clustered(rows / np.linalg.norm(rows, axis=1, keepdims=True), 3, seed=0)
    assert cluster.tolist() == [2] * 5 + [0] * 20 + [1] * 10
    for i in range(3):
        unit = rows[cluster == i] / np.linalg.norm(rows[cluster == i], axis=1, keepdims=True)
        assert np.allclose(centres[i], unit.mean(axis=0), atol=1e-5)


def test_the_tree_joins_what_is_nearest_first_at_the_mean_distance():
    angles = np.array([0.0, 0.2, 1.5])
    centres = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    parent, height = structure.tree(centres)
    assert parent.tolist() == [3, 3, 4, 4, -1]
    assert height == pytest.approx([0, 0, 0, 1 - np.cos(0.2), 1 - (np.cos(1.5) + np.cos(1.3)) / 2], abs=1e-6)
    assert structure.tree(centres[:1])[0].tolist() == [-1]


def written(rows, tmp_path, **analysis):
    list(structure.write(rows, tmp_path, config.parse({"analysis": analysis})))
    return [pq.read_table(tmp_path / f"{name}.parquet").to_pydict() for name in ("structure", "clusters")]


def test_every_feature_has_a_cluster_and_a_place_and_sums_go_up_the_tree(tmp_path):
    features, clusters = written(bundles([30, 20, 14]), tmp_path, clusters=3)
    assert features["feature"] == list(range(64))
    assert clusters["n"] == [30, 20, 14, *clusters["n"][3:]]
    assert clusters["n"][-1] == 64
    x = np.array(features["x"])
    assert clusters["x"][0] == pytest.approx(x[:30].mean(), abs=1e-5)
    assert clusters["x"][-1] == pytest.approx(x.mean(), abs=1e-5)


def test_the_map_is_of_the_two_largest_principal_components(tmp_path):
    rows = bundles([30, 20, 14])
    features, _ = written(rows, tmp_path)
    unit = rows.astype(np.float64) / np.linalg.norm(rows, axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    for i, name in enumerate("xy"):
        assert np.abs(features[name]) == pytest.approx(np.abs(centred @ axes[i]), abs=1e-4)


def test_without_a_number_there_are_as_many_clusters_as_the_square_root(tmp_path):
    features, _ = written(np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32), tmp_path)
    assert len(set(features["cluster"])) == 8


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_few_features_or_none_with_a_direction_are_no_trouble(tmp_path, n):
    features, clusters = written(np.zeros((n, 4), dtype=np.float32), tmp_path)
    assert len(features["feature"]) == n
    assert clusters["n"][-1] == n


def test_umap_is_given_unit_directions_and_the_seed_and_its_places_are_kept(tmp_path, monkeypatch):
    asked = {}

    class UMAP:
        def __init__(self, **options):
            asked.update(options)

        def fit_transform(self, rows):
            asked["rows"] = rows
            return np.stack([np.arange(len(rows)), -np.arange(len(rows)) / 2], axis=1).astype(np.float32)

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=UMAP))
    rows = bundles([5, 5])
    features, clusters = written(rows, tmp_path, map="umap", clusters=2)
    assert (features["x"], features["y"]) == (list(range(10)), [-i / 2 for i in range(10)])
    assert sorted(clusters["x"]) == [2, 4.5, 7]  # the mean places of two bundles, and of all
    assert np.allclose(asked.pop("rows"), rows / np.linalg.norm(rows, axis=1, keepdims=True))
    assert asked == {"metric": "cosine", "random_state": 0, "n_jobs": 1}


def test_a_map_that_needs_what_is_not_installed_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(RunError, match="umap-learn"):
        written(bundles([5, 5]), tmp_path, map="umap")

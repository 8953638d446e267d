"""Decoder directions in clusters, clusters in a tree, and all of them on a map of two dimensions."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int

from core.analysis import shards
from core.config import RunConfig
from core.errors import RunError
from core.records import Progress

MANY = 20_000
"""Of more features than this, clusters are found from batches of them."""


def write(directions: Float32[np.ndarray, "f d_in"], folder: Path, config: RunConfig) -> Iterator[Progress]:
    """The files `structure` and `clusters`.

    Directions of unit length are clustered by k-means; the clusters' centres are joined two by two, those first whose
    cosine distance (average linkage) is least, up to one tree. The map is of the two largest principal components, or
    by UMAP. Raises RunError where that is asked for and not installed.
    """
    unit = directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    wanted = config.analysis.clusters or round(len(unit) ** 0.5)
    yield Progress(phase="clustering decoder directions")
    cluster, centres = clustered(unit, min(wanted, len(unit)), config.seed)
    yield Progress(phase="drawing the map of features")
    points = _map(unit, config)
    shards.write(folder, "structure", [np.arange(len(unit)), cluster, points[:, 0], points[:, 1]])
    parent, height = tree(centres)
    n, x, y = (_over(parent, _by(cluster, w, len(centres))) for w in (np.ones(len(unit)), points[:, 0], points[:, 1]))
    filled = np.maximum(n, 1)
    shards.write(folder, "clusters", [np.arange(len(parent)), parent, n, height, x / filled, y / filled])


def clustered(
    unit: Float32[np.ndarray, "f d_in"], k: int, seed: int
) -> tuple[Int[np.ndarray, " f"], Float32[np.ndarray, "k d_in"]]:
    """The cluster of each row, and the clusters' centres, as many as have a row; the largest cluster is number 0."""
    from sklearn.cluster import KMeans, MiniBatchKMeans  # here: it takes a second to import
    from sklearn.exceptions import ConvergenceWarning

    kind: Any = MiniBatchKMeans if len(unit) > MANY else KMeans
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than clusters: there are fewer
        found = kind(k, random_state=seed, n_init=1).fit(unit)
    names, n = np.unique(found.labels_, return_counts=True)
    order = names[np.argsort(-n, kind="stable")]
    place = np.zeros(k, dtype=np.int64)
    place[order] = np.arange(len(order))
    return place[found.labels_], found.cluster_centers_[order]


def tree(centres: Float32[np.ndarray, "k d_in"]) -> tuple[Int[np.ndarray, " m"], Float32[np.ndarray, " m"]]:
    """Of each cluster, and then of each pair joined on the way to one: what it is part of (-1: of nothing), and height.

    The height of a pair is the mean cosine distance, 1 − cosine, between the centres in its two halves; that of a
    cluster is 0. `m = 2k − 1`, and a pair's number is larger than those of its halves.
    """
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import pdist

    k = len(centres)
    parent, height = np.full(2 * k - 1, -1), np.zeros(2 * k - 1, dtype=np.float32)
    if k > 1:
        distance = np.nan_to_num(pdist(centres, "cosine"), nan=1.0).clip(0)
        for number, (left, right, apart, _) in enumerate(linkage(distance, "average"), start=k):
            parent[[int(left), int(right)]] = number
            height[number] = apart
    return parent, height


def _map(unit: Float32[np.ndarray, "f d_in"], config: RunConfig) -> Float32[np.ndarray, "f 2"]:
    if min(unit.shape) < 3 or not np.ptp(unit, axis=0).any():
        return np.pad(unit, ((0, 0), (0, 2)))[:, :2]
    if config.analysis.map == "umap":
        try:
            from umap import UMAP  # pyright: ignore[reportMissingImports] # a person installs it, or does not
        except ImportError as error:
            raise RunError(
                "analysis.map = umap needs the package umap-learn", hint="pip install umap-learn, or set it to pca"
            ) from error
        # with a seed it uses one thread, and would warn that it does
        return UMAP(metric="cosine", random_state=config.seed, n_jobs=1).fit_transform(unit)
    from sklearn.decomposition import PCA

    return PCA(2, svd_solver="covariance_eigh").fit_transform(unit)


def _by(cluster: Int[np.ndarray, " f"], weights: np.ndarray, k: int) -> np.ndarray:
    return np.bincount(cluster, weights.astype(np.float64), minlength=k)


def _over(parent: Int[np.ndarray, " m"], leaves: np.ndarray) -> np.ndarray:
    """Sums over each node's leaves."""
    sums = np.zeros(len(parent))
    sums[: len(leaves)] = leaves
    for node, above in enumerate(parent):
        if above >= 0:
            sums[above] += sums[node]
    return sums

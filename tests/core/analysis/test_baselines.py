"""The baselines against the same written out, row by row."""

import numpy as np
import pytest
import torch

from core.analysis import baselines
from core.errors import CorpusError
from core.sae.topk import TopK

D, D_SAE, K, N = 8, 24, 3, 120


@pytest.fixture
def given():
    generator = torch.Generator().manual_seed(0)
    sae = TopK(D, D_SAE, K)
    sae.initialise(torch.zeros(D), generator)
    x = torch.randn(N, D, generator=generator) * torch.arange(1, D + 1) + 3
    return sae, x, torch.randint(0, 7, (N,), generator=generator)


def fvu(x, x_hat):
    return float(((x - x_hat) ** 2).sum() / ((x - x.mean(axis=0)) ** 2).sum())


def largest(row, k):
    kept = np.zeros_like(row)
    for i in np.argsort(-np.abs(row))[:k]:
        kept[i] = row[i]
    return kept


def entropy(z, ids):
    found = []
    for f in range(z.shape[1]):
        tokens = ids[z[:, f] > 0]
        if len(tokens):
            p = np.bincount(tokens) / len(tokens)
            found.append(-(p[p > 0] * np.log(p[p > 0])).sum())
    return float(np.median(found))


def test_each_baseline_is_what_its_definition_reads(given):
    sae, x, ids = given
    found = {b.name: b for b in baselines.measured(sae, x, ids, seed=5)}
    fitted, rows, its = x[: N // 2].double().numpy(), x[N // 2 :].double().numpy(), ids[N // 2 :].numpy()
    mean = fitted.mean(axis=0)
    with torch.no_grad():
        z = sae.encode(x[N // 2 :])
    assert found["sae"].fvu == pytest.approx(fvu(rows, sae.decode(z).detach().double().numpy()), rel=1e-5)
    assert found["sae"].token_entropy == pytest.approx(entropy(z.numpy(), its), rel=1e-5)
    kept = np.array([largest(row - mean, K) for row in rows])
    assert found["neurons"].fvu == pytest.approx(fvu(rows, kept + mean), rel=1e-5)
    assert found["neurons"].token_entropy == pytest.approx(
        entropy(np.concatenate([np.maximum(kept, 0), np.maximum(-kept, 0)], axis=1), its), rel=1e-5
    )
    _, _, axes = np.linalg.svd(fitted - mean, full_matrices=False)
    kept = np.array([largest(axes @ (row - mean), K) for row in rows])
    assert found["pca"].fvu == pytest.approx(fvu(rows, kept @ axes + mean), rel=1e-4)
    w = torch.randn(D_SAE, D, generator=torch.Generator().manual_seed(5)).double().numpy()
    w /= np.linalg.norm(w, axis=1, keepdims=True)

    def code(some):
        return np.array([largest(np.maximum(w @ (row - mean), 0), K) for row in some])

    there = code(fitted) @ w
    scale = ((fitted - mean) * there).sum() / (there**2).sum()
    assert found["random"].fvu == pytest.approx(fvu(rows, scale * code(rows) @ w + mean), rel=1e-4)
    assert {b.l0 for b in found.values() if b.name != "random"} == {float(K)}


def test_what_a_classifier_makes_of_each_is_counted_on_whole_images():
    """`right` is given what is written in the second half's place; the SAE first."""
    generator = torch.Generator().manual_seed(1)
    sae = TopK(D, D_SAE, K)
    sae.initialise(torch.zeros(D), generator)
    x, ids, seen = torch.randn(N, D, generator=generator), torch.zeros(N, dtype=torch.long), []

    def right(x_hat):
        seen.append(x_hat)
        return len(seen) / 10

    found = baselines.measured(sae, x, ids, seed=0, right=right)
    assert [b.recon_acc for b in found] == [0.1, 0.2, 0.3, 0.4]
    assert torch.allclose(seen[0], sae(x[N // 2 :])) and all(one.shape == (N // 2, D) for one in seen)


def test_next_to_no_text_is_told(given):
    with pytest.raises(CorpusError, match="not enough text"):
        list(baselines.asked(None, given[0], [], seed=0))

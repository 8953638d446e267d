"""The metrics against naive float64 versions, and cross-entropies against whole forward passes."""

import numpy as np
import pytest
import torch

from core import config, corpus, tokens
from core.cross_entropy import predicted
from core.errors import CorpusError
from core.evaluate import METRICS, Halves, Reconstruction, evaluate
from core.sae.topk import TopK
from tests.conftest import finished, language_model


@pytest.fixture
def sae():
    sae = TopK(32, 96, 8)
    generator = torch.Generator().manual_seed(0)
    sae.initialise(torch.zeros(32), generator)
    return sae


def naive(x, z, x_hat):
    """Every reconstruction metric as its definition reads, in numpy float64, row by row."""
    x, z, x_hat = (t.detach().double().numpy() for t in (x, z, x_hat))
    error = ((x - x_hat) ** 2).sum(1)
    variance = ((x - x.mean(0)) ** 2).sum(1)
    norm, norm_hat = np.linalg.norm(x, axis=1), np.linalg.norm(x_hat, axis=1)
    fired = (z > 0).sum(0)
    return {
        "fvu": error.sum() / variance.sum(),
        "explained_variance": 1 - error.sum() / variance.sum(),
        "mse": error.mean(),
        "cossim": np.mean([(a @ b) / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in zip(x, x_hat, strict=True)]),
        "l2_ratio": (norm_hat / norm).mean(),
        "relative_reconstruction_bias": (norm_hat**2).sum() / (x * x_hat).sum(),
        "l0": (z > 0).sum(1).mean(),
        "l1": z.sum(1).mean(),
        "sparsity": 1 - (z > 0).sum(1).mean() / z.shape[1],
        "dead_share": (fired == 0).mean(),
        "dense_share": (fired > 0.1 * len(x)).mean(),
    }


def test_reconstruction_metrics_equal_the_naive_ones_whatever_the_batches(sae):
    x = 100 + torch.randn(500, 32, generator=torch.Generator().manual_seed(1))  # a mean that would drown float32
    z = sae.encode(x)
    x_hat = sae.decode(z)
    sums = Reconstruction(32, 96, torch.device("cpu"))
    for part in (slice(0, 7), slice(7, 300), slice(300, 500)):
        sums.add(x[part], z[part], x_hat[part])
    expected = naive(x, z, x_hat)
    found = sums.metrics()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


def test_reliability_equals_the_naive_one_whatever_the_batches():
    rng = np.random.default_rng(0)
    p = 10 ** rng.uniform(-3, -0.3, 40)
    code = torch.from_numpy(((rng.random((600, 40)) < p) * rng.gamma(2, 3, (600, 40))).astype(np.float32))
    code[:, :3] = 0
    code[:, 3] = 0
    code[100, 3] = 1.0  # in one half alone
    half = torch.from_numpy(np.repeat(np.arange(30) % 2, 20))[:590]
    code = code[:590]
    halves = Halves(40, torch.device("cpu"))
    for part in (slice(0, 7), slice(7, 300), slice(300, 590)):
        halves.add(code[part], half[part])
    logs = []
    for which in (0, 1):
        rows = (code[half == which] > 0).double().numpy()
        logs.append(np.log((rows.sum(0) + 0.5) / (len(rows) + 1)))
    alive = (code > 0).any(dim=0).numpy()
    assert alive[3] and not alive[:3].any()
    r = np.corrcoef(logs[0][alive], logs[1][alive])[0, 1]
    found = halves.metrics()
    assert 0.5 < r < 0.99 and found["density_reliability"] == pytest.approx(r, rel=1e-12)
    assert found["density_reliability_full"] == pytest.approx(2 * r / (1 + r), rel=1e-12)
    assert halves.densities.tolist() == pytest.approx((code > 0).double().mean(dim=0).tolist())


@pytest.mark.parametrize(
    ("code", "half"),
    [
        ([[1.0, 0], [1, 1]], [0, 0]),  # nothing in the other half
        ([[1.0, 1], [1, 0]], [0, 1]),  # all alike in one
        ([[1.0, 0], [1, 0]], [0, 1]),  # one feature
        ([[0.0, 0], [0, 0]], [0, 1]),
    ],
)
def test_reliability_is_none_where_it_is_not_defined(code, half):
    halves = Halves(2, torch.device("cpu"))
    halves.add(torch.tensor(code), torch.tensor(half))
    assert halves.metrics() == {"density_reliability": None, "density_reliability_full": None}


def test_halves_are_alternate_blocks_over_all_batches(setting, sae):
    model, batches = setting
    result = finished(evaluate(model, sae, batches, activations=1_234, ce_tokens=100))
    halves, n = Halves(96, torch.device("cpu")), 0
    for i, b in enumerate(batches(1)):
        x = model.activations(torch.from_numpy(b.ids))[torch.from_numpy(b.counted)][: 1_234 - n]
        n += len(x)
        halves.add(sae.encode(x), torch.full((len(x),), i % 2))
        if n == 1_234:
            break
    assert halves.metrics() == {k: result.metrics[k] for k in halves.metrics()}
    assert list(result.densities) == pytest.approx(halves.densities.tolist())
    assert result.tokens["density_reliability"] == 1_234


def batches_of(model, text_config, tokens_config):
    def batches(n):
        documents = corpus.documents(text_config, "test", seed=0)
        return tokens.stacked(tokens.blocks(documents, model.tokens, tokens_config), n)

    return batches


@pytest.fixture
def setting(model_folders, toy_values):
    cfg = config.parse(toy_values)
    model = language_model(model_folders["llama"])
    return model, batches_of(model, cfg.corpus, cfg.tokens)


def test_cross_entropies_equal_those_of_whole_passes(setting, sae):
    model, batches = setting
    result = finished(evaluate(model, sae, batches, activations=1_500, ce_tokens=10**9))
    assert set(result.metrics) == set(METRICS) - {"fvu_unmoved"} and result.tokens.keys() == result.metrics.keys()
    x = torch.cat([model.activations(torch.from_numpy(b.ids))[torch.from_numpy(b.counted)] for b in batches(16)])
    mean = x[:1_500].mean(0)
    sums = {"clean": 0.0, "sae": 0.0, "zero": 0.0, "mean": 0.0, "kl": 0.0}
    n = 0
    for b in batches(3):
        ids, counted = torch.from_numpy(b.ids), torch.from_numpy(b.counted)
        stand_ins = {
            "clean": lambda x: x,
            "sae": lambda x: sae(x.flatten(0, 1)).view_as(x),
            "zero": torch.zeros_like,
            "mean": lambda x: mean.expand_as(x),
        }
        probs = {}
        for name, stand_in in stand_ins.items():

            def edit(x, stand_in=stand_in, counted=counted):
                return torch.where(counted.unsqueeze(-1), stand_in(x), x)

            with torch.no_grad(), model._editing(edit):
                probs[name] = model.bridge(ids).double().log_softmax(-1)
        for r in range(len(ids)):
            for t in range(ids.shape[1] - 1):
                if b.doc[r, t + 1] == b.doc[r, t] and b.doc_pos[r, t + 1] >= 0:
                    n += 1
                    for name in stand_ins:
                        sums[name] -= probs[name][r, t, ids[r, t + 1]].item()
                    p, q = probs["clean"][r, t], probs["sae"][r, t]
                    sums["kl"] += (p.exp() * (p - q)).sum().item()
    assert result.tokens["kl"] == result.tokens["ce_loss_sae"] == n
    means = {name: value / n for name, value in sums.items()}
    for name in ("clean", "sae", "zero", "mean"):
        assert result.metrics[f"ce_loss_{name}"] == pytest.approx(means[name], rel=1e-4), name
    assert result.metrics["kl"] == pytest.approx(means["kl"], rel=1e-3)
    score = (means["zero"] - means["sae"]) / (means["zero"] - means["clean"])
    assert result.metrics["ce_loss_score"] == pytest.approx(score, abs=1e-2)


def test_each_figure_stands_on_the_number_of_tokens_it_says(setting, sae):
    model, batches = setting
    result = finished(evaluate(model, sae, batches, activations=777, ce_tokens=123))
    assert result.tokens["fvu"] == result.tokens["dead_share"] == 777
    assert result.tokens["ce_loss_zero"] == result.tokens["kl"] == 123


def test_a_perfect_sae_recovers_everything(setting):
    model, batches = setting
    perfect = TopK(32, 64, 32)
    with torch.no_grad():  # x = relu(x) − relu(−x)
        perfect.W_enc.copy_(torch.cat([torch.eye(32), -torch.eye(32)], dim=1))
        perfect.W_dec.copy_(perfect.W_enc.T)
    metrics = finished(evaluate(model, perfect, batches, activations=500, ce_tokens=200)).metrics
    assert metrics["fvu"] < 1e-9
    assert metrics["ce_loss_score"] == pytest.approx(1, abs=1e-4) and metrics["kl"] < 1e-6


def test_padding_inserted_tokens_and_other_documents_are_not_predicted():
    class Batch:
        doc = np.array([[0, 0, 0, 1, 1, -1]])
        doc_pos = np.array([[-1, 0, 1, -1, 0, -1]])

    assert predicted(Batch).tolist() == [[True, True, False, True, False]]


def test_an_empty_split_is_an_error_with_a_next_step(setting, sae):
    model, _ = setting
    with pytest.raises(CorpusError, match="no counted token"):
        finished(evaluate(model, sae, lambda n: iter(()), activations=10, ce_tokens=10))

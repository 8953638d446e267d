"""Texts read through model and SAE: encoded first, pooled then, against a plain pass over each text alone."""

import numpy as np
import pytest
import torch

from core.activations import PLACES
from core.analysis import coded, reading
from core.analysis.coded import POOLS, pooled
from core.errors import ModelError, UsageError
from core.options import TokensConfig
from core.records import Notice, Progress
from core.sae.topk import TopK
from core.tokens import prompt_block

TEXTS = ["the cat sat", "while seven dogs ran over green hills and every river sang", "rain", "def return import " * 9]
D_SAE = 40


@pytest.fixture(scope="module")
def sae(toy_language_model):
    sae = TopK(toy_language_model.d_in, D_SAE, 5)
    draw = torch.Generator().manual_seed(7)
    sae.initialise(torch.randn(toy_language_model.d_in, generator=draw), draw)
    return sae


def read(model, sae, texts, config=None):
    """The codes, and what was said on the way."""
    work, said = reading.read(model, sae, texts, config or TokensConfig()), []
    while True:
        try:
            said.append(next(work))
        except StopIteration as ended:
            return ended.value, said


def plain(model, sae, text, config=None):
    """The dense code of every token of one text, 0 where none counts, and which do."""
    block = prompt_block(text, model.tokens, config or TokensConfig())
    x = model.activations(torch.tensor([block.ids.tolist()]))[0]
    z = sae.encode(x).detach().numpy() * block.counted[:, None]
    return z, block.counted


def test_each_text_has_the_code_of_a_pass_over_it_alone(toy_language_model, sae):
    codes, said = read(toy_language_model, sae, TEXTS)
    assert [r.done for r in said if isinstance(r, Progress)][-1] == len(TEXTS)
    for text, code in zip(TEXTS, codes, strict=True):
        z, counted = plain(toy_language_model, sae, text)
        dense = np.stack([code.on(f) for f in range(D_SAE)], axis=1)
        np.testing.assert_allclose(dense, z, rtol=1e-3, atol=1e-3)
        assert (code.counted == counted).all() and not code.counted[0] and code.first == 1
        assert "".join(code.words[1:]) == text and code.x_nonzero == 1.0 and code.cut == 0
        ranked = np.sort(z[counted], axis=1)[:, ::-1].mean(axis=0)[np.arange(PLACES) * D_SAE // PLACES]
        np.testing.assert_allclose(code.z_ranked, ranked, rtol=1e-3, atol=1e-3)
        assert len(code.x_ranked) > 1 and list(code.x_ranked) == sorted(code.x_ranked, reverse=True)


@pytest.mark.parametrize("how", POOLS)
def test_one_vector_a_text_is_pooled_over_its_counted_tokens(toy_language_model, sae, how):
    codes, _ = read(toy_language_model, sae, TEXTS)
    naive = []
    for text in TEXTS:
        z, counted = plain(toy_language_model, sae, text)
        z = z[counted].astype(np.float64)
        naive.append({"max": z.max(0), "last": z[-1], "mean": z.mean(0)}[how])
    np.testing.assert_allclose(pooled(codes, D_SAE, how), naive, rtol=1e-3, atol=1e-3)


def test_tokens_are_encoded_before_they_are_pooled(toy_language_model, sae):
    codes, _ = read(toy_language_model, sae, [TEXTS[1]])
    assert (pooled(codes, D_SAE) > 0).sum() > sae.k  # the code of one pooled activation would have k


def test_batches_change_nothing(toy_language_model, sae, monkeypatch):
    whole = pooled(read(toy_language_model, sae, TEXTS)[0], D_SAE)
    monkeypatch.setattr(reading, "TOKENS", 1)
    monkeypatch.setattr(reading, "ELEMENTS", 3 * D_SAE)
    codes, said = read(toy_language_model, sae, TEXTS)
    assert sum(isinstance(r, Progress) for r in said) == len(TEXTS)
    np.testing.assert_allclose(pooled(codes, D_SAE), whole, rtol=1e-3, atol=1e-3)


def test_a_text_that_is_too_long_is_cut_and_said_to_be(toy_language_model, sae):
    codes, said = read(toy_language_model, sae, ["rain", "green hills " * 100])
    [notice] = [r for r in said if isinstance(r, Notice)]
    assert "longer than the 128 tokens" in notice.message
    assert len(codes[1].ids) == 128 and codes[1].cut > 0 and codes[0].cut == 0
    assert codes[1].position.max() < 128


def test_a_text_on_which_the_sae_is_not_defined_is_silent_and_said_to_be(toy_language_model, sae):
    config = TokensConfig(prepend_bos=False)
    codes, said = read(toy_language_model, sae, [" the", "the cat"], config)
    assert len(codes[0].ids) == 1 and codes[0].x_nonzero is None and codes[0].first == 0
    assert ["one text is without a token" in r.message for r in said if isinstance(r, Notice)] == [True]
    for how in POOLS:
        vectors = pooled(codes, D_SAE, how)
        assert not vectors[0].any() and vectors[1].any()


def test_what_cannot_be_asked_is_an_error(toy_language_model, sae, monkeypatch):
    codes, _ = read(toy_language_model, sae, TEXTS)
    with pytest.raises(UsageError, match="no pooling 'median'"):
        pooled(codes, D_SAE, "median")
    monkeypatch.setattr(coded, "ELEMENTS", 3 * D_SAE)
    with pytest.raises(UsageError, match="give at most 3"):
        pooled(codes, D_SAE)
    with pytest.raises(UsageError, match="no token"):
        read(toy_language_model, sae, ["rain", ""], TokensConfig(prepend_bos=False))
    monkeypatch.setattr(toy_language_model, "activations", lambda ids: torch.full((*ids.shape, sae.d_in), torch.nan))
    with pytest.raises(ModelError, match="not numbers"):
        read(toy_language_model, sae, ["rain"])

"""From a model and an SAE to Parquet: what is written is what a plain pass over the corpus gives."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from core import config, tokens
from core.analysis import build, collect
from core.analysis.store import Store
from core.corpus import Document
from core.errors import CorpusError, ModelError, RunError
from core.models.language import LanguageModel
from core.records import Notice, Progress
from core.sae.topk import TopK
from core.session import Session

D, D_SAE, N_VOCAB = 8, 24, 30


class Words:
    """A tokenizer: a letter is a token, 0 begins a text, 1 pads."""

    bos_id, pad_id, special_ids = 0, 1, frozenset({0, 1})

    def encode(self, texts):
        return [[2 + ord(c) - ord("a") for c in text] for text in texts]

    def text(self, token_id):
        return "<>"[token_id] if token_id < 2 else chr(ord("a") + token_id - 2)


class ToyModel(LanguageModel):
    """An activation is a fixed vector of its token, plus its block's position: no transformer behind it."""

    def __init__(self, residual=True):
        generator = torch.Generator().manual_seed(1)
        self.table = torch.randn(N_VOCAB, D, generator=generator)
        self.name, self.hook, self.device = "toy", "blocks.0.hook_resid_post", torch.device("cpu")
        self.d_model = self.d_in = D
        self.n_vocab = N_VOCAB
        self.tokens = Words()
        self.residual = residual

    def activations(self, ids):
        return self.table[ids] + torch.arange(ids.shape[1])[:, None] / 10

    def unembed(self, directions):
        if not self.residual:
            raise ModelError("the hook point is not in the residual stream", hint="none")
        return directions @ self.table.T


@pytest.fixture
def sae():
    sae = TopK(D, D_SAE, 4)
    sae.initialise(torch.zeros(D), torch.Generator().manual_seed(0))
    return sae


@pytest.fixture
def session(tmp_path):
    session = Session(tmp_path / "toy")
    session.path.mkdir()
    return session


DOCUMENTS = [
    Document("abcdefghij", "one", "a:1"),
    Document("", "one", "empty"),
    Document("klmnopqrstuvwxyzabcdefgh", "two", "b:\udcff"),
    Document("zyx", "two", "c"),
]


def settings(**analysis):
    values = {
        "tokens": {"context": 8},
        "training": {"model_batch_blocks": 2},
        "analysis": {"activations": 1_000} | analysis,
    }
    return config.parse(values)


def read(session, pattern):
    return pq.ParquetDataset(sorted(session.activations_dir.glob(pattern))).read().to_pydict()


def expected(model, sae, run):
    """The same by hand: one block after another, its tokens, and the dense code of those that count."""
    rows, codes = [], []
    for number, block in enumerate(tokens.blocks(DOCUMENTS, model.tokens, run.tokens)):
        z = sae.encode(model.activations(torch.from_numpy(block.ids)[None])[0]).detach()
        for i in np.flatnonzero(block.doc >= 0):
            doc_pos = None if block.doc_pos[i] < 0 else int(block.doc_pos[i])
            counted = bool(block.counted[i])
            if counted:
                codes += [(int(f), len(rows), float(z[i, f])) for f in torch.nonzero(z[i]).flatten()]
            rows.append((len(rows), int(block.doc[i]), doc_pos, number, int(i), int(block.ids[i]), counted))
    return rows, sorted(codes)


@pytest.mark.parametrize("packing", ["packed", "per_document"])
@pytest.mark.parametrize("shard_rows", [7, 2**21])
def test_shards_hold_every_token_once_and_the_codes_of_those_that_count(session, sae, monkeypatch, packing, shard_rows):
    monkeypatch.setattr(collect, "SHARD_ROWS", shard_rows)
    monkeypatch.setattr(collect, "ELEMENTS", 3 * D_SAE)  # several rows of temporaries make a batch
    run = settings()
    run = run.model_copy(update={"tokens": run.tokens.model_copy(update={"packing": packing})})
    model = ToyModel()
    list(collect.run(model, sae, DOCUMENTS, session, run))
    rows, codes = expected(model, sae, run)
    assert list(zip(*read(session, "tokens-*").values(), strict=True)) == rows
    found = sorted(zip(*read(session, "codes-*").values(), strict=True))
    assert [c[:2] for c in found] == [c[:2] for c in codes]
    assert np.allclose([c[2] for c in found], [c[2] for c in codes], atol=1e-6)
    assert len(list(session.activations_dir.glob("codes-*"))) > 1 or shard_rows > 7


@pytest.mark.parametrize("budget", [1, 7, 8, 20])
def test_reading_stops_at_the_token_the_budget_ends_with(session, sae, budget):
    records = list(collect.run(ToyModel(), sae, DOCUMENTS, session, settings(activations=budget)))
    found = read(session, "tokens-*")
    assert sum(found["counted"]) == budget
    assert found["counted"][-1]
    assert found["token_idx"] == list(range(len(found["token_idx"])))
    counted = {t for t, c in zip(found["token_idx"], found["counted"], strict=True) if c}
    assert set(read(session, "codes-*")["token_idx"]) == counted
    assert not any(isinstance(r, Notice) for r in records)


def test_progress_counts_tokens_and_a_short_corpus_is_told(session, sae):
    records = list(collect.run(ToyModel(), sae, DOCUMENTS, session, settings()))
    reading = [r for r in records if isinstance(r, Progress) and r.unit == "tokens"]
    assert [r.total for r in reading] == [1_000] * len(reading)
    assert reading[-1].done == sum(read(session, "tokens-*")["counted"]) == 37
    [notice] = [r for r in records if isinstance(r, Notice)]
    assert "ended after 37 tokens" in notice.message


def test_directions_are_logits_both_ways_and_the_nearest_others(session, sae, monkeypatch):
    monkeypatch.setattr(collect, "ELEMENTS", 5 * N_VOCAB)
    model = ToyModel()
    list(collect.run(model, sae, DOCUMENTS, session, settings(top_tokens=3, neighbours=4)))
    logits = (sae.W_dec @ model.table.T).detach().numpy()
    found = list(zip(*read(session, "logits*").values(), strict=True))
    assert len(found) == D_SAE * 6
    for feature, sign, rank, token_id, value in found:
        order = np.argsort(-sign * logits[feature])
        assert token_id == order[rank]
        assert value == pytest.approx(logits[feature, token_id], abs=1e-5)
    unit = sae.W_dec.detach().numpy()
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = unit @ unit.T - 9 * np.eye(D_SAE)
    found = list(zip(*read(session, "neighbours*").values(), strict=True))
    assert len(found) == D_SAE * 4
    for feature, rank, other, cosine in found:
        assert other == np.argsort(-cosines[feature])[rank]
        assert cosine == pytest.approx(cosines[feature, other], abs=1e-5)
    weights = read(session, "weights*")
    assert np.allclose(weights["encoder_norm"], np.linalg.norm(sae.W_enc.detach().numpy(), axis=0))
    assert weights["threshold"] == [None] * D_SAE


def test_a_hook_outside_the_residual_stream_has_no_logits_and_says_so(session, sae):
    records = list(collect.run(ToyModel(residual=False), sae, DOCUMENTS, session, settings()))
    assert any("no logit effects" in r.message for r in records if isinstance(r, Notice))
    assert read(session, "logits*")["feature"] == []
    list(build.build(session, {}, settings().analysis))
    with Store.open([session]) as store:
        assert store.logits(0) == []


def test_an_sae_of_one_feature_has_no_neighbours(session):
    sae = TopK(D, 1, 1)
    sae.initialise(torch.zeros(D), torch.Generator().manual_seed(0))
    list(collect.run(ToyModel(), sae, DOCUMENTS, session, settings()))
    list(build.build(session, {}, settings().analysis))
    with Store.open([session]) as store:
        assert store.d_sae == 1
        assert store.neighbours(0) == []


def test_what_is_collected_builds_a_database_that_answers(session, sae):
    list(collect.run(ToyModel(), sae, DOCUMENTS, session, settings()))
    list(build.build(session, {"model": "toy"}, settings().analysis))
    with Store.open([session]) as store:
        assert store.meta()["tokens_counted"] == "37"
        documents = store.query("SELECT doc, category, source, n_tokens FROM documents").rows
        assert documents == [(0, "one", "a:1", 10), (2, "two", "b:?", 24), (3, "two", "c", 3)]
        assert sum(r["n"] for r in store.features(limit=99)) == 37 * 4
        [example] = store.examples(store.features(limit=1)[0]["feature"], band=0, limit=1, context=30)
        assert "".join(t.text for t in example.tokens) == DOCUMENTS[example.doc].text


@pytest.mark.parametrize("after", [1, 3, 6])
def test_closing_midway_leaves_no_shards_and_the_old_database(session, sae, after):
    session.database_path.write_text("the old one")
    generator = collect.run(ToyModel(), sae, DOCUMENTS, session, settings())
    for _ in range(after):
        next(generator)
    generator.close()
    assert [p.name for p in session.path.iterdir()] == ["features.duckdb"]


def test_shards_of_an_earlier_analysis_are_not_mixed_in(session, sae):
    session.activations_dir.mkdir()
    (session.activations_dir / "codes-0009.parquet").write_text("old")
    list(collect.run(ToyModel(), sae, DOCUMENTS, session, settings()))
    assert not (session.activations_dir / "codes-0009.parquet").exists()


def test_a_corpus_without_a_token_that_counts_is_refused(session, sae):
    with pytest.raises(CorpusError, match="not one token"):
        list(collect.run(ToyModel(), sae, [Document("", "", "x")], session, settings()))
    assert not session.activations_dir.exists()


def test_activations_that_are_not_numbers_are_refused(session, sae):
    model = ToyModel()
    model.table[5] = torch.nan
    with pytest.raises(ModelError, match="not numbers"):
        list(collect.run(model, sae, DOCUMENTS, session, settings()))


def test_a_disk_too_small_for_the_rest_is_told_at_once(session, sae, monkeypatch):
    usage = type("Usage", (), {"free": 1_000})
    monkeypatch.setattr("core.analysis.collect.shutil.disk_usage", lambda path: usage)
    with pytest.raises(RunError, match="needs about"):
        list(collect.run(ToyModel(), sae, DOCUMENTS, session, settings()))

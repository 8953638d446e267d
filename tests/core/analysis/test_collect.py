"""From a model and an SAE to Parquet: what is written is what a plain pass over the corpus gives."""

import itertools
import os
import signal

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from core import config, tokens
from core.analysis import build, collect, directions
from core.analysis.store import Store
from core.corpus import Document
from core.errors import CorpusError, ModelError, RunError
from core.models.language import LanguageModel
from core.records import Notice, Progress
from core.sae.batchtopk import BatchTopK
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
    list(collect.run(model, sae, lambda: DOCUMENTS, session, run))
    rows, codes = expected(model, sae, run)
    assert list(zip(*read(session, "tokens-*").values(), strict=True)) == rows
    found = sorted(zip(*read(session, "codes-*").values(), strict=True))
    assert [c[:2] for c in found] == [c[:2] for c in codes]
    assert np.allclose([c[2] for c in found], [c[2] for c in codes], atol=1e-6)
    assert len(list(session.activations_dir.glob("codes-*"))) > 1 or shard_rows > 7


@pytest.mark.parametrize("budget", [1, 7, 8, 20])
def test_reading_stops_at_the_token_the_budget_ends_with(session, sae, budget):
    records = list(collect.run(ToyModel(), sae, lambda: DOCUMENTS, session, settings(activations=budget)))
    found = read(session, "tokens-*")
    assert sum(found["counted"]) == budget
    assert found["counted"][-1]
    assert found["token_idx"] == list(range(len(found["token_idx"])))
    counted = {t for t, c in zip(found["token_idx"], found["counted"], strict=True) if c}
    assert set(read(session, "codes-*")["token_idx"]) == counted
    assert not any(isinstance(r, Notice) for r in records)


def test_progress_counts_tokens_and_a_short_corpus_is_told(session, sae):
    records = list(collect.run(ToyModel(), sae, lambda: DOCUMENTS, session, settings()))
    reading = [r for r in records if isinstance(r, Progress) and r.unit == "tokens"]
    assert [r.total for r in reading] == [1_000] * len(reading)
    assert reading[-1].done == sum(read(session, "tokens-*")["counted"]) == 37
    [notice] = [r for r in records if isinstance(r, Notice)]
    assert "ended after 37 tokens" in notice.message


def test_directions_are_logits_both_ways_and_the_nearest_others(session, sae, monkeypatch):
    monkeypatch.setattr(directions, "LOGITS", 5 * N_VOCAB)
    model = ToyModel()
    list(collect.run(model, sae, lambda: DOCUMENTS, session, settings(top_tokens=3, neighbours=4)))
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
    records = list(collect.run(ToyModel(residual=False), sae, lambda: DOCUMENTS, session, settings()))
    assert any("no logit effects" in r.message for r in records if isinstance(r, Notice))
    assert read(session, "logits*")["feature"] == []
    list(build.build(session, {}, settings().analysis))
    with Store.open([session]) as store:
        assert store.logits(0) == []


def test_an_sae_of_one_feature_has_no_neighbours(session):
    sae = TopK(D, 1, 1)
    sae.initialise(torch.zeros(D), torch.Generator().manual_seed(0))
    list(collect.run(ToyModel(), sae, lambda: DOCUMENTS, session, settings()))
    list(build.build(session, {}, settings().analysis))
    with Store.open([session]) as store:
        assert store.d_sae == 1
        assert store.neighbours(0) == []


def test_what_is_collected_builds_a_database_that_answers(session, sae):
    list(collect.run(ToyModel(), sae, lambda: DOCUMENTS, session, settings()))
    list(build.build(session, {"model": "toy"}, settings().analysis))
    with Store.open([session]) as store:
        assert store.meta()["tokens_counted"] == "37"
        documents = store.query("SELECT doc, category, source, n_tokens FROM documents").rows
        assert documents == [(0, "one", "a:1", 10), (2, "two", "b:?", 24), (3, "two", "c", 3)]
        assert sum(r["n"] for r in store.features(limit=99)) == 37 * 4
        [example] = store.examples(store.features(limit=1)[0]["feature"], band=0, limit=1, context=30)
        assert "".join(t.text for t in example.tokens) == DOCUMENTS[example.doc].text


def tables(session):
    """All that was built, by table."""
    with duckdb.connect(session.database_path, read_only=True) as connection:
        names = [n for (n,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall() if n != "meta"]
        return {name: connection.execute(f"FROM {name}").fetchall() for name in names}


@pytest.mark.parametrize("shard_rows", [7, 2**21])
@pytest.mark.parametrize("after", [0, 1, 2, 3, 4, 6, 9])
def test_an_analysis_that_ended_midway_goes_on_and_gives_the_same_database(
    session, sae, monkeypatch, tmp_path, after, shard_rows
):  # fmt: skip
    monkeypatch.setattr(collect, "SHARD_ROWS", shard_rows)
    whole = Session(tmp_path / "whole")
    whole.path.mkdir()
    list(collect.run(ToyModel(), sae, lambda: DOCUMENTS, whole, settings()))
    list(build.build(whole, {}, settings().analysis))
    reads = []
    model = ToyModel()
    monkeypatch.setattr(model, "activations", lambda ids: reads.append(len(ids)) or ToyModel().activations(ids))
    session.database_path.write_text("the old one")
    generator = collect.run(model, sae, lambda: DOCUMENTS, session, settings())
    for _ in range(after):
        next(generator)
    generator.close()
    assert session.database_path.read_text() == "the old one"
    again = list(collect.run(model, sae, lambda: DOCUMENTS, session, settings()))
    list(build.build(session, {}, settings().analysis))
    assert tables(session) == tables(whole)
    told = [r.message for r in again if isinstance(r, Notice) and "goes on after" in r.message]
    assert bool(told) == (after in (1, 2, 3))  # some was read, and not yet all
    assert sum(reads) == 6  # of the six blocks none is read again


@pytest.mark.parametrize(("records", "shard"), [
    (2, ("ROWS", 7)), (3, ("ROWS", 7)), (5, ("ROWS", 7)), (7, ("ROWS", 7)), (2, ("S", 0.0)),
])  # fmt: skip
def test_killed_after_every_few_records_it_ends_with_the_same_database(
    session, sae, monkeypatch, tmp_path, records, shard
):  # fmt: skip
    monkeypatch.setattr(collect, f"SHARD_{shard[0]}", shard[1])
    whole = Session(tmp_path / "whole")
    whole.path.mkdir()

    def analysed(there, killed_after=None):
        steps = (
            collect.run(ToyModel(), sae, lambda: DOCUMENTS, there, settings()),
            build.build(there, {}, settings().analysis),
        )
        for n, _ in enumerate(itertools.chain(*steps)):
            if n == killed_after:
                os.kill(os.getpid(), signal.SIGKILL)

    analysed(whole)
    deaths, n = 0, records
    while not session.database_path.exists():
        pid = os.fork()
        if pid == 0:
            analysed(session, n)
            os._exit(0)
        status = os.waitpid(pid, 0)[1]
        assert os.WIFSIGNALED(status) or session.database_path.exists()
        deaths += os.WIFSIGNALED(status)
        n += records  # what comes after the reading is done again from its beginning
        assert deaths < 40
    assert deaths >= 2
    assert tables(session) == tables(whole)


def test_a_shard_is_written_after_its_time_and_what_follows_a_kill_goes_on_from_there(session, sae, monkeypatch):
    monkeypatch.setattr(collect, "SHARD_S", 0.0)
    generator = collect.run(ToyModel(), sae, lambda: DOCUMENTS, session, settings())
    [next(generator) for _ in range(2)]
    assert len(read(session, "tokens-*")["token_idx"]) == 16  # two blocks: of one batch, and not of the next
    assert '"read": 13' in (session.activations_dir / collect.PLACE).read_text()
    generator.close()
    assert '"shards": 2' in (session.activations_dir / collect.PLACE).read_text()


@pytest.mark.parametrize(
    "other",
    [
        lambda sae, run: (sae.b_enc.data.add_(1), run)[1],
        lambda sae, run: run.model_copy(update={"seed": 7}),
        lambda sae, run: run.model_copy(update={"tokens": run.tokens.model_copy(update={"context": 9})}),
    ],
    ids=["sae", "seed", "tokens"],
)
def test_with_anything_else_an_analysis_begins_anew(session, sae, monkeypatch, other):
    monkeypatch.setattr(collect, "SHARD_ROWS", 7)
    generator = collect.run(ToyModel(), sae, lambda: DOCUMENTS, session, settings())
    [next(generator) for _ in range(3)]
    generator.close()
    run = other(sae, settings())
    records = list(collect.run(ToyModel(), sae, lambda: DOCUMENTS, session, run))
    assert not any("goes on" in r.message for r in records if isinstance(r, Notice))
    assert read(session, "tokens-*")["token_idx"] == list(range(len(read(session, "tokens-*")["token_idx"])))


def test_text_that_changed_in_between_is_read_from_its_beginning(session, sae, monkeypatch):
    monkeypatch.setattr(collect, "SHARD_ROWS", 7)
    generator = collect.run(ToyModel(), sae, lambda: DOCUMENTS, session, settings())
    [next(generator) for _ in range(3)]
    generator.close()
    changed = [Document("zz" + DOCUMENTS[0].text, "one", "a:1"), *DOCUMENTS[1:]]
    records = list(collect.run(ToyModel(), sae, lambda: changed, session, settings()))
    assert any("has changed" in r.message for r in records if isinstance(r, Notice))
    assert sum(read(session, "tokens-*")["counted"]) == 39


def test_thresholds_are_those_of_the_sae(session):
    sae = BatchTopK(D, D_SAE, 4)
    sae.initialise(torch.zeros(D), torch.Generator().manual_seed(0))
    sae.threshold.fill_(0.25)
    list(collect.run(ToyModel(), sae, lambda: DOCUMENTS, session, settings()))
    assert read(session, "weights*")["threshold"] == [0.25] * D_SAE


def test_dimensions_that_go_with_a_feature_are_those_of_a_naive_correlation(session, sae, monkeypatch):
    monkeypatch.setattr(collect, "SHARD_ROWS", 7)  # the sums are kept and taken up again
    model, run = ToyModel(), settings(neurons=3)
    for _ in range(3):
        generator = collect.run(model, sae, lambda: DOCUMENTS, session, run)
        [next(generator) for _ in range(4)]
        generator.close()
    list(collect.run(model, sae, lambda: DOCUMENTS, session, run))
    blocks = list(tokens.blocks(DOCUMENTS, model.tokens, run.tokens))
    x = torch.cat([model.activations(torch.from_numpy(b.ids)[None])[0][torch.from_numpy(b.counted)] for b in blocks])
    z = sae.encode(x).detach().double().numpy()
    x = x.double().numpy()
    rows = list(zip(*read(session, "correlations*").values(), strict=True))
    assert {r[0] for r in rows} == set(np.flatnonzero(z.any(axis=0)))
    for f in {r[0] for r in rows}:
        pearson = np.array([np.corrcoef(z[:, f], x[:, i])[0, 1] for i in range(D)])
        mine = [r for r in rows if r[0] == f]
        assert [r[2] for r in mine] == list(np.argsort(-np.abs(pearson))[:3])
        for _, _, i, found, cosine in mine:
            assert found == pytest.approx(pearson[i], abs=1e-5)
            assert cosine == pytest.approx(
                z[:, f] @ x[:, i] / np.linalg.norm(z[:, f]) / np.linalg.norm(x[:, i]), abs=1e-5
            )


def test_histograms_of_logits_count_the_whole_vocabulary(session, sae):
    model = ToyModel()
    list(collect.run(model, sae, lambda: DOCUMENTS, session, settings(logit_bins=5)))
    logits = (sae.W_dec @ model.table.T).detach().numpy()
    rows = list(zip(*read(session, "logit_histogram*").values(), strict=True))
    for f in range(D_SAE):
        mine = [r for r in rows if r[0] == f]
        n, edges = np.histogram(logits[f], bins=5)
        assert [r[4] for r in mine] == n.tolist()
        assert [r[2] for r in mine] + [mine[-1][3]] == pytest.approx(edges, abs=1e-5)


def test_the_largest_entries_of_a_direction_and_its_encoders_are_told(session, sae):
    list(collect.run(ToyModel(), sae, lambda: DOCUMENTS, session, settings(neurons=2)))
    decoder, encoder = sae.W_dec.detach().numpy(), sae.W_enc.detach().numpy().T
    rows = list(zip(*read(session, "alignment*").values(), strict=True))
    for f, rank, neuron, weight, share in rows:
        assert neuron == np.argsort(-np.abs(decoder[f]))[rank]
        assert weight == pytest.approx(decoder[f, neuron])
        assert share == pytest.approx(abs(weight) / np.abs(decoder[f]).sum())
    cosine = (decoder * encoder).sum(axis=1) / np.linalg.norm(decoder, axis=1) / np.linalg.norm(encoder, axis=1)
    assert read(session, "weights*")["encoder_cosine"] == pytest.approx(cosine, abs=1e-5)


def test_shards_of_an_earlier_analysis_are_not_mixed_in(session, sae):
    session.activations_dir.mkdir()
    (session.activations_dir / "codes-0009.parquet").write_text("old")
    list(collect.run(ToyModel(), sae, lambda: DOCUMENTS, session, settings()))
    assert not (session.activations_dir / "codes-0009.parquet").exists()


def test_a_corpus_without_a_token_that_counts_is_refused(session, sae):
    with pytest.raises(CorpusError, match="not one token"):
        list(collect.run(ToyModel(), sae, lambda: [Document("", "", "x")], session, settings()))
    assert not session.activations_dir.exists()


def test_activations_that_are_not_numbers_are_refused(session, sae):
    model = ToyModel()
    model.table[5] = torch.nan
    with pytest.raises(ModelError, match="not numbers"):
        list(collect.run(model, sae, lambda: DOCUMENTS, session, settings()))


def test_a_disk_too_small_for_the_rest_is_told_at_once(session, sae, monkeypatch):
    usage = type("Usage", (), {"free": 1_000})
    monkeypatch.setattr("core.analysis.collect.shutil.disk_usage", lambda path: usage)
    with pytest.raises(RunError, match="needs about"):
        list(collect.run(ToyModel(), sae, lambda: DOCUMENTS, session, settings()))

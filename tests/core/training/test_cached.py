"""Training from activations on disk: harvested once, read without a model, in passes, and after a stop."""

import datasets
import pytest
import torch
from safetensors.torch import load_file

from core import cache, config, flow
from core.errors import ConfigError, RunError
from core.records import Notice, Progress, StepReport
from core.session import Session
from core.training import cached


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """An empty cache, in shards of some 1,000 rows."""
    monkeypatch.setenv("SAE_TUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "SHARD_ROWS", 1_000)


def session_with(root, values, name, *, rows=3_000, epochs=1, precision="float32", **sae):
    merged = {
        **values, "sae": {**values.get("sae", {}), **sae}, "budget": {"activations": rows, "epochs": epochs},
        "training": {**values.get("training", {}), "cache": precision},
    }  # fmt: skip
    return Session.create(root, name, config.parse(merged))


def weights(session):
    return load_file(session.sae_dir / "sae_weights.safetensors")


def no_model(_config):
    raise AssertionError("the model was loaded")
    yield


def phases(records):
    return {r.phase for r in records if isinstance(r, Progress)}


def test_the_second_run_needs_no_model_and_gives_the_same_bits(kept, tmp_path, toy_values):
    one = session_with(tmp_path, toy_values, "one")
    assert "harvesting to disk" in phases(flow.train(one))
    two = session_with(tmp_path, toy_values, "two")
    records = list(flow.train(two, no_model))
    assert "harvesting to disk" not in phases(records)
    assert all(torch.equal(weights(one)[name], tensor) for name, tensor in weights(two).items())
    other = session_with(tmp_path, toy_values, "other", architecture="batchtopk")
    assert [r for r in flow.train(other, no_model) if isinstance(r, StepReport)][-1].activations == 3_000


def test_what_is_kept_is_what_a_stream_gives(kept, tmp_path, toy_values, toy_language_model):
    session = session_with(tmp_path, toy_values, "one", precision="float16")
    list(flow.train(session))
    there, key = cached.found(session.config())
    assert key["kept"] == "float16" and there.rows >= 3_000 and len(there.shards) >= 3
    stored = torch.cat([there.shard(i) for i in range(len(there.shards))])
    assert stored.shape[1] == toy_language_model.d_in and torch.isfinite(stored).all()
    session = session_with(tmp_path, toy_values, "two", precision="float32")
    list(flow.train(session))
    exact, _ = cached.found(session.config())
    rows = torch.cat([exact.shard(i) for i in range(len(exact.shards))])
    torch.testing.assert_close(stored, rows, rtol=1e-3, atol=1e-3)


def test_a_larger_budget_goes_on_harvesting_where_the_cache_ends(kept, tmp_path, toy_values):
    list(flow.train(session_with(tmp_path, toy_values, "small", rows=1_500)))
    small, _ = cached.found(session_with(tmp_path, toy_values, "again", rows=1_500).config())
    before = [small.shard(i) for i in range(len(small.shards))]
    grown = session_with(tmp_path, toy_values, "grown", rows=4_000)
    assert {"finding the place in the corpus", "harvesting to disk"} <= phases(flow.train(grown))
    there, _ = cached.found(grown.config())
    assert there.rows >= 4_000
    assert all(torch.equal(there.shard(i), rows) for i, rows in enumerate(before))
    fresh_rows = torch.cat([there.shard(i) for i in range(len(there.shards))])
    cache.remove(cache.caches_dir(), there.name)
    list(flow.train(session_with(tmp_path, toy_values, "fresh", rows=4_000)))
    fresh, _ = cached.found(grown.config())
    at_once = torch.cat([fresh.shard(i) for i in range(len(fresh.shards))])
    n = min(len(at_once), len(fresh_rows))
    assert torch.equal(at_once[:n], fresh_rows[:n])


def test_several_passes_take_every_row_as_often_and_end_a_better_sae(kept, tmp_path, toy_values):
    one = session_with(tmp_path, toy_values, "one", rows=2_000)
    three = session_with(tmp_path, toy_values, "three", rows=2_000, epochs=3)
    last = {s.name: [r for r in flow.train(s) if isinstance(r, StepReport)][-1] for s in (one, three)}
    assert last["three"].activations == 6_000 and last["three"].steps == three.config().steps
    assert last["three"].fvu < last["one"].fvu
    there, _ = cached.found(three.config())
    rows = cached.CachedActivations(three.config(), there, torch.device("cpu"))
    seen = torch.cat([x for x in rows if not isinstance(x, int)])
    assert len(seen) == 6_000
    _, counts = seen.unique(dim=0, return_counts=True)
    assert int(counts.sum()) == 6_000 and (counts % 3 == 0).all()
    with pytest.raises(ConfigError, match=r"training\.cache"):
        session_with(tmp_path, toy_values, "no", epochs=2, precision="off")


@pytest.mark.parametrize("stop_at", [1, 7, 15])
def test_a_stopped_one_goes_on_to_the_same_bits(kept, tmp_path, toy_values, stop_at):
    whole = session_with(tmp_path, toy_values, "whole", rows=2_000, epochs=2)
    list(flow.train(whole))
    stopped = session_with(tmp_path, toy_values, "stopped", rows=2_000, epochs=2)
    stream = flow.train(stopped, no_model)
    for record in stream:
        if isinstance(record, StepReport) and record.step == stop_at:
            break
    stream.close()
    list(flow.train(stopped, no_model))
    assert all(torch.equal(weights(whole)[name], tensor) for name, tensor in weights(stopped).items())


def test_a_damaged_shard_is_said_with_the_way_out(kept, tmp_path, toy_values):
    session = session_with(tmp_path, toy_values, "one")
    list(flow.train(session))
    there, _ = cached.found(session.config())
    path = there.folder / "00000.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(RunError, match="sae-tui cache --remove"):
        list(flow.train(session_with(tmp_path, toy_values, "two"), no_model))


def test_a_corpus_that_ends_is_kept_as_ended(kept, tmp_path, toy_values):
    session = session_with(tmp_path, toy_values, "one", rows=10_000_000)
    reports = [r for r in flow.train(session) if isinstance(r, StepReport)]
    there, _ = cached.found(session.config())
    assert there.text_read[1] and reports[-1].activations == there.rows < 10_000_000
    again = session_with(tmp_path, toy_values, "two", rows=10_000_000)
    assert [r for r in flow.train(again, no_model) if isinstance(r, StepReport)][-1].activations == there.rows


def test_of_a_data_set_on_the_hub_it_says_that_it_is_as_it_was_unless_a_revision_is_named(
    kept, tmp_path, toy_values, monkeypatch
):
    texts = [f"number {i} " * 20 for i in range(300)]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_dict({"text": texts}))
    for revision, expected in (("", [0, 1]), ("v2", [0, 0])):
        values = toy_values | {"corpus": {"name": "org/name", "revision": revision}}
        for name, times in zip("ab", expected, strict=True):
            records = list(flow.train(session_with(tmp_path, values, f"{name}{revision}", rows=1_000)))
            said = [r.message for r in records if isinstance(r, Notice) and "org/name as it was" in r.message]
            assert len(said) == times

"""Activations on disk: what is kept comes back, what changed is another cache, what is damaged is said."""

import json
import os

import pytest
import torch

from core import cache, config
from core.errors import RunError, SessionError

KEY = {"model": {"name": "some/model-x", "hook": "blocks.1.hook_resid_post"}, "kept": "float16"}


@pytest.fixture
def filled(tmp_path):
    found = cache.Cache(cache.folder_of(KEY, tmp_path))
    for number in range(3):
        rows = torch.full((4 + number, 3), float(number)).half()
        found.append(rows, key=KEY, batches=2 * (number + 1), ended=number == 2)
    return found


def test_shards_come_back_with_what_was_read_of_the_text(filled, tmp_path):
    again = cache.Cache(filled.folder)
    assert again.name == filled.name and again.name.startswith("model_x-blocks.1.hook_resid_post-")
    assert (again.rows, again.d_in, again.text_read) == (15, 3, (6, True))
    assert torch.equal(again.shard(1), torch.ones(5, 3)) and again.shard(1).dtype == torch.float32
    assert [c.name for c in cache.listing(tmp_path)] == [again.name]
    assert again.size_bytes() == sum(p.stat().st_size for p in again.folder.glob("*.safetensors"))
    assert json.loads((again.folder / cache.META).read_text())["key"] == KEY


def test_a_pass_takes_each_row_once_and_passes_differ(filled):
    for epoch in range(3):
        order = cache.order(filled.sizes, 0, 12, epoch, seed=0)
        rows = torch.cat([filled.shard(number)[first:last] for number, first, last in order])[:, 0]
        assert torch.equal(rows.long().bincount(), torch.tensor([4, 5, 3]))
    orders = {tuple(cache.order(filled.sizes, 0, 15, epoch, seed=0)) for epoch in range(20)}
    assert len(orders) > 1
    assert sorted(cache.order(filled.sizes, 3, 12, 0, seed=0)) == [(0, 3, 4), (1, 0, 5), (2, 0, 3)]
    assert sorted(cache.order(filled.sizes, 12, 15, 0, seed=0)) == [(2, 3, 6)]


def test_a_shard_that_changed_is_refused_with_the_way_out(filled):
    path = filled.folder / "00001.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(RunError, match=r"has changed.*sae-tui cache --remove"):
        filled.shard(1)
    path.unlink()
    with pytest.raises(RunError, match="cannot be read"):
        filled.shard(1)


def test_a_write_that_was_cut_off_leaves_what_was_whole(filled):
    (filled.folder / "00003.safetensors").write_bytes(b"torn")
    again = cache.Cache(filled.folder)
    assert again.rows == 15
    again.append(torch.zeros(2, 3).half(), key=KEY, batches=8, ended=True)
    assert cache.Cache(filled.folder).rows == 17 and again.shard(3).shape == (2, 3)


def test_everything_the_values_depend_on_is_in_the_key(tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("one")
    base = {"corpus": {"name": str(corpus)}, "training": {"cache": "float16"}}

    def folder(**changes):
        values = config.parse({**base, **changes})
        return cache.folder_of(cache.key_of(values, tmp_path), tmp_path)

    first = folder()
    assert folder() == first and folder(budget={"activations": 7}, sae={"k": 3}) == first
    others = [
        folder(model={"hook": "blocks.3.hook_mlp_out"}), folder(tokens={"context": 64}), folder(seed=1),
        folder(training={"cache": "bfloat16"}), folder(corpus={"name": str(corpus), "test_share": 0.2}),
    ]  # fmt: skip
    os.utime(corpus, (1, 1))
    others.append(folder())
    corpus.write_text("another")
    others.append(folder())
    assert len({first, *others}) == 8


def test_a_cache_is_removed_by_name_alone(filled, tmp_path):
    with pytest.raises(SessionError, match="no activation cache 'x'"):
        cache.remove(tmp_path, "x")
    size = filled.size_bytes()
    assert cache.remove(tmp_path, filled.name) == size and not cache.listing(tmp_path)

"""Shuffling in a bounded buffer: every row once, the same order for the same seed, also across an interruption."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core import activations


def plain(chunks, *, buffer, batch, generator):
    """What `Shuffled` gives, written as one loop that cannot be interrupted."""
    store, held = None, 0
    for chunk in chunks:
        store = chunk.new_empty(buffer, chunk.shape[1]) if store is None else store
        while len(chunk):
            taken = min(len(chunk), buffer - held)
            store[held : held + taken] = chunk[:taken]
            held += taken
            chunk = chunk[taken:]
            if held == buffer:
                leaving = buffer // 2 // batch * batch
                order = torch.randperm(buffer, generator=generator)
                yield from store[order[:leaving]].split(batch)
                store[: buffer - leaving] = store[order[leaving:]]
                held = buffer - leaving
        yield held
    if store is not None and held:
        yield from store[torch.randperm(held, generator=generator)].split(batch)


def numbered(sizes):
    """Chunks of these sizes whose rows are numbered."""
    rows = torch.arange(2.0 * sum(sizes)).reshape(-1, 2)
    return list(rows.split(sizes)) if sizes else []


def shuffled(chunks, buffer, batch):
    return activations.Shuffled(chunks, buffer=buffer, batch=batch, generator=torch.Generator().manual_seed(3))


def same(one, other):
    return len(one) == len(other) and all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(one, other, strict=True)
    )


@pytest.fixture(scope="module")
def serialised(tmp_path_factory):
    """A state as a checkpoint gives it back: no tensor of it is shared with what it is a state of."""
    from safetensors.torch import load, save

    def through(state):
        tensors = {name: value.contiguous() for name, value in state.items() if isinstance(value, torch.Tensor)}
        return {**state, **load(save(tensors))}

    return through


@given(
    sizes=st.lists(st.integers(0, 40), max_size=6),
    batch=st.integers(1, 6),
    buffer=st.integers(0, 20),
    data=st.data(),
)
@settings(max_examples=100, deadline=None)
def test_it_goes_on_from_its_state_at_any_point_bit_for_bit(serialised, sizes, batch, buffer, data):
    buffer += 2 * batch
    chunks = numbered(sizes)
    whole = list(plain(chunks, buffer=buffer, batch=batch, generator=torch.Generator().manual_seed(3)))
    assert same(list(shuffled(chunks, buffer, batch)), whole)
    seen = torch.cat([torch.empty(0, 2), *(x for x in whole if not isinstance(x, int))])
    assert sorted(seen[:, 0].tolist()) == [2 * i for i in range(sum(sizes))]

    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    given_, found = iter(chunks), []
    one = shuffled(given_, buffer, batch)
    for n in (after - before for before, after in itertools.pairwise([0, *cuts, len(whole)])):
        found += itertools.islice(one, n)
        state = serialised(one.state())
        one = shuffled(given_, buffer, batch)
        one.restore(state)
    assert same(found, whole)
    assert list(one) == []


def test_a_state_before_the_first_chunk_is_a_beginning(serialised):
    one = shuffled(numbered([10]), 6, 2)
    state = serialised(one.state())
    again = shuffled(numbered([10]), 6, 2)
    again.restore(state)
    assert same(list(again), list(one))

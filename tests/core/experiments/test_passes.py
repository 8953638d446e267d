"""Passes under several sets of edits: what each would give by itself, and no text is read again that need not be."""

import pytest
import torch

from core.experiments.passes import passes
from core.models.language import SplitPass
from core.steering.interventions import Resolved

from .conftest import TEXTS


def resolved(kind, feature, value=0.0, where="everywhere"):
    return Resolved(kind, feature, value, where)


@pytest.fixture
def batch(model, sae, config):
    [found] = passes(model, sae, TEXTS, config)
    return found


@pytest.fixture
def read(monkeypatch):
    """How many texts each pass behind the clean one read."""
    whole, found = SplitPass.logits_with, []

    def counted(self, x, *rows):
        found.append(len(x))
        return whole(self, x, *rows)

    monkeypatch.setattr(SplitPass, "logits_with", counted)
    return found


@torch.no_grad()
def whole(batch, edits, mode="error-kept"):
    """The logits of every prediction where all texts are read again."""
    return batch._split.logits_with(batch._edited(edits, mode))[:, :-1][batch._scored]


@pytest.mark.parametrize("mode", ["error-kept", "replace"])
def test_logits_are_those_of_every_text_read_under_each_set_by_itself(batch, firing, mode):
    one, other = resolved("ablate", firing[3]), resolved("add", firing[1], 3.0, "from:4")
    sets = [[one], [other], [one, other], []]
    here, clean, under = batch.under(sets, mode)
    assert (here.any() and not here.all()) or mode == "replace"
    untouched = batch._split.logits[:, :-1][batch._scored]
    assert torch.equal(clean, untouched[here])
    for edits, logits in zip(sets, under, strict=True):
        slow = whole(batch, edits, mode)
        torch.testing.assert_close(logits, slow[here], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(slow[~here], untouched[~here], rtol=1e-4, atol=1e-4)


def test_before_what_a_set_changes_logits_are_bit_for_bit_the_clean_ones_and_those_of_other_sets(batch, firing):
    early, late = resolved("add", firing[0], 3.0, "from:2"), resolved("add", firing[1], 3.0, "from:5")
    here, clean, [one, other, both] = batch.under([[early], [late], [early, late]], "error-kept")
    position = torch.cat([torch.arange(int(n)) for n in batch._scored.sum(dim=1)])[here]
    assert position.min() == 2
    before = position < 5
    assert torch.equal(other[before], clean[before]) and torch.equal(both[before], one[before])
    for changed, like in (
        (one[before], clean[before]),
        (other[~before], clean[~before]),
        (both[~before], one[~before]),
    ):
        assert not (changed == like).all(dim=1).any()


def test_a_text_that_is_left_as_it_is_or_was_read_so_already_is_not_read_again(batch, slow, firing, read):
    def touched(f):
        return sum(bool(one.z[:-1, f][torch.tensor(one.counted[:-1])].any()) for one in slow)

    feature = next(f for f in reversed(firing) if 0 < touched(f) < len(TEXTS))
    nothing = resolved("scale", firing[0], 1.0)
    batch.under([[resolved("ablate", feature)], [nothing], [resolved("ablate", feature), nothing]], "error-kept")
    assert read == [touched(feature)] * 2, "once as they are, once under the edit"
    batch.under([[resolved("ablate", feature)]], "error-kept")
    assert read == [touched(feature)] * 3


def test_where_nothing_has_an_effect_there_is_nothing(model, batch, firing, read):
    here, clean, [logits] = batch.under([[resolved("scale", firing[0], 1.0)]], "error-kept")
    assert not here.any() and clean.shape == logits.shape == (0, model.n_vocab) and not read

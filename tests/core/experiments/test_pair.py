"""The interference of two features against a slow version, and what it is where there is none."""

import pytest
import torch

from core.errors import UsageError
from core.experiments.pair import pair
from core.experiments.requests import PairRequest
from core.steering.interventions import Intervention, Resolved

from .conftest import TEXTS, finished

ADD = 3.0


def measured(model, sae, config, one, other, texts=TEXTS):
    request = PairRequest(
        one=Intervention(one.kind, one.feature, one.value), other=Intervention(other.kind, other.feature, other.value)
    )
    _, found = finished(
        pair(model, sae, request, texts, config, session="toy", one=one, other=other, together=None)
    )  # fmt: skip
    return found


def test_every_figure_equals_the_slow_version(model, sae, config, slow, firing):
    i, j = firing[0], firing[1]
    found = measured(
        model, sae, config, Resolved("ablate", i, 0.0, "everywhere"), Resolved("add", j, ADD, "everywhere")
    )
    rows = []
    for one in slow:
        changes = {i: lambda z: 0.0, j: lambda z: z + ADD}
        logits = [one.logits({i: changes[i]}), one.logits({j: changes[j]}), one.logits(changes)]
        for at, following in one.predictions():
            first, second, both = ((all_[at] - one.clean[at]) for all_ in logits)
            first, second, both = (e - e.mean() for e in (first, second, both))
            beyond = both - first - second
            losses = [
                float(one.clean[at].log_softmax(0)[following] - all_[at].log_softmax(0)[following]) for all_ in logits
            ]
            rows.append(
                (
                    bool(one.counted[at] and one.z[at, i] > 0 and one.z[at, j] > 0),
                    [float(e.norm()) for e in (first, second, both, beyond)],
                    [*losses, losses[2] - losses[0] - losses[1]],
                )
            )
    for told, of in ((found.everywhere, rows), (found.where_both, [row for row in rows if row[0]])):
        assert told.tokens == len(of)
        norms = torch.tensor([row[1] for row in of]).mean(0).tolist()
        losses = torch.tensor([row[2] for row in of]).mean(0).tolist()
        got = [getattr(told, name).mean for name in ("one", "other", "both", "beyond")]
        assert got == pytest.approx(norms, rel=1e-3, abs=1e-4)
        got = [getattr(told, f"loss_{name}").mean for name in ("one", "other", "both", "beyond")]
        assert got == pytest.approx(losses, rel=1e-3, abs=1e-4)
        assert told.share.mean == pytest.approx(norms[3] / (norms[0] + norms[1]), rel=1e-3)
    directions = sae.W_dec.detach().double()[[i, j]]
    assert found.cosine == pytest.approx(
        float(directions[0] @ directions[1] / directions[0].norm() / directions[1].norm()), abs=1e-9
    )


def test_an_edit_that_does_nothing_does_not_interfere(model, sae, config, firing):
    one, nothing = Resolved("ablate", firing[0], 0.0, "everywhere"), Resolved("scale", firing[1], 1.0, "everywhere")
    found = measured(model, sae, config, one, nothing)
    assert found.everywhere.other.mean == 0 and found.everywhere.loss_other.mean == 0
    assert found.everywhere.beyond.mean == found.everywhere.loss_beyond.mean == found.everywhere.share.mean == 0
    assert found.everywhere.one == found.everywhere.both


def test_which_comes_first_is_of_no_consequence(model, sae, config, firing):
    one, other = (Resolved("add", f, ADD, "everywhere") for f in firing[:2])
    a, b = measured(model, sae, config, one, other), measured(model, sae, config, other, one)
    assert a.everywhere.both == b.everywhere.both and a.everywhere.one == b.everywhere.other
    assert a.everywhere.beyond.mean == pytest.approx(b.everywhere.beyond.mean, rel=1e-4)


def test_two_edits_of_one_feature_are_no_pair():
    with pytest.raises(UsageError, match="both are feature 3"):
        PairRequest(one=Intervention("ablate", 3), other=Intervention("add", 3, 1.0))

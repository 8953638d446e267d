"""The causal effect of a feature against a slow version, text by text, token by token."""

import math

import pytest
import torch

from core.errors import RunError, UsageError
from core.experiments import passes
from core.experiments.effect import Drawn, effect
from core.experiments.requests import EffectRequest
from core.records import Progress
from core.steering.interventions import Intervention, Resolved

from .conftest import TEXTS, finished

TARGET = 17


def measured(model, sae, config, edit, control=None, texts=TEXTS, target=TARGET, mode="error-kept"):
    request = EffectRequest(edit=Intervention(edit.kind, edit.feature, edit.value), texts=tuple(texts), mode=mode)
    return finished(
        effect(
            model, sae, request, texts, config, session="toy", feature=Drawn(edit, 0.1),
            control=Drawn(control, 0.2) if control else None, target=target,
        )
    )  # fmt: skip


def slowly(slow, feature, change):
    """Of every prediction: text, whether the feature fires, and what changes, as Python numbers."""
    rows = []
    for text, one in enumerate(slow):
        edited = one.logits({feature: change})
        for i, following in one.predictions():
            p, q = one.clean[i].log_softmax(0).tolist(), edited[i].log_softmax(0).tolist()
            moved = (edited[i] - edited[i].mean()) - (one.clean[i] - one.clean[i].mean())
            rows.append(
                {
                    "text": text, "fires": one.counted[i] and float(one.z[i, feature]) > 0,
                    "loss": p[following] - q[following], "target": q[TARGET] - p[TARGET],
                    "kl": sum(math.exp(a) * (a - b) for a, b in zip(p, q, strict=True)), "moved": moved,
                }
            )  # fmt: skip
    return rows


def mean(rows, name):
    return sum(row[name] for row in rows) / len(rows)


@pytest.mark.parametrize(
    ("edit", "change"),
    [
        (("ablate", 0.0), lambda z: 0.0), (("add", 4.0), lambda z: z + 4.0),
        (("scale", -2.0), lambda z: -2.0 * z), (("set", 3.0), lambda z: 3.0),
    ],
)  # fmt: skip
def test_every_figure_equals_the_slow_version(model, sae, config, slow, firing, edit, change):
    feature = firing[2]
    kind, value = edit
    _, found = measured(model, sae, config, Resolved(kind, feature, value, "everywhere"))
    rows = slowly(slow, feature, change)
    for shift, of in (
        (found.feature.everywhere, rows), (found.feature.where_fires, [row for row in rows if row["fires"]]),
    ):  # fmt: skip
        assert shift.tokens == len(of) and shift.texts == len({row["text"] for row in of})
        for name in ("loss", "kl", "target"):
            interval = getattr(shift, name)
            assert interval.mean == pytest.approx(mean(of, name), rel=1e-3, abs=1e-5), name
            assert interval.low <= interval.mean <= interval.high and interval.n == shift.texts
        moved = mean(of, "moved")
        top = moved.topk(10)
        assert [m.token_id for m in shift.gained] == top.indices.tolist()
        assert [m.by for m in shift.gained] == pytest.approx(top.values.tolist(), rel=1e-3, abs=1e-5)
        assert shift.lost[0].token_id == int(moved.argmin()) and shift.lost[0].by < 0
        assert shift.gained[0].text == model.tokens.text(shift.gained[0].token_id)


def test_texts_read_together_have_the_figures_of_texts_read_alone(model, sae, config, firing, monkeypatch):
    edit = Resolved("ablate", firing[0], 0.0, "everywhere")
    came, together = measured(model, sae, config, edit)
    monkeypatch.setattr(passes, "LOGITS", 1)
    one_by_one, alone = measured(model, sae, config, edit)
    assert sum(not isinstance(r, Progress) for r in came) == 1
    assert sum(not isinstance(r, Progress) for r in one_by_one) == len(TEXTS)
    for name in ("loss", "kl"):
        a, b = (getattr(found.feature.everywhere, name) for found in (together, alone))
        assert (a.mean, a.low, a.high) == pytest.approx((b.mean, b.low, b.high), rel=1e-3, abs=1e-5)


def test_an_edit_that_changes_nothing_has_an_effect_of_exactly_nothing(model, sae, config, firing):
    for edit in (Resolved("scale", firing[0], 1.0, "everywhere"), Resolved("ablate", firing[0], 0.0, "generated")):
        _, found = measured(model, sae, config, edit)
        shift = found.feature.everywhere
        assert (shift.loss.mean, shift.loss.low, shift.loss.high, shift.kl.mean) == (0, 0, 0, 0)
        assert shift.gained == shift.lost == ()


def test_the_control_is_measured_alike_and_the_difference_is_between_both(model, sae, config, firing):
    one, other = (Resolved("ablate", f, 0.0, "everywhere") for f in firing[:2])
    _, found = measured(model, sae, config, one, other)
    _, alone = measured(model, sae, config, other)
    assert found.control.everywhere == alone.feature.everywhere and found.control.density == 0.2
    for name in ("loss", "kl", "target"):
        for where in ("everywhere", "where_fires"):
            difference = getattr(getattr(found, where), name)
            sides = [getattr(getattr(side, where), name).mean for side in (found.feature, found.control)]
            assert difference.mean == pytest.approx(sides[0] - sides[1], abs=1e-12)
            assert difference.low <= difference.mean <= difference.high


def test_a_feature_that_never_fires_has_no_figures_there(model, sae, config, slow):
    active = sum((one.z > 0).sum(0) for one in slow)
    silent = int((active == 0).nonzero()[0])
    _, found = measured(model, sae, config, Resolved("ablate", silent, 0.0, "everywhere"), target=None)
    assert found.feature.where_fires is None and found.feature.everywhere.kl.mean == 0
    assert found.feature.everywhere.target is None and found.control is None and found.everywhere is None


def test_what_is_whole_is_told_before_the_end(model, sae, config, firing, monkeypatch):
    monkeypatch.setattr(passes, "LOGITS", 1)
    came, found = measured(model, sae, config, Resolved("ablate", firing[0], 0.0, "everywhere"))
    parts = [record for record in came if not isinstance(record, Progress)]
    assert [part.read for part in parts] == [1, 2, 3, 4, 5] and parts[-1] == found
    assert not parts[0].whole and found.whole and parts[0].feature.everywhere.loss.low is None
    shares = [record.done for record in came if isinstance(record, Progress)]
    assert shares == sorted(shares) and shares[-1] == len(TEXTS)


def test_a_text_without_a_prediction_is_refused(model, sae, config):
    with pytest.raises(UsageError, match="is predicted"):
        measured(model, sae, config, Resolved("ablate", 0, 0.0, "everywhere"), texts=["rain", ""])


def test_an_edit_too_strong_for_numbers_is_said(model, sae, config, firing):
    with pytest.raises(RunError, match=r"no longer a number, under: add 1e\+39 to feature"):
        measured(model, sae, config, Resolved("add", firing[0], 1e39, "everywhere"))


def test_replacing_by_the_reconstruction_counts_the_saes_error_too(model, sae, config, firing):
    _, kept = measured(model, sae, config, Resolved("scale", firing[0], 1.0, "everywhere"))
    _, replaced = measured(model, sae, config, Resolved("scale", firing[0], 1.0, "everywhere"), mode="replace")
    assert kept.feature.everywhere.kl.mean == 0 < replaced.feature.everywhere.kl.mean
    assert torch.isfinite(torch.tensor(replaced.feature.everywhere.loss.mean))

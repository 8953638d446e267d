"""Dose–response against texts written and read one at a time, and the window against cases made by hand."""

import math

import pytest
import torch

from core.errors import UsageError
from core.experiments import dose as dosing
from core.experiments.dose import dose
from core.experiments.records import Dose, Interval, Point
from core.experiments.requests import DoseRequest, Limits
from core.experiments.window import judged, window
from core.records import Progress
from core.steering.interventions import Resolved
from core.steering.request import Sampling
from core.tokens import prompt_block

from .conftest import finished

PROMPT = "the cat sat on a"
STRENGTHS = (2.0, 4.0, 8.0)


def measured(model, sae, config, features, **values):
    values = {"strengths": STRENGTHS, "unit": "raw", "tokens": 7, "seeds": (0, 1, 2), **values}
    request = DoseRequest(prompt=PROMPT, features=tuple(features), **values)
    edits = [[Resolved(request.kind, f, s, request.where) for s in request.strengths] for f in features]
    return finished(dose(model, sae, request, edits, config, session="toy"))


@torch.no_grad()
def distribution(model, sae, config, ids, feature, strength):
    """ln p of the next token behind `ids`, all of them edited but the first; in float64 but for the model."""
    split = model.split_pass(torch.tensor([ids]))
    if strength is None:
        return split.logits[0, -1].double().log_softmax(0)
    x = split.x.clone()
    x[0, 1:] += (strength * sae.W_dec[feature].double()).float()
    return split.logits_with(x)[0, -1].double().log_softmax(0)


def slowly(model, sae, config, feature, strength, seed, tokens, temperature):
    """One text, token by token, each behind a pass over all before it; what it is, and its figures."""
    ids = prompt_block(PROMPT, model.tokens, config).ids.tolist()
    start, draw = len(ids), torch.Generator().manual_seed(seed)
    kl = nll = 0.0
    for _ in range(tokens):
        steered = distribution(model, sae, config, ids, feature, strength)
        clean = distribution(model, sae, config, ids, feature, None)
        noise = -torch.empty(model.n_vocab, dtype=torch.float64).exponential_(generator=draw).log()
        token = int((steered + temperature * noise).argmax())
        kl += sum(math.exp(a) * (a - b) for a, b in zip(steered.tolist(), clean.tolist(), strict=True))
        nll -= float(clean[token])
        ids.append(token)
        if token in model.tokens.eos_ids:
            break
    text = ids[start:]
    z = sae.encode(model.activations(torch.tensor([ids]))[0, start:])[:, feature].detach().double()
    here = torch.tensor([token not in model.tokens.special_ids for token in text])
    grams = [tuple(text[i : i + 4]) for i in range(len(text) - 3)]
    repeats = sum(gram in grams[:i] for i, gram in enumerate(grams))
    return {
        "text": text, "n": len(text), "kl": kl, "nll": nll, "z": float(z[here].sum()), "counted": int(here.sum()),
        "grams": len(grams), "repeats": repeats,
    }  # fmt: skip


def test_texts_and_figures_equal_those_of_texts_written_one_at_a_time(model, sae, config, firing):
    feature, seeds = firing[0], (0, 1, 2)
    _, found = measured(model, sae, config, [feature])
    [curve] = found.curves
    assert [point.strength for point in curve.points] == [None, *STRENGTHS] and found.whole
    for point in curve.points:
        texts = [slowly(model, sae, config, feature, point.strength, s, 7, 0.7) for s in seeds]
        assert point.text == model.tokens.decode(texts[0]["text"])
        n = sum(t["n"] for t in texts)
        assert point.kl.mean == pytest.approx(sum(t["kl"] for t in texts) / n, rel=1e-3, abs=1e-5)
        assert point.perplexity.mean == pytest.approx(math.exp(sum(t["nll"] for t in texts) / n), rel=1e-3)
        assert point.target.mean == pytest.approx(
            sum(t["z"] for t in texts) / sum(t["counted"] for t in texts), rel=1e-3, abs=1e-4
        )
        grams = sum(t["grams"] for t in texts)
        assert point.repetition.mean == pytest.approx(sum(t["repeats"] for t in texts) / grams)
        assert point.kl.low <= point.kl.mean <= point.kl.high and point.kl.n == 3
        assert point.perplexity.low <= point.perplexity.mean <= point.perplexity.high
    nothing = curve.points[0]
    assert nothing.kl.mean == nothing.kl.high == 0 and nothing.gain is None and not nothing.usable
    for point in curve.points[1:]:
        assert point.gain.mean == pytest.approx(point.target.mean - nothing.target.mean, abs=1e-12)


def test_a_phrase_is_the_target_by_the_sum_of_its_tokens(model, sae, config, firing):
    phrase = " mat while"
    [ids] = model.tokens.encode([phrase])
    assert len(ids) > 1
    _, found = measured(model, sae, config, firing[:1], target=phrase, seeds=(0,))
    prompt = prompt_block(PROMPT, model.tokens, config).ids.tolist()
    for point in found.curves[0].points:
        expected = sum(
            float(distribution(model, sae, config, [*prompt, *ids[:i]], firing[0], point.strength)[token])
            for i, token in enumerate(ids)
        )
        assert point.target.mean == pytest.approx(expected, rel=1e-4)
        assert point.target.low is None and point.target.n == 1
    assert phrase in found.target


def test_a_phrase_that_was_read_leaves_the_texts_as_they_are(model, sae, config, firing):
    _, without = measured(model, sae, config, firing[:1])
    _, with_phrase = measured(model, sae, config, firing[:1], target=" mat while")
    assert [p.text for p in without.curves[0].points] == [p.text for p in with_phrase.curves[0].points]


def test_several_features_have_curves_of_their_own_which_are_those_of_each_alone(model, sae, config, firing):
    _, both = measured(model, sae, config, firing[:2])
    for curve in both.curves:
        _, alone = measured(model, sae, config, [curve.feature])
        for one, other in zip(curve.points, alone.curves[0].points, strict=True):
            assert one.text == other.text
            assert one.kl.mean == pytest.approx(other.kl.mean, rel=1e-3, abs=1e-5)


def test_strengths_in_batches_are_those_in_one_batch(model, sae, config, firing, monkeypatch):
    _, together = measured(model, sae, config, firing[:2])
    monkeypatch.setattr(dosing, "LOGITS", 1)
    _, apart = measured(model, sae, config, firing[:2], rows=3)
    for one, other in zip(together.curves, apart.curves, strict=True):
        for a, b in zip(one.points, other.points, strict=True):
            assert a.text == b.text and a.kl.mean == pytest.approx(b.kl.mean, rel=1e-3, abs=1e-5)


def test_after_each_seed_there_is_an_outcome_of_those_that_are_whole(model, sae, config, firing):
    came, found = measured(model, sae, config, firing[:1])
    parts = [record for record in came if isinstance(record, Dose)]
    assert [part.seeds for part in parts] == [1, 2, 3] and parts[-1] == found
    assert [part.whole for part in parts] == [False, False, True]
    assert parts[0].curves[0].points[1].kl.low is None
    shares = [record.done / record.total for record in came if isinstance(record, Progress)]
    assert shares == sorted(shares) and shares[-1] == 1


def test_a_strength_without_numbers_is_broken_and_the_others_go_on(model, sae, config, firing):
    _, found = measured(model, sae, config, firing[:1], strengths=(2.0, 1e39))
    nothing, weak, broken = found.curves[0].points
    assert broken.broken and broken.kl is None and not broken.usable
    _, alone = measured(model, sae, config, firing[:1], strengths=(2.0,))
    assert weak.text == alone.curves[0].points[1].text and not nothing.broken


def test_without_a_temperature_every_seed_writes_the_same(model, sae, config, firing):
    _, found = measured(model, sae, config, firing[:1], sampling=Sampling(temperature=0.0))
    for point in found.curves[0].points:
        assert point.kl.low == pytest.approx(point.kl.high, abs=1e-9)


def test_the_baseline_is_the_untouched_model_in_replace_mode_too(model, sae, config, firing):
    _, kept = measured(model, sae, config, firing[:1])
    _, replaced = measured(model, sae, config, firing[:1], mode="replace")
    assert replaced.curves[0].points[0].text == kept.curves[0].points[0].text
    assert replaced.curves[0].points[0].kl.mean == 0 < replaced.curves[0].points[1].kl.mean


def interval(mean, half=0.1):
    return Interval(mean=mean, low=mean - half, high=mean + half, n=3)


def point(strength, gain=2.0, kl=0.5, perplexity=10.0, repeats=0.0):
    return Point(
        strength=strength, raw=strength or 0.0, target=interval(gain), gain=interval(gain), kl=interval(kl),
        perplexity=interval(perplexity), repetition=interval(repeats),
    )  # fmt: skip


NOTHING = point(None, gain=0.0, kl=0.0)


@pytest.mark.parametrize(
    ("bad", "usable"),
    [
        ({}, True), ({"gain": 0.6}, False), ({"gain": 0.7}, True), ({"kl": 1.01}, False), ({"kl": 1.0}, True),
        ({"perplexity": 20.0}, True), ({"perplexity": 20.1}, False), ({"repeats": 0.2}, True),
        ({"repeats": 0.21}, False),
    ],
)  # fmt: skip
def test_a_strength_is_of_use_within_every_limit(bad, usable):
    request = DoseRequest(prompt="a", features=(1,), strengths=(1.0,), target=" b", limits=Limits())
    assert judged(point(1.0, **bad), NOTHING, request).usable is usable


def test_an_activation_has_gained_where_its_interval_is_above_nothing():
    request = DoseRequest(prompt="a", features=(1,), strengths=(1.0,))
    assert judged(point(1.0, gain=0.11), NOTHING, request).usable
    assert not judged(point(1.0, gain=0.09), NOTHING, request).usable


def test_the_window_is_the_longest_run_of_neighbours_and_its_best_gains_most():
    from dataclasses import replace

    gains = {1.0: 9.0, 2.0: None, 3.0: 1.0, 4.0: 3.0, 5.0: 2.0, 6.0: None}
    points = [replace(point(s, gain=g or 0.0), usable=g is not None) for s, g in gains.items()]
    found = window(points)
    assert (found.low, found.high, found.best) == (3.0, 5.0, 4.0)
    assert window(points[:3]).best == 1.0
    assert window([replace(p, usable=False) for p in points]) is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "ablate"}, "no strength to vary"), ({"strengths": ()}, "0 strengths"),
        ({"features": ()}, "0 features"), ({"seeds": ()}, "0 seeds"), ({"seeds": (-1,)}, "is no seed"),
        ({"tokens": 0}, "cannot generate 0"), ({"target": ""}, "target is empty"), ({"rows": 0}, "0 rows"),
        ({"strengths": (math.nan,)}, "no strength"), ({"where": "nowhere"}, "nowhere"),
        ({"features": (-1,)}, "feature"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_said(values, words):
    with pytest.raises(UsageError, match=words):
        DoseRequest(**{"prompt": "a", "features": (1,), "strengths": (1.0,), **values})


def test_strengths_are_sorted_and_of_scale_they_have_no_unit():
    request = DoseRequest(prompt="a", features=(1,), strengths=(3.0, 1.0, 3.0), kind="scale", unit="max")
    assert request.strengths == (1.0, 3.0) and request.unit == "raw" and request.unit_words == "×"

"""The training loop: budgets, reports, checkpoints, dead features, divergence, the same bits."""

import math

import pytest
import torch

from core import config
from core.errors import CorpusError, DivergedError
from core.records import Notice, Progress, StepReport
from core.sae.topk import TopK
from core.training import loop, schedules
from core.training.inputs import Inputs


def parsed(**parts):
    values = {
        "sae": {"d_sae": 64, "k": 4},
        "budget": {"activations": 1_000},
        "training": {"batch_activations": 100, "buffer_activations": 400, "warmup_steps": 2},
    }
    for name, part in parts.items():
        values[name] = {**values.get(name, {}), **part}
    return config.parse(values)


def data(n=20, rows=100, width=16, seed=0):
    """Batches that sparse directions explain, with a number now and then, as a filling buffer gives."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(40, width, generator=generator)
    for i in range(n):
        if i % 3 == 0:
            yield 50 * i
        code = torch.rand(rows, 40, generator=generator) * (torch.rand(rows, 40, generator=generator) < 0.05)
        yield code @ directions + 1


def run(cfg, batches=None, sae=None):
    saved = []
    sae = sae or TopK(16, 64, 4)
    records = list(
        loop.train(
            sae,
            batches if batches is not None else data(),
            cfg,
            save=lambda s, made, state: saved.append((s, made)),
        )
    )
    return sae, records, saved


def test_it_spends_the_budget_exactly_and_reports_every_step():
    cfg = parsed(budget={"activations": 950})
    _, records, saved = run(cfg)
    reports = [r for r in records if isinstance(r, StepReport)]
    assert [r.step for r in reports] == list(range(1, 11))
    assert reports[-1].activations == 950
    assert saved[-1][0] == 10
    assert [r for r in records if isinstance(r, Progress)][-1].done == 950


def test_it_learns():
    cfg = parsed(budget={"activations": 20_000})
    _, records, _ = run(cfg, data(n=200))
    reports = [r for r in records if isinstance(r, StepReport)]
    assert reports[-1].fvu < 0.5 * reports[0].fvu
    assert reports[-1].l0 <= 4


def test_batch_figures_are_what_they_say():
    cfg = parsed(sae={"normalize": "none"}, budget={"activations": 100})
    x = next(b for b in data() if not isinstance(b, int))
    _, records, _ = run(cfg, iter([x]))
    fresh = TopK(16, 64, 4)
    fresh.initialise(x.mean(0), torch.Generator().manual_seed(0))
    [report] = [r for r in records if isinstance(r, StepReport)]
    error = (fresh(x) - x).double().pow(2).sum()
    assert report.mse == pytest.approx(error.item() / 100, rel=1e-5)
    assert report.fvu == pytest.approx((error / (x - x.mean(0)).double().pow(2).sum()).item(), rel=1e-5)


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    a, b = run(parsed())[0], run(parsed())[0]
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    values = parsed().model_copy(update={"seed": 1})
    c = run(values)[0]
    assert not torch.equal(a.W_dec, c.W_dec)


def test_closing_the_generator_keeps_a_checkpoint_of_that_step():
    saved = []
    steps = loop.train(TopK(16, 64, 4), data(), parsed(), save=lambda step, scale, state: saved.append(step))
    for record in steps:
        if isinstance(record, StepReport) and record.step == 5:
            break
    steps.close()
    assert saved == [2, 5]  # after the warm-up, and now


def test_a_loss_that_is_no_number_stops_names_the_step_and_keeps_the_last_good_checkpoint():
    def poisoned():
        for i, x in enumerate(b for b in data() if not isinstance(b, int)):
            yield x * math.nan if i == 6 else x

    saved, sae = [], TopK(16, 64, 4)
    with pytest.raises(DivergedError, match="step 7"):
        list(loop.train(sae, poisoned(), parsed(), save=lambda step, scale, state: saved.append(step)))
    assert saved == [2]
    assert all(p.isfinite().all() for p in sae.parameters())


def test_no_activations_at_all_is_an_error():
    with pytest.raises(CorpusError, match="no activations"):
        run(parsed(), iter([10, 20]))


def test_normalised_activations_have_an_average_norm_of_the_root_of_their_width():
    x = next(b for b in data() if not isinstance(b, int))
    assert Inputs.fitted("average_norm", x).apply(x).norm(dim=1).mean().item() == pytest.approx(4.0, rel=1e-5)
    sae, records, saved = run(parsed())
    assert any(isinstance(r, Notice) and "scaled by" in r.message for r in records)
    scale = 4 / x.norm(dim=1).mean()
    torch.testing.assert_close(saved[-1][1](x), sae(x * scale) / scale, rtol=1e-4, atol=1e-5)


def test_a_feature_silent_long_enough_is_counted_dead_and_one_that_fires_is_not():
    cfg = parsed(training={"dead_after_activations": 300}, sae={"d_sae": 512, "k": 1})
    _, records, _ = run(cfg, sae=TopK(16, 512, 1, aux_coefficient=0.0))
    reports = [r for r in records if isinstance(r, StepReport)]
    assert reports[1].dead == 0  # 200 activations seen: none can be dead yet
    assert 0 < reports[-1].dead < 512


def test_the_rate_rises_stays_and_falls():
    factors = [schedules.lr_factor(s, 100, warmup_steps=10, decay_share=0.3) for s in range(100)]
    assert factors[0] == pytest.approx(0.1) and factors[9] == 1.0
    assert all(f == 1.0 for f in factors[9:71])
    assert factors[99] == pytest.approx(1 / 30) and min(factors) > 0
    assert [schedules.warmth(s, 4) for s in (0, 2, 4, 9)] == [0, 0.5, 1, 1]
    assert schedules.warmth(0, 0) == 1

"""A training that goes on under a larger budget: from where it was, with the same bits where batches are the same."""

import pytest
import torch

from core import config, continuing, flow, jobs
from core.errors import ConfigError, SessionError
from core.records import Notice, StepReport
from core.sae.topk import TopK
from core.session import Session
from core.training import cached, checkpoint, data, loop, run
from tests.core.test_flow import session_with
from tests.core.training.test_loop import data as toy_batches
from tests.core.training.test_loop import parsed
from tests.core.training.test_resume import left as left_of
from tests.core.training.test_resume import same, until


@pytest.fixture(scope="module")
def steady(toy_values):
    """Twelve steps at a constant rate."""
    training = {"batch_activations": 125, "buffer_activations": 500, "warmup_steps": 2, "model_batch_blocks": 4}
    return {**toy_values, "budget": {"activations": 1_500}, "training": {**training, "decay_share": 0}}


def left(session):
    """Weights and metrics, but for the number of steps that was thought to come."""
    weights, metrics = left_of(session)
    return weights, [{k: v for k, v in line.items() if k != "steps"} for line in metrics]


def taken_up(session, name="longer", **changes):
    values = {**session.config().model_dump(exclude_none=True)}
    for part, fields in changes.items():
        values[part] = {**values[part], **fields} if isinstance(fields, dict) else fields
    return continuing.continued(session, session.path.parent, name, config.parse(values))


def test_n_steps_and_n_more_are_to_the_bit_2n_steps_on_the_same_batches():
    def run(budget, batches, resumed=None):
        sae, states = TopK(16, 64, 4), []
        cfg = parsed(budget={"activations": budget}, training={"decay_share": 0})
        if resumed is not None:
            resumed = {name: value.clone() if torch.is_tensor(value) else value for name, value in resumed.items()}
        save = lambda _step, _scale, state: states.append(state)  # noqa: E731
        records = list(loop.train(sae, batches, cfg, save=save, resumed=resumed))
        return sae, states[-1], [r for r in records if isinstance(r, StepReport)]

    batches = list(toy_batches(n=20))
    at_once, _, reports = run(2_000, iter(batches))
    stream = iter(batches)
    _, state, first = run(1_000, stream)
    longer, _, second = run(2_000, stream, state)
    assert all(torch.equal(a, b) for a, b in zip(at_once.parameters(), longer.parameters(), strict=True))
    assert [r.loss for r in (*first, *second)] == [r.loss for r in reports]
    assert [(r.step, r.steps) for r in second] == [(n, 20) for n in range(11, 21)]


def test_a_smaller_last_batch_makes_one_step_more_and_no_rate_below_zero():
    states = []
    training = {"decay_share": 1.0, "warmup_steps": 0}
    rates = []
    resumed = None
    for budget in (150, 310, 470, 630):
        cfg = parsed(budget={"activations": budget}, training=training)
        save = lambda _step, _scale, state: states.append(state)  # noqa: E731
        reports = [
            r for r in loop.train(TopK(16, 64, 4), toy_batches(), cfg, save=save, resumed=resumed)
            if isinstance(r, StepReport)
        ]  # fmt: skip
        resumed = {name: value.clone() if torch.is_tensor(value) else value for name, value in states[-1].items()}
        rates += [r.lr for r in reports]
        assert reports[-1].activations == budget and reports[-1].step == reports[-1].steps
    assert min(rates) > 0


def test_a_stopped_one_under_a_larger_budget_ends_with_the_bits_of_that_budget(tmp_path, steady, load, monkeypatch):
    monkeypatch.setattr(data, "BLOCK_BUFFER", 64)  # so that no budget has an order of the text of its own
    larger = session_with(tmp_path, steady, "whole", budget={"activations": 3_000})
    list(flow.train(larger, load))
    stopped = session_with(tmp_path, steady, "stopped")
    until(flow.train(stopped, load), 7)
    longer = taken_up(stopped, budget={"activations": 3_000})
    assert longer.resumable() == 7
    list(flow.train(longer, load))
    assert same(left(longer), left(larger))
    assert stopped.resumable() == 7


def test_a_finished_one_goes_on_with_the_text_that_follows(tmp_path, steady, load, monkeypatch):
    """As one loop does over the first run's batches and then the second's: nothing else tells them from 2N at once."""
    seen = []
    taken = run.Run.step
    monkeypatch.setattr(run.Run, "step", lambda self, x: (seen.append(x.clone()), taken(self, x))[1])
    first = session_with(tmp_path, steady, "first")
    list(flow.train(first, load))
    assert first.finished and first.resumable() is None and first.state_step() == 12
    longer = taken_up(first, budget={"activations": 3_000})
    said = [r.message for r in flow.train(longer, load) if isinstance(r, Notice)]
    assert "training goes on from the checkpoint of step 12" in said and not any("not what it was" in m for m in said)
    assert [m["step"] for m in longer.metrics()] == list(range(1, 25)) and longer.metrics()[-1]["activations"] == 3_000
    assert longer.metrics()[:12] == first.metrics()

    monkeypatch.undo()
    rows = torch.cat(seen)
    assert len(rows) == 3_000 and len(rows.unique(dim=0)) > 2_900  # new text, not the old again
    cfg = config.parse({**steady, "budget": {"activations": 3_000}})
    sae = TopK(32, 96, 8)
    list(loop.train(sae, iter(seen), cfg, save=lambda *_: None))
    saved = checkpoint._read(longer.checkpoints_dir / "24", 24, "cpu").parts["run"]
    assert all(torch.equal(saved[f"sae/{name}"], value) for name, value in sae.state_dict().items())


def test_it_can_be_stopped_and_taken_up_again_and_again(tmp_path, steady, load):
    one = session_with(tmp_path, steady, "one")
    list(flow.train(one, load))
    two = taken_up(one, "two", budget={"activations": 2_200})
    until(flow.train(two, load), 15)
    list(flow.train(two, load))
    at_once = taken_up(one, "at-once", budget={"activations": 2_200})
    list(flow.train(at_once, load))
    assert same(left(two), left(at_once))
    three = taken_up(two, "three", budget={"activations": 2_900})
    list(flow.train(three, load))
    assert three.metrics()[-1]["activations"] == 2_900


def test_kept_activations_go_on_with_what_was_not_read_and_in_further_passes(tmp_path, steady, load, monkeypatch):
    monkeypatch.setenv("SAE_TUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cached.cache, "SHARD_ROWS", 500)
    values = {**steady, "training": {**steady["training"], "cache": "float32"}}
    whole = session_with(tmp_path, values, "whole", budget={"epochs": 3})
    list(flow.train(whole, load))
    stopped = session_with(tmp_path, values, "stopped")
    until(flow.train(stopped, load), 3)
    longer = taken_up(stopped, budget={"epochs": 3})
    list(flow.train(longer, load))
    assert same(left(longer), left(whole))

    first = session_with(tmp_path, values, "first", budget={"epochs": 2})
    list(flow.train(first, load))
    wider = taken_up(first, "wider", budget={"activations": 2_300})
    list(flow.train(wider, load))
    assert wider.metrics()[-1]["activations"] == 4_600
    there, _ = cached.found(wider.config())
    rows = cached.CachedActivations(wider.config(), there, torch.device("cpu"))
    assert rows._planned([(0, 1_500, 0), (0, 1_500, 1)])[2:] == [(1_500, 2_300, 0), (1_500, 2_300, 1)]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "1,500 activations is not larger than the 1,500 of 'first'"),
        ({"budget": {"activations": 1_000}}, "not larger"),
        ({"budget": {"activations": 3_000}, "sae": {"k": 4}}, "sae.k cannot change"),
        ({"budget": {"activations": 3_000}, "corpus": {"test_share": 0.2}}, "corpus.test_share cannot change"),
        ({"budget": {"activations": 3_000}, "seed": 3, "tokens": {"context": 16}}, "seed, tokens.context cannot"),
        ({"budget": {"activations": 3_000}, "training": {"batch_activations": 100}}, "training.batch_activations"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(tmp_path, steady, load, changes, says):
    first = session_with(tmp_path, steady, "first")
    until(flow.train(first, load), 2)
    with pytest.raises(ConfigError, match=says):
        taken_up(first, **changes)
    assert not (tmp_path / "longer").exists()


def test_schedule_and_what_measures_may_change(tmp_path, steady, load):
    first = session_with(tmp_path, steady, "first")
    list(flow.train(first, load))
    changes = {"lr": 1e-4, "decay_share": 0.5, "log_every_steps": 2}
    longer = taken_up(first, budget={"activations": 3_000}, training=changes, evaluation={"activations": 99})
    list(flow.train(longer, load))
    rates = {m["step"]: m["lr"] for m in longer.metrics()}
    assert rates[12] == first.metrics()[-1]["lr"] == 3e-3
    assert rates[14] == pytest.approx(1e-4 * 11 / 12) and rates[24] == pytest.approx(1e-4 / 12)


def test_one_that_keeps_no_state_or_works_is_refused(tmp_path, steady, load):
    values = {**steady, "training": {**steady["training"], "keep_state": False}}
    first = session_with(tmp_path, values, "first")
    list(flow.train(first, load))
    with pytest.raises(
        SessionError, match="keeps nothing that its training could go on from.*training.init_from=first"
    ):
        taken_up(first, budget={"activations": 3_000})
    busy = session_with(tmp_path, steady, "busy")
    for record in jobs.run(busy, "train", flow.train(busy, load)):
        if isinstance(record, StepReport) and record.step == 4:
            with pytest.raises(SessionError, match="a job works on session 'busy'"):
                taken_up(busy, budget={"activations": 3_000})
            busy.want("stop")
    assert isinstance(taken_up(busy, budget={"activations": 3_000}), Session)

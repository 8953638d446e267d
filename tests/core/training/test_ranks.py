"""One training in two processes: the same curve as one, one set of weights, stops, deaths, what is refused."""

import contextlib
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from core import config, flow, jobs, several
from core.errors import ConfigError, CorpusError, SaeTuiError, SessionError
from core.records import Notice, Progress, StepReport
from core.sae.build import build
from core.training import checkpoint, data, own
from core.training.ranks import ALONE, Left, Ranks
from core.training.run import Run
from tests.core.test_flow import session_with

ROOT = Path(__file__).parents[3]
FORK = multiprocessing.get_context("fork")


def rows(n=6_000):
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(40, 16, generator=generator)
    return ((torch.rand(n, 40, generator=generator) * (torch.rand(n, 40, generator=generator) < 0.05)) @ directions) + 1


@pytest.fixture
def values(tmp_path):
    """A run of 20 steps on activations of one's own."""
    save_file({"x": rows()}, tmp_path / "x.safetensors")
    training = {"source": str(tmp_path / "x.safetensors"), "batch_activations": 200, "buffer_activations": 1_000}
    return {
        "device": "cpu", "sae": {"d_sae": 64, "k": 4}, "budget": {"activations": 4_000},
        "training": {**training, "warmup_steps": 2, "dead_after_activations": 1_000},
    }  # fmt: skip


def loaded(model):
    def load(_config):
        yield Progress(phase="loading")
        return model

    return load


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def begun(world, work):
    """`work(rank)` in as many processes of which each finds itself as torchrun would have started it."""
    port = free_port()

    def one(rank):
        torch.set_num_threads(1)
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        work(rank)

    processes = [FORK.Process(target=one, args=(rank,)) for rank in range(world)]
    for process in processes:
        process.start()
    return processes


def together(world, work, timeout_s=180):
    """What `work(rank)` returns in each of `world` processes, or the error it ends with as a text."""
    answers = FORK.Queue()

    def one(rank):
        try:
            answers.put((rank, work(rank)))
        except BaseException as error:
            answers.put((rank, f"{type(error).__name__}: {error}"))

    processes = begun(world, one)
    try:
        found = dict(answers.get(timeout=timeout_s) for _ in processes)
        for process in processes:
            process.join(timeout_s)
    finally:
        for process in processes:
            process.kill()
    return [found[rank] for rank in range(world)]


def trained(session, load=flow.load_model, world=2, stop_at=None):
    """The messages, or the error, of each process of a training; the first stops after a step."""

    def work(rank):
        said = []
        if rank:
            return [r.message for r in flow.train(session, load) if isinstance(r, Notice)]
        for record in jobs.run(session, "train", flow.train(session, load)):
            if isinstance(record, Notice):
                said.append(record.message)
            if isinstance(record, StepReport) and record.step == stop_at:
                session.want("stop")
        return said

    return together(world, work)


def weights(session):
    return load_file(session.sae_dir / "sae_weights.safetensors")


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


FIGURES = ("loss", "mse", "fvu", "l0", "l1", "sparsity_loss", "aux_loss", "coefficient", "dead", "activations", "lr")


@pytest.mark.parametrize(
    ("sae", "training"),
    [
        ({}, {"resample_every_steps": 7}),
        ({"normalize": "standardize", "b_dec_init": "geometric_median"}, {"ema_decay": 0.9}),
        ({"architecture": "relu", "target_l0": 4, "move_thresholds": False}, {"optimizer": "muon"}),
        ({"architecture": "jumprelu", "normalize": "none"}, {"batch_activations": 300}),
        ({"architecture": "gated"}, {}),
        ({"architecture": "batchtopk"}, {"resample_every_steps": 7}),
        ({"architecture": "matryoshka"}, {"batch_activations": 300}),
    ],
)
def test_two_processes_have_the_curve_of_one(tmp_path, values, sae, training):
    values = {**values, "sae": {**values["sae"], **sae}, "training": {**values["training"], **training}}
    one, two = session_with(tmp_path, values, "one"), session_with(tmp_path, values, "two")
    list(flow.train(one))
    trained(two)
    assert len(two.metrics()) == len(one.metrics()) == one.config().steps and two.status().state == "done"
    for here, there in zip(two.metrics(), one.metrics(), strict=True):
        for name in FIGURES:
            assert here[name] == pytest.approx(there[name], rel=2e-3, abs=1e-5), (here["step"], name)
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(two)[name], tensor, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("architecture", ["topk", "relu", "batchtopk", "matryoshka", "gated", "jumprelu"])
def test_weights_and_counts_are_the_same_in_all_processes(architecture):
    sae = {"architecture": architecture, "d_sae": 64} | ({"k": 4} if "k" in architecture else {})
    cfg = config.parse(
        {
            "sae": sae, "budget": {"activations": 3_000},
            "training": {"batch_activations": 150, "resample_every_steps": 4, "dead_after_activations": 300},
        }
    )  # fmt: skip

    def work(rank):
        with Ranks.joined() as ranks:
            ranks.use(torch.device("cpu"))
            parts = rows(3_000)[rank :: ranks.world].split(50 - 10 * rank)
            torch.manual_seed(rank)
            run = Run.begun(build(cfg.sae, 16), cfg, ranks.gathered(parts[0]), None, ranks)
            for part in parts[:12]:
                ranks.rows(part)
                run.step(part)
                report = run.report()
            return [report.mse, report.fvu, run.activations] + [
                float(t.double().sum()) for t in (*run.sae.state_dict().values(), run.silent_for, run.density)
            ]

    one, two = together(2, work)
    assert one == two and one[2] == 12 * (50 + 40)


def test_the_largest_entries_of_a_batch_are_those_of_all_its_parts():
    parts = [rows(200)[::2], 3 * rows(200)[1::2]]
    sae = build(config.parse({"sae": {"architecture": "batchtopk", "d_sae": 64, "k": 4}}).sae, 16)
    sae.initialise(torch.zeros(16), torch.Generator().manual_seed(0))
    dead = torch.zeros(64, dtype=torch.bool)

    def work(rank):
        with Ranks.joined() as ranks:
            ranks.use(torch.device("cpu"))
            sae.batch, x = ranks, parts[rank]
            ranks.rows(x)
            fired = [int(sae.losses(x, dead=dead, warmth=1.0).fired.sum()) for _ in range(3)]
            return [*fired, float(sae.threshold)]

    weak, strong = together(2, work)
    whole = [int(sae.losses(torch.cat(parts), dead=dead, warmth=1.0).fired.sum()) for _ in range(3)]
    assert [a + b for a, b in zip(weak[:3], strong[:3], strict=True)] == whole == [800] * 3
    assert weak[0] < 300 < 500 < strong[0] and weak[3] == strong[3] == pytest.approx(float(sae.threshold))


def test_a_stream_of_text_is_divided_and_each_document_read_once(toy_values, toy_language_model):
    values = {**toy_values, "budget": {"activations": 3_001}, "training": {**toy_values["training"]}}
    cfg = config.parse(values)

    def documents(ranks):
        return [tuple(block.ids) for block in data.blocks(cfg, toy_language_model, "train", ranks)]

    shares = [documents(Ranks(rank, 3)) for rank in range(3)]
    assert all(abs(len(share) - len(shares[0])) < 0.2 * len(shares[0]) for share in shares)
    assert not set(shares[0]) & set(shares[1]) and abs(sum(map(len, shares)) - len(documents(ALONE))) <= 3
    given = [list(data.TrainingActivations(cfg, toy_language_model, Ranks(rank, 2))) for rank in range(2)]
    batches = [[x for x in each if not isinstance(x, int)] for each in given]
    assert [sum(map(len, each)) for each in batches] == [1_501, 1_500]
    assert {len(x) for each in batches for x in each[:-1]} == {128}


@pytest.mark.parametrize("cache", ["off", "float32"])
def test_stopped_by_a_person_both_end_and_go_on_to_the_same_bits(
    tmp_path, toy_values, toy_language_model, monkeypatch, cache
):
    monkeypatch.setenv("SAE_TUI_CACHE", str(tmp_path / "cache"))
    training = {"batch_activations": 128, "buffer_activations": 512, "warmup_steps": 2, "cache": cache}
    values = {**toy_values, "budget": {"activations": 1_500}, "training": training}
    whole, stopped = session_with(tmp_path, values, "whole"), session_with(tmp_path, values, "stopped")
    load = loaded(toy_language_model)
    trained(whole, load)
    assert whole.status().state == "done" and whole.metrics()[-1]["activations"] == 1_500
    for step in (1, 5):
        said = trained(stopped, load, stop_at=step)
        assert stopped.status().state == "stopped" and stopped.resumable() == step, said
        assert isinstance(said[1], list)  # no error, and no sentence of its own
    with pytest.raises(SessionError, match="written by 2 processes, and 1 would go on"):
        list(flow.train(stopped, load))
    assert any("from the checkpoint of step 5" in m for m in trained(stopped, load)[0])
    assert equal(weights(stopped), weights(whole))
    assert [m["loss"] for m in stopped.metrics()] == [m["loss"] for m in whole.metrics()]
    assert not list(stopped.checkpoints_dir.glob(".*"))


def test_a_process_that_is_killed_ends_the_job_and_it_goes_on_from_the_last_checkpoint(tmp_path, values):
    values["training"] |= {"checkpoint_minutes": 1e-6}
    values["budget"] = {"activations": 4_000, "epochs": 3}
    whole, killed = session_with(tmp_path, values, "whole"), session_with(tmp_path, values, "killed")
    trained(whole)

    def work(rank):
        with contextlib.suppress(SaeTuiError):
            list(jobs.run(killed, "train", flow.train(killed)) if rank == 0 else flow.train(killed))

    processes = begun(2, work)
    try:
        while (killed.state_step() or 0) < 5:
            time.sleep(0.01)
        began = time.monotonic()
        processes[1].kill()
        processes[0].join(60)
        assert processes[0].exitcode == 0 and time.monotonic() - began < 20
    finally:
        for process in processes:
            process.kill()
    assert killed.status().state == "failed" and "process 1 of 2 died" in killed.status().error
    assert 5 <= killed.resumable() < 60
    trained(killed)
    assert equal(weights(killed), weights(whole))


def test_an_error_of_one_process_is_told_by_all_and_keeps_a_checkpoint(tmp_path, values, monkeypatch):
    session = session_with(tmp_path, values)
    read, calls = own.OwnActivations.shard, []

    def shard(self, number):
        calls.append(number)
        if os.environ.get("RANK") == "1" and len(calls) > 1:
            raise CorpusError("row 7 is not finite")
        return read(self, number)

    monkeypatch.setattr(own.OwnActivations, "shard", shard)
    said = trained(session)
    assert said[0] == "Left: process 1 of 2 failed: row 7 is not finite" and said[1].startswith("CorpusError")
    assert session.status().state == "failed" and "row 7 is not finite" in session.status().error
    assert session.resumable() == len(session.metrics()) > 0


def test_a_loss_that_is_no_number_ends_both(tmp_path, values):
    values["training"] |= {"lr": 1e30}
    session = session_with(tmp_path, values)
    said = trained(session)
    assert all("DivergedError: the loss became" in each for each in said)
    assert session.status().state == "failed"


def test_a_disk_that_is_full_for_one_process_costs_a_checkpoint_and_no_more(tmp_path, values, monkeypatch):
    values["training"] |= {"checkpoint_minutes": 1e-6}
    session = session_with(tmp_path, values)
    save = checkpoint.save_data

    def full(*given):
        if os.environ["RANK"] == "1" and not (tmp_path / "was full").exists():
            (tmp_path / "was full").touch()
            raise OSError("no")
        save(*given)

    monkeypatch.setattr(checkpoint, "save_data", full)
    said = trained(session)[0]
    assert any("could not be written: another process could not write its part" in message for message in said)
    assert session.finished and session.checkpoint_steps()[0] == 20


def test_what_cannot_be_divided_is_refused(values):
    with pytest.raises(
        ConfigError, match=r"batch_activations = 200 cannot be divided among 3 processes.*multiple of 3"
    ):
        Ranks(0, 3).require_fit(config.parse(values))
    with pytest.raises(ConfigError, match=r"'cuda:1' is one GPU"):
        Ranks(0, 2).require_fit(config.parse({**values, "device": "cuda:1"}))


def test_rows_come_together_in_the_order_they_were_dealt():
    x = rows(11)

    def work(rank):
        with Ranks.joined() as ranks:
            return ranks.gathered(x[rank::3]).tolist() == x.tolist() and ranks.rows(x[rank::3]), ranks.means(
                [x[rank::3].mean(dim=0)]
            )[0].sub(x.mean(dim=0)).abs().max().item() < 1e-6

    assert together(3, work) == [(11, True)] * 3


def test_one_that_leaves_while_others_wait_is_known_by_its_word():
    def work(rank):
        with Ranks.joined() as ranks:
            if rank == 1:
                raise CorpusError("nothing there")
            ranks.meet()

    assert together(2, work)[0] == "Left: process 1 of 2 failed: nothing there"
    assert issubclass(Left, SaeTuiError)


def test_torchrun_trains_and_a_stop_reaches_it(tmp_path, values):
    values["budget"] = {"activations": 4_000, "epochs": 1_000}
    session = session_with(tmp_path, values)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(free_port()),
    ]
    with (tmp_path / "out").open("w") as out:
        process = subprocess.Popen(
            [*command, "-m", "core", "train", str(session.path)], cwd=ROOT, stdout=out, stderr=out
        )
        try:
            until = time.monotonic() + 60
            while len(session.metrics()) < 5 and time.monotonic() < until:
                time.sleep(0.1)
            os.kill(process.pid, signal.SIGTERM)
            process.wait(60)
        finally:
            process.kill()
    printed = (tmp_path / "out").read_text()
    assert session.status().state == "stopped" and session.resumable() == session.metrics()[-1]["step"], printed
    assert printed.count("step 1 ") == 1  # one of the two prints, and not each step
    written = json.loads((session.checkpoints_dir / str(session.resumable()) / "training.json").read_text())
    assert written["parts"]["ranks"] == {"world": 2}


def test_the_job_starts_its_processes_itself_and_what_is_killed_or_stopped_goes_on_to_the_same_bits(tmp_path, values):
    values["budget"] = {"activations": 4_000, "epochs": 20}
    values["training"] |= {"devices": 2, "checkpoint_minutes": 1e-6}
    whole, session = session_with(tmp_path, values, "whole"), session_with(tmp_path, values, "session")
    trained(whole)

    def started(until):
        process = jobs.start(session, "train")
        deadline = time.monotonic() + 120
        while (session.state_step() or 0) < until and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        return process

    process = started(5)
    first, second = sorted(psutil.Process(process.pid).children(), key=lambda child: child.pid)
    assert session.observed().state == "running" and session.status().pid in (first.pid, second.pid)
    (second if session.status().pid == first.pid else first).kill()
    process.wait(60)
    assert session.status().state == "failed" and "process 1 of 2 died" in session.status().error
    process = started(session.resumable() + 5)
    assert jobs.stop(session).state == "stopped" and session.resumable() < 400
    process.wait(60)
    assert not any(child.is_running() for child in (first, second))
    assert started(10_000).wait(120) == 0 and session.status().state == "done"
    assert equal(weights(session), weights(whole))
    assert "Traceback" not in session.log_path.read_text()


def test_as_many_processes_as_gpus_where_none_are_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    for training, device, wanted in (({}, "auto", 1), ({"devices": 0}, "auto", 3), ({"devices": 0}, "cpu", 1)):
        assert several.wanted(config.parse({"device": device, "training": training})) == wanted
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert several.wanted(config.parse({"training": {"devices": 0}})) == 1


def test_one_process_says_that_it_trains_alone_where_several_are_asked_for(tmp_path, values):
    values["training"] |= {"devices": 2}
    session = session_with(tmp_path, values)
    said = [r.message for r in flow.train(session) if isinstance(r, Notice)]
    assert "training.devices = 2, but here one process trains alone" in said

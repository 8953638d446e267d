"""`sae-tui sweep` on a tiny real model: the forward pass paid once, a stop, and the same command again."""

import json
import os
import signal
import time

import pytest

from core import config, flow, jobs, sweep
from core.analysis import compare
from core.session import Session
from sae_tui.cli import run


@pytest.fixture
def toml(tmp_path, toy_values, monkeypatch):
    monkeypatch.setenv("SAE_TUI_CACHE", str(tmp_path / "cache"))
    values = {**toy_values, "budget": {"activations": 2_000}}
    path = tmp_path / "study.toml"
    path.write_text(config.to_toml(config.parse(values)), encoding="utf-8")
    return path


def asked(capsys, root, path, *more):
    grid = ["--grid", "sae.architecture=topk,batchtopk,relu", "--grid", "sae.k=4,8"]
    code = run(["--sessions", str(root), "sweep", str(path), *grid, *more])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_grid_is_trained_measured_and_told_and_only_once(tmp_path, toml, capsys, monkeypatch):
    root = tmp_path / "sessions"
    code, out, err = asked(capsys, root, toml)
    assert code == 0, err
    assert err.count("harvesting to disk") and err.count("5 of 5: study-relu") == 1
    lines = out.splitlines()
    assert "ce_loss_score" in lines[0] and len(lines) == 8 and any(line.startswith("*") for line in lines[1:6])
    monkeypatch.setattr(flow, "load_model", lambda config: pytest.fail("the model was loaded again"))
    code, out, err = asked(capsys, root, toml, "--json")
    rows = json.loads(out)
    assert code == 0 and [r["name"] for r in rows][:2] == ["study-topk-k4", "study-topk-k8"]
    assert all(row["fvu"] is not None for row in rows) and any(row["best"] for row in rows)


def test_a_study_compares_all_architectures_at_one_l0_and_goes_on(tmp_path, toml, capsys, monkeypatch):
    root = tmp_path / "sessions"
    arguments = ["--sessions", str(root), "study", "activation", str(toml), "--name", "acts", "--set", "sae.k=6"]
    assert run(arguments) == 0
    out, err = capsys.readouterr()
    names = ["acts-topk", "acts-batchtopk", "acts-matryoshka", "acts-relu", "acts-gated", "acts-jumprelu"]
    header, *lines = out.splitlines()
    assert [line.removeprefix("*").split()[0] for line in lines[:6]] == names and "6 of 6: acts-jumprelu" in err
    assert {"loss", "fvu", "l0", "sparsity", "%", "dead_share", "ce_loss_score", "seconds"} <= set(header.split())
    for name in names:
        sae = Session(root / name).config().sae
        assert (sae.k if sae.fixed_k else sae.target_l0) == 6
    Session(root / "acts-gated").delete()
    assert run([*arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    rows = json.loads(out)
    assert "5 of 6: acts-gated" in err and err.count(" of 6: ") == 1 and [row["name"] for row in rows] == names
    assert all(
        row[name] is not None for row in rows for name in ("loss", "fvu", "l0", "sparsity", "dead_share", "seconds")
    )
    assert run(["--sessions", str(root), "study", "activation"]) == 2
    assert "study takes a configuration file or --preset" in capsys.readouterr().err


def test_each_run_is_trained_in_as_many_processes_as_its_configuration_says(tmp_path, toml, capsys):
    root = tmp_path / "sessions"
    words = ["--name", "two", "--grid", "sae.k=4,8", "--set", "training.devices=2"]
    arguments = ["--sessions", str(root), "sweep", str(toml), *words, "--json"]
    code = run(arguments)
    out, err = capsys.readouterr()
    assert code == 0 and [row["fvu"] is not None for row in json.loads(out)] == [True, True], err
    for name in ("two-k4", "two-k8"):
        [kept] = Session(root / name).checkpoints_dir.glob("*/training.json")
        assert json.loads(kept.read_text())["parts"]["ranks"] == {"world": 2}
    assert err.count("2 of 2: two-k8") == 1
    code = run([*arguments[:-1], "--set", "training.batch_activations=255", "--name", "odd"])
    err = capsys.readouterr().err
    assert code and "cannot be divided among 2 processes" in err and "odd-k4, which failed; the same command" in err
    assert "2 of 2" not in err


def test_an_analysed_sweep_tells_how_plain_features_are_and_the_specialists_of_each_category(tmp_path, toml, capsys):
    root = tmp_path / "sessions"
    words = ["--sessions", str(root), "sweep", str(toml), "--grid", "sae.k=4,8", "--analyze"]
    assert run(words) == 0
    out = capsys.readouterr().out
    assert run([*words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    for row in rows:
        found = compare.summary(Session(root / row["name"]))
        assert row["specialists_by_category"] == found.specialists and row["label_score"] is None
        assert row["specialists"] == sum(found.specialists.values())
        assert row["token_entropy"] == found.figures["token_entropy"]
    named = {category for row in rows for category in row["specialists_by_category"]}
    assert named and "specialists by category" in out and all(category in out for category in named)


def test_a_stopped_sweep_goes_on_where_it_was(tmp_path, toml, capsys, monkeypatch):
    root = tmp_path / "sessions"
    create = sweep.session

    def stopped_later(folder, member):
        made = create(folder, member)
        if member.name == "study-topk-k8":
            train = flow.train

            def once(session, load=flow.load_model):
                for record in train(session, load):
                    if session.name == made.name:
                        session.want("stop")
                    yield record

            monkeypatch.setattr(flow, "train", once)
        return made

    monkeypatch.setattr(sweep, "session", stopped_later)
    code, _, err = asked(capsys, root, toml)
    assert code == 130 and "the same command goes on" in err
    assert Session(root / "study-topk-k4").finished and not Session(root / "study-relu").finished
    monkeypatch.undo()
    monkeypatch.setenv("SAE_TUI_CACHE", str(tmp_path / "cache"))
    code, out, err = asked(capsys, root, toml)
    assert code == 0 and "1 of 5" not in err and "2 of 5: study-topk-k8" in err
    assert len(out.splitlines()) == 8


def ended(sessions, timeout_s=120.0):
    deadline = time.monotonic() + timeout_s
    while not all(one.evaluation() and not one.observed().active for one in sessions):
        assert time.monotonic() < deadline, [one.observed() for one in sessions]
        assert all(one.observed().state != "failed" for one in sessions), [one.log_path.read_text() for one in sessions]
        time.sleep(0.1)


def test_a_detached_sweep_outlives_its_terminal_is_stopped_and_goes_on_and_tells_its_table(
    tmp_path, toml, capsys, monkeypatch
):
    root = tmp_path / "sessions"
    words = ["--sessions", str(root)]
    started = []
    start = jobs.start
    monkeypatch.setattr(jobs, "start", lambda *given: started.append(start(*given)) or started[-1])
    grid = ["--name", "far", "--grid", "sae.k=4,8,16"]
    assert run([*words, "sweep", str(toml), *grid, "--detach"]) == 0
    assert "run 1 of 3 of a sweep, 0 finished" in (err := capsys.readouterr().err) and "stop far-k4" in err
    first, second, third = (Session(root / f"far-k{k}") for k in (4, 8, 16))
    assert os.getsid(started[0].pid) == started[0].pid != os.getsid(0)  # a closed terminal's SIGHUP does not reach it
    assert run([*words, "sweep", "far-k16"]) == 0  # while it works nothing else is begun
    out, err = capsys.readouterr()
    assert len(started) == 1 and "far-k16" in out and "sae-tui stop far-k4" in err
    assert run([*words, "stop", "far-k4"]) == 0 and started[0].wait(60) == 130
    assert not second.log_path.exists() or not second.finished
    assert run([*words, "sweep", "far-k8", "--detach"]) == 0
    ended([first, second, third])
    assert started[1].wait(60) == 0 and len(started) == 2
    for one in (first, second, third):
        assert one.observed().state == "done" and "== train" in one.log_path.read_text()
    assert "far-k8" not in first.log_path.read_text() and second.log_path.read_text().count("fvu") >= 1
    capsys.readouterr()
    assert run([*words, "show", "far-k8", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["sweep"]
    assert [row["name"] for row in rows] == ["far-k4", "far-k8", "far-k16"]
    assert all(row["fvu"] is not None and row["sae.k"] for row in rows) and any(row["best"] for row in rows)
    assert run([*words, "show", "far-k8"]) == 0
    assert "run 2 of 3 of a sweep, 3 finished" in capsys.readouterr().out
    monkeypatch.setattr(jobs, "start", lambda *_: pytest.fail("something was begun again"))
    assert run([*words, "sweep", "far-k4", "--detach"]) == 0
    assert "ce_loss_score" in capsys.readouterr().out


def test_a_member_that_is_killed_is_gone_on_with_and_one_with_a_job_of_its_own_is_left_to_it(tmp_path, toml):
    root = tmp_path / "sessions"
    values = config.read_values(toml)
    first, second = sweep.begin(root, sweep.members("near", values, sweep.grid(["sae.k=4,8"])))
    _, process = sweep.start([first, second], analyze=False)
    while first.status().state == "queued":
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not first.finished and first.observed().state == "interrupted"
    one, process = sweep.start([first, second], analyze=True)
    assert one.name == first.name and process.wait(120) == 0
    assert first.database_path.is_file() and second.database_path.is_file()
    assert sweep.start([first, second], analyze=True) is None


def test_without_a_grid_it_wants_a_session_of_a_sweep(tmp_path, toml, capsys):
    words = ["--sessions", str(tmp_path), "sweep"]
    for given in ([], [str(toml)], ["--preset", "demo"]):
        assert run([*words, *given]) == 2 and "sweep takes --grid" in capsys.readouterr().err
    Session.create(tmp_path, "alone", config.parse(config.read_values(toml)))
    assert run([*words, "alone"]) == 2 and "part of no sweep" in capsys.readouterr().err


def test_a_study_is_detached_too(tmp_path, toml, capsys, monkeypatch):
    started = []
    monkeypatch.setattr(jobs, "start", lambda *given: started.append(given))
    words = ["--sessions", str(tmp_path), "study", "fidelity", str(toml), "--set", "sae.k=4", "--detach", "--json"]
    assert run([*words, "--analyze"]) == 0
    [(session, verb, arguments)] = started
    assert (session.name, verb, arguments) == ("study-k1", "train", (*jobs.THEN, jobs.SWEEP))
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(session.sweep())
    assert list(session.sweep()) == ["study-k1", "study-k2", "study-k4", "study-k8", "study-k16"]

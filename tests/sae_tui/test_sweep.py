"""`sae-tui sweep` on a tiny real model: the forward pass paid once, a stop, and the same command again."""

import json

import pytest

from core import config, flow, sweep
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

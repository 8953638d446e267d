"""The verb experiment on tiny real parts: what it prints, what it keeps, and that Ctrl-C keeps what is whole."""

import json
from pathlib import Path

import pytest
import tomlkit

from core.experiments import kept
from core.experiments import run as experiments
from core.session import Session
from sae_tui.cli import run


@pytest.fixture(scope="module")
def trained(tmp_path_factory, toy_values):
    """A sessions folder with `toy`, trained and analysed."""
    root = tmp_path_factory.mktemp("sessions")
    (root / "toy.toml").write_text(tomlkit.dumps(toy_values))
    assert run(["--sessions", str(root), "train", str(root / "toy.toml"), "--name", "toy"]) == 0
    assert run(["--sessions", str(root), "analyze", "toy"]) == 0
    (root / "plain.txt").write_text("every river sang its own song\nthe cat sat on a mat\nrain on green hills\n")
    return root


@pytest.fixture(scope="module")
def alive(trained):
    """Features by density, the densest first."""
    import duckdb

    with duckdb.connect(str(trained / "toy" / "features.duckdb"), read_only=True) as database:
        return [f for (f,) in database.sql("SELECT feature FROM features WHERE NOT dead ORDER BY n DESC").fetchall()]


def dose(feature, *more):
    return (
        "experiment",
        "dose",
        "toy",
        "--feature",
        feature,
        "--prompt",
        "the cat sat",
        "--tokens",
        5,
        "--seeds",
        2,
        *more,
    )


def test_a_dose_is_told_as_curves_and_a_table_and_kept(cli, trained, alive):
    code, out, err = cli(*dose(alive[0], "--strengths", "0.5,1,2"))
    assert code == 0 and "writing 4 texts at once" in err
    for words in (
        f"feature {alive[0]}",
        "own activation",
        "target",
        "KL",
        "perplexity",
        "repeats",
        "strengths in max",
        "none",
        "kept as ",
    ):
        assert words in out, words
    assert len([line for line in out.splitlines() if line.split()[:1] in (["0.5"], ["1"], ["2"])]) == 3
    path = Path(out.split("kept as ")[1].strip())
    assert path.parent == Session(trained / "toy").experiments_dir and path.name.endswith("-dose.json")
    found = kept.load(path)
    assert (
        found.whole
        and found.request.unit == "max"
        and [p.strength for p in found.curves[0].points] == [None, 0.5, 1, 2]
    )


def test_a_dose_in_json_has_every_figure_and_is_the_same_each_time(cli, alive):
    asked = dose(alive[0], "--target", " mat", "--limit", "kl=0.25", "--strengths", "1", "--temperature", 0)
    one, other = (json.loads(cli(*asked, "--json")[1]) for _ in range(2))
    assert one["experiment"] == "dose" and one["whole"] and one.pop("file") != other.pop("file")
    assert one == other and one["request"]["limits"]["kl"] == 0.25 and one["request"]["target"] == " mat"
    assert one["curves"][0]["points"][1]["gain"]["n"] == 1


def test_a_dose_takes_the_sampling_that_steer_takes_and_others_have_no_use_for_it(cli, alive):
    asked = ("--top-k", 3, "--top-p", 0.9, "--min-p", 0.05, "--repetition-penalty", 1.5)
    found = json.loads(cli(*dose(alive[0], "--strengths", "1", *asked, "--json"))[1])
    sampling = {"temperature": 0.7, "top_p": 0.9, "top_k": 3, "min_p": 0.05, "repetition_penalty": 1.5}
    assert sampling.items() <= found["request"]["sampling"].items()
    plain = json.loads(cli(*dose(alive[0], "--strengths", "1", "--json"))[1])
    assert [p["text"] for p in plain["curves"][0]["points"]] != [p["text"] for p in found["curves"][0]["points"]]
    code, _, err = cli("experiment", "effect", "toy", "--ablate", 1, "--top-k", 3)
    assert code == 2 and "no use for --top-k" in err
    code, _, err = cli(*dose(alive[0], "--top-p", 0))
    assert code == 2 and "a top-p of 0 leaves no token" in err


def test_an_effect_is_told_with_its_control(cli, alive, trained):
    code, out, _ = cli(
        "experiment", "effect", "toy", "--ablate", alive[0], "--texts", trained / "plain.txt", "--like", 3
    )
    assert code == 0
    for words in (
        "control",
        "drawn by seed 0",
        "where it fires",
        "on all tokens",
        "of 3 texts",
        "difference",
        "●",
        "gained",
        "lost",
    ):
        assert words in out, words
    one, other = (
        json.loads(
            cli(
                "experiment",
                "effect",
                "toy",
                "--ablate",
                alive[0],
                "--text",
                "the cat sat",
                "--like",
                9,
                "--seed",
                s,
                "--json",
            )[1]
        )
        for s in (0, 1)
    )
    assert one["control"]["feature"] != alive[0] != other["control"]["feature"]
    assert one["feature"] == other["feature"] and one["control"] != other["control"]
    assert one["feature"]["density"] / 9 <= one["control"]["density"] <= one["feature"]["density"] * 9


def test_a_pair_stands_beside_its_cosine_and_what_the_database_knows(cli, alive, trained):
    one, other = alive[:2]
    code, out, _ = cli(
        "experiment", "pair", "toy", "--ablate", one, "--add", f"{other}=1max", "--texts", trained / "plain.txt"
    )
    assert code == 0
    for words in ("cosine", "Jaccard", "PMI", "beyond", "on all tokens", "of 3 texts"):
        assert words in out, words
    import duckdb

    found = kept.load(Path(out.split("kept as ")[1].strip()))
    with duckdb.connect(str(trained / "toy" / "features.duckdb"), read_only=True) as database:
        row = database.execute(
            "SELECT n, jaccard, pmi FROM coactivations WHERE feature = $1 AND other = $2", [one, other]
        ).fetchone()
    assert row is None or (found.together.n, found.together.jaccard, found.together.pmi) == pytest.approx(row, rel=1e-5)


def test_what_cannot_be_asked_is_a_sentence(cli, alive):
    for arguments, words in (
        (("dose", "toy"), "takes --feature"), (("pair", "toy", "--ablate", 1), "takes two interventions"),
        (("effect", "toy"), "takes one intervention"),
        (("effect", "toy", "--ablate", 1, "--prompt", "a"), "no use for --prompt"),
        (("dose", "toy", "--feature", 1, "--prompt", "a", "--strengths", "x"), "'x' are no strengths"),
        (("dose", "toy", "--feature", 1, "--prompt", "a", "--limit", "fun=1"), "'fun=1' is no limit"),
        (("dose", "toy", "--feature", 10**6, "--prompt", "a"), "no feature 1000000"),
        (("effect", "toy", "--ablate", 1, "--target", "the cat"), "tokens"),
        (("effect", "toy", "--ablate", alive[0], "--like", 0.5), "factor"),
    ):  # fmt: skip
        code, out, err = cli("experiment", *arguments)
        assert code in (1, 2) and words in err and not out, (arguments, err)


def test_ctrl_c_keeps_what_is_whole(cli, alive, monkeypatch, trained):
    whole = experiments.run

    def interrupted(*arguments):
        for record in whole(*arguments):
            yield record
            if getattr(record, "seeds", 0) == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(experiments, "run", interrupted)
    code, out, err = cli(*dose(alive[0], "--strengths", "1"))
    assert code == 0 and "1 of 2 seeds are whole" in out and "stopped" in err
    assert kept.load(Path(out.split("kept as ")[1].strip())).seeds == 1


def test_without_a_database_raw_strengths_are_measured_and_what_is_missing_is_said(cli, alive, trained):
    import shutil

    shutil.copytree(trained / "toy", trained / "bare", ignore=shutil.ignore_patterns("features.duckdb", "steering"))
    code, out, _ = cli("experiment", "effect", "bare", "--ablate", alive[0], "--text", "the cat sat")
    assert code == 0 and "no feature database: there is no control" in out
    code, _, err = cli("experiment", "effect", "bare", "--add", f"{alive[0]}=1max", "--text", "the cat sat")
    assert code != 0 and "is not known" in err

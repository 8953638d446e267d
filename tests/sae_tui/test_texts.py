"""The verbs that ask about given texts, on tiny real parts: probe, concept, attribute, feature on texts."""

import json
import shutil
from pathlib import Path

import pytest
import tomlkit

from core.analysis import probed
from core.session import Session
from sae_tui.cli import run
from sae_tui.text import figure


@pytest.fixture(scope="module")
def trained(tmp_path_factory, toy_values):
    """A sessions folder with `toy`, trained, and `other`, a copy of it without evaluation or analysis."""
    root = tmp_path_factory.mktemp("sessions")
    (root / "toy.toml").write_text(tomlkit.dumps(toy_values))
    assert run(["--sessions", str(root), "train", str(root / "toy.toml"), "--name", "toy"]) == 0
    shutil.copytree(root / "toy", root / "other")
    assert run(["--sessions", str(root), "evaluate", "toy"]) == 0
    assert run(["--sessions", str(root), "analyze", "toy"]) == 0
    rows = [
        {"text": "the cat sat on a mat \x1b[2J", "category": "animals", "source": "one\x1b]0;x\x07"},
        {"text": "seven dogs ran over green hills", "category": "animals", "source": "two"},
        {"text": "def return import class for", "category": "code", "source": "three"},
        {"text": "print value in range", "category": "code", "source": "four"},
    ]
    (root / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "plain.txt").write_text("every river sang its own song\nrain\n")
    return root


def test_probe_tells_all_of_its_sections_and_keeps_the_answer(cli, trained):
    code, out, err = cli("probe", "toy", "--texts", trained / "own.jsonl", "--top", 4)
    assert code == 0 and "reading the texts" in err
    for words in (
        "toy on 4 texts (own.jsonl), max over the tokens of each", "strong is above 0.5 × the feature's p99",
        "strongest features of each text", "most frequent", "most selective", "common features of each category",
        "heat map", "mean activation by category", "specialists: ", "of 2 categories", "kept as ",
    ):  # fmt: skip
        assert words in out, words
    assert "\x1b" not in out
    [kept] = probed.kept(Session(trained / "toy"))
    assert kept.name == "own.jsonl" and len(kept.frequent) == 4 and len(kept.top) == 4
    assert [category.name for category in kept.categories] == ["animals", "code"]


def test_probe_in_json_is_what_it_keeps_beside_one_vector_a_text(cli, trained):
    code, out, _ = cli("probe", "toy", "--texts", trained / "own.jsonl", "--strong", "1.0", "--pool", "mean", "--json")
    values = json.loads(out)
    file = values.pop("file")
    assert values.pop("urls") == {}  # it is not on Neuronpedia
    kept = json.loads(Path(file).read_text(encoding="utf-8"))
    assert code == 0 and kept == values and values["rule"] == "above 1" and values["pool"] == "mean"
    import duckdb

    rows = duckdb.sql(f"FROM read_parquet('{file.removesuffix('.json')}.parquet') WHERE text = 1 ORDER BY value DESC")
    best = [(feature, pytest.approx(value)) for _, feature, value in rows.fetchall()[:5]]
    assert [tuple(one) for one in values["top"][1]] == best


def test_probe_reads_the_seventy_texts_by_default(cli):
    values = json.loads(cli("probe", "toy", "--json")[1])
    assert len(values["texts"]) == 70 and len(values["categories"]) == 7 and values["name"] == "standard"


def test_several_sessions_are_compared_in_one_table(cli, trained):
    code, out, _ = cli("probe", "toy", "other", "--texts", trained / "own.jsonl")
    assert code == 0
    for words in ("animals", "code", "entropy of category", "FVU", "L0", "specialists", "no feature database"):
        assert words in out, words
    values = json.loads(cli("probe", "toy", "other", "--texts", trained / "own.jsonl", "--json")[1])
    one, other = values["comparison"]
    assert (one["name"], other["name"]) == ("toy", "other") and one["active"] == other["active"]
    assert one["fvu"] == Session(trained / "toy").evaluation()["fvu"] and other["fvu"] is None
    assert one["by_category"].keys() == {"animals", "code"} and len(values["probes"]) == 2


def test_probe_of_texts_without_categories_says_so(cli, trained):
    code, out, _ = cli("probe", "toy", "--texts", trained / "plain.txt")
    assert (
        code == 0 and "no text has a category" in out and "specialists" not in out.replace("asks for specialists", "")
    )


def test_concept_ranks_features_and_shows_the_formula(cli, trained):
    code, out, _ = cli("concept", "toy", "--texts", trained / "plain.txt", "--contrast", trained / "own.jsonl")
    assert code == 0 and "composite = % of the texts" in out and "score     = composite on the texts −" in out
    code, out, _ = cli("concept", "toy", "--text", "the cat", "--text", "a cat sat", "--strong", "0.1", "--json")
    values = json.loads(out)
    assert values["texts"] == 2 and values["contrast"] == 0 and values["rule"] == "above 0.1"
    assert 1 <= len(values["rows"]) <= 5
    for row in values["rows"]:
        side = row["inside"]
        assert row["score"] == pytest.approx(100 * side["strong_share"] * side["mean"])


def test_a_feature_is_shown_on_given_texts_strongest_first(cli, trained):
    feature = json.loads(cli("concept", "toy", "--texts", trained / "own.jsonl", "--strong", "0", "--json")[1])["rows"][
        0
    ]
    arguments = ("feature", "toy", feature["feature"], "--texts", trained / "own.jsonl", "--text", "a song")
    values = json.loads(cli(*arguments, "--json", "--top", 3)[1])
    maxima = [text["max"] for text in values["texts"]]
    assert values["read"] == 5 and len(maxima) == 3 and maxima == sorted(maxima, reverse=True) and maxima[0] > 0
    assert len(values["maxima"]) == 5 and sorted(values["maxima"], reverse=True)[:3] == maxima and values["url"] is None
    best = values["texts"][0]
    assert max(token["value"] for token in best["tokens"]) == best["max"]
    assert best["x_nonzero"] == 1.0 and best["z_nonzero"] == pytest.approx(8 / 96)
    code, out, _ = cli(*arguments)
    assert code == 0 and "[[" in out and "not 0: 100.0% of x, 8.33% of z" in out and "\x1b" not in out
    assert "of 5 texts" in out and "typed" in out
    out = cli("feature", "toy", feature["feature"], "--text", "a song")[1]
    assert f"x  {40 * '█'}  100.00% not 0" in out and f"z  {'███▎':<40}  8.33% not 0" in out
    assert best["active"] == [8] * len(best["active"]) and best["active"]
    assert "active  min 8, median 8, max 8 features on each of " in out and f"\n          8  {40 * '█'}  " in out
    [x, z] = ([line[13:45] for line in out.splitlines() if line.startswith(f"{name:>11}  ")] for name in ("|x|", "|z|"))
    assert x[0].startswith("█") and " " not in x[0].rstrip()
    # 8 of 96 entries are not 0, and every third is drawn
    assert len(z[0].rstrip()) == 3
    [read] = json.loads(cli("feature", "toy", feature["feature"], "--text", "a song", "--json")[1])["texts"]
    strongest = read["features"][0]
    assert strongest["max"] == max(one["max"] for one in read["features"]) and len(read["features"]) <= 20
    assert sum(one["tokens"] for one in read["features"]) <= sum(read["active"])
    said = f"{strongest['feature']:>11}  {40 * '█'}  {figure(strongest['max']):>7} on {strongest['tokens']} token"
    assert said in out and f"features  {read['features_active']} are active on it" in out


def test_features_of_an_sae_on_neuronpedia_have_their_pages_everywhere(cli, trained):
    linked = Session(shutil.copytree(trained / "toy", trained / "linked"))
    config = json.loads((linked.sae_dir / "cfg.json").read_text())
    config["metadata"] = {**config.get("metadata", {}), "neuronpedia_id": "gpt2-small/6-res-jb"}
    (linked.sae_dir / "cfg.json").write_text(json.dumps(config))

    def page(feature):
        return f"https://www.neuronpedia.org/gpt2-small/6-res-jb/{feature}"

    concept = ("concept", "linked", "--text", "the cat", "--strong", "0")
    rows = json.loads(cli(*concept, "--json")[1])["rows"]
    assert rows and all(row["url"] == page(row["feature"]) for row in rows)
    assert all(page(row["feature"]) in cli(*concept)[1] for row in rows)
    probe = ("probe", "linked", "--texts", trained / "own.jsonl", "--top", 3)
    found = json.loads(cli(*probe, "--json")[1])
    told = {one["feature"] for name in ("frequent", "selective") for one in found[name]}
    assert found["urls"].items() >= {str(feature): page(feature) for feature in told}.items()
    assert page(found["strongest"]["feature"]) in cli(*probe)[1]
    for more in ((), ("--text", "the cat")):
        feature = ("feature", "linked", rows[0]["feature"], *more)
        assert json.loads(cli(*feature, "--json")[1])["url"] == page(rows[0]["feature"])
        assert f"Neuronpedia  {page(rows[0]['feature'])}" in cli(*feature)[1]
        assert "Neuronpedia" not in cli("feature", "toy", *feature[2:])[1]


def test_attribute_shows_three_effects_and_how_the_cheap_one_does(cli):
    code, out, _ = cli("attribute", "toy", "--prompt", "the cat sat on", "--top", 4)
    assert code == 0 and "gradient × activation" in out and "Pearson" in out and "likeliest" in out
    values = json.loads(cli("attribute", "toy", "--prompt", "the cat sat on", "--rank", "ablation", "--json")[1])
    effects = [abs(row["ablation"]) for row in values["rows"] if row["ablation"] is not None]
    assert values["rank"] == "ablation" and effects == sorted(effects, reverse=True) and values["pairs"] > 0
    assert values["prompt"] == "the cat sat on" and -1 <= values["pearson"] <= 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("probe", "none"), "there is no session 'none'"),
        (("probe", "toy", "toy"), "named twice"),
        (("probe", "toy", "--texts", "absent.txt"), "absent.txt cannot be read"),
        (("probe", "toy", "--strong", "much"), "what is strong"),
        (("probe", "toy", "--pool", "median"), "no pooling 'median'"),
        (("probe", "toy", "--top", "0"), "lists nothing"),
        (("concept", "toy"), "--texts FILE or --text TEXT"),
        (("concept", "toy", "--text", " "), "empty"),
        (("feature", "toy", "9999", "--text", "rain"), "there is no feature 9999"),
        (("attribute", "toy", "--prompt", "the cat", "--target", "the cat sat"), "tokens"),
        (("attribute", "toy", "--prompt", "the cat", "--position", "99"), "no token 99"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence_and_exit_code_2(cli, arguments, said):
    code, out, err = cli(*arguments)
    assert code == 2 and said in err and not out and "Traceback" not in err

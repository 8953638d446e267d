"""Verbs about image models: the hook points, and a session of images on the command line."""

import json

import pytest

from core import config as configs
from core import flow
from core.session import Session
from sae_tui.cli import run
from tests import idx


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAE_TUI_CACHE", str(tmp_path_factory.mktemp("cache")))
        folder = idx.write(tmp_path_factory.mktemp("images") / "digits")
        given = [f"corpus.name={json.dumps(str(folder))}", "device=cpu", "model.hidden=16", "model.epochs=2"]
        given += ["sae.d_sae=24", "sae.target_l0=5", "budget.activations=300", "budget.epochs=4"]
        root = tmp_path_factory.mktemp("sessions")
        session = Session.create(root, "mnist", configs.parse(configs.with_settings(configs.preset("mnist"), given)))
        work = flow.stages(session)
        for verb in ("train", "evaluate", "analyze"):
            for _ in work(verb):
                pass
        yield root


def asked(root, capsys, *words):
    assert run(["--sessions", str(root), *words]) == 0
    return capsys.readouterr().out


def test_hooks_lists_those_of_every_image_model_without_making_one(root, capsys):
    found = json.loads(asked(root, capsys, "hooks", "mnist", "--json"))
    assert {one["model"] for one in found} == {"mnist-mlp", "mnist-geglu", "mnist-cnn", "mnist-pixels"}
    wider = json.loads(asked(root, capsys, "hooks", "mnist-geglu", "--set", "model.hidden=64", "--json"))
    assert {one["name"]: one["width"] for one in wider}["mlp.hook_pre"] == 128


def test_a_feature_is_drawn_with_its_images_pattern_and_effects(root, capsys):
    best = json.loads(asked(root, capsys, "features", "mnist", "--json", "--limit", "1"))[0]["feature"]
    text = asked(root, capsys, "feature", "mnist", str(best), "--limit", "2")
    assert "switched on" in text and "ablated" in text and "reads" in text and "\x1b" not in text
    found = json.loads(asked(root, capsys, "feature", "mnist", str(best), "--limit", "2", "--json"))["gallery"]
    assert len(found["images"]) == 2 and len(found["effects"]) == 10 and len(found["pattern"]) == 28


def test_emergence_is_drawn_a_picture_for_each_snapshot(root, capsys):
    [found] = json.loads(asked(root, capsys, "study", "emergence", "mnist", "--json"))
    steps, one = [step["step"] for step in found["steps"]], found["features"][0]
    assert len(one["pictures"]) == len(steps) > 1 and one["why"] == "strongest"
    text = asked(root, capsys, "study", "emergence", "mnist", "--feature", str(one["feature"]))
    head = text.index(f"feature {one['feature']} · fires on ")
    lines = text[head:].splitlines()
    wide = 30 * len(steps) <= 200
    assert ("step 1  density" in lines[1]) == wide and "\x1b" not in text
    assert len(lines) == 2 + 2 * (14 if wide else 7) + 2 and any(mark in "".join(lines[2:16]) for mark in "#+=-")
    assert "its activation's gradient" in lines[-1]


def test_frequency_is_asked_of_labels_once(root, capsys):
    [found] = json.loads(asked(root, capsys, "study", "frequency", "mnist", "--json"))
    assert [c["of"] for c in found["density_against"]] == ["category_entropy", "specialist_score"]
    assert found["density_reliability"] is not None
    assert "agree between halves" in asked(root, capsys, "study", "frequency", "mnist")


def test_baselines_tell_what_the_classifier_makes_of_each(root, capsys):
    text = asked(root, capsys, "compare", "mnist", "--baselines")
    assert "accuracy" in text.splitlines()[-5] and text.splitlines()[-4].startswith("this SAE")
    found = json.loads(asked(root, capsys, "compare", "mnist", "--baselines", "--json"))["baselines"]["mnist"]
    assert all(0 <= one["recon_acc"] <= 1 for one in found)


def test_figures_stand_on_images(root, capsys):
    assert "on 100 images" in asked(root, capsys, "show", "mnist")


def test_an_image_is_steered_with_its_classes_in_bars_and_what_fires(root, capsys):
    best = json.loads(asked(root, capsys, "features", "mnist", "--json", "--limit", "1"))[0]["feature"]
    words = ("--image", "3", "--image", "320", "--set", f"{best}=2max", "--save-recipe", "held")
    found = json.loads(asked(root, capsys, "steer", "mnist", *words, "--json"))
    assert [(one["image"], one["split"] == "test") for one in found["images"]] == [(3, False), (320, True)]
    assert found["mode"] == "error-kept" and found["interventions"][0]["feature"] == best
    for one in found["images"]:
        assert sum(one["baseline"]["probabilities"]) == pytest.approx(1) and one["kl"] > 0
        assert next(f["after"] for f in one["features"] if f["feature"] == best) > 0
    text = asked(root, capsys, "steer", "mnist", "--image", "320", "--recipe", "held")
    label = found["images"][1]["label"]
    assert f"image 320, a {label} of the test split" in text and f"▸{label}" in text and "KL" in text
    assert f"set feature {best} to 2 × its max" in text and "edited" in text and "\x1b" not in text
    assert all(len(line) <= 80 for line in text.splitlines())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--prompt", "a text"), "--prompt is for text: the model of session 'mnist' reads images"),
        (("--image", "3", "--temperature", "0.5"), "--temperature is for text"),
        (("--ablate", "3"), "takes --image N"),
        (("--image", "400"), "there is no image 400"),
        (("--image", "3", "--ablate", "3@generated"), "is a place in a text, not in an image"),
    ],
)
def test_what_an_image_cannot_be_asked_is_told(root, capsys, words, says):
    assert run(["--sessions", str(root), "steer", "mnist", *words]) != 0
    assert says in capsys.readouterr().err


def test_a_session_of_text_has_no_image_to_steer_on(tmp_path, capsys):
    Session.create(tmp_path, "toy", configs.parse({}))
    assert run(["--sessions", str(tmp_path), "steer", "toy", "--image", "3"]) != 0
    assert "'toy' reads text: it knows no images" in capsys.readouterr().err

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


def test_figures_stand_on_images(root, capsys):
    assert "on 100 images" in asked(root, capsys, "show", "mnist")

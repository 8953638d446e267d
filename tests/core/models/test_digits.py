"""Networks of images: their formulas, their training, what a hook point gives and takes."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from core import config as configs
from core.errors import ModelError
from core.models import digits
from core.options import IMAGE_MODELS
from core.plain import returned
from core.tokens import stacked
from tests import idx


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    place = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SAE_TUI_CACHE", str(place))
    return place


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return idx.write(tmp_path_factory.mktemp("images") / "digits")


def made(folder, name="mnist-mlp", hook="hook_input", **model):
    values = {
        "model": {"name": name, "hook": hook, "hidden": 16, "epochs": 2, **model},
        "corpus": {"name": str(folder)},
    }
    return returned(digits.load(configs.parse(values), torch.device("cpu")))


def test_the_networks_are_their_formulas(folder):
    numbers = torch.tensor([3, 350])
    for name in ("mnist-mlp", "mnist-geglu", "mnist-cnn"):
        model = made(folder, name)
        p = torch.from_numpy(model.images.pixels[numbers.numpy()]).double() / 255
        w = {key: value.double() for key, value in model.network.state_dict().items()}
        if name == "mnist-cnn":
            y = functional.conv2d(p.view(-1, 1, 28, 28), w["layers.1.1.weight"], w["layers.1.1.bias"], 2, 1).relu()
            p = functional.conv2d(y, w["layers.3.weight"], w["layers.3.bias"], 2, 1).relu().flatten(1)
        first = "layers.5.1" if name == "mnist-cnn" else "layers.1.1"
        u = p @ w[f"{first}.weight"].T + w[f"{first}.bias"]
        h = functional.gelu(u[:, :16]) * u[:, 16:] if name == "mnist-geglu" else u.relu()
        wanted = h @ w["out.weight"].T + w["out.bias"]
        assert torch.allclose(model.logits(numbers).double(), wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["mnist-mlp", "mnist-geglu", "mnist-cnn"])
def test_from_every_hook_point_on_the_logits_are_those_of_the_whole(folder, name):
    whole = made(folder, name)
    numbers = torch.arange(5)
    for hook in whole.network.hooks:
        x = whole.network.to_hook(hook, whole.pixels(numbers))
        assert torch.allclose(whole.network.from_hook(hook, x), whole.logits(numbers), atol=1e-6)


def test_an_edit_takes_the_place_of_the_activations(folder):
    model = made(folder, hook="mlp.hook_post")
    numbers = torch.arange(4)
    assert torch.equal(model.logits(numbers, lambda x: x), model.logits(numbers))
    assert torch.allclose(model.logits(numbers, torch.zeros_like), model.network.out.bias.expand(4, 10))


def test_it_learns_in_a_few_passes_and_is_the_same_from_the_cache_and_anew(folder, cache):
    one = made(folder, epochs=6)
    test = torch.from_numpy(one.images.numbers["test"])
    right = one.logits(test).argmax(dim=1).numpy() == one.images.labels[test.numpy()]
    assert right.mean() > 0.8
    kept = one.network.state_dict()
    (path,) = (cache / "models").glob("*.safetensors")
    stamp = path.stat().st_mtime_ns
    again = made(folder, epochs=6)
    assert path.stat().st_mtime_ns == stamp
    path.write_bytes(b"torn")
    anew = made(folder, epochs=6)
    for other in (again, anew):
        assert all(torch.equal(kept[key], value) for key, value in other.network.state_dict().items())


@pytest.mark.parametrize("other", [{"hidden": 8}, {"epochs": 1}, {"name": "mnist-geglu"}])
def test_whatever_decides_a_classifier_makes_another_file(folder, cache, other):
    made(folder)
    made(folder, **other)
    assert len(list((cache / "models").glob("*.safetensors"))) == 2


def test_without_a_number_of_passes_it_keeps_the_best_on_the_calibration_split(folder, monkeypatch):
    found = iter([0.5, 0.9, 0.6, 0.7, 0.8])
    monkeypatch.setattr(digits, "PATIENCE", 3)
    monkeypatch.setattr(digits, "_accuracy", lambda *_: next(found))
    model = made(folder, epochs=1)
    facts = digits.ImageFacts(name="mnist-mlp", hidden=16)
    network = digits.Network(facts)
    weights = []
    work = digits.trained(network, model.images, epochs=0, seed=0)
    try:
        while True:
            next(work)
            weights.append({key: value.clone() for key, value in network.state_dict().items()})
    except StopIteration as done:
        assert done.value == 0.9
    assert len(weights) == 4, "five accuracies, one of them of the first model, and then no more"
    assert all(torch.equal(weights[0][key], value) for key, value in network.state_dict().items())


def test_a_block_is_an_image_and_counts_every_place(folder):
    model = made(folder, "mnist-cnn", "blocks.1.hook_post")
    (batch,) = stacked(model.blocks(list(model.images.documents("test"))[:3]), 8)
    assert batch.ids.shape == (3, 49) and batch.counted.all() and (batch.ids == batch.ids[:, :1]).all()
    assert batch.doc[:, 0].tolist() == [0, 1, 2] and batch.doc_pos[0].tolist() == list(range(49))
    x = model.activations(torch.from_numpy(batch.ids))
    assert x.shape == (3, 49, 32) == (3, model.places, model.d_in)
    labels = model.images.labels[batch.ids[:, 0]]
    assert np.array_equal(model.token_ids(batch.ids[:, 0]), labels) and model.tokens.text(int(labels[0])) == str(
        labels[0]
    )


def test_logit_effects_exist_behind_the_hidden_layer_alone(folder):
    model = made(folder, hook="mlp.hook_post")
    direction = torch.randn(2, 16)
    change = model.onward(torch.ones(2, 1, 16) + direction.unsqueeze(1)) - model.onward(torch.ones(2, 1, 16))
    assert torch.allclose(model.unembed(direction), change - change.mean(dim=1, keepdim=True), atol=1e-5)
    with pytest.raises(ModelError, match="not linear"):
        made(folder, hook="mlp.hook_pre").unembed(direction)


def test_pixels_alone_are_activations_and_no_classifier(folder, cache):
    model = made(folder, "mnist-pixels")
    x = model.activations(torch.tensor([[5]]))
    assert torch.equal(x.flatten(), torch.from_numpy(model.images.pixels[5]) / 255)
    assert not list(cache.glob("models/*")), "nothing is trained"
    with pytest.raises(ModelError, match="no classifier"):
        model.logits(torch.tensor([5]))


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_an_unknown_hook_point_is_refused_before_anything_is_trained(folder, cache, name):
    with pytest.raises(ModelError, match="no hook point"):
        made(folder, name, "blocks.3.hook_resid_post")
    assert not list(cache.glob("models/*"))

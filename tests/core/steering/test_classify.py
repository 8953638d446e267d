"""What interventions make of an image's classes, against forward passes written by hand in float64."""

import json

import numpy as np
import pytest
import torch

from core import config as configs
from core import flow
from core.errors import QueryError, RunError, UsageError
from core.plain import returned
from core.sae.jumprelu import JumpReLU
from core.steering.classify import classified, listed
from core.steering.interventions import Intervention
from tests import idx

D_SAE = 32
EDITS = {
    "none": (),
    "ablate": (Intervention("ablate", 3),),
    "scale": (Intervention("scale", 3, 2.5),),
    "set": (Intervention("set", 4, 1.5),),
    "add p99": (Intervention("add", 5, 2.0, "p99"),),
    "cap max": (Intervention("cap", 3, 0.25, "max"),),
    "mean-ablate": (Intervention("mean-ablate", 6),),
    "where it fires": (Intervention("add", 3, 4.0, where="firing"),),
    "while another is above": (Intervention("set", 7, 3.0, where="while:3>0.2"),),
    "off": (Intervention("ablate", 3, enabled=False),),
    "several": (Intervention("ablate", 3), Intervention("add", 5, 1.0), Intervention("scale", 4, -1.0)),
}
SCALES = {f: {"p99": 0.5 + f / 10, "max": 1.0 + f / 10, "mean": 0.05 * f} for f in range(D_SAE)}


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """A network by its name and hook point, on a small data set."""
    folder = idx.write(tmp_path_factory.mktemp("images") / "digits", train=300, test=60)

    def loaded(name, hook):
        settings = [
            "model.epochs=1", "model.hidden=24", f"model.name={name}", f"model.hook={hook}", "device=cpu",
            f"corpus.name={json.dumps(str(folder))}",
        ]  # fmt: skip
        preset = configs.preset("mnist-pixels" if name == "mnist-pixels" else "mnist")
        model = returned(flow.load_model(configs.parse(configs.with_settings(preset, settings))))
        draw = torch.Generator().manual_seed(3)
        sae = JumpReLU(model.d_in, D_SAE)
        sae.initialise(torch.randn(model.d_in, generator=draw) / 10, draw)
        return model, sae.requires_grad_(False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAE_TUI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield loaded


def by_hand(model, sae, number, edits, mode):
    """Logits before and behind, and the codes of both, place by place and feature by feature."""
    w_enc, b_enc, w_dec, b_dec, theta = (
        t.detach().double() for t in (sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec, sae.threshold)
    )

    def code(x):
        u = (x - b_dec * sae.apply_b_dec_to_input) @ w_enc + b_enc
        return u.relu() * (u > theta)

    network = model.network.double()
    pixels = torch.from_numpy(model.images.pixels[number]).double() / 255
    x = network.to_hook(model.hook, pixels.unsqueeze(0))[0]
    behind = []
    for place in x:
        z = code(place)
        changed = z.clone()
        for edit in edits:
            holds = edit.enabled and {
                "everywhere": True, "firing": z[edit.feature] > 0, "while:3>0.2": z[3] > 0.2
            }[edit.where]  # fmt: skip
            if not holds:
                continue
            unit = 1.0 if edit.unit == "raw" else SCALES[edit.feature][edit.unit]
            v, old = edit.value * unit, float(changed[edit.feature])
            changed[edit.feature] = {
                "ablate": 0.0, "mean-ablate": SCALES[edit.feature]["mean"], "scale": edit.value * old, "set": v,
                "add": old + v, "cap": min(old, v),
            }[edit.kind]  # fmt: skip
        behind.append(changed @ w_dec + b_dec if mode == "replace" else place + (changed - z) @ w_dec)
    behind = torch.stack(behind)
    before, after = (network.from_hook(model.hook, one.unsqueeze(0))[0] for one in (x, behind))
    codes = [torch.stack([code(place) for place in one]) for one in (x, behind)]
    model.network.float()
    return before, after, codes, behind


@pytest.mark.parametrize("mode", ["error-kept", "replace"])
@pytest.mark.parametrize(
    ("name", "hook"),
    [("mnist-mlp", "mlp.hook_post"), ("mnist-geglu", "mlp.hook_pre"), ("mnist-cnn", "blocks.1.hook_post"),
     ("mnist-mlp", "hook_input")],
)  # fmt: skip
def test_classes_and_what_fires_are_those_of_a_pass_written_by_hand(load, name, hook, mode):
    model, sae = load(name, hook)
    numbers = [0, 7, int(model.images.numbers["test"][3])]
    moved = 0
    for edits in EDITS.values():
        for found in classified(model, sae, numbers, edits, SCALES, mode, top=D_SAE):
            before, after, codes, behind = by_hand(model, sae, found.image, edits, mode)
            lp, lq = after.log_softmax(0), before.log_softmax(0)
            assert np.allclose(found.baseline.logits, before, atol=1e-4)
            assert np.allclose(found.steered.logits, after, rtol=1e-4, atol=1e-3)
            assert np.allclose(found.baseline.probabilities, lq.exp(), atol=1e-5)
            assert np.allclose(found.steered.probabilities, lp.exp(), atol=1e-4)
            assert found.kl == pytest.approx(float((lp.exp() * (lp - lq)).sum()), rel=1e-3, abs=1e-5)
            assert found.gain == pytest.approx(float(lp[found.label] - lq[found.label]), rel=1e-3, abs=1e-4)
            assert found.label == model.images.labels[found.image] and found.places == len(codes[0])
            fires = {one.feature: one for one in found.features}
            for f in range(D_SAE):
                strongest = [float(z[:, f].max()) for z in codes]
                one = fires.get(f)
                told = (one.before, one.after) if one else (0.0, 0.0)
                assert told == pytest.approx(strongest, rel=1e-3, abs=1e-3)
                if one:
                    near = [(z[:, f] - sae.threshold[f].double()).abs().min() > 1e-3 for z in codes]
                    counts = [int((z[:, f] > 0).sum()) for z in codes]
                    assert not all(near) or [one.places, one.places_after] == counts
            pixels = np.frombuffer(bytes.fromhex(found.pixels), dtype=np.uint8)
            assert np.array_equal(pixels, model.images.pixels[found.image])
            if hook == "hook_input":
                drawn = np.frombuffer(bytes.fromhex(found.behind), dtype=np.uint8) / 255
                assert np.allclose(drawn, behind[0].clamp(0, 1), atol=0.003)
            else:
                assert found.behind == ""
            moved += found.kl > 1e-6
    assert moved > 10, "the edits do something"


def test_no_edit_leaves_every_figure_as_it_is_bit_for_bit(load):
    model, sae = load("mnist-cnn", "blocks.0.hook_post")
    for edits in ((), (Intervention("ablate", 3, enabled=False),)):
        (found,) = classified(model, sae, [5], edits, None, top=9)
        assert found.baseline == found.steered and (found.kl, found.gain) == (0.0, 0.0)
        assert all((one.before, one.places) == (one.after, one.places_after) for one in found.features)


def test_an_image_is_the_same_alone_and_among_others_and_features_are_the_strongest(load):
    model, sae = load("mnist-mlp", "mlp.hook_post")
    edits = EDITS["several"]
    several = classified(model, sae, [4, 5, 6], edits, SCALES, top=3)
    assert several[1] == classified(model, sae, [5], edits, SCALES, top=3)[0]
    (whole,) = classified(model, sae, [5], edits, SCALES, top=D_SAE)
    strengths = [max(one.before, one.after) for one in whole.features]
    assert strengths == sorted(strengths, reverse=True) and whole.features[:3] == several[1].features


def test_images_are_listed_in_the_order_of_the_test_split_with_what_they_are_taken_for(load):
    model, sae = load("mnist-mlp", "mlp.hook_post")
    found = listed(model)
    assert list(found.numbers) == model.images.numbers["test"].tolist()
    assert list(found.labels) == model.images.labels[list(found.numbers)].tolist()
    one = found.numbers[8]
    (shown,) = classified(model, sae, [one], top=1)
    assert (shown.split, shown.label, shown.baseline.predicted) == ("test", found.labels[8], found.predicted[8])
    (shown,) = classified(model, sae, [int(model.images.numbers["train"][0])], top=1)
    assert shown.split == "train"


def test_pixels_without_a_classifier_have_what_fires_and_no_classes(load):
    model, sae = load("mnist-pixels", "hook_input")
    assert listed(model).predicted == ()
    (found,) = classified(model, sae, [3], (Intervention("add", 2, 3.0),), None, top=4)
    assert (found.baseline, found.steered, found.kl, found.gain) == (None, None, None, None)
    assert found.behind != found.pixels and any(one.feature == 2 and one.after > 0 for one in found.features)


@pytest.mark.parametrize(
    ("images", "edits", "error", "says"),
    [
        ([360], (), UsageError, "there is no image 360: digits has images 0 to 359"),
        ([-1], (), UsageError, "no image -1"),
        ([0], (Intervention("ablate", 32),), QueryError, "features 0 to 31"),
        ([0], (Intervention("ablate", 3, where="generated"),), UsageError, "a place in a text, not in an image"),
        ([0], (Intervention("add", 3, 1e39),), RunError, "no longer a number"),
    ],
)
def test_what_cannot_be_asked_is_told(load, images, edits, error, says):
    model, sae = load("mnist-mlp", "mlp.hook_post")
    with pytest.raises(error) as raised:
        classified(model, sae, images, edits, None, top=1)
    assert says in str(raised.value)

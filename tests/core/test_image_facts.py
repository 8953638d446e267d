"""What is known of image models without making one is what they are."""

import pytest
import torch

from core.image_facts import ImageFacts
from core.models.digits import Network
from core.options import IMAGE_MODELS


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_hook_points_widths_places_and_parameters_are_those_of_the_network(name):
    facts = ImageFacts(name=name, hidden=24)
    network = Network(facts)
    assert facts.parameters == sum(p.numel() for p in network.parameters())
    for hook, (width, places, _) in facts.hooks.items():
        assert network.to_hook(hook, torch.rand(3, 784)).shape == (3, places, width)
        assert facts.width(hook) == width and not facts.refusal(hook)


def test_an_unknown_hook_point_is_refused_with_the_nearest():
    assert "mlp.hook_post" in ImageFacts(name="mnist-mlp", hidden=24).refusal("mlp.hook_pos")
    assert ImageFacts(name="mnist-mlp", hidden=24).width("mlp.hook_pos") is None


def test_the_classifier_of_the_preset_has_the_parameters_it_is_known_for():
    assert ImageFacts(name="mnist-mlp", hidden=128).parameters == 101_770

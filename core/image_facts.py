"""What is known of the networks of images without making one: layers, hook points and their widths. No torch.

    mnist-mlp      784 → hidden → 10, ReLU              hook_input  mlp.hook_pre  mlp.hook_post
    mnist-geglu    784 → 2 hidden → hidden → 10, GeGLU  the same; mlp.hook_pre has the gate, then the linear part
    mnist-cnn      two convolutions, then as mnist-mlp  hook_input  blocks.0.hook_pre  blocks.0.hook_post  …  mlp.…
    mnist-pixels   the pixels, and no classifier        hook_input

A hook point in a convolution is a feature map: its channels are the activation's dimensions, and each place of the map
is an activation of its own. `pre` is before the nonlinearity, `post` behind it, as in TransformerLens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from core.errors import nearest
from core.options import IMAGE_MODELS

Unit = Literal["tokens", "images", "places"]
"""What activations are counted in; places where an image has several."""

PIXELS, CLASSES = 784, 10
CHANNELS, MAPS = (16, 32), (14, 7)
"""Of mnist-cnn's two convolutions (3 × 3, stride 2): channels, and the edge of the feature map behind each."""

CLASSIFIER = (
    "seed", "model.hidden", "model.epochs", "corpus.name", "corpus.subset", "corpus.calibration_share",
    "corpus.test_share",
)  # fmt: skip
"""The fields of a configuration that decide, besides the name, what a network of images is trained to."""


class ImageHook(NamedTuple):
    """A hook point."""

    width: int
    """Dimensions of an activation there."""
    places: int
    """Activations of one image: 1, or the places of a feature map."""
    holds: str
    """What it is, for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """A network of images, by its name and the width of its hidden layer."""

    name: str
    hidden: int
    context: None = None
    """Nothing is read token by token."""

    @property
    def hooks(self) -> dict[str, ImageHook]:
        """Its hook points, in the order in which an image passes them."""
        found = {"hook_input": ImageHook(PIXELS, 1, "the pixels, 0 to 1")}
        if self.name == "mnist-pixels":
            return found
        if self.name == "mnist-cnn":
            for block, (channels, edge) in enumerate(zip(CHANNELS, MAPS, strict=True)):
                for kind, words in (("pre", "convolution"), ("post", "behind its ReLU")):
                    places = f"{words}, {edge} × {edge} places"
                    found[f"blocks.{block}.hook_{kind}"] = ImageHook(channels, edge**2, places)
        gated = self.name == "mnist-geglu"
        words = "gate and linear part" if gated else "hidden layer"
        found["mlp.hook_pre"] = ImageHook(self.hidden * (1 + gated), 1, f"{words}, before the nonlinearity")
        found["mlp.hook_post"] = ImageHook(self.hidden, 1, "hidden layer, behind the nonlinearity")
        return found

    @property
    def parameters(self) -> int:
        """Numbers in its weights."""
        if self.name == "mnist-pixels":
            return 0
        inputs, convolutions = PIXELS, 0
        if self.name == "mnist-cnn":
            inputs = CHANNELS[1] * MAPS[1] ** 2
            convolutions = (9 + 1) * CHANNELS[0] + (9 * CHANNELS[0] + 1) * CHANNELS[1]
        first = self.hidden * (1 + (self.name == "mnist-geglu"))
        return convolutions + (inputs + 1) * first + (self.hidden + 1) * CLASSES

    @property
    def built(self) -> str:
        """How it is built, in a few words."""
        if self.name == "mnist-pixels":
            return "28 × 28 pixels, no classifier"
        between = " → 16 × 14² → 32 × 7²" if self.name == "mnist-cnn" else ""
        return f"{PIXELS}{between} → {self.hidden} → {CLASSES}"

    def width(self, hook: str) -> int | None:
        """The width at a hook point; None where there is none of that name."""
        found = self.hooks.get(hook)
        return found.width if found else None

    def refusal(self, hook: str) -> str:
        """Why there can be no such hook point, in a sentence; empty where there is one."""
        if hook in self.hooks:
            return ""
        return f"{self.name} has no hook point {hook!r}: {nearest(hook, self.hooks)}"

    def doubt(self, hook: str) -> str:
        """What is unusual about a hook point: nothing, all are known."""
        return ""


def places(meta: Mapping[str, str]) -> int:
    """Activations of one image, by the table `meta` of a session's database; 0 where its model reads text."""
    name = meta.get("model", "")
    if name not in IMAGE_MODELS:
        return 0
    hook = ImageFacts(name=name, hidden=1).hooks.get(meta.get("hook", ""))
    return hook.places if hook else 1


def unit(meta: Mapping[str, str]) -> Unit:
    """What the figures of that database are counted in."""
    many = places(meta)
    return "tokens" if not many else "images" if many == 1 else "places"

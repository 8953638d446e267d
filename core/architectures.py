"""The architectures and the networks of images there are. Imports nothing slow: a first frame imports this."""

from collections.abc import Mapping
from typing import Any

SPARSITY = {
    "topk": ("k", "k"), "batchtopk": ("k", "k"), "matryoshka": ("k", "k"), "relu": ("λ", "l1_coefficient"),
    "gated": ("λ", "l1_coefficient"), "jumprelu": ("λ", "l0_coefficient"),
}  # fmt: skip
"""What sets the sparsity of each architecture: the symbol for it, and the field in `[sae]`."""
IMAGE_MODELS = ("mnist-mlp", "mnist-geglu", "mnist-cnn", "mnist-pixels")
"""The networks that read images; see `core.image_facts`."""


def reads_images(values: Mapping[str, Any]) -> bool:
    """Whether a configuration, unchecked, is of a network of images."""
    model = values.get("model")
    return isinstance(model, Mapping) and model.get("name") in IMAGE_MODELS


def aim(sae: Mapping[str, Any]) -> float | None:
    """The number of active features that a part `[sae]`, unchecked, asks for; None where a penalty's weight decides."""
    _, field = SPARSITY.get(str(sae.get("architecture")), ("", ""))
    value = sae.get("k" if field == "k" else "target_l0") if field else None
    return float(value) if isinstance(value, int | float) and 0 < value < 1e9 else None

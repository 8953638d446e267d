"""What HookedTransformer may do to a model's weights before it runs: our names, and its options by them.

The model says the same with all of it; some of its activations are others, and an SAE fits those it was trained on.
"""

from collections.abc import Mapping
from typing import Any, Literal

Processing = Literal["none", "centred", "processed"]

OPTIONS: dict[Processing, dict[str, bool]] = {
    "none": {},
    "centred": {"center_writing_weights": True},
    "processed": {"fold_ln": True, "center_writing_weights": True, "fold_value_biases": True},
}
"""What is switched on, as `HookedTransformer.from_pretrained_no_processing` takes it.

`center_unembed` is no part of it: it adds one number to all logits of a position, which nothing here depends on.
"""
ALL = ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases", "refactor_factored_attn_matrices")
SHOW = {"center_writing_weights", "fold_value_biases", "refactor_factored_attn_matrices"}
"""Those that change activations; `fold_ln` does so at the norms' own hook points alone."""


def of(options: Mapping[str, Any]) -> Processing | None:
    """Our name for what `options` switch on; None where there is none. Other options than these count for nothing."""
    asked = {name for name in SHOW if options.get(name)}
    return next((kind for kind, known in OPTIONS.items() if asked == SHOW & known.keys()), None)


def made_by(kind: Processing) -> dict[str, Any]:
    """What SAELens' `cfg.json` tells of it, in its names."""
    if kind == "none":
        return {"model_class_name": "TransformerBridge"}
    return {"model_class_name": "HookedTransformer", "model_from_pretrained_kwargs": OPTIONS[kind]}

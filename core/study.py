"""Studies: a question about SAEs, asked as a sweep with settings that make its answers comparable.

`activation`: how do activation functions compare? Every architecture over one set of activations, at about as many
active features: `sae.k` of them. Where k is no setting of the architecture's, it is its `sae.target_l0`.
"""

from collections.abc import Mapping
from typing import Any

from core import config as configs
from core import sweep
from core.architectures import SPARSITY

STUDIES = ("activation",)


def activation(base: str, values: Mapping[str, Any]) -> list[sweep.Member]:
    """A run for each architecture. Raises ConfigError for one that cannot be, before anything runs."""
    k = configs.parse(values).sae.k
    found: list[sweep.Member] = []
    for architecture, (_, field) in SPARSITY.items():
        aimed = values if field == "k" else configs.with_settings(values, [f"sae.target_l0={k}"])
        found += sweep.members(base, aimed, {"sae.architecture": [architecture]})
    return found

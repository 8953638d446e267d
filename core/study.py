"""Studies: a question about SAEs, asked as a sweep with settings that make its answers comparable.

`activation`: how do activation functions compare? Every architecture over one set of activations, at about as many
active features: `sae.k` of them. Where k is no setting of the architecture's, it is its `sae.target_l0`.

`fidelity`: how does fidelity fall as sparsity rises? One architecture at a quarter, a half, one, two and four times as
many active features.
"""

from collections.abc import Mapping
from typing import Any

from core import config as configs
from core import sweep
from core.architectures import SPARSITY

STEPS = (0.25, 0.5, 1, 2, 4)


def activation(base: str, values: Mapping[str, Any]) -> list[sweep.Member]:
    """A run for each architecture. Raises ConfigError for one that cannot be, before anything runs."""
    k = configs.parse(values).sae.k
    found: list[sweep.Member] = []
    for architecture, (_, field) in SPARSITY.items():
        aimed = values if field == "k" else configs.with_settings(values, [f"sae.target_l0={k}"])
        found += sweep.members(base, aimed, {"sae.architecture": [architecture]})
    return found


def fidelity(base: str, values: Mapping[str, Any]) -> list[sweep.Member]:
    """A run for each number of active features. Raises ConfigError for one that cannot be, before anything runs."""
    given = configs.parse(values)
    _, field = SPARSITY[given.sae.architecture]
    wanted = given.sae.k if field == "k" or given.sae.target_l0 is None else given.sae.target_l0
    counts = dict.fromkeys(str(max(1, round(wanted * step))) for step in STEPS)
    return sweep.members(base, values, {f"sae.{'k' if field == 'k' else 'target_l0'}": list(counts)})

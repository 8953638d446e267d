"""Studies: a question about SAEs, asked as a sweep with settings that make its answers comparable.

`activation`: how do activation functions compare? Every architecture over one set of activations, at about as many
active features: as many as the configuration aims at, which is `sae.k` or `sae.target_l0`, as the architecture has it.

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
    wanted = _wanted(values)
    found: list[sweep.Member] = []
    for architecture, (_, field) in SPARSITY.items():
        aim = f"sae.k={round(wanted)}" if field == "k" else f"sae.target_l0={wanted:g}"
        found += sweep.members(base, configs.with_settings(values, [aim]), {"sae.architecture": [architecture]})
    return found


def fidelity(base: str, values: Mapping[str, Any]) -> list[sweep.Member]:
    """A run for each number of active features. Raises ConfigError for one that cannot be, before anything runs."""
    _, field = SPARSITY[configs.parse(values).sae.architecture]
    counts = dict.fromkeys(str(max(1, round(_wanted(values) * step))) for step in STEPS)
    return sweep.members(base, values, {f"sae.{'k' if field == 'k' else 'target_l0'}": list(counts)})


def _wanted(values: Mapping[str, Any]) -> float:
    """How many active features a configuration aims at; k where it aims at none."""
    sae = configs.parse(values).sae
    return sae.aim or sae.k
